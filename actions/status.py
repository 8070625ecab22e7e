"""The cluster's state, host by host: `pyinfra -y inventory.py actions/status.py`, and with --json for programs.

--data html=FILE also writes it as a page for a browser.
"""

from pyinfra import host

from operations.status import Health, report
from run.inventory import once
from tasks import preflight
from tasks.health import conditions, services

preflight.recognize()

# Once, for all hosts.
if once(host):
    report(name="report the status", health=Health(services, conditions), html=str(host.data.get("html", "")))
