"""What hosts have otherwise than it is described, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath

from kubekeel.artifacts import Supply
from kubekeel.cluster import Cluster, Node
from kubekeel.files import Absent, Directory, Entry, File, Link, Seen, Tree
from kubekeel.needs import STATIC_PODS, needs
from kubekeel.nodes import DRAINED, KINDS, Edit, NodeState, changes
from kubekeel.nodes import Seen as Nodes
from kubekeel.parts import Part
from kubekeel.preflight import HostSeen
from kubekeel.release import Component

_LINES, _HOSTS = 40, 8
"""How many differences of a host, and names of hosts that are alike, are shown."""
_BINARIES, _STORE = "/opt/kubekeel/bin/", "/opt/kubekeel/store/"
_KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Difference:
    """How a host differs, in words that come after its name; by one that is `unwell` something does not serve."""

    words: str
    unwell: bool = False


_UNDESCRIBED = "is there, and is not described"
NEW = Difference("new, everything is to be installed")


def of_files(changed: Tree, seen: Mapping[str, Seen]) -> Iterator[Difference]:
    """Name the entries that differ, without their contents; a missing folder stands for all in it.

    Binaries and the copies of them that a host keeps are left to `of_versions`.
    """
    missing = {path for path in changed if path not in seen}
    for path, entry in sorted(changed.items()):
        is_binary = isinstance(entry, Link) and path in seen and path.startswith(_BINARIES)
        if not (is_binary or path.startswith(_STORE) or missing.intersection(map(str, PurePosixPath(path).parents))):
            yield Difference(f"{path} {_otherwise(entry, seen.get(path))}")


def undescribed(path: str) -> Difference:
    """A file that is there, and should not."""
    return Difference(f"{path} {_UNDESCRIBED}")


def _otherwise(entry: Entry, seen: Seen | None) -> str:
    match entry, seen:
        case Absent(), _:
            return _UNDESCRIBED
        case _, None:
            return "is missing"
        case File() as file, Seen(kind="f") if file.digest == seen.digest:
            return _other(_rights(seen), _rights(file))
        case Directory() as folder, Seen(kind="d"):
            return _other(_rights(seen), _rights(folder))
    return "differs"


def _rights(entry: File | Directory | Seen) -> str:
    return f"{entry.mode:04o} {entry.owner}"


def of_conditions(lacking: Mapping[str, Difference], holds: Set[str]) -> Iterator[Difference]:
    """What it is to a host that conditions do not hold, which are given by name."""
    yield from (found for condition, found in lacking.items() if condition not in holds)


def of_unit(unit: str, active: bool, ready: bool, older: bool) -> Iterator[Difference]:
    """How a unit differs that should serve; `older` says that it runs since before its files were put there."""
    if not active:
        yield Difference(f"{unit} does not run", unwell=True)
    elif not ready:
        yield Difference(f"{unit} does not serve", unwell=True)
    if active and older:
        yield Difference(f"{unit} runs since before its files changed")


def of_versions(node: Node, cluster: Cluster, supply: Supply, seen: HostSeen) -> Iterator[Difference]:
    """The components that a host has in another version, or as another build, than is described."""
    wanted, release = needs(node, cluster), cluster.release
    found = {}
    for name in sorted(wanted.binaries & seen.links.keys()):
        component = release.component_of(name)
        if supply.binary(name, wanted.arch).sha256 not in seen.links[name].split("/"):
            before = seen.identity.kubernetes if component.name == _KUBERNETES else ""
            found[_called(name, component)] = _other(before, component.version)
    for name in sorted(seen.runs.keys() & (wanted.binaries | set(STATIC_PODS) & wanted.images)):
        component = release.component_of(name)
        if seen.runs[name] not in ("", component.version):
            found[_called(name, component)] = _other(seen.runs[name], component.version)
    for name, words in found.items():
        yield Difference(f"{name} {words}")


def _called(binary: str, component: Component) -> str:
    """Kubernetes has many programs, and other components have one that counts."""
    return binary if component.name == _KUBERNETES else component.name


def _other(before: str, described: str) -> str:
    if before in ("", described):
        return f"is not the {described} described"
    return f"is {before}, {described} is described"


def of_parts(left: Iterable[Part]) -> Iterator[Difference]:
    """The parts that are left on a host which is no longer to have them."""
    yield from (Difference(f"files of a former role are there: {part.name}") for part in left)


def of_nodes(
    wanted: Mapping[str, NodeState], left: Collection[str], changed: Collection[str], seen: Nodes | None
) -> Iterator[Difference]:
    """How the cluster's Nodes differ, as the API has them; None is for an API that did not list them."""
    if seen is None:
        yield Difference("the API does not list its nodes", unwell=True)
        return
    for change, names in changes(wanted, seen).items():
        kinds = [kind for kind in KINDS if getattr(change, kind) != Edit()]
        yield from (Difference(f"Node {name} has other {' and '.join(kinds)}") for name in names)
    drained = (name for name in changed if DRAINED in seen.labels(name))
    yield from (Difference(f"Node {name} was drained, and takes no pods") for name in drained)
    yield from (Difference(f"Node {name} is there, and is not described") for name in seen.nodes.keys() & set(left))


def as_lines(differences: Mapping[str, Sequence[Difference]]) -> list[str]:
    """The differences by host as lines; hosts that are alike share theirs.

    Those on which something does not serve come first, then those with most differences, and the others last.
    """
    alike: defaultdict[tuple[Difference, ...], list[str]] = defaultdict(list)
    for name, found in differences.items():
        alike[tuple(sorted(found, key=lambda each: not each.unwell))].append(name)
    groups = sorted(alike.items(), key=lambda group: (not any(each.unwell for each in group[0]), -len(group[0])))
    return [f"{_named(names)}: {line}" for found, names in groups for line in _lines(found)]


def _lines(found: Sequence[Difference]) -> list[str]:
    shown = [each.words for each in found[:_LINES]]
    if more := len(found) - len(shown):
        shown.append(f"(and {more} more)")
    return shown or ["nothing differs"]


def _named(names: Sequence[str]) -> str:
    if (more := len(names) - _HOSTS) > 1:
        return f"{', '.join(names[:_HOSTS])} and {more} more"
    return ", ".join(names)
