"""The inventories that the lab writes."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from lab.errors import LabError
from lab.shape import PROJECT, Shape, write_inventory
from run.insides import read_inventory_alone


def written(shape: Shape, directory: Path) -> dict[str, Any]:
    write_inventory(shape, directory)
    groups = runpy.run_path(str(directory / "inventory.py"))
    return {name: [host for host, _ in groups[name]] for name in ("etcd", "masters", "minions")}


def test_a_lab_has_its_own_inventory_and_keys_whatever_the_project_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyinfra reads the settings of its working directory, then the inventory's, which win."""
    monkeypatch.delenv("KUBEKEEL_STATE_DIR", raising=False)
    (tmp_path / "lab").mkdir()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/all.py").write_text("state_dir = 'of-production'\nssh_known_hosts_file = 'of-production'\n")
    write_inventory(Shape(), tmp_path / "lab")
    monkeypatch.chdir(tmp_path)
    inventory = read_inventory_alone(tmp_path / "lab/inventory.py")
    assert {host.name: host.data.address for host in inventory} == {each.name: each.address for each in Shape().nodes}
    assert inventory.data["state_dir"] == str(tmp_path / "lab/pki")
    assert inventory.data["ssh_known_hosts_file"] == str(tmp_path / "lab/pki/known_hosts")


def test_the_default_lab_has_the_machines_of_the_sample_inventory() -> None:
    """The tour names their addresses, and says how to follow it on other hosts."""
    sample = runpy.run_path(str(PROJECT / "inventory.py"))["etcd"]
    assert {name: data["address"] for name, data in sample} == {node.name: node.address for node in Shape().nodes}


@pytest.mark.parametrize(
    ("shape", "etcd"),
    [
        (Shape(1, 0), ["master"]),
        (Shape(1, 1), ["master"]),
        (Shape(1, 3), ["master", "minion1", "minion2"]),
        (Shape(3, 2), ["master", "master2", "master3"]),
    ],
)
def test_every_shape_has_an_odd_number_of_etcd_members(shape: Shape, etcd: list[str], tmp_path: Path) -> None:
    groups = written(shape, tmp_path)
    assert groups["etcd"] == etcd
    assert groups["masters"] == [node.name for node in shape.master_nodes]
    assert groups["minions"] == [node.name for node in shape.minion_nodes]


def test_nodes_keep_their_unique_addresses_when_the_lab_grows() -> None:
    small, large = Shape(), Shape(3, 40)
    assert set(small.nodes) <= set(large.nodes)
    assert len({node.address for node in large.nodes}) == 43


@pytest.mark.parametrize("counts", [(0, 2), (4, 2), (1, -1), (1, 1000)])
def test_an_impossible_shape_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(LabError, match=r"must be"):
        Shape(*counts)
