"""Evaluation: estimators against enumeration and textbook numbers, and what an evaluation may not touch."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from g2rpo_env.agents import Evaluation, evaluate, paired_difference
from g2rpo_env.agents.evaluation import (
    LANES,
    UnreadWatch,
    choose_examples,
    explain_unread,
    interval95,
    mean_over_seeds,
    summarise,
)
from g2rpo_env.envs.arithmetic import sort_problem
from g2rpo_env.envs.generated import split_of
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.estimators import pass_at_k
from g2rpo_env.verdict import Outcome, Verdict


def made(correct: Any, valid: Any = None, k: tuple[int, ...] = (1,), ids: Any = None) -> Evaluation:
    """An evaluation of given answers, a row per problem."""
    correct = np.array(correct, bool)
    valid = np.ones_like(correct) if valid is None else np.array(valid, bool)
    names = tuple(str(i) for i in range(len(correct))) if ids is None else ids
    return summarise(correct, valid, k, "test", "sampled", names)


class Spy:
    """A verifier that keeps what it graded; correct if the completion has an even sum of bytes."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        self.problems += [p.problem_id for p in problems]
        return [Verdict(Outcome.WRONG if sum(c.encode()) % 2 else Outcome.CORRECT) for c in completions]


# -- estimators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_answer(samples: int) -> None:
    for correct in range(samples + 1):
        answers = [True] * correct + [False] * (samples - correct)
        for k in range(1, samples + 1):
            subsets = [any(chosen) for chosen in itertools.combinations(answers, k)]
            assert pass_at_k(samples, correct, k) == pytest.approx(np.mean(subsets), abs=1e-12)


@pytest.mark.parametrize("k", [0, 5])
def test_pass_at_k_of_more_tries_than_samples_is_refused(k: int) -> None:
    with pytest.raises(ConfigurationError, match=f"k={k}"):
        pass_at_k(4, 1, k)


def test_wilson_interval_of_a_textbook_case() -> None:
    # 10 of 20: centre 1/2, half width z sqrt(p q / n + z^2 / (4 n^2)) / (1 + z^2 / n) with z = 1.96: 0.2993 to 0.7007
    assert interval95(np.array([1.0] * 10 + [0.0] * 10)) == pytest.approx((0.2993, 0.7007), abs=1e-4)


def test_wilson_interval_of_no_success_at_all_does_not_shrink_to_a_point() -> None:
    # 0 of 10: upper bound z^2 / (n + z^2) = 3.8415 / 13.8415
    low, high = interval95(np.zeros(10))
    assert low == pytest.approx(0, abs=1e-9) and high == pytest.approx(3.8415 / 13.8415, abs=1e-4)


def test_the_interval_of_shares_is_that_of_their_mean() -> None:
    # 400 shares of mean 1/2 and standard deviation sqrt(1/8): normal interval 1/2 +- 1.96 sqrt(1/8 / 400) = +- 0.0346
    low, high = interval95(np.array([0.0, 0.5, 0.5, 1.0] * 100))
    assert low == pytest.approx(0.4654, abs=0.004) and high == pytest.approx(0.5346, abs=0.004)


@pytest.mark.parametrize("shares", [[0.5], [0.25, 0.25, 0.25]])
def test_the_interval_of_one_problem_or_of_equal_shares_is_finite(shares: list[float]) -> None:
    low, high = interval95(np.array(shares))
    assert low <= shares[0] <= high


def test_accuracy_and_pass_at_k_by_hand() -> None:
    # 2 of 4 and 0 of 4: accuracy 1/4; pass@2 of the first is 1 - C(2,2)/C(4,2) = 5/6, of the second 0.
    found = made([[1, 1, 0, 0], [0, 0, 0, 0]], k=(1, 2, 4))
    assert found.accuracy == 0.25
    assert found.pass_at == pytest.approx({1: 0.25, 2: 5 / 12, 4: 0.5})


def test_answers_whose_verifier_failed_are_left_out_of_numerator_and_denominator() -> None:
    # problem 1: 1 of 2 valid ones; problem 2: none valid, left out; problem 3: 2 of 4
    found = made([[1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]], [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], k=(1, 4))
    assert found.accuracy == 0.5
    assert found.pass_at == pytest.approx({1: 0.5, 4: 1.0})  # only problem 3 has four valid answers


