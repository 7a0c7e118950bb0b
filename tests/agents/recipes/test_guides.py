"""Guided recipes: what they are equal to in limits, and which wrappers they refuse."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from g2rpo_env import Backtracking, CosineBinomial, Levels, StartStates
from g2rpo_env.agents import recipes
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipes import guides
from g2rpo_env.agents.recipes.guides import POPE_PLACE, WHOLE
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError


def test_the_plain_form_of_a_controller_holds_its_start_and_not_its_progress(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a")
    before = json.dumps(agent.recipe.to_config())
    agent.learn(2)
    assert json.dumps(agent.recipe.to_config()) == before
    assert agent.recipe.to_config()["controller"]["options"]["length"] == 6


@pytest.mark.parametrize("name", [*guides.RECIPES, "sft"])
def test_a_recipe_that_needs_guidance_says_so_without_it(make_agent: Any, name: str) -> None:
    assert recipes.get(name).needs_guidance
    with pytest.raises(MissingGuidanceError, match="VectorGuidanceWrapper"):
        make_agent(name, guidance=None)


def run(agent: Any, updates: int) -> list[dict[str, Any]]:
    """Metrics of some updates, without the length that a wrapper alone has."""
    return [{k: v for k, v in agent.update().items() if k != "reveal_length"} for _ in range(updates)]


IN_PROMPT = {**WHOLE, "place": "prompt"}


@pytest.mark.parametrize(
    ("name", "parts", "updates", "other", "other_parts"),
    [
        # nothing fails: the groups of seed 0 have a right answer each, see below
        ("guide", {}, 3, "grpo", {"selection": DropUniform(), "token_weight": TokenMean()}),
        ("ghpo", {}, 3, "grpo", {}),
        ("scaf-grpo", {}, 3, "grpo", {}),
        # nothing is revealed to problems that were never seen
        ("bread", {}, 1, "grpo", {}),
        ("pope", {}, 1, "grpo", {}),
        # a share below half a token, one stage without a reveal, a schedule that is over
        ("adaback", {"controller": Backtracking(high=1e-6)}, 3, "grpo", {}),
        ("r3", {"controller": StartStates(length=1.0, stages=1, high=0.0)}, 3, "grpo", {}),
        ("uft", {"controller": CosineBinomial(length=1.0, low=0.0, high=0.0)}, 3, "grpo", {}),
    ],
)
def test_without_its_help_a_recipe_is_grpo_bit_for_bit(
    make_agent: Any,
    weights_of: Any,
    same_weights: Any,
    name: str,
    parts: Any,
    updates: int,
    other: str,
    other_parts: Any,
) -> None:
    one, two = make_agent(name, **parts), make_agent(other, None, **other_parts)
    lines = run(one, updates), run(two, updates)
    assert {e.reveal for e in one.groups.episodes} == {0} and lines[0][-1]["revealed_tokens"] == 0
    assert lines[0] == lines[1] and lines[0][-1]["loss"] is not None
    assert same_weights(weights_of(one.policy), weights_of(two.policy))


def test_hint_grpo_with_one_level_is_guided_grpo_bit_for_bit(
    make_agent: Any, weights_of: Any, same_weights: Any
) -> None:
    # all members are shown as much, so that the least reveal that scores is what all were shown
    wrapper = {**IN_PROMPT, "ratio": 1.0, "who": Levels((0.5,))}
    one, two = make_agent("hint-grpo", wrapper), make_agent("guided-grpo", wrapper)
    assert run(one, 3) == run(two, 3) and one.groups.revealed_tokens > 0
    assert same_weights(weights_of(one.policy), weights_of(two.policy))


def test_uft_trains_what_it_reveals_in_one_mean_with_what_was_sampled(make_agent: Any) -> None:
    agent = make_agent("uft", digits=3)
    agent.update()
    assert agent.groups.revealed_tokens > 0 and len({e.reveal for e in agent.groups[0].episodes}) == 1
    for example in agent.last_update.examples():
        counted_T = np.isin(example.episode.role_T, (Role.SAMPLED, Role.REVEALED))
        assert example.weight_T == pytest.approx(counted_T / counted_T.sum())


@pytest.mark.parametrize(
    ("name", "wrapper", "words"),
    [
        ("guide", WHOLE, "train_plain=True needs guidance in the prompt"),
        ("ghpo", WHOLE, "place='answer' of the guidance wrapper must be 'prompt'"),
        ("scaf-grpo", WHOLE, "place='answer' of the guidance wrapper must be 'prompt' or 'hint'"),
        ("bread", {"length": 6}, "unit='tokens' of the guidance wrapper must be 'fraction'"),
        ("bread", IN_PROMPT, "place='prompt' of the guidance wrapper must be 'answer'"),
        ("seele", {"length": 6}, "unit='tokens'"),
        ("adaback", {**WHOLE, "ratio": 0.5}, "ratio=0.5 of the guidance wrapper must be 1"),
        ("r3", {"length": 6, "ratio": 1.0}, "unit='tokens' .* must be 'fraction' or 'steps'"),
        ("r3", {**WHOLE, "length": 0, "ratio": 1.0}, "length=0.0 .* must be above 0"),
        ("uft", {**IN_PROMPT, "ratio": 1.0}, "place='prompt' .* must be 'answer'"),
        ("prefix-rft", {**WHOLE, "ratio": 1.0}, r"ratio=1.0 .* must lie in \(0, 1\)"),
        ("luffy", {**IN_PROMPT, "ratio": 0.25}, "place='prompt' .* must be 'answer'"),
        ("luffy", {**WHOLE, "ratio": 1.0}, r"ratio=1.0 .* must lie in \(0, 1\)"),
        ("hint-grpo", {**IN_PROMPT, "ratio": 1.0}, "who=FirstMembers .* must be Levels"),
        ("hint-grpo", {**WHOLE, "ratio": 1.0, "who": Levels()}, "place='answer' .* must be 'prompt'"),
        ("pope", {**WHOLE, "ratio": 0.5}, "place='answer' .* must be 'prompt'"),
        ("pope", {**WHOLE, "ratio": 1.0, "place": POPE_PLACE}, r"ratio=1.0 .* must lie in \(0, 1\)"),
    ],
)
def test_a_wrapper_that_a_method_is_not_defined_for_is_refused(
    make_agent: Any, name: str, wrapper: Any, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make_agent(name, wrapper)


@pytest.mark.parametrize("name", ["guide", "ghpo", "scaf-grpo"])
def test_the_first_try_is_unguided_whatever_the_wrapper_shows(make_agent: Any, name: str) -> None:
    agent = make_agent(name, {**IN_PROMPT, "ratio": 1.0})
    assert agent.update()["reveal_length"] == 0 == agent.guidance.length
    assert {e.reveal for e in agent.groups.episodes if e.stage == 0} == {0}


@pytest.mark.parametrize("name", ["bread", "seele", "adaback", "r3", "g2rpo-a-masked", "pope"])
def test_nothing_that_was_revealed_is_trained(make_agent: Any, name: str) -> None:
    agent = make_agent(name)
    agent.learn(3)
    for example in agent.last_update.examples():
        assert not example.weight_T[example.episode.role_T != Role.SAMPLED].any()


def test_members_of_a_group_share_the_reveal_of_adaback_and_r3(make_agent: Any) -> None:
    for name in ("adaback", "r3"):
        agent = make_agent(name, digits=3)
        agent.update()
        assert all(len({e.reveal for e in group.episodes}) == 1 for group in agent.groups)
        assert len({group.episodes[0].reveal for group in agent.groups}) > 1


def test_pope_compares_guided_with_guided_and_tells_them_to_build_on_the_prefix(make_agent: Any) -> None:
    class Never:
        def __call__(self, problems: Any, completions: Any) -> list[Any]:
            from g2rpo_env.verdict import Outcome, Verdict

            return [Verdict(Outcome.WRONG)] * len(problems)

    agent = make_agent("pope", digits=1, verifier=Never())
    envs = agent.envs.unwrapped
    agent.update()
    failed = [group.problem_id for group in agent.groups]
    lengths = agent.controller.plan(failed, [0] * len(failed))
    assert lengths.tolist() == [0.5] * len(failed)  # the middle of (0, 1) once a problem has failed
    _, info = agent.envs.reset(options={"problem": np.repeat(failed, 4).tolist()})
    assert (info["reveal_length"].reshape(-1, 4) > 0).tolist() == [[True, True, False, False]] * len(failed)
    text = envs.tokenizer.decode(envs.episode_tokens(0)[0])
    assert text.startswith("Partial solution: ") and "Build on it" in text
    assert isinstance(agent.recipe.selection, SplitGuided)


def test_luffy_has_one_trace_in_a_group_with_the_whole_solution(make_agent: Any) -> None:
    agent = make_agent("luffy")
    agent.update()
    for group in agent.groups:
        assert [e.guided for e in group.episodes] == [True, False, False, False]
        trace = group.episodes[0]
        assert trace.reveal == agent.envs.unwrapped.task.lookup(group.problem_id).revealable
    weights = [example.weight_T for example in agent.last_update.examples()]
    assert {float(w) for weight_T in weights for w in weight_T} == {0.0, np.float32(0.1)}  # a tenth: the budget is 10


def test_prefix_rft_trains_the_fifth_of_the_prefix_with_the_highest_entropy(make_agent: Any) -> None:
    agent = make_agent("prefix-rft", digits=3)
    agent.update()
    for example in agent.last_update.examples():
        revealed_T = example.episode.role_T == Role.REVEALED
        counted = int((example.weight_T[revealed_T] > 0).sum())
        assert counted == int(np.ceil(0.2 * revealed_T.sum() - 1e-9)) and example.episode.guided is bool(counted)
