"""Properties of random inventories, memberships and backups."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kubekeel import backup, membership
from kubekeel.backup import Backup, BackupError, write
from kubekeel.cluster import HOST_KEYS, InventoryError, Node, load
from kubekeel.cluster import SETTINGS as NAMES_OF_SETTINGS
from kubekeel.membership import Member, Refused
from tests.clusters import HOSTS, cluster
from tests.settings import SETTINGS

settings.register_profile("gate", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("gate")

# Inventories.

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70000),
    st.floats(allow_nan=True),
    st.text(max_size=20),
    st.sampled_from(["10.0.0.0/8", "10.96.0.0/16", "0.0.0.0/0", "fd00::/64", "10.244.0.1/16", "v1.37.2", "v1.99.0"]),
    st.lists(st.text(max_size=8), max_size=3),
    st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=2),
)
NAMES = st.sampled_from(["m", "a", "b", "c", "M", "no_name", "-", "", "a" * 64, "ü"])
GROUP = st.lists(NAMES, max_size=5, unique=True)
HOST = st.dictionaries(st.sampled_from([*HOST_KEYS, "adress"]), ODD, max_size=3)
ADDRESS = st.integers(1, 6).map(lambda number: {"address": f"192.0.2.{number}"})


def loaded(groups: dict[str, list[str]], hosts: dict[str, dict[str, object]], odd: dict[str, object]) -> list[str]:
    """Return the faults of an inventory; check that the parts of an accepted one fit together."""
    try:
        made = load(groups, hosts, SETTINGS | odd)
    except InventoryError as refused:
        return list(refused.faults)
    assert made.masters
    assert len({node.address for node in made.nodes}) == len(made.nodes)
    assert not made.pod_network.overlaps(made.service_network)
    assert made.pod_network.prefixlen <= made.node_subnet_length
    return []


@given(
    groups=st.fixed_dictionaries({"etcd": GROUP, "masters": GROUP, "minions": GROUP}),
    hosts=st.dictionaries(NAMES, st.one_of(ADDRESS, HOST), max_size=5),
    odd=st.dictionaries(st.sampled_from([*NAMES_OF_SETTINGS, "cluster_nam"]), ODD, max_size=2),
)
def test_an_inventory_is_accepted_or_refused_with_a_remedy(
    groups: dict[str, list[str]], hosts: dict[str, dict[str, object]], odd: dict[str, object]
) -> None:
    described = {name: hosts.get(name, {}) for names in groups.values() for name in names}
    for fault in loaded(groups, described, odd):
        assert ": " in fault
        assert "; " in fault


@given(odd=st.dictionaries(st.sampled_from(sorted(NAMES_OF_SETTINGS)), ODD, min_size=1, max_size=3))
def test_a_fault_names_its_setting(odd: dict[str, object]) -> None:
    faults = loaded({"etcd": ["m"], "masters": ["m"], "minions": ["a"]}, {name: HOSTS[name] for name in "ma"}, odd)
    assert not faults or any(name in fault for fault in faults for name in odd)


# Memberships.

HOSTNAMES = [f"n{number}" for number in range(1, 8)]
ADDRESSES = {name: f"192.0.2.{number}" for number, name in enumerate(HOSTNAMES, 1)}


@st.composite
def memberships(draw: st.DrawFn) -> list[Member]:
    names = draw(st.lists(st.sampled_from(HOSTNAMES), min_size=1, max_size=7, unique=True))
    learner = draw(st.sampled_from([*names[1:], ""]))
    return [
        Member(
            id=f"{number:x}",
            name=name if draw(st.integers(0, 9)) else "",
            peer_url=f"https://{ADDRESSES[name]}:2380",
            learner=name == learner,
            healthy=draw(st.booleans()),
        )
        for number, name in enumerate(names, 1)
    ]


def quorate(existing: list[Member]) -> bool:
    voters = [each for each in existing if not each.learner]
    return bool(voters) and 2 * sum(each.healthy for each in voters) > len(voters)


@given(existing=memberships(), wanted=st.sampled_from(HOSTNAMES))
def test_the_others_have_quorum_after_a_member_leaves(existing: list[Member], wanted: str) -> None:
    assume(quorate(existing))
    try:
        gone = membership.leaving(wanted, ADDRESSES, existing)
    except Refused:
        return
    if gone is not None:
        assert ADDRESSES[wanted] == gone.address or gone.name == wanted
        assert quorate([each for each in existing if each != gone])


@given(existing=memberships(), name=st.sampled_from(HOSTNAMES))
def test_an_admitted_member_replaces_no_healthy_member(existing: list[Member], name: str) -> None:
    assume(quorate(existing))
    node = Node(name, ADDRESSES[name], "amd64", frozenset({"etcd"}))
    try:
        admitted = membership.admission(node, HOSTNAMES, existing)
    except Refused:
        return
    left = [each for each in existing if each.id not in admitted.removed]
    assert all(each.name == name or each.address == node.address for each in existing if each not in left)
    assert not any(each.healthy for each in existing if each.id in admitted.removed)
    assert quorate(left)
    assert f"{name}={membership.peer_url(node)}" in admitted.initial_cluster.split(",")


@given(existing=memberships())
def test_members_equal_to_the_inventory_have_no_fault(existing: list[Member]) -> None:
    group = {HOSTNAMES[int(each.address.rpartition(".")[2]) - 1]: each.address for each in existing}
    assert membership.faults(group, existing, dict.fromkeys(group, True)) == []


@given(existing=memberships(), group=st.lists(st.sampled_from(HOSTNAMES), min_size=1, unique=True))
def test_every_member_missing_in_the_inventory_is_named(existing: list[Member], group: list[str]) -> None:
    expected = {name: ADDRESSES[name] for name in group}
    faults = membership.faults(expected, existing, dict.fromkeys(group, True))
    for each in existing:
        if each.address not in expected.values() and each.name not in expected:
            assert any(each.address in fault for fault in faults)


# Backups.


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("backup")
    state, snapshot = folder / "pki", folder / "snapshot.db"
    (state / "nodes/m").mkdir(parents=True)
    for name in ("ca.key", "nodes/m/kubelet.key", "encryption.key"):
        (state / name).write_text(name)
    snapshot.write_bytes(b"x" * 512 + sha256(b"x" * 512).digest())
    with pytest.MonkeyPatch.context() as cheap:
        cheap.setattr(backup, "_COST", 2)
        write(folder / "one.kubekeel", b"correct horse", state, cluster(), "m", snapshot)
    return (folder / "one.kubekeel").read_bytes()


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_backup_with_a_changed_or_missing_byte_is_refused(sealed: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(sealed) - 1))
    flipped = data.draw(st.integers(1, 255))
    cut = data.draw(st.booleans())
    damaged = sealed[:place] if cut else sealed[:place] + bytes([sealed[place] ^ flipped]) + sealed[place + 1 :]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as cheap:
        cheap.setattr(backup, "_COST", 2)
        (Path(folder) / "damaged").write_bytes(damaged)
        with pytest.raises(BackupError):
            Backup.open(Path(folder) / "damaged", b"correct horse")
