"""The action that only looks at hosts: its report, and that it changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.flow.fake import CONFIG, PROJECT, deploy


def hosts(of_m: str = "reached", seen_of_a: str = "") -> str:
    ways = "\\n".join(f"port 192.0.2.{number} 10250 {of_m}" for number in (2, 3))
    measured = f'{{"kubekeel-XXXXXX": "size 192.0.2.2 1500\\npacket 192.0.2.2 1500\\n{ways}\\nsync 0.004"}}'
    return f"""
etcd = masters = [_host("m", 1, says={measured})]
minions = [_host("a", 2, {seen_of_a!r}), _host("b", 3)]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "config.py").write_text(CONFIG)
    (tmp_path / "check.py").write_text((PROJECT / "actions/check.py").read_text())
    return tmp_path


def test_fit_hosts_pass_and_measurements_are_one_table(home: Path) -> None:
    done = deploy(home, hosts(), file="check.py")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("m ")] == [
        ["m", "its", "disk", "4.0", "ms"],
        ["m", "a", "?", "1500", "of", "1500", "10250", "reached"],
        ["m", "b", "?", "?", "10250", "reached"],
    ]
    assert not (home / "pki").exists()


def test_all_faults_are_named_and_nothing_is_changed(home: Path) -> None:
    done = deploy(home, hosts("lost", "memory 9\n"), file="check.py")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    named = re.findall(r"\b([mab]: .*); ", done.stderr)
    assert [line for line in named if "cgroup" not in line] == [
        "a: has less than 700 MiB of memory (9 MiB)",
        "m: does not reach ports of a (10250)",
        "m: does not reach ports of b (10250)",
    ]
    assert not (home / "pki").exists()
