"""A new key for the secrets and config maps in etcd: `pyinfra inventory.py actions/rotate_encryption_key.py`.

Takes about four minutes, since API servers look for new keys once in each. Begun again after a cut, it goes on.
"""

from pyinfra import host, inventory

from kubekeel.pki import first_alone, newest_first, with_new_key
from operations.inventory import cluster_of, node_of
from operations.rotation import complete, rewrite, spread
from operations.snapshots import snapshot
from tasks import preflight

preflight.recognize()

masters = cluster_of(inventory).masters
node = node_of(host)

complete(name="all masters", nodes=masters, why="a key is rotated on all masters together")
if node == masters[0]:
    snapshot(name="snapshot", reason="another encryption key")
if node in masters:
    spread(with_new_key, name="a new key reads")
if node in masters:
    spread(newest_first, name="the new key writes")
if node == masters[0]:
    rewrite(name="rewrite everything with the new key")
if node in masters:
    spread(first_alone, name="the old key goes")
