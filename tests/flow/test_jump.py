"""A host that this computer reaches only through another one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy

DEPLOY = """
from pyinfra import host
from pyinfra.operations import server

if host.name == "a":
    server.shell(name="a change", commands=["echo done >{mark}"])
"""
# Only the jump host knows the name.
HOSTS = """
etcd = masters = [_host("m", 1)]
_ssh = {{"ssh_hostname": "behind.invalid", "ssh_port": {port}, "ssh_user": "root", "ssh_password": "x"}}
minions = [("a", {{"address": "192.0.2.2", **_ssh}})]
"""
SSH_CONFIG = """
Host behind.invalid
    ProxyJump somebody@127.0.0.1:{jump}
Host 127.0.0.1
    StrictHostKeyChecking no
"""


@pytest.fixture
def ports() -> Iterator[tuple[str, str]]:
    """The ports of two SSH servers."""
    command = [sys.executable, "-m", "tests.flow.ssh_server"]
    servers = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True, start_new_session=True)
        for _ in range(2)
    ]
    first, second = (server.stdout.readline().strip() for server in servers if server.stdout)
    yield first, second
    for server in servers:
        server.send_signal(signal.SIGKILL)
        server.wait()


def test_a_run_reaches_a_host_through_the_jump_host_of_the_users_ssh_configuration(
    tmp_path: Path, ports: tuple[str, str]
) -> None:
    jump, port = ports
    mark = tmp_path / "mark"
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh/config").write_text(SSH_CONFIG.format(jump=jump))
    key = tmp_path / ".ssh/id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "deploy.py").write_text(DEPLOY.format(mark=mark))
    done = deploy(tmp_path, HOSTS.format(port=port))
    assert done.returncode == 0, done.stderr
    assert mark.read_text() == "done\n"
    # The key of the host is kept, and not only that of the jump host.
    assert f"[behind.invalid]:{port} " in (tmp_path / "pki/known_hosts").read_text()
