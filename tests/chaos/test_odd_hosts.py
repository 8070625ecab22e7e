"""Hosts unlike a fresh Debian: folders on other disks, login shells that print, strict umasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubekeel.cluster import Node
from operations.etcd import ETCDCTL
from tests.chaos.machines import act, acted, all_members, members, on, refused, try_on, uids
from tests.lab_cluster import the_cluster
from tests.support import deployed, harm, status, wait_healthy

CLUSTER = the_cluster()
LAST = CLUSTER.minions[-1]
FOLDERS = ("/var/lib/etcd", "/var/lib/etcd-snapshots", "/opt/kubekeel", "/etc/etcd", "/var/lib/kubelet")
GREETING = "echo Welcome to the build server"

pytestmark = [
    pytest.mark.timeout(3600),
    pytest.mark.skipif(len(CLUSTER.etcd) != 3 or LAST not in CLUSTER.etcd, reason="needs the lab's own three hosts"),
]


def reset(node: Node) -> None:
    acted("actions/reset.py", "--data", f"confirm={CLUSTER.name}", "--limit", node.name)


def modes(node: Node) -> set[str]:
    return set(on(node, "stat -c %a /opt/kubekeel /opt/kubekeel/store /opt/kubekeel/store/*").split())


@pytest.fixture(autouse=True, scope="module")
def _as_before() -> Iterator[None]:
    """Make the hosts ordinary and the cluster whole again, also after a failed test."""
    yield
    on(LAST, "[ ! -e /usr/bin/zstd-away ] || mv /usr/bin/zstd-away /usr/bin/zstd")
    for node in CLUSTER.nodes:
        on(node, "sed -i '/build server/d; /umask 0/d' /root/.bashrc")
    deployed()
    wait_healthy(300)


def test_links_to_folders_on_another_disk_are_used_and_nothing_is_lost() -> None:
    with harm(f"{LAST.name}'s folders are moved, with links in their places", "used as they are; no data lost") as row:
        before = uids()
        on(LAST, f"{ETCDCTL} put /marker kept")
        units = "etcd kubelet api-balancer kube-proxy flanneld containerd"
        on(
            LAST,
            f"systemctl stop {units}; umount -l $(awk '$5 ~ \"^/var/lib/kubelet/\" {{print $5}}' /proc/mounts) || :",
        )
        for folder in FOLDERS:
            on(
                LAST,
                f"mkdir -p /disk && mv {folder} /disk/{Path(folder).name} && ln -s /disk/{Path(folder).name} {folder}",
            )
        on(LAST, f"systemctl start --no-block {units}")
        deployed()
        assert deployed().changes == []
        on(LAST, "systemctl restart etcd")
        for folder in FOLDERS:
            assert on(LAST, f"readlink {folder}").strip() == f"/disk/{Path(folder).name}"
        assert on(LAST, f"{ETCDCTL} get --consistency=s --print-value-only /marker").strip() == "kept"
        on(LAST, "systemctl start etcd-snapshot && ls /disk/etcd-snapshots/*.db")
        assert members(LAST) == all_members()
        assert uids() >= before
        wait_healthy(300)
        row.seen = "links, data and objects as they were; the second run changed nothing"


def test_a_deploy_refuses_an_unmounted_disk_of_etcd() -> None:
    with harm(f"the disk of {LAST.name}'s etcd is away", "refused; once it is back the member goes on") as row:
        on(LAST, "systemctl stop etcd; mv /disk/etcd /disk/away")
        refused(
            act("deploy.py"),
            f"{LAST.name}: has a link at /var/lib/etcd that does not lead to a folder (/disk/etcd); mount its",
        )
        on(LAST, "test ! -e /disk/etcd && mv /disk/away /disk/etcd")
        deployed()
        assert members(LAST) == all_members()
        row.seen = "refused before anything was changed"


def test_a_reset_empties_folders_on_other_disks_and_keeps_links_and_mounts() -> None:
    with harm(f"{LAST.name} with links, mounts and a volume is reset", "emptied; the volume's data stay") as row:
        on(
            LAST,
            "mkdir -p /var/lib/kube-proxy && systemctl stop kube-proxy && mount -t tmpfs tmpfs /var/lib/kube-proxy",
        )
        # A mount that belongs to no pod: a reset does not unmount it.
        on(LAST, "mkdir -p /volume /var/lib/etcd/volume; touch /volume/data; mount --bind /volume /var/lib/etcd/volume")
        refused(
            act("actions/reset.py", "--data", f"confirm={CLUSTER.name}", "--limit", LAST.name), "not everything is gone"
        )
        assert on(LAST, "ls /volume").strip() == "data"
        on(LAST, "umount /var/lib/etcd/volume")
        reset(LAST)
        for folder in FOLDERS:
            assert on(LAST, f"readlink {folder}; ls -A {folder}/").strip() == f"/disk/{Path(folder).name}"
        assert "/var/lib/kube-proxy" in on(LAST, "cat /proc/mounts")
        assert on(LAST, "ls -A /var/lib/kube-proxy; ls /volume").strip() == "data"
        on(LAST, f"umount /var/lib/kube-proxy; rm -r /volume /disk {' '.join(FOLDERS)}")
        row.seen = "as expected"


@pytest.mark.parametrize("strict", ["umask 077", "umask 027"])
def test_runs_work_with_a_login_shell_that_prints_and_a_strict_umask(tmp_path: Path, strict: str) -> None:
    with harm(f"a login shell prints, and says {strict}", "deploy, status and backup as everywhere") as row:
        reset(LAST)
        # So it gets its files packed by gzip.
        on(LAST, "[ ! -e /usr/bin/zstd ] || mv /usr/bin/zstd /usr/bin/zstd-away")
        for node in CLUSTER.nodes:
            on(node, f"touch /root/.bashrc; sed -i '1i {GREETING}' /root/.bashrc; sed -i '1i {strict}' /root/.bashrc")
        deployed()
        assert modes(LAST) == {"755"}
        # The modes that an earlier version left.
        on(LAST, "chmod 700 /opt/kubekeel/store/*")
        assert deployed().changes == [f"node | set up packages, user, kernel settings, folders on {LAST.name}"]
        assert deployed().changes == []
        wait_healthy(300)
        assert status()["notes"] == []
        phrase = tmp_path / "phrase"
        phrase.touch(0o600)
        phrase.write_text("a passphrase of the test\n")
        backup, passphrase = tmp_path / "b.kubekeel", f"passphrase_file={phrase}"
        acted("actions/backup.py", "--data", f"backup={backup}", "--data", passphrase, "--limit", LAST.name)
        assert "can be restored" in acted("actions/backup.py", "--data", f"verify={backup}", "--data", passphrase)
        row.seen = "as everywhere; the second run changed nothing"
    for node in CLUSTER.nodes:
        try_on(node, "sed -i '/build server/d; /umask 0/d' /root/.bashrc")


# The files of Docker's packages: a unit, a configuration, and data.
DOCKER = """
mkdir -p /usr/lib/systemd/system /etc/containerd /var/lib/containerd/io.containerd.content.v1.content
printf '[Service]\\nExecStart=/bin/sleep infinity\\n' >/usr/lib/systemd/system/containerd.service
echo 'disabled_plugins = ["cri"]' >/etc/containerd/config.toml
echo data >/var/lib/containerd/io.containerd.content.v1.content/blob
systemctl daemon-reload
systemctl start containerd
"""


def test_another_containerd_is_refused_and_neither_deploy_nor_reset_touches_it() -> None:
    with harm(f"{LAST.name} is reset, then has another containerd", "refused; nothing of it is touched") as row:
        reset(LAST)
        on(LAST, DOCKER)
        done = act("deploy.py")
        for line in (
            f"{LAST.name}: has a unit containerd.service that is not Kubekeel's (/usr/lib/systemd/system/",
            f"{LAST.name}: has a file in /var/lib/containerd that is not Kubekeel's",
            f"{LAST.name}: has a file in /etc/containerd/config.toml that is not Kubekeel's",
        ):
            refused(done, line)
        reset(LAST)
        assert on(LAST, "systemctl is-active containerd").strip() == "active"
        assert on(LAST, "cat /etc/containerd/config.toml").strip() == 'disabled_plugins = ["cri"]'
        assert on(LAST, "cat /var/lib/containerd/*/blob").strip() == "data"
        on(
            LAST,
            "systemctl stop containerd; rm -r /usr/lib/systemd/system/containerd.service /etc/containerd"
            " /var/lib/containerd/*; systemctl daemon-reload",
        )
        row.seen = "refused with all three; left"
