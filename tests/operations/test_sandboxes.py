"""The exposure of units, as `systemd-analyze security` computes it from their files."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kubekeel.files import File
from kubekeel.parts import described, placeholder
from kubekeel.status import UNITS
from tests.hosts import cluster
from tests.sandboxes import exposures

ALL = cluster(api_vip="192.0.2.200", network_policy="kube-network-policies", metrics=True)


def units() -> dict[str, str]:
    """Return all services of a cluster with all optional ones, by their names."""
    files = {path: entry for node in ALL.nodes for path, entry in described(placeholder(node, ALL)).items()}
    return {
        Path(path).stem: entry.content.decode()
        for path, entry in files.items()
        if path.startswith("/etc/systemd/system/") and path.endswith(".service") and isinstance(entry, File)
    }


def test_the_security_page_lists_every_unit() -> None:
    assert exposures().keys() == units().keys() == {*UNITS, "etcd-snapshot"}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", sorted(exposures()))
def test_a_unit_file_is_no_more_exposed_than_documented(unit: str, tmp_path: Path) -> None:
    file = tmp_path / f"{unit}.service"
    file.write_text(units()[unit])
    analyze = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(file)]
    done = subprocess.run(analyze, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze reads no files")
    exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert exposure, done.stderr
    assert float(exposure[1]) <= exposures()[unit][0]