@pytest.mark.filterwarnings("error")
def test_an_evaluation_without_enough_valid_answers_says_nan() -> None:
    found = made([[1, 0]], [[0, 0]])
    assert math.isnan(found.accuracy) and all(math.isnan(x) for x in found.interval)
    assert math.isnan(made([[1, 0]], [[1, 0]], k=(2,)).pass_at[2])


def test_the_plain_form_is_json_and_leaves_the_arrays_out() -> None:
    plain = json.loads(json.dumps(made([[1, 0], [0, 0]], k=(1, 2)).to_config()))
    assert plain["accuracy"] == 0.25 and plain["pass_at"] == {"1": 0.25, "2": 0.5}
    assert (plain["problems"], plain["samples"], plain["split"], plain["mode"]) == (2, 2, "test", "sampled")


# -- paired differences ------------------------------------------------------------------------------------------------


def test_paired_difference_is_zero_of_an_evaluation_with_itself() -> None:
    one = made([[1], [0], [1], [0]])
    assert paired_difference(one, one) == (0.0, (0.0, 0.0))


def test_paired_difference_by_hand_and_its_sign() -> None:
    # 100 problems; one solves 60, other 40 of these and 5 more: (60 - 45) / 100. Differences: 20 of +1, 5 of -1.
    one = made([[i < 60] for i in range(100)])
    other = made([[20 <= i < 60 or i >= 95] for i in range(100)])
    value, (low, high) = paired_difference(one, other)
    assert value == pytest.approx(0.15) == -paired_difference(other, one)[0]
    # normal interval: variance (25 - 15^2 / 100) / 100 = 0.2275, 1.96 sqrt(0.2275 / 100) = 0.0935
    assert low == pytest.approx(0.15 - 0.0935, abs=0.015) and high == pytest.approx(0.15 + 0.0935, abs=0.015)


def test_pairing_is_narrower_than_two_intervals_where_the_same_problems_are_hard() -> None:
    one, other = made([[i < 50] for i in range(100)]), made([[i < 42] for i in range(100)])
    _, (low, high) = paired_difference(one, other)
    assert low > 0 and high - low < 0.15 < one.interval[1] - one.interval[0]


def test_paired_difference_is_of_accuracies_also_where_a_verifier_failed() -> None:
    # Both left out problem 3 and one answer of problem 1, where the verifier failed: 1/1 and 1/2 against 1/2 and 0/2.
    one = made([[1, 0], [1, 0], [0, 0]], [[1, 0], [1, 1], [0, 0]])
    other = made([[1, 0], [0, 0], [1, 1]], [[1, 1], [1, 1], [0, 0]])
    assert paired_difference(one, other)[0] == pytest.approx(one.accuracy - other.accuracy) == pytest.approx(0.5)


def test_evaluations_of_other_problems_are_not_paired() -> None:
    with pytest.raises(ConfigurationError, match="same problems"):
        paired_difference(made([[1], [0]]), made([[1], [0]], ids=("a", "b")))


# -- evaluating a policy -----------------------------------------------------------------------------------------------


def test_an_evaluation_grades_distinct_problems_of_the_split_and_only_those(make_envs: Any, make_policy: Any) -> None:
    for split in ("train", "validation", "test", "warmstart"):
        spy = Spy()
        envs = make_envs(8, 4, digits=2, verifier=spy)
        found = evaluate(make_policy(envs), envs, split=split, problems=20)
        assert len(set(found.problem_ids)) == 20 and set(spy.problems) == set(found.problem_ids)
        assert {split_of(sort_problem(i, "+")) for i in found.problem_ids} == {split}


def test_accuracy_is_the_share_that_the_verifier_calls_correct(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=2)
    policy = make_policy(envs, scale=4.0)
    found = evaluate(policy, envs, problems=30)
    completions = [policy.complete(f"{i}=", envs.unwrapped.task.max_new_tokens) for i in found.problem_ids]
    assert found.correct_PS[:, 0].tolist() == [sum(c.encode()) % 2 == 0 for c in completions]
    assert found.accuracy == found.pass_at[1] == found.correct_PS.mean()
    assert found.interval[0] < found.accuracy < found.interval[1]


