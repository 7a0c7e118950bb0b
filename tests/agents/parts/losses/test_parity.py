"""Losses beside those of TRL on one batch: values and every entry of every gradient.

Old log-probabilities are those of the model, moved by 0.3 N(0, 1), so that every clip is reached on both sides.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.parts.credits import TopEntropyTokens
from g2rpo_env.agents.parts.losses import (
    CappedWeights,
    ClippedSurrogate,
    GammaWeights,
    GeometricMean,
    Preference,
    SequenceSurrogate,
    SoftGate,
)
from g2rpo_env.agents.parts.references import KLToStart
from g2rpo_env.agents.parts.regularizers import EntropyBonus
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.bench.update import get_trl_inputs, make_case, make_model, make_our_agent, make_trl_trainer
from g2rpo_env.episode import Group, Groups
from g2rpo_env.tokenizer import char_tokenizer

pytest.importorskip("trl", reason="trl is missing: pip install 'g2rpo-env[benchmark]'")

TOLERANCE = 1e-5
LENGTHS = [5, 9, 3, 12, 7, 1]
LONGEST = 20
"""TRL's max_completion_length, which dr_grpo divides by."""


@dataclass(frozen=True)
class Case:
    """One loss on both sides.

    Attributes:
        parts: Parts of our recipe.
        weight: Weight of our tokens, see :func:`weigh`.
        trainer: Attributes of TRL's trainer.
        args: Fields of its arguments.
        gmpo: Whether TRL's trainer is that of GMPO.
    """

    parts: dict[str, Any]
    weight: str = "mean"
    trainer: dict[str, Any] = field(default_factory=dict)
    args: dict[str, Any] = field(default_factory=dict)
    gmpo: bool = False


NARROW: dict[str, Any] = {"epsilon_low": 0.02, "epsilon_high": 0.03, "importance_sampling_level": "sequence"}
CASES = {
    "grpo": Case({"loss": ClippedSurrogate()}),
    "bnpo": Case({"loss": ClippedSurrogate()}, "token", {"loss_type": "bnpo"}),
    "dr_grpo": Case({"loss": ClippedSurrogate()}, "fixed", {"loss_type": "dr_grpo", "max_completion_length": LONGEST}),
    "dapo": Case({"loss": ClippedSurrogate(0.2, 0.28)}, "token", {"loss_type": "dapo", "epsilon_high": 0.28}),
    "cispo": Case({"loss": CappedWeights(high=1.1)}, "token", {"loss_type": "cispo", "epsilon_high": 1.1}),
    "sapo": Case({"loss": SoftGate()}, "mean", {"loss_type": "sapo"}),
    "gspo": Case({"loss": SequenceSurrogate(0.02, 0.03)}, "mean", NARROW),
    "luspo": Case({"loss": SequenceSurrogate(0.02, 0.03)}, "sum", {**NARROW, "loss_type": "luspo"}),
    "vespo": Case({"loss": GammaWeights()}, "token", {"loss_type": "vespo"}),
    "two-sided": Case({"loss": ClippedSurrogate(cap=1.3)}, args={"delta": 1.3}),
    "k3": Case({"reference": KLToStart(0.5)}, trainer={"beta": 0.5}, args={"use_bias_correction_kl": False}),
    "k3 corrected": Case(
        {"reference": KLToStart(0.5, corrected=True)}, trainer={"beta": 0.5}, args={"use_bias_correction_kl": True}
    ),
    "gmpo": Case({"loss": GeometricMean(0.1, 0.1)}, "mean", {"epsilon_low": 0.1, "epsilon_high": 0.1}, gmpo=True),
    "entropy bonus": Case(
        {"regularizer": EntropyBonus(0.3)}, trainer={"_entropy_bonus_enabled": True, "entropy_coef": 0.3}
    ),
    "top entropy": Case({"credit": TopEntropyTokens(0.2)}, "token", {"loss_type": "bnpo", "top_entropy_quantile": 0.2}),
}
DEFAULTS: dict[str, Any] = {
    "loss_type": "grpo",
    "epsilon_low": 0.2,
    "epsilon_high": 0.2,
    "importance_sampling_level": "token",
    "beta": 0.0,
    "top_entropy_quantile": 1.0,
    "_entropy_bonus_enabled": False,
    "use_adaptive_entropy": False,
    "entropy_coef": 0.0,
}


def weigh(batch: Batch, weight: str) -> Batch:
    """The batch with the weights and counts of a token weight: mean, token, fixed, sum."""
    inside_NT = (batch.weight_NT > 0).float()
    if weight == "mean":
        return replace(batch, weight_NT=inside_NT / inside_NT.sum(-1, keepdim=True))
    if weight == "token":
        return replace(batch, weight_NT=inside_NT)
    return replace(
        batch,
        weight_NT=inside_NT / (LONGEST if weight == "fixed" else 1),
        count_N1=torch.ones(len(batch), 1),
    )


