"""A cluster of three hosts with a test's settings, and the faults of an inventory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from kubekeel.cluster import Cluster, InventoryError, load
from tests.settings import SETTINGS

GROUPS = {"etcd": ["m", "a", "b"], "masters": ["m"], "minions": ["a", "b"]}
HOSTS: dict[str, dict[str, object]] = {
    "m": {"address": "192.0.2.1"},
    "a": {"address": "192.0.2.2"},
    "b": {"address": "192.0.2.3"},
}


def cluster(
    groups: Mapping[str, Sequence[str]] = GROUPS,
    hosts: Mapping[str, Mapping[str, object]] = HOSTS,
    **settings: object,
) -> Cluster:
    return load(groups, hosts, SETTINGS | settings)


def faults(
    groups: Mapping[str, Sequence[str]] = GROUPS,
    hosts: Mapping[str, Mapping[str, object]] = HOSTS,
    **settings: object,
) -> tuple[str, ...]:
    with pytest.raises(InventoryError) as refused:
        cluster(groups, hosts, **settings)
    assert str(refused.value).splitlines() == list(refused.value.faults)
    return refused.value.faults


def of_host(**data: object) -> tuple[str, ...]:
    return faults(hosts=HOSTS | {"a": HOSTS["a"] | data})
