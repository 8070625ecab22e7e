"""What every host gets, whatever its roles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kubekeel import render
from kubekeel.files import Directory
from kubekeel.needs import needs
from kubekeel.render import Target
from tests.unit.test_cluster import cluster
from tests.unit.test_preflight import machine


def test_each_binary_s_folder_can_be_entered_by_those_who_run_it_whatever_made_it() -> None:
    supply: Any = SimpleNamespace(binary=lambda name, _arch: SimpleNamespace(sha256=f"sha256-of-{name}"))
    node = cluster().node("m")
    pki: Any = None
    tree = render.node(Target(node, machine("m"), cluster(), pki, supply))
    for name in needs(node, cluster()).binaries:
        assert tree[f"/opt/kubekeel/store/sha256-of-{name}"] == Directory(0o755)
