"""Components check new settings before a restart, and name what they refuse."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kubekeel.files import File
from kubekeel.service import Check
from operations import settings
from operations.converge import Look
from tests.hosts import as_described
from tests.operations.commands import Commands, Described

SCRIPT = Path(__file__).resolve().parents[2] / "files/node/check-config.sh"
KUBELET = Check({"/var/lib/kubelet/config.yaml": File(b"new")}, "kubelet --check $new")
ETCD = Check({"/etc/systemd/system/etcd.service": File(b"new")}, "etcd --check")


def test_a_component_checks_differing_files_in_a_temporary_folder(commands: Commands) -> None:
    seen = {Look: Described(as_described(dict(ETCD.files)))}
    put, look = commands(settings, "check", seen, {"etcd": ETCD, "kubelet": KUBELET})
    assert "/run/kubekeel-check/var/lib/kubelet/config.yaml" in put
    assert " /var/lib/kubelet/config.yaml" not in put
    assert look.splitlines() == ["new=/run/kubekeel-check", "trap 'rm -rf /run/kubekeel-check' EXIT", KUBELET.command]


def test_nothing_is_checked_if_nothing_differs_or_is_set(commands: Commands) -> None:
    seen = {Look: Described(as_described(dict(ETCD.files)))}
    assert commands(settings, "check", seen, {"etcd": ETCD}) == []
    assert commands(settings, "check", {}, {}) == []


ENDED = '"command failed" err="failed to run Kubelet: cannot exit on lock file contention: no lock file specified"'
INVALID = "invalid authentication configuration: jwt[0].claimMappings.username.expression"
LENIENT = 'codec.go:102] "Using lenient decoding as strict decoding failed" err="strict decoding error: unknown field'


@pytest.mark.parametrize(
    ("program", "says", "status", "refusal"),
    [
        ("etcd", "etcd Version: 3.7.3", 0, ""),
        ("etcd", "flag provided but not defined: -nosuch\nUsage:", 2, "flag provided but not defined: -nosuch"),
        ("kubelet", f"E1125 {ENDED}", 1, ""),
        ("kubelet", f'I1125 {LENIENT} \\"maxPodz\\""\nE1125 {ENDED}', 1, 'unknown field \\"maxPodz\\""'),
        ("kubelet", 'E1125 "command failed" err="failed to validate: x"', 1, 'err="failed to validate: x"'),
        ("kube-proxy", 'I1125 options.go:436] "Wrote configuration" file="/dev/null"', 0, ""),
        ("kube-proxy", f'I1125 {LENIENT} \\"nosuch\\""', 0, 'unknown field \\"nosuch\\""'),
        ("kube-proxy", 'E1125 "command failed" err="failed validate: x"', 1, 'err="failed validate: x"'),
        ("kube-apiserver", 'E1125 run.go:72] "command failed" err="loading audit policy file: x"', 1, ""),
        ("kube-apiserver", f'E1125 run.go:72] "command failed" err=<\n\t{INVALID}: x\n\t | ^\n >', 1, f"{INVALID}: x"),
        ("kube-apiserver", 'E1125 "command failed" err="issuer.url: x"', 1, 'err="issuer.url: x"'),
        ("containerd", "time=x level=warning msg=migrated", 0, ""),
        ("containerd", 'msg="Ignoring unknown key in TOML" key="a b" plugin=x', 0, 'unknown key "a b"'),
        ("containerd", "containerd: toml: cannot decode", 1, "containerd: toml: cannot decode"),
    ],
)
def test_a_refusal_is_shown_in_the_words_of_the_component(
    tmp_path: Path, program: str, says: str, status: int, refusal: str
) -> None:
    binary, config = tmp_path / program, tmp_path / "etc/containerd/config.toml"
    (tmp_path / "said").write_text(f"{says}\n")
    binary.write_text(f"#!/bin/sh\ncat {tmp_path}/said >&2\nexit {status}\n")
    binary.chmod(0o755)
    config.parent.mkdir(parents=True)
    config.write_text("imports = ['/etc/containerd/conf.d/*.toml']\n")
    command = ["sh", "-c", SCRIPT.read_text(), program, str(binary), str(tmp_path), "--a=b"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ([f"{program} refuses its settings:", refusal] if refusal else [])
    assert done.returncode == (1 if refusal else 0)
    if program == "containerd":
        assert config.read_text() == f"imports = ['{tmp_path}/etc/containerd/conf.d/*.toml']\n"