@pytest.mark.parametrize("problems,samples", [(LANES + 5, 1), (50, 4), (3, LANES), (2, LANES + 1)])
def test_an_incomplete_last_batch_and_many_samples_count_every_answer_once(
    make_envs: Any, make_policy: Any, problems: int, samples: int
) -> None:
    envs = make_envs(8, 4, digits=3, max_new_tokens=2)
    found = evaluate(make_policy(envs), envs, problems=problems, mode="sampled", samples=samples)
    assert found.correct_PS.shape == found.valid_PS.shape == (problems, samples)
    assert found.valid_PS.all() and 0.3 < found.accuracy < 0.7
    if samples > 1:
        assert any(0 < row.mean() < 1 for row in found.correct_PS)  # samples of a problem differ


def test_results_do_not_depend_on_how_many_other_problems_are_evaluated(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=3)
    policy = make_policy(envs)
    few, many = (evaluate(policy, envs, problems=n, mode="sampled", samples=4) for n in (7, 40))
    assert many.problem_ids[:7] == few.problem_ids
    assert np.array_equal(many.correct_PS[:7], few.correct_PS)


def test_more_samples_go_on_where_fewer_ended(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=3)
    policy = make_policy(envs)
    few, many = (evaluate(policy, envs, problems=20, mode="sampled", samples=n) for n in (2, 6))
    assert np.array_equal(many.correct_PS[:, :2], few.correct_PS)


def test_a_split_that_holds_fewer_problems_gives_all_of_them(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=1, max_new_tokens=2)
    found = evaluate(make_policy(envs), envs, problems=1000)
    every = {f"{a}+{b}" for a in range(10) for b in range(10) if split_of(sort_problem(f"{a}+{b}", "+")) == "test"}
    assert set(found.problem_ids) == every and len(found.problem_ids) == len(every) < 30


def test_seeds_choose_problems_and_samples(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=3)
    policy = make_policy(envs)
    one, again, other = (evaluate(policy, envs, problems=20, mode="sampled", samples=4, seed=s) for s in (1, 1, 2))
    assert one.problem_ids == again.problem_ids != other.problem_ids
    assert np.array_equal(one.correct_PS, again.correct_PS)


def test_evaluation_is_unguided_and_leaves_the_environment_as_it_was(make_envs: Any, make_policy: Any) -> None:
    spy = Spy()
    envs = make_envs(8, 4, verifier=spy, guidance={"length": 6, "ratio": 1.0})
    policy = make_policy(envs)
    before, _ = envs.reset(seed=3)
    state = json.dumps(envs.unwrapped.state_dict())
    task, roles = envs.unwrapped.task, envs.unwrapped.roles.copy()
    found = evaluate(policy, envs, problems=10, mode="sampled", samples=2)
    assert json.dumps(envs.unwrapped.state_dict()) == state
    assert envs.unwrapped.task is task and task.source.split == "train" and envs.length == 6
    assert envs.unwrapped.active.all() and np.array_equal(envs.unwrapped.roles, roles)
    observation, *_ = envs.step(np.full(8, 5))
    assert (observation["length"] == before["length"] + 1).all()
    plain = evaluate(policy, make_envs(8, 4, verifier=spy), problems=10, mode="sampled", samples=2)
    assert np.array_equal(found.correct_PS, plain.correct_PS)


@pytest.mark.parametrize(
    "options,words",
    [
        ({"mode": "beam"}, "mode='beam'"),
        ({"problems": 0}, "problems=0"),
        ({"k": (2,)}, "k=\\(2,\\)"),
        ({"k": ()}, "k=\\(\\)"),
        ({"k": (), "mode": "sampled"}, "k=\\(\\)"),
        ({"k": (0,), "mode": "sampled", "samples": 4}, "k=\\(0,\\)"),
        ({"k": (8,), "mode": "sampled", "samples": 4}, "k=\\(8,\\)"),
        ({"samples": 0, "mode": "sampled"}, "samples=0"),
        ({"samples": 4, "mode": "greedy"}, "samples=4"),
        ({"split": "dev"}, "split='dev'"),
    ],
)
def test_arguments_that_break_their_rule_are_named(
    make_envs: Any, make_policy: Any, options: dict[str, Any], words: str
) -> None:
    envs = make_envs()
    with pytest.raises(ConfigurationError, match=words):
        evaluate(make_policy(envs), envs, **options)


