"""Revoked certificates and kubeconfigs are refused, and stay refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kubekeel.pki import Pki
from tests.lab_cluster import STATE, KubectlFailed, run_kubectl, server, status_of, the_cluster, wait_until
from tests.support import act, deployed, settled

CLUSTER = the_cluster()


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of an administrator's kubeconfig."""
    copy = tmp_path_factory.mktemp("leaked") / "admin.conf"
    shutil.copy(STATE / "admin.conf", copy)
    run_kubectl("get", "secrets", "-A", "-o", "name", kubeconfig=copy)
    return copy


@pytest.fixture(scope="module")
def sessions(copied: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Yield what the holder of that copy still does when it is revoked."""
    sleep = ("python3", "-c", "import time; time.sleep(3600)")
    commands = {
        "a watch": ("get", "secrets", "-A", "-o", "name", "--watch"),
        "a command in a pod": ("-n", "kube-system", "exec", "deployment/dashboard", "--", *sleep),
    }
    with ExitStack() as stack:
        running = {}
        for name, arguments in commands.items():
            command = ["kubectl", f"--kubeconfig={copied}", *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            running[name] = process
        yield running


@pytest.fixture(scope="module")
def leaked(copied: Path, sessions: dict[str, subprocess.Popen[bytes]]) -> Path:
    """Return that copy, which has been revoked since."""
    assert [name for name, process in sessions.items() if process.poll() is not None] == []
    act("revoke.py", "--data", "admin=true")
    return copied


def is_refused(kubeconfig: Path, *request: str) -> bool:
    try:
        run_kubectl(*(request or ("get", "secrets", "-A", "-o", "name")), kubeconfig=kubeconfig)
    except KubectlFailed as failed:
        return any(words in str(failed) for words in ("Forbidden", "Unauthorized", "must be logged in"))
    return False


def test_a_revoked_administrators_kubeconfig_has_no_rights(leaked: Path) -> None:
    assert is_refused(leaked)
    assert run_kubectl("auth", "can-i", "*", "*", "-A").strip() == "yes"


def test_sessions_of_a_revoked_administrator_end(
    leaked: Path,  # noqa: ARG001
    sessions: dict[str, subprocess.Popen[bytes]],
) -> None:
    for name, process in sessions.items():
        wait_until(lambda process=process: process.poll() is not None, 60, f"{name} ends")


def test_a_deploy_restores_administrators_but_not_a_revoked_kubeconfig(
    leaked: Path,
) -> None:
    run_kubectl("delete", "clusterrolebinding", "kubekeel:cluster-admins")
    assert is_refused(STATE / "admin.conf")
    deployed()
    assert run_kubectl("auth", "can-i", "*", "*", "-A").strip() == "yes"
    assert is_refused(leaked)


def test_every_masters_kubeconfig_has_the_current_administrators_group(master, on, leaked: Path) -> None:  # noqa: ARG001
    group = Pki.open(STATE, CLUSTER).revocations.administrators_group
    kubectl = "/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf"
    groups = on(master).check_output(f"{kubectl} auth whoami -o jsonpath={{.status.userInfo.groups}}")
    assert group in groups


@pytest.fixture(scope="module")
def people() -> Iterator[None]:
    """Add two users whose group can read the cluster."""
    for name in ("jane", "joe"):
        act("add_user.py", "--data", f"user={name}", "--data", "groups=readers,others")
    run_kubectl("create", "clusterrolebinding", "readers", "--clusterrole=view", "--group=readers")
    yield
    run_kubectl("delete", "clusterrolebinding", "readers")
    act("revoke.py", "--data", "user=joe")


def kubeconfig_of(name: str) -> Path:
    return STATE / "users" / f"{name}.conf"


@pytest.mark.usefixtures("people")
def test_a_user_has_only_the_rights_of_the_groups() -> None:
    jane = kubeconfig_of("jane")
    assert jane.stat().st_mode & 0o777 == 0o600
    assert run_kubectl("get", "pods", "-A", "-o", "name", kubeconfig=jane)
    assert is_refused(jane)
    identity = run_kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo}", kubeconfig=jane)
    assert '"username":"jane"' in identity
    assert "others" in identity


@pytest.mark.usefixtures("people")
def test_kubelets_and_etcd_refuse_users(cluster) -> None:
    for port in (10250, 2379, 2380):
        pair = (str(STATE / f"users/jane.{half}") for half in ("crt", "key"))
        assert status_of(cluster.masters[0].address, port, *pair, path="/pods") == 401


@pytest.mark.usefixtures("people")
def test_a_revoked_user_is_refused_and_other_users_get_new_kubeconfigs(tmp_path: Path) -> None:
    copies = {}
    for name in ("jane", "joe"):
        copies[name] = shutil.copy(kubeconfig_of(name), tmp_path / f"{name}.conf")
    act("revoke.py", "--data", "user=jane")
    assert not kubeconfig_of("jane").exists()
    for kubeconfig in copies.values():
        with pytest.raises(KubectlFailed, match=r"Unauthorized|must be logged in|provide credentials"):
            run_kubectl("get", "pods", "-A", kubeconfig=kubeconfig)
    assert run_kubectl("get", "pods", "-A", "-o", "name", kubeconfig=kubeconfig_of("joe"))


STOLEN = ("flannel-etcd-client", "kubelet-client", "etcd-root")


def kubeconfig(file: Path, **user: str) -> Path:
    """Write a kubeconfig for a user, with the cluster of the administrator's."""
    administrators = json.loads(run_kubectl("config", "view", "--raw", "-o", "json"))
    file.write_text(json.dumps({**administrators, "users": [{**administrators["users"][0], "user": user}]}))
    return file


GUEST = "guest"


@pytest.fixture(scope="module")
def requested(tmp_path_factory: pytest.TempPathFactory, namespace: str, image: str) -> Path:
    """Return a kubeconfig with a token that the last minion requested for a pod there."""
    folder, own = tmp_path_factory.mktemp("requested"), CLUSTER.minions[-1].name
    run_kubectl("-n", namespace, "apply", "-f", "-", given=json.dumps(server(GUEST, own, image)))
    run_kubectl("-n", namespace, "wait", "pod", GUEST, "--for=condition=Ready", "--timeout=120s")
    pair = {
        f"client-{kind}": f"{STATE / 'nodes' / own / 'kubelet-client'}.{end}"
        for kind, end in (("certificate", "crt"), ("key", "key"))
    }
    pod = json.loads(run_kubectl("-n", namespace, "get", "pod", GUEST, "-o", "json"))
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={GUEST}", f"--bound-object-uid={pod['metadata']['uid']}")
    node = kubeconfig(folder / "node.conf", **pair)
    token = run_kubectl("-n", namespace, "create", "token", "default", *bound, kubeconfig=node).strip()
    return kubeconfig(folder / "pod.conf", token=token)


@pytest.fixture(scope="module")
def stolen(
    tmp_path_factory: pytest.TempPathFactory,
    servers: dict[str, str],  # noqa: ARG001
    requested: Path,  # noqa: ARG001
) -> dict[str, tuple[str, str]]:
    """Return the revoked certificates and keys of the last minion, by name; it had pods and tokens before that."""
    copies = tmp_path_factory.mktemp("stolen")
    shutil.copytree(STATE / "nodes" / CLUSTER.minions[-1].name, copies, dirs_exist_ok=True)
    pairs = {
        name: (f"{copies / name}.crt", f"{copies / name}.key") for name in STOLEN if (copies / f"{name}.crt").exists()
    }
    for name in pairs.keys() - {"kubelet-client"}:
        assert etcd_status(CLUSTER.etcd[0].address, pairs[name]) != 401
    act("revoke.py", "--data", f"node={CLUSTER.minions[-1].name}")
    return pairs


def etcd_status(address: str, pair: tuple[str, str]) -> int:
    return status_of(address, 2379, *pair, path="/version")


def test_etcd_refuses_revoked_certificates_of_a_node_and_accepts_its_new_ones(member, stolen) -> None:
    folder = STATE / "nodes" / CLUSTER.minions[-1].name
    for name in stolen.keys() - {"kubelet-client"}:
        assert etcd_status(member.address, stolen[name]) == 401
        assert etcd_status(member.address, (f"{folder / name}.crt", f"{folder / name}.key")) != 401


NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "{own}"}}
ATTEMPTS = {
    "register its node": ("POST", "/api/v1/nodes", NODE),
    "write its node's labels": ("PATCH", "/api/v1/nodes/{own}", {"metadata": {"labels": {"mine": "yes"}}}),
    "write its node's status": ("PATCH", "/api/v1/nodes/{own}/status", {"metadata": {"annotations": {"mine": "yes"}}}),
    "delete its pods": ("DELETE", "/api/v1/namespaces/{namespace}/pods/{pod}", None),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_holder_of_a_nodes_revoked_certificate_cannot(master, stolen, attempt, namespace, servers) -> None:
    own = CLUSTER.minions[-1].name
    method, path, body = ATTEMPTS[attempt]
    filled = json.loads(json.dumps(body).replace("{own}", own))
    path = path.format(own=own, namespace=namespace, pod=servers[own])
    assert status_of(master.address, 6443, *stolen["kubelet-client"], method, path, filled) == 403


@pytest.mark.usefixtures("stolen")
def test_a_token_that_a_revoked_node_requested_ends_with_its_pod(requested: Path, namespace: str) -> None:
    assert "serviceaccount" in run_kubectl("auth", "whoami", kubeconfig=requested)
    run_kubectl("-n", namespace, "delete", "pod", GUEST)
    # API servers remember for some seconds that a token was valid.
    wait_until(lambda: is_refused(requested, "auth", "whoami"), 120, "the token is refused")


def test_a_node_serves_with_new_certificates_after_a_revocation(stolen) -> None:  # noqa: ARG001
    settled()
