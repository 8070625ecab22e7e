"""The project's deploy on fake hosts: the order of its operations, and their hosts."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from kubekeel.needs import STATIC_PODS
from tests.flow.fake import CONFIG, FIT_HOSTS, PROJECT, deploy
from tests.hosts import cluster
from tests.unit.keys import saved

ALL, MINIONS = {"m", "a", "b"}, {"a", "b"}
STEPS = {
    "save keys": {"a"},
    "node | set up packages, user, kernel settings, folders": ALL,
    "node | install binaries": ALL,
    "etcd | set up the member": {"m"},
    "flannel | start flanneld": ALL,
    "containerd | start containerd": ALL,
    "containerd | import images": ALL,
    "control plane | start new API servers one by one": {"m"},
    "control plane | update controller managers and schedulers": {"m"},
    "kubelet | start kubelet": MINIONS,
    "kube-proxy | start kube-proxy": ALL,
    "node | record versions": ALL,
    "add-ons | apply add-ons": {"m"},
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "deploy.py").write_text((PROJECT / "deploy.py").read_text())
    (tmp_path / "config.py").write_text(CONFIG)
    return tmp_path


SEPARATE_HOSTS = """
etcd, masters, minions = [_host("e", 1)], [_host("m", 2)], [_host("a", 3)]
"""


def started(home: Path, hosts: str, *arguments: str, file: str = "deploy.py") -> list[str]:
    """Return the operations in the order of their start."""
    done = deploy(home, hosts, "--data", "artifact_source=source", *arguments, file=file)
    assert done.returncode == 0, done.stderr
    return [name.strip() for name in re.findall(r"Starting (?:serial )?operation: (.+)", done.stderr)]


def steps(home: Path, *arguments: str) -> dict[str, set[str]]:
    """Return the operations that changed something, in order, each with its hosts."""
    done = deploy(home, FIT_HOSTS, "--data", "artifact_source=source", *arguments)
    assert done.returncode == 0, done.stderr
    return succeeded(done.stderr)


def succeeded(output: str) -> dict[str, set[str]]:
    ran: dict[str, set[str]] = {}
    operation = ""
    for line in output.splitlines():
        if start := re.search(r"Starting (?:serial )?operation: (.+?) *$", line):
            operation = start[1]
        elif (success := re.search(r"\[@fake/(\w+)\] +Success", line)) and operation:
            ran.setdefault(operation, set()).add(success[1])
    return ran


def test_the_steps_of_each_role_run_on_its_hosts_in_the_documented_order(home: Path) -> None:
    ran = steps(home)
    assert [step for step in ran if step in STEPS] == list(STEPS)
    assert {step: ran[step] for step in STEPS} == STEPS


@pytest.mark.parametrize(("limit", "hosts"), [("minions", MINIONS), ("@fake/b", {"b"}), ("masters", {"m"})])
def test_a_limited_run_does_the_same_on_fewer_hosts(home: Path, limit: str, hosts: set[str]) -> None:
    ran = steps(home, "--limit", limit)
    # The first host of a run carries out the steps that run once.
    expected = {**STEPS, "save keys": {min(hosts)}}
    assert {step: ran[step] for step in STEPS if step in ran} == {
        step: hosts & where for step, where in expected.items() if hosts & where
    }


def test_hosts_of_one_role_wait_for_the_earlier_steps_of_others(home: Path) -> None:
    began = started(home, SEPARATE_HOSTS)
    assert began.index("etcd | grant access") < began.index("flannel | start flanneld")
    assert [step for step in began if step in STEPS] == list(STEPS)


def test_a_new_host_waits_for_its_images_only_before_it_gets_pods(home: Path) -> None:
    done = deploy(home, SEPARATE_HOSTS, "--data", "artifact_source=source")
    assert done.returncode == 0, done.stderr
    parts = re.split("(?=--> Starting .*(?:start new API servers|start kubelet))", done.stderr)
    before_masters, before_minions, _ = map(succeeded, parts)
    assert before_masters["containerd | import images"] == {"m", "a"}
    assert before_masters["containerd | wait for images"] == {"m"}
    assert before_minions["containerd | wait for images"] == {"a"}


_MEMBERS = json.dumps({"members": [{"ID": 1, "name": "m", "peerURLs": ["https://192.0.2.1:2380"]}]})
ETCD_ANSWERS = FIT_HOSTS.replace('_host("m", 1)', f'_host("m", 1, {f"members {_MEMBERS}{chr(10)}"!r}, says={{}})')


def test_a_removed_node_is_drained_before_its_host_is_reset(home: Path) -> None:
    (home / "remove_node.py").write_text((PROJECT / "actions/remove_node.py").read_text())
    saved(home / "pki", cluster())
    began = started(home, ETCD_ANSWERS, "--data", "node=b", file="remove_node.py")
    assert began == [
        *(
            "check that the node may leave etcd",
            "drain the node",
            "leave etcd",
            "delete the Node",
            "reset the host",
            "delete flannel's lease",
        ),
        *("revoke the node's certificates", "refuse revoked certificates on etcd"),
        "refuse revoked certificates on API servers",
    ]


def test_minions_restart_first_and_every_host_is_marked_before(home: Path) -> None:
    (home / "restart_nodes.py").write_text((PROJECT / "actions/restart_nodes.py").read_text())
    saved(home / "pki", cluster())
    options = ("--data", "command=true", "--data", "reboot=never")
    done = deploy(home, FIT_HOSTS, "--data", "artifact_source=source", *options, file="restart_nodes.py")
    assert done.returncode == 0, done.stderr
    assert list(succeeded(done.stderr).items()) == [
        ("mark hosts to restart", ALL),
        ("restart minions in batches", MINIONS),
        ("restart masters one by one", {"m"}),
    ]


def test_one_host_restarts_and_a_master_outside_of_the_limit_drains_it(home: Path) -> None:
    (home / "restart_nodes.py").write_text((PROJECT / "actions/restart_nodes.py").read_text())
    saved(home / "pki", cluster())
    options = ("--data", "command=true", "--data", "reboot=never", "--limit", "@fake/a")
    done = deploy(home, FIT_HOSTS, "--data", "artifact_source=source", *options, file="restart_nodes.py")
    assert done.returncode == 0, done.stderr
    assert "[@fake/a] is being drained" in done.stderr
    assert list(succeeded(done.stderr).items()) == [
        ("mark hosts to restart", {"a"}),
        ("restart minions in batches", {"a"}),
    ]


def test_a_restart_is_not_an_upgrade(home: Path) -> None:
    (home / "restart_nodes.py").write_text((PROJECT / "actions/restart_nodes.py").read_text())
    saved(home / "pki", cluster())
    runs = "".join(f"runs {name} v1.36.3\n" for name in (*STATIC_PODS, "kubelet"))
    old = FIT_HOSTS.replace('_host("m", 1)', f'_host("m", 1, {runs!r})')
    options = ("--data", "command=true", "--data", "reboot=never")
    done = deploy(home, old, "--data", "artifact_source=source", *options, file="restart_nodes.py")
    assert done.returncode == 0, done.stderr
    assert "upgrade of" not in done.stderr


def remove(home: Path, node: str, hosts: str = FIT_HOSTS) -> subprocess.CompletedProcess[str]:
    (home / "remove_node.py").write_text((PROJECT / "actions/remove_node.py").read_text())
    saved(home / "pki", cluster())
    options = ("--data", "artifact_source=source", "--data", f"node={node}")
    return deploy(home, hosts, *options, file="remove_node.py")


def test_a_node_that_is_in_neither_the_inventory_nor_the_cluster_is_not_removed(home: Path) -> None:
    done = remove(home, "minoin1", ETCD_ANSWERS)
    assert done.returncode == 1
    fault = "--data node: is in neither the inventory nor the cluster (minoin1); the nodes are a, b, m"
    assert done.stderr.count(fault) == 1
    assert "operation: " not in done.stderr


@pytest.mark.parametrize("listing", ["kubectl --kubeconfig=/etc/kubernetes/admin.conf get nodes", "member list) &&"])
def test_a_node_that_is_only_in_the_cluster_is_removed(home: Path, listing: str) -> None:
    hosts = ETCD_ANSWERS.replace("says={}", f"says={{{listing!r}: 'gone'}}")
    assert "operation: delete" in remove(home, "gone", hosts).stderr


def test_an_interrupted_removal_of_a_node_that_left_only_its_keys_is_finished(home: Path) -> None:
    (home / "pki/nodes/gone").mkdir(parents=True)
    done = remove(home, "gone", ETCD_ANSWERS)
    assert "is in neither" not in done.stderr
    assert "operation: revoke the node's certificates" in done.stderr


# Hosts with replaced artifacts.

HOLDING = """
_held = "stored 1/kubelet\\npinned kubekeel.local/coredns:v0"
etcd = masters = [_host("m", 1, _held)]
minions = [_host("a", 2, _held), _host("b", 3)]
"""
DISCARDING = "node | remove replaced binaries and images"


def test_replaced_artifacts_are_deleted_when_no_object_names_them(home: Path) -> None:
    done = deploy(home, HOLDING, "--data", "artifact_source=source")
    assert done.returncode == 0, done.stderr
    ran = list(succeeded(done.stderr))
    assert succeeded(done.stderr)[DISCARDING] == {"m", "a"}
    assert ran.index(DISCARDING) > ran.index("add-ons | apply add-ons")


def test_replaced_artifacts_stay_if_add_ons_fail(home: Path) -> None:
    failing = HOLDING.replace('_host("m", 1, _held)', '_host("m", 1, _held, fails="apply --server-side")')
    done = deploy(home, failing, "--data", "artifact_source=source")
    assert done.returncode == 1, done.stderr
    assert DISCARDING not in succeeded(done.stderr)


def test_images_stay_if_no_master_is_in_the_run(home: Path) -> None:
    done = deploy(home, HOLDING, "--data", "artifact_source=source", "--limit", "@fake/a", "-vv")
    assert done.returncode == 0, done.stderr
    assert succeeded(done.stderr)[DISCARDING] == {"a"}
    assert "images rm" not in done.stderr


# Hosts with remains of former roles.

_LISTED = [
    {"ID": last, "name": name, "peerURLs": [f"https://192.0.2.{last}:2380"]}
    for last, name in ((1, "m"), (4, "e"), (5, "f"))
]
_KNOWN = f"members {json.dumps({'members': _LISTED})}\n"
LEFT = f"""
_member = {_KNOWN!r}
"""
LEFT += """
_serves = 'listener LISTEN 0 9 *:6443 *:* users:(("kube-apiserver",pid=9,fd=6))\\nours 9'
_of_master = "leftover /etc/kubernetes/pki/sa.key\\n" + _serves + "\\nbalanced 192.0.2.1:6443,192.0.2.2:6443"
_of_minion = "leftover /opt/kubekeel/bin/kube-proxy\\nleftover /opt/kubekeel/bin/kubelet"
_lease = {"auth status": "subnet e 10.244.3.0-24"}
etcd = [_host("m", 1, _member + _serves, says=_lease), _host("e", 4, _of_minion), _host("f", 5)]
masters = [etcd[0]]
minions = [_host("a", 2, _of_master), _host("b", 3)]
"""
ENDING = (
    *("former roles | drain the node", "node | install binaries", "control plane | start new API servers one by one"),
    *("former roles | remove former masters from balancers", "former roles | end control plane"),
    *("former roles | end kube-proxy", "former roles | end pods", "former roles | delete flannel's lease"),
    *("former roles | remove files", "kubelet | start kubelet", "add-ons | apply add-ons"),
)


def test_roles_end_when_other_hosts_no_longer_need_them(home: Path) -> None:
    began = started(home, LEFT)
    assert [step for step in began if step in ENDING] == list(ENDING)


def test_remains_of_former_roles_are_removed_from_their_hosts(home: Path) -> None:
    done = deploy(home, LEFT, "--data", "artifact_source=source")
    assert done.returncode == 0, done.stderr
    assert succeeded(done.stderr).get("former roles | drain the node") == {"m"}
    assert succeeded(done.stderr).get("former roles | remove former masters from balancers") == {"m", "a", "b"}
    assert succeeded(done.stderr).get("former roles | end control plane") == {"a"}
    assert succeeded(done.stderr).get("former roles | end pods") == {"e"}
    assert succeeded(done.stderr).get("former roles | delete flannel's lease") == {"m"}
    assert succeeded(done.stderr).get("former roles | remove files") == {"a", "e"}


def test_hosts_without_remains_get_no_step_of_former_roles(home: Path) -> None:
    assert not [step for step in started(home, FIT_HOSTS) if step.startswith("former roles")]


@pytest.mark.parametrize(
    ("limit", "fault"),
    [
        (
            "@fake/a",
            "a: still has parts of former roles, and no master is in this run (control plane)",
        ),
        (
            "@fake/e",
            "e: still has parts of former roles, and no master is in this run (kube-proxy, pods)",
        ),
    ],
)
def test_a_role_ends_only_with_a_master_in_the_run(home: Path, limit: str, fault: str) -> None:
    done = deploy(home, LEFT, "--data", "artifact_source=source", "--limit", limit)
    assert done.returncode == 1
    assert f"{fault}; deploy to all hosts" in done.stderr
    assert "Starting operation" not in done.stderr