@pytest.fixture(scope="module")
def model() -> Any:
    """Two layers, sharpened so that the probabilities of tokens differ."""
    made = make_model(258, 32, 2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3.0)
    return made


@pytest.fixture(scope="module")
def agent(model: Any) -> Any:
    """Ours."""
    return make_our_agent(copy.deepcopy(model))


@pytest.fixture(scope="module")
def batch(agent: Any, model: Any) -> Batch:
    """Six answers with old and reference log-probabilities near those of the model."""
    made = make_case(model, LENGTHS)
    random = torch.Generator().manual_seed(1)
    noise_2NT = 0.3 * torch.randn((2, *made.weight_NT.shape), generator=random) * (made.weight_NT > 0)
    old_NT, reference_NT = agent.learner.log_probs(made) + noise_2NT
    return replace(made, old_log_probs_NT=old_NT, reference_log_probs_NT=reference_NT)


@pytest.fixture(scope="module")
def whole_trainer(model: Any) -> Any:
    """TRL's trainer; it takes seconds to make."""
    return make_trl_trainer(copy.deepcopy(model))


@pytest.fixture
def trainer(whole_trainer: Any) -> Iterator[Any]:
    """The same with its settings put back afterwards."""
    kind, state, args = type(whole_trainer), dict(vars(whole_trainer)), dict(vars(whole_trainer.args))
    yield whole_trainer
    whole_trainer.__class__ = kind
    vars(whole_trainer).update(state)
    vars(whole_trainer.args).update(args)


Found = tuple[float, dict[str, torch.Tensor]]


def get_gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def compute_trl(trainer: Any, case: Case, batch: Batch) -> Found:
    """Loss and gradients of TRL."""
    for name, value in {**DEFAULTS, **case.trainer}.items():
        assert hasattr(trainer, name), name
        setattr(trainer, name, value)
    for name, value in {"delta": None, "steps_per_generation": 1, **case.args}.items():
        assert hasattr(trainer.args, name), name
        setattr(trainer.args, name, value)
    if case.gmpo:
        from trl.experimental.gmpo import GMPOTrainer

        trainer.__class__ = GMPOTrainer
    inputs = get_trl_inputs(batch)
    start = batch.tokens_NT.shape[1] - inputs["completion_ids"].shape[1]
    assert batch.reference_log_probs_NT is not None
    inputs["num_items_in_batch"] = inputs["completion_mask"].sum()
    inputs["ref_per_token_logps"] = batch.reference_log_probs_NT[:, start:]
    trainer.model.zero_grad(set_to_none=True)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return float(loss.detach()), get_gradients(trainer.model)


def compute_ours(agent: Any, case: Case, batch: Batch, microbatch: int | None = None) -> tuple[Found, dict[str, Any]]:
    """Loss and gradients of ours, and all metrics of the step, which is not taken."""
    parts = copy.deepcopy({name: part for name, part in case.parts.items() if name != "credit"})
    learner, found = agent.learner, {}

    def catch(loss: float) -> float:
        found.update(get_gradients(agent.policy.model))
        return 0.0

    learner._apply = catch
    learner.options = Optimizer(microbatch=microbatch)
    learner.parts = replace(Recipe(), **parts, optimizer=learner.options)
    metrics = learner._step(weigh(batch, case.weight))
    return (metrics["loss"], found), metrics


def share_out(agent: Any, credit: Any, batch: Batch, make_episode: Any) -> Batch:
    """The batch with the advantages of tokens of a credit part, whose episodes are made from the batch."""
    entropy_NT = agent.learner.entropies(batch).numpy()
    episodes = []
    for length in LENGTHS:
        episodes.append(make_episode("p" * (int(batch.mask_NT[len(episodes)].sum()) - length) + "s" * length))
    advantage_N = batch.advantage_NT[:, 0].double().numpy()
    given = [entropy_NT[row, : len(e.tokens_T)] for row, e in enumerate(episodes)]
    rows = credit(Groups([Group(tuple(episodes))]), [advantage_N], entropy_GT=given)
    advantage_NT = np.zeros(entropy_NT.shape)
    for row, credit_T in enumerate(rows):
        advantage_NT[row, : len(credit_T)] = credit_T
    return replace(batch, advantage_NT=torch.from_numpy(advantage_NT).float())


def assert_same(ours: Found, theirs: Found) -> None:
    """Losses, and gradients relative to the largest entry."""
    assert ours[0] == pytest.approx(theirs[0], rel=TOLERANCE, abs=TOLERANCE)
    assert ours[1].keys() == theirs[1].keys()
    largest = max(float(g.abs().max()) for g in theirs[1].values())
    assert largest > 1e-4
    for name, gradient in theirs[1].items():
        assert float((ours[1][name] - gradient).abs().max()) <= TOLERANCE * largest, name


