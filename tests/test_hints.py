"""Hints for the problems of any source."""

import numpy as np

from g2rpo_env import Hinted
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.problem import Problem
from g2rpo_env.task import Task

ROWS = [Problem(name, f"{name}=", ("1\n",), "#2", "2") for name in ("a", "b")]


def test_problems_get_their_hint_and_keep_everything_else() -> None:
    plain = AdditionSource(2)
    source = Hinted(plain, {"58+67": "Carry."})
    assert source.get("58+67").hint == "Carry." and source.get("11+22") == plain.get("11+22")
    assert source.get("58+67").solution == plain.get("58+67").solution
    assert [source.draw(5, i) for i in range(9)] == [plain.draw(5, i) for i in range(9)]
    assert source.num_problems is None and source.splits == plain.splits


def test_a_function_of_the_problem_and_another_split() -> None:
    source = Hinted(AdditionSource(2), lambda problem: problem.answer[:1]).with_split("test")
    assert source.split == "test" and source.get("58+67").hint == "1"


def test_the_longest_hint_is_measured() -> None:
    generated = Task(Hinted(AdditionSource(2), {"58+67": "Carry.\nOnce."}), MarkVerifier(), max_new_tokens=9)
    assert generated.longest("hint") == (12, 2)
    rows = Task(Hinted(RowSource(ROWS, "train"), {"b": "No é"}), MarkVerifier(), max_new_tokens=9)
    assert rows.longest("hint") == (5, 1)  # é has two bytes, a token each
    assert Task(RowSource(ROWS, "train"), MarkVerifier(), max_new_tokens=9).longest("hint") == (0, 0)


def test_a_hint_is_encoded_as_data() -> None:
    task = Task(Hinted(RowSource(ROWS, "train"), {"a": "<eos>"}), MarkVerifier(), max_new_tokens=9)
    assert len(task.lookup("a").text("hint").solution_T) == 5 and not np.isin(
        task.eos_token_id, task.lookup("a").text("hint").solution_T
    )
