"""GRPO: one step by hand, exact normalisation, determinism, resuming, and what leaves the weights alone."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env import (
    AdaptiveGuidance,
    CosineBinomial,
    CosineDecay,
    FixedGuidance,
    ItemResponse,
    LinearDecay,
    OfficialCadence,
    PerProblem,
    Readmitting,
    Replay,
    SelfTuning,
    ShortestPrefix,
    SmallestHint,
    Stages,
    StepDecay,
    TargetSuccess,
    UniformDraw,
    UniformWindow,
)
from g2rpo_env.agents import GRPO, CausalLMPolicy, paired_difference, recipes
from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.given import Given
from g2rpo_env.agents.grpo import check_recipe
from g2rpo_env.agents.parts.advantages.groups import GroupCentered, GroupNormalized
from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline
from g2rpo_env.agents.parts.losses.corrected import CorrectedSurrogate
from g2rpo_env.agents.parts.losses.surrogate import ClippedSurrogate, LogLikelihood, LossResult
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.selection.filters import DropUniform
from g2rpo_env.agents.parts.shaping.rewards import TruncationPenalty
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.resampled import Resampled
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.parts.token_weights.means import SequenceMean, TokenMean
from g2rpo_env.agents.parts.token_weights.revealed import TopEntropy
from g2rpo_env.agents.policy.sampling import Truncation
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.agents.recipes.guides import WRAPPERS
from g2rpo_env.agents.stages import compute_weights
from g2rpo_env.agents.warm_start import WarmStart, warm_start
from g2rpo_env.episode import Groups, Role
from g2rpo_env.errors import (
    BudgetError,
    ConfigurationError,
    MissingGuidanceError,
    NonFiniteError,
    OutOfMemoryError,
    ResumeError,
)
from g2rpo_env.verdict import Outcome, Verdict

GUIDED = {"length": 6, "ratio": 0.5}
FAST = Optimizer(learning_rate=1e-2)


def always(verdict: Verdict) -> Any:
    """A verifier with one answer."""
    return lambda problems, completions: [verdict] * len(problems)


def gradients(agent: GRPO, batch: Batch) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Metrics of a step and the gradients it would have taken, without taking it."""
    found: dict[str, torch.Tensor] = {}

    def catch(loss: float) -> float:
        found.update({n: p.grad.clone() for n, p in agent.policy.model.named_parameters() if p.grad is not None})
        agent.learner.optimizer.zero_grad(set_to_none=True)
        return 0.0

    agent.learner._apply = catch  # type: ignore[method-assign]
    return agent.learner._step(batch), found


def same_gradients(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float = 1e-6) -> bool:
    """Whether they agree up to rounding, relative to the largest entry."""
    largest = max(float(g.abs().max()) for g in one.values())
    assert one.keys() == other.keys() and largest > 0
    return all(float((one[n] - other[n]).abs().max()) <= tolerance * largest for n in one)


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, guidance, ...) -> an agent on 16 lanes whose random policy is right half of the time."""

    def make(name: str = "grpo", guidance: Any = None, seed: int = 0, verifier: Any = None, **parts: Any) -> GRPO:
        envs = make_envs(16, 4, guidance=guidance, verifier=verifier)
        parts.setdefault("optimizer", FAST)
        return recipes.make(name, make_policy(envs), envs, seed=seed, **parts)

    return make


@pytest.fixture
def three_episodes(make_episode: Any) -> list[Any]:
    """Of 3, 5 and 6 tokens with 1, 2 and 4 sampled ones."""
    return [make_episode("pps", member=0), make_episode("pprss", member=1), make_episode("ppssss", member=2)]


def batch_of(agent: GRPO, episodes: list[Any], advantages: list[float], ratios: list[float]) -> Batch:
    """A batch whose old log-probabilities make the current policy's ratio what is asked for, episode by episode."""
    weights = [agent.recipe.token_weight(e) for e in episodes]
    batch = make_batch(episodes, np.array(advantages), weights, torch.device("cpu"))
    with torch.no_grad():
        now = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT)
    shift = torch.log(torch.tensor(ratios))[:, None]
    return Batch(**{**vars(batch), "old_log_probs_NT": now - shift})


# -- one step by hand --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("microbatch", [None, 1, 2])
def test_the_loss_of_a_step_by_hand_with_one_weight_per_episode(
    make_agent: Any, three_episodes: Any, microbatch: Any
) -> None:
    # A = (1, -2, 1), ratios (0.5, 0.5, 1.5), clip 0.2: terms -0.5, +2 * 0.8 = 1.6, -1.2.
    # Each episode weighs 1: (-0.5 + 1.6 - 1.2) / 3. Episodes 2 and 3 are clipped.
    agent = make_agent(optimizer=Optimizer(microbatch=microbatch))
    metrics = agent.learner._step(batch_of(agent, three_episodes, [1, -2, 1], [0.5, 0.5, 1.5]))
    assert metrics["loss"] == pytest.approx(-0.1 / 3, rel=1e-4)
    assert metrics["clip_fraction"] == pytest.approx(2 / 3, rel=1e-6)


@pytest.mark.parametrize("microbatch", [None, 1, 2])
def test_the_loss_of_a_step_by_hand_with_one_weight_per_token(
    make_agent: Any, three_episodes: Any, microbatch: Any
) -> None:
    # The same terms on 1, 2 and 4 tokens, over the global count of 7: (-0.5 + 2 * 1.6 - 4 * 1.2) / 7.
    # A mean of the means of microbatches would give another number.
    agent = make_agent(optimizer=Optimizer(microbatch=microbatch), token_weight=TokenMean())
    metrics = agent.learner._step(batch_of(agent, three_episodes, [1, -2, 1], [0.5, 0.5, 1.5]))
    assert metrics["loss"] == pytest.approx(-2.1 / 7, rel=1e-4)
    assert metrics["clip_fraction"] == pytest.approx(6 / 7, rel=1e-6)


def test_the_kl_term_is_in_the_loss_by_hand(make_agent: Any, three_episodes: Any) -> None:
    # Ratio 1: surrogate -(1 - 2 + 1) / 3 = 0. Reference log-probabilities log 2 above the policy's on every token:
    # k3 = 2 - log 2 - 1; each episode weighs 1, so that the loss is beta (1 - log 2).
    agent = make_agent(reference=KLToStart(beta=0.5))
    batch = batch_of(agent, three_episodes, [1, -2, 1], [1, 1, 1])
    shifted = batch.old_log_probs_NT + math.log(2)
    metrics = agent.learner._step(Batch(**{**vars(batch), "reference_log_probs_NT": shifted}))
    assert metrics["loss"] == pytest.approx(0.5 * (1 - math.log(2)), rel=1e-4)


