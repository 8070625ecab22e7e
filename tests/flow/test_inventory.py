"""pyinfra, started as users start it: a wrong inventory is refused before any connection."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from tests.flow import forked
from tests.flow.fake import environment
from tests.flow.servers import SshServer, listening, ssh_listening

PROJECT = Path(__file__).resolve().parents[2]

# Replaces deploy.py; prints the values that a task gets.
DEPLOY = """
import json
from pyinfra import host, inventory
from run.inventory import cluster_of, hosts_of, node_of, pki_of, state_dir
from operations.keys import keep
from operations.target import leads

cluster, node, pki = cluster_of(inventory), node_of(host), pki_of(inventory, hosts_of(host.state))
print(json.dumps({
    "nodes": [known.name for known in cluster.nodes],
    "minions": [known.name for known in cluster.minions],
    "domain": cluster.cluster_domain,
    "host": node.name,
    "address": node.address,
    "arch": node.arch,
    "state": str(state_dir()),
    "known_hosts": host.data.ssh_known_hosts_file,
    "ca": pki.authority("ca").decode(),
    "pki": id(pki),
}))
if leads(node):
    keep(name="save keys", pki=pki)
"""

# The project's config.py without the artifacts, which take a while to build.
CONFIG = """
from pyinfra import config

from run import inventory

config.FAIL_PERCENT = 0
inventory.supply = lambda *arguments, **options: None
inventory.prepare()
"""

FAKE = """
etcd = [("@fake/m", {"address": "192.0.2.1"})]
masters = etcd
minions = [("@fake/a", {"address": "192.0.2.2", "arch": "arm64"}), ("@fake/b", {"address": "192.0.2.3"})]
"""


@dataclass(frozen=True)
class Recorder:
    """A port that records each connection, and closes it."""

    port: int
    connections: list[object]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    connections: list[object] = []

    def hang_up(connection: socket.socket) -> None:
        connections.append(connection.getpeername())
        connection.close()

    with listening(hang_up) as port:
        yield Recorder(port, connections)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a user's folder outside the project, with an inventory and a deploy."""
    (tmp_path / "deploy.py").write_text(DEPLOY)
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "hosts.py").write_text(FAKE)
    (tmp_path / "group_data").mkdir()
    # The clone's own file may name the folder of a real cluster's keys; this is its default.
    (tmp_path / "group_data" / "all.py").write_text("state_dir = ''\n")
    return tmp_path


def pyinfra(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forked.run(["-y", "--config", str(home / "config.py"), *arguments], environment(home))


def deploy(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return pyinfra(home, str(home / "hosts.py"), str(home / "deploy.py"), *arguments)


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, object]]:
    """Return the values that the hosts' deploys printed, by host."""
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {line["host"]: line for line in lines}


def hosts(recorder: Recorder, groups: str) -> str:
    """Return an inventory of three hosts whose connections are recorded."""
    return f"""
_ssh = {{"ssh_hostname": "127.0.0.1", "ssh_port": {recorder.port}, "ssh_user": "root", "ssh_password": "x"}}
_m = ("m", {{"address": "192.0.2.1", **_ssh}})
_a = ("a", {{"address": "192.0.2.2", **_ssh}})
_b = ("b", {{"address": "192.0.2.3", **_ssh}})
{groups}
"""


GOOD = "etcd = [_m]\nmasters = [_m]\nminions = [_a, _b]"

