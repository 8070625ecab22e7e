"""The differences between hosts and their description, in words."""

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
from kubekeel.render import BIN

_LINES, _HOSTS = 40, 8
"""The number of differences per host, and of names of hosts with equal differences, that are shown."""
_BINARIES, _STORE = f"{BIN}/", "/opt/kubekeel/store/"
_KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Difference:
    """A host's difference, in words that follow its name; with `down` something on the host does not serve."""

    words: str
    down: bool = False


_UNDESCRIBED = "exists, but should not"
NEW = Difference("is new, and gets everything")


def of_files(changed: Tree, seen: Mapping[str, Seen]) -> Iterator[Difference]:
    """Yield the entries that differ, without their contents; a missing folder stands for all its entries.

    `of_versions` compares binaries and a host's copies of them.
    """
    missing = {path for path in changed if path not in seen}
    for path, entry in sorted(changed.items()):
        is_binary = isinstance(entry, Link) and path in seen and path.startswith(_BINARIES)
        if not (is_binary or path.startswith(_STORE) or missing.intersection(map(str, PurePosixPath(path).parents))):
            yield Difference(f"{path} {_file_words(entry, seen.get(path))}")


def undescribed(path: str) -> Difference:
    """Return the difference of an unexpected file."""
    return Difference(f"{path} {_UNDESCRIBED}")


def _file_words(entry: Entry, seen: Seen | None) -> str:
    match entry, seen:
        case Absent(), _:
            return _UNDESCRIBED
        case _, None:
            return "is missing"
        case File() as file, Seen(kind="f") if file.digest == seen.digest:
            return _change_words(_rights(seen), _rights(file))
        case Directory() as folder, Seen(kind="d"):
            return _change_words(_rights(seen), _rights(folder))
    return "differs"


def _rights(entry: File | Directory | Seen) -> str:
    return f"{entry.mode:04o} {entry.owner}"


def of_conditions(lacking: Mapping[str, Difference], holds: Set[str]) -> Iterator[Difference]:
    """Yield the differences of `lacking` whose conditions, by name, do not hold."""
    yield from (found for condition, found in lacking.items() if condition not in holds)


def of_unit(unit: str, active: bool, ready: bool, older: bool, enabled: bool = True) -> Iterator[Difference]:
    """Yield the differences of a unit that should serve, and start at boot.

    `older` means that it started before its files changed.
    """
    if not active:
        yield Difference(f"{unit} does not run", down=True)
    elif not ready:
        yield Difference(f"{unit} does not serve", down=True)
    if active and older:
        yield Difference(f"{unit} started before its files changed")
    if active and not enabled:
        yield Difference(f"{unit} does not start at boot")


def of_versions(node: Node, cluster: Cluster, supply: Supply, seen: HostSeen) -> Iterator[Difference]:
    """Yield the components whose version or build on a host differs from the description."""
    wanted, release = needs(node, cluster), cluster.release
    found = {}
    for name in sorted(wanted.binaries & seen.links.keys()):
        component = release.component_of(name)
        if supply.binary(name, wanted.arch).sha256 not in seen.links[name].split("/"):
            before = seen.identity.kubernetes if component.name == _KUBERNETES else ""
            found[_shown_name(name, component)] = _change_words(before, component.version)
    for name in sorted(seen.runs.keys() & (wanted.binaries | set(STATIC_PODS) & wanted.images)):
        component = release.component_of(name)
        if seen.runs[name] not in ("", component.version):
            found[_shown_name(name, component)] = _change_words(seen.runs[name], component.version)
    for name, words in found.items():
        yield Difference(f"{name} {words}")


def _shown_name(binary: str, component: Component) -> str:
    """Return the shown name: a program's for Kubernetes, which has many, and else the component's."""
    return binary if component.name == _KUBERNETES else component.name


def _change_words(before: str, described: str) -> str:
    if not before:
        return f"is another version or build, but should be {described}"
    if before == described:
        return f"is another build of {described}"
    return f"is {before}, but should be {described}"


def of_parts(left: Iterable[Part]) -> Iterator[Difference]:
    """Yield the parts of former roles that are left on a host."""
    yield from (Difference(f"has files of a former role: {part.name}") for part in left)


def of_nodes(
    wanted: Mapping[str, NodeState], left: Collection[str], changed: Collection[str], seen: Nodes | None
) -> Iterator[Difference]:
    """Yield the differences of the cluster's Nodes; `seen` is None if the API did not list them."""
    if seen is None:
        yield Difference("the API does not list its nodes", down=True)
        return
    for change, names in changes(wanted, seen).items():
        kinds = [kind for kind in KINDS if getattr(change, kind) != Edit()]
        yield from (Difference(f"Node {name} should have other {' and '.join(kinds)}") for name in names)
    drained = (name for name in changed if DRAINED in seen.labels(name))
    yield from (Difference(f"Node {name} was drained, and takes no pods") for name in drained)
    yield from (Difference(f"Node {name} {_UNDESCRIBED}") for name in seen.nodes.keys() & set(left))


def as_lines(differences: Mapping[str, Sequence[Difference]]) -> list[str]:
    """Return the differences by host as lines; hosts with equal differences share theirs.

    Hosts with services that do not serve come first, then hosts by their number of differences.
    """
    alike: defaultdict[tuple[Difference, ...], list[str]] = defaultdict(list)
    for name, found in differences.items():
        alike[tuple(sorted(found, key=lambda each: not each.down))].append(name)
    groups = sorted(alike.items(), key=lambda group: (not any(each.down for each in group[0]), -len(group[0])))
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
