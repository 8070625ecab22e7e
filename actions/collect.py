"""An archive here with logs and states of all hosts, no secrets: `pyinfra -y inventory.py actions/collect.py`."""

from pyinfra import host

from operations.collect import collect
from run.inventory import once
from tasks import preflight

preflight.recognize()

# Once, for all hosts.
if once(host):
    collect(name="collect logs")
