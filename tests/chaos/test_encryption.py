"""API servers encrypt what they write to etcd, and can read it during a rotation of the key."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kubekeel.encryption import EncryptionKey
from kubekeel.pki import Pki, Step
from lab.shape import PROJECT
from operations.etcd import ETCDCTL
from tests.lab_cluster import INVENTORY, STATE, run_kubectl, the_cluster
from tests.unit.keys import rotated

CLUSTER = the_cluster()

ROTATE = ("pyinfra", "-y", str(INVENTORY), "actions/rotate.py", "--data", "what=encryption")
KINDS = ("secrets", "configmaps")


def keys() -> list[EncryptionKey]:
    return list(Pki.open(STATE, CLUSTER).encryption_keys)


def prefixes(on, kind: str) -> set[str]:
    """Return the prefixes of a kind's values in etcd, up to the name of the encryption key."""
    member = on(CLUSTER.etcd[0])
    names = member.check_output(f"{ETCDCTL} get --prefix --keys-only /registry/{kind}/").split()
    # Only the first bytes of a value are text.
    start = "head -c 40 | tr -d '\\0\\n' | cut -d: -f1-5"
    read = f'for name in {" ".join(names)}; do {ETCDCTL} get --print-value-only "$name" | {start}; done'
    return set(member.check_output(read).splitlines())


@contextmanager
def writing(namespace: str) -> Iterator[list[str]]:
    """Write one secret and read another while the block runs, and yield the list of faults."""
    faults: list[str] = []
    ended = threading.Event()

    def write() -> None:
        count = 0
        while not ended.wait(0.5):
            count += 1
            try:
                run_kubectl(
                    "-n", namespace, "patch", "secret", "written", "-p", json.dumps({"stringData": {"n": str(count)}})
                )
                run_kubectl("-n", namespace, "get", "secret", "read", "-o", "name")
            except AssertionError as fault:
                faults.append(str(fault))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield faults
    finally:
        ended.set()
        writer.join()


@pytest.mark.timeout(900)
def test_an_interrupted_rotation_finishes_without_a_restart_and_removes_the_old_key(kubectl, on, namespace) -> None:
    for name in ("read", "written"):
        kubectl("-n", namespace, "create", "secret", "generic", name, "--from-literal=password=hunter2")
    [old] = keys()
    assert {prefix for kind in KINDS for prefix in prefixes(on, kind)} == {f"k8s:enc:secretbox:v1:{old.name}"}
    before = api_servers_started(kubectl)
    # The state after a run that was interrupted after its first step.
    rotated(STATE, CLUSTER, Step.TRUST)
    with writing(namespace) as faults:
        done = subprocess.run(
            [*ROTATE, "-vvv"],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert faults == []
    [new] = keys()
    assert new.number == old.number + 1
    assert {prefix for kind in KINDS for prefix in prefixes(on, kind)} == {f"k8s:enc:secretbox:v1:{new.name}"}
    assert kubectl("-n", namespace, "get", "secret", "read", "-o", "jsonpath={.data.password}") == "aHVudGVyMg=="
    assert api_servers_started(kubectl) == before
    for master in CLUSTER.masters:
        configuration = on(master).file("/etc/kubernetes/encryption-config.yaml")
        assert new.secret in configuration.content_string
        assert old.secret not in configuration.content_string
        assert configuration.mode == 0o600
    assert not [key for key in (old, new) if key.secret in done.stdout + done.stderr]


def api_servers_started(kubectl) -> str:
    """Return when the API servers' containers started."""
    path = "jsonpath={.items[*].status.containerStatuses[*].state.running.startedAt}"
    return kubectl("-n", "kube-system", "get", "pods", "-l", "component=kube-apiserver", "-o", path)


def test_a_rotation_without_a_host_is_refused() -> None:
    before = keys()
    done = subprocess.run(
        [*ROTATE, "--exclude", CLUSTER.minions[0].name],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"a rotation needs all hosts ({CLUSTER.minions[0].name} not in this run);" in done.stderr
    assert keys() == before
