"""bench step: both sides keep the lengths, have one loss and one verdict; rows name what they measured."""

import copy

import numpy as np
import pytest
import torch

from g2rpo_env.bench import rollout, step, update
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.bench.rollout import Case
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.verdict import Outcome

LENGTHS = np.array([3, 9, 4, 4, 6, 2, 5, 7])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (rollout, step):
        monkeypatch.setattr(module, "THREADS", 1)
        monkeypatch.setattr(module, "LANES", 8)
        monkeypatch.setattr(module, "EQUAL", 4)
        monkeypatch.setattr(module, "draw_lengths", lambda episodes=8: LENGTHS)
    monkeypatch.setattr(step, "get_compiled_side", lambda case: {})  # compiling takes longer than all tests here


def test_verdicts_by_hand() -> None:
    task = Addition(digits=1)
    problem = task.source.get("1+1")
    outcomes = [verdict.outcome for verdict in step.judge_parity([problem] * 3, ["a", "ab", ""])]
    assert outcomes == [Outcome.WRONG, Outcome.WRONG, Outcome.CORRECT]  # 97, 97 + 98 = 195, 0


def test_generate_of_a_model_keeps_the_lengths() -> None:
    case = Case(LENGTHS, lanes=8)
    model = copy.deepcopy(case.policy.model)
    step.give_lengths(model, case)
    out = model.generate(input_ids=case.prompts, max_new_tokens=9, do_sample=True, eos_token_id=1, pad_token_id=1)
    assert ((out[:, case.prompts.shape[1] :] == 1).int().argmax(1) + 1).tolist() == LENGTHS.tolist()


def test_other_losses_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    case = Case(LENGTHS, lanes=8)
    step.check_same_loss(case)
    monkeypatch.setattr(update, "make_trl_step", lambda model, batch: lambda: 0.5)
    with pytest.raises(AssertionError, match="of TRL's"):
        step.check_same_loss(case)


def test_rows_hold_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trl")
    rows = {row.name: row.value for row in BENCHMARKS["step"](1)}
    for name in ("equal", "spread"):
        title = f"step of 8 episodes, {name} lengths, 1 threads"
        assert rows[f"{title}: TRL / ours"] == rows[f"{title}: TRL"] / rows[f"{title}: ours"]
    assert torch.get_num_threads() == 1
