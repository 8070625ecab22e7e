"""The CIS Kubernetes Benchmark 1.12, control by control: `pyinfra -y inventory.py actions/audit.py`."""

from pyinfra import host

from operations.audit import collect, report
from run.inventory import once
from tasks import preflight

preflight.recognize()

collect(name="collect evidence")
# Once, after the look at all hosts.
if once(host):
    report(name="report the audit")
