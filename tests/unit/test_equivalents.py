"""The page that maps other installers' settings to Kubekeel's: every setting it names exists."""

from __future__ import annotations

import re
from pathlib import Path

from kubekeel.cluster import HOST_KEYS, ROLES, SETTINGS

PAGE = (Path(__file__).resolve().parents[2] / "docs/equivalents.md").read_text()
# pyinfra's own keys of a host.
CONNECTION = {"ssh_hostname", "ssh_user", "ssh_port", "ssh_key"}


def rows(part: str) -> list[list[str]]:
    """Return the cells of a section's tables, without their headings."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_of_kubekeel_on_the_page_exists() -> None:
    known = {*SETTINGS, *HOST_KEYS, *ROLES, *CONNECTION}
    named = {word for part in ("kubespray", "k0sctl") for row in rows(part) for word in re.findall(r"`(.+?)`", row[1])}
    assert sorted(named - known) == []


def test_a_setting_without_equivalent_has_a_reason() -> None:
    found = [row for part in ("kubespray", "k0sctl") for row in rows(part)]
    assert [row[0] for row in found if len(row) != 3 or not (row[1] or row[2])] == []


def test_the_page_has_the_common_settings_of_both_installers() -> None:
    assert len(rows("kubespray")) >= 40
    assert len(rows("k0sctl")) >= 20
