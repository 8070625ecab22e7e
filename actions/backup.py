"""A backup of the whole cluster in one encrypted file here: `pyinfra -y inventory.py actions/backup.py`.

--data backup=FILE says where to (backups/ beside the keys' folder), --data passphrase_file=FILE has its passphrase.
"""

from pyinfra import host, state

from operations.backup import bring
from tasks import preflight

preflight.recognize()

# Once, from the first member that is healthy.
if host.name == min(each.name for each in state.inventory.iter_activated_hosts()):
    bring(name="backup", to=str(host.data.get("backup", "")), passphrase_file=str(host.data.get("passphrase_file", "")))
