"""Learner: losses of whole groups, numbers of parts, moving references, regularizers; sums in one object."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from graphs import assert_close, catch_gradients, one_graph
from toys import (
    Constant,
    Contrast,
    CountedCredit,
    EntropyMean,
    EntropySum,
    EvenCredit,
    Following,
    LateCredit,
    LikelyReward,
    PerEpisode,
    Scaled,
    token_sums,
)

from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.batch import Batch, make_batch
from g2rpo_env.agents.learner import Sums, average_metrics
from g2rpo_env.agents.parts.losses import ClippedSurrogate, LogLikelihood
from g2rpo_env.agents.parts.references import KLToStart, NoReference
from g2rpo_env.agents.parts.token_weights import SequenceMean, TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError, NonFiniteError, OutOfMemoryError

CPU = torch.device("cpu")
FAST = Optimizer(learning_rate=1e-2)
SHAPES = ("pps", "pprss", "ppssss", "psss", "pss", "pssss", "ppsss", "ps")


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, guidance, parts) -> an agent on 16 lanes whose random policy is right half of the time."""

    def make(name: str = "grpo", guidance: Any = None, seed: int = 0, **parts: Any) -> GRPO:
        envs = make_envs(16, 4, guidance=guidance)
        parts.setdefault("optimizer", FAST)
        return recipes.make(name, make_policy(envs), envs, seed=seed, **parts)

    return make


def group_batch(make_episode: Any, rewards: list[float], sets: list[int], **episode: Any) -> Batch:
    """A batch of episodes of unlike lengths with rewards and sets."""
    episodes = [make_episode(s, member=i, **episode) for i, s in enumerate(SHAPES[: len(rewards)])]
    weights = [TokenMean()(e) for e in episodes]
    return make_batch(episodes, np.ones(len(rewards)), weights, CPU, rewards=np.array(rewards), sets=np.array(sets))


# -- losses of whole groups -------------------------------------------------------------------------------------------

REWARDS, SETS = [1, 0, 0, 1, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("microbatch", [None, 1, 3])
def test_gradients_of_a_loss_of_whole_groups_are_exact_in_any_passes(
    make_agent: Any, make_episode: Any, microbatch: Any
) -> None:
    agent = make_agent(loss=Contrast(), optimizer=Optimizer(microbatch=microbatch))
    batch = group_batch(make_episode, REWARDS, SETS)
    value, expected = one_graph(agent, batch, Contrast())
    metrics, found = catch_gradients(agent, batch)
    assert metrics["loss"] == pytest.approx(value, rel=1e-5) and metrics["contrasts"] == 2
    assert_close(found, expected)


def test_the_contrast_of_two_by_hand() -> None:
    # set 0: wrong -2 and -4, right -1: log(e^-2 + e^-4) + 1 = -0.8730720; set 1 has no wrong answer.
    batch = Batch(
        *[torch.ones(4, 1)] * 6,
        reward_N1=torch.tensor([[1.0], [0], [0], [1]]),
        set_N1=torch.tensor([[0], [0], [0], [1]]),
    )
    score = torch.tensor([[-1.0], [-2], [-4], [-9]], requires_grad=True)
    value, _ = Contrast().objective(score, batch)
    value.backward()
    assert float(value.detach()) == pytest.approx(math.log(math.exp(-2) + math.exp(-4)) + 1)
    assert score.grad is not None
    assert score.grad[:, 0].tolist() == pytest.approx([-1.0, 0.8807970, 0.1192029, 0.0])  # softmax of -2 and -4


def test_an_episode_of_advantage_zero_stays_in_a_loss_of_whole_groups(make_agent: Any, make_episode: Any) -> None:
    agent = make_agent(loss=Contrast())
    batch = group_batch(make_episode, REWARDS, SETS)
    with_zeros = dataclasses.replace(batch, advantage_NT=torch.zeros_like(batch.weight_NT))
    assert_close(catch_gradients(agent, with_zeros)[1], one_graph(agent, batch, Contrast())[1])


def test_minibatches_of_a_loss_of_whole_groups_split_no_group(make_agent: Any) -> None:
    agent = make_agent(loss=Contrast(), optimizer=Optimizer(learning_rate=1e-2, minibatch=6, epochs=2))
    seen: list[list[int]] = []
    step = agent.learner._step
    agent.learner._step = lambda batch: (seen.append(batch.set_N1[:, 0].tolist()), step(batch))[1]  # type: ignore[method-assign, union-attr]
    metrics = agent.update()
    assert seen == [[0] * 4, [1] * 4, [2] * 4, [3] * 4] * 2
    assert metrics["grad_norm"] > 0 and math.isfinite(metrics["loss"])


def test_revealed_tokens_are_scored_against_the_present_policy(make_agent: Any, make_episode: Any) -> None:
    class Ratio(Contrast):
        def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
            return token_sums(torch.exp(log_probs_NT - batch.old_log_probs_NT), batch)

    agent = make_agent(loss=Ratio())
    episodes = [make_episode(s, member=i) for i, s in enumerate(["prrss", "pss", "prrrs", "psss"])]
    weights = [TokenMean(revealed=True)(e) for e in episodes]
    given = {"rewards": np.array([1, 0, 0, 1]), "sets": np.array([0, 0, 1, 1])}
    batch = make_batch(episodes, np.ones(4), weights, CPU, **given)
    with torch.no_grad():
        now = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, batch.weight_NT > 0)
    sampled = dataclasses.replace(batch, old_log_probs_NT=torch.where(batch.role_NT == Role.SAMPLED, now - 0.1, 0.0))
    full = sampled.with_old_log_probs(now, Role.REVEALED)
    value, expected = one_graph(agent, full, Ratio())
    metrics, found = catch_gradients(agent, sampled)
    assert metrics["loss"] == pytest.approx(value, rel=1e-5)
    assert_close(found, expected)


