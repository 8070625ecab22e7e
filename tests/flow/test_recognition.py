"""Runs on hosts of an existing cluster: without its keys, a run writes nothing, locally or on hosts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from kubekeel import backup as archive
from kubekeel.identity import described, written
from kubekeel.pki import Pki, Step
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.hosts import cluster
from tests.unit.keys import rotated, saved

CLUSTER = replace(cluster(), name="kubekeel")
SOURCE = ("--data", "artifact_source=source")
LOOKS = ("actions/audit.py", "actions/collect.py", "actions/status.py")
ACTIONS: dict[str, tuple[str, ...]] = {
    "deploy.py": (),
    **dict.fromkeys(LOOKS, ()),
    "actions/add_user.py": ("--data", "user=jane"),
    "actions/revoke.py": ("--data", "admin=true"),
    "actions/backup.py": (),
    "actions/defragment.py": (),
    "actions/remove_member.py": ("--data", "member=m"),
    "actions/remove_node.py": ("--data", "node=b"),
    "actions/reset.py": ("--data", "confirm=kubekeel"),
    "actions/rotate.py": ("--data", "what=all"),
}
RUNS = [*ACTIONS.items(), ("deploy.py", ("--dry",)), ("actions/remove_node.py", ("--data", "node=b", "--dry"))]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, without the locks of runs."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in found.items() if name not in ("run.lock", ".lock")}


def hosts(pki: Pki, *of_the_master: str, data: bool = True, **records: dict[str, object]) -> str:
    """Return an inventory of three hosts deployed with these keys; `records` changes fields of their records."""
    made = []
    for number, node in enumerate(CLUSTER.nodes, 1):
        identity = replace(described(node, CLUSTER, pki.known().authorities), **records.get(node.name, {}))
        lines = [f"record {b64encode(written(identity)).decode()}"]
        lines += ["data"] if data and "etcd" in node.roles else []
        lines += of_the_master if node.name == "m" else ()
        shown = "".join(f"{line}\n" for line in lines)
        made.append(f"_host({node.name!r}, {number}, {shown!r})")
    master, *minions = made
    return f"etcd = masters = [{master}]\nminions = [{', '.join(minions)}]"


def run(home: Path, inventory: str, file: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    # With -y a dry run would gather no facts.
    return deploy(home, inventory, *SOURCE, *arguments, file=str(PROJECT / file), yes="--dry" not in arguments)


def started(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [name.strip() for name in re.findall(r"Starting (?:serial )?operation: (.+)", done.stderr)]


def refusals(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the refusals of a run that did nothing."""
    assert done.returncode == 1, done.stderr
    assert started(done) == []
    assert "Traceback" not in done.stderr
    return [line.strip() for line in done.stderr.splitlines() if "); " in line or "missing, so" in line]


@pytest.mark.parametrize(("file", "arguments"), RUNS)
def test_every_run_refuses_hosts_of_another_cluster_and_with_newer_keys(
    home: Path, file: str, arguments: tuple[str, ...]
) -> None:
    pki, other = saved(home / "pki", CLUSTER), saved(home / "other", CLUSTER)
    before = files(home / "pki")
    inventory = hosts(
        pki, "encryption_key key2 0123456789abcdef", b={"authorities": other.known().authorities, "cluster": "prod"}
    )
    digest = min(other.known().authorities["ca"])[:16]
    newer, foreign = refusals(run(home, inventory, file, *arguments))
    assert newer.startswith(
        f"m: has an encryption key unknown here (key2; not in {home}/pki/encryption.key); that file is an"
    )
    assert foreign.startswith(
        f"b: belongs to a cluster whose keys are not here (ca sha256:{digest} of prod; {home}/pki/ca.crt is"
    )
    assert files(home / "pki") == before


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("deploy.py", ()),
        ("deploy.py", ("--limit", "minions")),
        ("deploy.py", ("--dry",)),
        ("actions/reset.py", ("--data", "confirm=kubekeel")),
        ("actions/backup.py", ()),
    ],
)
def test_no_keys_are_made_if_hosts_belong_to_a_cluster(home: Path, file: str, arguments: tuple[str, ...]) -> None:
    [line] = refusals(run(home, hosts(saved(home / "other", CLUSTER)), file, *arguments))
    assert f"{home}/pki/ca.key is missing" in line or f"{home}/pki/ca.key: is missing, so there are no keys" in line
    assert files(home / "pki") == {}
    assert "--dry" not in arguments or not (home / "pki").exists()


