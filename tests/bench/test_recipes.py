"""bench recipes: every recipe learns from the same marked groups, and rows hold ratios to grpo."""

import pytest

from g2rpo_env.agents.recipes import RECIPES, guides
from g2rpo_env.bench import recipes
from g2rpo_env.bench.benchmarks import BENCHMARKS

SMALL = {"hidden_size": 16, "layers": 1}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "MODEL", SMALL)
    monkeypatch.setattr(recipes, "TASK", {"digits": 1, "running": True, "max_new_tokens": 16})


@pytest.mark.parametrize("name", ["dapo", "gpg", "mcts-dpo", "gac-critic", *guides.RECIPES])
def test_an_agent_learns_from_all_groups(name: str) -> None:
    agent = recipes.make_agent(name)
    assert agent.update()["loss"] is not None and len(agent.groups) >= recipes.PROBLEMS


def test_even_members_are_right_but_in_the_first_group() -> None:
    groups = recipes.mark(recipes.make_agent("grpo").parts.strategy(None, None))
    assert [[episode.correct for episode in group.episodes] for group in groups[:2]] == [[False] * 8, [True, False] * 4]
    assert groups[1].reward_G.tolist() == [1.0, 0.0] * 4


def test_rows_hold_seconds_of_grpo_and_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "RECIPES", {name: RECIPES[name] for name in ("grpo", "rloo")})
    seconds, *ratios = (row for row in BENCHMARKS["recipes"](1) if row.unit in ("s", "ratio"))
    assert seconds.name == "update of grpo, 64 episodes, 1 thread" and seconds.value > 0
    assert [row.name for row in ratios] == ["grpo / grpo", "rloo / grpo"] and ratios[0].value == 1.0
