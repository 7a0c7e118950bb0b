"""Warm start: stopping in the range, going back when it overshoots, and the cache."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env import TokenVectorEnv
from g2rpo_env.agents import warm_start as module
from g2rpo_env.agents.parts.strategies import Conditioned, Refine, Resampled, Rollout
from g2rpo_env.agents.warm_start import (
    SCREEN,
    WarmStart,
    WarmStartResult,
    cache_folder,
    check_base,
    count_samples,
    find_context,
    load_or_warm_start,
    measure_success,
    screen_success,
    solution_episode,
    warm_start,
)
from g2rpo_env.envs.arithmetic import sort_problem
from g2rpo_env.envs.generated import split_of
from g2rpo_env.envs.mathematics.gsm8k import GSM8K
from g2rpo_env.episode import Role
from g2rpo_env.errors import BudgetError, ConfigurationError, WarmStartError
from g2rpo_env.problem import distinct_ids
from g2rpo_env.verdict import Outcome, Verdict


class WellFormed:
    """Correct if the completion looks like a worked addition, whatever its digits: learnt in a few dozen steps."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        shape = re.compile(r"(\d\+\d\+\d=\d\d\n)+#\d+")
        return [Verdict(Outcome.CORRECT if shape.fullmatch(c) else Outcome.WRONG) for c in completions]


QUICK = WarmStart((0.05, 0.4), learning_rate=5e-3, batch_size=32, check_every=40, samples=64, max_steps=400)