@pytest.mark.parametrize(
    ("said", "arguments", "why"),
    [
        (("etcd_keys 9", "no_members context deadline exceeded"), (), "m: context deadline exceeded, after 9 s"),
        (("etcd_keys 9",), (), "m: no answer, after 9 s"),
        ((), ("--limit", "minions"), "no member is in this run"),
    ],
)
def test_a_deploy_says_that_it_could_not_compare_the_members(
    home: Path, said: tuple[str, ...], arguments: tuple[str, ...], why: str
) -> None:
    inventory = hosts(saved(home / "pki", CLUSTER), *said)
    done = run(home, inventory, "deploy.py", "--dry", *arguments)
    assert done.stderr.count(f"etcd: its members were not compared with the inventory ({why}); start them, and") == 1


def test_a_first_deploy_does_not_speak_of_members(home: Path) -> None:
    done = run(home, FIT_HOSTS, "deploy.py", "--dry", "--limit", "minions")
    assert done.returncode == 0, done.stderr
    assert "not compared" not in done.stderr


@pytest.mark.parametrize("file", ["deploy.py", "actions/rotate.py", "actions/add_user.py", "actions/backup.py"])
def test_an_old_copy_of_the_keys_is_refused(home: Path, file: str) -> None:
    old = saved(home / "pki", CLUSTER)
    shutil.copytree(home / "pki", home / "new")
    new = rotated(home / "new", CLUSTER, roots=["service-account"]).with_user("jane", (), 30)
    before = files(home / "pki")
    signer, user = refusals(run(home, hosts(old, *clients_of(new)), file, *ACTIONS[file]))
    digest = min(new.known().service_account_keys)
    assert signer.startswith(
        f"m: has a service-account key unknown here (sha256:{digest}; not in {home}/pki/service-account.pub); that file"
    )
    assert user.startswith("m: has a client authority unknown here (users-ca of ")
    assert files(home / "pki") == before


# Two copies of the state directory


@pytest.fixture
def elsewhere(home: Path) -> str:
    """Return the list of issued certificates of another copy of these keys, which has renewed all."""
    saved(home / "pki", CLUSTER, datetime.now(UTC) - timedelta(days=340))
    shutil.copytree(home / "pki", home / "other")
    saved(home / "other", CLUSTER)
    return (home / "other/issued").read_text()


def listing(home: Path, name: str, content: str) -> str:
    """Return an inventory of deployed hosts, one of which has this list of issued certificates."""
    says = {"cat /etc/kubekeel/issued": content}
    line = f"issued {sha256(content.encode()).hexdigest()[:16]}"
    member = {"ID": 1, "name": "m", "peerURLs": ["https://192.0.2.1:2380"]}
    inventory = hosts(Pki.open(home / "pki", CLUSTER), f"members {json.dumps({'members': [member]})}")
    before, own, after = inventory.partition(f"_host({name!r}, ")
    number, _, shown = after.partition(", '")
    return f"{before}{own}{number}, says={says!r}, changes='{line}\\n{shown}"


def of_node(name: str, content: str) -> set[str]:
    """Return the serial numbers of a node's certificates in a list of issued certificates."""
    return {line.split(" ")[3] for line in content.splitlines() if line.startswith(f"{name} ")}


@pytest.mark.parametrize(
    ("file", "node"), [("actions/revoke.py", "b"), ("actions/revoke.py", "m"), ("actions/remove_node.py", "b")]
)
def test_a_revocation_covers_what_only_another_copy_of_the_keys_issued(
    home: Path, elsewhere: str, file: str, node: str
) -> None:
    done = run(home, listing(home, "m", elsewhere), file, "--data", f"node={node}")
    assert done.returncode == 0, done.stderr
    revoked = {each["serial"] for each in json.loads((home / "pki/revocations.json").read_text())["certificates"]}
    assert of_node(node, elsewhere) <= revoked


