"""What is about a run itself: who takes part, what was asked, locks, and how a host is spoken to."""

import sys

# pyinfra forbids to keep bytecode, so that each run would compile some hundred modules again.
sys.dont_write_bytecode = False
