"""A check whether hosts are fit, and how they reach each other: `pyinfra -y inventory.py actions/check.py`."""

from pyinfra import host

from operations.check import check
from run.inventory import once

# Once, for all hosts.
if once(host):
    check(name="check hosts")
