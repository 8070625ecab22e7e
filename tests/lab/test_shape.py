"""The inventories that the lab writes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.shape import PROJECT, Shape, inventory, write_inventory


def written(shape: Shape, directory: Path) -> dict[str, Any]:
    write_inventory(shape, directory)
    groups = runpy.run_path(str(inventory(shape, directory)))
    return {name: [host for host, _ in groups[name]] for name in ("etcd", "masters", "minions")}


def test_the_default_is_the_projects_own_inventory(tmp_path: Path) -> None:
    write_inventory(Shape(), tmp_path)
    assert inventory(Shape(), tmp_path) == PROJECT / "inventory.py"
    assert not list(tmp_path.iterdir())
    addresses = {name: data["address"] for name, data in runpy.run_path(str(PROJECT / "inventory.py"))["etcd"]}
    assert addresses == {node.name: node.address for node in Shape().nodes}


@pytest.mark.parametrize(
    ("shape", "etcd"),
    [
        (Shape(1, 0), ["master"]),
        (Shape(1, 1), ["master"]),
        (Shape(1, 3), ["master", "minion1", "minion2"]),
        (Shape(3, 2), ["master", "master2", "master3"]),
    ],
)
def test_another_shape_has_an_odd_number_of_etcd_members(shape: Shape, etcd: list[str], tmp_path: Path) -> None:
    groups = written(shape, tmp_path)
    assert groups["etcd"] == etcd
    assert groups["masters"] == [node.name for node in shape.master_nodes]
    assert groups["minions"] == [node.name for node in shape.minion_nodes]
    assert (tmp_path / "group_data" / "all.py").exists()


def test_a_node_keeps_its_address_when_the_lab_grows_and_no_two_share_one() -> None:
    small, large = Shape(), Shape(3, 40)
    assert set(small.nodes) <= set(large.nodes)
    assert len({node.address for node in large.nodes}) == 43


@pytest.mark.parametrize("counts", [(0, 2), (4, 2), (1, -1), (1, 1000)])
def test_a_shape_that_cannot_be_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(LabError, match=r"must be"):
        Shape(*counts)
