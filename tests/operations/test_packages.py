"""Missing packages are installed by the host's package manager, under its names for them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations.node import installing

COMMANDS = {
    "apt-get": "install -q -y --no-install-recommends iptables nftables",
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


def test_a_missing_package_manager_is_named_with_the_packages_to_install(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 1
    assert done.stdout == "here: no apt-get, dnf or zypper here; install iptables nftables by hand\n"
