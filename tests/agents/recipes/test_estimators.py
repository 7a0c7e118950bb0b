"""Estimators: what each recipe is made of, where it is another one, and the gradients that it must have."""

from __future__ import annotations

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.parts.advantages.groups import GroupNormalized
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate
from g2rpo_env.agents.parts.selection.downsample import DownSample
from g2rpo_env.agents.parts.shaping.rewards import SoftOverlong
from g2rpo_env.agents.parts.strategies.resampled import Resampled, is_mixed
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.parts.token_weights.means import SequenceSum, TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.recipes.estimators import RECIPES
from g2rpo_env.agents.stages import count_weights

SIZE = 4
"""Members of a group."""
ENDS = (1, *range(200, 250))
"""A fifth of the vocabulary ends an answer, so that lengths differ."""

Gradients = dict[str, torch.Tensor]


@pytest.fixture
def make_plain(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, seed, lanes, size, task, ...) -> an agent without guidance, right half of the time."""

    def make(name: str, seed: int = 0, lanes: int = 16, size: int = SIZE, task: Any = None, **parts: Any) -> GRPO:
        envs = make_envs(lanes, size, **(task or {"end_tokens": ENDS}))
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2))
        return recipes.make(name, make_policy(envs), envs, seed=seed, **parts)

    return make


SHORT = {"max_new_tokens": 2}
"""A task whose answers have two tokens each, but for those that begin with the one end token."""


def find_gradients(agent: GRPO) -> Gradients:
    """The gradients of one update, which is not taken."""
    found: Gradients = {}

    def catch(loss: float) -> float:
        found.update({n: p.grad.clone() for n, p in agent.policy.model.named_parameters() if p.grad is not None})
        agent.learner.optimizer.zero_grad(set_to_none=True)
        return 0.0

    agent.learner._apply = catch  # type: ignore[method-assign]
    agent.update()
    return found


def differ(one: Gradients, other: Gradients, factor: float = 1.0) -> float:
    """The largest difference of one from factor times the other, relative to the largest entry."""
    largest = max(float(g.abs().max()) for g in one.values())
    assert largest > 0 and one.keys() == other.keys()
    return max(float((one[n] - factor * other[n]).abs().max()) for n in one) / largest


def same(one: Gradients, other: Gradients) -> bool:
    """Whether gradients are equal bit for bit."""
    return bool(one) and one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# -- all of them -------------------------------------------------------------------------------------------------------

CHANGES = {
    "dr-grpo": {"advantage", "token_weight"},
    "rloo": {"advantage", "token_weight", "loss"},
    "opo": {"advantage", "token_weight", "loss"},
    "max-rl": {"advantage", "token_weight"},
    "reinforce++": {"advantage", "token_weight"},
    "reinforce++-baseline": {"advantage", "token_weight"},
    "gpg": {"strategy", "advantage", "token_weight", "loss"},
    "raft++": {"selection", "advantage", "token_weight"},
    "reinforce-rej": {"shaping", "selection", "advantage", "token_weight"},
    "pods": {"selection"},
    "dapo": {"strategy", "shaping", "token_weight", "loss"},
}


def test_recipes_differ_from_grpo_in_nothing_but_what_makes_them() -> None:
    slots = [f.name for f in dataclasses.fields(Recipe)]
    found = {name: {s for s in slots if getattr(make(), s) != getattr(Recipe(), s)} for name, make in RECIPES.items()}
    assert found == CHANGES


@pytest.mark.parametrize("name", RECIPES)
def test_docstrings_say_what_where_from_how_sure_and_how_different(name: str) -> None:
    text = RECIPES[name].__doc__ or ""
    sections = re.findall(r"^    (Formula|Source|Confidence|Needs|Deviations):", text, re.MULTILINE)
    assert sections == ["Formula", "Source", "Confidence", "Needs", "Deviations"]
    assert re.search(r"\n\n    Deviations:( none\.\n|\n\n    1\. )", text)
    assert re.match(r"[^\n:]+: [^\n]+\.\n\n", text)


@pytest.mark.parametrize("name", ["dr-grpo", "max-rl", "reinforce++", "reinforce++-baseline", "raft++", "dapo"])
def test_with_several_steps_the_ratio_is_clipped(make_plain: Any, name: str) -> None:
    agent = make_plain(name, optimizer=Optimizer(learning_rate=0.1, epochs=4))
    assert agent.update()["clip_fraction"] > 0


# -- where a recipe is another one -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_rloo_is_reinforce_times_its_correction_and_the_mean_length(make_plain: Any, seed: int) -> None:
    rloo, reinforce = make_plain("rloo", seed), make_plain("reinforce", seed)
    found, expected = find_gradients(rloo), find_gradients(reinforce)
    lengths = [e.sampled_T.sum() for e in rloo.groups.episodes]
    assert len(set(lengths)) > 1
    assert differ(found, expected, SIZE / (SIZE - 1) * float(np.mean(lengths))) < 1e-5


def test_opo_is_reinforce_where_answers_are_equally_long(make_plain: Any) -> None:
    agent = make_plain("opo", task=SHORT)
    assert same(find_gradients(agent), find_gradients(make_plain("reinforce", task=SHORT)))
    assert {int(e.sampled_T.sum()) for e in agent.groups.episodes} == {2}
    assert differ(find_gradients(make_plain("opo")), find_gradients(make_plain("reinforce"))) > 1e-3


def test_the_whitened_baseline_is_reinforce_over_one_deviation_where_answers_are_equally_long(make_plain: Any) -> None:
    agent = make_plain("reinforce++-baseline", task=SHORT)
    found = find_gradients(agent)
    centred = np.concatenate([r - r.mean() for r in agent.last_update.rewards])
    tokens = np.repeat(centred, 2)
    factor = float(1 / np.sqrt(tokens.var(ddof=1) + 1e-8))
    assert differ(found, find_gradients(make_plain("reinforce", task=SHORT)), factor) < 1e-5


def test_reinforce_plus_plus_learns_from_groups_that_are_all_right(make_plain: Any) -> None:
    agent = make_plain("reinforce++", size=2)
    agent.update()
    pairs = list(zip(agent.last_update.rewards, agent.last_update.advantages, strict=True))
    uniform = [(r[0], a) for r, a in pairs if np.ptp(r) == 0]
    assert uniform and all((a > 0).all() if r else (a < 0).all() for r, a in uniform)


def test_gpg_is_reinforce_times_alpha_and_reinforce_itself_where_all_groups_are_mixed(make_plain: Any) -> None:
    alphas = set()
    for seed in range(6):
        agent = make_plain("gpg", seed)
        found = find_gradients(agent)
        if agent.last_update.metrics["draws"] > 1:
            continue  # other groups than reinforce sees
        expected, mixed = find_gradients(make_plain("reinforce", seed)), sum(map(is_mixed, agent.groups))
        if mixed == len(agent.groups):
            assert same(found, expected)
        else:
            assert differ(found, expected, len(agent.groups) / mixed) < 1e-6
        alphas.add(len(agent.groups) / mixed)
    assert len(alphas) > 1 and 1 in alphas


def test_gpg_draws_again_until_enough_groups_are_mixed(make_plain: Any) -> None:
    agent = make_plain("gpg", lanes=8, size=2, strategy=Resampled(share=1.0))
    rows = [agent.update() for _ in range(4)]
    assert max(row["draws"] for row in rows) > 1
    assert all(row["groups_with_signal"] == 1 for row in rows) and len(agent.last_update.selected) == 4


def test_raft_plus_plus_is_raft_with_one_step_and_clipped_with_several(make_plain: Any) -> None:
    assert differ(find_gradients(make_plain("raft++")), find_gradients(make_plain("raft"))) < 1e-5
    several = Optimizer(learning_rate=0.1, epochs=4)
    weights = []
    for name in ("raft", "raft++"):
        agent = make_plain(name, optimizer=several)
        agent.update()
        weights.append(next(agent.policy.model.parameters()).detach().clone())
    assert not torch.equal(*weights)


def test_pods_with_all_members_is_grpo(make_plain: Any) -> None:
    assert same(find_gradients(make_plain("pods", selection=DownSample(1.0))), find_gradients(make_plain("grpo")))


def test_pods_normalises_over_the_members_that_are_kept(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(16, 8)
    agent = recipes.make("pods", make_policy(envs), envs)
    agent.update()
    assert len(agent.groups.episodes) == 16 and len(agent.last_update.selected.episodes) == 4
    for reward_G, advantage_G in zip(agent.last_update.rewards, agent.last_update.advantages, strict=True):
        # one right, one wrong: mean 1/2, deviation sqrt(1/2)
        assert sorted(reward_G) == [0, 1]
        assert sorted(advantage_G) == pytest.approx([-0.5 / (0.5**0.5 + 1e-4), 0.5 / (0.5**0.5 + 1e-4)])


def test_reinforce_rej_takes_signs_of_mixed_groups_alone(make_plain: Any) -> None:
    agent = make_plain("reinforce-rej", size=2)
    agent.update()
    selected = agent.last_update.selected
    assert 0 < len(selected) < len(agent.groups) and all(is_mixed(group) for group in selected)
    for group, advantage_G in zip(selected, agent.last_update.advantages, strict=True):
        assert advantage_G.tolist() == [1.0 if e.correct else -1.0 for e in group.episodes]


# -- dr-grpo and rloo by hand ------------------------------------------------------------------------------------------


def find_loss(
    recipe: Recipe, episodes: list[Any], advantages: list[float], log_prob: float = 0.0, **given: Any
) -> float:
    """The loss of a gradient step whose tokens all have one log-probability, with ratio 1."""
    weight: Any = recipe.token_weight
    weights = [weight(e, **given) for e in episodes]
    counts = count_weights(weight, episodes, weights)
    batch = make_batch(episodes, np.array(advantages), weights, torch.device("cpu"), counts=counts)
    log_probs_NT = torch.full_like(batch.weight_NT, log_prob)
    batch = dataclasses.replace(batch, old_log_probs_NT=log_probs_NT)
    return float(recipe.loss(log_probs_NT, batch).total) / batch.count


def test_dr_grpo_by_hand(make_episode: Any) -> None:
    recipe = recipes.get("dr-grpo")
    assert recipe.advantage(np.array([1.0, 0, 0, 1])).tolist() == [0.5, -0.5, -0.5, 0.5]  # type: ignore[call-arg]
    # lengths 2 and 4, budget 10, A = (1, -1): (-2 + 4) / (2 * 10)
    episodes = [make_episode("pss"), make_episode("pssss", member=1)]
    assert find_loss(recipe, episodes, [1, -1], budget=10) == pytest.approx(0.1)


def test_rloo_by_hand(make_episode: Any) -> None:
    recipe = recipes.get("rloo")
    assert recipe.advantage(np.array([1.0, 0.0])).tolist() == [1, -1]  # type: ignore[call-arg]
    # log pi = -1/2 per token, lengths 2 and 4, A = (1, -1): -(-1 + 2) / 2
    episodes = [make_episode("pss"), make_episode("pssss", member=1)]
    assert find_loss(recipe, episodes, [1, -1], log_prob=-0.5) == pytest.approx(-0.5)
    assert recipe.token_weight == SequenceSum()


# -- max-rl ------------------------------------------------------------------------------------------------------------


def expect_gradient(advantage: Any, size: int, success: float) -> float:
    """The exact mean of (1 / G) sum_i A_i d log pi(y_i) / dp over all outcomes of a group, y_i right with chance p."""
    total = 0.0
    for outcome in itertools.product((0.0, 1.0), repeat=size):
        reward_G = np.array(outcome)
        chance = np.prod(np.where(reward_G > 0, success, 1 - success))
        score_G = np.where(reward_G > 0, 1 / success, -1 / (1 - success))
        total += chance * float(np.mean(advantage(reward_G) * score_G))
    return total


@pytest.mark.parametrize("size,expected", [(2, 1.0), (3, 1.7), (4, 2.19)])
def test_the_expected_gradient_of_max_rl_at_three_tenths(size: int, expected: float) -> None:
    # 1 + 0.7 + 0.49: the sum of (1 - p)^(k - 1), which is d/dp of pass@k / k = (1 - (1 - p)^k) / k, up to k = G - 1
    assert expect_gradient(recipes.get("max-rl").advantage, size, 0.3) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", range(2, 8))
@pytest.mark.parametrize("success", [0.05, 0.5, 0.9])
def test_the_expected_gradient_of_max_rl_is_that_of_a_sum_of_pass_at_k(size: int, success: float) -> None:
    def objective(p: float) -> float:
        return sum((1 - (1 - p) ** k) / k for k in range(1, size))

    slope = (objective(success + 1e-6) - objective(success - 1e-6)) / 2e-6
    assert expect_gradient(recipes.get("max-rl").advantage, size, success) == pytest.approx(slope, rel=1e-7)


def test_the_expected_gradient_of_rloo_is_that_of_the_success_itself() -> None:
    # the same enumeration, where the answer is known: d p / dp = 1, whatever p and G
    found = [expect_gradient(recipes.get("rloo").advantage, size, p) for size in (2, 3, 5) for p in (0.1, 0.7)]
    assert found == pytest.approx([1.0] * 6)


# -- dapo --------------------------------------------------------------------------------------------------------------


def test_dapo_is_grpo_over_tokens_with_a_higher_clip_where_nothing_is_drawn_again_and_nothing_too_long(
    make_plain: Any,
) -> None:
    options = Optimizer(learning_rate=1e-2, epochs=2)
    bare = {"strategy": Resampled(share=0.0, fill=False), "shaping": SoftOverlong(penalty=0.0)}
    one = make_plain("dapo", optimizer=options, **bare)
    loss = ClippedSurrogate(0.2, 0.28)
    other = make_plain("grpo", optimizer=options, token_weight=TokenMean(), loss=loss)
    assert [one.update() for _ in range(2)] == [other.update() for _ in range(2)]
    names = one.policy.model.state_dict()
    assert all(torch.equal(value, other.policy.model.state_dict()[name]) for name, value in names.items())


def test_dapo_filters_by_verdicts_and_then_takes_reward_from_long_answers(make_plain: Any) -> None:
    agent = make_plain("dapo", lanes=8, size=2)
    punished = differing = redrawn = 0
    for _ in range(4):
        metrics = agent.update()
        redrawn += metrics["draws"] > 1
        update = agent.last_update
        assert len(update.selected) == 4 and all(is_mixed(group) for group in update.selected)
        # groups that are all right or all wrong stay out, although the punishment makes some of them differ
        left_out = itertools.groupby(agent.groups.left_out, key=lambda e: e.group)
        for _, episodes in left_out:
            rewards = [e.reward + punish(e) for e in episodes]
            differing += len(set(rewards)) > 1
        for group, reward_G, advantage_G in zip(update.selected, update.rewards, update.advantages, strict=True):
            expected = [e.reward + punish(e) for e in group.episodes]
            assert reward_G == pytest.approx(expected)
            assert advantage_G == pytest.approx(GroupNormalized()(np.array(expected)))
            punished += sum(punish(e) < 0 for e in group.episodes)
        assert all(set(weight_T.tolist()) <= {0, 1} for weight_T in update.weights)
    assert redrawn and punished and differing


def punish(episode: Any) -> float:
    """DAPO's punishment at a budget of ten: the last two tokens cost a half each."""
    return -max(0, int(episode.sampled_T.sum()) - 8) / 2


def test_dapo_without_a_mixed_group_takes_no_step(make_envs: Any, make_policy: Any, addition_verifier: Any) -> None:
    envs = make_envs(8, SIZE, verifier=addition_verifier)
    agent = recipes.make("dapo", make_policy(envs), envs)
    metrics = agent.update()
    assert metrics["draws"] == 8 and metrics["loss"] is None and len(agent.groups) == 0
    assert metrics["episodes"] == 64 and metrics["reward"] == 0 and not agent.learner.optimizer.state


def test_recipes_that_draw_again_do_so_around_a_rollout() -> None:
    assert recipes.get("dapo").strategy == Resampled(Rollout(), share=1.0, most=8, fill=False)
    assert recipes.get("gpg").strategy == Resampled(Rollout(), share=0.6, most=8, fill=True)
