"""Differences between hosts and the desired state, in words for users."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.differences import (
    Difference,
    as_lines,
    of_conditions,
    of_files,
    of_nodes,
    of_parts,
    of_unit,
    of_versions,
    undescribed,
)
from kubekeel.files import Absent, Directory, File, Link, Seen, differing
from kubekeel.identity import Identity
from kubekeel.nodes import CONTROL_PLANE, DRAINED, NodeState
from kubekeel.nodes import Seen as Nodes
from kubekeel.parts import CONTROL_PLANE as CONTROL_PLANE_PART
from kubekeel.preflight import HostSeen
from tests.hosts import OLD, as_described, cluster, fit

SECRET = b"the content of a key"
FILES = {
    "/etc/d": Directory(),
    "/etc/d/key": File(SECRET),
    "/etc/d/config": File(b"new", 0o644),
    "/etc/d/old": Absent(),
    "/opt/kubekeel/store/2": Directory(),
    "/opt/kubekeel/bin/d": Link("../store/2/d"),
}
DOWN = Difference("d does not run", down=True)


def words(found: Iterable[Difference]) -> list[str]:
    return [each.words for each in found]


def test_desired_files_have_no_difference() -> None:
    assert words(of_files(differing(FILES, as_described(FILES)), as_described(FILES))) == []


def test_a_file_is_named_with_its_difference_and_without_its_content() -> None:
    seen = as_described(FILES) | {
        "/etc/d/key": Seen("f", 0o644, "root:root", OLD, digest=File(SECRET).digest),
        "/etc/d/config": Seen("f", 0o644, "root:root", OLD, digest="other"),
        "/etc/d/old": Seen("f", 0o644, "root:root", OLD),
        "/etc/d": Seen("d", 0o755, "nobody:nogroup", OLD),
    }
    assert words(of_files(differing(FILES, seen), seen)) == [
        "/etc/d is 0755 nobody:nogroup, but should be 0755 root:root",
        "/etc/d/config differs",
        "/etc/d/key is 0644 root:root, but should be 0600 root:root",
        "/etc/d/old exists, but should not",
    ]
    assert words([undescribed("/etc/d/more")]) == ["/etc/d/more exists, but should not"]


def test_a_missing_folder_stands_for_its_files() -> None:
    assert words(of_files(differing(FILES, {}), {})) == ["/etc/d is missing", "/opt/kubekeel/bin/d is missing"]


def test_binaries_are_compared_by_version_and_not_as_files() -> None:
    seen = as_described(FILES) | {"/opt/kubekeel/bin/d": Seen("l", 0o777, "root:root", OLD, target="../store/1/d")}
    assert words(of_files(differing(FILES, seen), seen)) == []


@pytest.mark.parametrize(
    ("active", "ready", "older", "expected"),
    [
        (True, True, False, []),
        (False, False, True, ["d does not run"]),
        (True, False, False, ["d does not serve"]),
        (True, True, True, ["d started before its files changed"]),
    ],
)
def test_a_unit_is_named_with_its_fault(active: bool, ready: bool, older: bool, expected: list[str]) -> None:
    found = list(of_unit("d", active, ready, older))
    assert words(found) == expected
    assert [each.down for each in found] == [not (active and ready)] * len(expected)


def test_a_running_unit_that_does_not_start_at_boot_is_named() -> None:
    assert words(of_unit("d", active=True, ready=True, older=False, enabled=False)) == ["d does not start at boot"]
    assert words(of_unit("d", active=False, ready=False, older=False, enabled=False)) == ["d does not run"]


def test_conditions_that_do_not_hold_are_named() -> None:
    assert list(of_conditions({"up": DOWN, "other": Difference("x")}, {"other"})) == [DOWN]


def supplied() -> Any:
    return SimpleNamespace(binary=lambda name, _: SimpleNamespace(sha256=f"new-{name}"))


def versions(**seen: Any) -> list[str]:
    described = cluster()
    host: HostSeen = replace(fit("a"), **seen)
    return words(of_versions(described.node("a"), described, supplied(), host))


def linked(
    *old: str, of: tuple[str, ...] = ("kubelet", "kube-proxy", "containerd", "ctr", "flanneld")
) -> dict[str, str]:
    return {name: f"../store/{'old' if name in old else 'new'}-{name}/{name}" for name in of}


def test_desired_versions_have_no_difference() -> None:
    kubernetes = cluster().kubernetes_version
    assert versions(links=linked(), runs={"kubelet": kubernetes}) == []
    assert versions() == []


def test_a_component_in_another_version_is_named_with_both_versions() -> None:
    before = Identity(kubernetes="v1.36.3")
    runs = {"kubelet": "v1.36.3", "containerd": "v2.4.1"}
    assert versions(links=linked("kubelet", "kube-proxy", "containerd", "ctr"), runs=runs, identity=before) == [
        "containerd is v2.4.1, but should be v2.4.2",
        "kube-proxy is v1.36.3, but should be v1.37.2",
        "kubelet is v1.36.3, but should be v1.37.2",
    ]


def test_a_replaced_component_that_still_runs_its_old_version_is_named() -> None:
    assert versions(links=linked(), runs={"kubelet": "v1.36.3"}) == ["kubelet is v1.36.3, but should be v1.37.2"]


def test_a_binary_of_unknown_version_is_named_as_different() -> None:
    assert versions(links=linked("flanneld")) == ["flannel is another version or build, but should be v0.28.10"]
    same = Identity(kubernetes="v1.37.2")
    assert versions(links=linked("kubelet"), identity=same) == ["kubelet is another build of v1.37.2"]


def test_parts_of_former_roles_are_named() -> None:
    assert words(of_parts([CONTROL_PLANE_PART])) == ["has files of a former role: control plane"]


def test_nodes_are_named_with_their_differences() -> None:
    wanted = {"m": NodeState({CONTROL_PLANE: ""}, taints={f"{CONTROL_PLANE}:NoSchedule": ""}), "a": NodeState({})}
    there = Nodes({"m": NodeState({}), "a": NodeState({DRAINED: ""}), "gone": NodeState({})}, {})
    assert words(of_nodes(wanted, ["gone", "never"], ["m", "a"], there)) == [
        "Node m should have other labels and taints",
        "Node a was drained, and takes no pods",
        "Node gone exists, but should not",
    ]
    assert list(of_nodes(wanted, [], [], None)) == [Difference("the API does not list its nodes", down=True)]


def test_hosts_share_equal_lines_and_those_without_differences_come_last() -> None:
    config = Difference("/etc/d differs")
    assert as_lines({"m": [], "a": [config], "b": [], "c": [config]}) == [
        "a, c: /etc/d differs",
        "m, b: nothing differs",
    ]


def test_unhealthy_hosts_come_first_then_those_with_most_differences() -> None:
    one, other = Difference("one"), Difference("other")
    assert as_lines({"m": [], "a": [one], "b": [one, other], "c": [one, DOWN]}) == [
        *("c: d does not run", "c: one"),
        *("b: one", "b: other"),
        "a: one",
        "m: nothing differs",
    ]


def test_a_line_names_few_of_a_hundred_hosts() -> None:
    assert as_lines({f"n{number}": [DOWN] for number in range(100)}) == [
        "n0, n1, n2, n3, n4, n5, n6, n7 and 92 more: d does not run"
    ]


def test_only_very_many_differences_are_shortened() -> None:
    shown = as_lines({"a": [Difference(str(number)) for number in range(40)]})
    assert len(shown) == 40
    shown = as_lines({"a": [Difference(str(number)) for number in range(52)]})
    assert (len(shown), shown[-1]) == (41, "a: (and 12 more)")
