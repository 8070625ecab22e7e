"""Snapshots, backups and restores, and an etcd without space."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path

import pytest

from kubekeel.cluster import Node
from operations.etcd import ETCDCTL
from tests.chaos.machines import act, acted, all_members, lose, members, on, refused, try_on, uids
from tests.lab_cluster import STATE, run_kubectl, the_cluster, wait_until
from tests.support import SLACK, certificates, deployed, harm, status, wait_healthy

CLUSTER = the_cluster()

MEMBERS = CLUSTER.etcd
SNAPSHOTS = "/var/lib/etcd-snapshots"

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(MEMBERS) != 3, reason="needs etcd on three hosts"),
]


@pytest.fixture
def phrase(tmp_path: Path) -> Path:
    """A file with a passphrase."""
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(f"{secrets.token_hex()}\n")
    return path


def backup_command(path: Path, phrase: Path) -> tuple[str, ...]:
    return ("actions/backup.py", "--data", f"backup={path}", "--data", f"passphrase_file={phrase}")


def back_up(path: Path, phrase: Path, *arguments: str) -> str:
    return acted(*backup_command(path, phrase), *arguments)


def restore_command(path: Path, phrase: Path) -> tuple[str, ...]:
    return ("actions/restore.py", "--data", f"backup={path}", "--data", f"passphrase_file={phrase}")


def verify(path: Path, phrase: Path) -> str:
    return acted("actions/backup.py", "--data", f"verify={path}", "--data", f"passphrase_file={phrase}")


def make_secret(name: str) -> str:
    text = secrets.token_hex()
    delete_secrets(name)
    run_kubectl("create", "secret", "generic", name, f"--from-literal=text={text}")
    return text


def read_secret(name: str) -> str:
    return run_kubectl("get", "secret", name, "-o", "go-template={{.data.text | base64decode}}")


def delete_secrets(*names: str) -> None:
    run_kubectl("delete", "secret", "--ignore-not-found", *names)


def test_each_member_keeps_five_valid_snapshots() -> None:
    for node in MEMBERS:
        for _ in range(6):
            on(node, "systemctl start etcd-snapshot.service; sleep 1.1")
        listing = on(node, f"cd {SNAPSHOTS}; stat -c '%n %a %U' . *").splitlines()
        assert listing[0] == ". 700 etcd"
        assert len(listing) == 6
        assert all(line.endswith(".db 600 etcd") for line in listing[1:])
        on(node, f"for file in {SNAPSHOTS}/*.db; do etcdutl snapshot status $file || exit 1; done")
        on(node, "systemctl is-active etcd-snapshot.timer && systemctl is-enabled etcd-snapshot.timer")
        due = on(
            node, 'date -d "$(systemctl show -p NextElapseUSecRealtime --value etcd-snapshot.timer)" +%s; date +%s'
        )
        next_one, now = map(int, due.split())
        assert 0 < next_one - now < 14 * 3600
    assert all(node["snapshot_age"] < 300 for node in status()["nodes"] if node["member"])


def test_the_snapshot_service_gives_no_access_to_the_administrator_s_key() -> None:
    node = MEMBERS[0]
    exposure = on(node, "systemd-analyze security etcd-snapshot.service | tail -n 1")
    assert float(exposure.split("level for etcd-snapshot.service: ")[1].split()[0]) <= 2.0
    assert try_on(node, "su -s /bin/sh etcd -c 'cat /etc/etcd/pki/root.key'").returncode != 0


def test_a_backup_restores_a_cluster_that_lost_all_machines_and_keys(tmp_path: Path, phrase: Path) -> None:
    with harm("all machines are reset, and the keys here are lost", "a backup brings all back within 300 s") as row:
        text = make_secret("drill")
        backup = tmp_path / "whole.kubekeel"
        output = back_up(backup, phrase, "-vvv")
        before, kept = uids(), certificates()
        make_secret("later")
        assert backup.stat().st_mode & 0o777 == 0o600
        assert phrase.read_text().strip() not in output
        acted("actions/reset.py", "--data", f"confirm={CLUSTER.name}")
        lost = STATE.with_name("lost")
        STATE.rename(lost)
        STATE.mkdir(mode=0o700)
        (STATE / "known_hosts").write_bytes((lost / "known_hosts").read_bytes())

        begun = time.monotonic()
        acted(*restore_command(backup, phrase))
        seconds = time.monotonic() - begun
        assert certificates() == kept
        assert uids() == before
        assert read_secret("drill") == text
        assert members(MEMBERS[0]) == all_members()
        wait_healthy(300)
        assert status()["notes"] == []
        row.seen = f"{len(before)} objects with the UIDs they had after {seconds:.0f} s, and every key"
        assert seconds <= 300 * SLACK
    delete_secrets("drill")


def test_a_backup_of_one_member_restores_a_cluster_without_quorum(tmp_path: Path, phrase: Path) -> None:
    survivor, *lost = MEMBERS
    with harm("two of three members are lost for good", "the survivor's data are on all three within 300 s") as row:
        text = make_secret("acknowledged")
        before = uids()
        lose(*lost)
        # Like a power failure: without a quorum, etcd does not start again.
        on(survivor, "systemctl kill --signal=KILL etcd")
        refused(act("deploy.py"), f"{survivor.name}: etcd does not serve", "actions/backup.py, then actions/restore.py")

        begun = time.monotonic()
        backup = tmp_path / "survivor.kubekeel"
        output = back_up(backup, phrase, "--limit", survivor.name)
        assert f"{survivor.name}: etcd has no quorum; this run stops etcd here" in output
        refused(
            act(*restore_command(backup, phrase)), f"{survivor.name} has etcd data: reset it, or add --data confirm="
        )
        acted(*restore_command(backup, phrase), "--data", f"confirm={CLUSTER.name}")
        seconds = time.monotonic() - begun
        assert uids() >= before
        assert read_secret("acknowledged") == text
        assert members(survivor) == all_members()
        wait_healthy(300)
        row.seen = f"{len(before)} objects with the UIDs they had after {seconds:.0f} s"
        assert seconds <= 300 * SLACK
    on(survivor, "rm -r /var/lib/etcd/replaced")
    delete_secrets("acknowledged")


def test_a_damaged_backup_is_refused_before_any_host_is_contacted(tmp_path: Path, phrase: Path) -> None:
    whole = tmp_path / "whole.kubekeel"
    back_up(whole, phrase)
    content = whole.read_bytes()
    middle = len(content) // 2
    damages = {
        "changed byte": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "truncated": content[:-1000],
        "empty": b"",
    }
    with harm("backups with a changed byte, cut off, empty; a wrong passphrase", "refused, and nothing else") as row:
        for damage, damaged in damages.items():
            (tmp_path / "damaged.kubekeel").write_bytes(damaged)
            done = act(*restore_command(tmp_path / "damaged.kubekeel", phrase))
            refused(done, "cannot be decrypted", "no host was contacted")
            assert "Connecting" not in done.stderr, damage
        other = tmp_path / "other"
        other.touch(0o600)
        other.write_text("another one\n")
        refused(act(*restore_command(whole, other)), "the passphrase is wrong", "no host was contacted")
        refused(act(*restore_command(whole, phrase)), f"{MEMBERS[0].name} has etcd data", "nothing is restored")
        wait_healthy(300)
        row.seen = "refused, each by its name"


def test_etcdutl_refuses_to_restore_a_damaged_snapshot() -> None:
    node = MEMBERS[0]
    on(node, "systemctl start etcd-snapshot.service")
    damage = (
        f"cd {SNAPSHOTS}; cp $(ls *.db | tail -n 1) /tmp/damaged;"
        " printf x | dd of=/tmp/damaged bs=1 seek=100000 conv=notrunc status=none;"
        " etcdutl snapshot restore /tmp/damaged --data-dir=/tmp/restored; rc=$?;"
        " rm -rf /tmp/damaged /tmp/restored; exit $rc"
    )
    done = try_on(node, damage)
    assert done.returncode != 0
    assert "expected sha256" in done.stdout + done.stderr


def start_time_of(node: Node) -> str:
    """Return the start time of a member's etcd."""
    return on(node, "systemctl show -p ExecMainStartTimestampMonotonic etcd")


