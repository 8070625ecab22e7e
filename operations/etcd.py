"""etcd's own users and roles, and the keys Kubekeel writes into it."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from kubekeel.etcd_access import NETWORK, ROLES, USERS, Access, read, steps
from operations.look import see


def etcdctl(endpoints: str) -> str:
    """etcdctl as etcd's administrator, on any member's host."""
    return (
        f"/opt/kubekeel/bin/etcdctl --endpoints={endpoints} --cacert=/etc/etcd/pki/ca.crt"
        " --cert=/etc/etcd/pki/root.crt --key=/etc/etcd/pki/root.key"
    )


ETCDCTL = etcdctl("https://127.0.0.1:2379")

_LOOK = f"""
etcdctl() {{ {ETCDCTL} "$@" 2>/dev/null; }}
etcdctl auth status | sed -n 's/^Authentication Status: /auth /p'
for user in {" ".join(USERS)}; do echo "user $user $(etcdctl user get $user -w json)"; done
for role in {" ".join(ROLES)}; do echo "role $role $(etcdctl role get $role -w json)"; done
echo "network $(etcdctl get --print-value-only {NETWORK}/config | tr -d '\\n')"
true
"""


class AccessSeen(FactBase[Access]):
    """Who may do what in etcd, and flannel's configuration."""

    default = Access

    def command(self) -> str:
        return _LOOK

    def process(self, output: Iterable[str]) -> Access:
        return read(output)


@operation()
def grant_access(flannel_network: bytes) -> Generator[StringCommand, None, None]:
    """Turn etcd's authentication on, with this cluster's users and their rights, and write flannel's configuration."""
    seen = see(host, AccessSeen)
    network = flannel_network.decode().replace("\n", "")
    wanted = steps(seen)
    if seen.network != network:
        wanted.append(("put", f"{NETWORK}/config", network))
    if wanted:
        yield StringCommand("\n".join(["set -eu", *(f"{ETCDCTL} {shlex.join(step)}" for step in wanted)]))
    else:
        host.noop("access is as described")
