"""Leases of flannel in a real etcd: a node may write its own lease and no other."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from kubekeel import render
from kubekeel.artifacts import Needs, supply
from kubekeel.artifacts.pins import Pins
from kubekeel.artifacts.toolchain import own_arch
from kubekeel.certificates import CLIENT, Profile, issue
from kubekeel.cluster import Cluster
from kubekeel.etcd_access import LEASES, NETWORK, RECORD, Access, Wanted, lease_key, user_of
from kubekeel.pki import Pki
from operations import etcd as operations
from tests.clusters import GROUPS, HOSTS, cluster

PATIENCE = 60
A, B = "192.0.2.2", "192.0.2.3"

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Return etcd, etcdctl and flanneld, built from source and cached."""
    arch = own_arch()
    got = supply(
        [Needs(arch, frozenset(("etcd", "etcdctl", "flanneld")), frozenset())],
        kubernetes_version="v1.37.2",
        source="source",
        mirror=None,
        pins=Pins(tmp_path_factory.mktemp("pins") / "artifacts.lock"),
    )
    return {name: path.path for (name, _), path in got.binaries.items()}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class Etcd:
    """A running member of etcd, with the pairs of its clients in `home`."""

    home: Path
    port: int
    binaries: Mapping[str, Path]
    inside: tuple[str, ...] = ()
    """The prefix that runs a program in the member's network."""

    def ctl(self, who: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        pair = [f"--cert={self.home}/{who}.crt", f"--key={self.home}/{who}.key", f"--cacert={self.home}/ca.crt"]
        command = [*self.inside, str(self.binaries["etcdctl"]), f"--endpoints={self.url}", *pair, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def script(self, text: str) -> list[str]:
        """Return the output of a script for a member's host, run here."""
        root = "/opt/kubekeel/bin/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt"
        here = f"{self.binaries['etcdctl']} --endpoints={self.url} --cacert={self.home}/ca.crt"
        text = text.replace(root, here).replace("/etc/etcd/pki/root", f"{self.home}/root")
        assert "/etc/etcd" not in text
        done = subprocess.run(
            [*self.inside, "sh", "-c", text], capture_output=True, text=True, check=False, timeout=PATIENCE * 4
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def leases(self) -> dict[str, str]:
        """Return the address of each subnet's node."""
        listed = json.loads(self.ctl("root", "get", "--prefix", f"{LEASES}/", "-w", "json").stdout)
        return {
            subnet.removeprefix(f"{LEASES}/"): json.loads(value)["PublicIP"]
            for subnet, value in ((decoded(each["key"]), decoded(each["value"])) for each in listed.get("kvs", ()))
        }


def decoded(text: str) -> str:
    return b64decode(text).decode()


def refused(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode != 0 and "permission denied" in done.stderr


def write_pairs(home: Path, desired: Cluster) -> None:
    pki = Pki.open(home / "pki", desired, now=datetime.now(UTC))
    (home / "ca.crt").write_bytes(pki.authority("etcd-ca"))
    pairs = {
        "server": pki.leaf("m", "etcd-server"),
        "root": pki.leaf("m", "etcd-root"),
        **{name: pki.leaf(name, "flannel-etcd-client") for name in ("m", "a", "b")},
    }
    # Earlier versions issued this pair to all nodes.
    signer = pki._signer(Profile("flannel-etcd-client", "etcd-ca", "flannel"))
    pairs["earlier"] = issue(
        Profile("x", "etcd-ca", "flannel", usages=CLIENT),
        signer,
        datetime.now(UTC),
        Profile("x", "etcd-ca", "flannel").life,
    ).pair
    for name, pair in pairs.items():
        (home / f"{name}.crt").write_bytes(pair.cert)
        (home / f"{name}.key").write_bytes(pair.key)


@contextmanager
def running(home: Path, binaries: Mapping[str, Path], inside: tuple[str, ...] = ()) -> Iterator[Etcd]:
    write_pairs(home, cluster())
    found = Etcd(home, free_port(), binaries, inside)
    peers = f"http://127.0.0.1:{free_port()}"
    pair = [f"--cert-file={home}/server.crt", f"--key-file={home}/server.key"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(*inside, binaries["etcd"], f"--data-dir={home}/data", "--name=m", "--unsafe-no-fsync", *pair),
                *("--client-cert-auth", f"--trusted-ca-file={home}/ca.crt", "--log-level=error"),
                *(f"--listen-client-urls={found.url}", f"--advertise-client-urls={found.url}"),
                *(f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}"),
                f"--initial-cluster=m={peers}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: found.ctl("root", "get", "/").returncode == 0, (home / "log").read_text)
        yield found
    finally:
        process.kill()
        process.wait()


def wait_until(holds: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, explain()
        time.sleep(0.1)


@pytest.fixture
def etcd(tmp_path: Path, binaries: Mapping[str, Path]) -> Iterator[Etcd]:
    with running(tmp_path, binaries) as found:
        yield found


WANTED = render.etcd_content(cluster())


def look(etcd: Etcd, wanted: Wanted | None = WANTED) -> Access:
    fact = operations.AccessSeen()
    return fact.process(etcd.script(fact.command(digest=wanted.digest if wanted else "")))


def run(etcd: Etcd, operation, **arguments) -> int:
    """Run an operation, and return the number of its commands."""
    noted: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "host", SimpleNamespace(noop=noted.append, connector_data={}))
        patch.setattr(operations, "see", lambda _, __, **fact: look_with(etcd, fact))
        commands = list(operation._inner(**arguments))
    for command in commands:
        etcd.script(command.get_raw_value())
    assert bool(noted) != bool(commands)
    return len(commands)


def look_with(etcd: Etcd, arguments: Mapping[str, str]) -> Access:
    fact = operations.AccessSeen()
    return fact.process(etcd.script(fact.command(**arguments)))


def test_a_look_tells_an_empty_etcd_from_one_that_does_not_answer(etcd: Etcd) -> None:
    assert look(etcd) == Access(answered=True, revision=look(etcd).revision)
    assert look(replace(etcd, port=free_port())) == Access()


@pytest.fixture
def granted(etcd: Etcd) -> Etcd:
    assert run(etcd, operations.grant_access, wanted=WANTED) == 1
    return etcd


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory, binaries: Mapping[str, Path]) -> Iterator[Etcd]:
    """Yield a member that tests only read."""
    with running(tmp_path_factory.mktemp("etcd"), binaries) as found:
        assert run(found, operations.grant_access, wanted=WANTED) == 1
        yield found


def test_a_second_run_reads_no_users_and_changes_nothing(left_alone: Etcd) -> None:
    seen = look(left_alone)
    assert seen.enabled
    assert (seen.users, seen.roles) == ({}, {})
    assert seen.leases.keys() == set(seen.record.subnets.values())
    assert run(left_alone, operations.grant_access, wanted=WANTED) == 0
    assert run(left_alone, operations.end_shared_access, wanted=WANTED) == 0


def test_each_node_has_a_lease_before_its_flanneld_runs(left_alone: Etcd) -> None:
    leases = left_alone.leases()
    assert sorted(leases.values()) == [host["address"] for host in HOSTS.values()]
    assert sorted(leases) == ["10.244.1.0-24", "10.244.2.0-24", "10.244.3.0-24"]


REFUSED = {
    "rewrites another node's lease": "put {others} x",
    "deletes another node's lease": "del {others}",
    "takes a free subnet": f"put {LEASES}/10.244.9.0-24 x",
    "deletes all leases": f"del --prefix {LEASES}",
    "writes flannel's configuration": f"put {NETWORK}/config x",
    "writes the record of subnets": f"put {RECORD} x",
    "reads the record of subnets": f"get {RECORD}",
    "reads objects of the cluster": "get --prefix /registry",
    "lists users": "user list",
}


@pytest.mark.parametrize("attempt", REFUSED)
def test_with_its_own_pair_a_node_is_refused_when_it(left_alone: Etcd, attempt: str) -> None:
    others = lease_key(look(left_alone).record.subnets["b"])
    assert refused(left_alone.ctl("a", *REFUSED[attempt].format(others=others).split()))


def test_a_node_reads_what_it_needs_and_renews_its_own_lease(left_alone: Etcd) -> None:
    own = lease_key(look(left_alone).record.subnets["a"])
    day = left_alone.ctl("a", "lease", "grant", "86400").stdout.split()[1]
    assert left_alone.ctl("a", "put", f"--lease={day}", own, WANTED.leases["a"]).returncode == 0
    assert left_alone.ctl("a", "get", "--prefix", "--keys-only", LEASES).stdout.count(LEASES) == 3
    assert left_alone.ctl("a", "get", f"{NETWORK}/config").stdout.count("SubnetLen") == 1
    # Another node cannot revoke the etcd lease behind it either.
    assert refused(left_alone.ctl("b", "lease", "revoke", day))


def test_changed_users_and_roles_are_restored(granted: Etcd) -> None:
    user = user_of("a")
    for spoilt in (
        ("user", "grant-role", user, "root"),
        ("role", "grant-permission", user, "readwrite", "/registry/x"),
        ("role", "delete", user_of("b")),
    ):
        assert granted.ctl("root", *spoilt).returncode == 0
        assert run(granted, operations.grant_access, wanted=WANTED) == 1
        assert run(granted, operations.grant_access, wanted=WANTED) == 0
    assert refused(granted.ctl("a", "get", "/registry/x"))
    assert granted.ctl("b", "get", f"{NETWORK}/config").returncode == 0


def test_a_wrong_lease_is_corrected(granted: Etcd) -> None:
    subnet = look(granted).record.subnets["a"]
    for lie in ("[" * 100_000, "x\ny", WANTED.leases["a"].replace("0a:58:c0:00:02:02", "0a:58:c0:00:02:03")):
        assert granted.ctl("a", "put", lease_key(subnet), lie).returncode == 0
        assert run(granted, operations.grant_access, wanted=WANTED) == 1
        assert granted.leases()[subnet] == A


EARLIER = (
    ("role", "add", "root"),
    ("role", "add", "flannel"),
    ("role", "grant-permission", "flannel", "read", f"{NETWORK}/config"),
    ("role", "grant-permission", "flannel", "readwrite", "--prefix", LEASES),
    *(("user", "add", user, "--no-password") for user in ("root", "kube-apiserver", "flannel")),
    ("user", "grant-role", "root", "root"),
    ("user", "grant-role", "kube-apiserver", "root"),
    ("user", "grant-role", "flannel", "flannel"),
    ("put", lease_key("10.244.40.0-24"), WANTED.leases["a"]),
    ("put", lease_key("10.244.80.0-24"), WANTED.leases["b"]),
    ("put", f"{NETWORK}/config", WANTED.network),
    ("auth", "enable"),
)


def test_an_earlier_cluster_keeps_its_subnets_and_loses_the_shared_user_last(etcd: Etcd) -> None:
    for step in EARLIER:
        assert etcd.ctl("root", *step).returncode == 0, step
    theirs = lease_key("10.244.80.0-24")
    assert etcd.ctl("earlier", "put", theirs, WANTED.leases["b"]).returncode == 0
    run(etcd, operations.grant_access, wanted=WANTED)
    assert etcd.leases() == {"10.244.1.0-24": "192.0.2.1", "10.244.40.0-24": A, "10.244.80.0-24": B}
    # Nodes that the run has not reached yet still work.
    assert etcd.ctl("earlier", "put", theirs, WANTED.leases["b"]).returncode == 0
    assert run(etcd, operations.grant_access, wanted=WANTED) == 0
    assert run(etcd, operations.end_shared_access, wanted=WANTED) == 1
    assert etcd.ctl("earlier", "put", theirs, WANTED.leases["b"]).returncode != 0
    assert etcd.ctl("b", "put", theirs, WANTED.leases["b"]).returncode == 0
    for operation in (operations.grant_access, operations.end_shared_access):
        assert run(etcd, operation, wanted=WANTED) == 0


def test_a_removed_node_has_no_user_no_role_and_no_lease(granted: Etcd) -> None:
    subnets = look(granted).record.subnets
    gone = {"node": "b", "address": B}
    # actions/remove_node.py runs while the node is still in the inventory.
    assert run(granted, operations.delete_lease, **gone, wanted=WANTED) == 1
    assert run(granted, operations.delete_lease, **gone, wanted=WANTED) == 0
    seen = look(granted, None)
    assert user_of("b") not in seen.users.keys() | seen.roles.keys()
    assert B not in granted.leases().values()
    assert granted.ctl("b", "get", f"{NETWORK}/config").returncode != 0
    run(granted, operations.grant_access, wanted=WANTED)
    assert look(granted).record.subnets == subnets


def test_a_node_that_no_longer_runs_pods_needs_no_second_deploy(granted: Etcd) -> None:
    fewer = render.etcd_content(cluster({**GROUPS, "minions": ["a"]}))
    run(granted, operations.grant_access, wanted=fewer)
    assert run(granted, operations.delete_lease, node="b", address=B, wanted=fewer) == 1
    assert run(granted, operations.grant_access, wanted=fewer) == 0
    assert B not in granted.leases().values()


def test_a_new_node_gets_a_free_subnet(granted: Etcd) -> None:
    before = look(granted).record.subnets
    groups = {**GROUPS, "minions": ["a", "b", "c"]}
    more = render.etcd_content(cluster(groups, {**HOSTS, "c": {"address": "192.0.2.4"}}))
    assert granted.ctl("root", "put", lease_key("10.244.4.0-24"), "taken").returncode == 0
    run(granted, operations.grant_access, wanted=more)
    assert look(granted, more).record.subnets == {**before, "c": "10.244.5.0-24"}


@pytest.fixture
def inside() -> Iterator[tuple[str, ...]]:
    """Yield the prefix that enters a separate network, with the address of node a."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        pytest.skip("needs root, unshare, nsenter and ip")
    script = (
        f"ip link set lo up; ip link add eth0 type veth peer name eth1; ip address add {A}/24 dev eth0;"
        " ip link set eth0 up; ip link set eth1 up; echo ready; exec sleep 600"
    )
    holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"ready\n"
    yield ("nsenter", f"--target={holder.pid}", "--net")
    holder.kill()
    holder.wait()


@contextmanager
def flanneld(etcd: Etcd, file: Path) -> Iterator[Path]:
    """Run node a's flanneld, without its changes to kernel rules; yield its log."""
    for name in ("iptables", "ip6tables", "iptables-restore", "ip6tables-restore"):
        program = etcd.home / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho 'iptables v1.8.9 (nf_tables)'\n")
        program.chmod(0o755)
    path = {**os.environ, "PATH": f"{etcd.home}/bin:{os.environ['PATH']}"}
    base, log = etcd.home / "a", etcd.home / "flanneld.log"
    command = [
        *(*etcd.inside, str(etcd.binaries["flanneld"]), f"--etcd-endpoints={etcd.url}", f"--etcd-prefix={NETWORK}"),
        *(f"--etcd-cafile={etcd.home}/ca.crt", f"--etcd-certfile={base}.crt", f"--etcd-keyfile={base}.key"),
        *(f"--iface={A}", f"--subnet-file={file}"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=path, stdout=output, stderr=output)
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        # Like a power cut: after a signal it may never end.
        process.kill()
        process.wait()


def test_flanneld_keeps_its_subnet_with_rights_to_no_other_lease(
    tmp_path: Path, binaries: Mapping[str, Path], inside: tuple[str, ...]
) -> None:
    # host-gw needs no device, and treats leases the same way.
    wanted = render.etcd_content(cluster(flannel_backend="host-gw", kube_proxy_mode="iptables"))
    file = tmp_path / "subnet.env"
    with running(tmp_path, binaries, inside) as etcd:
        run(etcd, operations.grant_access, wanted=wanted)
        subnets = look(etcd, wanted).record.subnets
        key = lease_key(subnets["a"])
        # The second time its lease has expired, and only the file names the subnet.
        for reserved in (True, False):
            if not reserved:
                assert etcd.ctl("root", "del", key).returncode == 0
            with flanneld(etcd, file) as log:
                wait_until(lambda: has_etcd_lease(etcd, key), log.read_text)
                wait_until(file.exists, log.read_text)
            assert f"FLANNEL_SUBNET={subnets['a'].replace('.0-', '.1/')}\n" in file.read_text()
        assert etcd.leases().keys() == set(subnets.values())
        # A deploy has nothing to correct.
        assert run(etcd, operations.grant_access, wanted=wanted) == 0


def has_etcd_lease(etcd: Etcd, key: str) -> bool:
    """Whether flanneld wrote the key: Kubekeel writes it without an etcd lease."""
    kvs = json.loads(etcd.ctl("root", "get", key, "-w", "json").stdout).get("kvs") or [{}]
    return bool(kvs[0].get("lease"))
