"""pyinfra loads this file before the inventory, and before it connects to any host."""

from pyinfra import config

from operations.differences import say_differences
from operations.look import OneLook
from operations.preflight import expect_every_host
from run.absence import end_with_status
from run.answers import keep_to_answers
from run.closing import say_what_is_next
from run.connection import Watch, keep_tracebacks_for_vvv, prefer_fast_ciphers
from run.insides import call_back, do_repeated_work_once, order_hosts
from run.interruption import end_in_order
from run.inventory import prepare
from run.lock import Lease
from run.order import OneByOne, keep_order_of_lines
from run.waits import show_in_place

# The first host that fails stops the run.
config.FAIL_PERCENT = 0

end_in_order()
do_repeated_work_once()
prefer_fast_ciphers()
keep_tracebacks_for_vvv()
keep_order_of_lines()
order_hosts()
show_in_place()
keep_to_answers()
prepare()
call_back(Watch(), OneByOne(), Lease(), OneLook())
expect_every_host()
say_differences()
end_with_status()
say_what_is_next()
