"""vagrant/: the machines of its Vagrantfile are the hosts of its inventory."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tests.hosts import machine

PROJECT = Path(__file__).resolve().parents[2]
VAGRANTFILE = PROJECT / "vagrant/Vagrantfile"
# "name" => { address: "192.0.2.1", memory: 1024 },
_MACHINE = re.compile(r'"(?P<name>\w+)" => \{ address: "(?P<address>[\d.]+)", memory: (?P<memory>\d+) \}')


def machines() -> dict[str, tuple[str, int]]:
    found = _MACHINE.finditer(VAGRANTFILE.read_text())
    return {each["name"]: (each["address"], int(each["memory"])) for each in found}


def hosts() -> dict[str, str]:
    groups = runpy.run_path(str(PROJECT / "vagrant/inventory.py"))
    listed = [host for group in ("etcd", "masters", "minions") for host in groups[group]]
    return {name: data["address"] for name, data in listed if data["address"] == data["ssh_hostname"]}


def test_the_machines_are_the_hosts_of_the_inventory() -> None:
    assert len(machines()) == 3
    assert {name: address for name, (address, _) in machines().items()} == hosts()


def test_virtualbox_allows_the_addresses_and_keeps_the_first_for_this_computer() -> None:
    """VirtualBox refuses others unless /etc/vbox/networks.conf has them: its manual, "Host-Only Networking"."""
    allowed = IPv4Network("192.168.56.0/21")
    addresses = [IPv4Address(address) for address, _ in machines().values()]
    assert all(address in allowed for address in addresses)
    assert IPv4Address("192.168.56.1") not in addresses


def test_the_machines_have_a_third_more_memory_than_preflight_requires() -> None:
    needed = {"master": machine("m").memory, "minion1": machine("a").memory, "minion2": machine("a").memory}
    assert {name for name, (_, memory) in machines().items() if memory * 3 < needed[name] * 4} == set()


def test_git_ignores_the_files_of_the_machines_and_their_cluster() -> None:
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    assert {"/vagrant/.vagrant/", "/vagrant/pki/", "/vagrant/backups/"} <= set(ignored)


@pytest.mark.skipif(not shutil.which("vagrant"), reason="no vagrant here")
def test_vagrant_accepts_the_file(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/id_ed25519.pub").write_text("ssh-ed25519 AAAA somebody\n")
    shutil.copy(VAGRANTFILE, tmp_path)
    done = subprocess.run(
        ["vagrant", "validate", "--ignore-provider"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
