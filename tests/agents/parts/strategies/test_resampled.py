"""Resampled: which draws are made, what is kept of them in which order, and that nothing sampled is forgotten."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.parts.advantages.groups import LeaveOneOut
from g2rpo_env.agents.parts.strategies.guided import GuidedRollout
from g2rpo_env.agents.parts.strategies.refine import Refine
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.resampled import Resampled, is_mixed
from g2rpo_env.agents.parts.strategies.rollout import RevealOnly, Rollout
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.controllers.base import Feedback
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import ConfigurationError

FAST = Optimizer(learning_rate=1e-2)


@dataclass
class Scripted:
    """A strategy that gives one list of groups after the other; asked once more, it fails."""

    draws: Sequence[Groups]
    calls: int = field(default=0, init=False)

    def __call__(self, policy: Any, envs: Any) -> Groups:
        self.calls += 1
        return self.draws[self.calls - 1]


@pytest.fixture(scope="session")
def make_draws(make_episode: Any) -> Any:
    """Words of m (mixed), w (all wrong), r (all right), v (right and invalid) -> draws; groups are numbered through."""
    answers = {"m": (True, False), "w": (False, False), "r": (True, True), "v": (True, False)}

    def make(*words: str) -> list[Groups]:
        draws, number = [], 0
        for word in words:
            groups = Groups()
            for letter in word:
                groups.append(
                    Group(
                        tuple(
                            make_episode(
                                "p" + "s" * (i + 1), correct=c, group=number, member=i, valid=c or letter != "v"
                            )
                            for i, c in enumerate(answers[letter])
                        )
                    )
                )
                number += 1
            draws.append(groups)
        return draws

    return make


def sample(draws: list[Groups], **options: Any) -> tuple[Groups, Scripted]:
    """What is kept of scripted draws, and the strategy that gave them."""
    inner = Scripted(draws)
    return Resampled(inner, **options)(None, None), inner  # type: ignore[arg-type]


def numbers(groups: Groups) -> list[int]:
    return [group.group for group in groups]


# -- scripted draws ----------------------------------------------------------------------------------------------------


def test_a_group_is_mixed_by_the_verdicts_of_its_valid_members(make_draws: Any) -> None:
    (groups,) = make_draws("mwrv")
    assert [is_mixed(group) for group in groups] == [True, False, False, False]


@pytest.mark.parametrize(
    "words,options,kept,draws,mixed",
    [
        # as many mixed ones as the first draw has groups, in the order of the draws; the surplus leaves
        (("mwr", "wmr", "mmm"), {}, [0, 4, 6], 3, 5 / 9),
        (("mwr", "wmr", "mmm"), {"fill": False}, [0, 4, 6], 3, 5 / 9),
        # the first draw is enough: as it is
        (("mmm",), {}, [0, 1, 2], 1, 1),
        # 2 of 4 are a half: enough, and the others fill up, in their places
        (("wmrm",), {"share": 0.5}, [0, 1, 2, 3], 1, 0.5),
        (("wmrm",), {"share": 0.5, "fill": False}, [1, 3], 1, 0.5),
        # 0.6 * 4 = 2.4: three are due; the last one that is not mixed fills up
        (("wmrm", "mwwr"), {"share": 0.6}, [1, 3, 4, 7], 2, 3 / 8),
        # never enough: what there is after the last draw
        (("wr", "mw", "rr"), {"most": 2}, [2, 3], 2, 1 / 4),
        (("wr", "mw", "rr"), {"most": 2, "fill": False}, [2], 2, 1 / 4),
        (("ww", "rr"), {"most": 2, "fill": False}, [], 2, 0),
        (("ww", "rr"), {"most": 2}, [2, 3], 2, 0),
        # 0.3 * 10 is a little above 3 as a number, and three are enough
        (("mmm" + "w" * 7,), {"share": 0.1 + 0.2}, list(range(10)), 1, 0.3),
        # nothing was drawn: nothing is due
        (("",), {}, [], 1, 0),
    ],
)
def test_what_is_kept_by_hand(
    make_draws: Any, words: tuple[str, ...], options: dict[str, Any], kept: list[int], draws: int, mixed: float
) -> None:
    groups, inner = sample(make_draws(*words), **options)
    assert numbers(groups) == kept and inner.calls == draws
    assert groups.metrics == {"draws": draws, "mixed_share": pytest.approx(mixed)}


def test_what_is_not_kept_is_left_out_and_counted(make_draws: Any, make_episode: Any) -> None:
    draws = make_draws("mw", "rm")
    draft = make_episode("psssss", group=9)
    draws[1].left_out = [draft]
    groups, _ = sample(draws, share=1.0)
    assert numbers(groups) == [0, 3]
    assert groups.left_out == [draft, *draws[0][1].episodes, *draws[1][0].episodes]
    # two members of 1 and 2 tokens in each of four groups, and the draft
    assert groups.sampled_tokens == 4 * 3 + 5 and groups.left_out_tokens == 2 * 3 + 5


@given(
    st.lists(st.text("mwrv", min_size=3, max_size=3), min_size=4, max_size=4),
    st.floats(0.01, 1),
    st.booleans(),
    st.integers(1, 4),
)
def test_every_episode_is_kept_or_left_out_once(
    make_draws: Any, words: list[str], share: float, fill: bool, most: int
) -> None:
    draws = make_draws(*words)
    groups, inner = sample(draws, share=share, fill=fill, most=most)
    drawn = [e for draw in draws[: inner.calls] for e in draw.episodes]
    assert sorted(map(id, groups.sampled_episodes)) == sorted(map(id, drawn))
    assert len(groups) == 3 if fill else all(is_mixed(group) for group in groups)
    assert numbers(groups) == sorted(numbers(groups)) and len(groups) <= 3
    enough = sum(word.count("m") for word in words[: inner.calls]) >= share * 3 - 1e-9
    assert enough or inner.calls == most


def test_metrics_of_the_inner_strategy_are_averaged_over_the_draws_that_have_them(make_draws: Any) -> None:
    draws = make_draws("w", "w", "m")
    draws[0].metrics, draws[2].metrics = {"reward_drafts": 0.5}, {"reward_drafts": 1.0}
    groups, _ = sample(draws)
    assert groups.metrics == {"reward_drafts": 0.75, "draws": 3, "mixed_share": pytest.approx(1 / 3)}


def test_reused_groups_stay_so(make_draws: Any) -> None:
    draws = make_draws("mm")
    draws[0].reused = True
    groups, _ = sample(draws)
    assert groups.reused and groups.sampled_tokens == 0


def test_without_a_share_it_is_what_the_inner_strategy_gave(make_draws: Any) -> None:
    draws = make_draws("wm")
    groups, inner = sample(draws, share=0.0, fill=False)
    assert groups is draws[0] and inner.calls == 1


# -- what it hands on, and what it refuses -----------------------------------------------------------------------------


def test_it_hands_on_what_the_inner_strategy_asks_for() -> None:
    class Placed(Rollout):
        needs = frozenset({"steps"})

        def context(self, task: Any, problem_id: str) -> np.ndarray:
            return np.zeros(3, np.int32)

    assert Resampled(RevealOnly()).requires == {"guidance"} and Resampled().requires == frozenset()
    assert Resampled(Placed()).needs == {"members", "steps"} and Resampled(Placed(), share=0.0).needs == {"steps"}
    assert Resampled().context is None
    context = Resampled(Placed()).context
    assert context is not None and len(context(None, "1+1")) == 3
    assert Resampled().takes_guidance and not Resampled(Refine()).takes_guidance
    assert Resampled().samples and not Resampled(RevealOnly()).samples


def test_it_refuses_the_guidance_wrapper_that_the_inner_strategy_refuses(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance={"length": 4})
    recipe = recipes.guided(Recipe(strategy=Resampled()))
    assert GRPO(make_policy(envs), envs, recipe=recipe).guidance is not None
    with pytest.raises(ConfigurationError, match="unit='tokens' of the guidance wrapper must be 'fraction'"):
        GRPO(make_policy(envs), envs, recipe=recipe, strategy=Resampled(GuidedRollout(units=("fraction",))))


@pytest.mark.parametrize(
    "options,words",
    [
        ({"share": -0.1}, r"share=-0\.1 must lie in \[0, 1\]"),
        ({"share": 1.1}, r"share=1\.1"),
        ({"most": 0}, "most=0 must be at least 1"),
        ({"inner": Rollout}, r"inner=.* must be an object that is called with \(policy, envs\)"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Resampled(**options)


def test_a_strategy_inside_survives_json() -> None:
    recipe = Recipe(strategy=Resampled(Reroll((0.5,)), share=0.5, most=3, fill=False))
    assert Recipe.from_config(json.loads(json.dumps(recipe.to_config()))) == recipe


# -- with an agent -----------------------------------------------------------------------------------------------------


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(strategy, lanes, ...) -> an agent with groups of two, of which half are mixed."""

    def make(strategy: Any, lanes: int = 8, guidance: Any = None, **parts: Any) -> GRPO:
        envs = make_envs(lanes, 2, guidance=guidance)
        return recipes.make("grpo", make_policy(envs), envs, seed=3, strategy=strategy, optimizer=FAST, **parts)

    return make


