"""Namespaces of this computer's kernel, in which a test may change mounts and networks without root."""

from __future__ import annotations

import subprocess

import pytest


def alone(*kinds: str) -> tuple[str, ...]:
    """Return the start of a command that runs as root of its own namespaces of these kinds: net, mount.

    Skips the test with the reason if this computer forbids them to this user, as Ubuntu 24.04 and some containers do.
    """
    prefix = ("unshare", "--user", "--map-root-user", *(f"--{kind}" for kind in kinds))
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this computer forbids user namespaces to this user ({tried.stderr.strip()}); run as root")
    return prefix
