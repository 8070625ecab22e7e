"""etcd's own users and roles, and the keys Kubekeel writes into it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation


def etcdctl(endpoints: str) -> str:
    """etcdctl as etcd's administrator, on any member's host."""
    return (
        f"/opt/kubekeel/bin/etcdctl --endpoints={endpoints} --cacert=/etc/etcd/pki/ca.crt"
        " --cert=/etc/etcd/pki/root.crt --key=/etc/etcd/pki/root.key"
    )


ETCDCTL = etcdctl("https://127.0.0.1:2379")
FLANNEL_PREFIX = "/coreos.com/network"

# Users are known by their certificates' CN and have no password. kube-apiserver has the root role since etcd
# lets no lesser one compact (https://etcd.io/docs/latest/op-guide/authentication/rbac/).
_GRANT = f"""
set -eu
etcdctl() {{ {ETCDCTL} "$@"; }}
has() {{ etcdctl "$1" list | grep -qx "$2"; }}
has role root || etcdctl role add root
has role flannel || etcdctl role add flannel
etcdctl role grant-permission flannel readwrite --prefix=true {FLANNEL_PREFIX}/
for user in root kube-apiserver flannel; do
  has user $user || etcdctl user add $user --no-password
done
etcdctl user grant-role root root
etcdctl user grant-role kube-apiserver root
etcdctl user grant-role flannel flannel
etcdctl auth enable
"""

_GRANTED = f"""
etcdctl() {{ {ETCDCTL} "$@" 2>/dev/null; }}
etcdctl auth status | sed -n 's/^Authentication Status: /auth /p'
for user in root kube-apiserver flannel; do echo "user $user $(etcdctl user get $user | sed -n 's/^Roles: *//p')"; done
echo "config $(etcdctl get --print-value-only {FLANNEL_PREFIX}/config | tr -d '\\n')"
true
"""


class Access(FactBase[dict[str, str]]):
    """Whether authentication is on, each user's roles, and flannel's configuration."""

    default = dict

    def command(self) -> str:
        return _GRANTED

    def process(self, output: Iterable[str]) -> dict[str, str]:
        seen = {}
        for line in output:
            kind, _, rest = line.partition(" ")
            if kind == "user":
                user, _, roles = rest.partition(" ")
                seen[f"user {user}"] = roles.strip()
            else:
                seen[kind] = rest
        return seen


@operation()
def grant_access(flannel_network: bytes) -> Iterator[StringCommand]:
    """Turn etcd's authentication on, with the three users of this cluster, and write flannel's configuration."""
    seen = host.get_fact(Access)
    wanted = {"auth": "true", "user root": "root", "user kube-apiserver": "root", "user flannel": "flannel"}
    network = flannel_network.decode().replace("\n", "")
    if any(seen.get(key) != value for key, value in wanted.items()):
        yield StringCommand(_GRANT)
    elif seen.get("config") == network:
        host.noop("access is as described")
        return
    if seen.get("config") != network:
        yield StringCommand(f"{ETCDCTL} put {FLANNEL_PREFIX}/config {shlex.quote(network)}")
