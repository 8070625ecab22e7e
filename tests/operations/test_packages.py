"""Missing packages are installed by the host's package manager, under its names for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations.node import installing

COMMANDS = {
    "apt-get": "install -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 iptables nftables",
    "dnf": "install -q -y iptables-nft nftables",
    "zypper": "--non-interactive --quiet install --no-recommends iptables nftables",
}


def install(folder: Path) -> subprocess.CompletedProcess[str]:
    script = installing(["nftables", "iptables"], "here")
    return subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("manager", COMMANDS)
def test_packages_are_installed_by_the_package_manager_of_the_host(tmp_path: Path, manager: str) -> None:
    (tmp_path / manager).write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / manager).chmod(0o755)
    assert install(tmp_path).stdout.splitlines() == [COMMANDS[manager]]


# Another program holds apt's locks: that of dpkg until a command waits for it, that of the lists three times.
BUSY = """#!/bin/sh
lock() { echo "E: Could not get lock $1. It is held by process 712 (unattended-upgr)"; exit 100; }
case $* in
update*) echo update >>{calls}; [ "$(grep -c update {calls})" -gt 3 ] || lock /var/lib/apt/lists/lock ;;
*Lock::Timeout=*) [ -e {calls} ] || exit 100 ;;
*) lock /var/lib/dpkg/lock-frontend ;;
esac
"""


def test_a_deploy_waits_for_another_program_that_installs_packages(tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text(BUSY.replace("{calls}", str(tmp_path / "calls")))
    (tmp_path / "apt-get").chmod(0o755)
    for name in ("grep", "sleep"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    done = install(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "calls").read_text().split() == ["update"] * 4


def test_lists_of_packages_that_cannot_be_read_end_the_run_at_once(tmp_path: Path) -> None:
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "E: no network"\nexit 100\n')
    (tmp_path / "apt-get").chmod(0o755)
    done = install(tmp_path)
    assert done.returncode != 0
    assert "E: no network" in done.stdout


def test_a_missing_package_manager_is_named_with_the_packages_to_install(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 1
    assert done.stdout == "here: no apt-get, dnf or zypper here; install iptables nftables by hand\n"
