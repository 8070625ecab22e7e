"""For all tests."""

# It patches the standard library for gevent, which has to come before everything else.
import pyinfra_cli  # type: ignore[import-untyped]  # noqa: F401
