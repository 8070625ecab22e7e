"""The order of a random walk, and the chance of each of its steps: they follow from the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

_Act = TypeVar("_Act")


def draw(acts: Sequence[_Act], seed: int, rounds: int, steps: int = 0) -> list[tuple[_Act, Random]]:
    """Return each act with a chance of its own, `rounds` times in different orders; `steps` cuts the list off.

    Every draw of a step is from its own chance: what an earlier step drew, and when, changes nothing.
    """
    order = Random(seed)
    drawn = [act for _ in range(rounds) for act in order.sample(acts, len(acts))]
    numbered = enumerate(drawn[: steps or None], 1)
    return [(act, Random(f"{seed}/{number}")) for number, act in numbered]
