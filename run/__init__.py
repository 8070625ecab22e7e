"""The run itself: its hosts, its arguments, its locks, and its connections to hosts."""

import sys

# pyinfra turns bytecode files off, so each run would compile some hundred modules again.
sys.dont_write_bytecode = False