def test_a_full_etcd_raises_an_alarm_gives_backups_and_gets_its_space_back(tmp_path: Path, phrase: Path) -> None:
    small = "ETCD_QUOTA_BACKEND_BYTES=25165824"
    with harm("etcd grows to its quota, made small for this", "an alarm in status; one action ends it") as row:
        for node in MEMBERS:
            on(node, f"sed -i 's/^ETCD_QUOTA_BACKEND_BYTES=.*/{small}/' /etc/etcd/etcd.conf; systemctl restart etcd")
        put = f"head -c 1000000 /dev/zero | {ETCDCTL} put /fill >/dev/null"
        assert "database space exceeded" in try_on(MEMBERS[0], f"for n in $(seq 60); do {put} || exit; done").stderr
        found = status()
        assert any("etcd has an alarm (NOSPACE)" in problem for problem in found["problems"])
        full = max(node["member"]["size"] for node in found["nodes"] if node["member"])

        # A full etcd without one member is when users need a backup most.
        down, *others = MEMBERS
        on(down, "systemctl stop etcd")
        start_times = [start_time_of(node) for node in others]
        back_up(tmp_path / "full.kubekeel", phrase)
        assert [start_time_of(node) for node in others] == start_times
        # Without a quorum the backup is a copy of the data, with the alarm.
        on(others[0], "systemctl stop etcd")
        back_up(tmp_path / "rescued.kubekeel", phrase, "--limit", others[1].name)
        for node in (down, others[0]):
            on(node, "systemctl start --no-block etcd")
        for name in ("full", "rescued"):
            assert "can be restored" in verify(tmp_path / f"{name}.kubekeel", phrase)
        wait_until(lambda: try_on(down, f"{ETCDCTL} get health").returncode == 0, 60, "a quorum is back")

        acted("actions/defragment.py")
        on(MEMBERS[0], f"{ETCDCTL} put /fill '' && {ETCDCTL} del /fill")
        sizes = [node["member"]["size"] for node in status()["nodes"] if node["member"]]
        assert json.loads(on(MEMBERS[0], f"{ETCDCTL} alarm list -w json")).get("alarms", []) == []
        assert max(sizes) < full / 2
        row.seen = f"{full / 2**20:.0f} MiB before, {max(sizes) / 2**20:.0f} MiB after"
    deployed()
    wait_healthy(300)
    assert status()["notes"] == []


