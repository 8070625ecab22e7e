"""A backup of the whole cluster in one encrypted file here: `pyinfra -y inventory.py actions/backup.py`.

--data backup=FILE names it (default: in backups/ beside the keys' folder), --data passphrase_file=FILE has its
passphrase. --data verify=FILE restores an existing backup into a temporary etcd, prints its contents, and removes that
etcd.
"""

from pyinfra import host

from operations.backup import bring
from operations.drill import verify
from run.inventory import once
from tasks import preflight

preflight.recognize()

passphrase_file, verified = (str(host.data.get(key, "")) for key in ("passphrase_file", "verify"))

# Once, for all hosts.
if once(host):
    if verified:
        verify(name="verify the backup", file=verified, passphrase_file=passphrase_file)
    else:
        bring(name="take the backup", to=str(host.data.get("backup", "")), passphrase_file=passphrase_file)