def test_a_deploy_learns_what_another_copy_of_the_keys_issued(home: Path, elsewhere: str) -> None:
    inventory, before = listing(home, "m", elsewhere), files(home / "pki")
    assert run(home, inventory, "deploy.py", "--dry").returncode == 0
    assert files(home / "pki") == before
    assert run(home, inventory, "deploy.py").returncode == 0
    assert {*elsewhere.splitlines()} <= {*(home / "pki/issued").read_text().splitlines()}


def test_the_list_of_a_host_that_is_not_a_master_is_not_believed(home: Path) -> None:
    saved(home / "pki", CLUSTER)
    # Somebody with root on a minion wants the revocation of its keys to cover a master's.
    lie = (home / "pki/issued").read_text().replace("m kubelet-client", "b kubelet-client")
    done = run(home, listing(home, "b", lie), "actions/revoke.py", "--data", "node=b")
    assert done.returncode == 0, done.stderr
    revoked = {each["serial"] for each in json.loads((home / "pki/revocations.json").read_text())["certificates"]}
    assert revoked == of_node("b", lie) - of_node("m", (home / "pki/issued").read_text())


@pytest.mark.parametrize("content", ["no list", "b kube-proxy soon 1f 00", "b kube-proxy 2030-01-01T00:00:00Z x 00"])
@pytest.mark.parametrize("file", ["deploy.py", "actions/revoke.py"])
def test_a_run_is_refused_if_a_master_s_list_of_issued_certificates_is_damaged(
    home: Path, file: str, content: str
) -> None:
    saved(home / "pki", CLUSTER)
    before = files(home / "pki")
    arguments = ("--data", "node=b") if "revoke" in file else ()
    [line] = refusals(run(home, listing(home, "m", content), file, *arguments))
    assert line.startswith("m: /etc/kubekeel/issued is not a list of certificates (")
    assert files(home / "pki") == before


def clients_of(pki: Pki) -> list[str]:
    """Return what a master shows of the keys by which clients are known."""
    return [
        f"service_accounts {b64encode(pki.service_account_key.cert).decode()}",
        f"clients {b64encode(pki.authority('ca') + pki.users_authority).decode()}",
    ]


@pytest.mark.parametrize("steps", [(), (Step.TRUST,), (Step.TRUST, Step.SIGN)])
def test_a_rotation_continues_on_masters_with_both_service_account_keys(home: Path, steps: tuple[Step, ...]) -> None:
    old = saved(home / "pki", CLUSTER)
    pki = rotated(home / "pki", CLUSTER, *steps, roots=["service-account"]) if steps else old
    for master in (old, pki):
        done = run(
            home, hosts(old, *clients_of(master)), "actions/rotate.py", "--data", "what=service-account", "--dry"
        )
        assert done.returncode == 0, done.stderr


def test_the_old_keys_of_a_rotation_are_recognized(home: Path) -> None:
    pki = saved(home / "pki", CLUSTER)
    shown = [f"encryption_key {name} {digest}" for name, digest in pki.known().encryption_keys.items()]
    rotated(home / "pki", CLUSTER, Step.TRUST)
    assert run(home, hosts(pki, *shown), "deploy.py", "--dry").returncode == 0


def test_all_conflicts_of_inventory_and_cluster_are_refused_at_once(home: Path) -> None:
    inventory = hosts(saved(home / "pki", CLUSTER), a={"node": "old"}, m={"address": "192.0.2.11"})
    before = files(home / "pki")
    changed = ("pod_network=10.200.0.0/16", "cluster_domain=k8s.test", "cluster_name=prod")
    settings = [argument for setting in changed for argument in ("--data", setting)]
    *kept, renamed, moved = refusals(run(home, inventory, "deploy.py", *settings))
    assert kept == [
        f"m, a, b: {setting} cannot change after the first deploy ({was}, not {now}); set it back in group_data/all.py"
        for setting, was, now in (
            ("cluster_name", "kubekeel", "prod"),
            ("pod_network", "10.244.0.0/16", "10.200.0.0/16"),
            ("cluster_domain", "cluster.local", "k8s.test"),
        )
    ]
    assert renamed == (
        "a: is node old of this cluster, and a node's name cannot change (192.0.2.2); name it old again; or remove it"
        " under that name (actions/remove_node.py --data node=old), then deploy it as a"
    )
    assert moved.startswith(
        "m: is a member of etcd at another address (192.0.2.11, not 192.0.2.1); give it that address"
    )
    assert files(home / "pki") == before


