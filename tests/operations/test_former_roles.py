"""The hosts' own scripts remove a former part from a host."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kubekeel.cluster import Cluster, Node
from kubekeel.parts import CONTROL_PLANE, ETCD, PODS, Part, remains
from operations.former_roles import end, remove
from tests.clusters import GROUPS, cluster

OTHER = cluster(GROUPS | {"etcd": ["m"]})
"""A cluster whose `b` is no longer a member of etcd."""

KEY = "etc/etcd/pki/root.key"
DATA = "var/lib/etcd/member/snap/db"
MARK = "opt/kubekeel/libexec/take-snapshot"


class Machine:
    """A host whose folders are in `root`, with systemctl and other commands that a test replaces."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bin = root / "bin"
        self.bin.mkdir()
        self.says("systemctl", 'case $1 in is-active) exit 3 ;; esac; echo "$@" >>"$0.log"')

    def says(self, command: str, script: str) -> None:
        (self.bin / command).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / command).chmod(0o755)

    def write(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(path)

    def mounts(self, path: str) -> None:
        """Show this path, and nothing else, as a mount."""
        (self.root / "mounts").write_text(f"36 35 98:0 / {self.root}/{path} rw - ext4 /dev/root rw\n")

    def within(self, text: str) -> str:
        if (self.root / "mounts").exists():
            text = text.replace("/proc/self/mountinfo", str(self.root / "mounts"))
        return re.sub(r"(?<![\w.])/(etc|opt|run|usr|var)/", rf"{self.root}/\1/", text)

    def run(self, part: Part, node: Node, of: Cluster) -> subprocess.CompletedProcess[str]:
        """Run the command that removes the part."""
        [command] = remove._inner(parts=[part], node=node, cluster=of)
        script = "\n".join(command.connector_arguments["_stdin"])
        return subprocess.run(
            shlex.split(command.get_raw_value()),
            input=self.within(script), capture_output=True, text=True, check=False,
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
        )  # fmt: skip

    @property
    def files(self) -> set[str]:
        found = {str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir()}
        return {path for path in found if not path.startswith("bin/")} - {"mounts"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path)
    for folder in ("etc/kubernetes", "opt/kubekeel"):
        (tmp_path / folder).mkdir(parents=True)
    return machine


def all_of(part: Part, node: Node, of: Cluster) -> list[str]:
    left = remains(part, node, of)
    return [path.lstrip("/") for path in (*left.files, *left.marks, *(f"{folder}/x" for folder in left.folders))]


@pytest.mark.parametrize(
    ("part", "name", "of"),
    [
        (CONTROL_PLANE, "a", cluster()),
        (PODS, "b", cluster(GROUPS | {"minions": ["a"]})),
        (ETCD, "b", OTHER),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_all_of_a_part_is_removed_and_nothing_else(machine: Machine, part: Part, name: str, of: Cluster) -> None:
    others = {"etc/kubernetes/mine", "opt/kubekeel/bin/other", "etc/cni/net.d/20-mine.conf", "etc/containerd/mine"}
    machine.write(*all_of(part, of.node(name), of), *others)
    done = machine.run(part, of.node(name), of)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.files == others
    shared = (machine.root / folder.lstrip("/") for folder in remains(part, of.node(name), of).shared)
    assert [folder for folder in shared if folder.exists() and not any(folder.iterdir())] == []


def test_the_units_of_a_part_are_stopped_and_reset(machine: Machine) -> None:
    machine.write(*all_of(ETCD, OTHER.node("b"), OTHER))
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    log = (machine.bin / "systemctl.log").read_text().splitlines()
    for unit in ("etcd.service", "etcd-snapshot.service", "etcd-snapshot.timer"):
        done = [line.split()[0] for line in log if line.endswith(f" {unit}") or line == "daemon-reload"]
        assert done == ["disable", "stop", "daemon-reload", "reset-failed"]


def test_a_unit_that_does_not_stop_keeps_its_files(machine: Machine) -> None:
    machine.write(KEY, DATA, MARK)
    machine.says("systemctl", "exit 0")
    done = machine.run(ETCD, OTHER.node("b"), OTHER)
    assert done.returncode == 1
    assert done.stdout.startswith("b: etcd.service does not stop; ")
    assert machine.files == {KEY, DATA, MARK}


@pytest.mark.parametrize("lost", ["find", "rm", "rmdir", "systemctl"])
def test_an_interrupted_removal_keeps_its_mark_and_the_next_one_finishes_it(machine: Machine, lost: str) -> None:
    machine.write(*all_of(ETCD, OTHER.node("b"), OTHER))
    machine.says(lost, "kill -9 $PPID; exec sleep 1")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode != 0
    assert remains(ETCD, OTHER.node("b"), OTHER).marks[-1].lstrip("/") in machine.files
    (machine.bin / lost).unlink()
    machine.says("systemctl", "[ $1 != is-active ]")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    assert machine.files == set()


def test_a_link_to_another_disk_stays_and_the_disk_is_emptied(machine: Machine) -> None:
    machine.write("data/member/snap/db", MARK)
    (machine.root / "var/lib").mkdir(parents=True)
    (machine.root / "var/lib/etcd").symlink_to("../../data")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    assert machine.files == set()
    assert list((machine.root / "var/lib/etcd").iterdir()) == []


def test_data_behind_a_mount_that_stays_are_named_and_keep_the_marks(machine: Machine) -> None:
    machine.write(KEY, DATA, MARK)
    machine.mounts("var/lib/etcd/member/snap")
    done = machine.run(ETCD, OTHER.node("b"), OTHER)
    assert done.returncode == 1
    root = machine.root
    left = f"{root}/var/lib/etcd {root}/var/lib/etcd/member/snap"
    assert done.stdout == (f"b: not everything is gone ({left}); unmount the volumes there, then run this again\n")
    assert machine.files == {DATA, MARK}
    machine.mounts("other")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    assert machine.files == set()


def test_a_disk_of_a_former_part_is_emptied_and_stays_mounted(machine: Machine) -> None:
    machine.write(DATA, MARK)
    machine.mounts("var/lib/etcd")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    assert machine.files == set()
    assert (machine.root / "var/lib/etcd").is_dir()


def test_a_command_of_the_same_name_from_another_program_stays(machine: Machine) -> None:
    machine.write(MARK, "usr/local/bin/etcdutl")
    (machine.root / "usr/local/bin/etcdctl").symlink_to(machine.root / "opt/kubekeel/bin/etcdctl")
    assert machine.run(ETCD, OTHER.node("b"), OTHER).returncode == 0
    assert machine.files == {"usr/local/bin/etcdutl"}


def test_staged_files_of_an_interrupted_run_are_removed_too(machine: Machine) -> None:
    machine.write("etc/kubernetes/admin.conf", "etc/kubernetes/pki/.sa.key.kubekeel-new")
    assert machine.run(CONTROL_PLANE, cluster().node("a"), cluster()).returncode == 0
    assert machine.files == set()


# The static pods of a former master.

MANIFEST = "etc/kubernetes/manifests/kube-apiserver.yaml"
BIND = "import socket; socket.socket(socket.AF_UNIX).bind('containerd.sock')"


def end_control_plane(
    machine: Machine, listed: str, removed: str = "touch removed"
) -> subprocess.CompletedProcess[str]:
    """End the static pods with a crictl that lists a sandbox while `listed` holds, and removes it by `removed`."""
    machine.write(MANIFEST, "run/containerd/x", "opt/kubekeel/bin/crictl")
    # An absolute path may be too long for a socket.
    subprocess.run([sys.executable, "-c", BIND], cwd=machine.root / "run/containerd", check=True)
    crictl = machine.root / "opt/kubekeel/bin/crictl"
    crictl.write_text(f"#!/bin/sh\ncd {machine.root}\ncase $1 in rmp) {removed} ;; *) {listed} && echo box ;; esac\n")
    crictl.chmod(0o755)
    _gate, command = end._inner(part=CONTROL_PLANE, node=cluster().node("b"), cluster=cluster())
    script = "\n".join(command.connector_arguments["_stdin"]).replace("sleep 1", ":")
    return subprocess.run(
        shlex.split(command.get_raw_value()), input=machine.within(script), capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{machine.bin}:{os.environ['PATH']}"},
    )  # fmt: skip


def test_every_static_pod_ends_before_its_files_are_removed(machine: Machine) -> None:
    renamed = "/etc/kubernetes/manifests/kube-renamed.yaml"
    left = remains(CONTROL_PLANE, cluster().node("b"), cluster())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("operations.former_roles.remains", lambda *_: replace(left, marks=(*left.marks, renamed)))
        machine.write(renamed[1:])
        machine.says("systemctl", "exit 0")
        assert end_control_plane(machine, "false").returncode == 0
    assert {path for path in machine.files if path.startswith("etc/")} == set()


def test_kubelet_stops_the_static_pods_once_their_manifests_are_gone(machine: Machine) -> None:
    machine.says("systemctl", "exit 0")
    assert end_control_plane(machine, f"[ -e {MANIFEST} ]").returncode == 0
    assert machine.files.isdisjoint({MANIFEST, "removed"})


@pytest.mark.parametrize("kubelet", ["exit 0", "exit 3"], ids=["does not", "is not there"])
def test_static_pods_are_removed_even_if_kubelet_does_not_stop_them(machine: Machine, kubelet: str) -> None:
    machine.says("systemctl", kubelet)
    assert end_control_plane(machine, "[ ! -e removed ]").returncode == 0
    assert "removed" in machine.files


def test_static_pods_that_do_not_end_are_named(machine: Machine) -> None:
    done = end_control_plane(machine, "true", removed="false")
    assert done.returncode == 1
    assert done.stdout.startswith("b: its static pods do not end (box box box ); ")


def test_a_control_plane_ends_only_while_another_master_answers() -> None:
    gate, *_ = end._inner(part=CONTROL_PLANE, node=cluster().node("a"), cluster=cluster())
    assert "--server=https://192.0.2.1:6443 get --raw /readyz" in gate.get_raw_value()
    assert "a: stays a master, since no API server of another one answers" in gate.get_raw_value()
