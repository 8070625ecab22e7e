"""The draws of the random walk on the lab: they follow from its seed, and from no moment."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.chaos.draws import draw

ACTS = ["deploy", "rotate", "kill", "look", "cut"]
SOURCE = Path(__file__).resolve().parents[1] / "chaos/test_walk.py"


def test_a_step_draws_the_same_whatever_earlier_steps_drew() -> None:
    first, second = draw(ACTS, 7, rounds=2), draw(ACTS, 7, rounds=2)
    for _, chance in first[:-1]:
        chance.random()
    assert [act for act, _ in first] == [act for act, _ in second]
    assert first[-1][1].random() == second[-1][1].random()


def test_a_shorter_walk_is_the_beginning_of_the_longer_one() -> None:
    whole, part = draw(ACTS, 7, rounds=2), draw(ACTS, 7, rounds=2, steps=6)
    assert [act for act, _ in part] == [act for act, _ in whole][:6]
    assert [chance.random() for _, chance in part] == [chance.random() for _, chance in whole][:6]


def test_each_round_has_every_act_and_another_seed_another_order() -> None:
    acts = [act for act, _ in draw(ACTS, 7, rounds=2)]
    assert sorted(acts[:5]) == sorted(acts[5:]) == sorted(ACTS)
    assert acts != [act for act, _ in draw(ACTS, 8, rounds=2)]


def test_no_poll_of_the_walk_draws() -> None:
    polls = [each for each in ast.walk(ast.parse(SOURCE.read_text())) if isinstance(each, ast.Lambda)]
    assert polls
    assert [ast.unparse(each) for each in polls if "chance" in ast.unparse(each)] == []


RUNS = {"Deploy", "act", "acted", "deploy", "deployed", "healthy_status", "status"}


def test_every_run_of_a_step_is_with_the_inventory_of_the_walk() -> None:
    functions = [each for each in ast.parse(SOURCE.read_text()).body if isinstance(each, ast.FunctionDef)]
    steps = [each for each in functions if each.args.args and ast.unparse(each.args.args[0]).endswith(": Walk")]
    calls = [each for step in steps for each in ast.walk(step) if isinstance(each, ast.Call)]
    runs = [each for each in calls if ast.unparse(each.func) in RUNS]
    assert len(steps) > 20
    assert [ast.unparse(each) for each in runs if "inventory" not in {word.arg for word in each.keywords}] == []
