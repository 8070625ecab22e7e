"""Measures `kubeadm init` and two joins, on machines that already have all binaries and images."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from bench import run
from bench.kubeadm_parts import VERSION
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
        _prepare(lab)
        return _time(lab)
    finally:
        lab.down()


def _prepare(lab: Lab) -> None:
    parts = lab.directory / "kubeadm.json"
    environment = {**lab.environment, "KUBEKEEL_BENCH_PARTS": str(parts)}
    run.output(["python", "-m", "bench.kubeadm_parts", str(parts)], environment)
    run.pyinfra(lab.keeper, environment, lab.directory, str(lab.inventory), "bench/kubeadm_hosts.py")
    (master, *_) = lab.shape.master_nodes
    for node in lab.shape.nodes:
        _on(lab, node, "systemctl daemon-reload && systemctl enable -q kubelet && systemctl start pod-routes")
    _on(lab, master, f"cat >/root/kubeadm.yaml <<'END'\n{_config(master, lab)}END")


def _config(master: Node, lab: Lab) -> str:
    pinned = dict(
        line.split()[0].removeprefix("kubekeel.local/").split(":")
        for line in _on(lab, master, "ctr -n k8s.io images ls").splitlines()
        if line.startswith("kubekeel.local/")
    )
    v2 = "cgroup2fs" in _on(lab, master, "stat -fc %T /sys/fs/cgroup")
    return _CONFIG.format(
        token=_TOKEN,
        address=master.address,
        version=VERSION,
        etcd=pinned["etcd"],
        coredns=pinned["coredns"],
        cgroup_driver="systemd" if v2 else "cgroupfs",
        fail_cgroup_v1=str(v2).lower(),
    )


def _time(lab: Lab) -> Times:
    (master, *_) = lab.shape.master_nodes
    began = time.monotonic()
    _on(lab, master, "kubeadm init --config=/root/kubeadm.yaml --ignore-preflight-errors=all")
    initialised = time.monotonic() - began
    join = (
        f"kubeadm join {master.address}:6443 --token={_TOKEN} --discovery-token-unsafe-skip-ca-verification"
        " --ignore-preflight-errors=all --cri-socket=unix:///run/containerd/containerd.sock"
    )
    run.at_once([[*lab.ssh, node.address, join] for node in lab.shape.minion_nodes])
    joined = time.monotonic() - began
    wait = f"wait --timeout={_PATIENCE}s --for=condition"
    _on(lab, master, f"{_KUBECTL} {wait}=Ready nodes --all")
    _on(lab, master, f"{_KUBECTL} -n kube-system {wait}=Available deployment/coredns")
    return Times(initialised, joined, time.monotonic() - began)


def _on(lab: Lab, node: Node, command: str) -> str:
    return run.output([*lab.ssh, node.address, f"PATH=$PATH:/opt/kubekeel/bin; {command}"])
