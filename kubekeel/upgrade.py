"""Upgrades from the running versions to the described ones: refusals, and the steps in order.

The order follows Kubernetes' version skew policy: no component is ever newer than an API server that it may call.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kubekeel.artifacts import Supply
from kubekeel.cluster import Cluster, Node
from kubekeel.needs import STATIC_PODS, needs, registered, runs_pods
from kubekeel.release import minor_of, numbers
from kubekeel.settings.values import part_of

Running = Mapping[str, Mapping[str, str]]
"""The running versions by host and component; "" for an unknown version."""

API_SERVER, *COMPANIONS = STATIC_PODS
_KUBERNETES = (*STATIC_PODS, "kubelet")
_OF_NODES = ("kubelet", "containerd")
_API_SERVERS = "API servers"
_COMPANIONS = "controller managers and schedulers"
_NODES = "nodes: kubelet, containerd and kube-proxy"
_TURN = {"etcd": 10, _API_SERVERS: 15, _COMPANIONS: 10, _NODES: 20}
"""The seconds of one turn on current hardware, without a drain."""
_EFFECTS = {
    **dict.fromkeys(("runc", "cni-plugins"), "nothing restarts, and new pods use it"),
    "crictl": "nothing restarts",
    "pause": "containerd restarts, node by node",
    "flannel": "flanneld restarts, node by node",
    "kube-network-policies": "restarts on all nodes at once, and traffic goes on",
    **dict.fromkeys(("coredns", "metrics-server"), "its pods are replaced, one by one"),
}
"""What another version of a component without a step of its own does to a cluster."""
_DRAIN = 30
"""The seconds that Kubernetes gives pods to end by default."""


@dataclass(frozen=True)
class Step:
    """A change of `what` to one version, on `hosts` in this order, `at_once` hosts together.

    `drained` are the hosts that are drained first. `also` are other components that change with it, like "containerd
    v2.4.1 to v2.4.2".
    """

    what: str
    before: tuple[str, ...]
    after: str
    hosts: tuple[str, ...]
    at_once: int = 1
    drained: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


def steps(cluster: Cluster, running: Running) -> list[Step]:
    """Return the steps of a deploy's upgrade, in order; none if all running versions are the described ones."""
    # Masters come last; a host with both roles counts as a master.
    nodes = [*(node for node in cluster.minions if "masters" not in node.roles), *cluster.masters]
    found = [
        _step(cluster, running, "etcd", ("etcd",), cluster.etcd),
        _step(cluster, running, _API_SERVERS, (API_SERVER,), cluster.masters),
        _step(cluster, running, _COMPANIONS, COMPANIONS, cluster.masters),
        _step(cluster, running, _NODES, _OF_NODES, nodes),
    ]
    return [step for step in found if step]


def drains(cluster: Cluster, running: Running) -> bool:
    """Whether a deploy drains nodes."""
    return any(step.drained for step in steps(cluster, running))


def _step(
    cluster: Cluster, running: Running, what: str, components: Sequence[str], nodes: Iterable[Node]
) -> Step | None:
    changed = {node: changes for node in nodes if (changes := _changes(cluster, running, node, components))}
    if not changed:
        return None
    # The first component that changes anywhere gives the step its versions.
    first = next(name for name in components if any(name in changes for changes in changed.values()))
    before = {
        name: sorted({running[node.name][name] for node, changes in changed.items() if name in changes})
        for name in components
    }
    others = (name for name in components if components == _OF_NODES and name != first and before[name])
    return Step(
        what=what,
        before=tuple(before[first]),
        after=_described(cluster, first),
        hosts=tuple(node.name for node in changed),
        at_once=at_once(cluster) if components == _OF_NODES else 1,
        drained=tuple(node.name for node in changed if components == _OF_NODES and is_drained(node, cluster, running)),
        also=tuple(f"{name} {_from(before[name])} to {_described(cluster, name)}" for name in others),
    )