@pytest.fixture
def envs(make_envs: Any) -> Any:
    return make_envs(8, 4, verifier=WellFormed(), max_new_tokens=14)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replaces the measurement of success by a function of the policy; returns the list of what it answered."""

    def install(measure: Any) -> list[float]:
        answers: list[float] = []

        def success(policy: Any, envs: Any, samples: int, seed: int, low: float, context: Any) -> float:
            answers.append(measure(policy))
            return answers[-1]

        monkeypatch.setattr(module, "screen_success", success)
        return answers

    return install


def distance(policy: Any, weights: dict[str, torch.Tensor]) -> float:
    """How far a policy has moved from some weights."""
    return float(sum((value - weights[name]).abs().sum() for name, value in policy.model.state_dict().items()))


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_a_warm_start_stops_within_the_range_of_success(envs: Any, make_policy: Any) -> None:
    policy, seen = make_policy(envs), []
    result = warm_start(policy, envs, QUICK, progress=lambda steps, success: seen.append((steps, success)))
    assert result.reached and 0.05 <= result.success <= 0.4
    assert seen[-1] == (result.steps, result.success) and seen[0][1] < 0.05
    assert measure_success(policy, envs, 64, 0) == result.success  # the policy is the one that was measured


def test_a_warm_start_is_a_function_of_its_options(
    envs: Any, make_policy: Any, weights_of: Any, same_weights: Any
) -> None:
    options = replace(QUICK, max_steps=12, check_every=6, samples=4)
    made = []
    for seed in (0, 0, 1):
        policy = make_policy(envs)
        warm_start(policy, envs, replace(options, seed=seed))
        made.append(weights_of(policy))
    assert same_weights(made[0], made[1]) and not same_weights(made[0], made[2])


def test_a_check_above_the_range_goes_back_and_looks_twice_as_often(
    envs: Any, make_policy: Any, weights_of: Any, scripted: Any
) -> None:
    policy = make_policy(envs)
    start = weights_of(policy)
    # Success grows with the steps taken; 8 steps are too many, 4 are too few, 6 are right.
    lengths: dict[int, float] = {}
    trainer_step, taken = module._Trainer.step, []

    def counted(self: Any) -> Any:
        metrics = trainer_step(self)
        taken.append(self.steps)
        lengths[self.steps] = distance(policy, start)
        return metrics

    def by_distance(policy: Any) -> float:
        steps = max(n for n, d in {0: 0.0, **lengths}.items() if d == distance(policy, start) or n == 0)
        return {0: 0.0, 4: 0.1, 6: 0.3, 8: 0.9}[steps]

    module_step = module._Trainer.step
    try:
        module._Trainer.step = counted  # type: ignore[method-assign]
        answers = scripted(by_distance)
        checks: list[tuple[int, float]] = []
        options = WarmStart((0.2, 0.4), check_every=8, batch_size=2, max_steps=50)
        result = warm_start(policy, envs, options, progress=lambda *check: checks.append(check))
    finally:
        module._Trainer.step = module_step  # type: ignore[method-assign]
    # 8 overshoots -> back to 0, every 4: 4 is below -> 8 overshoots -> back to 4, every 2: 6 is in range
    assert checks == [(0, 0.0), (8, 0.9), (4, 0.1), (8, 0.9), (6, 0.3)]
    assert result.reached and result.steps == 6 and len(answers) == 5
    assert taken == [*range(1, 9), *range(1, 5), *range(5, 9), 5, 6]
    assert distance(policy, start) == lengths[6]


def test_going_back_restores_weights_optimiser_and_order(
    envs: Any, make_policy: Any, weights_of: Any, same_weights: Any
) -> None:
    policy = make_policy(envs)
    trainer = module._Trainer(policy, envs.unwrapped.task.with_split("warmstart"), replace(QUICK, batch_size=4))
    for _ in range(3):
        trainer.step()
    state = trainer.state_dict()
    results = []
    for _ in range(2):
        trainer.load_state_dict(state)
        for _ in range(3):
            trainer.step()
        results.append(weights_of(policy))
    assert same_weights(*results) and trainer.steps == 6


def test_where_every_single_step_overshoots_the_learning_rate_is_halved(
    envs: Any, make_policy: Any, weights_of: Any, scripted: Any
) -> None:
    policy = make_policy(envs)
    start = weights_of(policy)
    first_step: list[float] = []

    def measure(policy: Any) -> float:
        moved = distance(policy, start)
        first_step.extend([moved] if moved and not first_step else [])
        if not moved:
            return 0.0
        return 0.9 if moved > first_step[0] / 3 else 0.3  # a step of a third of the first one is short enough

    scripted(measure)
    result = warm_start(policy, envs, WarmStart((0.2, 0.4), check_every=1, batch_size=2, max_steps=20))
    assert result.reached and result.steps == 1
    assert distance(policy, start) < first_step[0] / 3


def test_a_policy_that_is_good_enough_already_takes_no_step(
    envs: Any, make_policy: Any, weights_of: Any, same_weights: Any, scripted: Any
) -> None:
    policy = make_policy(envs)
    start = weights_of(policy)
    scripted(lambda policy: 0.3)
    result = warm_start(policy, envs, WarmStart((0.2, 0.4)))
    assert (result.steps, result.success, result.reached) == (0, 0.3, True)
    assert same_weights(start, weights_of(policy))


def test_a_policy_that_is_too_good_from_the_start_is_left_alone_and_said_so(
    envs: Any, make_policy: Any, weights_of: Any, same_weights: Any, scripted: Any
) -> None:
    policy = make_policy(envs)
    start = weights_of(policy)
    scripted(lambda policy: 0.9)
    result = warm_start(policy, envs, WarmStart((0.2, 0.4), batch_size=2))
    assert (result.steps, result.success, result.reached) == (0, 0.9, False)
    assert same_weights(start, weights_of(policy))


def test_a_range_between_two_possible_successes_is_given_up(envs: Any, make_policy: Any, scripted: Any) -> None:
    # Success jumps from 0 to 0.9 somewhere: no step is small enough to land between.
    policy = make_policy(envs)
    start = {name: value.clone() for name, value in policy.model.state_dict().items()}
    scripted(lambda policy: 0.9 if distance(policy, start) > 1e-3 else 0.0)
    options = WarmStart((0.2, 0.4), check_every=1, batch_size=1, max_steps=40)
    result = warm_start(policy, envs, options)
    assert not result.reached
    assert result.success == 0 and result.reason.startswith("success jumps over the range")
    assert distance(policy, start) <= 1e-3  # what is left is the policy that the success is of


def test_giving_up_after_the_last_step_says_so(envs: Any, make_policy: Any, scripted: Any) -> None:
    scripted(lambda policy: 0.0)
    result = warm_start(make_policy(envs), envs, WarmStart((0.2, 0.4), max_steps=7, check_every=5, batch_size=2))
    assert (result.steps, result.success, result.reached) == (7, 0.0, False)


def test_solutions_known_by_heart_end_it(envs: Any, make_policy: Any, scripted: Any) -> None:
    scripted(lambda policy: 0.0)
    options = WarmStart((0.2, 0.4), learning_rate=1e-2, warmup=0, batch_size=8, problems=2, check_every=20)
    result = warm_start(make_policy(envs), envs, options)
    assert 0 < result.steps < 400 and result.success == 0 and not result.reached
    assert result.reason.startswith("the solutions are learnt by heart, at a loss of 0.00")


def test_a_base_without_a_right_answer_is_an_error_and_a_weak_one_is_not() -> None:
    options = WarmStart((0.2, 0.4))
    with pytest.raises(WarmStartError, match=r"no sampled answer is right after 9 steps, because it rained; success="):
        check_base(WarmStartResult(9, 0.0, False, "it rained"), options)
    check_base(WarmStartResult(9, 0.01, False, "it rained"), options)
    check_base(WarmStartResult(0, 0.0, True), WarmStart((0.0, 0.4)))  # nothing was asked for


def test_few_problems_of_a_generated_split_are_sampled_several_times_over(make_envs: Any) -> None:
    # sums of two numbers of one digit: 12 of them are in the validation split, which says it is unlimited
    task = make_envs(digits=1).unwrapped.task.with_split("validation")
    assert task.source.num_problems is None
    assert count_samples(task, 128, 0) == (12, 11)  # 12 x 11 = 132 answers
    assert count_samples(task, 5, 0) == (5, 1)


def test_a_range_without_a_possible_share_is_refused_before_any_step(
    envs: Any, make_policy: Any, steps: list[int]
) -> None:
    # shares of 16 answers are 0, 0.0625, 0.125, ...: none lies between 0.01 and 0.03
    words = r"samples=16 must be at least 50: a check samples 16 answers \(8 problems, 2 each\)"
    with pytest.raises(ConfigurationError, match=words):
        warm_start(make_policy(envs), envs, WarmStart((0.01, 0.03), samples=16))
    assert steps == []


# -- what it trains on, what it measures -------------------------------------------------------------------------------


def test_solutions_come_from_the_warmstart_split_and_success_from_validation(
    envs: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []
    measured: list[str] = []
    make = module.solution_episode

    def spy(task: Any, problem_id: str, seed: Any, context: Any) -> Any:
        trained.append(problem_id)
        return make(task, problem_id, seed, context)

    monkeypatch.setattr(module, "solution_episode", spy)
    verify = WellFormed()
    envs.unwrapped.task.verifier = lambda problems, texts: (
        measured.extend(p.problem_id for p in problems) or verify(problems, texts)
    )
    warm_start(make_policy(envs), envs, WarmStart((0.2, 0.4), max_steps=4, check_every=2, batch_size=8, samples=8))
    assert {split_of(sort_problem(i, "+")) for i in trained} == {"warmstart"}
    assert {split_of(sort_problem(i, "+")) for i in measured} == {"validation"}


def test_the_environment_is_not_touched(make_envs: Any, make_policy: Any) -> None:
    guided = make_envs(8, 4, verifier=WellFormed(), guidance={"length": 4, "ratio": 1.0}, max_new_tokens=14)
    guided.reset(seed=3)
    state, active = json.dumps(guided.unwrapped.state_dict()), guided.unwrapped.active
    warm_start(make_policy(guided), guided, replace(QUICK, max_steps=4, check_every=2, samples=4))
    assert json.dumps(guided.unwrapped.state_dict()) == state
    assert np.array_equal(guided.unwrapped.active, active) and guided.length == 4


def test_a_solution_is_an_episode_of_sampled_tokens_that_ends(envs: Any) -> None:
    task = envs.unwrapped.task
    episode = solution_episode(task, "7+8", 0)
    text = task.tokenizer.decode(episode.tokens_T.tolist())
    assert text == "7+8=7+8+0=15\n#15<eos>"
    assert episode.role_T.tolist() == [Role.PROMPT] * 4 + [Role.SAMPLED] * (len(text) - 4 - len("<eos>") + 1)


def test_a_split_of_few_problems_is_sampled_several_times_over(gsm8k_folder: Path, make_policy: Any) -> None:
    task = GSM8K(gsm8k_folder, max_new_tokens=4)
    graded: list[str] = []
    task.verifier = lambda problems, texts: (  # type: ignore[assignment]
        graded.extend(p.problem_id for p in problems) or [Verdict(Outcome.CORRECT)] * len(problems)
    )
    envs = TokenVectorEnv(task, 4, group_size=4)
    known = task.with_split("validation").source.num_problems
    assert known is not None and known < 20
    assert measure_success(make_policy(envs), envs, 40, 0) == 1.0
    counts = Counter(graded)
    assert len(counts) == known and set(counts.values()) == {-(-40 // known)}


def test_a_screened_success_looks_closer_only_near_the_range(
    envs: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measured(success: float) -> Any:
        return lambda policy, envs, samples, seed, context: asked.append(samples) or success

    monkeypatch.setattr(module, "measure_success", measured(0.0))
    assert screen_success(None, envs, 1000, 0) == 0.0 and asked == [SCREEN]  # type: ignore[arg-type]
    asked.clear()
    monkeypatch.setattr(module, "measure_success", measured(0.02))
    assert screen_success(None, envs, 1000, 0) == 0.02 and asked == [SCREEN, 1000]  # type: ignore[arg-type]
    asked.clear()
    assert screen_success(None, envs, 1000, 0, low=0.1) == 0.02 and asked == [SCREEN]  # type: ignore[arg-type]
    asked.clear()
    assert screen_success(None, envs, 64, 0) == 0.02 and asked == [64]  # type: ignore[arg-type]


def test_solutions_that_never_fit_the_budget_are_refused(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, verifier=WellFormed(), max_new_tokens=5)
    with pytest.raises(BudgetError, match="max_new_tokens=5"):
        warm_start(make_policy(envs), envs, replace(QUICK, samples=4))


@pytest.mark.parametrize(
    "options,words",
    [
        ({"success": (0.3, 0.3)}, "success=\\(0.3, 0.3\\)"),
        ({"success": (-0.1, 0.3)}, "success="),
        ({"success": (0.1, 1.3)}, "success="),
        ({"learning_rate": 0.0}, "learning_rate=0.0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_steps": 0}, "max_steps=0"),
        ({"check_every": 0}, "check_every=0"),
        ({"samples": 0}, "samples=0"),
    ],
)
def test_options_that_break_their_rule_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        WarmStart(**options)


# -- the cache ---------------------------------------------------------------------------------------------------------

BRIEF = replace(QUICK, max_steps=6, check_every=3, samples=4, batch_size=8)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one entry per supervised step."""
    taken: list[int] = []
    step = module._Trainer.step
    monkeypatch.setattr(module._Trainer, "step", lambda self: taken.append(self.steps) or step(self))
    return taken


