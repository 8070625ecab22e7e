"""The logs that a host gives away, from its own script."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from base64 import b64decode
from pathlib import Path

from operations import collect

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
KEY = "MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5oWGr6nJVHRQ1oAoGCCqGSM49"
LOG = f"""before
Authorization: Bearer {TOKEN} of a client
read -----BEGIN EC PRIVATE KEY-----
{KEY}
-----END EC PRIVATE KEY-----
after"""


def collected(folder: Path) -> dict[str, str]:
    """Return the files that the script collects on this computer if each unit's journal is LOG."""
    for name, text in {"journalctl": f"cat <<'END'\n{LOG}\nEND", "systemctl": "echo all is well"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    path = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", collect._GATHER], env=path, capture_output=True, text=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(b64decode(done.stdout))) as tar:
        contents = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar if member.isfile()}
        return {name: content.read().decode(errors="replace") for name, content in contents.items() if content}


def test_tokens_and_keys_in_a_log_are_not_collected(tmp_path: Path) -> None:
    files = collected(tmp_path)
    assert files["units.txt"] == "all is well\n"
    assert files["journal-etcd.txt"] == "before\nAuthorization: Bearer (a token) of a client\n(a private key)\nafter\n"
    assert not [name for name, text in files.items() if TOKEN in text or KEY in text]