@pytest.mark.parametrize("microbatch", [None, 2])
@pytest.mark.parametrize("name", CASES)
def test_a_loss_is_that_of_trl(
    agent: Any, trainer: Any, batch: Batch, make_episode: Any, name: str, microbatch: int | None
) -> None:
    case, ours = CASES[name], batch
    if "credit" in case.parts:
        ours = share_out(agent, case.parts["credit"], batch, make_episode)
    found, metrics = compute_ours(agent, case, ours, microbatch)
    assert_same(found, compute_trl(trainer, case, batch))
    assert metrics.get("clip_fraction", 0.5) > 0  # the clip is reached


@pytest.mark.parametrize("name", [name for name in CASES if name != "grpo"])
def test_each_loss_differs_from_that_of_grpo(
    agent: Any, trainer: Any, batch: Batch, make_episode: Any, name: str
) -> None:
    (plain, gradients), _ = compute_ours(agent, CASES["grpo"], batch)
    loss, other = compute_trl(trainer, CASES[name], batch)
    largest = max(float(g.abs().max()) for g in other.values())
    apart = max(float((gradients[name] - g).abs().max()) for name, g in other.items())
    assert apart > 100 * TOLERANCE * largest and loss != pytest.approx(plain, rel=1e-3)


@pytest.mark.parametrize("above", [True, False])
def test_the_adaptive_bonus_is_that_of_trl_step_by_step(agent: Any, trainer: Any, batch: Batch, above: bool) -> None:
    entropy = float(agent.learner.entropies(batch)[batch.weight_NT > 0].mean())
    target = entropy * (1.1 if above else 0.9)
    bonus = EntropyBonus(0.02, target=target, step=0.015, most=0.04)
    case = Case(
        {"regularizer": bonus},
        trainer={"_entropy_bonus_enabled": True, "use_adaptive_entropy": True, "entropy_coef": 0.02},
        args={"entropy_target": target, "entropy_coef_delta": 0.015, "entropy_coef_max": 0.04, "entropy_coef_min": 0.0},
    )
    trainer._last_world_entropy, trainer._entropy_window_stats = float("inf"), None
    losses = []
    for _ in range(4):
        found, _ = compute_ours(agent, case, batch, microbatch=2)
        theirs = compute_trl(trainer, case, batch)
        agent.learner.parts.regularizer.stepped()
        assert_same(found, theirs)
        bonus.load_state_dict(agent.learner.parts.regularizer.state_dict())
        case.trainer["entropy_coef"] = trainer.entropy_coef  # compute_trl sets it again
        assert bonus.present == pytest.approx(trainer.entropy_coef)
        losses.append(found[0])
    # Above the target: 0.02, 0.005, 0, 0 and never applied. Below: 0.02 unapplied, then 0.035, 0.04, 0.04.
    assert len({round(loss, 5) for loss in losses}) == (3 if above else 1)


# -- pairs ------------------------------------------------------------------------------------------------------------


def compute_trl_dpo(model: Any, batch: Batch, beta: float, folder: Any) -> Found:
    """Loss and gradients of TRL's DPO, loss type sigmoid; the first half of the rows is chosen over the second."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    options = {"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "disable_dropout": True}
    pair = Dataset.from_dict({"prompt": ["1+1="], "chosen": ["2"], "rejected": ["3"]})
    trainer = DPOTrainer(
        model=copy.deepcopy(model),
        ref_model=copy.deepcopy(model),
        args=DPOConfig(output_dir=str(folder), beta=beta, loss_type=["sigmoid"], report_to=[], **options),
        train_dataset=pair,
        processing_class=char_tokenizer(),
    )
    trainer.precompute_ref_logps = True  # the log-probabilities of the reference are those of the batch
    trainer.model.train()
    inside_NT = batch.weight_NT > 0
    assert batch.reference_log_probs_NT is not None
    chosen, rejected = torch.where(inside_NT, batch.reference_log_probs_NT, 0.0).sum(-1).chunk(2)
    inputs = {
        "input_ids": batch.tokens_NT,
        "attention_mask": batch.mask_NT.long(),
        "completion_mask": inside_NT.long(),
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    loss = trainer._compute_loss(trainer.model, inputs, False)
    loss.backward()
    return float(loss.detach()), get_gradients(trainer.model)


@pytest.mark.parametrize("microbatch", [None, 1])
def test_pairs_without_doubt_have_the_loss_of_dpo(
    agent: Any, model: Any, batch: Batch, tmp_path: Any, microbatch: int | None
) -> None:
    reward_N1, set_N1 = torch.tensor([[1.0]] * 3 + [[0.0]] * 3), torch.tensor([[0], [1], [2]] * 2)
    pairs = replace(batch, reward_N1=reward_N1, set_N1=set_N1)
    found, metrics = compute_ours(agent, Case({"loss": Preference(0.5)}, "token"), pairs, microbatch)
    assert_same(found, compute_trl_dpo(model, pairs, 0.5, tmp_path))
    assert metrics["preference_gap"] != 0
