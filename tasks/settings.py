"""Settings of components, checked by the components themselves before any change."""

from __future__ import annotations

import shlex

from pyinfra.api import deploy

from kubekeel import components, render
from kubekeel.files import Tree
from kubekeel.needs import STATIC_PODS
from kubekeel.render import KUBELET_FOLDER, Target
from kubekeel.service import Check
from kubekeel.shell import script
from operations.settings import check as _check

_CHECK = script("node/check-config.sh")


@deploy("settings")
def check(target: Target) -> None:
    """Check settings; call this once binaries are installed."""
    _check(name="check settings", checks=checks(target))


def checks(target: Target) -> dict[str, Check]:
    """Return the checks by program, only for programs with settings."""
    found = {}
    if "etcd" in target.node.roles and (settings := components.arguments("etcd", target.node, target.cluster)):
        unit = "/etc/systemd/system/etcd.service"
        found["etcd"] = _checked(target, "etcd", {unit: render.etcd(target)[unit]}, *render.flags(settings))
    if target.runs_pods and (target.cluster.containerd or target.node.containerd):
        found["containerd"] = _checked(target, "containerd", _below(render.containerd(target), "/etc/containerd/"))
    if target.runs_pods and components.configuration("kubelet", target.node, target.cluster):
        files = _below(render.kubelet(target), KUBELET_FOLDER, "/var/lib/kubelet/config.yaml")
        found["kubelet"] = _checked(target, "kubelet", files)
    if target.has_kube_proxy and (
        target.cluster.node_port_addresses or components.configuration("kube-proxy", target.node, target.cluster)
    ):
        found["kube-proxy"] = _checked(target, "kube-proxy", _below(render.kube_proxy(target), "/var/lib/kube-proxy/"))
    if "masters" in target.node.roles:
        found |= _static_pods(target)
        if target.cluster.authentication:
            found["kube-apiserver"] = _sign_in(target)
    return found


def _static_pods(target: Target) -> dict[str, Check]:
    """Return the static pods' checks: binaries are in images, so running pods of the described version check."""
    pods = render.static_pods(target, render.control_plane(target))
    found = {}
    for name in STATIC_PODS:
        if settings := components.arguments(name, target.node, target.cluster):
            program = f"{name}'s arguments"
            words = ("sh", "-c", _CHECK, program, "")
            arguments = shlex.join((target.cluster.kubernetes_version, *render.flags(settings)))
            found[program] = Check(render.manifests({name: pods[name]}), f'{shlex.join(words)} "$new" {arguments}')
    return found


def _sign_in(target: Target) -> Check:
    """Return the check of sign-in settings: the binary is in an image, so the running API server checks."""
    files = _below(render.control_plane(target), render.AUTHENTICATION)
    issuer = f"https://kubernetes.default.svc.{target.cluster.cluster_domain}"
    words = ("sh", "-c", _CHECK, "kube-apiserver", "")
    return Check(files, f'{shlex.join(words)} "$new" --service-account-issuer={issuer}')


def _below(tree: Tree, *starts: str) -> Tree:
    return {path: entry for path, entry in tree.items() if path.startswith(starts)}


def _checked(target: Target, program: str, files: Tree, *arguments: str) -> Check:
    words = ("sh", "-c", _CHECK, program, render.stored(target, program))
    return Check(files, f'{shlex.join(words)} "$new" {shlex.join(arguments)}')
