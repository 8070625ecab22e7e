"""What a look finds of a host's hardware, kernel and programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kubekeel.artifacts import GZIP, ZSTD, Packing
from kubekeel.machine import OWN_RESOLV_CONF
from operations.machine import LOOK, machine

RESOLVED = "nameserver 192.0.2.53\n"


@pytest.mark.parametrize(
    ("resolv_conf", "resolved", "file", "name_servers"),
    [
        ("nameserver 192.0.2.1\nsearch a.example\n", None, "/etc/resolv.conf", ()),
        ("nameserver 192.0.2.1\nnameserver 2001:db8::1\n", None, "/etc/resolv.conf", ()),
        ("nameserver 127.0.0.53\n", RESOLVED, "/run/systemd/resolve/resolv.conf", ()),
        ("nameserver 127.0.0.54\n", RESOLVED, "/run/systemd/resolve/resolv.conf", ()),
        ("nameserver 127.0.0.1\n", None, OWN_RESOLV_CONF, ()),
        ("nameserver 127.0.1.1\n", None, OWN_RESOLV_CONF, ()),
        ("nameserver ::1\nnameserver 192.0.2.1\n", None, OWN_RESOLV_CONF, ("192.0.2.1",)),
        (" nameserver\t127.0.0.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n", None, OWN_RESOLV_CONF,
         ("192.0.2.1", "192.0.2.2")),
        ("nameserver 2001:db8::1\n", None, OWN_RESOLV_CONF, ()),
        ("", None, OWN_RESOLV_CONF, ()),
        (None, None, OWN_RESOLV_CONF, ()),
    ],
)  # fmt: skip
def test_pods_get_no_name_server_on_a_loopback_address(
    tmp_path: Path, resolv_conf: str | None, resolved: str | None, file: str, name_servers: tuple[str, ...]
) -> None:
    look = LOOK
    for path, content in (("/etc/resolv.conf", resolv_conf), ("/run/systemd/resolve/resolv.conf", resolved)):
        place = tmp_path / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            place.write_text(content)
        look = look.replace(path, str(place))
    done = subprocess.run(["sh", "-c", look], capture_output=True, text=True, check=True)
    seen = machine(dict(line.partition(" ")[::2] for line in done.stdout.splitlines()))
    assert seen.resolv_conf.removeprefix(str(tmp_path)) == file
    assert seen.name_servers == name_servers


@pytest.mark.parametrize(("programs", "packing"), [(["zstd"], ZSTD), ([], GZIP)])
def test_a_host_gets_files_packed_by_zstd_only_if_it_has_this_program(
    tmp_path: Path, programs: list[str], packing: Packing
) -> None:
    for command in ("awk", "cat", "grep", "sed", "stat", "tr", "uname"):
        (tmp_path / command).symlink_to(str(shutil.which(command)))
    for program in programs:
        (tmp_path / program).symlink_to("/bin/true")
    look, only_these = ["/bin/sh", "-c", LOOK], {"PATH": str(tmp_path)}
    done = subprocess.run(look, env=only_these, capture_output=True, text=True, check=True)
    assert machine(dict(line.partition(" ")[::2] for line in done.stdout.splitlines())).packing == packing
