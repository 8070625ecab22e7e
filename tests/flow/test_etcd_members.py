"""Runs on fake hosts, in clusters whose etcd has other members than the inventory."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy
from tests.hosts import cluster
from tests.unit.keys import saved

ADDRESSES = {name: f"192.0.2.{number}" for number, name in enumerate(("m", "a", "b", "c"), start=1)}
KEYS = "/opt/kubekeel/bin/etcdutl"
REMOVE = "actions/remove_member.py --data member="


def listed(*names: str, learner: str = "") -> str:
    """Return etcdctl's list of members named like their hosts, and of a learner that never started."""
    members = [
        {"ID": ID, "name": name, "peerURLs": [f"https://{ADDRESSES[name]}:2380"], "clientURLs": [name]}
        for ID, name in enumerate(names, start=1)
    ]
    if learner:
        members.append({"ID": 99, "peerURLs": [f"https://{learner}:2380"], "isLearner": True})
    return json.dumps({"header": {}, "members": members})


def hosts(etcd: str, existing: str = "", data: str = "mab", down: str = "") -> str:
    """Return hosts with the desired members `etcd`; those with data know the existing members, also those `down`."""
    healthy = json.dumps([{"endpoint": name, "health": name not in down} for name in ADDRESSES])
    known = f"members {existing}\n" if existing else ""
    looks = {name: f"data\netcd_keys\n{known}" if name in data else "" for name in ADDRESSES}
    lines = [f"_{name} = _host({name!r}, {number}, {looks[name]!r})" for number, name in enumerate(ADDRESSES, 1)]
    lines += [f"_{name}[1]['_answers']['endpoint health --cluster'] = {existing!r}, {healthy!r}" for name in ADDRESSES]
    snapshot = {"echo serves": "serves", "start etcd-snapshot": "/var/lib/etcd-snapshots/one.db"}
    lines += [f"_{name}[1]['_answers'] |= {snapshot}" for name in ADDRESSES]
    groups = f"etcd = [{', '.join(f'_{name}' for name in etcd)}]\nmasters = [_m]\nminions = [_a, _b, _c]"
    return "\n".join([*lines, groups])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for file in ("deploy.py", "actions/remove_member.py", "actions/remove_node.py", "actions/reset.py"):
        (tmp_path / Path(file).name).write_text((PROJECT / file).read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    saved(tmp_path / "pki", cluster())
    return tmp_path


def run(home: Path, hosts: str, *arguments: str, file: str = "deploy.py") -> subprocess.CompletedProcess[str]:
    done = deploy(home, hosts, "--data", "artifact_source=source", *arguments, file=file)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def refused(done: subprocess.CompletedProcess[str], *faults: str) -> None:
    """Assert that exactly these faults refused the run, in this order, before any operation."""
    assert done.returncode == 1, done.stderr
    assert "Starting" not in done.stderr
    lines = [line.strip() for line in done.stderr.splitlines() if re.search(r"\S: .* \(.*\); ", line)]
    assert len(lines) == len(faults), done.stderr
    for line, fault in zip(lines, faults, strict=True):
        assert fault in line


def began(done: subprocess.CompletedProcess[str]) -> list[tuple[str, list[str]]]:
    """Return the operations, each with the hosts on which it succeeded."""
    assert done.returncode == 0, done.stderr
    parts = re.split(r"Starting (?:serial )?operation: (.+)", done.stderr.partition("Results:")[0])[1:]
    return [
        (name.strip(), sorted(re.findall(r"\[@fake/(\w+)\] +Success", text)))
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    ]


@pytest.mark.parametrize("options", [(), ("--dry",), ("--limit", "masters")])
def test_a_member_whose_host_left_the_group_etcd_is_named(home: Path, options: tuple[str, ...]) -> None:
    refused(
        run(home, hosts("m", listed("m", "a", "b")), *options), "(a, https://192.0.2.2:2380); put its", f"{REMOVE}b"
    )


def test_data_of_a_host_that_may_still_be_a_member_are_not_removed(home: Path) -> None:
    # A master and its etcd are down, and remains of etcd show that its removal is not finished.
    left = hosts("m").replace("_host('b', 3, '", f"_host('b', 3, 'leftover {KEYS}\\n")
    assert KEYS in left
    fault = "b: has etcd data, and no quorum answers whether it is a member (the group etcd: m); "
    refused(run(home, left, "--limit", "@fake/b"), fault)


def test_a_learner_that_never_started_is_named_with_its_address(home: Path) -> None:
    existing = listed("m", "a", learner="192.0.2.77")
    refused(
        run(home, hosts("mab", existing, data="ma")), "etcd: has a member that is not in the group etcd (not started"
    )


def test_a_cluster_is_not_founded_by_an_even_number_of_hosts(home: Path) -> None:
    refused(run(home, hosts("ma", data="")), "etcd: needs an odd number of hosts (m, a); add or remove one")


def test_two_members_left_of_three_are_deployed_to_with_a_warning(home: Path) -> None:
    done = run(home, hosts("ma", listed("m", "a"), data="ma"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("etcd: has an even number of members (m, a)") == 1


@pytest.mark.parametrize("member", ["b", "192.0.2.3", "3"])
def test_a_member_leaves_before_etcd_is_removed_from_its_host(home: Path, member: str) -> None:
    done = run(home, hosts("ma", listed("m", "a", "b")), "--data", f"member={member}", file="remove_member.py")
    assert began(done) == [("leave etcd", ["m"]), ("remove etcd from the host", ["b"])]
    assert "took /var/lib/etcd-snapshots/one.db, before a member leaves etcd" in done.stderr


def test_a_member_whose_host_is_left_out_only_leaves(home: Path) -> None:
    existing = hosts("mab", listed("m", "a", "b"))
    done = run(home, existing, "--data", "member=m", "--exclude", "@fake/m", file="remove_member.py")
    assert began(done) == [("leave etcd", ["a"])]
    assert "took /var/lib/etcd-snapshots/one.db, before a member leaves etcd" in done.stderr


def test_the_remains_of_a_former_member_are_removed_from_its_host(home: Path) -> None:
    existing = hosts("mab", listed("m", "a"))
    done = run(home, existing, "--data", "member=b", file="remove_member.py")
    assert began(done)[1:] == [("remove etcd from the host", ["b"])]


@pytest.mark.parametrize(
    ("members", "wanted", "fault"),
    [
        (listed("m", "a", "b"), "typo", "typo: is not a member of etcd (m, a, b); name one of these"),
        (listed("m", "a", "b"), "c", "c: is not a member of etcd (m, a, b); name one of these"),
        ("", "b", "etcd: no quorum answers on a host that stays (none); start the members"),
    ],
)
def test_only_a_member_that_etcd_lists_is_removed(home: Path, members: str, wanted: str, fault: str) -> None:
    done = run(home, hosts("mab", members), "--data", f"member={wanted}", file="remove_member.py")
    refused(done, fault)


def test_a_node_is_removed_by_a_host_on_which_etcd_answers(home: Path) -> None:
    done = run(home, hosts("mab", listed("m", "a", "b"), data="ab"), "--data", "node=b", file="remove_node.py")
    assert began(done)[0] == ("check that the node may leave etcd", [])
    assert dict(began(done))["leave etcd"] == ["a"]


RESET = ("--data", "confirm=kubekeel")


def test_a_reset_does_not_take_the_quorum_of_members_that_stay(home: Path) -> None:
    existing = hosts("mab", listed("m", "a", "b"))
    done = run(home, existing, *RESET, "--limit", "minions", file="reset.py")
    refused(done, "etcd: would lose its quorum with these members (a, b of m, a, b); remove them one after the other")


@pytest.mark.parametrize(("options", "names"), [(("--limit", "@fake/b"), ["b"]), ((), ["a", "b", "c", "m"])])
def test_a_reset_takes_one_of_three_members_or_all(home: Path, options: tuple[str, ...], names: list[str]) -> None:
    done = run(home, hosts("mab", listed("m", "a", "b")), *RESET, *options, file="reset.py")
    assert began(done) == [("reset the host", names)]


def test_a_second_reset_does_not_take_the_quorum_that_the_first_one_left(home: Path) -> None:
    after_reset_of_a = hosts("mab", listed("m", "a", "b"), data="mb", down="a")
    refused(
        run(home, after_reset_of_a, *RESET, "--limit", "@fake/b", file="reset.py"), "(b of m, a, b; not healthy: a)"
    )
