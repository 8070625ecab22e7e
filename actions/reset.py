"""Hosts as they were before: `pyinfra -y inventory.py actions/reset.py --data confirm=CLUSTER_NAME --limit HOST`.

Without --limit it is the end of the cluster. What its members had in etcd is gone: make a backup before.
"""

from operations.removal import reset
from tasks import preflight

preflight.recognize()

reset(name="reset the host")