def test_episodes_without_advantage_count_in_the_denominator(make_agent: Any, three_episodes: Any) -> None:
    # A = (1, 0, 0), ratio 1: -1 / 3, not -1.
    agent = make_agent()
    assert agent.learner._step(batch_of(agent, three_episodes, [1, 0, 0], [1, 1, 1]))["loss"] == pytest.approx(
        -1 / 3, rel=1e-5
    )


def test_on_policy_the_gradient_is_that_of_minus_advantage_times_log_pi(make_agent: Any, three_episodes: Any) -> None:
    agents = [make_agent(loss=loss) for loss in (ClippedSurrogate(), LogLikelihood())]
    found = [gradients(a, batch_of(a, three_episodes, [1, -2, 1], [1, 1, 1]))[1] for a in agents]
    assert same_gradients(*found)


@pytest.mark.parametrize("weight", [SequenceMean(revealed=True), TokenMean(revealed=True)])
@pytest.mark.parametrize("reference", [None, KLToStart(beta=0.5)])
def test_gradients_do_not_depend_on_the_microbatch(
    make_agent: Any, three_episodes: Any, weight: Any, reference: Any
) -> None:
    parts = {"token_weight": weight} if reference is None else {"token_weight": weight, "reference": reference}
    results = []
    options: list[dict[str, Any]] = [{}, *({"microbatch": n} for n in (1, 2, 3)), {"checkpointing": True}]
    options += [{"microbatch_tokens": n} for n in (1, 6, 11, 12, 18)]
    for kind in options:
        agent = make_agent(optimizer=Optimizer(**kind), **parts)
        batch = batch_of(agent, three_episodes, [1, -2, 0.5], [0.9, 1.1, 1.0])
        batch = Batch(**{**vars(batch), "reference_log_probs_NT": batch.old_log_probs_NT - 0.3})
        results.append(gradients(agent, batch))
    for metrics, found in results[1:]:
        assert metrics["loss"] == pytest.approx(results[0][0]["loss"], abs=1e-6)
        assert same_gradients(results[0][1], found, 1e-5)


def test_episodes_of_unlike_length_are_passed_apart_with_the_same_gradients(
    make_agent: Any, make_episode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes = [make_episode("p" + "s" * n, member=i) for i, n in enumerate([3, 40, 5, 39, 4])]
    results, widths = [], []
    for cost in (1 << 30, 0):
        monkeypatch.setattr("g2rpo_env.agents.batch.PASS", cost)
        agent = make_agent()
        batch = batch_of(agent, episodes, [1, -2, 0.5, 1, 1], [0.9, 1.1, 1.0, 1.0, 1.0])
        widths.append([part.tokens_NT.shape for part in batch.microbatches()])
        results.append(gradients(agent, batch))
    assert widths == [[(5, 41)], [(1, 41), (1, 40), (1, 6), (1, 5), (1, 4)]]
    assert results[1][0]["loss"] == pytest.approx(results[0][0]["loss"], abs=1e-6)
    assert same_gradients(results[0][1], results[1][1], 1e-5)


def test_reference_log_probs_come_back_in_the_order_of_the_episodes(make_agent: Any, make_episode: Any) -> None:
    agent = make_agent(optimizer=Optimizer(microbatch=2))
    episodes = [make_episode("p" + "s" * n, member=i) for i, n in enumerate([3, 9, 5])]
    batch = make_batch(episodes, np.ones(3), [TokenMean()(e) for e in episodes], torch.device("cpu"))
    with torch.no_grad():
        found = agent.learner.log_probs(batch)
        expected = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT)
    assert torch.allclose(found, expected, atol=1e-5) and (found[:, 1] != 0).all()


def log_prob_gradient(agent: GRPO, episode: Any) -> torch.Tensor:
    """Gradient of the loss with respect to the log-probability of each token of one episode."""
    caught: list[torch.Tensor] = []
    score = agent.policy.token_log_probs

    def spy(tokens: torch.Tensor, mask: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        log_probs = score(tokens, mask, where)
        log_probs.retain_grad()
        caught.append(log_probs)
        return log_probs

    agent.policy.token_log_probs = spy  # type: ignore[method-assign]
    batch = make_batch([episode], np.ones(1), [agent.recipe.token_weight(episode)], torch.device("cpu"))
    gradients(agent, batch)
    assert caught[0].grad is not None
    return caught[0].grad[0]


@pytest.mark.parametrize(
    "name,counted",
    [
        ("grpo", "s"),
        ("guided-grpo", "s"),
        ("g2rpo-a", "rs"),
        ("g2rpo-a-masked", "s"),
        ("sft", "r"),
        ("raft", "s"),
        ("reinforce", "s"),
    ],  # fmt: skip
)
def test_gradients_reach_exactly_the_roles_a_recipe_counts(
    make_agent: Any, make_episode: Any, name: str, counted: str
) -> None:
    roles = "pprrsses"
    agent = make_agent(name, GUIDED)
    gradient = log_prob_gradient(agent, make_episode(roles, [0, 0, 0, 0, -5, -5, 0, -5]))
    assert [bool(g != 0) for g in gradient] == [role in counted for role in roles]


# -- several steps per update ------------------------------------------------------------------------------------------


def steps_taken(agent: GRPO) -> int:
    """Gradient steps the optimiser has counted."""
    return int(max((state["step"] for state in agent.learner.optimizer.state.values()), default=0))


def test_epochs_and_minibatches_take_one_step_each(make_agent: Any) -> None:
    # 16 episodes in minibatches of 6 are 3 steps, over 2 epochs 6; advantages (centred) keep every minibatch useful.
    agent = make_agent(optimizer=Optimizer(learning_rate=1e-3, epochs=2, minibatch=6))
    agent.learn(1)
    assert steps_taken(agent) == 6


def test_one_minibatch_that_holds_everything_equals_none(make_agent: Any, weights_of: Any) -> None:
    results = []
    for minibatch in (None, 16):
        agent = make_agent("g2rpo-a", GUIDED, optimizer=Optimizer(learning_rate=1e-3, minibatch=minibatch))
        rows: list[Any] = []
        agent.learn(2, lambda _, metrics, rows=rows: rows.append(metrics))
        results.append((rows, weights_of(agent.policy)))
    assert [r["loss"] for r in results[0][0]] == pytest.approx([r["loss"] for r in results[1][0]], abs=1e-5)
    assert all(torch.allclose(results[0][1][n], results[1][1][n], atol=1e-4) for n in results[0][1])


def test_later_epochs_are_off_policy_and_get_clipped(make_agent: Any) -> None:
    one, three = (make_agent(optimizer=Optimizer(learning_rate=2e-2, epochs=n)) for n in (1, 3))
    rows: list[Any] = []
    for agent in (one, three):
        agent.learn(1, lambda _, metrics: rows.append(metrics))
    assert rows[0]["clip_fraction"] == 0 and rows[1]["clip_fraction"] > 0
    assert steps_taken(one) == 1 and steps_taken(three) == 3


def test_the_old_policy_of_revealed_tokens_is_the_one_before_the_update(make_agent: Any, make_episode: Any) -> None:
    episode = make_episode("pprrss", [0, 0, 0, 0, -1, -2])
    agent = make_agent("g2rpo-a", GUIDED, optimizer=Optimizer(epochs=2))
    batch = make_batch([episode], np.ones(1), [agent.recipe.token_weight(episode)], torch.device("cpu"))
    with torch.no_grad():
        now = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT)[0]
    filled = agent.learner._complete(batch).old_log_probs_NT[0]
    assert torch.equal(filled[2:4], now[2:4]) and filled[[0, 1, 4, 5]].tolist() == [0, 0, -1, -2]


