"""Shrink etcd's files, and clear the alarm that they are full: `pyinfra -y inventory.py actions/defragment.py`."""

from pyinfra import host, inventory

from operations.room import compact, defragment, disarm
from operations.target import first
from run.inventory import cluster_of, node_of
from tasks import preflight

preflight.recognize()

cluster, node = cluster_of(inventory), node_of(host)

if node == first("etcd"):
    compact(name="compact the history")
if node in cluster.etcd:
    defragment(name="defragment followers one by one", leader=False, cluster=cluster, _serial=True)
if node in cluster.etcd:
    defragment(name="defragment the leader", leader=True, cluster=cluster, _serial=True)
if node == first("etcd"):
    disarm(name="clear the alarm")
