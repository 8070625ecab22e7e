"""`python -m tests.vm.policy_results FILE`: put the results of test_network_policies.py into docs/networking.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.lab import Lab
from tests.vm.policies import CASES, MORE, row

RESULTS = Lab.here().directory / "policies.json"
"""The results of the last run on this lab."""
PAGE = Path(__file__).parents[2] / "docs/networking.md"
HEAD = "| Case | Passes | Is blocked | Result |\n|------|--------|----------|--------|\n"
NOT_RUN = "not run yet"


@dataclass(frozen=True)
class Results:
    """What became of the cases that ran, by name, and the kernel that they ran on."""

    kernel: str
    passed: dict[str, bool] = field(default_factory=dict)

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, file: Path) -> Results:
        return cls(**json.loads(file.read_text()))

    @property
    def cells(self) -> dict[str, str]:
        return {name: f"{'passed' if passed else 'failed'} on {self.kernel}" for name, passed in self.passed.items()}


def row_of(test: str, parameters: Mapping[str, object]) -> str | None:
    """Return the row that a test decides; None for a test without a row."""
    case = parameters.get("case")
    return case.name if case in CASES else MORE.get(test)


def shown(page: str, results: Results) -> str:
    """Return the page with all cases in its table; a case that did not run keeps its result."""
    before, head, rest = page.partition(HEAD)
    table, _, after = rest.partition("\n\n")
    written = [line.strip("|\n ").split(" | ") for line in table.splitlines()]
    cells = {cells[0]: cells[-1] for cells in written} | results.cells
    rows = [*map(row, CASES), *((name, "-", "-") for name in MORE.values())]
    lines = (f"| {' | '.join([*each, cells.get(each[0], NOT_RUN)])} |" for each in rows)
    return "".join([before, head, "\n".join(lines), "\n\n", after])


if __name__ == "__main__":
    PAGE.write_text(shown(PAGE.read_text(), Results.read(Path(sys.argv[1]))))
