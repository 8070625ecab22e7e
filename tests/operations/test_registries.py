"""Files of registries follow their settings; files that others wrote stay."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kubekeel.files import File
from kubekeel.registries import MARK
from operations import registries
from operations.converge import RoleSeen
from tests.hosts import as_described
from tests.operations.commands import Commands, Described

HOSTS = "/etc/containerd/certs.d/r.example/hosts.toml"
FILES = {HOSTS: File(f"{MARK}\n".encode(), hot=True)}
LEFT = "/etc/containerd/certs.d/left.example/hosts.toml"


def test_desired_files_are_left_alone(commands: Commands) -> None:
    seen = Described(as_described(dict(FILES)), unasked=RoleSeen(holds={HOSTS}))
    assert commands(registries, "registries", {registries.Registries: seen}, FILES) == []


def test_files_of_an_earlier_run_are_removed_with_their_setting(commands: Commands) -> None:
    seen = Described(as_described(dict(FILES)), unasked=RoleSeen(holds={HOSTS, LEFT}))
    (removal,) = commands(registries, "registries", {registries.Registries: seen}, FILES)
    assert removal.splitlines() == [
        f"rm -f {LEFT} {LEFT.replace('hosts.toml', 'kubekeel-ca.crt')}",
        "rmdir /etc/containerd/certs.d/left.example 2>/dev/null || true",
    ]


def test_a_look_recognizes_its_own_files_by_their_first_line(tmp_path: Path) -> None:
    for name, text in {"ours": f"{MARK}\nx\n", "theirs": "server = 'x'\n", "alike": f"{MARK} No.\n"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "hosts.toml").write_text(text)
    look = registries.Registries()
    command = look.command([], [], {}).replace("/etc/containerd/certs.d", str(tmp_path))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert look.process(done.stdout.splitlines()).holds == {str(tmp_path / "ours/hosts.toml")}