@pytest.mark.parametrize("strategy", [Resampled(share=0.0, fill=False), Resampled(share=0.01)])
def test_where_the_first_draw_is_enough_training_is_that_of_the_inner_strategy(
    make_agent: Any, weights_of: Any, same_weights: Any, strategy: Any
) -> None:
    agents = [make_agent(one) for one in (Rollout(), strategy)]
    rows = [[agent.update() for _ in range(4)] for agent in agents]
    assert [{k: row[k] for k in rows[0][0]} for row in rows[1]] == rows[0]
    assert all(row.get("draws", 1) == 1 for row in rows[1])
    assert same_weights(*(weights_of(agent.policy) for agent in agents))


def test_an_update_has_mixed_groups_alone_and_counts_all_that_was_sampled(make_agent: Any) -> None:
    agent = make_agent(Resampled(fill=False), guidance={"length": 3, "ratio": 0.5})
    redrawn = 0
    for _ in range(4):
        metrics = agent.update()
        groups, episodes = agent.groups, agent.groups.sampled_episodes
        assert len(groups) == 4 and all(is_mixed(group) for group in groups)
        assert metrics["episodes"] == len(episodes) == 8 * metrics["draws"]
        assert metrics["sampled_tokens"] == sum(int(e.sampled_T.sum()) for e in episodes)
        success = np.mean([e.correct for e in episodes])
        assert metrics["reward"] == Feedback.from_groups(groups).reward() == pytest.approx(success)
        assert len({(e.group, e.member) for e in episodes}) == len(episodes)  # nothing of the order is drawn twice
        if metrics["draws"] > 1:
            redrawn += 1
            assert metrics["mixed_share"] < 1 and np.mean([e.correct for e in groups.episodes]) == 0.5
    assert redrawn


def test_training_goes_on_after_a_load_as_if_it_had_never_stopped(
    make_agent: Any, make_envs: Any, weights_of: Any, same_weights: Any, tmp_path: Any
) -> None:
    whole = make_agent(Resampled(share=1.0, fill=False), advantage=LeaveOneOut())
    first = [whole.update() for _ in range(2)]
    whole.save(tmp_path)
    rest = [whole.update() for _ in range(2)]
    resumed = GRPO.load(tmp_path, make_envs(8, 2))
    assert [resumed.update() for _ in range(2)] == rest and sum(row["draws"] for row in first) > 2
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))


def test_the_number_of_lanes_changes_neither_groups_nor_draws(make_agent: Any) -> None:
    found = []
    for lanes in (8, 4):
        agent = make_agent(Resampled(Rollout(groups=4), fill=False), lanes=lanes)
        assert agent.update()["draws"] > 1
        found.append([(e.problem_id, e.group, e.member, e.tokens_T.tolist()) for e in agent.groups.sampled_episodes])
    assert found[0] == found[1]


def test_what_a_base_must_know_is_said_by_the_inner_strategy() -> None:
    refine = Refine()
    assert Resampled(refine).warm_context == refine.warm_context and Resampled().warm_context is None