def test_a_backup_without_quorum_on_a_full_disk_leaves_etcd_running_and_no_copy(tmp_path: Path, phrase: Path) -> None:
    survivor, *others = MEMBERS
    with harm("no quorum, and a disk without room for a copy of etcd", "refused or undone; etcd runs") as row:
        for node in others:
            on(node, "systemctl stop etcd")
        start_time = start_time_of(survivor)
        on(survivor, f"mount -t tmpfs -o size=1m,uid=etcd,gid=etcd,mode=700 tmpfs {SNAPSHOTS}")
        limit = ("--limit", survivor.name)
        done = act(*backup_command(tmp_path / "x", phrase), *limit)
        refused(done, f"{SNAPSHOTS}: has too little room for a copy of etcd's data", "--limit chooses another")
        assert start_time_of(survivor) == start_time
        # The check finds enough space, but the copy fails.
        on(survivor, f"mount -o remount,size=1g {SNAPSHOTS}")
        on(survivor, "cd /usr/local/bin; printf '#!/bin/sh\\necho full >&2; exit 1\\n' >cp; chmod 755 cp")
        refused(
            act(*backup_command(tmp_path / "x", phrase), *limit), f"{survivor.name}: could not take a snapshot (full)"
        )
        assert on(survivor, f"ls -A {SNAPSHOTS}") == ""
        assert on(survivor, "systemctl show -p ActiveState --value etcd").strip() in ("active", "activating")
        on(survivor, f"rm /usr/local/bin/cp; umount {SNAPSHOTS}")
        for node in others:
            on(node, "systemctl start --no-block etcd")
        wait_healthy(300)
        row.seen = "refused and undone; one etcd was stopped, and started again"


def test_a_backup_without_a_passphrase_is_refused(tmp_path: Path) -> None:
    done = act("actions/backup.py", "--data", f"backup={tmp_path / 'x'}")
    refused(done, "passphrase: is missing, and there is no terminal to type it; write it into a file of mode 0600")
    assert not (tmp_path / "x").exists()
