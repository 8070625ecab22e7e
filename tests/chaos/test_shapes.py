"""Clusters of another shape than the lab's, each on its own machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.record import Record
from lab.lab import Lab
from lab.shape import GATEWAY, PROJECT, keep_keys_in
from tests.lab_cluster import the_cluster, wait_until
from tests.lab_command import Command, ready_nodes

CLUSTER = the_cluster()


def reaches(lab: Command, node: str) -> bool:
    """Return whether a node's kubelet can reach the API now."""
    request = f"kubectl --kubeconfig=/etc/kubernetes/kubelet.conf get --raw /api/v1/nodes/{node}"
    return lab("shell", node, "--", "sh", "-c", request, check=False).returncode == 0


def test_nodes_stay_ready_without_any_one_of_three_masters(lab: Command) -> None:
    lab("up", "--masters", "3", "--minions", "1")
    assert ready_nodes(lab) == {"master", "master2", "master3", "minion1"}
    for lost in ("master", "master2", "master3"):
        lab("stop", lost)
        # The node's balancer needs some time to find that the master is unreachable.
        wait_until(lambda: reaches(lab, "minion1"), 60, f"minion1 reaches the API without {lost}")
        wait_until(lambda lost=lost: lost not in ready_nodes(lab), 120, f"{lost} is not Ready")
        assert "minion1" in ready_nodes(lab)
        lab("start", lost)
        wait_until(lambda lost=lost: lost in ready_nodes(lab), 180, f"{lost} is back")


def test_another_master_takes_the_address_of_the_api_when_its_holder_loses_power(lab: Command, tmp_path: Path) -> None:
    lab("up", "--masters", "3", "--minions", "1")
    inventory, address = tmp_path / "lab/inventory.py", "192.168.1.240"
    deploy = ("run", "--", "pyinfra", "-y", str(inventory), "deploy.py", "--data", f"api_vip={address}")
    lab(*deploy)
    assert "Success" not in lab(*deploy).stderr.partition("Results:")[0]

    def holders() -> list[str]:
        look = ("--", "ip", "-o", "-4", "address", "show", "to", address)
        return [name for name in ("master", "master2", "master3") if lab("shell", name, *look, check=False).stdout]

    wait_until(lambda: len(holders()) == 1, 60, "a master has the address")
    [holder] = holders()
    lab("stop", holder)
    # The client knows this address only.
    config = tmp_path / "lab/pki/admin.conf"
    assert f"https://{address}:6443" in config.read_text()
    request = ("run", "--", "kubectl", f"--kubeconfig={config}", "get", "--raw", "/readyz", "--request-timeout=2s")
    wait_until(lambda: lab(*request, check=False).returncode == 0, 10, "another master answers at the address")
    now = holders()
    lab("start", holder)
    wait_until(lambda: holder in ready_nodes(lab), 180, f"{holder} is back")
    assert holders() == now


def deployed_twice(lab: Command, here: Lab, inventory: Path, *options: str) -> None:
    """Deploy an inventory twice to the lab's machines; the second run must change nothing."""
    lab("run", "--", "python", "-m", "lab.artifacts", str(inventory), str(here.directory / "bin"))
    deploy = ["pyinfra", "-y", str(inventory), "deploy.py", *options]
    lab("run", "--", *deploy)
    again = lab("run", "--", *deploy)
    assert "Success" not in again.stderr.partition("Results:")[0]


