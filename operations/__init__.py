"""pyinfra operations and facts of Kubekeel's own."""

import run  # noqa: F401  lets bytecode of the modules below be kept
