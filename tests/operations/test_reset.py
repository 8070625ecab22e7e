"""The files that a reset removes, and those that it leaves."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from kubekeel.preflight.foreign import UNITS
from tests.namespaces import alone

SCRIPTS = Path(__file__).resolve().parents[2] / "files/node"
# Functions only: it runs nothing.
FUNCTIONS = (SCRIPTS / "undo.sh").read_text()


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a folder with data of etcd, which may be a disk."""
    disk = tmp_path / "disk"
    (disk / "member/wal").mkdir(parents=True)
    (disk / "member/wal/0.wal").write_text("log")
    (disk / ".restored").mkdir()
    (disk / "lost+found").mkdir()
    return disk


def reset(place: Path, *mounted: Path) -> list[str]:
    """Clear a folder away while these paths are mounted, and list its remains."""
    mounts = "".join(f"echo {path};" for path in mounted)
    script = f"""
    {FUNCTIONS}
    mounts() {{ {mounts or "true;"} }}
    chown() {{ true; }}
    clear_away {place}
    remains {place}
    """
    done = subprocess.run(["sh", "-c", script, "reset", "host", "10.244.0.0/16"], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_an_ordinary_folder_is_removed(disk: Path) -> None:
    assert reset(disk) == []
    assert not disk.exists()


def test_a_mounted_disk_is_emptied_and_stays(disk: Path) -> None:
    disk.chmod(0o700)
    assert reset(disk, disk) == []
    assert [path.name for path in disk.iterdir()] == ["lost+found"]
    assert disk.stat().st_mode & 0o777 == 0o755


def test_a_link_to_a_disk_stays_and_the_disk_is_emptied(tmp_path: Path, disk: Path) -> None:
    place = tmp_path / "etcd"
    place.symlink_to(disk)
    assert reset(place) == []
    assert place.readlink() == disk
    assert [path.name for path in disk.iterdir()] == ["lost+found"]


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_with_a_mount_below_it_is_named_and_not_entered(tmp_path: Path, disk: Path, link: bool) -> None:
    place = disk
    if link:
        place = tmp_path / "kubelet"
        place.symlink_to(disk)
    volume = disk / "member"
    assert reset(place, volume) == [str(place), str(volume)]
    assert (volume / "wal/0.wal").read_text() == "log"


@pytest.mark.parametrize("leads_to", ["not-mounted", "not-mounted/etcd"])
def test_a_link_to_nowhere_is_left_alone(tmp_path: Path, leads_to: str) -> None:
    place = tmp_path / "etcd"
    place.symlink_to(tmp_path / leads_to)
    assert reset(place, tmp_path / "other") == []
    assert place.is_symlink()


def test_network_namespaces_of_others_stay() -> None:
    script = f"""
    {FUNCTIONS.replace("readlink -e", "echo")}
    mounts() {{ printf '%s\\n' /run/netns /run/netns/vpn /run/netns/netns-1b /run/netns/cni-4c /run/netns-2/cni-5; }}
    mounts_of_pods /run/netns
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["/run/netns/cni-4c"]


@pytest.mark.parametrize(
    ("normal", "calls", "said"),
    [
        ("exit 0", ["{place}"], False),
        ("exit 32", ["{place}", "--lazy --no-canonicalize {place}"], False),
        ("exec sleep 60", ["{place}", "--lazy --no-canonicalize {place}"], True),
    ],
)
def test_a_mount_whose_server_is_gone_is_detached_and_named(
    tmp_path: Path, normal: str, calls: list[str], said: bool
) -> None:
    programs, log, place = tmp_path / "bin", tmp_path / "log", tmp_path / "kubelet/volume"
    programs.mkdir()
    for name, content in {
        "umount": f'echo "$*" >>{log}\ncase $1 in --lazy | /run/netns) ;; *) {normal} ;; esac',
        "timeout": 'shift 3\nexec /usr/bin/timeout -k 1 0.5 "$@"',
        **dict.fromkeys(("systemctl", "ip", "nft", "iptables-save", "ip6tables-save", "xargs", "find"), "exit 0"),
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{content}\n")
        (programs / name).chmod(0o755)
    script = f"""
    PATH={programs}:$PATH
    {FUNCTIONS}
    mounts_of_pods() {{ [ "$1" != /var/lib/kubelet ] || echo {place}; }}
    end_pods 10.244.0.0/16
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=40)
    assert [line for line in log.read_text().splitlines() if line != "/run/netns"] == [
        call.format(place=place) for call in calls
    ]
    assert (f"{place}: does not unmount within 30 s" in done.stdout) == said


def test_every_service_of_a_deploy_is_stopped_before_its_files_are_removed() -> None:
    script = f"{FUNCTIONS}\n{(SCRIPTS / 'reset.sh').read_text()}"
    named = re.findall(r"for unit in ([^$;]*);|systemctl stop ([a-z][^$2;]*)", script)
    stopped = {word for pair in named for words in pair for word in words.split()}
    assert {unit.removesuffix(".service") for unit in UNITS} <= stopped


