"""The CIS Kubernetes Benchmark 1.12, control by control: `pyinfra -y inventory.py actions/audit.py`."""

from pyinfra import host, state

from operations.audit import collect, report
from tasks import preflight

preflight.recognize()

collect(name="collect evidence")
# Once, after the look at all hosts.
if host.name == min(each.name for each in state.inventory.iter_activated_hosts()):
    report(name="report the audit")
