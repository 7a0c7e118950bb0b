"""Promises of every generated task: right solutions, wrong answers refused, splits apart, enough problems."""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Outcome, Problem, TokenEnv, Verdict, check_env
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.envs.chain import Chain
from g2rpo_env.envs.countdown import Countdown
from g2rpo_env.envs.generated import MARK, MarkVerifier, default_budget, level_range, split_of
from g2rpo_env.envs.linear_equation import LinearEquation
from g2rpo_env.envs.multiplication import Multiplication
from g2rpo_env.envs.word_problem import WordProblem
from g2rpo_env.errors import ConfigurationError, UnknownProblemError
from g2rpo_env.problem import SPLITS
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import encode

TASKS: list[Callable[..., Task]] = [Addition, Chain, Countdown, LinearEquation, Multiplication, WordProblem]
each_task = pytest.mark.parametrize("task", [task() for task in TASKS], ids=lambda task: type(task).__name__)
SEEDS = st.integers(0, 10**6)


def drawn(task: Task, split: str, seed: int, count: int) -> list[Problem]:
    source = task.source.with_split(split)
    return [source.get(source.draw(seed, index)) for index in range(count)]


def graded(task: Task, problem: Problem, completion: str) -> Verdict:
    return task.verifier([problem], [completion])[0]


@each_task
@settings(deadline=None, max_examples=40)
@given(seed=SEEDS, split=st.sampled_from(SPLITS), data=st.data())
def test_solutions_verify_and_perturbed_ones_do_not(task: Task, seed: int, split: str, data: Any) -> None:
    (problem,) = drawn(task, split, seed, 1)
    assert graded(task, problem, problem.solution).correct
    assert len(problem.steps) >= 1 and all(step.endswith("\n") for step in problem.steps)
    assert not any(MARK in step for step in problem.steps)
    digits = [i for i, c in enumerate(problem.final) if c.isdigit()]
    position = data.draw(st.sampled_from(digits))
    other = data.draw(st.sampled_from("123456789".replace(problem.final[position], "")))
    changed = problem.final[:position] + other + problem.final[position + 1 :]
    assert not graded(task, problem, "".join(problem.steps) + changed).correct
    assert graded(task, problem, "".join(problem.steps)).outcome is Outcome.NO_ANSWER


@each_task
@settings(deadline=None, max_examples=15)
@given(seed=SEEDS, reveal=st.integers(0, 300))
def test_every_prefix_and_the_rest_of_the_solution_is_worth_one(task: Task, seed: int, reveal: int) -> None:
    env = TokenEnv(task)
    _, info = env.reset(seed=seed, options={"reveal": reveal})
    tokens, _ = encode(task.tokenizer, task.source.get(info["problem_id"]).solution)
    rest = [*tokens[info["reveal_length"] :].tolist(), task.eos_token_id]
    rewards = [env.step(token)[1:3] for token in rest]
    assert rewards[-1] == (1.0, True) and all(step == (0.0, False) for step in rewards[:-1])


@each_task
def test_splits_share_no_structure_and_order_is_a_function_of_seed_and_index(task: Task) -> None:
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        source: Any = task.source.with_split(split)
        ids = [source.draw(3, index) for index in range(300)]
        assert ids == [source.draw(3, index) for index in range(300)] and source.split == split
        seen[split] = {source.structure(i) for i in ids}
        assert all(split_of(s) == split for s in seen[split])
        assert ids[:50] != [source.draw(4, index) for index in range(50)]


@each_task
@settings(deadline=None, max_examples=12)
@given(root=st.one_of(SEEDS, st.lists(SEEDS, min_size=1, max_size=3)), split=st.sampled_from(SPLITS), first=SEEDS)
def test_many_draws_at_once_are_those_made_one_by_one(task: Task, root: Any, split: str, first: int) -> None:
    source: Any = task.source.with_split(split)
    indices = [*range(first, first + 12), 0]
    assert source.draw_many(root, indices) == [source.draw(root, index) for index in indices]


@each_task
def test_a_source_with_an_order_or_samples_of_its_own_is_drawn_from_as_it_says(task: Task) -> None:
    class Ordered(type(task.source)):  # type: ignore[misc]
        def draw(self, seed: Any, index: int) -> str:
            return f"{seed}, {index}"

    class Sampled(type(task.source)):  # type: ignore[misc]
        def sample(self, random: Any, level: int) -> str:
            return f"{level}, {random.integers(1000)}"

        def structure(self, problem_id: str) -> str:
            return problem_id

    ordered, sampled = copy.copy(task.source), copy.copy(task.source)
    ordered.__class__, sampled.__class__ = Ordered, Sampled
    assert ordered.draw_many(3, [5, 6]) == ["3, 5", "3, 6"]
    assert sampled.draw_many(3, [5, 6]) == [sampled.draw(3, 5), sampled.draw(3, 6)]
    assert all("," in problem_id for problem_id in sampled.draw_many(3, range(9)))


