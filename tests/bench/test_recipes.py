"""bench recipes: both sides learn from the same groups, chance is a function of the text, rows hold ratios to grpo."""

import math

import pytest

from g2rpo_env.agents.recipes import RECIPES, guides
from g2rpo_env.bench import recipes
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.verdict import Outcome

SMALL = {"hidden_size": 16, "layers": 1}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "MODEL", SMALL)
    monkeypatch.setattr(recipes, "TASK", {"digits": 1, "running": True, "max_new_tokens": 16})


@pytest.mark.parametrize("name", ["dapo", "gpg", "mcts-dpo", "gac-critic", *guides.RECIPES])
def test_both_sides_learn_from_what_the_strategy_of_one_has_sampled(name: str) -> None:
    one, plain = recipes.make_pair(name)
    assert one.update()["loss"] is not None and plain.update()["loss"] is not None
    assert one.groups == plain.groups and len(one.groups) >= 1
    assert plain.parts.loss == RECIPES["grpo"]().loss


def test_half_of_all_answers_are_right_and_the_same_ones_each_time() -> None:
    texts = [f"{n}" for n in range(200)]
    first, second = (recipes.Chance()([], texts) for _ in range(2))
    assert first == second and 80 < sum(v.outcome is Outcome.CORRECT for v in first) < 120


def test_the_peak_is_what_was_taken_at_once() -> None:
    assert 40 < recipes.measure_peak(lambda: bytearray(50 << 20).count(1)) < 60


def test_rows_hold_seconds_of_grpo_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "RECIPES", {name: RECIPES[name] for name in ("grpo", "rloo")})
    rows = {row.name: row.value for row in BENCHMARKS["recipes"](1)}
    assert rows["update of grpo, 64 episodes"] > 0
    for what in ("time", "memory"):
        for name in ("grpo", "rloo"):
            assert rows[f"{what} of {name} / grpo"] > 0 or math.isnan(rows[f"{what} of {name} / grpo"])
