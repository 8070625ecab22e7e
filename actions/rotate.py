"""Another key in place of one the cluster is made of: `pyinfra -y inventory.py actions/rotate.py --data what=ca`.

`what` is ca, etcd-ca, front-proxy-ca, service-account, encryption, or all. It is three deploys to all hosts: first the
new key is trusted beside the old one, then it signs (or writes), then the old one goes. Begun again after a cut, it
goes on.
"""

from pyinfra import host, inventory, local

from kubekeel.pki import SERVICE_ACCOUNT, Step
from operations.rotation import complete, renew_kept_tokens, retire, rewrite, spread, stop_etcd
from operations.snapshots import snapshot
from operations.target import first, leads
from operations.users import settle
from run.choices import roots
from run.inventory import cluster_of, node_of, pki_of_run
from tasks import preflight

preflight.check()

cluster, node = cluster_of(inventory), node_of(host)
what = roots({"what": host.data.what})
trusting, signing, retiring = (pki_of_run(host.state, step) for step in Step)

ended = "etcd-ca" in pki_of_run(host.state).ended

complete(name="all hosts", nodes=cluster.nodes, why="a key is rotated on all hosts together")
if "etcd" in node.roles and ended:
    # Members that do not trust each other any more cannot restart one by one.
    stop_etcd(name="etcd stops")
if node == first("etcd") and not ended:
    snapshot(name="snapshot", reason="another key")

local.include("deploy.py", data={"rotation": Step.TRUST.value})
if node == first("masters"):
    settle(name="API servers tell whom they trust")
spread(name="the new key is trusted", roots=what, step=Step.TRUST, pki=trusting)

local.include("deploy.py", data={"rotation": Step.SIGN.value})
if node == first("masters") and SERVICE_ACCOUNT in what:
    renew_kept_tokens(name="tokens kept in secrets")
spread(name="the new key is used", roots=what, step=Step.SIGN, pki=signing)
if node == first("masters") and "encryption" in what:
    rewrite(name="everything is rewritten")

local.include("deploy.py", data={"rotation": Step.RETIRE.value})
spread(name="the old key is gone", roots=what, step=Step.RETIRE, pki=retiring)
if node == first("masters"):
    settle(name="API servers tell whom they trust no more")
if leads(node):
    retire(name="forget the old key", pki=retiring)