# -- several seeds -----------------------------------------------------------------------------------------------------


def test_the_mean_over_seeds_by_hand() -> None:
    # seeds of 100 problems with accuracies 0.2 and 0.6. Two draws of a seed give 0.2, 0.4 (twice as often) or 0.6, so
    # that the interval reaches from about 0.2 to about 0.6, a little beyond for the problems: sd sqrt(.24 / 100) / 1.4
    one, other = (made([[i < solved] for i in range(100)]) for solved in (20, 60))
    mean, (low, high) = mean_over_seeds([one, other])
    assert mean == pytest.approx(0.4)
    assert low == pytest.approx(0.2 - 0.035, abs=0.03) and high == pytest.approx(0.6 + 0.035, abs=0.03)


def test_the_mean_over_equal_seeds_has_the_interval_of_one_with_all_their_problems() -> None:
    mean, (low, high) = mean_over_seeds([made([[i < 50] for i in range(100)])] * 4)
    assert mean == 0.5 and low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.01)  # sd sqrt(.25 / 400)
    assert high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.01)


# -- contexts ----------------------------------------------------------------------------------------------------------


def test_a_context_stands_in_the_place_of_the_prompt(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    seen: list[list[int]] = []
    make = policy.decoder

    def watch(lanes: int) -> Any:
        decoder = make(lanes)
        advance = decoder.advance

        def first(tokens_NL: Any, length_N: Any, chosen: Any) -> Any:
            seen.append(tokens_NL[0, : length_N[0]].tolist())
            return advance(tokens_NL, length_N, chosen)

        decoder.advance = first
        return decoder

    policy.decoder = watch

    def twice(task: Any, problem_id: str) -> Any:
        return np.tile(task.lookup(problem_id).prompt_T, 2)

    found = evaluate(policy, envs, problems=4, context=twice)
    prompt = envs.unwrapped.task.with_split("test").lookup(found.problem_ids[0]).prompt_T.tolist()
    assert seen[0] == prompt + prompt
    assert envs.unwrapped.task.length == make_envs().unwrapped.task.length  # room is made in the evaluation alone


def test_the_prompt_as_a_context_changes_nothing(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    plain = evaluate(policy, envs, problems=16, mode="sampled", samples=3, k=(1,))
    same = evaluate(
        policy, envs, problems=16, mode="sampled", samples=3, k=(1,), context=lambda task, i: task.lookup(i).prompt_T
    )
    assert (plain.correct_PS == same.correct_PS).all() and plain.accuracy == same.accuracy


def test_progress_counts_the_steps_of_answers_and_ends_at_the_last_batch(make_envs, make_policy, monkeypatch):
    from g2rpo_env.agents import evaluation as module

    monkeypatch.setattr(module, "LANES", 4)
    envs, told = make_envs(4, 4, digits=2), []
    policy = make_policy(envs)
    evaluate(policy, envs, problems=10, progress=lambda *one: told.append(one))
    done = [one for one, _ in told]
    # three batches of up to four problems: 0, 1 and 2 as they begin, and never beyond the three
    assert done == sorted(done) and {total for _, total in told} == {3}
    assert {0, 1, 2} <= set(done) and 2 < done[-1] <= 3


# -- what the answers are like -----------------------------------------------------------------------------------------


class Reader:
    """A verifier that finds no answer in completions with an even number of bytes, and fails on those of 5."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        return [
            Verdict(self.read(len(c.encode())), answer=None if len(c.encode()) % 2 == 0 else c) for c in completions
        ]

    @staticmethod
    def read(length: int) -> Outcome:
        if length == 5:
            return Outcome.ERROR
        return Outcome.NO_ANSWER if length % 2 == 0 else Outcome.CORRECT if length % 3 == 0 else Outcome.WRONG


def test_outcomes_are_counted_and_three_answers_kept(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=2, verifier=Reader())
    policy = make_policy(envs, scale=4.0)
    task = envs.unwrapped.task
    found = evaluate(policy, envs, problems=20)
    texts = [policy.complete(f"{i}=", task.max_new_tokens) for i in found.problem_ids]
    outcomes = [Reader.read(len(text.encode())) for text in texts]
    assert found.outcomes == {outcome: outcomes.count(outcome) for outcome in Outcome}
    assert len(set(outcomes)) > 1 and sum(found.outcomes.values()) == 20
    assert found.max_new_tokens == task.max_new_tokens
    kept = [found.problem_ids.index(answer.problem_id) for answer in found.examples]
    assert len(set(outcomes)) >= 3 and kept == sorted(outcomes.index(outcome) for outcome in set(outcomes))[:3]
    for row, answer in zip(kept, found.examples, strict=True):
        assert (answer.completion, answer.outcome) == (texts[row], outcomes[row])
    plain = json.loads(json.dumps(found.to_config()))
    assert plain["outcomes"]["no_answer"] == outcomes.count(Outcome.NO_ANSWER)
    assert plain["truncated"] == found.truncated and len(plain["examples"]) == 3


def test_examples_are_the_first_of_each_finding_and_then_the_first_ones() -> None:
    def answer(outcome: Outcome) -> Any:
        return type("Answer", (), {"verdict": Verdict(outcome), "outcome": outcome})

    answers = [answer(o) for o in (Outcome.WRONG, Outcome.WRONG, Outcome.WRONG, Outcome.NO_ANSWER, Outcome.WRONG)]
    assert choose_examples(answers) == [answers[0], answers[1], answers[3]]
    assert choose_examples(answers[:2]) == answers[:2] and choose_examples([]) == []
    every = [answer(outcome) for outcome in Outcome]
    assert choose_examples(every) == every[:3]


def test_a_form_that_never_fits_is_said_with_what_to_do() -> None:
    text = explain_unread(22, 20, 24, 256)
    assert text is not None and "22 of 24 answers hold no final answer" in text
    assert "20 of 24 were cut off at max_new_tokens=256" in text and text.endswith("raise max_new_tokens")
    text = explain_unread(2, 13, 24)
    assert (
        text is not None and text.startswith("13 of 24 answers were cut off at the budget") and "template" not in text
    )
    assert explain_unread(12, 12, 24) is None and explain_unread(0, 0, 0) is None


def test_a_training_is_warned_once(make_envs: Any, make_policy: Any) -> None:
    said: list[str] = []
    watch = UnreadWatch(said.append, 9)
    watch({"update": 1, "episodes": 8, "no_answer": 0.5, "truncated": 0.0}, 0.1)
    watch({"update": 2, "episodes": 8, "no_answer": None, "truncated": None}, 0.1)
    watch({"update": 3, "sampled_tokens": 8}, 0.1)  # of an agent that counts no answers
    assert said == []
    for update in (4, 5):
        watch({"update": update, "episodes": 8, "no_answer": 0.75, "truncated": 0.0}, 0.1)
    assert len(said) == 1 and said[0].startswith("Update 4: 6 of 8 answers hold no final answer")


# -- bounds that never fall --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problems,samples", [(32, 4), (8, 16), (128, 1)])
@pytest.mark.parametrize("spread", [False, True])
def test_one_more_correct_answer_lowers_no_bound(problems: int, samples: int, spread: bool) -> None:
    order = np.arange(problems * samples)
    order = order.reshape(samples, problems).T.ravel() if spread else order
    answers, bounds = np.zeros(problems * samples), [interval95(np.zeros(problems))]
    for position in order:
        answers[position] = 1
        bounds.append(interval95(answers.reshape(problems, samples).mean(axis=1)))
    assert (np.diff(bounds, axis=0) >= 0).all() and (np.array(bounds)[:, 0] <= np.array(bounds)[:, 1]).all()
    # none of 32: Wilson's upper bound z^2 / (n + z^2); a success in one of four samples cannot tell more than that
    assert bounds[0][1] == pytest.approx(3.8415 / (problems + 3.8415), abs=1e-4)


def test_a_few_successes_among_many_samples_have_an_interval_of_their_problems() -> None:
    share_P = np.array([0.25] + [0.0] * 31)
    always, ever = interval95(np.zeros(32)), interval95(np.array([1.0] + [0.0] * 31))
    low, high = interval95(share_P)
    assert always[0] <= low <= ever[0] and always[1] <= high <= ever[1]
