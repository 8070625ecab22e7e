"""Replace a key of the cluster by a new one: `pyinfra -y inventory.py actions/rotate.py --data what=ca`.

`what` is ca, etcd-ca, front-proxy-ca, service-account, encryption, or all. It makes three deploys to all hosts: first
they trust the new key beside the old one, then the new key signs (or encrypts), then they drop the old key. The same
command continues after an interruption.
"""

from pyinfra import host, inventory, local

from kubekeel.pki import SERVICE_ACCOUNT, Step
from kubekeel.upgrade import at_once
from operations.rotation import (
    complete,
    renew_kept_tokens,
    renew_tokens_in_memory,
    retire,
    rewrite,
    spread,
    stop_etcd,
)
from operations.snapshots import snapshot
from operations.target import first, here, leads
from operations.users import settle
from run.choices import roots
from run.inventory import cluster_of, node_of, pki_of_run
from tasks import control_plane, preflight, turns

preflight.check()

cluster, node = cluster_of(inventory), node_of(host)
what = roots({"what": host.data.what})
trusting, signing, retiring = (pki_of_run(host.state, step) for step in Step)

ended = "etcd-ca" in pki_of_run(host.state).ended

complete(name="require all hosts", nodes=cluster.nodes, why="a rotation needs all hosts")
if "etcd" in node.roles and ended:
    # Members that no longer trust each other cannot restart one by one.
    stop_etcd(name="stop etcd")
if node == first("etcd") and not ended:
    snapshot(name="take a snapshot", reason="another key")

local.include("deploy.py", data={"rotation": Step.TRUST.value})
if node == first("masters"):
    settle(name="wait until API servers trust the new key")
spread(name="spread trust in the new key", roots=what, step=Step.TRUST, pki=trusting)

local.include("deploy.py", data={"rotation": Step.SIGN.value})
if node == first("masters") and SERVICE_ACCOUNT in what:
    renew_kept_tokens(name="renew tokens kept in secrets")
if SERVICE_ACCOUNT in what and node.roles & {"masters", "minions"}:
    kubelet = [each for each in turns.services(here(), control_plane.is_healthy) if each.unit == "kubelet"]
    if "masters" in node.roles:
        renew_tokens_in_memory(name="renew tokens of masters one by one", services=kubelet, _serial=True)
    else:
        batch = at_once(cluster)
        renew_tokens_in_memory(name="renew tokens of minions in batches", services=kubelet, _parallel=batch)
spread(name="spread the use of the new key", roots=what, step=Step.SIGN, pki=signing)
if node == first("masters") and "encryption" in what:
    rewrite(name="encrypt everything with the new key")

local.include("deploy.py", data={"rotation": Step.RETIRE.value})
spread(name="spread the end of the old key", roots=what, step=Step.RETIRE, pki=retiring)
if node == first("masters"):
    settle(name="wait until API servers do not trust the old key")
if leads(node):
    retire(name="delete the old key", pki=retiring)
