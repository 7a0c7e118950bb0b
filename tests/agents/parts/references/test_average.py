"""Moving averages as references: in an agent, as a term, and exact resume; the model itself is in test_models.py."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from toys import LikelyReward

from g2rpo_env.agents import GRPO, recipes
from g2rpo_env.agents.parts.references import KLToAverage, KLToStart, MovingAverage
from g2rpo_env.agents.recipe import Optimizer, part_from_config, part_to_config
from g2rpo_env.errors import ConfigurationError


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    """(recipe, parts) -> an agent on 16 lanes."""

    def make(name: str = "grpo", **parts: Any) -> GRPO:
        envs = make_envs(16, 4)
        parts.setdefault("optimizer", Optimizer(learning_rate=1e-2, minibatch=8))
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make


def first(policy: Any) -> torch.Tensor:
    """A copy of the first weights of a policy."""
    return next(policy.model.parameters()).detach().clone()


def averaged(agent: GRPO) -> torch.Tensor:
    """The same of the reference."""
    assert agent.learner.reference is not None
    with agent.learner.reference.model() as model:
        return next(model.parameters()).detach().clone()


def test_an_agent_tells_the_average_of_every_gradient_step(make_agent: Any) -> None:
    agent = make_agent(shaping=LikelyReward(), reference=MovingAverage(decay=0.75, every=2))
    start = first(agent.policy)
    agent.update()  # two gradient steps
    now = first(agent.policy)
    assert agent.learner.reference.steps == 2 and not torch.equal(start, now)
    assert torch.allclose(averaged(agent), start + 0.25 * (now - start), atol=1e-7)


def test_no_average_is_kept_where_nobody_asks_for_it(make_agent: Any) -> None:
    agent = make_agent(reference=MovingAverage())
    assert agent.learner.reference is None
    agent.learn(2)
    plain = make_agent()
    plain.learn(2)
    assert torch.equal(first(agent.policy), first(plain.policy))


def test_the_term_against_an_average_that_stays_is_that_of_the_start(make_agent: Any) -> None:
    found = []
    for reference in (KLToStart(0.5), KLToAverage(0.5, decay=1.0, every=1)):
        agent = make_agent(reference=reference)
        metrics = [agent.update() for _ in range(3)]
        found.append((metrics, first(agent.policy)))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])


def test_the_term_against_an_average_that_moves_is_weaker(make_agent: Any) -> None:
    # It follows at once: the policy is the reference at the begin of each update.
    agent = make_agent(reference=KLToAverage(0.5, decay=0.0, every=1))
    agent.learn(2)
    assert torch.equal(averaged(agent), first(agent.policy))


@pytest.mark.parametrize(
    "parts",
    [
        {"reference": KLToAverage(0.5, decay=0.5, every=3)},
        {"shaping": LikelyReward(), "reference": MovingAverage(0.5, 3)},
    ],
    ids=["term", "shaping"],
)
def test_resume_is_exact(make_agent: Any, make_envs: Any, tmp_path: Any, parts: Any) -> None:
    # Two steps an update, a move after every third: the number of steps goes on, too.
    agent = make_agent(**parts)
    agent.learn(2)
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    assert loaded.learner.reference.steps == 4 and torch.equal(averaged(loaded), averaged(agent))
    assert not torch.equal(averaged(agent), first(agent.policy))
    assert [loaded.update() for _ in range(2)] == [agent.update() for _ in range(2)]
    assert torch.equal(averaged(loaded), averaged(agent)) and torch.equal(first(loaded.policy), first(agent.policy))


def test_resume_with_an_adapter_is_exact(make_envs: Any, make_policy: Any, tmp_path: Any) -> None:
    pytest.importorskip("peft", reason="peft is missing: pip install 'g2rpo-env[lora]'")
    envs = make_envs(16, 4)
    parts = {"reference": KLToAverage(0.5, decay=0.5, every=1), "optimizer": Optimizer(learning_rate=1e-2)}
    agent = recipes.make("grpo", make_policy(envs).add_lora(rank=2), envs, **parts)
    agent.learn(2)
    agent.save(tmp_path / "a")
    loaded = GRPO.load(tmp_path / "a", make_envs(16, 4))
    one, other = (each.learner.reference.state_dict() for each in (agent, loaded))
    assert one["steps"] == other["steps"] == 2 and one["average"].keys() == other["average"].keys()
    assert all(torch.equal(one["average"][name], other["average"][name]) for name in one["average"])
    assert loaded.update() == agent.update()


@pytest.mark.parametrize("part", [MovingAverage(0.9, 5), KLToAverage(0.1, decay=0.9, every=5)])
def test_its_options_are_saved(part: Any) -> None:
    assert part_from_config(part_to_config(part)) == part


@pytest.mark.parametrize("kind", [MovingAverage, KLToAverage])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decay": 1.1}, r"decay=1.1 must lie in \[0, 1\]"),
        ({"decay": math.nan}, "decay=nan"),
        ({"every": 0}, "every=0 must be at least 1"),
    ],
)
def test_wrong_options_are_refused(kind: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        kind(**options)


def test_the_options_of_the_term_keep_their_rules() -> None:
    with pytest.raises(ConfigurationError, match="beta=0"):
        KLToAverage(beta=0)
    assert KLToAverage().requires == {"reference_log_probs"}
