"""What a node that leaves has in etcd besides its member."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from operations import removal
from tests.clusters import cluster

# Keys and values, as etcdctl prints them; what is deleted is noted.
ETCDCTL = """#!/bin/sh
cd "$(dirname "$0")"
for each; do shift; case "$each" in --*) ;; *) set -- "$@" "$each" ;; esac; done
[ $1 = get ] && { cat leases; exit; }
echo "$*" >>deleted
"""
LEASES = """/coreos.com/network/subnets/10.244.1.0-24
{"PublicIP":"192.0.2.2","PublicIPv6":null,"BackendType":"host-gw"}
/coreos.com/network/subnets/10.244.2.0-24
{"PublicIP":"192.0.2.20","PublicIPv6":null,"BackendType":"host-gw"}
/coreos.com/network/subnets/10.244.3.0-24
{"PublicIP":"192.0.2.3","PublicIPv6":null,"BackendType":"host-gw"}
"""


@pytest.mark.parametrize(
    ("node", "deleted"), [("a", "del /coreos.com/network/subnets/10.244.1.0-24\n"), ("m", ""), ("unknown", "")]
)
def test_the_lease_of_a_node_that_left_is_deleted_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: str, deleted: str
) -> None:
    etcdctl = tmp_path / "etcdctl"
    etcdctl.write_text(ETCDCTL)
    etcdctl.chmod(0o755)
    (tmp_path / "leases").write_text(LEASES)
    (tmp_path / "deleted").touch()
    monkeypatch.setattr(removal, "cluster_of", lambda _: cluster())
    monkeypatch.setattr(removal, "host", SimpleNamespace(name="m", noop=lambda _: None))
    for command in removal.delete_lease._inner(node=node):
        script = command.get_raw_value().replace("/opt/kubekeel/bin/etcdctl", str(etcdctl))
        subprocess.run(["sh", "-c", script], check=True)
    assert (tmp_path / "deleted").read_text() == deleted
