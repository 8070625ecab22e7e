"""A node's labels are those of the inventory, and those that others gave it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import CLUSTER, deployed, host_of, run_kubectl, with_changes

MINION = CLUSTER.minions[0]


def labels() -> dict[str, str]:
    found: dict[str, str] = json.loads(run_kubectl("get", "node", MINION.name, "-o", "json"))["metadata"]["labels"]
    return found


@pytest.fixture
def _of_others() -> Iterator[None]:
    run_kubectl("label", "node", MINION.name, "team=green")
    yield
    run_kubectl("label", "node", MINION.name, "team-")
    deployed()


@pytest.mark.usefixtures("_of_others")
def test_labels_come_change_and_go_with_the_inventory_without_a_restart(tmp_path: Path) -> None:
    before, kubelet = labels(), host_of(MINION).check_output("systemctl show -p MainPID kubelet")
    # kubelet would start with the first one alone.
    given = {"disk": "ssd", "storage.kubernetes.io/tier": "fast", "node-restriction.kubernetes.io/tenant": "x"}
    for step, wanted in enumerate((given, {"disk": "hdd"}, {})):
        folder = tmp_path / str(step)
        folder.mkdir()
        inventory = with_changes(folder, f"_hosts[{MINION.name!r}][1]['labels'] = {wanted!r}")
        deployed(inventory=inventory)
        assert labels() == {**before, **wanted}
        assert deployed(inventory=inventory).changes == []
    assert host_of(MINION).check_output("systemctl show -p MainPID kubelet") == kubelet
