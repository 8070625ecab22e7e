"""pyinfra operations and facts of Kubekeel's own."""

import sys

# pyinfra forbids to keep bytecode, so that each run would compile some hundred modules anew.
sys.dont_write_bytecode = False