def test_a_node_without_etcd_may_get_another_address(home: Path) -> None:
    inventory = hosts(saved(home / "pki", CLUSTER), b={"address": "192.0.2.33"})
    assert run(home, inventory, "deploy.py").returncode == 0


def test_a_cluster_that_lost_etcd_s_data_is_not_founded_again_unless_confirmed(home: Path) -> None:
    blank = hosts(saved(home / "pki", CLUSTER), data=False)
    [line] = refusals(run(home, blank, "deploy.py"))
    assert line.startswith("m: no etcd data, although the cluster has served (deployed: m, a, b); restore the cluster")
    assert line.endswith("--data confirm=kubekeel")
    assert run(home, blank, "deploy.py", "--data", "confirm=kubekeel").returncode == 0


def test_no_cluster_is_founded_while_deployed_hosts_are_left_out(home: Path) -> None:
    saved(home / "pki", CLUSTER)
    [line] = refusals(run(home, FIT_HOSTS, "deploy.py", "--limit", "masters"))
    assert line.startswith("m: no etcd data, although the cluster has served (deployed: a, b); ")
    assert run(home, FIT_HOSTS, "deploy.py").returncode == 0


def test_a_host_of_a_lost_cluster_is_reset_by_naming_its_authority(home: Path) -> None:
    other = saved(home / "other", CLUSTER)
    digest = min(other.known().authorities["ca"])[:16]
    reset = ("actions/reset.py", "--data", "confirm=kubekeel")
    [_] = refusals(run(home, hosts(other), *reset, "--data", "authority=sha256:0123456789abcdef"))
    done = run(home, hosts(other), *reset, "--data", f"authority=sha256:{digest}")
    assert done.returncode == 0, done.stderr
    assert started(done) == ["reset the host"]


# Runs that only look


def test_a_first_dry_run_leaves_no_trace(home: Path) -> None:
    done = run(home, FIT_HOSTS, "deploy.py", "--dry")
    assert done.returncode == 0, done.stderr
    assert not (home / "pki").exists()


def test_a_status_needs_the_keys_of_a_cluster(home: Path) -> None:
    [line] = refusals(run(home, FIT_HOSTS, "actions/status.py"))
    assert line.startswith(
        f"{home}/pki/ca.key: is missing, so there are no keys of a cluster; put its state directory there"
    )
    assert not (home / "pki").exists()


@pytest.mark.parametrize(("file", "arguments"), [("deploy.py", ("--dry",)), ("actions/status.py", ())])
def test_a_look_renews_nothing(home: Path, file: str, arguments: tuple[str, ...]) -> None:
    pki = saved(home / "pki", CLUSTER, datetime.now(UTC) - timedelta(days=350))
    before = files(home / "pki")
    assert started(run(home, hosts(pki), file, *arguments)) == ([] if arguments else ["report the status"])
    assert files(home / "pki") == before


def test_no_keys_are_made_for_unfit_hosts(home: Path) -> None:
    [_] = refusals(run(home, FIT_HOSTS.replace('_host("a", 2)', '_host("a", 2, "memory 9\\n")'), "deploy.py"))
    assert files(home / "pki") == {}


def test_a_deploy_saves_its_keys_once_and_before_any_host_gets_one(home: Path) -> None:
    first = run(home, FIT_HOSTS, "deploy.py")
    assert started(first)[0] == "save keys"
    assert re.search(r"\[@fake/a\] +Success", first.stderr.partition("Starting operation: node")[0])
    kept = files(home / "pki")
    assert {"ca.key", "admin.conf", "nodes/m/etcd-peer.key"} <= kept.keys()
    again = run(home, hosts(Pki.open(home / "pki", CLUSTER)), "deploy.py")
    assert re.search(r"\[@fake/a\] +No changes", again.stderr.partition("Starting operation: node")[0])
    assert files(home / "pki") == kept


