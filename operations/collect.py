"""Logs and states of all hosts in one archive, without secrets, to find the cause of a fault."""

from __future__ import annotations

import io
import os
import tarfile
import time
from base64 import b64decode
from collections.abc import Generator
from pathlib import Path

from gevent.pool import Group
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import FunctionCommand, operation
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubekeel.status import UNITS
from operations.etcd import ETCDCTL
from run.ask import ask
from run.inventory import hosts_of, node_of

# A step that fails leaves its error in its file. The archive shows pods of kube-system only: other pods' logs and
# environments belong to their users.
_GATHER = rf"""
set -u
umask 077
folder=$(mktemp -d)
trap 'rm -rf $folder' EXIT
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl="/opt/kubekeel/bin/kubectl --request-timeout=20s"
# Tokens and keys have no place in a log. Should a program put one there, it ends here.
clean() {{
  sed -E -e 's/eyJ[A-Za-z0-9_-]{{8,}}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/(a token)/g' \
    -e '/-----BEGIN [A-Z ]*PRIVATE KEY-----/,/-----END [A-Z ]*PRIVATE KEY-----/c (a private key)'
}}
into() {{
  file=$1
  shift
  timeout 60 "$@" 2>&1 </dev/null | clean >"$folder/$file"
}}

into system.txt sh -c 'uname -a; cat /etc/os-release; uptime; free -m; df -h; df -i; mount; systemctl --failed'
into network.txt sh -c 'ip address; ip route show table all; ss -tlnp; nft list ruleset || iptables-save'
into units.txt systemctl status --no-pager --full --lines=0 {" ".join(UNITS)}
for unit in {" ".join(UNITS)}; do
  into journal-$unit.txt journalctl --unit=$unit --since=-2days --lines=20000 --no-pager --output=short-iso-precise
done
into kernel.txt journalctl --dmesg --since=-2days --lines=5000 --no-pager
into files.txt sh -c 'for place in /etc/kubernetes /etc/etcd /etc/flannel /etc/containerd /etc/cni /opt/kubekeel; do
  find -H $place -printf "%M %u:%g %s %TF %TT %p %l\n"; done; du -sh /var/lib/etcd /var/lib/containerd'
into cluster.json cat /etc/kubekeel/cluster.json
into versions.txt sh -c 'for name in etcd containerd runc kubelet kube-proxy flanneld; do
  [ -e /opt/kubekeel/bin/$name ] && echo "$name: $(/opt/kubekeel/bin/$name --version 2>&1 | head -n 3)"; done'
if [ -e /etc/etcd/pki/root.key ]; then
  into etcd.txt sh -c '{ETCDCTL} endpoint status -w table; {ETCDCTL} member list -w table; {ETCDCTL} alarm list'
fi
if [ -e /opt/kubekeel/bin/crictl ]; then
  into containers.txt sh -c 'crictl=/opt/kubekeel/bin/crictl; $crictl pods; $crictl ps --all; $crictl images --digests'
  for container in $(/opt/kubekeel/bin/crictl ps --all --quiet --label io.kubernetes.pod.namespace=kube-system); do
    name=$(/opt/kubekeel/bin/crictl inspect --output go-template \
      --template '{{{{index .status.labels "io.kubernetes.container.name"}}}}' $container)
    into container-$name-$(echo $container | cut -c 1-12).txt /opt/kubekeel/bin/crictl logs --tail 5000 $container
  done
fi
if [ -e $KUBECONFIG ]; then
  into kubectl-get.txt $kubectl get --all-namespaces -o wide \
    nodes,pods,deployments,daemonsets,statefulsets,services,endpointslices,leases
  into kubectl-events.txt $kubectl get events --all-namespaces --sort-by=.lastTimestamp
  into kubectl-nodes.txt $kubectl describe nodes
  into kubectl-kube-system.txt $kubectl --namespace=kube-system describe pods
  into kubectl-health.txt $kubectl get --raw '/readyz?verbose'
fi
tar -cz -C $folder . | base64
"""


@operation()
def collect() -> Generator[FunctionCommand, None, None]:
    """Collect the logs of all hosts of the run into kubekeel-logs-<time>.tar.gz here, with mode 0600."""
    yield FunctionCommand(_collect, (), {})


def _collect(state: State, host: Host) -> bool:  # noqa: ARG001 - pyinfra's signature
    hosts = hosts_of(state)
    gathered = dict(zip((node_of(each).name for each in hosts), Group().map(_gather, hosts), strict=True))
    path = Path(f"kubekeel-logs-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz").absolute()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, found in gathered.items():
            _add(tar, f"{path.name.removesuffix('.tar.gz')}/{name}", found)
    print(path)
    for name, found in gathered.items():
        if isinstance(found, str):
            logger.warning(f"{name}: nothing was collected ({found}); the archive says so, too")
    return True


def _gather(host: Host) -> bytes | str:
    """Return a host's own archive, or why there is none."""
    if not host.connected:
        return "no SSH connection"
    try:
        _, output = ask(host, _GATHER)
        return b64decode("".join(output.stdout_lines)) or "\n".join(output.stderr_lines)
    except (OSError, SSHException, EOFError, ValueError) as error:
        return f"{type(error).__name__} {error}"


def _add(tar: tarfile.TarFile, folder: str, found: bytes | str) -> None:
    if isinstance(found, str):
        member = tarfile.TarInfo(f"{folder}/unreached.txt")
        member.size = len(found.encode())
        tar.addfile(member, io.BytesIO(found.encode()))
        return
    with tarfile.open(fileobj=io.BytesIO(found)) as own:
        for member in own.getmembers():
            if member.isfile():
                content = own.extractfile(member)
                member.name = f"{folder}/{member.name.removeprefix('./')}"
                tar.addfile(member, content)
