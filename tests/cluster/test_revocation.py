"""What was issued can be refused again, and stays refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubekeel.pki import Pki
from tests.lab_cluster import STATE, KubectlFailed, run_kubectl, status_of, the_cluster
from tests.support import act, deployed, settled

CLUSTER = the_cluster()


@pytest.fixture(scope="module")
def leaked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of an administrator's kubeconfig from before administrators were revoked."""
    copy = tmp_path_factory.mktemp("leaked") / "admin.conf"
    shutil.copy(STATE / "admin.conf", copy)
    run_kubectl("get", "secrets", "-A", "-o", "name", kubeconfig=copy)
    act("revoke.py", "--data", "admin=true")
    return copy


def is_refused(kubeconfig: Path) -> bool:
    try:
        run_kubectl("get", "secrets", "-A", "-o", "name", kubeconfig=kubeconfig)
    except KubectlFailed as failed:
        return "Forbidden" in str(failed) or "Unauthorized" in str(failed)
    return False


def test_a_leaked_administrators_kubeconfig_has_no_rights_once_it_is_revoked(leaked: Path) -> None:
    assert is_refused(leaked)
    assert run_kubectl("auth", "can-i", "*", "*", "-A").strip() == "yes"


def test_a_leaked_administrators_kubeconfig_gets_no_rights_by_a_deploy_that_lets_administrators_in(
    leaked: Path,
) -> None:
    run_kubectl("delete", "clusterrolebinding", "kubekeel:cluster-admins")
    assert is_refused(STATE / "admin.conf")
    deployed()
    assert run_kubectl("auth", "can-i", "*", "*", "-A").strip() == "yes"
    assert is_refused(leaked)


def test_the_administrators_of_every_master_are_those_of_now(master, on, leaked: Path) -> None:  # noqa: ARG001
    group = Pki.open(STATE, CLUSTER).revocations.administrators_group
    who = "auth whoami -o jsonpath={.status.userInfo.groups}"
    said = on(master).check_output(f"/opt/kubekeel/bin/kubectl --kubeconfig=/etc/kubernetes/admin.conf {who}")
    assert group in said


@pytest.fixture(scope="module")
def people() -> Iterator[None]:
    """Two users whose group may read the cluster."""
    for name in ("jane", "joe"):
        act("add_user.py", "--data", f"user={name}", "--data", "groups=readers,others")
    run_kubectl("create", "clusterrolebinding", "readers", "--clusterrole=view", "--group=readers")
    yield
    run_kubectl("delete", "clusterrolebinding", "readers")
    act("revoke.py", "--data", "user=joe")


def users(name: str) -> Path:
    return STATE / "users" / f"{name}.conf"


@pytest.mark.usefixtures("people")
def test_a_user_does_what_the_groups_may_and_no_more() -> None:
    assert users("jane").stat().st_mode & 0o777 == 0o600
    assert run_kubectl("get", "pods", "-A", "-o", "name", kubeconfig=users("jane"))
    assert is_refused(users("jane"))
    who = run_kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo}", kubeconfig=users("jane"))
    assert '"username":"jane"' in who
    assert "others" in who


@pytest.mark.usefixtures("people")
def test_a_kubelet_and_etcd_do_not_know_a_user(cluster) -> None:
    for port in (10250, 2379, 2380):
        pair = (str(STATE / f"users/jane.{half}") for half in ("crt", "key"))
        assert status_of(cluster.masters[0].address, port, *pair, path="/pods") == 401


@pytest.mark.usefixtures("people")
def test_a_revoked_user_is_refused_and_another_one_gets_a_new_kubeconfig(tmp_path: Path) -> None:
    before = {}
    for name in ("jane", "joe"):
        before[name] = shutil.copy(users(name), tmp_path / f"{name}.conf")
    act("revoke.py", "--data", "user=jane")
    assert not users("jane").exists()
    for kubeconfig in before.values():
        with pytest.raises(KubectlFailed, match=r"Unauthorized|must be logged in|provide credentials"):
            run_kubectl("get", "pods", "-A", kubeconfig=kubeconfig)
    assert run_kubectl("get", "pods", "-A", "-o", "name", kubeconfig=users("joe"))


STOLEN = ("flannel-etcd-client", "kubelet-client", "etcd-root")


@pytest.fixture(scope="module")
def stolen(tmp_path_factory: pytest.TempPathFactory, servers: dict[str, str]) -> dict[str, tuple[str, str]]:  # noqa: ARG001
    """The pairs that the last minion had before they were revoked, by name; `servers` run there since before that."""
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


def test_etcd_refuses_every_revoked_certificate_of_a_node_and_takes_its_new_ones(member, stolen) -> None:
    folder = STATE / "nodes" / CLUSTER.minions[-1].name
    for name in stolen.keys() - {"kubelet-client"}:
        assert etcd_status(member.address, stolen[name]) == 401
        assert etcd_status(member.address, (f"{folder / name}.crt", f"{folder / name}.key")) != 401


NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "{own}"}}
ATTEMPTS = {
    "registers its node": ("POST", "/api/v1/nodes", NODE),
    "writes its node's labels": ("PATCH", "/api/v1/nodes/{own}", {"metadata": {"labels": {"mine": "yes"}}}),
    "writes its node's status": ("PATCH", "/api/v1/nodes/{own}/status", {"metadata": {"annotations": {"mine": "yes"}}}),
    "deletes its pods": ("DELETE", "/api/v1/namespaces/{namespace}/pods/{pod}", None),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_api_refuses_what_the_holder_of_a_revoked_certificate_of_a_node_would_change(
    master, stolen, attempt, namespace, servers
) -> None:
    own = CLUSTER.minions[-1].name
    method, path, body = ATTEMPTS[attempt]
    filled = json.loads(json.dumps(body).replace("{own}", own))
    path = path.format(own=own, namespace=namespace, pod=servers[own])
    assert status_of(master.address, 6443, *stolen["kubelet-client"], method, path, filled) == 403


def test_a_node_whose_certificates_were_revoked_serves_by_new_ones(stolen) -> None:  # noqa: ARG001
    settled()
