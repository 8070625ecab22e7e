"""Reset hosts to their state before Kubekeel.

`pyinfra -y inventory.py actions/reset.py --data confirm=CLUSTER_NAME --limit HOST`

Without --limit this deletes the whole cluster. It deletes etcd's data on these hosts: make a backup before.
"""

from operations.removal import reset
from tasks import preflight

preflight.recognize()

reset(name="reset the host")
