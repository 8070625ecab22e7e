"""Measures `kubeadm init` and two joins, on machines that already have all binaries and images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench import run
from kubekeel.release import KUBERNETES_VERSIONS
from lab.lab import Lab
from lab.shape import Node

_TOKEN = "abcdef.0123456789abcdef"
_PATIENCE = 600
_CONFIG = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
  - token: {token}
localAPIEndpoint:
  advertiseAddress: {address}
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  kubeletExtraArgs:
    - {{name: node-ip, value: {address}}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: {version}
imageRepository: kubekeel.local
networking:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
etcd:
  local:
    imageTag: {etcd}
dns:
  imageTag: {coredns}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: {cgroup_driver}
failCgroupV1: {fail_cgroup_v1}
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
conntrack:
  maxPerCore: 0
  min: 0
"""
INIT = "kubeadm init --config=/root/kubeadm.yaml --ignore-preflight-errors=all"
_KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"


@dataclass(frozen=True)
class Times:
    """Seconds from the start of `kubeadm init` to its end, to the end of both joins, to all Ready and DNS available."""

    initialised: float
    joined: float
    ready: float


def measure(folder: Path) -> Times:
    """Measure on a new lab in `folder`, and remove it."""
    lab = Lab(folder)
    lab.down()
    lab.up(masters=1, minions=2)
    try:
        prepare(lab, KUBERNETES_VERSIONS[0])
        return _time(lab)
    finally:
        lab.down()


def choose(lab: Lab, version: str) -> None:
    """Set the Kubernetes version of a lab; the last choice applies."""
    with (lab.inventory.parent / "group_data/all.py").open("a") as settings:
        settings.write(f"kubernetes_version = {version!r}\n")


def prepare(lab: Lab, version: str) -> None:
    """Bring the binaries and images of this version, and kubeadm's configuration for it; nothing restarts."""
    choose(lab, version)
    parts = lab.directory / "kubeadm.json"
    environment = {**lab.environment, "KUBEKEEL_BENCH_PARTS": str(parts)}
    run.output(["python", "-m", "bench.kubeadm_parts", str(parts), version], environment)
    run.pyinfra(lab.keeper, environment, lab.directory, str(lab.inventory), "bench/kubeadm_hosts.py")
    (master, *_) = lab.shape.master_nodes
    for node in lab.shape.nodes:
        on(lab, node, "systemctl daemon-reload && systemctl enable -q kubelet && systemctl start pod-routes")
    on(lab, master, f"cat >/root/kubeadm.yaml <<'END'\n{_config(master, lab, version)}END")


def _config(master: Node, lab: Lab, version: str) -> str:
    pinned = dict(
        line.split()[0].removeprefix("kubekeel.local/").split(":")
        for line in on(lab, master, "ctr -n k8s.io images ls").splitlines()
        if line.startswith("kubekeel.local/")
    )
    v2 = "cgroup2fs" in on(lab, master, "stat -fc %T /sys/fs/cgroup")
    return _CONFIG.format(
        token=_TOKEN,
        address=master.address,
        version=version,
        etcd=pinned["etcd"],
        coredns=pinned["coredns"],
        cgroup_driver="systemd" if v2 else "cgroupfs",
        fail_cgroup_v1=str(v2).lower(),
    )


def _time(lab: Lab) -> Times:
    (master, *_) = lab.shape.master_nodes
    began = time.monotonic()
    on(lab, master, INIT)
    initialised = time.monotonic() - began
    join = (
        f"kubeadm join {master.address}:6443 --token={_TOKEN} --discovery-token-unsafe-skip-ca-verification"
        " --ignore-preflight-errors=all --cri-socket=unix:///run/containerd/containerd.sock"
    )
    run.at_once([[*lab.ssh, node.address, join] for node in lab.shape.minion_nodes])
    joined = time.monotonic() - began
    wait = f"wait --timeout={_PATIENCE}s --for=condition"
    on(lab, master, f"{_KUBECTL} {wait}=Ready nodes --all")
    on(lab, master, f"{_KUBECTL} -n kube-system {wait}=Available deployment/coredns")
    return Times(initialised, joined, time.monotonic() - began)


def on(lab: Lab, node: Node, command: str) -> str:
    """Run a command on a machine, and return its output."""
    return run.output([*lab.ssh, node.address, f"PATH=$PATH:/opt/kubekeel/bin; {command}"])
