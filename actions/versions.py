"""The running, described and available versions of components: `pyinfra -y inventory.py actions/versions.py`."""

from pyinfra import host, state

from operations.versions import report
from tasks import preflight

preflight.recognize()

# Once, for all hosts.
if host.name == min(each.name for each in state.inventory.iter_activated_hosts()):
    report(name="report versions")
