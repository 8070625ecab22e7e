"""A master's static pods: old manifests are kept until the new pods serve, and restored if they do not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kubekeel.files import Directory, File, Seen
from kubekeel.render import MANIFESTS, PREVIOUS
from kubekeel.service import Service
from operations import static_pods
from operations.converge import Look
from tests.clusters import cluster
from tests.hosts import as_described
from tests.operations.commands import RUNNING, Commands, Described

FILES_OF_PROJECT = Path(__file__).resolve().parents[2] / "files"
SCRIPT, END = FILES_OF_PROJECT / "node/previous.sh", FILES_OF_PROJECT / "control_plane/end-static-pods.sh"
KUBELET = Service(unit="kubelet", files={}, ready="pods --new")
FILES = {"/etc/kubernetes": Directory(), "/etc/kubernetes/sa.pub": File(b"key")}
POD = {f"{MANIFESTS}/kube-apiserver.yaml": File(b"new")}


def previous(word: str, *arguments: object) -> str:
    command = ["sh", "-c", SCRIPT.read_text(), word, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Return the folder of kept manifests, the folder of manifests, and one manifest."""
    (tmp_path / "manifests").mkdir()
    pod = tmp_path / "manifests/kube-apiserver.yaml"
    pod.write_text("old")
    return tmp_path / "previous", tmp_path / "manifests", pod


def test_a_kept_manifest_is_restored(place: tuple[Path, Path, Path]) -> None:
    kept, manifests, pod = place
    previous("keep", kept, pod)
    pod.write_text("new")
    output = previous("restore", kept, "m", pod)
    assert pod.read_text() == "old"
    assert output == "m: restored the previous kube-apiserver, because the new one did not serve\n"
    assert [each.name for each in manifests.iterdir()] == ["kube-apiserver.yaml"]
    assert not kept.exists()


def test_the_files_of_a_pod_are_restored_with_their_modes_before_its_manifest(place: tuple[Path, Path, Path]) -> None:
    kept, manifests, pod = place
    policy, new = manifests.parent / "audit-policy.yaml", manifests.parent / "new"
    policy.write_text("old")
    policy.chmod(0o640)
    previous("keep", kept, policy, pod)
    assert kept.stat().st_mode & 0o777 == 0o700
    for file in (policy, new, pod):
        file.write_text("new")
    policy.chmod(0o600)
    output = previous("restore", kept, "m", policy, new, pod)
    assert [line.split()[4] for line in output.splitlines()] == ["audit-policy,", "kube-apiserver,"]
    assert (policy.read_text(), new.read_text(), pod.read_text()) == ("old", "new", "old")
    assert policy.stat().st_mode & 0o777 == 0o640
    assert not kept.exists()


def test_a_link_is_restored_as_a_link(tmp_path: Path) -> None:
    kept, link = tmp_path / "previous", tmp_path / "bin/etcd"
    link.parent.mkdir()
    link.symlink_to("../store/old/etcd")
    previous("keep", kept, link)
    link.unlink()
    link.symlink_to("../store/new/etcd")
    previous("keep", kept, link)
    previous("restore", kept, "m", link)
    assert link.readlink() == Path("../store/old/etcd")
    assert not kept.exists()
    previous("keep", kept, link)
    previous("drop", kept, link)
    assert not kept.exists()


def test_a_manifest_that_an_interrupted_run_kept_is_not_replaced_by_its_new_one(place: tuple[Path, Path, Path]) -> None:
    kept, _, pod = place
    previous("keep", kept, pod)
    pod.write_text("new, and does not serve")
    previous("keep", kept, pod)
    previous("restore", kept, "m", pod)
    assert pod.read_text() == "old"


def test_a_step_leaves_the_kept_manifests_of_another_one(place: tuple[Path, Path, Path]) -> None:
    kept, manifests, pod = place
    other = manifests / "kube-scheduler.yaml"
    other.write_text("old")
    previous("keep", kept, other)
    other.write_text("new, and does not serve")
    previous("keep", kept, pod)
    pod.write_text("new")
    previous("drop", kept, pod)
    assert previous("restore", kept, "m", pod) == ""
    assert pod.read_text() == "new"
    previous("restore", kept, "m", other)
    assert other.read_text() == "old"
    assert not kept.exists()


def test_once_the_new_pod_serves_nothing_is_kept(place: tuple[Path, Path, Path]) -> None:
    kept, _, pod = place
    previous("keep", kept, pod)
    previous("drop", kept, pod)
    pod.write_text("new")
    assert previous("restore", kept, "m", pod) == ""
    assert pod.read_text() == "new"


def seen(kept: bool = False, ready: bool = True, pod: str = "new") -> dict[type, object]:
    paths = {**as_described(FILES), **as_described(POD)}
    if pod != "new":
        paths |= {path: Seen("f", 0o600, "root:root", 0.0, digest=pod) for path in POD}
    if kept:
        paths[f"{PREVIOUS}{MANIFESTS}/kube-apiserver.yaml"] = Seen("f", 0o600, "root:root", 0.0, digest="old")
    state = RUNNING if ready else type(RUNNING)(active=True, started=RUNNING.started)
    return {Look: Described(paths, {"kubelet": state})}


def test_pods_in_their_desired_state_are_left_alone(commands: Commands) -> None:
    assert commands(static_pods, "replace", seen(), KUBELET, FILES, POD) == []