def test_an_objective_without_a_slope_is_a_step_without_a_gradient(make_agent: Any, make_episode: Any) -> None:
    agent = make_agent(loss=Constant())
    metrics, found = catch_gradients(agent, group_batch(make_episode, REWARDS, SETS))
    assert metrics["loss"] == 2.5 and all(not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("microbatch", [None, 3])
def test_the_logged_loss_of_whole_groups_is_its_objective_and_the_reference_term(
    make_agent: Any, make_episode: Any, microbatch: Any
) -> None:
    batch = group_batch(make_episode, REWARDS, SETS)
    both = make_agent(loss=Contrast(), reference=KLToStart(0.3), optimizer=Optimizer(microbatch=microbatch))
    shifted = dataclasses.replace(batch, reference_log_probs_NT=torch.full_like(batch.weight_NT, -1.0))
    value, _ = one_graph(both, batch, Contrast())
    with torch.no_grad():
        log_probs = both.policy.token_log_probs(batch.tokens_NT, batch.mask_NT, batch.weight_NT > 0)
        term = float(KLToStart(0.3)(log_probs, shifted)) / batch.count
    metrics, _ = catch_gradients(both, shifted)
    assert term > 0 and metrics["loss"] == pytest.approx(value + term, rel=1e-5)


# -- parts that keep and train something ------------------------------------------------------------------------------


@pytest.mark.parametrize("microbatch", [None, 2])
def test_the_gradient_of_a_parts_own_number_is_numeric(make_agent: Any, make_episode: Any, microbatch: Any) -> None:
    # value = exp(scale) c, so its derivative is the value itself.
    agent = make_agent(loss=Scaled(), optimizer=Optimizer(microbatch=microbatch))
    metrics, _ = catch_gradients(agent, group_batch(make_episode, REWARDS, SETS))
    assert float(agent.parts.loss.scale.grad) == pytest.approx(metrics["loss"], rel=1e-5) != 0


def test_a_trainable_part_steps_is_saved_with_its_momentum_and_resumes(
    make_agent: Any, make_envs: Any, tmp_path: Any
) -> None:
    agent = make_agent(loss=Scaled())
    agent.learn(2)
    value = float(agent.parts.loss.scale)
    assert value != 0.5 and float(agent.recipe.loss.scale) == 0.5  # the recipe keeps its start
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    assert float(loaded.parts.loss.scale) == value
    assert loaded.update() == agent.update()  # with a momentum that starts again it would not
    assert float(loaded.parts.loss.scale) == float(agent.parts.loss.scale) != value


def test_numbers_of_a_part_are_in_no_group_of_the_policys_optimiser(make_agent: Any) -> None:
    agent = make_agent(loss=Scaled(), optimizer=Optimizer(learning_rate=1e-2, weight_decay=0.5))
    numbers = {id(p) for group in agent.learner.optimizer.param_groups for p in group["params"]}
    assert id(agent.parts.loss.scale) not in numbers and list(agent.learner.part_optimizers) == ["loss"]


def test_two_agents_of_one_recipe_share_no_number(make_agent: Any) -> None:
    loss = Scaled()
    one, other = make_agent(loss=loss), make_agent(loss=loss)
    one.update()
    assert float(loss.scale) == float(other.parts.loss.scale) == 0.5 != float(one.parts.loss.scale)


def test_a_part_without_an_optimiser_is_told_of_steps_saved_and_resumed(
    make_agent: Any, make_envs: Any, tmp_path: Any
) -> None:
    agent = make_agent(credit=CountedCredit(), optimizer=Optimizer(learning_rate=1e-2, minibatch=8))
    agent.learn(2)
    assert (agent.parts.credit.calls, agent.parts.credit.steps) == (2, 4)  # two minibatches in each update
    assert agent.recipe.credit.calls == 0
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    assert loaded.parts.credit.calls == 2 and loaded.update() == agent.update()


def test_a_gradient_of_a_parts_own_number_that_is_not_finite_is_refused(make_agent: Any) -> None:
    class Steep(Scaled):
        def objective(self, score_NK: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
            value, metrics = super().objective(score_NK, batch)
            return value + torch.sqrt(self.scale * 0), metrics  # finite, with an infinite slope times 0

    agent = make_agent(loss=Steep())
    before = next(agent.policy.model.parameters()).clone()
    with pytest.raises(NonFiniteError, match="update 1: .*loss=Steep"):
        agent.update()
    assert float(agent.parts.loss.scale) == 0.5 and torch.equal(before, next(agent.policy.model.parameters()))


# -- references -------------------------------------------------------------------------------------------------------


def test_a_reference_may_be_required_by_a_shaping_alone_and_follow_the_policy(make_agent: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=Following())
    start = next(agent.policy.model.parameters()).clone()
    agent.update()
    now = next(agent.policy.model.parameters())
    assert not torch.equal(start, now)
    assert torch.allclose(next(agent.learner.reference.copy.parameters()), (start + now) / 2)


def test_a_reference_that_cannot_be_made_is_named_with_the_part_that_asks_for_it(make_agent: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Keeping(NoReference):
        kept: Any = None

        def keep(self, policy: Any) -> Any:
            if self.kept is None:
                raise RuntimeError("two do not fit")
            return self.kept

    words = "policy=CausalLMPolicy must be one that reference=Keeping can keep as it is now; that raises RuntimeError"
    with pytest.raises(ConfigurationError, match=f"^{words}: two do not fit; loss=Preference requires the log-prob"):
        make_agent("dpo", reference=Keeping())
    with pytest.raises(ConfigurationError, match=r"^reference=Keeping: keep must return an object with model\(\)"):
        make_agent("care", reference=Keeping(3))


def test_a_reference_without_a_term_keeps_no_rows_and_no_column(make_agent: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=Following())
    seen: list[Batch] = []
    step = agent.learner._step
    agent.learner._step = lambda batch: (seen.append(batch), step(batch))[1]  # type: ignore[method-assign]
    agent.update()
    assert seen[0].reference_log_probs_NT is None and not agent.learner.needs_every_row
    assert make_agent(reference=KLToStart()).learner.needs_every_row


def test_a_reference_that_moves_goes_on_where_it_was(make_agent: Any, make_envs: Any, tmp_path: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=Following())
    agent.learn(2)
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    pairs = zip(loaded.learner.reference.copy.parameters(), agent.learner.reference.copy.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs) and loaded.update() == agent.update()


def test_a_loss_that_requires_the_reference_has_its_column_and_every_row(make_agent: Any, make_episode: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Distill(ClippedSurrogate):
        requires = frozenset({"reference_log_probs"})

        def __call__(self, log_probs_NT: torch.Tensor, batch: Batch) -> Any:
            gap = torch.where(batch.weight_NT > 0, log_probs_NT - batch.reference_log_probs_NT, 0.0)
            return dataclasses.replace(super().__call__(log_probs_NT, batch), total=(gap**2 * batch.weight_NT).sum())

    agent = make_agent(loss=Distill())
    batch = group_batch(make_episode, REWARDS, SETS)
    batch = dataclasses.replace(batch, advantage_NT=torch.zeros_like(batch.weight_NT))
    with torch.no_grad():
        for parameter in agent.policy.model.parameters():
            parameter.mul_(1.1)  # away from the reference
    _, found = catch_gradients(agent, agent.learner._complete(batch))
    assert max(float(gradient.abs().max()) for gradient in found.values()) > 0


def test_passes_of_the_reference_that_were_made_are_not_made_again(make_agent: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=KLToStart(0.1))
    rows: list[int] = []
    score = agent.learner.reference_log_probs
    agent.learner.reference_log_probs = lambda batch: (rows.append(len(batch)), score(batch))[1]  # type: ignore[method-assign]
    agent.update()
    assert rows == [16]


def test_no_reference_is_made_where_nobody_requires_it(make_agent: Any) -> None:
    assert make_agent(reference=Following()).learner.reference is None


# -- credit and denominators ------------------------------------------------------------------------------------------


def test_even_credit_is_no_credit_to_the_bit(make_agent: Any) -> None:
    one, other = make_agent(), make_agent(credit=EvenCredit())
    assert one.update() == other.update()
    pairs = zip(one.policy.model.parameters(), other.policy.model.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def test_credit_shares_advantages_out_and_leaves_the_denominator(make_agent: Any) -> None:
    agent = make_agent(credit=LateCredit(), token_weight=TokenMean(), loss=LogLikelihood())
    seen: list[Batch] = []
    step = agent.learner._step
    agent.learner._step = lambda batch: (seen.append(batch), step(batch))[1]  # type: ignore[method-assign]
    metrics = agent.update()
    (batch,) = seen
    assert batch.count == sum(int(e.sampled_T.sum()) for e in agent.groups.episodes)
    assert ((batch.advantage_NT != 0).sum(-1) <= 1).all() and metrics["grad_norm"] > 0
    for example, row_T in zip(agent.last_update.examples(), batch.advantage_NT, strict=True):
        assert example.credit_T.tolist() == pytest.approx(row_T[: len(example.credit_T)].tolist())
        assert example.credit_T.sum() == pytest.approx(example.advantage)


def test_a_token_weight_may_have_a_denominator_of_its_own(make_agent: Any, make_episode: Any) -> None:
    # 1, 2 and 4 sampled tokens, A = 1, ratio 1: terms -1 per token, -(1 + 2 + 4) / 3 episodes.
    agent = make_agent(token_weight=PerEpisode(), loss=ClippedSurrogate())
    episodes = [make_episode(s, member=i) for i, s in enumerate(["pps", "pprss", "ppssss"])]
    weights = [PerEpisode()(e) for e in episodes]
    batch = make_batch(episodes, np.ones(3), weights, CPU, counts=[PerEpisode().count(w) for w in weights])
    with torch.no_grad():
        now = agent.policy.token_log_probs(batch.tokens_NT, batch.mask_NT)
    assert batch.count == 3
    metrics, _ = catch_gradients(agent, dataclasses.replace(batch, old_log_probs_NT=now))
    assert metrics["loss"] == pytest.approx(-7 / 3, rel=1e-6)


# -- regularizers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("microbatch", [None, 2])
def test_a_regularizer_is_added_before_the_division_by_the_denominator(
    make_agent: Any, make_episode: Any, microbatch: Any
) -> None:
    agent = make_agent(regularizer=EntropySum(0.1), loss=LogLikelihood(), optimizer=Optimizer(microbatch=microbatch))
    batch = group_batch(make_episode, REWARDS, SETS)
    where = batch.weight_NT > 0
    model = agent.policy.model
    logits = model(input_ids=batch.tokens_NT, attention_mask=batch.mask_NT.long()).logits[:, :-1]
    log_p = torch.log_softmax(logits, -1)
    entropy = -(log_p.exp() * log_p).sum(-1)[where[:, 1:]].sum()
    likelihood = log_p.gather(-1, batch.tokens_NT[:, 1:, None])[..., 0][where[:, 1:]].sum()
    expected = (-likelihood + 0.1 * entropy) / where.sum()
    expected.backward()
    wanted = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    metrics, found = catch_gradients(agent, batch)
    assert metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert_close(found, wanted)


@pytest.mark.parametrize("weight", [TokenMean(), SequenceMean()])
@pytest.mark.parametrize("microbatch", [None, 2])
def test_a_regularizer_may_take_a_mean_over_the_tokens_of_the_step(
    make_agent: Any, make_episode: Any, weight: Any, microbatch: Any
) -> None:
    episodes = [make_episode(s, member=i) for i, s in enumerate(SHAPES)]
    batch = make_batch(episodes, np.zeros(8), [weight(e) for e in episodes], CPU)  # no other gradient, no other loss
    agent = make_agent(regularizer=EntropyMean(), optimizer=Optimizer(microbatch=microbatch))
    where = batch.weight_NT > 0
    expected = 0.1 * agent.policy.token_entropies(batch.tokens_NT, batch.mask_NT, where)[where].mean()
    assert catch_gradients(agent, batch)[0]["loss"] == pytest.approx(float(expected), rel=1e-5)


# -- the rest ---------------------------------------------------------------------------------------------------------


def test_what_is_not_finite_leaves_the_numbers_of_parts_too(make_agent: Any) -> None:
    class Broken(Scaled):
        factor = 1.0

        def scores(self, log_probs_NT: torch.Tensor, batch: Batch) -> torch.Tensor:
            return super().scores(log_probs_NT, batch) * self.factor

    agent = make_agent(loss=Broken())
    Broken.factor = math.nan  # it was right when it was rehearsed
    with pytest.raises(NonFiniteError, match="update 1: loss=nan"):
        agent.update()
    assert float(agent.parts.loss.scale) == 0.5 and agent.parts.loss.scale.grad is None


def test_messages_name_the_update(make_agent: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=Following())
    agent.learn(2)

    def fail(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    agent.policy.token_log_probs = fail  # type: ignore[method-assign]
    with pytest.raises(OutOfMemoryError, match="update 3"):
        agent.update()


def test_sums_add_by_name() -> None:
    sums = Sums()
    sums.add({"loss": 1.5, "clip_fraction": 0.25})
    sums.add({"loss": -0.5})
    assert sums.of == {"loss": 1.0, "clip_fraction": 0.25}


def test_metrics_are_means_over_the_steps_that_have_them() -> None:
    steps = [{"loss": 1.0, "grad_norm": None}, {"loss": 3.0, "grad_norm": 2.0, "kl": 0.5}]
    assert average_metrics(steps) == {"loss": 2.0, "grad_norm": 2.0, "kl": 0.5}
    assert average_metrics([{"loss": None}]) == {"loss": None}


def test_a_recipe_with_new_slots_is_plain_data(make_agent: Any) -> None:
    recipe = dataclasses.replace(recipes.get("grpo"), credit=EvenCredit(), regularizer=EntropySum(0.2))
    assert type(recipe).from_config(json.loads(json.dumps(recipe.to_config()))) == recipe


def test_one_weight_for_all_tokens_of_a_sequence_mean_counts_as_its_sum(make_episode: Any) -> None:
    episodes = [make_episode("pss"), make_episode("ps", member=1)]
    assert make_batch(episodes, np.ones(2), [SequenceMean()(e) for e in episodes], CPU).count == 2.0