def test_the_metrics_of_several_steps_are_their_means(make_agent: Any) -> None:
    agent, seen = make_agent(optimizer=Optimizer(learning_rate=1e-3, minibatch=6)), []
    step = agent.learner._step

    def spy(batch: Batch) -> dict[str, Any]:
        seen.append(step(batch))
        return seen[-1]

    agent.learner._step = spy
    metrics = agent.update()
    assert len(seen) == 3
    for name in ("loss", "grad_norm", "clip_fraction"):
        assert metrics[name] == pytest.approx(np.mean([s[name] for s in seen]))


def test_the_warm_up_raises_the_learning_rate_linearly(make_agent: Any) -> None:
    agent, rates = make_agent(optimizer=Optimizer(learning_rate=0.02, warmup=4)), []
    agent.learn(6, lambda agent, _: rates.append(agent.learner.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([0.005, 0.01, 0.015, 0.02, 0.02, 0.02])


# -- whole updates -----------------------------------------------------------------------------------------------------


def run(agent: GRPO, updates: int) -> list[str]:
    """Metrics of some updates as lines of JSON."""
    lines: list[str] = []
    agent.learn(updates, lambda _, metrics: lines.append(json.dumps(metrics, allow_nan=False)))
    return lines


@pytest.mark.parametrize("name", ["g2rpo-a", "g2rpo-a-masked"])
def test_g2rpo_a_with_ratio_0_is_grpo_bit_for_bit(
    make_agent: Any, weights_of: Any, same_weights: Any, name: str
) -> None:
    guided, plain = make_agent(name, {"length": 6, "ratio": 0.0}), make_agent("grpo")
    rows = [[json.loads(line) for line in run(agent, 3)] for agent in (guided, plain)]
    for row in rows[0] + rows[1]:
        del row["reveal_length"]  # the controller's number, of which nothing is shown
    assert rows[0] == rows[1]
    assert rows[1][-1]["loss"] is not None and any(row["grad_norm"] > 0 for row in rows[1])
    assert same_weights(weights_of(guided.policy), weights_of(plain.policy))


def test_guidance_changes_the_update(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    agents = [make_agent("g2rpo-a", {"length": 6, "ratio": r}) for r in (0.0, 0.5)]
    for agent in agents:
        agent.learn(1)
    assert not same_weights(*(weights_of(a.policy) for a in agents))


def test_one_seed_gives_byte_identical_metrics_and_another_seed_others(
    make_agent: Any, weights_of: Any, same_weights: Any
) -> None:
    agents = [make_agent("g2rpo-a", GUIDED, seed=s) for s in (1, 1, 2)]
    lines = [run(agent, 4) for agent in agents]
    assert lines[0] == lines[1] != lines[2]
    assert same_weights(weights_of(agents[0].policy), weights_of(agents[1].policy))


def test_metrics_hold_no_clock_times_and_count_what_happened(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED)
    metrics = agent.update()
    episodes = agent.groups.episodes
    assert not [name for name in metrics if "time" in name or "second" in name]
    assert metrics["update"] == agent.updates == 1
    assert metrics["episodes"] == len(episodes) == 16 and metrics["invalid"] == 0
    assert metrics["reward"] == np.mean([e.correct for e in episodes])
    assert metrics["reward_guided"] == np.mean([e.correct for e in episodes if e.guided])
    assert metrics["reward_unguided"] == np.mean([e.correct for e in episodes if not e.guided])
    assert metrics["sampled_tokens"] == agent.groups.sampled_tokens
    assert metrics["revealed_tokens"] == agent.groups.revealed_tokens == sum(e.reveal for e in episodes) == 8 * 6
    assert metrics["reveal_length"] == 6.0


def test_evaluating_between_updates_changes_nothing(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    quiet, watched = make_agent("g2rpo-a", GUIDED), make_agent("g2rpo-a", GUIDED)
    lines: list[str] = []

    def watch(agent: GRPO, metrics: dict[str, Any]) -> None:
        lines.append(json.dumps(metrics))
        agent.evaluate(split="test", problems=8)
        agent.evaluate(split="validation", problems=4, mode="sampled", k=(1, 2))

    watched.evaluate(problems=8)
    watched.learn(3, watch)
    assert lines == run(quiet, 3)
    assert same_weights(weights_of(quiet.policy), weights_of(watched.policy))


def test_a_callback_that_returns_false_stops_and_others_do_not(make_agent: Any) -> None:
    agent, seen = make_agent(), []

    def stop_at_two(agent: GRPO, metrics: dict[str, Any]) -> bool | None:
        seen.append(metrics["update"])
        return False if metrics["update"] == 2 else None

    assert agent.learn(5, stop_at_two) is agent
    assert seen == [1, 2] and agent.updates == 2
    agent.learn(1, lambda agent, metrics: True)
    assert agent.updates == 3


def test_learning_zero_updates_does_nothing_and_fewer_are_refused(make_agent: Any) -> None:
    agent = make_agent()
    assert agent.learn(0).updates == 0
    with pytest.raises(ConfigurationError, match="updates=-1"):
        agent.learn(-1)


def test_left_over_gradients_of_someone_else_are_not_used(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    clean, dirty = make_agent(), make_agent()
    for parameter in dirty.policy.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert run(clean, 1) == run(dirty, 1)
    assert same_weights(weights_of(clean.policy), weights_of(dirty.policy))


def test_advantages_are_kept_for_viewers(make_agent: Any) -> None:
    agent = make_agent(advantage=GroupCentered())
    agent.update()
    for group in agent.groups:
        centred = group.reward_G - group.reward_G.mean()
        kept = [agent.last_update.find_examples(e)[0].advantage for e in group.episodes]
        assert kept == pytest.approx(centred.tolist())


# -- saving and continuing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grpo", "g2rpo-a", "sft"])
def test_saving_loading_and_continuing_equals_never_stopping(
    make_agent: Any, make_envs: Any, tmp_path: Path, weights_of: Any, same_weights: Any, name: str
) -> None:
    guidance = None if name == "grpo" else GUIDED
    parts: dict[str, Any] = {"optimizer": Optimizer(learning_rate=1e-2, warmup=5, weight_decay=0.1)}
    if name != "sft":
        parts["reference"] = KLToStart(beta=0.1)
    whole, stopped = (make_agent(name, guidance, seed=3, **parts) for _ in range(2))
    lines, first = run(whole, 5), run(stopped, 2)
    stopped.save(tmp_path)
    stopped.learn(1)  # what happens to the saved agent afterwards is nobody's business
    resumed = GRPO.load(tmp_path, make_envs(16, 4, guidance=guidance))
    assert resumed.recipe == whole.recipe and resumed.updates == 2
    assert first + run(resumed, 3) == lines
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))
    one, two = (a.learner.optimizer.state_dict()["state"] for a in (whole, resumed))
    assert one.keys() == two.keys() and all(torch.equal(one[i]["exp_avg_sq"], two[i]["exp_avg_sq"]) for i in one)
    if whole.controller is not None:
        assert whole.controller.state_dict() == resumed.controller.state_dict()
        assert whole.guidance.length == resumed.guidance.length != 6.0


def test_saving_changes_nothing(make_agent: Any, tmp_path: Path) -> None:
    quiet, saved = make_agent("g2rpo-a", GUIDED), make_agent("g2rpo-a", GUIDED)
    lines: list[str] = []

    def save(agent: GRPO, metrics: dict[str, Any]) -> None:
        lines.append(json.dumps(metrics))
        agent.save(tmp_path)

    saved.learn(3, save)
    assert lines == run(quiet, 3)


def test_how_a_policy_samples_survives_saving(make_agent: Any, make_envs: Any, tmp_path: Path) -> None:
    agent = make_agent()
    agent.policy.truncation, agent.policy.own_decoder = Truncation(top_k=3, min_p=0.1), False
    agent.save(tmp_path)
    loaded = GRPO.load(tmp_path, make_envs())
    assert loaded.policy.to_config() == agent.policy.to_config()
    assert (loaded.policy.truncation.top_k, loaded.policy.own_decoder) == (3, False)


def test_dtype_and_temperature_survive_saving(make_envs: Any, tmp_path: Path) -> None:
    envs = make_envs(8, 4)
    CausalLMPolicy.tiny(envs, hidden_size=32, layers=1).save_pretrained(tmp_path)
    # Loaded as bfloat16 and not made so by .bfloat16(), which would round the rotary frequencies too.
    policy = CausalLMPolicy.from_pretrained(tmp_path, temperature=0.7, dtype="bfloat16")
    agent = recipes.make("grpo", policy, envs, optimizer=FAST)
    agent.learn(1)
    agent.save(tmp_path)
    loaded = GRPO.load(tmp_path, make_envs(8, 4))
    assert loaded.policy.model.dtype is torch.bfloat16 and loaded.policy.temperature == 0.7
    assert run(loaded, 1) == run(agent, 1)


def test_a_folder_without_an_agent_is_refused(make_agent: Any, make_envs: Any, tmp_path: Path) -> None:
    make_agent().policy.save_pretrained(tmp_path)
    with pytest.raises(ResumeError, match=re.escape(str(tmp_path))):
        GRPO.load(tmp_path, make_envs())


def test_a_state_with_a_controller_does_not_load_into_an_agent_without(make_agent: Any) -> None:
    guided, plain = make_agent("g2rpo-a", GUIDED), make_agent("grpo")
    with pytest.raises(ResumeError, match="controller"):
        plain.load_state_dict(guided.state_dict())
    with pytest.raises(ResumeError, match="controller"):
        guided.load_state_dict(plain.state_dict())


# -- what leaves the weights alone -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NanLoss:
    """A loss that is NaN."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        return LossResult(log_probs_NT.sum() * math.nan)


@dataclass(frozen=True)
class NanGradient:
    """A loss that is finite, with a gradient that is not: the square root of zero."""

    def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> LossResult:
        return LossResult(torch.sqrt(log_probs_NT * 0).sum())


@pytest.mark.parametrize("loss", [NanLoss(), NanGradient()])
def test_a_loss_or_gradient_that_is_not_finite_raises_and_leaves_the_weights(
    make_agent: Any, weights_of: Any, same_weights: Any, loss: Any
) -> None:
    agent = make_agent()
    agent.learner.parts = replace(agent.learner.parts, loss=loss)  # one that was right when it was rehearsed
    before = weights_of(agent.policy)
    with pytest.raises(NonFiniteError, match="update 1"):
        agent.learn(1)
    assert same_weights(before, weights_of(agent.policy)) and agent.updates == 0
    assert not agent.learner.optimizer.state and all(p.grad is None for p in agent.policy.model.parameters())


def test_log_probs_that_are_not_finite_name_the_episode_and_leave_the_weights(
    make_agent: Any, weights_of: Any, same_weights: Any
) -> None:
    agent = make_agent()
    score, before = agent.policy.token_log_probs, weights_of(agent.policy)

    def broken(tokens: torch.Tensor, mask: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        log_probs = score(tokens, mask, where)
        return log_probs.index_put((torch.tensor([2]), torch.tensor([7])), torch.tensor(math.nan))

    agent.policy.token_log_probs = broken  # type: ignore[method-assign]
    with pytest.raises(NonFiniteError, match=r"update 1: .* token 7 of group \d, member \d is nan"):
        agent.learn(1)
    assert same_weights(before, weights_of(agent.policy)) and not agent.learner.optimizer.state
    assert all(p.grad is None for p in agent.policy.model.parameters())


def test_running_out_of_memory_names_the_options_and_the_run_goes_on_afterwards(
    make_agent: Any, weights_of: Any, same_weights: Any
) -> None:
    agent = make_agent()
    score, before = agent.policy.token_log_probs, weights_of(agent.policy)
    agent.policy.token_log_probs = lambda *_: torch.empty(1 << 60)  # type: ignore[method-assign]
    with pytest.raises(OutOfMemoryError, match="update 1: 16 episodes .* microbatch_tokens"):
        agent.learn(1)
    assert same_weights(before, weights_of(agent.policy)) and agent.updates == 0
    agent.policy.token_log_probs = score  # type: ignore[method-assign]
    assert agent.update()["grad_norm"] > 0


@pytest.mark.parametrize("fused", [False, True])
def test_fused_or_not_the_step_is_the_same(make_agent: Any, weights_of: Any, fused: bool) -> None:
    agent, other = (make_agent(optimizer=Optimizer(learning_rate=1e-3, fused=kind)) for kind in (fused, False))
    agent.learn(1), other.learn(1)
    ours, theirs = weights_of(agent.policy), weights_of(other.policy)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


@pytest.mark.parametrize("score", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_raises_naming_the_episode(
    make_agent: Any, weights_of: Any, same_weights: Any, score: float
) -> None:
    agent = make_agent(verifier=always(Verdict(Outcome.WRONG, score=score)))
    before = weights_of(agent.policy)
    with pytest.raises(NonFiniteError, match=r"reward=(nan|inf) of problem '\d\+\d', group 0, member 0"):
        agent.learn(1)
    assert same_weights(before, weights_of(agent.policy))


@pytest.mark.parametrize("score", [0.0, 1.0, 0.1])
def test_equal_rewards_take_no_step(make_agent: Any, weights_of: Any, same_weights: Any, score: float) -> None:
    agent = make_agent(
        verifier=always(Verdict(Outcome.WRONG, score=score)), optimizer=Optimizer(learning_rate=0.1, weight_decay=0.1)
    )
    before = weights_of(agent.policy)
    metrics = [json.loads(line) for line in run(agent, 2)]
    assert same_weights(before, weights_of(agent.policy)) and steps_taken(agent) == 0
    assert [(m["loss"], m["grad_norm"], m["groups_with_signal"]) for m in metrics] == [(0.0, 0.0, 0.0)] * 2


class FailsOften:
    """An ERROR for completions whose bytes have a sum divisible by 3, else by parity."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        sums = [sum(c.encode()) for c in completions]
        kinds = {True: Outcome.CORRECT, False: Outcome.WRONG}
        return [Verdict(Outcome.ERROR if s % 3 == 0 else kinds[s % 2 == 0]) for s in sums]


@dataclass
class Watcher(FixedGuidance):
    """Keeps the feedback it is given."""

    seen: list[Any] = field(default_factory=list, init=False)

    def update(self, feedback: Any = None, *, reward: float | None = None) -> float:
        self.seen.append(feedback)
        return super().update(feedback, reward=reward)


def test_episodes_whose_verifier_failed_are_in_neither_loss_nor_feedback(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, verifier=FailsOften(), controller=Watcher(6))
    trained: list[Any] = []
    fit = agent._fit
    agent._fit = lambda selected, *rest: trained.extend(selected.episodes) or fit(selected, *rest)
    metrics = agent.update()
    valid = [e for e in agent.groups.episodes if e.valid]
    assert 0 < metrics["invalid"] == 16 - len(valid) < 16
    assert trained == valid
    assert agent.controller.seen[0].valid.tolist() == [e.valid for e in agent.groups.episodes]
    assert agent.controller.history[0]["reward"] == np.mean([e.correct for e in valid]) == metrics["reward"]


def test_when_every_verdict_fails_nothing_changes(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    agent = make_agent(
        "g2rpo-a", GUIDED, verifier=always(Verdict(Outcome.ERROR)), controller=AdaptiveGuidance(6, max_length=12)
    )
    before = weights_of(agent.policy)
    rows = [json.loads(line) for line in run(agent, 2)]
    assert same_weights(before, weights_of(agent.policy)) and agent.controller.length == 6
    assert [(r["reward"], r["loss"], r["invalid"]) for r in rows] == [(None, None, 16)] * 2


class Contrary:
    """Even sums of bytes are correct, but wrong answers have the higher reward."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        kinds = [Verdict(Outcome.CORRECT, score=0.2), Verdict(Outcome.WRONG, score=0.7)]
        return [kinds[sum(c.encode()) % 2] for c in completions]


def test_feedback_is_correctness_and_never_the_reward_nor_the_shaped_one(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, verifier=Contrary(), shaping=TruncationPenalty(0.5), controller=Watcher(6))
    metrics = agent.update()
    episodes, feedback = agent.groups.episodes, agent.controller.seen[0]
    assert any(e.truncated for e in episodes) and {e.correct for e in episodes} == {True, False}
    assert feedback.correct.tolist() == [e.correct for e in episodes]
    assert feedback.guided.tolist() == [e.member < 2 for e in episodes]
    assert feedback.reveal.tolist() == [e.reveal for e in episodes]
    assert feedback.problem_id.tolist() == [e.problem_id for e in episodes]
    assert metrics["reward"] == np.mean([e.correct for e in episodes])
    for group in agent.groups:  # what is trained on is the reward less the penalty
        rewards = np.array([(0.2 if e.correct else 0.7) - 0.5 * e.truncated for e in group.episodes])
        kept = [agent.last_update.find_examples(e)[0].advantage for e in group.episodes]
        assert kept == pytest.approx(GroupNormalized()(rewards).tolist())


def test_groups_that_are_used_again_teach_no_controller_and_cost_no_tokens(make_agent: Any) -> None:
    class Again(Rollout):
        def __call__(self, policy: Any, envs: Any) -> Groups:
            if kept:
                return Groups(kept[0], reused=True)
            kept.append(super().__call__(policy, envs))
            return kept[0]

    kept: list[Groups] = []
    agent = make_agent("g2rpo-a", GUIDED, strategy=Again(), controller=Watcher(6))
    first, second = agent.update(), agent.update()
    assert [len(feedback.correct) for feedback in agent.controller.seen] == [16, 0]
    assert first["sampled_tokens"] == agent.sampled_tokens > 0 == second["sampled_tokens"] == second["revealed_tokens"]
    assert second["reward"] == first["reward"] and second["loss"] is not None


def test_a_strategy_may_not_log_under_a_name_that_is_taken(make_agent: Any) -> None:
    class Loud(Rollout):
        def __call__(self, policy: Any, envs: Any) -> Groups:
            return Groups(super().__call__(policy, envs), metrics={"reward": 1.0})

    with pytest.raises(ConfigurationError, match="metric='reward' must be logged once"):
        make_agent(strategy=Loud()).update()


def test_the_parts_of_an_agent_hold_its_controller(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED)
    assert agent.parts.controller is agent.controller is not agent.recipe.controller


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("agent.json", lambda text: text[:-20], "agent.json is damaged"),
        ("agent.json", lambda text: text.replace('"recipe"', '"recip"'), "agent.json is damaged; KeyError"),
        ("agent.json", lambda text: "[]", "agent.json is damaged"),
        ("training_state.pt", lambda text: "no tensors", "training_state.pt is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_named(make_agent: Any, make_envs: Any, tmp_path: Any, name, damage, message) -> None:
    make_agent().save(tmp_path)
    file = tmp_path / name
    file.write_text(damage(file.read_text(errors="replace")))
    with pytest.raises(ResumeError, match=message):
        GRPO.load(tmp_path, make_envs(16, 4))


def test_a_slot_that_is_no_part_is_refused(make_agent: Any, make_envs: Any, tmp_path: Any) -> None:
    make_agent().save(tmp_path)
    config = json.loads((tmp_path / "agent.json").read_text())
    config["recipe"]["loss"] = "ClippedSurrogate"
    (tmp_path / "agent.json").write_text(json.dumps(config))
    with pytest.raises(ConfigurationError, match="loss='ClippedSurrogate' must be null or"):
        GRPO.load(tmp_path, make_envs(16, 4))


def test_a_recipe_that_cannot_be_saved_leaves_no_folder(make_agent: Any, tmp_path: Any) -> None:
    class Best:
        def __call__(self, reward_G: Any) -> Any:
            return reward_G - reward_G.mean()

    agent = make_agent(advantage=Best())
    agent.update()
    with pytest.raises(ConfigurationError, match="advantage=Best must be a dataclass to be saved"):
        agent.save(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_agent_with_a_policy_of_ones_own_goes_on(make_agent: Any, make_envs: Any, tmp_path: Any) -> None:
    agent = make_agent()
    agent.update()
    agent.save(tmp_path)
    again = GRPO.load(tmp_path, make_envs(16, 4), policy=copy.deepcopy(agent.policy))
    assert again.update() == agent.update()


def test_controller_metrics_and_budget_see_what_a_strategy_left_out(make_agent: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Half(Rollout):
        """The first half of the groups; the rest is left out."""

        def __call__(self, policy: Any, envs: Any) -> Any:
            groups = super().__call__(policy, envs)
            rest = [episode for group in groups[2:] for episode in group.episodes]
            return Groups(groups[:2], left_out=rest, metrics={"left": 8.0})

    agent = make_agent("g2rpo-a", GUIDED, strategy=Half(), controller=Watcher(6))
    metrics = agent.update()
    update, feedback = agent.last_update, agent.controller.seen[0]
    everyone = update.groups.sampled_episodes
    assert len(update.selected.episodes) == 8 and len(everyone) == metrics["episodes"] == 16
    assert feedback.correct.tolist() == [e.correct for e in everyone]
    assert metrics["reward"] == np.mean([e.correct for e in everyone]) and metrics["left"] == 8.0
    assert metrics["sampled_tokens"] == agent.sampled_tokens == sum(int(e.sampled_T.sum()) for e in everyone)


def test_the_controller_is_called_once_per_update_and_sets_the_next_reveal(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, controller=AdaptiveGuidance(6, max_length=12, max_factor=2.0))
    shown = []
    agent.learn(4, lambda agent, metrics: shown.append((metrics["reveal_length"], agent.groups.episodes[0].reveal)))
    lengths = [6.0] + [entry["length"] for entry in agent.controller.history]
    assert len(lengths) == 5 and [length for length, _ in shown] == lengths[:4]
    longest = 8  # "a+b+0=cc\n" has 9 characters, of which all may be shown
    assert [reveal for _, reveal in shown] == [min(int(x + 0.5), longest + 1) for x in lengths[:4]]
    assert len(set(lengths)) > 1


def test_the_recipe_keeps_the_controller_it_was_given(make_agent: Any) -> None:
    controller = AdaptiveGuidance(6, max_length=12)
    agent = make_agent("g2rpo-a", GUIDED, controller=controller)
    agent.learn(3)
    assert agent.recipe.controller is controller and not controller.history and len(agent.controller.history) == 3


def test_a_controller_without_a_guidance_wrapper_is_refused(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    with pytest.raises(MissingGuidanceError, match="AdaptiveGuidance needs a guidance wrapper"):
        GRPO(make_policy(envs), envs, controller=AdaptiveGuidance())


@pytest.mark.parametrize("advantage", [GroupNormalized(), GroupCentered()])
def test_groups_of_one_are_refused_where_members_are_compared(make_envs: Any, make_policy: Any, advantage: Any) -> None:
    envs = make_envs(4, 1, autoreset_mode="DISABLED")
    words = f"group_size=1 must be at least 2: a group has no other member; advantage={type(advantage).__name__} would"
    for strategy in (Rollout(), Reroll()):
        with pytest.raises(ConfigurationError, match=words):
            GRPO(make_policy(envs), envs, advantage=advantage, strategy=strategy)
    GRPO(make_policy(envs), envs, recipe=recipes.get("raft"))  # learns from a right answer alone

    @dataclass(frozen=True)
    class Raw:
        def __call__(self, reward_G: np.ndarray) -> np.ndarray:
            return np.asarray(reward_G)

    GRPO(make_policy(envs), envs, advantage=Raw())


LEARN_ALONE = {"raft", "raft++", "reinforce++", "gac", "gac-critic", "sft"}
"""Recipes to which members of a group are nothing but episodes."""


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_groups_of_one_are_refused_by_every_recipe_that_compares_members(
    make_envs: Any, make_policy: Any, name: str
) -> None:
    guidance = WRAPPERS.get(name, {"length": 4} if recipes.get(name).needs_guidance else None)
    envs = make_envs(4, 1, guidance=guidance)
    if name in LEARN_ALONE:
        recipes.make(name, make_policy(envs), envs)
        return
    with pytest.raises(ConfigurationError, match="group_size=1"):
        recipes.make(name, make_policy(envs), envs)


@pytest.mark.parametrize("name", ["igrpo", "gac", "gac-critic"])
def test_contexts_that_do_not_fit_are_refused_when_the_agent_is_made(
    make_envs: Any, make_policy: Any, name: str
) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    policy.model.config.max_position_embeddings = envs.unwrapped.task.length
    with pytest.raises(BudgetError, match="must fit with contexts that are"):
        recipes.make(name, policy, envs)
    envs = make_envs(max_length=make_envs().unwrapped.task.length)
    with pytest.raises(BudgetError, match="must fit with contexts that are"):
        recipes.make(name, make_policy(envs), envs, strategy=Resampled(recipes.get(name).strategy, share=0))
    task = envs.unwrapped.task
    with pytest.raises(BudgetError, match="must fit with contexts that are"):
        check_recipe(recipes.get(name), envs)
    fitting = make_envs()
    check_recipe(recipes.get(name), fitting)
    assert envs.unwrapped.task is task and fitting.unwrapped.task.room == 0


@pytest.mark.parametrize("option", [{"top_k": 1}, {"min_p": 1.0}])
def test_members_that_are_all_the_same_text_are_refused(make_envs: Any, make_policy: Any, option: Any) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    policy.truncation = Truncation(**option)
    with pytest.raises(ConfigurationError, match="makes all members of a group the same text: advantage=GroupNorm"):
        GRPO(policy, envs)
    GRPO(policy, make_envs(guidance={"length": 4, "ratio": 0.5}))  # members differ by what they are shown
    policy.truncation = Truncation(top_k=2)
    GRPO(policy, envs)


def test_lanes_that_restart_by_themselves_are_refused_when_the_agent_is_made(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 1, autoreset_mode="NEXT_STEP")
    with pytest.raises(ConfigurationError, match="must be DISABLED"):
        GRPO(make_policy(envs), envs)


# -- learning ----------------------------------------------------------------------------------------------------------


class WellFormed:
    """Correct if the completion looks like a worked addition, whatever its digits."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        shape = re.compile(r"(\d\+\d\+\d=\d\d\n)+#\d+")
        return [Verdict(Outcome.CORRECT if shape.fullmatch(c) else Outcome.WRONG) for c in completions]


def test_grpo_learns_what_a_weak_base_rarely_gets_right(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(64, 8, verifier=WellFormed(), max_new_tokens=14)
    policy = make_policy(envs)
    base = warm_start(policy, envs, WarmStart((0.05, 0.3), 5e-3, check_every=40, samples=128))
    assert base.reached
    agent = recipes.make("grpo", policy, envs, optimizer=Optimizer(learning_rate=1e-3))
    first = agent.evaluate(problems=20, mode="sampled", samples=16)
    agent.learn(60)
    last = agent.evaluate(problems=20, mode="sampled", samples=16)
    assert last.accuracy > first.accuracy + 0.25


@pytest.mark.long
def test_grpo_learns_two_digit_addition(make_envs: Any, addition_verifier: Any) -> None:
    envs = make_envs(64, 8, digits=2, verifier=addition_verifier, max_new_tokens=26)
    policy = CausalLMPolicy.tiny(envs, seed=0)
    assert warm_start(policy, envs, WarmStart((0.3, 0.5), samples=512)).reached
    agent = recipes.make("grpo", policy, envs, optimizer=Optimizer(learning_rate=1e-4))
    first = agent.evaluate(problems=128, mode="sampled", samples=4)
    agent.learn(200)
    last = agent.evaluate(problems=128, mode="sampled", samples=4)
    assert paired_difference(last, first)[1][0] > 0.05  # the lower end of the interval


def test_the_default_agent_is_the_recipe_grpo(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    assert GRPO(make_policy(envs), envs).recipe == recipes.get("grpo") == Recipe()


def test_roles_of_collected_episodes_stay_what_they_were(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED)
    agent.update()
    for episode in agent.groups.episodes:
        assert int((episode.role_T == Role.REVEALED).sum()) == episode.reveal


# -- parts that need more than an episode ------------------------------------------------------------------------------


def test_the_entropy_of_the_policy_reaches_the_token_weights(make_agent: Any) -> None:
    weight = SequenceMean(revealed=True, which=TopEntropy(0.5))
    agent = make_agent("g2rpo-a", GUIDED, token_weight=weight, optimizer=Optimizer(microbatch=3))
    groups = agent.recipe.strategy(agent.policy, agent.envs)
    episodes = groups.episodes
    given = Given(agent.learner, agent.envs.unwrapped.task)
    found = compute_weights(weight, groups, [np.zeros(len(group)) for group in groups], given)
    for episode, weight_T in zip(episodes, found, strict=True):
        with torch.no_grad():
            logits = agent.policy.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        p = torch.softmax(logits, -1)
        entropy_T = np.concatenate([[0.0], -(p * p.log()).sum(-1).numpy()[:-1]])
        assert weight_T == pytest.approx(weight(episode, entropy_T=entropy_T))
        assert (weight_T > 0).sum() == episode.sampled_T.sum() + (3 if episode.guided else 0)
    assert agent.update()["loss"] is not None


def test_filtered_imitation_trains_reveals_of_members_above_their_group_alone(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, token_weight=SequenceMean(revealed=True, which="positive"))
    counted: list[Any] = []
    agent.learner._step = lambda batch: counted.append(batch) or {}
    agent.update()
    (batch,) = counted
    revealed_NT = (batch.role_NT == Role.REVEALED) & batch.mask_NT
    assert revealed_NT.any(-1).sum() == 8
    for row in range(len(batch)):
        trained = bool((batch.weight_NT[row] * revealed_NT[row]).any())
        assert trained == bool(revealed_NT[row].any() and batch.advantage_NT[row, 0] > 0)


def test_an_advantage_may_see_all_groups(make_agent: Any) -> None:
    agent = make_agent("g2rpo-a", GUIDED, advantage=RevealBaseline())
    agent.update()
    rewards = [group.reward_G for group in agent.groups]
    for group, advantage_G in zip(agent.groups, RevealBaseline()(rewards, agent.groups), strict=True):
        assert [agent.last_update.find_examples(e)[0].advantage for e in group.episodes] == pytest.approx(
            advantage_G.tolist()
        )


GUIDE = {
    "strategy": Reroll((1.0,), train_plain=True),
    "selection": DropUniform(),
    "loss": CorrectedSurrogate(),
    "token_weight": TokenMean(),
}
PLAIN_PROMPT = {"length": 0, "unit": "fraction", "ratio": 0.0, "place": "prompt"}


def test_guide_without_failed_groups_is_grpo_bit_for_bit(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    same = {name: GUIDE[name] for name in ("selection", "token_weight")}
    guide, plain = make_agent("grpo", PLAIN_PROMPT, **GUIDE), make_agent("grpo", None, **same)
    lines = []
    for agent in (guide, plain):
        rows = []
        for _ in range(3):
            metrics = agent.update()
            assert all(any(e.correct for e in group.episodes) for group in agent.groups), "no group failed"
            rows.append({k: v for k, v in metrics.items() if k != "reveal_length"})
        lines.append(rows)
    assert lines[0] == lines[1]
    assert same_weights(weights_of(guide.policy), weights_of(plain.policy))


class RightWithAHint:
    """Right every other time once a problem was failed four times, as a hint would help."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        verdicts = []
        for problem in problems:
            count = self.seen[problem.problem_id] = self.seen.get(problem.problem_id, 0) + 1
            verdicts.append(Verdict(Outcome.CORRECT if count > 4 and count % 2 else Outcome.WRONG))
        return verdicts


@pytest.mark.parametrize("options", [Optimizer(), Optimizer(microbatch=3), Optimizer(microbatch_tokens=60)], ids=str)
def test_guide_trains_the_plain_prompt_with_its_correction_by_hand(make_agent: Any, options: Optimizer) -> None:
    agent = make_agent("grpo", PLAIN_PROMPT, verifier=RightWithAHint(), **GUIDE, optimizer=options)
    policy = CausalLMPolicy(agent.policy.model, agent.policy.tokenizer)
    found: dict[str, torch.Tensor] = {}
    losses: list[float] = []

    def catch(loss: float) -> float:
        losses.append(loss)
        found.update({n: p.grad.clone() for n, p in policy.model.named_parameters()})
        agent.learner.optimizer.zero_grad(set_to_none=True)
        return 0.0

    agent.learner._apply = catch
    agent.update()
    hinted = [(group, e) for group in agent.groups for e in group.episodes if e.stage == 1]
    assert len(hinted) == 16 and all(e.guided for _, e in hinted)
    ratios, advantages = [], []
    for group, e in hinted:  # one episode at a time, nothing of the library
        plain = agent.envs.unwrapped.task.lookup(e.problem_id).prompt_T
        sampled = np.flatnonzero(e.role_T == Role.SAMPLED)
        tokens = torch.from_numpy(np.concatenate([plain, e.tokens_T[sampled]]).astype(np.int64))
        log_p = torch.log_softmax(policy.model(tokens[None]).logits[0], -1)
        new = log_p[len(plain) - 1 : -1].gather(1, tokens[len(plain) :, None])[:, 0]
        ratios.append((new - torch.from_numpy(e.logprob_T[sampled])).exp())
        reward_G = group.reward_G
        advantages.append((e.reward - reward_G.mean()) / (reward_G.std(ddof=1) + 1e-4))
    everything = torch.cat(ratios)
    gamma = float(np.quantile(everything.detach().double().numpy(), 0.9))
    total = sum((-a * r / (r + gamma)).sum() for a, r in zip(advantages, ratios, strict=True)) / len(everything)
    total.backward()
    assert losses == pytest.approx([float(total.detach())], rel=1e-4, abs=1e-7)
    for name, parameter in policy.model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=2e-6), name


# -- every guidance rule, saved and continued --------------------------------------------------------------------------

RULES = [
    FixedGuidance(length=6),
    AdaptiveGuidance(length=6, max_length=18),
    AdaptiveGuidance(length=6, max_length=18, max_factor=None),
    OfficialCadence(length=6, max_length=18),
    TargetSuccess(length=6, max_length=18),
    SelfTuning(length=6, max_length=9),
    PerProblem(length=6, max_length=9, rule=TargetSuccess(gain=1.0)),
    ItemResponse(length=6, max_length=9),
    Stages(max_length=9),
    SmallestHint(max_length=9),
    ShortestPrefix(max_length=9),
    LinearDecay(length=6, updates=4),
    CosineDecay(length=6, updates=4),
    StepDecay(length=6, updates=4, every=1),
    CosineBinomial(length=9, updates=4),
    UniformWindow(length=9, updates=4),
    UniformDraw(length=9, updates=4, anneal=True),
    Replay(lengths=(6, 5, 4, 3)),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_every_rule_goes_on_exactly_where_it_was_saved(
    make_agent: Any, make_envs: Any, tmp_path: Path, weights_of: Any, same_weights: Any, rule: Any
) -> None:
    whole, stopped = (make_agent("g2rpo-a", {**GUIDED, "who": "random"}, seed=3, controller=rule) for _ in range(2))
    lines, first = run(whole, 4), run(stopped, 2)
    stopped.save(tmp_path)
    resumed = GRPO.load(tmp_path, make_envs(16, 4, guidance={**GUIDED, "who": "random"}))
    assert resumed.recipe == whole.recipe and first + run(resumed, 2) == lines
    assert json.dumps(whole.controller.state_dict()) == json.dumps(resumed.controller.state_dict())
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))
    assert len(whole.controller.history) == 4


def test_problems_set_aside_are_saved_with_the_environment(make_envs: Any, make_policy: Any, tmp_path: Path) -> None:
    def make() -> Any:
        envs = make_envs(16, 4, guidance=GUIDED, verifier=always(Verdict(Outcome.WRONG)))
        envs.unwrapped.task.source = Readmitting(envs.unwrapped.task.source, patience=1, rest=2)
        return envs

    controller = SelfTuning(6, max_length=9)
    whole, stopped = (GRPO(make_policy(envs), envs, seed=3, controller=controller) for envs in (make(), make()))
    lines, first = run(whole, 6), run(stopped, 3)
    stopped.save(tmp_path)
    resumed = GRPO.load(tmp_path, make())
    assert first + run(resumed, 3) == lines
    source, other = (agent.envs.unwrapped.task.source for agent in (whole, resumed))
    assert source.state_dict() == other.state_dict() and source.updates == 6 and len(source.records) > 8


@pytest.mark.parametrize("name,revealed", [("g2rpo-a", True), ("g2rpo-a-masked", False)])
def test_the_controller_is_told_whether_reveals_are_trained(
    make_agent: Any, make_envs: Any, tmp_path: Path, name: str, revealed: bool
) -> None:
    agent = make_agent(name, GUIDED, controller=SelfTuning(6, max_length=9))
    assert agent.controller._revealed is revealed
    agent.save(tmp_path)
    assert GRPO.load(tmp_path, make_envs(16, 4, guidance=GUIDED)).controller._revealed is revealed


# -- settings that lose something in silence ---------------------------------------------------------------------------


def test_a_budget_that_no_solution_fits_into_is_warned_of(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 2, digits=3, max_new_tokens=8)
    with pytest.warns(UserWarning, match="max_new_tokens=8 is shorter than every solution that was looked at"):
        recipes.make("grpo", make_policy(envs), envs)
    envs = make_envs(4, 2, digits=1, max_new_tokens=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recipes.make("grpo", make_policy(envs), envs)