@each_task
def test_nothing_drawn_is_longer_than_the_longest(task: Task) -> None:
    (longest,) = task.source.longest()
    for problem in drawn(task, "train", 0, 1000):
        assert len(problem.prompt) <= len(longest.prompt)
        assert len(problem.solution) <= len(longest.solution)
        assert len("".join(problem.steps)) <= len("".join(longest.steps))


@each_task
def test_there_are_many_problems_and_few_are_drawn_twice(task: Task) -> None:
    # With n equally likely problems 3,000 draws repeat about 3000^2 / (2 n) of them: 4.5 for a million.
    ids = [task.source.draw(0, index) for index in range(3000)]
    assert len(ids) - len(set(ids)) <= 60


@pytest.mark.long
@each_task
def test_there_are_a_million_problems(task: Task) -> None:
    # Draws repeat no less than if all problems were equally likely: n of them repeat draws^2 / (2 n) times. Training
    # has 0.6 of the structures.
    draws = 20_000
    counts = Counter(task.source.draw(0, index) for index in range(draws))
    repeats = sum(count * (count - 1) // 2 for count in counts.values())
    assert draws * (draws - 1) / 2 / max(repeats, 1) / 0.6 >= 10**6


@each_task
def test_the_task_is_admitted(task: Task) -> None:
    check_env(TokenEnv(task))


@each_task
@pytest.mark.parametrize("problem_id", ["", "1", "x", "1+", "#", "(1+2", "Tom", "9" * 5000, "1+1+1+1+1+1+1+1\n"])
def test_other_texts_are_no_problems(task: Task, problem_id: str) -> None:
    with pytest.raises(UnknownProblemError, match="must be"):
        task.source.get(problem_id)


@pytest.mark.parametrize("task", TASKS)
def test_a_split_that_does_not_exist_is_named(task: Any) -> None:
    with pytest.raises(ConfigurationError, match="split='dev' must be one of train, validation, test, warmstart"):
        task(split="dev")
    with pytest.raises(ConfigurationError, match="split='dev' must be one of"):
        task().with_split("dev")


def test_levels_are_an_int_or_a_range() -> None:
    assert level_range("hops", 3, 2, 5) == level_range("hops", (3, 3), 2, 5) == (3, 3)
    assert level_range("hops", [2, 5], 2, 5) == (2, 5)
    for wrong in (1, 6, (3, 2), (1, 3), (2, 6), (2, 3, 4), (), 2.5, "3", None):
        with pytest.raises(ConfigurationError, match=r"hops=.* must be an int or an inclusive range .* \[2, 5\]"):
            level_range("hops", wrong, 2, 5)  # type: ignore[arg-type]


def test_the_default_budget_holds_the_longest_solution_its_end_token_and_four_more() -> None:
    task = Chain(operations=3)
    (longest,) = task.source.longest()
    assert task.max_new_tokens == len(longest.solution) + 5
    assert default_budget(task.source, 7) == 7  # type: ignore[arg-type]


def test_shares_of_the_splits() -> None:
    counts = dict.fromkeys(SPLITS, 0)
    for number in range(20_000):
        counts[split_of(str(number))] += 1
    shares = {"test": 0.1, "validation": 0.1, "warmstart": 0.2, "train": 0.6}
    assert all(abs(counts[split] / 20_000 - share) < 0.015 for split, share in shares.items())  # 4 standard errors


@pytest.mark.parametrize(
    "completion,verdict",
    [
        ("#7", Verdict(Outcome.CORRECT, "7")),
        ("#1#7", Verdict(Outcome.CORRECT, "7")),  # the last one counts
        ("#07", Verdict(Outcome.WRONG, "07")),
        ("#7 ", Verdict(Outcome.WRONG, "7 ")),
        ("7", Verdict(Outcome.NO_ANSWER)),
    ],
)
def test_the_mark_by_hand(completion: str, verdict: Verdict) -> None:
    assert MarkVerifier()([Problem("p", "?", (), "#7", "7")], [completion]) == [verdict]
