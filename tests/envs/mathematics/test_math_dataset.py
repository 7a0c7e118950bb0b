"""MathDataset: any rows as a task; splits, checksums, prompts, rewards, and what is refused."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from standins import data_set_rows

from g2rpo_env import GuidanceWrapper, TokenEnv
from g2rpo_env.envs.files import Tables
from g2rpo_env.envs.mathematics.layout import Layout
from g2rpo_env.envs.mathematics.math_dataset import MathDataset, MathRows, checksums
from g2rpo_env.envs.splits import question_key
from g2rpo_env.errors import ConfigurationError, DataError

ROWS = data_set_rows("MathDataset-v0", range(60))


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def ids(task: MathDataset, split: str) -> list[str]:
    return [problem.problem_id for problem in task.with_split(split).source.longest()]


def tables(**rows: list[str]) -> Tables:
    """Tables of questions by split."""
    placed = {s: [(f"{s} {q}", {"question": q, "answer": "1"}) for q in questions] for s, questions in rows.items()}
    return Tables("data", placed, {})


def split_questions(rows: MathRows) -> dict[str, list[str]]:
    return {split: [p.prompt.strip() for p in problems] for split, problems in rows.splits.items()}


BARE = Layout(solution=None)

# -- rows -----------------------------------------------------------------------------------------------------------


def test_a_file_becomes_a_task(tmp_path: Path) -> None:
    task = MathDataset(write(tmp_path / "rows.jsonl"), level="level")
    problem = task.source.get(task.source.draw(0, 0))
    number = int(problem.problem_id.removeprefix("train/"))
    assert problem.prompt == f"What is {number}+1?\n" and problem.answer == str(number + 1)
    assert problem.steps == ("Add 1. ", f"It is {number}+1.") and problem.difficulty == number
    assert problem.final == f"\nSo the final answer is $\\boxed{{{number + 1}}}$."


def test_annotations_of_a_calculator_are_no_part_of_a_solution(tmp_path: Path) -> None:
    rows = [
        {"question": f"{n}?", "answer": f"1+{n}=<<1+{n}={n + 1}>>{n + 1}\nIt is 1 << x >> 2.\n#### {n + 1}"}
        for n in (3, 4)
    ]
    path = write(tmp_path / "rows.jsonl", rows)
    options: dict[str, Any] = {
        "solution": "answer",
        "answer": None,
        "mark": "####",
        "steps": "lines",
        "test_fraction": 0,
    }
    task = MathDataset(path, validation_fraction=0, **options)
    assert task.source.get("train/0").steps == ("1+3=4\n", "It is 1 << x >> 2.\n")
    kept = MathDataset(path, validation_fraction=0, calculator=True, **options)
    assert kept.source.get("train/0").steps[0] == "1+3=<<1+3=4>>4\n"


def test_fields_may_have_any_name_and_the_answer_may_be_in_the_solution(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"q": "1+1?", "s": "1+1=2\n#### 2"}])
    task = MathDataset(
        path, question="q", solution="s", answer=None, mark="####", steps="lines", validation_fraction=0,
        test_fraction=0, template="Q: {question}\nA:\n",
    )  # fmt: skip
    problem = task.source.get("train/0")
    assert (problem.prompt, problem.steps, problem.final) == ("Q: 1+1?\nA:\n", ("1+1=2\n",), "#### 2")


def test_a_hub_data_set_is_read_with_its_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.get_dataset_split_names", lambda name, config: ["train", "test"])
    rows = {"train": ROWS[:40], "test": ROWS[40:]}
    monkeypatch.setattr("datasets.load_dataset", lambda name, config, split, streaming: iter(rows[split]))
    task = MathDataset("some/data", streaming=True, limit=20, validation_fraction=0.5)
    assert ids(task, "test") == [f"test/{n}" for n in range(20)]
    assert sorted(ids(task, "train") + ids(task, "validation")) == sorted(f"train/{n}" for n in range(20))


@pytest.mark.parametrize("suffix", [".json", ".csv"])
def test_the_format_does_not_matter(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    if suffix == ".json":
        path.write_text(json.dumps(ROWS))
    else:
        lines = [",".join(f'"{value}"' for value in row.values()) for row in ROWS]
        path.write_text("\n".join([",".join(ROWS[0]), *lines]))
    want = MathDataset(write(tmp_path / "rows.jsonl"), level="level").source
    assert list(MathDataset(path, level="level").source.longest()) == list(want.longest())


# -- what the data is -----------------------------------------------------------------------------------------------


def test_the_source_describes_its_data(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [*ROWS, ROWS[0]])
    source = MathDataset(path).source
    found = source.describe()
    assert found["data"] == str(path) and found["rows"] == {"train": 61} and found["left_out"] == 0
    assert sum(found["problems"].values()) == 61 and found["problems"]["train"] == source.num_problems
    assert found["sha256"] == {"rows.jsonl": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "data/train.jsonl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert MathDataset(path, checksum=digest[:16]).source.num_problems
    assert MathDataset(tmp_path, checksum=f"data/train.jsonl:{digest}").source.num_problems
    with pytest.raises(DataError, match="train.jsonl of data=.* has the wrong checksum: expected abcdef01, got"):
        MathDataset(path, checksum="abcdef01")
    assert checksums("a.jsonl:1, b/c.jsonl:2") == {"a.jsonl": "1", "b/c.jsonl": "2"} and checksums("12") == "12"


# -- splits ---------------------------------------------------------------------------------------------------------


def test_one_split_is_divided_by_its_questions(tmp_path: Path) -> None:
    task = MathDataset(write(tmp_path / "rows.jsonl"), validation_fraction=0.2, test_fraction=0.3)
    parts = [ids(task, split) for split in ("train", "validation", "test")]
    assert sorted(sum(parts, [])) == sorted(f"train/{n}" for n in range(60)) and min(map(len, parts)) > 3
    assert ids(task, "warmstart") == parts[0]
    # Another order of the rows, another template: the same questions are held out.
    again = MathDataset(
        write(tmp_path / "again.jsonl", ROWS[::-1]), validation_fraction=0.2, test_fraction=0.3, template="boxed"
    )
    assert sorted(59 - int(name[6:]) for name in ids(again, "test")) == sorted(int(name[6:]) for name in parts[2])


def test_named_splits_are_kept_and_missing_ones_come_out_of_train(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", ROWS[:40])
    write(tmp_path / "test.jsonl", ROWS[40:])
    task = MathDataset(tmp_path, validation_fraction=0.5)
    assert ids(task, "test") == [f"test/{n}" for n in range(20)]
    assert sorted(ids(task, "train") + ids(task, "validation")) == sorted(f"train/{n}" for n in range(40))
    pooled = MathDataset(tmp_path, divide=True, test_fraction=0.5, validation_fraction=0)
    assert {name.split("/")[0] for name in ids(pooled, "test")} == {"train", "test"}


def test_a_question_is_in_one_split_only() -> None:
    rows = MathRows(tables(train=["A b?", "c", "d"], validation=["c", "e"], test=["a  B?", "e"]), BARE)
    assert split_questions(rows) == {"train": ["d"], "validation": ["c"], "test": ["a  B?", "e"]}
    assert rows.left_out == 3


@settings(deadline=None, max_examples=60)
@given(
    train=st.lists(st.text("abAB ", min_size=1, max_size=3).filter(str.strip), min_size=1, max_size=12),
    test=st.lists(st.text("abAB ", min_size=1, max_size=3).filter(str.strip), max_size=6),
    validation=st.floats(0, 0.5),
)
def test_no_question_leaks_whatever_the_rows(train: list[str], test: list[str], validation: float) -> None:
    named = {"train": train, "test": test} if test else {"train": train}
    rows = MathRows(tables(**named), BARE, validation_fraction=validation, test_fraction=0.3)
    keys = {split: {question_key(q) for q in questions} for split, questions in split_questions(rows).items()}
    assert not keys["train"] & keys["test"] and not keys["train"] & keys["validation"]
    assert not keys["validation"] & keys["test"]
    assert sum(map(len, rows.splits.values())) + rows.left_out == len(train) + len(test)


def test_a_split_that_is_empty_says_which_are_not(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl")
    with pytest.raises(ConfigurationError, match=r"split='train' of data=.* is empty; there are test \(60\). divide=T"):
        MathDataset(path)
    assert MathDataset(path, split="test").source.num_problems == 60
    with pytest.raises(ConfigurationError, match="split='dev' must be one of train, validation, test, warmstart"):
        MathDataset(path, split="dev")


def test_the_order_is_seeded_and_resumes(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    env = TokenEnv(MathDataset(path, test_fraction=0, validation_fraction=0))
    first = [env.reset(seed=3)[1]["problem_id"], *(env.reset()[1]["problem_id"] for _ in range(29))]
    state = env.state_dict()
    rest = [env.reset()[1]["problem_id"] for _ in range(30)]
    assert sorted(first + rest) == sorted(f"train/{n}" for n in range(60))  # an epoch holds every row once
    other = TokenEnv(MathDataset(path, test_fraction=0, validation_fraction=0))
    other.load_state_dict(state)
    assert [other.reset()[1]["problem_id"] for _ in range(30)] == rest


# -- episodes -------------------------------------------------------------------------------------------------------


WHOLE = {"validation_fraction": 0, "test_fraction": 0}


def finish(env: Any, text: str, **options: Any) -> tuple[float, dict[str, Any]]:
    """Write the rest of a text after what is revealed, and end."""
    task = env.unwrapped.task
    _, info = env.reset(seed=0, options=options)
    tokens = task.tokenizer(text, split_special_tokens=True)["input_ids"][info["reveal_length"] :]
    for token in [*tokens, task.eos_token_id]:
        _, reward, terminated, _, info = env.step(token)
    assert terminated
    return reward, info


def test_right_and_wrong_answers_through_the_environment(tmp_path: Path) -> None:
    env = GuidanceWrapper(TokenEnv(MathDataset(write(tmp_path / "rows.jsonl"), **WHOLE)), length=1, unit="steps")
    problem = env.unwrapped.task.source.get("train/1")
    assert finish(env, problem.solution, problem="train/1")[0] == 1.0
    assert finish(env, problem.solution.replace("{2}", "{3}"), problem="train/1")[0] == 0.0
    reward, info = finish(env, "".join(problem.steps), problem="train/1")  # what is revealed is no answer
    assert reward == 0.0 and info["verdict"].outcome == "no_answer"


def test_a_ground_truth_that_cannot_be_read_makes_an_invalid_episode(tmp_path: Path) -> None:
    rows = [{"question": "Q?", "solution": "S.", "answer": "\\text{}"}]
    env = TokenEnv(MathDataset(write(tmp_path / "rows.jsonl", rows), test_fraction=0, validation_fraction=0))
    for text in ("\\boxed{3}", ""):
        _, info = finish(env, text, problem="train/0")
        assert not info["valid"] and info["verdict"].outcome == "error" and not info["correct"]


def test_the_template_think_with_a_format_reward(tmp_path: Path) -> None:
    task = MathDataset(write(tmp_path / "rows.jsonl"), template="think", format_weight=0.25, **WHOLE)
    env, problem = TokenEnv(task), task.source.get("train/1")
    assert problem.prompt.endswith("between <answer> and </answer>.\n")
    reward, info = finish(env, problem.solution, problem="train/1")
    assert reward == 1.25 and info["correct"]
    reward, info = finish(env, "<answer>2</answer>", problem="train/1")
    assert reward == 1.0 and info["correct"]
    reward, info = finish(env, "so 3</think><answer>3</answer>", problem="train/1")
    assert reward == 0.25 and not info["correct"]


def test_a_literal_end_token_in_a_row_ends_nothing(tmp_path: Path) -> None:
    rows = [{"question": "Say <eos>?", "solution": "Well <eos>.", "answer": "2"}]
    task = MathDataset(write(tmp_path / "rows.jsonl", rows), test_fraction=0, validation_fraction=0)
    encoded = task.encode(task.source.get("train/0"))
    assert task.eos_token_id not in [*encoded.prompt_T, *encoded.solution_T]


def test_a_task_travels_to_other_processes(tmp_path: Path) -> None:
    task = MathDataset(write(tmp_path / "rows.jsonl"))
    again = pickle.loads(pickle.dumps(task))
    assert list(again.source.longest()) == list(task.source.longest()) and again.length == task.length
    envs = AsyncVectorEnv([lambda: TokenEnv(task)] * 2)
    try:
        envs.reset(seed=0)
        envs.step(np.array([20, 20]))
    finally:
        envs.close()


def test_an_id_takes_the_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [{"q": f"{n}?", "a": n} for n in range(30)])
    env = gym.make("g2rpo_env/MathDataset-v0", data=path, question="q", answer="a", solution=None, max_new_tokens=8)
    assert env.reset(seed=0)[1]["reveal_length"] == 0


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"validation_fraction": 0.6, "test_fraction": 0.5}, "must be at least 0 and together at most 1"),
        ({"test_fraction": -0.1}, "test_fraction=-0.1"),
        ({"format_weight": -1}, "format_weight=-1 must be at least 0"),
        ({"format_weight": 1.0}, "format_weight=1.0 must come with template='think'"),
        ({"system": "Be kind."}, "system='Be kind.' must come with template='chat'"),
        ({"template": "chat"}, "template='chat' needs a tokenizer with a chat template"),
        ({"steps": "words"}, "steps='words' must be one of"),
        ({"limit": 0}, "limit=0 must be at least 1"),
        ({"checksum": "zz"}, "checksum='zz' must be the first 8 to 64 digits"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        MathDataset(write(tmp_path / "rows.jsonl"), **options)


def test_without_data_there_is_no_task() -> None:
    with pytest.raises(ConfigurationError, match="data=None must be a path or the name of a Hub data set"):
        MathDataset()


def test_a_row_with_a_renamed_field_is_named_with_file_row_and_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[0], {"problem": "Q?", "solution": "S", "answer": "1"}])
    with pytest.raises(
        DataError, match="rows.jsonl, line 2: there is no field 'question'; the fields are 'problem', 'solution', 'ans"
    ):
        MathDataset(path)


def test_rows_without_a_solution_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[0], {**ROWS[1], "solution": None}])
    with pytest.warns(UserWarning, match="1 of 2 rows of .* have nothing in the field 'solution'"):
        assert MathDataset(path, test_fraction=0, validation_fraction=0).source.get("train/1").steps == ()


def test_bad_rows_are_left_out_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[0], {**ROWS[1], "answer": "proof"}])
    with pytest.raises(DataError, match="line 2: field 'answer' must be an answer that can be checked"):
        MathDataset(path)
    whole = {"test_fraction": 0, "validation_fraction": 0, "skip_bad": True}
    with pytest.warns(UserWarning, match="1 of 2 rows of .* are left out; .* line 2: field 'answer'"):
        assert MathDataset(path, **whole).source.num_problems == 1
    write(path, [{**ROWS[1], "answer": "proof"}])
    with pytest.warns(UserWarning), pytest.raises(ConfigurationError, match="1 of 1 rows were left out"):
        MathDataset(path, **whole)


def test_a_calculator_is_taken_out_of_every_form_of_a_solution(tmp_path: Path) -> None:
    row = {"question": "Q?", "answer": "3", "info": {"one": "<<1+2=3>>3", "more": ["<<1+2=3>>3 it is"]}}
    for field, solution in (("info.one", "3"), ("info.more", "3 it is")):
        whole = {"test_fraction": 0, "validation_fraction": 0, "solution": field}
        made = MathDataset(write(tmp_path / "rows.jsonl", [row]), **whole).source.get("train/0")
        assert made.solution.startswith(solution) and "<<" not in made.solution


@pytest.mark.parametrize("name", ["level", "hint"])
def test_a_field_that_no_row_has_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "rows.jsonl", [ROWS[0], {**ROWS[1], "extra": "Level 2"}])
    whole = {"test_fraction": 0, "validation_fraction": 0}
    with pytest.raises(ConfigurationError, match=f"{name}='extar' must be a field of .*; the fields are 'question'"):
        MathDataset(path, **whole, **{name: "extar"})
    assert MathDataset(path, **whole, **{name: "extra"}).source.num_problems == 2


def test_a_split_that_is_mostly_copies_says_so(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "id": n} for n in range(3)] + [ROWS[1]]
    with pytest.warns(UserWarning, match="train of .* holds 2 problems in 4 rows: the others are copies"):
        MathDataset(write(tmp_path / "rows.jsonl", rows), test_fraction=0, validation_fraction=0)
