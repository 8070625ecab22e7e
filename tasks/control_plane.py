"""A master: kube-apiserver, kube-controller-manager and kube-scheduler as static pods of its kubelet."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.cluster import Node
from kubekeel.files import Tree
from kubekeel.needs import STATIC_PODS, holds_api_vip
from kubekeel.render import Target
from kubekeel.service import Service
from kubekeel.settings.values import API_PORT
from kubekeel.upgrade import API_SERVER, COMPANIONS
from operations.converge import converge as _converge
from operations.kubectl import BARE, KUBECTL
from operations.static_pods import CRICTL, replace
from operations.static_pods import end_connections as _end_connections
from operations.target import serves_as_master
from tasks import kubelet

# The two others serve their health with self-signed certificates, or with the certificates of their metrics.
_HEALTH = (
    f"{BARE} --insecure-skip-tls-verify"
    " --client-certificate=/etc/kubernetes/pki/admin.crt --client-key=/etc/kubernetes/pki/admin.key get --raw"
)
EXPLAIN = """
for name in kube-apiserver kube-controller-manager kube-scheduler; do
  set -- --all --label io.kubernetes.pod.namespace=kube-system --name "^$name$"
  container=$(crictl ps --quiet "$@" | head -n 1)
  echo "$name: $(crictl ps "$@" | sed -n 2p)"
  [ -z "$container" ] || crictl logs --tail 5 "$container"
done
"""


@deploy("control plane")
def converge(target: Target) -> None:
    files = {**render.control_plane(target), **render.kubectl(target)}
    manifests = render.manifests(render.static_pods(target, files))
    # One by one, so that one API server always answers; while none runs yet, each wait takes only seconds.
    # Kubernetes' version skew policy lets nothing be newer than its API server, so all API servers come first.
    # A kubelet that already serves follows the policy in tasks/turns.py.
    if serves_as_master(target.node):
        replace(
            name="restart API servers one by one",
            kubelet=_impatient(target, API_SERVER),
            files=files,
            manifests=_of(manifests, API_SERVER),
            gate=_may_stop(target),
            _serial=True,
        )
    else:
        _converge(
            name="start new API servers one by one",
            services=kubelet.services(target, also=_running(target, API_SERVER), explain=EXPLAIN, pods=[API_SERVER]),
            files={**files, **_of(manifests, API_SERVER)},
            _serial=True,
        )
    replace(
        name="update controller managers and schedulers",
        kubelet=_impatient(target, *COMPANIONS),
        files={},
        manifests=_of(manifests, *COMPANIONS),
        _serial=True,
    )
    if holds_api_vip(target.node, target.cluster):
        _converge(name="set up the API's address", services=[vip(target)], _serial=True)


@deploy("control plane")
def end_connections(target: Target) -> None:
    _end_connections(name="restart API servers one by one", kubelet=_kubelet(target, *STATIC_PODS), _serial=True)


def vip(target: Target) -> Service:
    """Return the service that holds the API's address; a master whose API server is not ready passes it on."""
    answers = (
        "curl --silent --fail --output /dev/null --max-time 5 --noproxy '*' --cacert /etc/kubernetes/pki/ca.crt"
        f" https://{target.cluster.api_vip}:{API_PORT}/readyz"
    )
    return Service(unit="kubekeel-vip", files=render.api_vip(target), ready=answers)


def _of(manifests: Tree, *names: str) -> Tree:
    return {path: entry for path, entry in manifests.items() if PurePosixPath(path).stem in names}


def _kubelet(target: Target, *pods: str) -> Service:
    """Return an unchanged kubelet as a service that is ready once these static pods are."""
    return Service(
        unit="kubelet",
        files={},
        ready=_running(target, *pods),
        patience=240,
        explain=EXPLAIN,
        progress=kubelet.progress(target.node, pods),
    )


def _impatient(target: Target, *pods: str) -> Service:
    """Return the same service, which gives new static pods up if they end again and again."""
    service = _kubelet(target, *pods)
    # On a new master they may restart some times until the API answers.
    if not serves_as_master(target.node):
        return service
    return dataclasses.replace(service, restarts=kubelet.restarts(target.node, pods))


def _may_stop(target: Target) -> str:
    """Return a shell condition: another API server answers, or this master's own one does not."""
    masters = sorted(target.cluster.masters, key=lambda node: node != target.node)
    own, *others = (f"{_answers(node)} --request-timeout=10s" for node in masters)
    return " || ".join([*others, f"! {own}"]) if others else "true"


def _answers(node: Node) -> str:
    """Return a shell condition: the API server of this master is ready."""
    return f"{KUBECTL} --server=https://{node.address}:{API_PORT} get --raw /readyz"


def healthy(target: Target) -> dict[str, str]:
    """Return a shell condition for each static pod: it is healthy."""
    address = render.companions_address(target.node, target.cluster)
    return {
        "kube-apiserver": _answers(target.node),
        "kube-controller-manager": f"{_HEALTH} /healthz --server=https://{address}:10257",
        "kube-scheduler": f"{_HEALTH} /healthz --server=https://{address}:10259",
    }


def serves(target: Target) -> str:
    """Return a shell condition: all static pods run from the described manifests, and are healthy."""
    return _running(target, *STATIC_PODS)


def is_healthy(target: Target) -> str:
    """Return a shell condition: all static pods are healthy, whatever manifests they run from."""
    return " && ".join(healthy(target).values())


def _running(target: Target, *names: str) -> str:
    digests = {name: digest for name, (digest, _) in render.static_pods(target, render.control_plane(target)).items()}
    return " && ".join(
        (
            f"pods=$({CRICTL} pods --namespace kube-system --state ready -o json)",
            *(f'echo "$pods" | grep -q {digests[name]}' for name in names),
            *(condition for name, condition in healthy(target).items() if name in names),
        )
    )
