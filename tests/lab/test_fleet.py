"""The light machines of the benchmark answer a deploy like a healthy cluster."""

from __future__ import annotations

from pathlib import Path

from bench.fleet import Fleet, nodes


def test_a_second_deploy_to_light_machines_changes_nothing_with_three_commands(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "fleet")
    try:
        fleet.up()
        fleet.power_on(nodes(3))
        assert fleet.deploy(3).changes > 0
        again = fleet.deploy(3)
        assert again.changes == 0
        assert again.most_commands <= 3
    finally:
        fleet.down()
