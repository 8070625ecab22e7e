"""A master: kube-apiserver, kube-controller-manager and kube-scheduler as static pods of its kubelet."""

from __future__ import annotations

from pyinfra.api import deploy

from kubekeel import render
from kubekeel.render import Target
from operations.converge import converge as _converge
from tasks import kubelet

_KUBECTL = "/opt/kubekeel/bin/kubectl"
# The two others serve their health with certificates they sign themselves, on the loopback address.
_HEALTH = (
    f"{_KUBECTL} --kubeconfig=/dev/null --insecure-skip-tls-verify"
    " --client-certificate=/etc/kubernetes/pki/admin.crt --client-key=/etc/kubernetes/pki/admin.key get --raw"
)
_EXPLAIN = """
for name in kube-apiserver kube-controller-manager kube-scheduler; do
  container=$(crictl ps --all --quiet --name "^$name$" | head -n 1)
  echo "$name: $(crictl ps --all --name "^$name$" | sed -n 2p)"
  [ -z "$container" ] || crictl logs --tail 5 "$container"
done
"""


@deploy("control plane")
def converge(target: Target) -> None:
    files = render.control_plane(target)
    pods = render.static_pods(target, files)
    digests = {name: digest for name, (digest, _) in pods.items()}
    # In turn, so that one API server always answers; where none is up yet, the others wait for seconds only.
    _converge(
        name="static pods",
        services=kubelet.services(target, also=_serves(target, digests), explain=_EXPLAIN),
        files={**files, **render.manifests(pods), **render.kubectl(target)},
        _serial=True,
    )


def healthy(target: Target) -> dict[str, str]:
    """For each static pod the condition that it serves."""
    return {
        "kube-apiserver": (
            f"{_KUBECTL} --kubeconfig=/etc/kubernetes/admin.conf --server=https://{target.node.address}:6443"
            " get --raw /readyz"
        ),
        "kube-controller-manager": f"{_HEALTH} /healthz --server=https://127.0.0.1:10257",
        "kube-scheduler": f"{_HEALTH} /healthz --server=https://127.0.0.1:10259",
    }


def _serves(target: Target, digests: dict[str, str]) -> str:
    """Holds once the pods that run are those of the manifests, and healthy."""
    return " && ".join(
        (
            "pods=$(/opt/kubekeel/bin/crictl pods --namespace kube-system --state ready -o json)",
            *(f'echo "$pods" | grep -q {digest}' for digest in digests.values()),
            *healthy(target).values(),
        )
    )
