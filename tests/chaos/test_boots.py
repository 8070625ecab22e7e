"""Boots of a machine with kernel settings that are not Kubekeel's."""

from __future__ import annotations

import pytest

from tests.chaos.machines import ready
from tests.support import CLUSTER, SLACK, harm, host_of, restart, wait_healthy, wait_until

LATE = "/etc/sysctl.d/zzz.conf"


@pytest.mark.timeout(1200)
def test_kubelet_starts_although_a_later_file_has_other_kernel_settings() -> None:
    node = CLUSTER.minions[-1]
    host = host_of(node)
    with harm(f"{LATE} with settings that kubelet refuses, and a boot", "Ready in 120 s, nobody's help") as row:
        host.check_output(f"printf 'vm.overcommit_memory = 2\\nkernel.panic = 0\\n' >{LATE}")
        try:
            restart(node)
            wait_until(lambda: ready(node.name), 120 * SLACK, f"{node.name} is Ready")
            wait_healthy(120 * SLACK)
            assert host.check_output("sysctl -n vm.overcommit_memory kernel.panic").split() == ["1", "10"]
            row.seen = "as expected"
        finally:
            host.check_output(f"rm {LATE}")
