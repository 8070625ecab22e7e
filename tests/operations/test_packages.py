"""How what a host lacks is installed: with the package manager that it has, and by the names that are known there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from operations.node import installing

ASKED = {
    "apt-get": "install -q -y --no-install-recommends iptables nftables",
    "dnf": "install -q -y iptables-nft nftables",
    "zypper": "--non-interactive --quiet install --no-recommends iptables nftables",
}


def install(folder: Path) -> subprocess.CompletedProcess[str]:
    script = installing(["nftables", "iptables"], "here")
    return subprocess.run(
        ["/bin/sh", "-c", script], env={"PATH": str(folder)}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("manager", ASKED)
def test_packages_are_installed_with_what_the_host_has(tmp_path: Path, manager: str) -> None:
    (tmp_path / manager).write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / manager).chmod(0o755)
    assert install(tmp_path).stdout.splitlines() == [ASKED[manager]]


def test_a_host_without_a_package_manager_is_told_what_to_install(tmp_path: Path) -> None:
    done = install(tmp_path)
    assert done.returncode == 1
    assert done.stdout == "here: no apt-get, dnf or zypper here; install iptables nftables by hand\n"