BAD = {
    "unknown group": (
        "etcd = [_m]\nmasters = [_m]\nworkers = [_a, _b]",
        ["group workers: is unknown (a, b)"],
    ),
    "a list of other things": (
        f"{GOOD}\nDNS = ['192.0.2.53']",
        [
            "group DNS: is unknown (192.0.2.53)",
            "192.0.2.53: is not a DNS label",
            "192.0.2.53: has no IPv4 address",
        ],
    ),
    "no master": ("etcd = [_m]\nminions = [_m, _a, _b]", ["masters: has no host"]),
    "no etcd": ("masters = [_m]\nminions = [_a, _b]", ["etcd: has no host"]),
    "duplicate address": (
        "_b[1]['address'] = '192.0.2.2'\n" + GOOD,
        ["a, b: have the same address (192.0.2.2)"],
    ),
    "malformed address": ("_b[1]['address'] = '192.0.2'\n" + GOOD, ["b: has no IPv4 address (192.0.2)"]),
    "no DNS label": ("_b = ('B_2', _b[1])\n" + GOOD, ["B_2: is not a DNS label (B_2)"]),
    "address among the pods'": (
        "_b[1]['address'] = '10.244.1.1'\n" + GOOD,
        ["b: has an address within pod_network 10.244.0.0/16 (10.244.1.1)"],
    ),
    "several at once": (
        "_b[1].update(address='nowhere', arch='vax')\nminions = [_m, _a, _b]",
        ["etcd: has no host", "masters: has no host", "b: has no IPv4 address", "b: has an arch"],
    ),
    "a misspelt variable": (f"{GOOD}\nminions = [_a, _c]", ["line 9: NameError: name '_c' is not defined"]),
    "no Python": (f"{GOOD}\nminions = [_a", ["SyntaxError"]),
    "no group at all": (f"{GOOD}\nversion = ('1',)", ["cannot be read (ValueError"]),
}


def assert_refused(done: subprocess.CompletedProcess[str], recorder: Recorder, *faults: str) -> None:
    assert done.returncode not in (0, None)
    assert "is refused, no host was contacted:" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    lines = done.stderr.partition("contacted:\n")[2].splitlines()
    for fault in faults:
        assert [line for line in lines if fault in line], done.stderr
    assert len(lines) == len(faults), done.stderr
    assert "Connecting" not in done.stderr
    assert recorder.connections == []


