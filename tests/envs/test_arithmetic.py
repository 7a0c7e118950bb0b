"""Addition: the steps are right, the splits apart, and only the sum is correct."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Outcome, Verdict
from g2rpo_env.envs.arithmetic import Addition, AdditionSource, column_steps, sort_problem
from g2rpo_env.envs.generated import MarkVerifier, split_of
from g2rpo_env.envs.multiplication import MultiplicationSource
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import SPLITS
from g2rpo_env.tokenizer import encode

NUMBERS = st.integers(0, 10**18 - 1)


def test_steps_by_hand() -> None:
    # 358+467: 8+7=15, carry 1; 5+6+1=12, carry 1; 3+4+1=8
    assert column_steps(358, 467) == ("8+7+0=15\n", "5+6+1=12\n", "3+4+1=08\n")
    assert column_steps(358, 467, running=True) == ("8+7+0=15,5\n", "5+6+1=12,25\n", "3+4+1=08,825\n")
    assert column_steps(0, 0) == ("0+0+0=00\n",)
    assert column_steps(99, 1) == ("9+1+0=10\n", "9+0+1=10\n")
    assert column_steps(99, 1, running=True) == ("9+1+0=10,0\n", "9+0+1=10,100\n")


@settings(deadline=None)
@given(a=NUMBERS, b=NUMBERS)
def test_the_columns_make_up_the_sum(a: int, b: int) -> None:
    carry, digits = 0, ""
    for step in column_steps(a, b):
        terms, _, total = step.rstrip("\n").partition("=")
        x, y, c = (int(term) for term in terms.split("+"))
        assert c == carry and int(total) == x + y + c and len(total) == 2
        carry, digits = int(total[0]), total[1] + digits
    assert int(f"{carry}{digits}") == a + b


@settings(deadline=None)
@given(a=NUMBERS, b=NUMBERS)
def test_with_running_digits_every_step_states_the_last_digits_of_the_sum(a: int, b: int) -> None:
    steps = column_steps(a, b, running=True)
    known = [step.rstrip("\n").partition(",")[2] for step in steps]
    assert int(known[-1]) == a + b
    assert [len(k) for k in known[:-1]] == list(range(1, len(steps)))
    assert all(str(a + b).zfill(18).endswith(k) for k in known[:-1])


@settings(deadline=None, max_examples=60)
@given(
    digits=st.tuples(st.integers(1, 18), st.integers(1, 18)).map(sorted),
    split=st.sampled_from(SPLITS),
    seed=st.integers(0, 99),
    index=st.integers(0, 10**6),
    running=st.booleans(),
)
def test_drawn_problems_are_of_the_split_of_the_digits_and_right(
    digits: list[int], split: str, seed: int, index: int, running: bool
) -> None:
    source = AdditionSource(digits, split, running)
    problem_id = source.draw(seed, index)
    assert problem_id == source.draw(seed, index)
    a, b = problem_id.split("+")
    assert len(a) == len(b) and digits[0] <= len(a) <= digits[1] and split_of(sort_problem(problem_id, "+")) == split
    problem = source.get(problem_id)
    assert (problem.problem_id, problem.prompt) == (problem_id, f"{problem_id}=")
    assert problem.final == f"#{problem.answer}" and int(problem.answer) == int(a) + int(b)
    assert problem.steps == column_steps(int(a), int(b), running)


@pytest.mark.parametrize("kind", [AdditionSource, MultiplicationSource])
@pytest.mark.parametrize("digits", [1, 2, 5, 7, 8, 9, (1, 3), (2, 7), (3, 8)])
def test_pairs_drawn_together_are_those_drawn_one_by_one(kind: Any, digits: Any) -> None:
    # 300 draws: also those for which the numbers looked at hold no pair of the split, or one that is passed over
    for split in SPLITS:
        source = kind(digits, split)
        assert source.draw_many([4, 1], range(300)) == [source.draw([4, 1], index) for index in range(300)]


@pytest.mark.parametrize("split", ["train", "test"])
def test_numbers_of_digits_are_drawn_alike_however_the_splits_share_them(split: str) -> None:
    source = AdditionSource((1, 2), split)
    drawn = [source.draw(0, index) for index in range(2000)]
    lengths = np.array([len(d) for d in drawn])
    assert abs((lengths == 3).mean() - 0.5) < 0.045  # four standard errors of sqrt(0.25/2000) = 0.0112
    firsts = [int(d.split("+")[0]) for d in drawn if len(d) == 5]
    assert min(firsts) == 10 and max(firsts) == 99


def test_every_problem_is_of_exactly_one_split_whatever_the_order_of_its_numbers() -> None:
    counts = dict.fromkeys(SPLITS, 0)
    for a in range(100):
        for b in range(a, 100):
            counts[split_of(sort_problem(f"{a}+{b}", "+"))] += 1
            assert sort_problem(f"{a}+{b}", "+") == sort_problem(f"{b}+{a}", "+")
    total = sum(counts.values())
    shares = {"test": 0.1, "validation": 0.1, "warmstart": 0.2, "train": 0.6}
    assert all(abs(counts[split] / total - share) < 0.02 for split, share in shares.items())


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_is_empty_for_the_fewest_digits(split: str) -> None:
    assert AdditionSource(1, split).draw(0, 0)


def test_the_same_source_on_another_split_keeps_its_arguments() -> None:
    other = AdditionSource((2, 4), "train", running=True).with_split("test")
    assert (other.low, other.high, other.split, other.running) == (2, 4, "test", True)


@pytest.mark.parametrize("running", [False, True])
def test_the_longest_problem_is_named_rightly(running: bool) -> None:
    source = AdditionSource((1, 3), "train", running)
    (longest,) = source.longest()
    drawn = [source.get(source.draw(0, index)) for index in range(300)]
    assert all(len(p.prompt) <= len(longest.prompt) and len(p.solution) <= len(longest.solution) for p in drawn)


def test_the_default_budget_holds_the_longest_solution_its_end_token_and_four_more() -> None:
    assert Addition(digits=2).max_new_tokens == len("9+9+0=18\n9+9+1=19\n#198") + 1 + 4
    assert Addition(digits=2, running=True).max_new_tokens == len("9+9+0=18,8\n9+9+1=19,198\n#198") + 1 + 4


@pytest.mark.parametrize(
    "problem_id",
    ["", "12", "12+3", "1+2+3", "12-34", "01+12", "12+34 ", "a+b", "123+456", "1٣+12", "12+34\n", "+12+34"],
)
def test_what_is_no_problem_of_these_digits_is_unknown(problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="must be 'a.b', both numbers of 2 to 2 digits"):
        AdditionSource(2).get(problem_id)


@pytest.mark.parametrize("digits", [0, 19, (3, 2), (0, 2), (1, 19), (1, 2, 3), (), 2.5, "3", None, (1.5, 2)])
def test_bad_digits_are_named(digits: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"digits=.* must be an int or an inclusive range .* within \[1, 18\]"):
        AdditionSource(digits)


def test_digits_may_be_any_integer_or_pair() -> None:
    ranges = [(s.low, s.high) for s in map(AdditionSource, (3, np.int64(3), (3, 3), [3, 3]))]
    assert ranges == [(3, 3)] * 4


def test_a_split_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match="split='dev' must be one of train, validation, test, warmstart"):
        Addition(split="dev")


@pytest.mark.parametrize(
    "completion,verdict",
    [
        ("#125", Verdict(Outcome.CORRECT, "125")),
        ("8+7+0=15\n#125", Verdict(Outcome.CORRECT, "125")),
        ("#9#125", Verdict(Outcome.CORRECT, "125")),  # the last one counts
        ("#125#", Verdict(Outcome.WRONG, "")),
        ("#0125", Verdict(Outcome.WRONG, "0125")),
        ("#125\n", Verdict(Outcome.WRONG, "125\n")),
        ("#125 ", Verdict(Outcome.WRONG, "125 ")),
        ("#12", Verdict(Outcome.WRONG, "12")),
        ("125", Verdict(Outcome.NO_ANSWER)),
        ("", Verdict(Outcome.NO_ANSWER)),
    ],
)
def test_verdicts_by_hand(completion: str, verdict: Verdict) -> None:
    assert MarkVerifier()([AdditionSource(2).get("58+67")], [completion]) == [verdict]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), digits=st.integers(1, 6), running=st.booleans(), reveal=st.integers(0, 80))
def test_the_ground_truth_is_worth_one_from_every_reveal(seed: int, digits: int, running: bool, reveal: int) -> None:
    env = gym.make("g2rpo_env/Addition-v0", digits=digits, running=running)
    _, info = env.reset(seed=seed, options={"reveal": reveal})
    task = env.unwrapped.task
    tokens, _ = encode(task.tokenizer, task.source.get(info["problem_id"]).solution)
    rest = [*tokens[info["reveal_length"] :].tolist(), task.eos_token_id]
    rewards = [env.step(token)[1:3] for token in rest]
    assert rewards[-1] == (1.0, True) and all(step == (0.0, False) for step in rewards[:-1])
