"""Kubekeel's own pyinfra operations and facts."""

import run  # noqa: F401  keeps the bytecode of the modules below
