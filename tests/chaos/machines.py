"""Lost and new machines, scripts on machines, and actions as users run them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from kubekeel.cluster import ROLES, Node
from kubekeel.nodes import DRAINED
from lab.shape import PROJECT, keep_keys_in
from operations.etcd import ETCDCTL
from tests.clones import to_the_internet
from tests.lab_cluster import INVENTORY, LAB, SERVER, STATE, image_with_python, run_kubectl, the_cluster
from tests.support import host_of, lab

CLUSTER = the_cluster()

BINARY, STORE = "kubelet", "/opt/kubekeel/store"


def on(node: Node, script: str) -> str:
    """Return what a script prints on a machine, which may be new."""
    done = try_on(node, script)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def try_on(node: Node, script: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lab", "shell", node.name, "--", "sh", "-c", script]
    return subprocess.run(
        command, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )


def fetched(folder: Path, **settings: object) -> Path:
    """Return the lab's inventory with other settings, and fetch the artifacts that they need."""
    inventory = inventory_of(folder, settings=settings)
    fetch = ["python", "-m", "lab.artifacts", str(inventory), str(folder / "bin")]
    done = subprocess.run(
        [*to_the_internet(), *fetch], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=3000
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return inventory


def lose(*nodes: Node) -> None:
    """Replace machines by new ones that have only an sshd."""
    lab("stop", *(node.name for node in nodes))
    for node in nodes:
        shutil.rmtree(LAB.directory / node.name)
    lab("up", "--no-deploy")


def act(action: str, *arguments: str, inventory: Path = INVENTORY) -> subprocess.CompletedProcess[str]:
    """Run `pyinfra -y INVENTORY ACTION ARGUMENT...`."""
    return subprocess.run(
        ["pyinfra", "-y", str(inventory), action, *arguments],
        cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=3600,
    )  # fmt: skip


def acted(action: str, *arguments: str, inventory: Path = INVENTORY) -> str:
    """Run an action that must succeed; return its output."""
    done = act(action, *arguments, inventory=inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def refused(done: subprocess.CompletedProcess[str], *why: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for reason in why:
        assert reason in done.stdout + done.stderr


def members(node: Node) -> dict[str, str]:
    """Return the addresses of the started voters by name, as the member on a node lists them."""
    listed = json.loads(on(node, f"{ETCDCTL} member list -w json"))["members"]
    return {each["name"]: each["peerURLs"][0] for each in listed if each.get("name") and not each.get("isLearner")}


def all_members() -> dict[str, str]:
    """Return what `members` returns for the whole cluster."""
    return {node.name: f"https://{node.address}:2380" for node in CLUSTER.etcd}


def uids() -> set[str]:
    """Return the kind, name and UID of each object in the cluster."""
    # Not pods: controllers replace the pods of a lost node, and kubelets replace static pods.
    kinds = "namespaces,secrets,configmaps,serviceaccounts,nodes,services,deployments,clusterroles,persistentvolumes"
    listing = json.loads(run_kubectl("get", kinds, "--all-namespaces", "-o", "json"))["items"]
    return {f"{each['kind']} {each['metadata']['name']} {each['metadata']['uid']}" for each in listing}


def inventory_of(
    folder: Path,
    etcd: Collection[str] = (),
    addresses: Mapping[str, str] | None = None,
    settings: Mapping[str, object] | None = None,
    state: Path = STATE,
    groups: Mapping[str, Collection[str]] | None = None,
) -> Path:
    """Return the lab's inventory with other hosts in `etcd`, addresses, settings, keys or groups."""
    hosts = {
        each.name: {
            "address": (addresses or {}).get(each.name, each.address),
            "ssh_hostname": each.address,
            "ssh_user": "root",
            "arch": each.arch,
        }
        for each in CLUSTER.nodes
    }
    own = {role: [each.name for each in CLUSTER.nodes if role in each.roles] for role in ROLES}
    members = {**own, **(groups or {}), **({"etcd": etcd} if etcd else {})}
    folder.mkdir(exist_ok=True)
    keep_keys_in(state, folder)
    with (folder / "group_data/all.py").open("a") as file:
        file.writelines(f"{name} = {value!r}\n" for name, value in (settings or {}).items())
    inventory = folder / "inventory.py"
    inventory.write_text(
        textwrap.dedent(
            f"""
            _hosts = {hosts!r}
            etcd, masters, minions = (
                [(name, _hosts[name]) for name in names] for names in {[list(names) for names in members.values()]!r}
            )
            """
        )
    )
    return inventory


def at_another_address(node: Node, address: str, folder: Path) -> Path:
    """Return an inventory with another address for a host; its new machine gets this as its second address."""
    on(node, f"ip address add {address}/24 dev eth0")
    return inventory_of(folder, addresses={node.name: address})


def send_from(node: Node, address: str) -> None:
    """Make a machine send from this one of its addresses, which becomes its first."""
    on(
        node,
        f"""
        set -e
        gateway=$(ip -4 route show default | cut -d ' ' -f 3)
        ip address flush dev eth0 scope global
        ip address add {address}/24 dev eth0
        ip address add {node.address}/24 dev eth0
        ip route replace default via $gateway
        """,
    )


def serve(namespace: str) -> None:
    """Make a service at port 30080 of each node, with two replicas; one of them must always run."""
    run_kubectl("create", "namespace", namespace)
    objects = _replicated(image_with_python(), namespace)
    run_kubectl("apply", "-f", "-", given="---\n".join(json.dumps(each) + "\n" for each in objects))
    run_kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")


def cordoned() -> list[str]:
    """Return the Nodes that take no pods, or have the label of a drained node."""
    nodes = json.loads(run_kubectl("get", "nodes", "-o", "json"))["items"]
    return [
        node["metadata"]["name"]
        for node in nodes
        if node["spec"].get("unschedulable") or DRAINED in node["metadata"]["labels"]
    ]


def _replicated(image: str, namespace: str) -> Iterator[dict[str, object]]:
    labels = {"app": "web"}
    container = {
        "name": "web",
        "image": image,
        "command": ["python3", "-c", SERVER],
        "env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    spread = {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    pod = {
        "containers": [container],
        # The pod answers until it is killed; by then the service no longer sends it requests.
        "terminationGracePeriodSeconds": 10,
        "topologySpreadConstraints": [{**spread, "labelSelector": {"matchLabels": labels}}],
    }
    meta = {"name": "web", "namespace": namespace}
    template = {"metadata": {"labels": labels}, "spec": pod}
    selector = {"matchLabels": labels}
    yield {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {"replicas": 2, "selector": selector, "template": template},
    }
    budget = {"minAvailable": 1, "selector": selector}
    yield {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": budget}
    ports = [{"port": 80, "targetPort": 8080, "nodePort": 30080}]
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {"type": "NodePort", "selector": labels, "ports": ports},
    }


def undo(node: Node) -> None:
    """Remove binaries, images, files, links and objects, so that every operation of a deploy changes something."""
    host_of(node).check_output(
        f"rm -rf {STORE}/*/{BINARY} {STORE}/*/crictl /opt/kubekeel/bin/crictl /etc/kubernetes/kube-proxy.conf"
        " /etc/sysctl.d/zz-kubekeel.conf /etc/etcd/etcd.conf /opt/kubekeel/libexec/write-cni-config"
        " /etc/crictl.yaml /var/lib/kubelet/config.yaml /etc/kubernetes/addons"
        " /etc/kubernetes/manifests/kube-scheduler.yaml"
    )
    host_of(node).run("/opt/kubekeel/bin/ctr -n k8s.io images rm $(ctr -n k8s.io images ls -q | grep coredns)")


def ready(name: str) -> bool:
    try:
        conditions = json.loads(run_kubectl("get", "node", name, "-o", "json"))["status"]["conditions"]
    except AssertionError:
        return False
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)