def test_kubeconfigs_name_the_endpoint_of_the_setting(home: Path) -> None:
    run(home, FIT_HOSTS, "deploy.py", "--data", "api_endpoint=api.example.org:443")
    assert "server: https://api.example.org:443\n" in (home / "pki/admin.conf").read_text()
    run(home, hosts(Pki.open(home / "pki", CLUSTER)), "deploy.py")
    assert "server: https://192.0.2.1:6443\n" in (home / "pki/admin.conf").read_text()
    run(home, hosts(Pki.open(home / "pki", CLUSTER)), "deploy.py", "--data", "api_vip=192.0.2.100")
    assert "server: https://192.0.2.100:6443\n" in (home / "pki/admin.conf").read_text()


# Restores


@pytest.fixture
def backup(home: Path) -> tuple[str, ...]:
    """Return the arguments for a restore; the keys here have lost files of the backup, and have a newer key."""
    saved(home / "pki", CLUSTER)
    database, file, phrase = bytes(512), home / "one.kubekeel", home / "passphrase"
    (home / "snapshot.db").write_bytes(database + sha256(database).digest())
    phrase.touch(0o600)
    phrase.write_text("correct horse")
    archive.write(file, b"correct horse", home / "pki", CLUSTER, "m", home / "snapshot.db")
    rotated(home / "pki", CLUSTER)
    shutil.rmtree(home / "pki/nodes")
    return ("--data", f"backup={file}", "--data", f"passphrase_file={phrase}")


_REFUSED = 'fails="nothing is restored"'
DATA = FIT_HOSTS.replace('_host("m", 1)', f'_host("m", 1, {_REFUSED}, says={{"|| echo data": "data"}})')
LEFT_OUT = FIT_HOSTS.replace('_host("a", 2)', f'_host("a", 2, {_REFUSED})')
UNFIT = FIT_HOSTS.replace('_host("b", 3)', '_host("b", 3, "memory 9\\n")')
ROOM = '"room /var/lib/etcd 4096 1000000 25600 0 0 rw ext4\\n"'
FULL = FIT_HOSTS.replace('_host("m", 1)', f'_host("m", 1, {ROOM}, {_REFUSED})')
NOT_AGREED: dict[str, tuple[str, tuple[str, ...], bool, str]] = {
    "a dry run": (FIT_HOSTS, ("--dry",), False, ""),
    "a member with data": (DATA, (), True, "m fails"),
    "a member without room": (FULL, (), True, "m fails"),
    "a member that is left out": (LEFT_OUT, ("--limit", "minions"), True, "a fails"),
    "an unfit host": (UNFIT, (), True, "nothing was changed; faults found: 1"),
    "a user who does not answer yes": (FIT_HOSTS, (), False, ""),
}


@pytest.mark.parametrize("case", NOT_AGREED)
def test_a_restore_changes_no_key_here_before_the_user_agrees(home: Path, backup: tuple[str, ...], case: str) -> None:
    inventory, arguments, answered, said = NOT_AGREED[case]
    before = files(home / "pki")
    done = deploy(home, inventory, *SOURCE, *backup, *arguments, file=str(PROJECT / "actions/restore.py"), yes=answered)
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if "--dry" in arguments else 1), done.stderr
    assert said in done.stderr
    assert files(home / "pki") == before
    assert not (home / "pki-replaced").exists()


def test_a_restore_that_is_agreed_to_adds_the_keys_of_the_backup(home: Path, backup: tuple[str, ...]) -> None:
    before = files(home / "pki")
    done = run(home, FIT_HOSTS, "actions/restore.py", *backup)
    assert done.returncode == 0, done.stderr
    after = files(home / "pki")
    assert after.keys() > {*before, "nodes/m/etcd-peer.key"}
    assert [line.split()[0] for line in after["encryption.key"].splitlines()] == [b"key2", b"key1"]
    assert files(home / "pki-replaced").popitem()[1] == before["encryption.key"]


def test_a_restore_brings_its_own_key_of_tokens(home: Path, backup: tuple[str, ...]) -> None:
    old = Pki.open(home / "pki", CLUSTER)
    shutil.copytree(home / "pki", home / "new")
    new = rotated(home / "new", CLUSTER, roots=["service-account"]).with_user("jane", (), 30)
    done = run(home, hosts(old, *clients_of(new), data=False), "actions/restore.py", *backup, "--dry")
    assert done.returncode == 0, done.stderr