def test_a_run_that_connects_is_recorded(home: Path, recorder: Recorder) -> None:
    (home / "hosts.py").write_text(hosts(recorder, GOOD))
    done = deploy(home)
    assert done.returncode == 1
    assert recorder.connections


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_inventory_is_refused_before_any_host_is_contacted(home: Path, recorder: Recorder, case: str) -> None:
    groups, faults = BAD[case]
    (home / "hosts.py").write_text(hosts(recorder, groups))
    assert_refused(deploy(home), recorder, *faults)
    assert not list(home.glob("pki/*"))


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("kubernetes_version = 'v1.2.3'", "kubernetes_version: is older than Kubekeel supports (v1.2.3)"),
        ("service_network = '10.244.0.0/20'", "service_network: overlaps pod_network 10.244.0.0/16"),
        ("node_subnet_lenght = 24", "node_subnet_lenght: unknown setting; did you mean node_subnet_length?"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_host_is_contacted(
    home: Path, recorder: Recorder, settings: str, fault: str
) -> None:
    (home / "hosts.py").write_text(hosts(recorder, GOOD))
    with (home / "group_data" / "all.py").open("a") as file:
        file.write(settings)
    assert_refused(deploy(home), recorder, fault)


@pytest.mark.parametrize("option", ["--limit", "--exclude"])
def test_a_limit_that_names_no_host_is_refused(home: Path, recorder: Recorder, option: str) -> None:
    (home / "hosts.py").write_text(hosts(recorder, GOOD))
    assert_refused(
        deploy(home, option, "minion", "--limit", "b"),
        recorder,
        "matches no host or group (minion); the hosts are m, a, b",
    )


def test_a_wrong_inventory_is_refused_under_limit_and_dry_too(home: Path, recorder: Recorder) -> None:
    (home / "hosts.py").write_text(hosts(recorder, BAD["no etcd"][0]))
    assert_refused(deploy(home, "--dry", "--limit", "b"), recorder, "etcd: has no host")


def test_a_missing_inventory_is_refused(home: Path, recorder: Recorder) -> None:
    (home / "hosts.py").unlink()
    assert_refused(deploy(home), recorder, "does not exist")


def test_data_on_the_command_line_is_checked(home: Path, recorder: Recorder) -> None:
    assert_refused(
        deploy(home, "--data", "kubernetes_version=1.30"), recorder, "kubernetes_version: is not a version (1.3)"
    )


@pytest.mark.parametrize("option", ["--no-wait", "--serial"])
def test_options_that_keep_hosts_from_waiting_for_each_other_are_refused(
    home: Path, recorder: Recorder, option: str
) -> None:
    assert_refused(deploy(home, option), recorder, f"{option}: ")


def test_damaged_keys_are_refused_before_any_host_is_contacted(home: Path, recorder: Recorder) -> None:
    printed(deploy(home))
    (home / "pki" / "ca.key").unlink()
    assert_refused(deploy(home), recorder, "ca.key: is missing, but the cluster was made with it")


def test_the_config_of_the_project_refuses_too(home: Path, recorder: Recorder) -> None:
    (home / "config.py").write_text((PROJECT / "config.py").read_text())
    (home / "hosts.py").write_text(hosts(recorder, BAD["no master"][0]))
    assert_refused(deploy(home), recorder, "masters: has no host")


def test_every_host_gets_the_same_cluster_and_keys(home: Path) -> None:
    by_host = printed(deploy(home))
    assert by_host.keys() == {"m", "a", "b"}
    assert {host["host"]: host["address"] for host in by_host.values()}["a"] == "192.0.2.2"
    assert by_host["a"]["arch"] == "arm64"
    for shared in ("nodes", "ca", "pki"):
        assert len({str(host[shared]) for host in by_host.values()}) == 1


def test_under_limit_the_whole_cluster_is_known(home: Path) -> None:
    by_host = printed(deploy(home, "--limit", "minions"))
    assert by_host.keys() == {"a", "b"}
    assert by_host["a"]["nodes"] == ["m", "a", "b"]
    assert printed(deploy(home, "--limit", "@fake/b", "--dry"))["b"]["minions"] == ["a", "b"]


def test_a_limited_run_makes_keys_only_for_its_own_hosts(home: Path) -> None:
    printed(deploy(home, "--limit", "minions", "--exclude", "*b"))
    assert [path.name for path in (home / "pki/nodes").iterdir()] == ["a"]


def test_the_keys_are_kept_beside_the_inventory(home: Path) -> None:
    first, second = printed(deploy(home))["m"], printed(deploy(home))["m"]
    assert first["state"] == str(home / "pki")
    assert first["known_hosts"] == str(home / "pki" / "known_hosts")
    assert first["ca"] == second["ca"] == (home / "pki" / "ca.crt").read_text()
    assert (home / "pki").stat().st_mode & 0o777 == 0o700


def test_the_settings_of_the_user_override_the_project_s(home: Path) -> None:
    (home / "group_data" / "all.py").write_text("state_dir = 'secret'\ncluster_domain = 'k8s.test'")
    host = printed(deploy(home))["m"]
    assert host["domain"] == "k8s.test"
    assert host["state"] == str(home / "secret")
    assert host["known_hosts"] == str(home / "secret" / "known_hosts")


def test_commands_other_than_deploys_need_no_cluster(home: Path) -> None:
    (home / "hosts.py").write_text('pets = [("@fake/cat", {})]')
    done = pyinfra(home, str(home / "hosts.py"), "exec", "--", "uptime")
    assert done.returncode == 0, done.stderr


# SSH host keys


@pytest.fixture
def ssh_server() -> Iterator[SshServer]:
    with ssh_listening() as server:
        yield server


def single(home: Path, server: SshServer) -> None:
    ssh = {"ssh_hostname": "127.0.0.1", "ssh_port": server.port, "ssh_user": "root", "ssh_password": "x"}
    host = ("m", {"address": "192.0.2.1", **ssh})
    (home / "hosts.py").write_text(f"etcd = masters = [{host!r}]")


def test_the_key_of_a_host_is_saved_at_the_first_connection(home: Path, ssh_server: SshServer) -> None:
    single(home, ssh_server)
    deploy(home)
    known = paramiko.HostKeys(str(home / "pki" / "known_hosts"))
    assert known.check(f"[127.0.0.1]:{ssh_server.port}", ssh_server.key)
    assert ssh_server.logins


def test_a_host_that_shows_another_key_stops_the_run_before_the_login(home: Path, ssh_server: SshServer) -> None:
    single(home, ssh_server)
    (home / "pki").mkdir()
    known = paramiko.HostKeys()
    known.add(f"[127.0.0.1]:{ssh_server.port}", "ecdsa-sha2-nistp256", paramiko.ECDSAKey.generate())
    known.save(str(home / "pki" / "known_hosts"))
    before = (home / "pki" / "known_hosts").read_bytes()
    done = deploy(home)
    assert done.returncode == 1
    assert "does not match" in done.stderr
    assert not ssh_server.logins
    assert done.stdout == ""
    assert (home / "pki" / "known_hosts").read_bytes() == before
