"""The cluster's own objects: who administers it, its add-ons, its nodes' roles."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.files import Directory, File, differing
from operations.converge import Look, RoleSeen, put, refuse
from operations.wait import in_vain, reported, until

ADDONS = "/etc/kubernetes/addons"
KUBECTL = "/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
_PATIENCE = 300
_SERVER_SIDE = "--server-side --force-conflicts --field-manager=kubekeel"

AVAILABLE = f"""
{KUBECTL} -n kube-system wait deployment -l app.kubernetes.io/managed-by=kubekeel \
  --for=condition=Available --timeout=1s &&
{KUBECTL} wait apiservice/v1beta1.metrics.k8s.io --for=condition=Available --timeout=1s
"""
_EXPLAIN = (
    f"{KUBECTL} -n kube-system get pods -o wide;"
    f" {KUBECTL} -n kube-system get events --sort-by=.lastTimestamp --field-selector type=Warning | tail -n 8"
)
_PROGRESS = f"""
{KUBECTL} -n kube-system get pods,events -o jsonpath='{{range .items[*]}}{{.kind}} {{.metadata.name}} {{.status.phase}}
  {{.status.containerStatuses[*].state}} {{.reason}} {{.message}}{{"\\n"}}{{end}}' | plain
"""


def _without(role: str) -> str:
    return f"{KUBECTL} get nodes -l '!node-role.kubernetes.io/{role}' -o name"


def _among(nodes: Sequence[str]) -> str:
    return "grep -xF " + " ".join(f"-e node/{name}" for name in nodes)


def labelled(role: str, nodes: Sequence[str]) -> str:
    """A shell condition that holds if all of these nodes that are there have the label of their role."""
    return f"""lacking=$({_without(role)}) && ! echo "$lacking" | {_among(nodes)}"""


def _label(role: str, nodes: Sequence[str]) -> str:
    label = shlex.quote(f"node-role.kubernetes.io/{role}=")
    return f"{_without(role)} | {_among(nodes)} | xargs -r -I NODE {KUBECTL} label NODE {label}"


@operation()
def addons(
    manifests: Mapping[str, bytes],
    roles: Mapping[str, Sequence[str]],
    break_glass: Callable[[], bytes],
) -> Iterator[StringCommand]:
    """Make the cluster's objects those of `manifests`, by file name, and wait until its add-ons are available.

    `roles` are the registered nodes' names by role. `break_glass` makes the kubeconfig that lets the administrators
    in, the first time: it goes to this host on a pipe only.
    """
    files = {ADDONS: Directory(0o700), **{f"{ADDONS}/{name}": File(text) for name, text in manifests.items()}}
    roles = {role: nodes for role, nodes in roles.items() if nodes}
    others = f"find -H {ADDONS} -type f ! -name '.*' {' '.join(f'! -name {name}' for name in manifests)}"
    seen = host.get_fact(
        Look,
        paths=list(files),
        units=[],
        conditions={
            "authorized": f"[ \"$({KUBECTL} auth can-i '*' '*')\" = yes ]",
            "applied": f"[ -d {ADDONS} ] && {KUBECTL} diff {_SERVER_SIDE} -f {ADDONS}",
            "alone": f'[ -z "$({others})" ]',
            "available": AVAILABLE,
            **{f"labelled {role}": labelled(role, nodes) for role, nodes in roles.items()},
        },
    )
    assert isinstance(seen, RoleSeen)
    changed = differing(files, seen.paths)
    waiting = bool(changed)
    if changed:
        yield put(changed)
    if "authorized" not in seen.holds:
        yield StringCommand(
            f"/opt/kubekeel/bin/kubectl --kubeconfig=/dev/stdin apply {_SERVER_SIDE} -f {ADDONS}/rbac.yaml",
            _stdin=break_glass().decode().splitlines(),
        )
    # Before the rest is applied, which may have objects of the same names.
    if "alone" not in seen.holds:
        yield StringCommand(
            f"for file in $({others}); do {KUBECTL} delete --ignore-not-found -f $file && rm $file || exit 1; done"
        )
    if changed or not {"applied", "alone"} <= seen.holds:
        yield StringCommand(f"{KUBECTL} apply {_SERVER_SIDE} -f {ADDONS}")
        waiting = True
    for role, nodes in roles.items():
        if f"labelled {role}" not in seen.holds:
            yield StringCommand(_label(role, nodes))
    wait = until(AVAILABLE, _PATIENCE, f"{host.name}: the add-ons are not available", _EXPLAIN, _PROGRESS)
    if waiting:
        yield from reported("the add-ons", StringCommand(wait))
    elif "available" not in seen.holds and (complaint := in_vain("the add-ons", wait, _PATIENCE)):
        yield refuse("\n".join(complaint))
    elif seen.holds >= {"authorized", "applied", "alone", *(f"labelled {role}" for role in roles)}:
        host.noop("as described")
