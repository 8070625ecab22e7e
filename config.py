"""What pyinfra loads before the inventory, and before it connects to any host."""

from pyinfra import config

from operations.answers import keep_to_answers
from operations.callbacks import call_back
from operations.closing import say_what_is_next
from operations.connection import Watch, keep_tracebacks_for_vvv, prefer_fast_ciphers
from operations.interruption import end_in_order
from operations.inventory import prepare
from operations.lock import Lease
from operations.look import OneLook
from operations.order import OneByOne, keep_order_of_hosts, keep_order_of_lines
from operations.preflight import expect_every_host

# The first host that fails stops the run.
config.FAIL_PERCENT = 0

end_in_order()
prefer_fast_ciphers()
keep_tracebacks_for_vvv()
keep_order_of_lines()
keep_order_of_hosts()
keep_to_answers()
prepare()
call_back(Watch(), OneByOne(), Lease(), OneLook())
expect_every_host()
say_what_is_next()
