"""Planned upgrades: their order, drains, progress and refusals."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from kubekeel.cluster import Cluster
from kubekeel.needs import STATIC_PODS
from kubekeel.upgrade import Running, drains, faults, is_drained, others, plan, progress, steps, warnings
from tests.clusters import cluster

OLD, NEW = "v1.36.3", "v1.37.2"
MASTER = (*STATIC_PODS, "kubelet")


def three(**settings: object) -> Cluster:
    return cluster(
        {"etcd": ["m1", "m2", "m3"], "masters": ["m1", "m2", "m3"], "minions": ["a", "b"]},
        {name: {"address": f"192.0.2.{number}"} for number, name in enumerate(("m1", "m2", "m3", "a", "b"), 1)},
        **{"kubernetes_version": NEW, **settings},
    )


def running(
    version: str = OLD, etcd: str = "v3.7.3", containerd: str = "v2.4.2", **changed: Mapping[str, str] | None
) -> dict[str, dict[str, str]]:
    """Return the versions on the hosts of `three`, except for `changed`; a host that is None is not in the run."""
    both = {"containerd": containerd}
    masters = {name: {**both, "etcd": etcd, **dict.fromkeys(MASTER, version)} for name in ("m1", "m2", "m3")}
    hosts = {**masters, **{name: {**both, "kubelet": version} for name in ("a", "b")}}
    return {
        name: {**runs, **(changed.get(name) or {})}
        for name, runs in hosts.items()
        if name not in changed or changed[name] is not None
    }


def test_nothing_is_planned_if_all_versions_are_desired() -> None:
    assert (steps(three(), running(NEW)), plan(three(), running(NEW)), progress(three(), running(NEW))) == ([], [], "")
    assert faults(three(), running(NEW)) == []


def test_a_bare_host_is_not_an_upgrade() -> None:
    bare: dict[str, dict[str, str]] = {name: {} for name in ("m1", "m2", "m3", "a", "b")}
    assert steps(three(), bare) == []
    assert faults(three(), bare) == []
    assert faults(three(), running(NEW, a={}, b=None, m1=None)) == []


def test_an_upgrade_follows_the_skew_policy() -> None:
    assert plan(three(versions={"containerd": "v2.4.1"}), running(etcd="v3.7.2")) == [
        "upgrade of Kubernetes v1.36.3 to v1.37.2:",
        "  1. copy binaries and images to all hosts, while the cluster goes on serving",
        "  2. take a snapshot of etcd",
        "  3. etcd, v3.7.2 to v3.7.3, one by one: m1, m2, m3",
        "  4. API servers, v1.36.3 to v1.37.2, one by one: m1, m2, m3",
        "  5. controller managers and schedulers, v1.36.3 to v1.37.2, one by one: m1, m2, m3",
        "  6. nodes: kubelet, containerd and kube-proxy, v1.36.3 to v1.37.2, with containerd v2.4.2 to v2.4.1,"
        " one by one: a, b, m1, m2, m3; drained first: a, b, m1, m2, m3",
        "  about 6 min from step 2 on, if pods end within 30 s",
    ]


SUPPLY: Any = SimpleNamespace(
    binary=lambda name, _arch: SimpleNamespace(sha256=f"new-{name}"),
    image=lambda name, _arch: SimpleNamespace(reference=f"kubekeel.local/{name}:v2"),
)


def test_a_plan_names_other_components_that_change_alone_and_what_restarts() -> None:
    old_runc = {"runc": "../store/old-runc/runc", "flanneld": "../store/new-flanneld/flanneld"}
    old_flannel = {"flanneld": "../store/old-flanneld/flanneld", "kubectl": "../store/old-kubectl/kubectl"}
    links = {"m1": old_runc, "a": old_runc, "b": old_flannel}
    # The second host never had CoreDNS, and the third one has the new one already.
    pinned = {
        "m1": ["kubekeel.local/coredns:v1"],
        "a": [],
        "b": ["kubekeel.local/coredns:v1", "kubekeel.local/coredns:v2"],
    }
    desired = three()
    versions = {each.name: each.version for each in desired.release.components}
    found = others(desired, SUPPLY, links, pinned)
    assert found == [
        f"runc {versions['runc']}: m1, a; nothing restarts, and new pods use it",
        f"flannel {versions['flannel']}: b; flanneld restarts, node by node",
        f"coredns {versions['coredns']}: m1; its pods are replaced, one by one",
    ]
    assert plan(desired, running(NEW), found) == [
        "upgrade of components:",
        "  1. copy binaries and images to all hosts, while the cluster goes on serving",
        *(f"  {number}. {line}" for number, line in enumerate(found, 2)),
    ]
    assert f"  6. {found[0]}" in plan(desired, running(), found)
    assert others(desired, SUPPLY, {}, {}) == []


def test_a_plan_names_masters_one_by_one_and_minions_in_batches() -> None:
    (line,) = (line for line in plan(three(upgrade_batch=2), running()) if "nodes: " in line)
    assert "v1.37.2, minions 2 at once, masters one by one: a, b, m1, m2, m3;" in line


def test_a_batch_is_estimated_to_take_as_long_as_one_node() -> None:
    assert plan(three(upgrade_batch=2), running())[-1].startswith("  about 5 min")
    assert plan(three(drain="never"), running())[-1].startswith("  about 3 min")


def test_an_interrupted_upgrade_continues_where_it_stopped() -> None:
    seen = running(m1=dict.fromkeys(STATIC_PODS, NEW), m2={"kube-apiserver": NEW}, a={"kubelet": NEW})
    assert [(step.what.partition(":")[0], step.hosts) for step in steps(three(), seen)] == [
        ("API servers", ("m3",)),
        ("controller managers and schedulers", ("m2", "m3")),
        ("nodes", ("b", "m1", "m2", "m3")),
    ]
    assert progress(three(), seen) == "upgrade v1.36.3 to v1.37.2: 1 of 5 nodes"
    assert progress(three(), running()) == "upgrade v1.36.3 to v1.37.2: 0 of 5 nodes"
    assert progress(three(), running(NEW, b={"kubelet": OLD})) == "upgrade v1.36.3 to v1.37.2: 4 of 5 nodes"


@pytest.mark.parametrize(
    ("drain", "before", "containerd", "drained"),
    [
        ("minor", "v1.36.3", "v2.4.2", True),
        ("minor", "v1.37.1", "v2.4.2", False),
        ("minor", "v1.37.2", "v2.4.1", False),
        ("minor", "v1.37.2", "v2.4.2", False),
        ("minor", "", "v2.4.2", True),
        ("always", "v1.37.1", "v2.4.2", True),
        ("always", "v1.37.2", "v2.4.1", True),
        ("always", "v1.37.2", "v2.4.2", False),
        ("never", "v1.36.3", "v2.4.2", False),
    ],
)
def test_a_node_is_drained_as_the_setting_says(drain: str, before: str, containerd: str, drained: bool) -> None:
    desired = three(drain=drain)
    assert is_drained(desired.node("a"), desired, running(before, containerd=containerd)) == drained


def test_a_continued_upgrade_drains_the_remaining_nodes() -> None:
    assert drains(three(), running())
    assert drains(three(), running(NEW, a={"kubelet": OLD}))
    assert not drains(three(drain="never"), running())
    assert not drains(three(), running(NEW))


def test_a_master_that_is_not_registered_is_not_drained() -> None:
    desired = three(register_masters=False)
    assert not is_drained(desired.node("m1"), desired, running())
    assert is_drained(desired.node("a"), desired, running())


@pytest.mark.parametrize(("batch", "at_once"), [(1, 1), (7, 7), ("20%", 1), ("50%", 1), ("100%", 2)])
def test_a_batch_is_a_number_or_a_percentage_of_minions(batch: object, at_once: int) -> None:
    assert steps(three(upgrade_batch=batch), running())[-1].at_once == at_once


@pytest.mark.parametrize(
    ("settings", "seen", "fault"),
    [
        (
            {},
            running("v1.35.4"),
            "kubernetes_version: skips a minor version (v1.37.2, and v1.35.4 runs on m1, m2, m3);"
            " upgrade to a patch release of 1.36 first, then to this one",
        ),
        (
            {"kubernetes_version": OLD},
            running(NEW, m1={"kube-apiserver": OLD}),
            "kubernetes_version: goes back a minor version, which would destroy its data (v1.36.3, and v1.37.2 runs on"
            " m1, m2, m3, a, b); stay with 1.37; to go back, restore a backup from before the upgrade",
        ),
        (
            {},
            running("v1.37.3"),
            "kubernetes_version: goes back a patch release (v1.37.2, and v1.37.3 runs on m1, m2, m3, a, b);"
            " set v1.37.3, or a later one; to go back on purpose, add --data downgrade=patch",
        ),
        (
            {},
            {"a": {"kubelet": OLD}},
            "m1, m2, m3: not in this run, but needed for an upgrade (Kubernetes v1.36.3 to v1.37.2); start the missing"
            " hosts, and leave --limit and --exclude out; only minions may be left out",
        ),
        (
            {},
            running(m2=None),
            "m2: not in this run, but needed for an upgrade (Kubernetes v1.36.3 to v1.37.2); start the missing hosts,"
            " and leave --limit and --exclude out; only minions may be left out",
        ),
        (
            {},
            {"a": {"kubelet": ""}},
            "m1, m2, m3: not in this run, but needed for an upgrade (Kubernetes an unknown version to v1.37.2); start"
            " the missing hosts, and leave --limit and --exclude out; only minions may be left out",
        ),
        (
            {"versions": {"etcd": "v3.6.16"}},
            running(NEW),
            "versions: etcd: goes back a minor version, which would destroy its data (v3.6.16, and v3.7.3 runs on m1,"
            " m2, m3); stay with 3.7; to go back, restore a backup from before the upgrade",
        ),
        (
            {},
            running(NEW, etcd="v3.5.30"),
            "versions: etcd: skips a minor version (v3.7.3, and v3.5.30 runs on m1, m2, m3); upgrade to a patch"
            " release of 3.6 first, then to this one",
        ),
        (
            {},
            running(NEW, etcd="v3.6.16", m3=None),
            "m3: not in this run, but needed for an upgrade (etcd v3.6.16 to v3.7.3); start the missing hosts, and"
            " leave --limit and --exclude out; only minions may be left out",
        ),
    ],
)
def test_an_upgrade_that_would_break_the_cluster_is_refused(
    settings: Mapping[str, object], seen: Mapping[str, Mapping[str, str]], fault: str
) -> None:
    assert fault in faults(three(**settings), seen)


def test_a_version_that_is_installed_but_stopped_limits_an_upgrade_too() -> None:
    seen = {"m1": {}, "m2": {}, "m3": {}}
    stopped = {name: {"etcd": "v3.7.3"} for name in seen}
    assert faults(three(versions={"etcd": "v3.6.16"}), seen, stopped=stopped) == [
        "versions: etcd: goes back a minor version, which would destroy its data (v3.6.16, and v3.7.3 runs on m1, m2,"
        " m3); stay with 3.7; to go back, restore a backup from before the upgrade"
    ]


@pytest.mark.parametrize(
    "seen",
    [
        running(),
        running("v1.37.1"),
        running(NEW, etcd="v3.6.16"),
        running(b=None),
        running(NEW, m1=None),
        running(""),
        # It was left out of an earlier upgrade.
        running(NEW, b={"kubelet": "v1.35.4"}),
    ],
)
def test_a_safe_upgrade_is_accepted(seen: Mapping[str, Mapping[str, str]]) -> None:
    assert faults(three(), seen) == []


def test_a_requested_patch_downgrade_is_accepted_and_a_minor_one_is_not() -> None:
    assert faults(three(), running("v1.37.3"), back=True) == []
    assert len(faults(three(), running("v1.38.0"), back=True)) == 1


APART = {"etcd": ["e1", "e2", "e3"], "masters": ["m1"], "minions": ["a", "b"]}
AT_E1 = {"e1": {"etcd": "v3.7.3"}}


def apart() -> Cluster:
    hosts = {
        name: {"address": f"192.0.2.{number}"} for number, name in enumerate(("e1", "e2", "e3", "m1", "a", "b"), 1)
    }
    return cluster(APART, hosts, kubernetes_version=NEW)


@pytest.mark.parametrize(
    ("seen", "deployed", "expected"),
    [
        (
            {**AT_E1, "a": {}},
            {"e1": OLD, "a": ""},
            [
                "a: would get a newer Kubernetes than the API servers (v1.37.2, and v1.36.3 was deployed last); leave"
                " --limit and --exclude out, so that the API servers are upgraded first"
            ],
        ),
        (
            # Its kubelet is stopped.
            {**AT_E1, "a": {"containerd": "v2.4.2"}},
            {"e1": OLD, "a": OLD},
            [
                "a: would get a newer Kubernetes than the API servers (v1.37.2, and v1.36.3 was deployed last); leave"
                " --limit and --exclude out, so that the API servers are upgraded first"
            ],
        ),
        ({**AT_E1, "a": {}}, {"e1": NEW, "a": ""}, []),
        ({**AT_E1, "m1": dict.fromkeys(MASTER, OLD), "a": {}}, {"e1": OLD, "m1": OLD}, []),
        (AT_E1, {"e1": OLD}, []),
    ],
)
def test_a_new_node_does_not_get_ahead_of_api_servers_outside_the_run(
    seen: Mapping[str, Mapping[str, str]], deployed: Mapping[str, str], expected: list[str]
) -> None:
    assert faults(apart(), seen, deployed=deployed) == expected


def test_an_upgrade_without_a_member_of_etcd_for_the_snapshot_is_refused() -> None:
    assert faults(apart(), {"m1": dict.fromkeys(MASTER, OLD)}) == [
        "e1, e2, e3: no member of etcd is in this run, but needed for an upgrade; include one of them in the run,"
        " so that it can take a snapshot first"
    ]


USED = (
    'deprecated group="flowcontrol.apiserver.k8s.io",removed_release="1.37",resource="flowschemas",version="v1beta3"',
    "user flowcontrol.apiserver.k8s.io/v1beta3/flowschemas jane, helm/3.12",
    "user flowcontrol.apiserver.k8s.io/v1beta3/flowschemas system:serviceaccount:team:ci, curl/8",
)


def test_a_plan_warns_of_apis_that_the_new_version_no_longer_serves_and_names_their_users() -> None:
    name = "flowcontrol.apiserver.k8s.io/v1beta3/flowschemas"
    by = "jane, helm/3.12; system:serviceaccount:team:ci, curl/8"
    warning = f"{name}: clients use it, but Kubernetes 1.37 no longer serves it ({by}); let them use a newer one"
    assert [*warnings(three(), running(), USED)] == [warning]
    unknown, *_ = warnings(three(), running(), USED[:1])
    assert "look for k8s.io/deprecated in the API servers' audit logs" in unknown
    assert [*warnings(three(), running(), [each.replace("1.37", "1.38") for each in USED])] == []
    assert [*warnings(three(), running(), ['deprecated group="",removed_release="",resource="endpoints"'])] == []


@pytest.mark.parametrize(
    ("seen", "drain", "pods", "count"),
    [
        (running(), "minor", 2, 1),
        (running(), "never", 2, 0),
        (running("v1.37.1"), "minor", 2, 0),
        (running("v1.37.1"), "always", 2, 1),
        # It has no pods.
        (running(), "minor", 0, 0),
    ],
)
def test_a_plan_warns_of_budgets_only_if_it_drains(seen: Running, drain: str, pods: int, count: int) -> None:
    found = [*warnings(three(drain=drain), seen, [f"budget team/web {pods}"])]
    assert len(found) == count
    assert all(
        line.startswith(f"team/web: its disruption budget allows no eviction now ({pods} pods); ") for line in found
    )
