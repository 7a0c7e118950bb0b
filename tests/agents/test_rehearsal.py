"""Rehearsal: wrong parts are refused before a rollout with their names, right ones notice nothing."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import recipes, rehearsal
from g2rpo_env.agents.given import PROVIDED
from g2rpo_env.agents.parts.losses import ClippedSurrogate, CorrectedSurrogate, LossResult, SetLoss, ShapedReveal
from g2rpo_env.agents.parts.references import KLToStart
from g2rpo_env.agents.parts.selection import SplitReveals
from g2rpo_env.agents.parts.token_weights import SequenceMean
from g2rpo_env.episode import Groups, Role
from g2rpo_env.errors import ConfigurationError

GUIDED = {"length": 6, "ratio": 0.5}


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    def make(num_envs: int = 8, group_size: int = 4, **parts: Any) -> Any:
        envs = make_envs(num_envs, group_size, guidance=GUIDED)
        return recipes.make("g2rpo-a", make_policy(envs), envs, **parts)

    return make


def returning(value: Any) -> Any:
    """A part that returns the same whatever it is called with."""

    class Mine:
        def __call__(self, *arguments: Any, **given: Any) -> Any:
            return value

    return Mine()


class Raising:
    """A part with a mistake in it."""

    def __call__(self, *arguments: Any, **given: Any) -> Any:
        return arguments[0].no_such_attribute


def scaled(factor: Any) -> Any:
    """A loss that is a multiple of the sum of the log-probabilities."""

    class Mine:
        def __call__(self, log_probs_NT: torch.Tensor, batch: Any) -> LossResult:
            return LossResult(factor(log_probs_NT))

    return Mine()


SLOTS = ("shaping", "selection", "advantage", "credit", "token_weight", "loss", "reference", "regularizer")


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("value", [None, np.ones(3), "text"])
def test_a_wrong_return_is_refused_with_the_name_of_the_part(make_agent: Any, slot: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{slot}=Mine .*before the first rollout"):
        make_agent(**{slot: returning(value)})


@pytest.mark.parametrize("slot", SLOTS)
def test_an_error_is_named_with_its_part(make_agent: Any, slot: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^{slot}=Raising raises AttributeError .*no_such_attribute"
    ) as caught:
        make_agent(**{slot: Raising()})
    assert isinstance(caught.value.__cause__, AttributeError)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (returning(torch.tensor(1.0)), r"must return a LossResult\(total, metrics\), it returned tensor"),
        (scaled(lambda x: x), r"total must be a finite scalar tensor .*; it returned Tensor of shape"),
        (scaled(lambda x: x.sum() * np.nan), "total must be .*; it returned nan"),
        (scaled(lambda x: x.detach().sum()), "total must be .*; it has none"),
        (scaled(lambda x: 3.0), "total must be .*; it has none"),
        (scaled(lambda x: None), "total must be .*; it returned None"),
        (scaled(lambda x: torch.sqrt(x * 0).sum()), "that gradient is not finite"),
        (returning(LossResult(torch.ones((), requires_grad=True), {"a": torch.ones(2)})), r"metrics\['a'\] must be a"),
    ],
)
def test_a_loss_that_nothing_can_be_learnt_from_is_refused(make_agent: Any, loss: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^loss=Mine.*{words}"):
        make_agent(loss=loss)


@pytest.mark.parametrize("slot", ["reference", "regularizer"])
def test_a_term_is_a_scalar(make_agent: Any, slot: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{slot}=Mine must return a finite scalar; it returned inf"):
        make_agent(**{slot: returning(torch.tensor(torch.inf))})
    make_agent(**{slot: returning(0.0)})


class Pairs(SetLoss):
    """A loss of whole groups whose functions return what they are told."""

    def __init__(self, score: Any = None, value: Any = None) -> None:
        self.score, self.value = score, value

    def scores(self, log_probs_NT: torch.Tensor, batch: Any) -> torch.Tensor:
        """Return the log-probabilities of episodes."""
        return log_probs_NT.sum(-1, keepdim=True) if self.score is None else self.score

    def objective(self, score_NK: torch.Tensor, batch: Any) -> Any:
        """Return the mean score."""
        return (score_NK.mean(), {}) if self.value is None else self.value


def test_losses_of_whole_groups_are_tried_too(make_agent: Any) -> None:
    make_agent(loss=Pairs())
    with pytest.raises(ConfigurationError, match=r"loss=Pairs: scores must return a tensor \(N, K\) for 8 episodes"):
        make_agent(loss=Pairs(score=torch.ones(3)))
    with pytest.raises(ConfigurationError, match=r"objective must return \(loss, metrics\), it returned tensor"):
        make_agent(loss=Pairs(value=torch.tensor(1.0)))


# -- right parts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 1), (16, 16)])
def test_what_the_library_offers_passes_in_groups_of_any_size(make_envs: Any, make_policy: Any, size: Any) -> None:
    envs = make_envs(*size, guidance=GUIDED)
    for name in recipes.RECIPES:
        rehearsal.rehearse(recipes.get(name), envs.unwrapped)
    weight = SequenceMean(revealed=True, which="entropy")
    for loss in (CorrectedSurrogate(), ShapedReveal()):
        other = {"loss": loss, "selection": SplitReveals(), "reference": KLToStart(), "token_weight": weight}
        rehearsal.rehearse(replace(recipes.get("grpo"), **other), envs.unwrapped)


def test_episodes_are_those_of_the_environment(make_envs: Any) -> None:
    envs = make_envs(8, 4, guidance=GUIDED)
    task = envs.unwrapped.task
    groups = rehearsal.make_groups(envs.unwrapped)
    assert [[e.reward for e in group.episodes] for group in groups] == [[1, 0, 1, 0], [0, 1, 0, 1]]
    assert [[e.guided for e in group.episodes] for group in groups] == [[True, True, False, False]] * 2
    for episode in groups.episodes:
        problem = task.source.get(episode.problem_id)
        text = task.tokenizer.decode(episode.tokens_T[episode.role_T == Role.SAMPLED].tolist())
        assert not episode.correct or text == problem.final + "<eos>"
        assert episode.truncated != text.endswith("<eos>") and episode.truncated != episode.terminated
        assert episode.sampled_T.sum() <= task.max_new_tokens


@dataclass
class Counting:
    """A loss that counts its calls, draws numbers, and holds a list."""

    calls: list[int] = field(default_factory=list)

    def __call__(self, log_probs_NT: torch.Tensor, batch: Any) -> LossResult:
        """Return the usual loss."""
        self.calls.append(1)
        random.random(), np.random.rand(), torch.rand(3)
        return ClippedSurrogate()(log_probs_NT, batch)


def test_nothing_is_left_behind(make_agent: Any, weights_of: Any, same_weights: Any) -> None:
    loss = Counting()
    agent = make_agent(loss=loss)
    before = weights_of(agent.policy)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    position = agent.envs.unwrapped.state_dict()
    rehearsal.rehearse(agent.recipe, agent.envs.unwrapped)
    assert loss.calls == [] and agent.envs.unwrapped.state_dict() == position
    assert states == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert same_weights(before, weights_of(agent.policy))
    assert all(p.grad is None for p in agent.policy.model.parameters())


def test_what_cannot_be_copied_or_needs_the_model_is_not_tried(make_agent: Any) -> None:
    class Locked(Raising):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    class Deep:
        requires = frozenset({"states"})

        def __call__(self, *arguments: Any, states_of: Any) -> Any:
            raise AssertionError("called")

    for slot in SLOTS:
        make_agent(**{slot: Locked()})
    for slot in ("shaping", "selection", "credit"):
        make_agent(**{slot: Deep()})


def test_a_model_that_a_part_holds_is_not_copied(make_agent: Any) -> None:
    class Judge(torch.nn.Linear):
        def __deepcopy__(self, memo: Any) -> Any:
            raise AssertionError("copied")

    class Judged:
        def __init__(self) -> None:
            self.judge = Judge(1, 1).requires_grad_(False)
            self.seen: list[int] = []

        def __call__(self, group: Any) -> np.ndarray:
            self.seen.append(len(group.episodes))
            return self.judge(torch.ones(len(group.episodes), 1))[:, 0].numpy()

    shaping = Judged()
    make_agent(shaping=shaping)
    assert shaping.seen == []
    shaping.judge.bias[0] = torch.nan
    with pytest.raises(ConfigurationError, match="reward=nan .*shaping=Judged"):
        make_agent(shaping=shaping)


def test_parts_get_what_they_require(make_agent: Any) -> None:
    class Asking:
        requires = frozenset(PROVIDED) - {"states"}

        def __call__(self, group: Any, **given: Any) -> np.ndarray:
            assert set(given) == {PROVIDED[name].keyword for name in self.requires}
            assert [len(x) for x in given["log_prob_GT"]] == [len(e.tokens_T) for e in group.episodes]
            ends = [text.endswith(given["problem"].final) for text in given["completion_G"]]
            assert any(ends) is any(e.correct for e in group.episodes)
            return group.reward_G

    make_agent(shaping=Asking())


def test_parts_see_groups_without_a_right_answer_too(make_agent: Any) -> None:
    class Picky:
        def __call__(self, reward_G: Any) -> Any:
            return reward_G / reward_G.sum()

    with np.errstate(all="ignore"), pytest.raises(ConfigurationError, match="advantage=Picky must return one finite"):
        make_agent(advantage=Picky())


def test_a_selection_that_keeps_nothing_is_no_fault(make_agent: Any) -> None:
    class Strict:
        def __call__(self, groups: Any, reward_PG: Any) -> Any:
            return Groups(), []

    make_agent(selection=Strict(), loss=Raising())