def _changes(cluster: Cluster, running: Running, node: Node, components: Iterable[str]) -> list[str]:
    """Return the components that run on a node in another version than described."""
    runs = running.get(node.name, {})
    return [name for name in components if runs.get(name, _described(cluster, name)) != _described(cluster, name)]


def _described(cluster: Cluster, component: str) -> str:
    return cluster.release.component_of(component).version


def at_once(cluster: Cluster) -> int:
    """Return how many nodes change together; masters change one by one."""
    return part_of(cluster.upgrade_batch, sum(1 for node in cluster.minions if "masters" not in node.roles))


def is_drained(node: Node, cluster: Cluster, running: Running) -> bool:
    """Return whether a node is drained before its programs change, by the setting `drain`."""
    changes = _changes(cluster, running, node, _OF_NODES)
    if not registered(node, cluster) or not changes or cluster.drain == "never":
        return False
    return cluster.drain == "always" or (
        "kubelet" in changes and is_of_another_minor("kubelet", node, cluster, running)
    )


def is_of_another_minor(component: str, node: Node, cluster: Cluster, running: Running) -> bool:
    """Whether a component may run on a node in another minor version than described."""
    runs = running.get(node.name, {}).get(component)
    return not runs or minor_of(runs) != minor_of(_described(cluster, component))


# The plan in words.


def plan(cluster: Cluster, running: Running, more: Sequence[str] = ()) -> list[str]:
    """Return the steps of an upgrade in words, one line each; empty if there is nothing to upgrade.

    `more` are lines of `others`.
    """
    found = steps(cluster, running)
    if not (found or more):
        return []
    lines = [_headline(cluster, running), "copy binaries and images to all hosts, while the cluster goes on serving"]
    if any(step.what in ("etcd", _API_SERVERS) for step in found):
        lines.append("take a snapshot of etcd")
    lines += [*map(_in_words, found), *more]
    duration = f"  about {_minutes(cluster, found)} min from step 2 on, if pods end within {_DRAIN} s"
    return [
        lines[0],
        *(f"  {number}. {line}" for number, line in enumerate(lines[1:], 1)),
        *([duration] if found else []),
    ]


def others(
    cluster: Cluster, supply: Supply, links: Mapping[str, Mapping[str, str]], pinned: Mapping[str, Collection[str]]
) -> list[str]:
    """Return the components without a step of their own that a deploy replaces, in words.

    `links` has the links in each node's folder of binaries, `pinned` the references of its images, both by node.
    """
    hosts: defaultdict[str, list[str]] = defaultdict(list)
    for node in cluster.nodes:
        changed = _replaced(node, cluster, supply, links.get(node.name, {}), pinned.get(node.name, ()))
        for component in cluster.release.components:
            if changed & {binary.name for binary in component.binaries}:
                hosts[component.name].append(node.name)
    return [
        f"{each.name} {each.version}: {', '.join(hosts[each.name])}; {_EFFECTS[each.name]}"
        for each in cluster.release.components
        if each.name in hosts and each.name in _EFFECTS
    ]


def _replaced(
    node: Node, cluster: Cluster, supply: Supply, links: Mapping[str, str], pinned: Collection[str]
) -> set[str]:
    """Return the binaries and images of which the node has another version or build."""
    wanted = needs(node, cluster)
    digests = {name: supply.binary(name, node.arch).sha256 for name in wanted.binaries & links.keys()}
    references = {name: supply.image(name, node.arch).reference for name in wanted.images}
    return {
        *(name for name, digest in digests.items() if digest not in links[name].split("/")),
        *(name for name, reference in references.items() if _has_another(reference, pinned)),
    }


def _has_another(reference: str, pinned: Collection[str]) -> bool:
    repository = reference.rpartition(":")[0]
    return reference not in pinned and any(each.rpartition(":")[0] == repository for each in pinned)


