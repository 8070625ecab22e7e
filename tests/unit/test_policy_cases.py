"""The cases of network policies: the same on their page and in the spec that runs them."""

from __future__ import annotations

from pathlib import Path

from kubekeel.render import PROJECT
from tests.vm.policies import CASES, MORE, NAMESPACES, PODS, PORTS, row
from tests.vm.policy_results import HEAD, NOT_RUN, PAGE, Results, row_of, shown


def test_the_page_lists_every_case_of_the_spec() -> None:
    rows = table(PAGE.read_text())
    assert [cells[:3] for cells in rows] == [*map(row, CASES), *((name, "-", "-") for name in MORE.values())]
    assert {cells[3].split(" on ")[0] for cells in rows} <= {NOT_RUN, "passed", "failed"}


def table(page: str) -> list[tuple[str, ...]]:
    """Return the cells of the page's table."""
    _, _, rest = page.partition(HEAD)
    return [tuple(line.strip("|\n ").split(" | ")) for line in rest.partition("\n\n")[0].splitlines()]


def test_the_results_of_a_run_come_into_their_rows_and_the_others_stay(tmp_path: Path) -> None:
    before = PAGE.read_text()
    assert shown(before, Results("6.12.1")) == before
    first, last = CASES[0].name, [*MORE.values()][-1]
    results = Results("6.12.1", {first: True, last: False})
    results.write(tmp_path / "results.json")
    after = shown(before, Results.read(tmp_path / "results.json"))
    assert table(after)[0][3] == "passed on 6.12.1"
    assert table(after)[-1][3] == "failed on 6.12.1"
    assert table(after)[1:-1] == table(before)[1:-1]
    # A later run of a part keeps what ran before.
    assert table(shown(after, Results("6.12.2", {CASES[1].name: True})))[0] == table(after)[0]


def test_each_row_of_the_table_has_a_test_that_decides_it() -> None:
    spec = (PROJECT / "tests/vm/test_network_policies.py").read_text()
    assert [name for name in MORE if f"def {name}(" not in spec] == []
    assert [row_of("test_policies_let_only_allowed_packets_pass", {"case": case}) for case in CASES] == [
        case.name for case in CASES
    ]
    assert row_of("test_the_engine_serves_and_a_second_run_changes_nothing", {}) is None


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
