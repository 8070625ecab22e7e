"""A check whether hosts are fit, and how they reach each other: `pyinfra -y inventory.py actions/check.py`."""

from pyinfra import host, state

from operations.check import check

# Once, for all hosts.
if host.name == min(each.name for each in state.inventory.iter_activated_hosts()):
    check(name="check hosts")
