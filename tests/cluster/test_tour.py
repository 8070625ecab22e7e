"""The guided tour, docs/tour.md: every command runs, and prints what the page says.

Each block ```sh is one script. The block ```output after it is a shortened copy of the script's output: for each of
its lines, one line of the real output contains its words without digits, in that order. `...` marks omitted text.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.shape import PROJECT, Shape
from tests.lab_cluster import LAB

pytestmark = pytest.mark.skipif(
    LAB.shape != Shape(), reason="the tour is one of the lab as `python3 -m lab up` makes it"
)

_BLOCK = re.compile(r"^```sh\n(?P<script>.*?)^```\n\n^```output\n(?P<output>.*?)^```$", re.MULTILINE | re.DOTALL)
_OMITTED = "..."


@dataclass(frozen=True)
class Stop:
    """A stop of the tour: a script, and the output that the page shows."""

    line: int
    script: str
    output: str


def stops() -> list[Stop]:
    text = (PROJECT / "docs/tour.md").read_text()
    return [Stop(text.count("\n", 0, block.start()) + 1, *block.group("script", "output")) for block in
            _BLOCK.finditer(text)]  # fmt: skip


def lasting_words(line: str) -> list[re.Pattern[str]]:
    """Return patterns of the words of a line that are the same in every run; `...` in a word matches anything."""
    words = [word for word in line.split() if word != _OMITTED and not re.search(r"\d", word)]
    return [re.compile(".*".join(map(re.escape, word.split(_OMITTED)))) for word in words]


def has(line: str, words: list[re.Pattern[str]]) -> bool:
    printed: Iterator[str] = iter(line.split())
    return all(any(word.fullmatch(each) for each in printed) for word in words)


def missing_lines(expected: str, printed: str) -> list[str]:
    """Return the lines of `expected` that are not in `printed`."""
    return [
        line
        for line in expected.splitlines()
        if not any(has(each, lasting_words(line)) for each in [*printed.splitlines(), ""])
    ]


def test_every_command_of_the_page_is_a_stop() -> None:
    assert len(stops()) == (PROJECT / "docs/tour.md").read_text().count("```sh\n") > 0


@pytest.mark.parametrize("stop", stops(), ids=lambda stop: f"line {stop.line}")
def test_the_command_prints_what_the_page_says(stop) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", stop.script], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert missing_lines(stop.output, done.stdout) == [], done.stdout