def test_unregistered_masters_run_only_their_static_pods(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--minions", "1")
    here = Lab(tmp_path / "lab")
    deployed_twice(lab, here, here.inventory, "--data", "register_masters=False")
    assert ready_nodes(lab) == {"minion1"}


def test_etcd_can_have_its_own_hosts(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy")
    here = Lab(tmp_path / "lab")
    hosts = [
        (
            node.name,
            {"address": node.address, "ssh_hostname": node.address, "ssh_user": "root", "arch": CLUSTER.nodes[0].arch},
        )
        for node in here.shape.nodes
    ]
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f"masters, etcd, minions = ([host] for host in {hosts!r})\n")
    keep_keys_in(here.state_directory, tmp_path)
    deployed_twice(lab, here, inventory)
    assert ready_nodes(lab) == {"master", "minion2"}


def test_a_run_sends_less_than_a_megabyte_to_hosts_that_pull_their_artifacts(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy")
    here, served = Lab(tmp_path / "lab"), tmp_path / "served"
    filled = lab("run", "--", "python", "-m", "run.publish", str(here.inventory), str(served))
    assert ", 0 of them new" not in filled.stdout
    lab("run", "--", "python", "-m", "lab.artifacts", str(here.inventory), str(here.directory / "bin"))
    pull = ("--data", "artifact_delivery=pull", "--data", f"artifact_server=http://{GATEWAY}:8099")
    record = tmp_path / "record.json"
    deploy = ("python", "-m", "bench.recorder", str(record), "-y", str(here.inventory), "deploy.py", *pull)
    serve = (sys.executable, "-m", "lab", "run", "--", "python", "-m", "http.server", "8099", "--bind", GATEWAY)
    serving = subprocess.Popen(
        [*serve, "--directory", str(served)],
        cwd=PROJECT, env={**os.environ, "KUBEKEEL_LAB_DIR": str(here.directory)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answers = (
            "shell",
            "minion1",
            "--",
            "curl",
            "--silent",
            "--fail",
            "--output",
            "/dev/null",
            f"http://{GATEWAY}:8099/",
        )
        wait_until(lambda: lab(*answers, check=False).returncode == 0, 30, "the web server answers")
        lab("run", "--", *deploy, patience=1800)
        assert ready_nodes(lab) == {"master", "minion1", "minion2"}
        sent = {name: cost.sent for name, cost in Record.read(record).hosts.items()}
        assert [name for name, size in sent.items() if size > 1_000_000] == [], sent
        lab("run", "--", *deploy)
        again = Record.read(record).hosts.values()
        assert [cost.changes for cost in again] == [0, 0, 0]
        assert max(cost.commands for cost in again) <= 12
    finally:
        serving.terminate()
        serving.wait()


def routes(lab: Command) -> str:
    return lab("shell", "master", "--", "ip", "route").stdout


def test_with_host_gw_a_removed_node_leaves_no_route_and_blocks_no_run(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--minions", "3")
    here = Lab(tmp_path / "lab")
    options = ("--data", "flannel_backend=host-gw")
    deployed_twice(lab, here, here.inventory, *options)
    left = here.shape.node("minion3")
    wait_until(lambda: f"via {left.address} " in routes(lab), 60, "the master has a route to minion3's pods")
    remove = ("actions/remove_node.py", "--data", f"node={left.name}", *options)
    lab("run", "--", "pyinfra", "-y", str(here.inventory), *remove)
    wait_until(lambda: f"via {left.address} " not in routes(lab), 60, "the master has no such route any more")
    rest = here.directory / "rest.py"
    rest.write_text(here.inventory.read_text().replace(f'_hosts["{left.name}"]', ""))
    lab("run", "--", "pyinfra", "-y", str(rest), "deploy.py", *options)
    assert ready_nodes(lab) == {"master", "minion1", "minion2"}
    # The route of a node that was not removed by the action: flannel's lease lasts a day.
    lab("shell", "master", "--", "ip", "route", "add", "10.244.77.0/24", "via", left.address)
    done = lab("run", "--", "pyinfra", "-y", str(rest), "deploy.py", *options)
    assert "for a node that is not in the inventory" in done.stderr


def test_nodes_get_subnets_and_wait_for_the_user_s_own_network(lab: Command, tmp_path: Path) -> None:
    lab("up", "--no-deploy", "--minions", "1")
    here = Lab(tmp_path / "lab")
    own = ("--data", "pod_network_provider=none", "--data", "kube_proxy_mode=null")
    deployed_twice(lab, here, here.inventory, *own)
    assert ready_nodes(lab) == set()
    networks = "jsonpath={range .items[*]}{.spec.podCIDR}{'\\n'}{end}"
    subnets = lab("kubectl", "get", "nodes", "-o", networks).stdout.split()
    assert sorted(subnets) == ["10.244.0.0/24", "10.244.1.0/24"]
    for unit in ("flanneld", "kube-proxy"):
        assert lab("shell", "minion1", "--", "systemctl", "cat", unit, check=False).returncode != 0
    # The smallest network: for containerd, its file is enough.
    bridge = '{"cniVersion":"1.0.0","name":"own","plugins":[{"type":"bridge","ipam":{"type":"host-local"}}]}'
    for name in ("master", "minion1"):
        lab("shell", name, "--", "sh", "-c", f"echo '{bridge}' >/etc/cni/net.d/10-own.conflist")
    wait_until(lambda: ready_nodes(lab) == {"master", "minion1"}, 60, "nodes with a network are Ready")
