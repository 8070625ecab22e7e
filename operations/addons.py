"""The cluster's own objects: its administrators' rights, its add-ons, its nodes' roles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api import StringCommand, operation

from kubekeel.cluster import Cluster
from kubekeel.differences import Difference, of_conditions, of_files, of_nodes
from kubekeel.files import Directory, File, Tree, differing
from kubekeel.nodes import NodeState, Seen
from operations import nodes
from operations.converge import Look, RoleSeen, put, refuse
from operations.kubectl import KUBECTL, kubectl
from operations.look import differs, see
from operations.wait import failed_wait, reported, until

ADDONS = "/etc/kubernetes/addons"
_PATIENCE = 300
_SERVER_SIDE = "--server-side --force-conflicts --field-manager=kubekeel"

_DEPLOYMENTS = "deployment -l app.kubernetes.io/managed-by=kubekeel"
_ROLLOUTS = r'{range .items[*]}{.status.conditions[?(@.type=="Progressing")].reason}{"\n"}{end}'

# Pods of the old version keep a Deployment available while pods of the new version do not start.
# The API server asks metrics-server every few seconds, and one late answer makes it unavailable until the next.
AVAILABLE = f"""
{KUBECTL} -n kube-system wait {_DEPLOYMENTS} --for=condition=Available --timeout=5s &&
! {KUBECTL} -n kube-system get {_DEPLOYMENTS} -o jsonpath='{_ROLLOUTS}' | grep -vx NewReplicaSetAvailable &&
{KUBECTL} wait apiservice/v1beta1.metrics.k8s.io --for=condition=Available --timeout=10s
"""
_NODES = r'{range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}'
# As long as no Node is Ready, pods wait for a network that the user installs.
_NO_NODE_IS_READY = f"nodes=$({KUBECTL} get nodes -o jsonpath='{_NODES}') && ! echo \"$nodes\" | grep -qx True"


def available(cluster: Cluster) -> str:
    """Return a shell condition: add-ons are available, or wait for a network that the user installs."""
    return (
        AVAILABLE if cluster.pod_network_provider == "flannel" else f"{{ {_NO_NODE_IS_READY}; }} || {{ {AVAILABLE} }}"
    )


_LACKING = {
    "authorized": Difference("the administrator's rights in the cluster are missing"),
    "applied": Difference("objects of the add-ons differ"),
    "alone": Difference("an add-on exists, but should not"),
    "available": Difference("the add-ons are not available", down=True),
}
"""The difference that each condition of the look means if it does not hold."""

EXPLAIN = (
    f"{KUBECTL} get pods -A -o wide | grep -v ' Running ';"
    f" {KUBECTL} get events -A --sort-by=.lastTimestamp --field-selector type=Warning | tail -n 8"
)
# CoreDNS logs the parts of its configuration that it refuses.
_EXPLAIN = f"{EXPLAIN}; {KUBECTL} -n kube-system logs -l k8s-app=kube-dns --prefix --tail=3"
PROGRESS = f"""
{KUBECTL} get pods,events -A -o jsonpath='{{range .items[*]}}{{.kind}} {{.metadata.name}} {{.status.phase}}
  {{.status.containerStatuses[*].state}} {{.reason}} {{.message}}{{"\\n"}}{{end}}' | plain
"""


@dataclass
class ObjectsSeen(RoleSeen):
    """The result of a look at a master, with the Nodes; None if the API did not list them."""

    nodes: Seen | None = None


class ObjectsLook(Look):
    """A look at a master, and at the Nodes."""

    default = ObjectsSeen

    def command(self, paths: Iterable[str], units: Iterable[str], conditions: Mapping[str, str]) -> str:
        return f"{super().command(paths, units, conditions)}\n{nodes.LOOK}"

    def process(self, output: Iterable[str]) -> ObjectsSeen:
        lines = list(output)
        seen = super().process(lines)
        return ObjectsSeen(seen.paths, seen.units, seen.holds, nodes.read_look(lines))


@operation()
def apply(manifests: Mapping[str, bytes]) -> Generator[StringCommand, None, None]:
    """Apply these manifests (content by file name) as the next deploy would."""
    if manifests:
        yield put({f"{ADDONS}/{name}": File(text) for name, text in manifests.items()})
        files = " ".join(f"-f {ADDONS}/{name}" for name in manifests)
        yield StringCommand(f"{KUBECTL} apply {_SERVER_SIDE} {files}")
    else:
        host.noop("there is nothing to apply")


@operation()
def addons(
    manifests: Mapping[str, bytes],
    states: Mapping[str, NodeState],
    left: Collection[str],
    changed: Collection[str],
    break_glass: Callable[[], bytes],
    condition: str = AVAILABLE,
) -> Generator[StringCommand, None, None]:
    """Make the cluster's objects those of `manifests` (content by file name), and wait for available add-ons.

    Nodes get their `states`; the Nodes in `left` are deleted, and the Nodes in `changed` take pods again. Add-ons are
    available once `condition` holds. `break_glass` makes the kubeconfig that grants the administrators their rights the
    first time: it goes to this host on a pipe only.
    """
    files: Tree = {ADDONS: Directory(0o700), **{f"{ADDONS}/{name}": File(text) for name, text in manifests.items()}}
    others = f"find -H {ADDONS} -type f ! -name '.*' {' '.join(f'! -name {name}' for name in manifests)}"
    seen = see(
        host,
        ObjectsLook,
        paths=list(files),
        units=[],
        conditions={
            "authorized": f"[ \"$({KUBECTL} auth can-i '*' '*')\" = yes ]",
            "applied": f"[ -d {ADDONS} ] && {KUBECTL} diff {_SERVER_SIDE} -f {ADDONS}",
            "alone": f'[ -z "$({others})" ]',
            "available": condition,
        },
    )
    assert isinstance(seen, ObjectsSeen)
    written = differing(files, seen.paths)
    found = [*of_files(written, seen.paths), *of_conditions(_LACKING, seen.holds)]
    differs(host, [*found, *of_nodes(states, left, changed, seen.nodes)])
    waiting = bool(written)
    if written:
        yield put(written)
    if "authorized" not in seen.holds:
        yield StringCommand(
            f"{kubectl('/dev/stdin')} apply {_SERVER_SIDE} -f {ADDONS}/rbac.yaml",
            _stdin=break_glass().decode().splitlines(),
        )
    # Before the apply, since the new manifests may have objects of the same names.
    if "alone" not in seen.holds:
        yield StringCommand(
            f"for file in $({others}); do {KUBECTL} delete --ignore-not-found -f $file && rm $file || exit 1; done"
        )
    if written or not {"applied", "alone"} <= seen.holds:
        yield StringCommand(f"{KUBECTL} apply {_SERVER_SIDE} -f {ADDONS}")
        waiting = True
    quiet = not waiting and seen.holds >= {"authorized", "applied", "alone"}
    for command in nodes.bring(states, left, changed, seen.nodes):
        quiet = False
        yield command
    wait = until(condition, _PATIENCE, f"{host.name}: the add-ons are not available", _EXPLAIN, PROGRESS)
    if waiting:
        yield from reported("the add-ons", StringCommand(wait))
    elif "available" not in seen.holds and (complaint := failed_wait("the add-ons", wait, _PATIENCE)):
        yield refuse("\n".join(complaint))
    elif quiet:
        host.noop("as described")