def test_a_cache_hit_gives_the_same_policy_and_takes_no_step(
    envs: Any, make_policy: Any, steps: list[int], weights_of: Any, same_weights: Any
) -> None:
    first, result = load_or_warm_start(lambda: make_policy(envs), envs, BRIEF)
    assert len(steps) == result.steps == 6
    second, again = load_or_warm_start(lambda: make_policy(envs), envs, BRIEF)
    assert len(steps) == 6 and again == result
    assert same_weights(weights_of(first), weights_of(second))
    second.check_fits(envs)
    assert second.complete("1+1=", 10) == first.complete("1+1=", 10)


def test_the_cache_lies_where_the_variable_says(
    envs: Any, make_policy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "here"))
    load_or_warm_start(lambda: make_policy(envs), envs, BRIEF)
    (folder,) = (tmp_path / "here").iterdir()
    assert folder.name.startswith("warm-") and (folder / "model.safetensors").is_file()
    assert json.loads((folder / "result.json").read_text())["steps"] == 6
    monkeypatch.delenv("G2RPO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "g2rpo-env"


def test_a_folder_that_was_not_finished_is_made_anew(envs: Any, make_policy: Any, steps: list[int]) -> None:
    load_or_warm_start(lambda: make_policy(envs), envs, BRIEF)
    (folder,) = cache_folder().iterdir()
    (folder / "result.json").unlink()
    load_or_warm_start(lambda: make_policy(envs), envs, BRIEF)
    assert len(steps) == 12 and (folder / "result.json").is_file()


def test_temperature_and_dtype_come_back_from_the_cache(envs: Any, make_policy: Any) -> None:
    def cool() -> Any:
        policy = make_policy(envs, temperature=0.5)
        policy.model.bfloat16()
        return policy

    for _ in range(2):
        policy, _ = load_or_warm_start(cool, envs, BRIEF)
        assert policy.temperature == 0.5 and policy.model.dtype is torch.bfloat16


class Stricter(WellFormed):
    """Another verifier: another success, another place to stop."""


def cases(make_envs: Any, make_policy: Any) -> dict[str, tuple[Any, Any, WarmStart]]:
    """Policy, environment and options that differ from the first in one thing each."""

    def task(verifier: Any = None, **options: Any) -> Any:
        return make_envs(8, 4, verifier=verifier or WellFormed(), **{"max_new_tokens": 14, **options})

    def rope(envs: Any) -> Any:
        policy = make_policy(envs)
        policy.model.config.rope_parameters = {"rope_type": "default", "rope_theta": 500.0}
        return policy

    envs = task()
    return {
        "the same": (make_policy(envs), envs, BRIEF),
        **{
            name: (make_policy(envs), envs, replace(BRIEF, **{name: value}))
            for name, value in [("success", (0.1, 0.4)), ("samples", 5), ("seed", 1), ("learning_rate", 1e-3)]
        },
        "weights": (make_policy(envs, 1), envs, BRIEF),
        "temperature": (make_policy(envs, temperature=0.5), envs, BRIEF),
        "budget": (make_policy(envs), task(max_new_tokens=15), BRIEF),
        "digits": (make_policy(envs), task(digits=2, max_new_tokens=14), BRIEF),
        "verifier": (make_policy(envs), task(verifier=Stricter()), BRIEF),
        "model": (rope(envs), envs, BRIEF),
    }


def test_the_key_of_the_cache_changes_with_everything_the_result_depends_on(make_envs: Any, make_policy: Any) -> None:
    keys = {name: module._key(*case) for name, case in cases(make_envs, make_policy).items()}
    assert len(set(keys.values())) == len(keys), keys
    again = {name: module._key(*case) for name, case in cases(make_envs, make_policy).items()}
    assert again == keys


def test_the_key_does_not_depend_on_lanes_guidance_or_where_a_policy_was_loaded_from(
    make_envs: Any, make_policy: Any, tmp_path: Path
) -> None:
    from g2rpo_env.agents import CausalLMPolicy

    envs = make_envs(8, 4, verifier=WellFormed(), max_new_tokens=14)
    other = make_envs(16, 2, verifier=WellFormed(), max_new_tokens=14, guidance={"length": 3})
    policy = make_policy(envs)
    keys = [module._key(policy, e, BRIEF) for e in (envs, other)]
    for name in ("one", "two"):
        policy.save_pretrained(tmp_path / name)
        keys.append(module._key(CausalLMPolicy.from_pretrained(tmp_path / name), envs, BRIEF))
    assert keys[0] == keys[1] and keys[2] == keys[3]


def test_a_step_takes_no_more_solutions_once_it_holds_its_tokens(envs: Any, make_policy: Any) -> None:
    task = envs.unwrapped.task.with_split("warmstart")
    trainer = module._Trainer(make_policy(envs), task, replace(QUICK, batch_tokens=30))
    # a one-digit sum, its solution and end token hold 4 + 9 + 2 or 3 + 1 = 16 or 17 tokens: two of them reach 30
    assert len(trainer._next_batch()) == 2
    trainer.step()
    assert 32 <= trainer.tokens <= 34


def test_it_gives_up_when_the_tokens_are_spent(envs: Any, make_policy: Any, scripted: Any) -> None:
    scripted(lambda policy: 0.0)
    # a step of two solutions holds 32 to 34 tokens: the third one passes 70
    options = WarmStart((0.2, 0.4), batch_size=2, max_tokens=70, check_every=5)
    result = warm_start(make_policy(envs), envs, options)
    assert result.steps == 3 and not result.reached


def test_a_batch_of_uneven_solutions_is_split_and_its_gradient_is_not(
    gsm8k_folder: Path, make_policy: Any, weights_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    envs = TokenVectorEnv(GSM8K(gsm8k_folder, max_new_tokens=64), 2, group_size=2)
    results = []
    for size in (2, None):
        monkeypatch.setattr(module, "_part_size", lambda episodes, size=size: size)
        policy = make_policy(envs)
        module._Trainer(policy, envs.task, replace(QUICK, batch_size=5, learning_rate=1e-4)).step()
        results.append(weights_of(policy))
    for name in results[0]:
        assert torch.allclose(results[0][name], results[1][name], atol=2e-6), name


def test_only_batches_that_padding_would_waste_are_split(envs: Any) -> None:
    short, long = (solution_episode(envs.unwrapped.task, problem, 0) for problem in ("1+1", "9+9"))
    assert module._part_size([short, long] * 4) is None
    stretched = replace(long, **{k: np.tile(getattr(long, k), 3) for k in ("tokens_T", "role_T", "logprob_T")})
    assert module._part_size([short] * 7 + [stretched]) == 2


def test_a_single_file_serves_for_learning_and_for_measuring(gsm8k_folder: Path, make_policy: Any) -> None:
    envs = TokenVectorEnv(GSM8K(gsm8k_folder / "train.jsonl", max_new_tokens=64), 2, group_size=2)
    options = WarmStart((0.2, 0.4), max_steps=1, batch_size=2, samples=4)
    assert warm_start(make_policy(envs), envs, options).steps == 1


def test_the_learning_rate_rises_over_the_first_steps(envs: Any, make_policy: Any) -> None:
    task, rates = envs.unwrapped.task.with_split("warmstart"), []
    trainer = module._Trainer(make_policy(envs), task, replace(QUICK, batch_size=2, learning_rate=0.01, warmup=4))
    for _ in range(6):
        trainer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


def test_few_solutions_are_learnt_epoch_after_epoch(envs: Any, make_policy: Any) -> None:
    task = envs.unwrapped.task.with_split("warmstart")
    trainer = module._Trainer(make_policy(envs), task, replace(QUICK, problems=5))
    drawn = [trainer._next_problem() for _ in range(15)]
    assert all(set(drawn[n : n + 5]) == set(distinct_ids(task.source, 5, QUICK.seed)) for n in (0, 5, 10))
    assert drawn[:5] != drawn[5:10] or drawn[5:10] != drawn[10:]
    with pytest.raises(ConfigurationError, match="problems=0 must be None or at least 1"):
        WarmStart(problems=0)


# -- contexts ----------------------------------------------------------------------------------------------------------


def doubled(task: Any, problem_id: str) -> Any:
    """The prompt, twice."""
    return np.tile(task.lookup(problem_id).prompt_T, 2)


def test_a_solution_stands_behind_its_context(make_envs: Any) -> None:
    task = make_envs().unwrapped.task
    episode, plain = solution_episode(task, "7+8", 0, doubled), solution_episode(task, "7+8", 0)
    prompt_T = task.lookup("7+8").prompt_T
    assert episode.tokens_T.tolist() == [*prompt_T, *plain.tokens_T]
    assert (episode.role_T == Role.PROMPT).sum() == 2 * len(prompt_T)


def test_success_is_measured_under_the_context_that_is_trained(
    envs: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    measure = module.evaluate

    def spy(*args: Any, **options: Any) -> Any:
        asked.append(options["context"])
        return measure(*args, **options)

    monkeypatch.setattr(module, "evaluate", spy)
    policy = make_policy(envs)
    warm_start(policy, envs, replace(QUICK, max_steps=2, check_every=1), context=doubled)
    assert asked and set(asked) == {doubled}


def test_a_context_is_part_of_the_key_of_the_cache(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    plain, other = module._key(policy, envs, QUICK), module._key(policy, envs, QUICK, doubled)
    assert plain == module._key(policy, envs, QUICK, None) != other


def test_the_context_of_a_base_is_what_its_strategy_begins_answers_from() -> None:
    refine, conditioned = Refine(), Conditioned()
    assert find_context(refine) == refine.warm_context and find_context(conditioned) == conditioned.context
    assert find_context(Resampled(inner=refine)) == refine.warm_context
    assert find_context(Resampled()) is find_context(Rollout()) is find_context(None) is None
