"""etcd's unit."""

from __future__ import annotations

import re

from kubekeel import render
from tests.clusters import cluster
from tests.hosts import machine


def test_systemd_never_stops_an_etcd_that_still_receives_data() -> None:
    unit = render.render(
        "systemd/etcd.service", node=cluster().node("m"), machine=machine("m"), cipher_suites="", arguments={}
    ).decode()
    assert re.findall(r"^Timeout\w*=.*", unit, re.MULTILINE) == ["TimeoutStartSec=infinity"]
