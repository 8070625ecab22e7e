"""What pyinfra loads before the inventory, and before it connects to any host."""

from pyinfra import config

from operations.inventory import prepare
from operations.preflight import expect_every_host

# The first host that fails stops the run.
config.FAIL_PERCENT = 0

prepare()
expect_every_host()