def _minutes(cluster: Cluster, found: Iterable[Step]) -> int:
    masters = {node.name for node in cluster.masters}

    def turns(step: Step, hosts: Sequence[str]) -> int:
        alone = len(masters.intersection(hosts))
        return alone + -(-(len(hosts) - alone) // step.at_once)

    seconds = sum(turns(step, step.hosts) * _TURN[step.what] + turns(step, step.drained) * _DRAIN for step in found)
    return -(-seconds // 60)


def _headline(cluster: Cluster, running: Running) -> str:
    before = _versions(cluster, running, _KUBERNETES)
    if before:
        return f"upgrade of Kubernetes {before[0]} to {cluster.kubernetes_version}:"
    return "upgrade of components:"


def _in_words(step: Step) -> str:
    way = "one by one" if step.at_once == 1 else f"minions {step.at_once} at once, masters one by one"
    drained = f"; drained first: {', '.join(step.drained)}" if step.drained else ""
    also = f", with {', '.join(step.also)}" if step.also else ""
    return f"{step.what}, {_from(step.before)} to {step.after}{also}, {way}: {', '.join(step.hosts)}{drained}"


def _from(versions: Iterable[str]) -> str:
    return " and ".join(each or "an unknown version" for each in versions)


def progress(cluster: Cluster, running: Running) -> str:
    """Return the progress of an upgrade of Kubernetes in words; empty if there is none."""
    before = _versions(cluster, running, _KUBERNETES)
    if not before:
        return ""
    nodes = [node for node in cluster.nodes if running.get(node.name, {}).keys() & set(_KUBERNETES)]
    done = sum(1 for node in nodes if not _changes(cluster, running, node, _KUBERNETES))
    return f"upgrade {before[0]} to {cluster.kubernetes_version}: {done} of {len(nodes)} nodes"


def _versions(cluster: Cluster, running: Running, components: Sequence[str]) -> list[str]:
    """Return the running versions that differ from the described ones, oldest first."""
    found = {
        running[node.name][name] for node in cluster.nodes for name in _changes(cluster, running, node, components)
    } - {""}
    return sorted(found, key=numbers)


def warnings(cluster: Cluster, running: Running, lines: Iterable[str]) -> Iterator[str]:
    """Yield possible obstacles to an upgrade, from the lines of files/control_plane/in-the-way.sh on all masters."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for kind, _, rest in (line.partition(" ") for line in lines):
        found[kind].append(rest)
    if drains(cluster, running):
        for name, _, pods in (budget.partition(" ") for budget in found["budget"]):
            yield from _budget_warning(name, pods)
    users: defaultdict[str, list[str]] = defaultdict(list)
    for api, _, user in (user.partition(" ") for user in found["user"]):
        users[api].append(user)
    for metric in found["deprecated"]:
        labels = dict(re.findall(r'(\w+)="([^"]*)"', metric))
        removed = labels.get("removed_release", "")
        if removed and numbers(f"v{removed}.0") <= numbers(cluster.kubernetes_version):
            name = "/".join(filter(None, (labels["group"], labels["version"], labels["resource"])))
            by = "; ".join(users[name]) or "look for k8s.io/deprecated in the API servers' audit logs"
            problem = f"clients use it, but Kubernetes {removed} no longer serves it"
            yield f"{name}: {problem} ({by}); let them use a newer one"


def _budget_warning(name: str, pods: str) -> Iterator[str]:
    if pods not in ("", "0"):
        remedy = "give it another replica or a looser budget, or a drain waits for drain_timeout and ends the run"
        yield f"{name}: its disruption budget allows no eviction now ({pods} pods); {remedy}"


# Refusals.


def faults(
    cluster: Cluster,
    running: Running,
    back: bool = False,
    deployed: Mapping[str, str] | None = None,
    stopped: Running | None = None,
) -> list[str]:
    """Return the reasons why the running versions cannot become the described ones, one line each.

    With `back`, the running versions may be later patch releases than the described ones. `deployed` has the version of
    Kubernetes at the last finished deploy, by host, and `stopped` the installed versions of programs that do not run.
    """
    there = {name: {**(stopped or {}).get(name, {}), **runs} for name, runs in running.items()}
    return [
        *_way_faults(cluster, there, "kubernetes_version", _KUBERNETES, back),
        *_way_faults(cluster, there, "versions: etcd", ("etcd",), back),
        *_absence_faults(cluster, running),
        *_join_faults(cluster, running, deployed or {}),
    ]


def _way_faults(
    cluster: Cluster, running: Running, subject: str, components: Sequence[str], back: bool
) -> Iterator[str]:
    after = _described(cluster, components[0])
    hosts: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for node in cluster.nodes:
        # A kubelet may be three minor versions behind its API server, and a drained one may skip minor versions.
        skips = components == _KUBERNETES and "masters" not in node.roles
        for version in {running[node.name][name] for name in _changes(cluster, running, node, components)} - {""}:
            if why := _way_fault(version, after, back, skips):
                hosts[version, *why].append(node.name)
    for version, problem, remedy in sorted(hosts, key=lambda key: numbers(key[0])):
        names = ", ".join(hosts[version, problem, remedy])
        yield f"{subject}: {problem} ({after}, and {version} runs on {names}); {remedy}"


def _way_fault(before: str, after: str, back: bool, skips: bool) -> tuple[str, str] | None:
    """Return the fault of a change from one version to another, and the remedy; None if it is allowed.

    It may go back a patch release with `back`, and skip minor versions with `skips`.
    """
    (major, old, _), (_, new, _) = numbers(before), numbers(after)
    if new > old + 1 and not skips:
        between = " and ".join(f"{major}.{minor}" for minor in range(old + 1, new))
        return "skips a minor version", f"upgrade to a patch release of {between} first, then to this one"
    if new < old:
        remedy = f"stay with {major}.{old}; to go back, restore a backup from before the upgrade"
        return "goes back a minor version, which would destroy its data", remedy
    if numbers(after) < numbers(before) and not back:
        return (
            "goes back a patch release",
            f"set {before}, or a later one; to go back on purpose, add --data downgrade=patch",
        )
    return None


def _absence_faults(cluster: Cluster, running: Running) -> Iterator[str]:
    """Yield the missing hosts: without them a component would be newer than an API server, or etcd's versions mixed."""
    for what, components, needed in (("Kubernetes", _KUBERNETES, cluster.masters), ("etcd", ("etcd",), cluster.etcd)):
        absent = [node.name for node in needed if node.name not in running]
        if absent and any(_changes(cluster, running, node, components) for node in cluster.nodes):
            before, *_ = [*_versions(cluster, running, components), "an unknown version"]
            change = f"{what} {before} to {_described(cluster, components[0])}"
            remedy = "start the missing hosts, and leave --limit and --exclude out; only minions may be left out"
            yield f"{', '.join(absent)}: not in this run, but needed for an upgrade ({change}); {remedy}"
    members = [node.name for node in cluster.etcd]
    if not running.keys() & set(members) and _versions(cluster, running, (API_SERVER,)):
        remedy = "include one of them in the run, so that it can take a snapshot first"
        yield f"{', '.join(members)}: no member of etcd is in this run, but needed for an upgrade; {remedy}"


def _join_faults(cluster: Cluster, running: Running, deployed: Mapping[str, str]) -> Iterator[str]:
    """Yield new nodes that would be newer than the API servers, whose hosts are not in the run."""
    absent = [node.name for node in cluster.masters if node.name not in running]
    here = (node for node in cluster.nodes if runs_pods(node) and node.name in running)
    new = [node.name for node in here if "kubelet" not in running[node.name]]
    oldest = min(filter(None, deployed.values()), key=numbers, default="")
    if absent and new and oldest and numbers(oldest) < numbers(cluster.kubernetes_version):
        change = f"{cluster.kubernetes_version}, and {oldest} was deployed last"
        remedy = "leave --limit and --exclude out, so that the API servers are upgraded first"
        yield f"{', '.join(new)}: would get a newer Kubernetes than the API servers ({change}); {remedy}"
