"""The page of what other installers' settings are called here: what it names of ours is there."""

from __future__ import annotations

import re
from pathlib import Path

from kubekeel.cluster import HOST_KEYS, ROLES, SETTINGS

PAGE = (Path(__file__).resolve().parents[2] / "docs/equivalents.md").read_text()
# pyinfra's own keys of a host.
CONNECTION = {"ssh_hostname", "ssh_user", "ssh_port", "ssh_key"}


def rows(part: str) -> list[list[str]]:
    """The cells of a part's tables, without their heads."""
    text = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_setting_of_ours_that_it_names_exists() -> None:
    known = {*SETTINGS, *HOST_KEYS, *ROLES, *CONNECTION}
    named = {word for part in ("kubespray", "k0sctl") for row in rows(part) for word in re.findall(r"`(.+?)`", row[1])}
    assert sorted(named - known) == []


def test_what_has_no_setting_here_has_a_reason() -> None:
    found = [row for part in ("kubespray", "k0sctl") for row in rows(part)]
    assert [row[0] for row in found if len(row) != 3 or not (row[1] or row[2])] == []


def test_it_has_the_commonest_of_both() -> None:
    assert len(rows("kubespray")) >= 40
    assert len(rows("k0sctl")) >= 20
