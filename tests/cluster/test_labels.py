"""Labels, annotations and taints of nodes: the inventory's, and those that others set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import CLUSTER, deployed, host_of, run_kubectl, with_changes

MASTER, MINION = CLUSTER.masters[0], CLUSTER.minions[0]


def labels() -> dict[str, str]:
    found: dict[str, str] = json.loads(run_kubectl("get", "node", MINION.name, "-o", "json"))["metadata"]["labels"]
    return found


def marks() -> set[str]:
    """Return the minion's taints, and its annotations under example.org/."""
    node = json.loads(run_kubectl("get", "node", MINION.name, "-o", "json"))
    taints = {f"{each['key']}={each.get('value', '')}:{each['effect']}" for each in node["spec"].get("taints", ())}
    own = {f"{key}={value}" for key, value in node["metadata"]["annotations"].items() if key.startswith("example.org/")}
    return taints | own


@pytest.fixture
def _label_of_others() -> Iterator[None]:
    run_kubectl("label", "node", MINION.name, "team=green")
    yield
    run_kubectl("label", "node", MINION.name, "team-")
    deployed()


@pytest.mark.usefixtures("_label_of_others")
def test_labels_follow_the_inventory_without_a_restart(tmp_path: Path) -> None:
    before, kubelet = labels(), host_of(MINION).check_output("systemctl show -p MainPID kubelet")
    # kubelet itself could set only the first label.
    first = {"disk": "ssd", "storage.kubernetes.io/tier": "fast", "node-restriction.kubernetes.io/tenant": "x"}
    for step, wanted in enumerate((first, {"disk": "hdd"}, {})):
        folder = tmp_path / str(step)
        folder.mkdir()
        inventory = with_changes(folder, f"_hosts[{MINION.name!r}][1]['labels'] = {wanted!r}")
        deployed(inventory=inventory)
        assert labels() == {**before, **wanted}
        assert deployed(inventory=inventory).changes == []
    assert host_of(MINION).check_output("systemctl show -p MainPID kubelet") == kubelet


def test_annotations_and_taints_follow_the_inventory_and_others_stay(tmp_path: Path) -> None:
    run_kubectl("annotate", "node", MINION.name, "example.org/team=green")
    run_kubectl("taint", "node", MINION.name, "example.org/mine:PreferNoSchedule")
    others = {"example.org/team=green", "example.org/mine=:PreferNoSchedule"}
    data = {"annotations": {"example.org/rack": "12"}, "taints": {"dedicated:PreferNoSchedule": "database"}}
    try:
        inventory = with_changes(tmp_path, f"_hosts[{MINION.name!r}][1].update({data!r})")
        deployed(inventory=inventory)
        assert marks() == others | {"example.org/rack=12", "dedicated=database:PreferNoSchedule"}
        assert deployed(inventory=inventory).changes == []
        deployed()
        assert marks() == others
    finally:
        run_kubectl("annotate", "node", MINION.name, "example.org/team-")
        run_kubectl("taint", "node", MINION.name, "example.org/mine-")


def test_the_taint_and_the_labels_of_roles_follow_the_groups(tmp_path: Path) -> None:
    both = with_changes(tmp_path, f"minions.append(_hosts[{MASTER.name!r}])")
    deployed(inventory=both)
    assert roles() == {"control-plane", "minion"}
    assert deployed(inventory=both).changes == []
    deployed()
    assert roles() == {"control-plane", "control-plane:NoSchedule"}


def roles() -> set[str]:
    """Return the role labels and the taints of the master's Node, without the prefixes of their names."""
    node = json.loads(run_kubectl("get", "node", MASTER.name, "-o", "json"))
    taints = {f"{each['key'].partition('/')[2]}:{each['effect']}" for each in node["spec"].get("taints", ())}
    return taints | {
        label.partition("/")[2] for label in node["metadata"]["labels"] if label.startswith("node-role.kubernetes.io/")
    }
