"""Kubekeel's own pyinfra operations and facts."""

import run  # noqa: F401  lets bytecode of the modules below be kept
