"""The cases of network policies: the same on their page and in the spec that runs them."""

from __future__ import annotations

from kubekeel.render import PROJECT
from tests.vm.policies import CASES, MORE, NAMESPACES, PODS, PORTS, row


def test_the_page_lists_every_case_of_the_spec() -> None:
    page = (PROJECT / "docs/networking.md").read_text()
    _, _, table = page.partition("| Case | Passes | Is blocked | Result |\n")
    shown = [tuple(line.strip("|\n ").split(" | ")) for line in table.partition("\n\n")[0].splitlines()[1:]]
    assert [cells[:3] for cells in shown] == [*map(row, CASES), *((name, "-", "-") for name in MORE)]
    assert {cells[3].split(" on ")[0] for cells in shown} <= {"not run yet", "passed", "failed"}


def test_each_case_has_packets_of_both_protocols_between_existing_pods() -> None:
    assert len(CASES) >= 30
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert {packet.protocol for packet in case.expected} == {"tcp", "udp"}
        assert {namespace for namespace, _ in case.policies} <= NAMESPACES.keys()
        assert all(case.expected.values()) is (not case.policies)
        assert any(case.expected.values())
        for packet in case.expected:
            assert packet.source in {*PODS, "host"}
            assert packet.target in {*PODS, "service", "dns"}
            assert packet.port in PORTS or packet.target in ("service", "dns")
    written = [packet for case in CASES for packet in (*case.passes, *case.blocked)]
    assert len(set(written)) > 20