def test_a_manifest_is_kept_before_it_is_replaced_and_restored_if_the_wait_fails(commands: Commands) -> None:
    keep, write, wait = commands(static_pods, "replace", seen(pod="old"), KUBELET, FILES, POD)
    assert f"keep {PREVIOUS} {MANIFESTS}/kube-apiserver.yaml" in keep
    assert "mv -fT" in write
    assert "pods --new" in wait
    assert wait.index(f"restore {PREVIOUS}") < wait.index(f"drop {PREVIOUS}")


def test_the_differing_files_of_a_pod_are_kept_and_restored_too(commands: Commands) -> None:
    there = seen(pod="old")
    _, path = FILES
    there[Look].paths[path] = Seen("f", 0o644, "root:root", 0.0, digest="old")
    keep, _, _, wait = commands(static_pods, "replace", there, KUBELET, FILES, POD)
    assert f"keep {PREVIOUS} {MANIFESTS}/kube-apiserver.yaml {path}" in keep
    for word in (f"restore {PREVIOUS} minion1", f"drop {PREVIOUS}"):
        assert f"{word} {path} {MANIFESTS}/kube-apiserver.yaml" in wait


def test_an_api_server_is_only_changed_while_another_one_answers(commands: Commands) -> None:
    there = seen(pod="old")
    gate, keep, *_ = commands(static_pods, "replace", there, KUBELET, FILES, POD, gate="others answer")
    assert "others answer" in gate
    assert "keep" in keep
    assert commands(static_pods, "replace", seen(), KUBELET, FILES, POD, gate="others answer") == []


def test_files_are_not_kept_if_no_pod_restarts(commands: Commands) -> None:
    there = seen()
    _, path = FILES
    there[Look].paths[path] = Seen("f", 0o644, "root:root", 0.0, digest="old")
    write, wait = commands(static_pods, "replace", there, KUBELET, FILES, POD)
    assert "mv -fT" in write
    assert "pods --new" in wait


def test_the_next_run_finishes_the_wait_of_an_interrupted_one(commands: Commands) -> None:
    (wait,) = commands(static_pods, "replace", seen(kept=True), KUBELET, FILES, POD)
    assert f"restore {PREVIOUS}" in wait
    assert f"drop {PREVIOUS}" in wait


# A crictl that knows the labels and names of containers.
CRICTL = """#!/bin/sh
case $1 in
stop) shift 3; printf '%s\\n' "$@" >>{home}/stopped; exit ;;
esac
found=$(cat {home}/containers)
while [ $# -gt 0 ]; do
  case $1 in
  --label) found=$(echo "$found" | grep -F " ${{2#io.kubernetes.pod.}} ") ;;
  --name) found=$(echo "$found" | grep -E " container=${{2#^}}") ;;
  esac
  shift
done
echo "$found" | cut -d ' ' -f 1
"""
CONTAINERS = """\
ours namespace=kube-system name=kube-controller-manager-m container=kube-controller-manager
other namespace=kube-system name=kube-scheduler-m container=kube-scheduler
users namespace=team name=kube-controller-manager-m container=kube-controller-manager
hosted namespace=kube-system name=tenant-0 container=kube-controller-manager
"""


def test_only_containers_of_static_pods_of_the_node_are_stopped(tmp_path: Path) -> None:
    (tmp_path / "crictl").write_text(CRICTL.format(home=tmp_path))
    (tmp_path / "crictl").chmod(0o755)
    (tmp_path / "containers").write_text(CONTAINERS)
    command = static_pods.stop(cluster().node("m"), "kube-apiserver", "kube-controller-manager")
    subprocess.run(["sh", "-c", command.replace("/opt/kubekeel/bin", str(tmp_path))], check=True)
    assert (tmp_path / "stopped").read_text().split() == ["ours"]


@pytest.mark.parametrize(
    ("running", "installed", "ended"),
    [("v1.36.3", "v1.37.2", True), ("v1.37.1", "v1.37.2", False), ("", "v1.37.2", False)],
    ids=["another minor version", "another patch release", "no kubelet runs"],
)
def test_static_pods_end_before_a_kubelet_of_another_minor_version_starts(
    tmp_path: Path, running: str, installed: str, ended: bool
) -> None:
    def program(path: str, script: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    program("systemctl", f"""[ "$1" = show ] && echo {7 if running else 0} || echo "$*" >>{tmp_path}/did""")
    program("crictl", f"""[ "$1" = ps ] && echo "${{6#*name=}}" || {{ echo "$*" >>{tmp_path}/did; false; }}""")
    program("kubelet", f"echo Kubernetes {installed}")
    program("proc/7/exe", f"echo Kubernetes {running}")
    script = END.read_text().replace("/opt/kubekeel/bin", str(tmp_path)).replace('"/proc', f'"{tmp_path}/proc')
    stop = static_pods.stop(cluster().node("m"), "kube-apiserver", "kube-scheduler", seconds=30)
    # The run goes on if the containers do not stop.
    subprocess.run(
        ["sh", "-c", script, "sh", stop.replace("/opt/kubekeel/bin", str(tmp_path))],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True,
    )  # fmt: skip
    did = (tmp_path / "did").read_text().splitlines() if (tmp_path / "did").exists() else []
    assert did == (["stop kubelet.service", "stop --timeout 30 kube-apiserver-m kube-scheduler-m"] if ended else [])
