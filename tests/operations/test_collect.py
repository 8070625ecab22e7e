"""The logs that a host gives away, from its own script."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from base64 import b64decode
from pathlib import Path
from shlex import quote

from kubekeel.identity import VERSION
from operations import collect
from tests.example import files
from tests.namespaces import alone

TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl"
KEY = "MHcCAQEEIBkg4LVWM9nuwNSk3yByxZpYRTBnVJk5oWGr6nJVHRQ1oAoGCCqGSM49"
LOG = f"""before
Authorization: Bearer {TOKEN} of a client
read -----BEGIN EC PRIVATE KEY-----
{KEY}
-----END EC PRIVATE KEY-----
after"""


def collected(folder: Path, *prefix: str, before: str = "") -> dict[str, str]:
    """Return the files that the script collects on this computer if each unit's journal is LOG."""
    for name, text in {"journalctl": f"cat <<'END'\n{LOG}\nEND", "systemctl": "echo all is well"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    path = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    script = [*prefix, "sh", "-c", f"{before}\n{collect._GATHER}"]
    done = subprocess.run(script, env=path, capture_output=True, text=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(b64decode(done.stdout))) as tar:
        contents = {member.name.removeprefix("./"): tar.extractfile(member) for member in tar if member.isfile()}
        return {name: content.read().decode(errors="replace") for name, content in contents.items() if content}


def test_tokens_and_keys_in_a_log_are_not_collected(tmp_path: Path) -> None:
    files = collected(tmp_path)
    assert files["units.txt"] == "all is well\n"
    assert files["journal-etcd.txt"] == "before\nAuthorization: Bearer (a token) of a client\n(a private key)\nafter\n"
    assert not [name for name, text in files.items() if TOKEN in text or KEY in text]


def test_the_archive_names_the_version_of_kubekeel_that_deployed_the_host(tmp_path: Path) -> None:
    record = files()["all/etc/kubekeel/cluster.json"]
    there = f"mount -t tmpfs tmpfs /etc && mkdir /etc/kubekeel && echo {quote(record)} >/etc/kubekeel/cluster.json"
    assert json.loads(collected(tmp_path, *alone("mount"), before=there)["cluster.json"])["kubekeel"] == VERSION