# Other programs' files

OURS = "[Service]\nExecStart=/opt/kubekeel/bin/{}\n"
THEIRS = "[Service]\nExecStart=/usr/bin/{}\n"
COMMENTS = {"ours": "Kubekeel", "an earlier version's": "", "a package's": "etcd user"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return the files of a host that had all roles."""
    root = tmp_path / "root"
    for unit in ("etcd", "kubelet", "containerd"):
        put(root / f"etc/systemd/system/{unit}.service", OURS.format(unit))
    for file in (
        *("opt/kubekeel/store/0/etcd", "etc/kubekeel/cluster.json", "etc/kubernetes/kubelet.conf", "etc/crictl.yaml"),
        *("etc/etcd/pki/root.key", "var/lib/etcd/member/snap/db", "etc/containerd/config.toml"),
        *("var/lib/containerd/blob", "var/lib/kubelet/config.yaml", "etc/cni/net.d/10-flannel.conflist"),
    ):
        put(root / file)
    return root


def put(file: Path, content: str = "something\n") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def undo_host(root: Path, comment: str | None = "Kubekeel") -> list[str]:
    """Reset the host with these files; return the calls of systemctl and userdel."""
    commands = root.parent / "bin"
    for name in ("systemctl", "userdel"):
        put(commands / name, f'#!/bin/sh\necho {name} "$@" >>{root.parent}/calls\n')
    answer = f"echo 'etcd:x:998:998:{comment}:/var/lib/etcd:/usr/sbin/nologin'" if comment is not None else "exit 2"
    put(commands / "getent", f"#!/bin/sh\n{answer}\n")
    for file in commands.iterdir():
        file.chmod(0o755)
    script = "".join((SCRIPTS / name).read_text() for name in ("undo.sh", "reset.sh"))
    # The script searches units for this path, so it stays.
    script = re.sub(r"(?<![\w.}])/(etc|run|sys|lib|usr/lib|usr/local|usr/libexec|var|opt)/", rf"{root}/\1/", script)
    script = script.replace(f"grep -q {root}/opt/", "grep -q /opt/")
    done = subprocess.run(
        [*alone("net"), "sh", "-s", "host", "10.244.0.0/16"],
        input=script,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "HOME": str(root / "root")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = root.parent / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def left(root: Path) -> set[str]:
    return {str(file.relative_to(root)) for file in root.rglob("*") if not file.is_dir()}


def test_a_reset_leaves_no_file_of_any_role(root: Path) -> None:
    calls = undo_host(root)
    assert {"systemctl stop etcd", "systemctl stop kubepods.slice"} <= set(calls)
    assert left(root) == set()


def test_a_host_that_never_was_a_node_is_left_unchanged(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for file in ("etc/kubernetes/admin.conf", "var/lib/etcd/member/snap/db", "var/lib/containerd/blob"):
        put(root / file)
    before = left(root)
    assert undo_host(root) == []
    assert left(root) == before


def test_another_containerd_and_its_data_stay(root: Path) -> None:
    (root / "etc/systemd/system/containerd.service").unlink()
    put(root / "usr/lib/systemd/system/containerd.service", THEIRS.format("containerd"))
    calls = undo_host(root)
    assert [line for line in calls if "containerd" in line] == []
    assert left(root) == {
        "usr/lib/systemd/system/containerd.service",
        "etc/crictl.yaml",
        "etc/containerd/config.toml",
        "var/lib/containerd/blob",
    }


def test_another_containerd_that_was_installed_later_keeps_its_data(root: Path) -> None:
    put(root / "usr/lib/systemd/system/containerd.service", THEIRS.format("containerd"))
    put(root / "etc/containerd/certs.d/example.org/hosts.toml")
    undo_host(root)
    assert left(root) == {
        "usr/lib/systemd/system/containerd.service",
        "etc/containerd/certs.d/example.org/hosts.toml",
        "var/lib/containerd/blob",
    }


def test_another_etcd_and_its_data_stay(root: Path) -> None:
    (root / "etc/systemd/system/etcd.service").unlink()
    put(root / "usr/lib/systemd/system/etcd.service", THEIRS.format("etcd"))
    calls = undo_host(root, comment="")
    assert [line for line in calls if "etcd" in line and "kubekeel-etcd-metrics" not in line] == []
    assert left(root) == {
        "usr/lib/systemd/system/etcd.service",
        "etc/etcd/pki/root.key",
        "var/lib/etcd/member/snap/db",
    }


def test_the_cni_configuration_of_another_program_stays(root: Path) -> None:
    put(root / "etc/cni/net.d/87-podman.conflist")
    undo_host(root)
    assert left(root) == {"etc/cni/net.d/87-podman.conflist"}


@pytest.mark.parametrize("whose", COMMENTS)
def test_the_user_etcd_is_removed_if_a_deploy_created_it(root: Path, whose: str) -> None:
    calls = undo_host(root, COMMENTS[whose])
    assert ("userdel etcd" in calls) == (whose != "a package's")
