"""Properties of random inventories, memberships, upgrades, nodes and backups."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from kubekeel import backup, membership, nodes, upgrade
from kubekeel.backup import Backup, BackupError, put_in_place, write
from kubekeel.cluster import HOST_KEYS, InventoryError, Node, load
from kubekeel.cluster import SETTINGS as NAMES_OF_SETTINGS
from kubekeel.keyfolder import PkiError
from kubekeel.membership import Member, Refused
from kubekeel.nodes import CONTROL_PLANE, KINDS, MINION, Change, NodeState, Seen
from kubekeel.pki import ENCRYPTION_KEYS, Step
from kubekeel.upgrade import API_SERVER, COMPANIONS
from tests.clusters import HOSTS, cluster
from tests.settings import SETTINGS
from tests.unit.keys import rotated, saved

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
    assert f"{name}={node.peer_url}" in admitted.initial_cluster.split(",")


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


# Upgrades.

MASTERS, MINIONS = ("m1", "m2", "m3"), ("a", "b")
NEW = "v1.37.2"
FLEET = cluster(
    {"etcd": MASTERS, "masters": MASTERS, "minions": MINIONS},
    {name: {"address": f"192.0.2.{number}"} for number, name in enumerate((*MASTERS, *MINIONS), 1)},
    kubernetes_version=NEW,
)
PARTS = {
    "etcd": ("etcd",),
    "API servers": (API_SERVER,),
    "controller managers and schedulers": COMPANIONS,
    "nodes: kubelet, containerd and kube-proxy": ("kubelet", "containerd"),
}
"""The components that each step changes."""

BY_MINOR = {34: ["v1.34.5"], 35: ["v1.35.2"], 36: ["v1.36.0", "v1.36.3"], 37: ["v1.37.1", NEW]}


def minor(version: str) -> int:
    return int(version.split(".")[1])


@st.composite
def fleets(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """Return the versions of a cluster within the skew policy, maybe in the middle of an earlier upgrade."""
    oldest, newest = draw(st.sampled_from([(36, 36), (36, 37), (37, 37)]))

    def between(first: int, last: int) -> str:
        return draw(st.sampled_from([each for number in range(first, last + 1) for each in BY_MINOR[number]]))

    found = {}
    for name in (*MASTERS, *MINIONS):
        is_master = name in MASTERS
        found[name] = {
            # A master's kubelet skips no minor version.
            "kubelet": between(36 if is_master else 34, oldest),
            "containerd": draw(st.sampled_from(["v2.4.1", "v2.4.2"])),
        }
        if is_master:
            found[name] |= {"etcd": "v3.7.3", API_SERVER: between(oldest, newest)}
            found[name] |= {each: between(max(newest - 1, 36), oldest) for each in COMPANIONS}
    return found


def skewed(running: dict[str, dict[str, str]]) -> list[str]:
    """Return what breaks Kubernetes' version skew policy."""
    api = [minor(runs[API_SERVER]) for runs in running.values() if API_SERVER in runs]
    found = ["API servers"] if max(api) - min(api) > 1 else []
    for name, runs in running.items():
        behind = {"kubelet": 3, **dict.fromkeys(COMPANIONS, 1)}
        for component in behind.keys() & runs.keys():
            if not max(api) - behind[component] <= minor(runs[component]) <= min(api):
                found.append(f"{component} on {name}")
    return found


@given(running=fleets())
def test_every_prefix_of_an_upgrade_obeys_the_version_skew_policy(running: dict[str, dict[str, str]]) -> None:
    assert skewed(running) == []
    assert upgrade.faults(FLEET, running) == []
    for step in upgrade.steps(FLEET, running):
        masters = [name for name in step.hosts if name in MASTERS]
        assert step.hosts[len(step.hosts) - len(masters) :] == tuple(masters), "masters come last"
        assert step.at_once == 1 or len(masters) < len(step.hosts)
        for name in step.hosts:
            for component in set(PARTS[step.what]) & running[name].keys():
                running[name][component] = FLEET.release.component_of(component).version
            assert skewed(running) == [], f"after {step.what} on {name}"
    assert upgrade.steps(FLEET, running) == []
    assert upgrade.plan(FLEET, running) == []


# Labels, annotations and taints.

