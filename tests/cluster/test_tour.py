"""The guided tour, docs/tour.md: every command of it runs, and prints what the page says.

A block ```sh is run as one script, and the block ```output after it is what that prints, shortened: of each line there
the words without digits stand in one line of the real output, in that order; `...` is what was left out.
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
_LEFT_OUT = "..."


@dataclass(frozen=True)
class Stop:
    """A stop of the tour: a script, and what it prints by the page."""

    line: int
    script: str
    output: str


def stops() -> list[Stop]:
    text = (PROJECT / "docs/tour.md").read_text()
    return [Stop(text.count("\n", 0, block.start()) + 1, *block.group("script", "output")) for block in
            _BLOCK.finditer(text)]  # fmt: skip


def lasting_words(line: str) -> list[re.Pattern[str]]:
    """The words of a line that are the same each time; `...` within one is anything."""
    words = [word for word in line.split() if word != _LEFT_OUT and not re.search(r"\d", word)]
    return [re.compile(".*".join(map(re.escape, word.split(_LEFT_OUT)))) for word in words]


def has(line: str, words: list[re.Pattern[str]]) -> bool:
    said: Iterator[str] = iter(line.split())
    return all(any(word.fullmatch(each) for each in said) for word in words)


def not_said(expected: str, printed: str) -> list[str]:
    """The lines of `expected` that are not in `printed`."""
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
    assert not_said(stop.output, done.stdout) == [], done.stdout
