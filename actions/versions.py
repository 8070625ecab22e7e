"""The running, described and available versions of components: `pyinfra -y inventory.py actions/versions.py`."""

from pyinfra import host

from operations.versions import report
from run.inventory import once
from tasks import preflight

preflight.recognize()

# Once, for all hosts.
if once(host):
    report(name="report versions")