OF_ROLES = {CONTROL_PLANE, MINION, f"taint={CONTROL_PLANE}:NoSchedule"}
KEY = st.sampled_from(["team", "example.org/zone", CONTROL_PLANE, MINION])
ENTRIES = st.dictionaries(KEY, st.sampled_from(["", "x", "y"]), max_size=3)
TAINTS = st.dictionaries(KEY.map(lambda key: f"{key}:NoSchedule"), st.sampled_from(["", "x"]), max_size=3)
STATES = st.dictionaries(st.sampled_from("mab"), st.builds(NodeState, ENTRIES, ENTRIES, TAINTS), max_size=3)
RECORDS = st.dictionaries(
    st.sampled_from("mab"),
    st.frozensets(KEY.flatmap(lambda key: st.sampled_from([key, f"annotation={key}", f"taint={key}:NoSchedule"]))),
)


def changed(state: NodeState, change: Change) -> NodeState:
    def edited(kind: str) -> dict[str, str]:
        edit = getattr(change, kind)
        return {key: value for key, value in getattr(state, kind).items() if key not in edit.removed} | dict(edit.put)

    return NodeState(*map(edited, KINDS))


@given(wanted=STATES, there=STATES, recorded=RECORDS)
def test_what_the_inventory_says_of_nodes_is_brought_once_and_foreign_keys_stay(
    wanted: dict[str, NodeState], there: dict[str, NodeState], recorded: dict[str, frozenset[str]]
) -> None:
    seen = Seen(there, recorded)
    after = dict(there)
    for change, names in nodes.changes(wanted, seen).items():
        assert set(names) <= wanted.keys() & there.keys()
        after |= {name: changed(there[name], change) for name in names}
    for name, state in there.items():
        for kind, prefix in KINDS.items():
            lost = getattr(state, kind).keys() - getattr(after[name], kind).keys()
            ours = recorded.get(name, frozenset()) | OF_ROLES
            assert {f"{prefix}{key}" for key in lost} <= ours
    assert nodes.changes(wanted, Seen(after, nodes.new_record(wanted, seen))) == {}


# Backups.


@pytest.fixture(scope="module")
def times(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Backup]]:
    """Return one cluster's keys at several times of its life, with a backup of each."""
    folder = tmp_path_factory.mktemp("times")
    snapshot, now = folder / "snapshot.db", folder / "now"
    snapshot.write_bytes(b"x" * 512 + sha256(b"x" * 512).digest())
    found = []

    def note() -> None:
        number = len(found)
        state, file = folder / f"pki-{number}", folder / f"{number}.kubekeel"
        shutil.copytree(now, state)
        write(file, b"correct horse", state, cluster(), "m", snapshot)
        found.append((state, Backup.open(file, b"correct horse")))

    with pytest.MonkeyPatch.context() as cheap:
        cheap.setattr(backup, "_COST", 2)
        saved(now, cluster())
        note()
        for steps, root in (
            ((Step.TRUST,), "encryption"),
            ((Step.SIGN, Step.RETIRE), "encryption"),
            ((), "encryption"),
            ((), "front-proxy-ca"),
        ):
            rotated(now, cluster(), *steps, roots=[root])
            note()
    return found


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_restore_loses_no_encryption_key_and_mixes_no_pair(
    times: list[tuple[Path, Backup]], data: st.DataObject
) -> None:
    (here, _), (there, kept) = data.draw(st.sampled_from(times)), data.draw(st.sampled_from(times))
    ours, theirs = contents(here), contents(there)
    gone = data.draw(st.sets(st.sampled_from(sorted(ours)), max_size=6))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as cheap:
        cheap.setattr(backup, "_COST", 2)
        state = Path(folder) / "pki"
        put_in_place(state, {name: content for name, content in ours.items() if name not in gone}, NOW)
        try:
            put_in_place(state, kept.wanted(state), NOW)
        except (BackupError, PkiError):
            return
        after = contents(state)
    needed = {*theirs[ENCRYPTION_KEYS].splitlines()}
    if ENCRYPTION_KEYS not in gone:
        needed |= {*ours[ENCRYPTION_KEYS].splitlines()}
    assert needed <= {*after[ENCRYPTION_KEYS].splitlines()}
    for name in after:
        pair = (name, f"{name.removesuffix('.crt')}.key")
        if name.endswith(".crt") and pair[1] in after:
            found = [after[each] for each in pair]
            assert found in ([each.get(file) for file in pair] for each in (ours, theirs)), f"{name} and its key differ"


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


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
        with pytest.raises(BackupError, match="damaged: "):
            Backup.open(Path(folder) / "damaged", b"correct horse")
