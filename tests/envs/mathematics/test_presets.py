"""Data sets known by name: stand-ins row by row, and every real row played back through the environment."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from standins import data_set_rows, stand_in

from g2rpo_env import Problem, Task, TokenVectorEnv, Verifier
from g2rpo_env.envs.dataset import RowSource
from g2rpo_env.envs.mathematics.gsm8k import GSM8K
from g2rpo_env.envs.mathematics.presets import AIME, MATH, SVAMP, AQuA, OpenR1Math, prepare_svamp, states_letter
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.reveal.plan import reveal_tokens
from g2rpo_env.tokenizer import decode

WHOLE = {"validation_fraction": 0, "test_fraction": 0}
KINDS = {"MATH-v0": MATH, "AIME-v0": AIME, "SVAMP-v0": SVAMP, "AQuA-v0": AQuA, "OpenR1Math-v0": OpenR1Math}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def shown(task: Task, problem: Problem, cap: str = "before_answer") -> str:
    """The most that may be revealed."""
    encoded = task.encode(problem)
    return decode(task.tokenizer, encoded.solution_T[: reveal_tokens(encoded, 10**6, "tokens", cap)])


# -- MATH -----------------------------------------------------------------------------------------------------------


def test_math_has_levels_subjects_and_boxed_answers(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", data_set_rows("MATH-v0", range(20)))
    task = MATH(path, **WHOLE)
    problem = task.source.get("train/3")
    assert problem == Problem(
        "train/3",
        "Find $x = 3 + 1$.\n",
        ("We add $1$ to $3$. ", "Then ", "\\[x = 3 + 1.\\] "),
        "So $x = \\boxed{4}$.",
        "4",
        level=4.0,
    )
    assert task.source.num_problems == 20
    some = MATH(path, levels=(1, 5), subjects=("number theory",), **WHOLE).source
    assert sorted(p.problem_id for p in some.longest()) == ["train/15", "train/19", "train/5", "train/9"]
    with pytest.raises(ConfigurationError, match=r"levels=\(0,\) must lie between 1 and 5"):
        MATH(path, levels=(0,))
    with pytest.raises(ConfigurationError, match="subjects: 'Topology' must be one of Algebra, Counting"):
        MATH(path, subjects=("Topology",))
    with pytest.raises(ConfigurationError, match="subjects='Algebra' must be a sequence"):
        MATH(path, subjects="Algebra")
    with pytest.raises(ConfigurationError, match="split='train' of data=.* is empty; there are none"):
        MATH(path, subjects=("Geometry",))


def test_math_as_it_was_published_and_the_subset_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "test"):
        for n, row in enumerate(data_set_rows("MATH-v0", range(3 * (split == "test"), 3 + 3 * (split == "test")))):
            path = tmp_path / split / "algebra" / f"{n}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(row))
    task = MATH(tmp_path, validation_fraction=0)
    assert task.source.num_problems == task.with_split("test").source.num_problems == 3
    rows = [{"subject": "Algebra", "level": 2, "answer": "1", **row} for row in data_set_rows("MATH-v0", range(5))]
    monkeypatch.setattr("datasets.get_dataset_split_names", lambda name, config: ["test"])
    monkeypatch.setattr("datasets.load_dataset", lambda name, config, split: rows)
    task = MATH("HuggingFaceH4/MATH-500", split="test", subjects=("algebra",))
    assert task.source.num_problems == 5 and task.source.describe()["data"] == "HuggingFaceH4/MATH-500"


def test_a_fraction_is_kept_back_in_other_spellings(tmp_path: Path) -> None:
    row = {"problem": "Half of 3?", "solution": r"It is $\dfrac{3}{2}$ by halving. So $\boxed{\frac{3}{2}}$."}
    task = MATH(write(tmp_path / "rows.jsonl", [row]), **WHOLE)
    problem = task.source.get("train/0")
    assert shown(task, problem) == "It is $" and shown(task, problem, "final_answer") == problem.steps[0]
    assert problem.level is None and problem.difficulty == 1


# -- AIME -----------------------------------------------------------------------------------------------------------


def test_aime_is_for_tests_and_its_answers_are_whole_numbers(tmp_path: Path) -> None:
    rows = data_set_rows("AIME-v0", range(6))
    path = write(tmp_path / "rows.jsonl", [*rows, {"Question": "1+1?", "Answer": 2, "Solution": "So $\\boxed{002}$"}])
    task = AIME(path)
    assert task.source.split == "test" and task.source.num_problems == 7
    assert task.source.get("train/2").answer == "3" and task.source.get("train/2").steps == ()
    problem = task.source.get("train/6")
    assert problem.answer == "2" and task.grade([problem], [problem.solution])[0].correct
    assert AIME(path, split="train", test_fraction=0.1).source.num_problems > 1
    for bad in ("1000", "-1", "x", "³"):
        with pytest.raises(DataError, match="line 1: field 'answer' must be a whole number from 0 to 999"):
            AIME(write(tmp_path / "bad.jsonl", [{"problem": "Q?", "answer": bad}]))


# -- SVAMP ----------------------------------------------------------------------------------------------------------


def test_svamp_joins_its_question_and_reveals_its_equation(tmp_path: Path) -> None:
    path = tmp_path / "SVAMP.json"
    path.write_text(json.dumps(data_set_rows("SVAMP-v0", range(9)), indent=4))
    problem = SVAMP(path, **WHOLE).source.get("train/2")
    assert problem == Problem(
        "train/2", "Bo has 2 pens and buys 3 more. How many pens?\n", ("( 2.0 + 3.0 )",), "\n#### 5", "5", level=1.0
    )
    row = {"Body": "A.", "Question": "B?", "Equation": "( ( 1.0 * -2.0 ) - 3.5 )"}
    assert prepare_svamp(row, "")["operations"] == 2 and prepare_svamp(row, "")["question"] == "A. B?"


# -- AQuA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AQuA-v0", "OpenR1Math-v0", "SVAMP-v0"])
def test_rows_of_a_table_give_the_same_problems(tmp_path: Path, name: str) -> None:
    rows = data_set_rows(name, range(1, 5))
    plain = KINDS[name](write(tmp_path / "train.jsonl", rows), **WHOLE, max_new_tokens=24)
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows)
    task = KINDS[name](tmp_path / "train.csv", **WHOLE, max_new_tokens=24)
    assert [p.steps for p in task.source.longest()] == [p.steps for p in plain.source.longest()]
    problems = list(task.source.longest())
    assert all(v.correct for v in task.verifier(problems, [p.solution for p in problems]))


def test_aqua_shows_its_options_and_hides_letter_and_value(tmp_path: Path) -> None:
    row = {
        "question": "Pay?", "options": ["A)$5", "B)$1,905", "C) 9"], "correct": "B",
        "rationale": "Add.\nX = 1905.\nThat is it.\nAnswer:\nB. $1,905",
    }  # fmt: skip
    task = AQuA(write(tmp_path / "rows.jsonl", [row]), **WHOLE)
    problem = task.source.get("train/0")
    assert problem.prompt == "Pay?\nA)$5\nB)$1,905\nC) 9\n" and problem.aliases == ("$1,905", "1905")
    assert problem.steps == ("Add.\n", "X = 1905.\n", "That is it.\n") and problem.final == "Answer:\nB. $1,905"
    assert shown(task, problem) == "Add.\nX = "
    texts = [problem.solution, "#### B", "\\boxed{B}", "The answer is (B)", "#### C", "#### A", "B", "#### 1905"]
    assert [v.correct for v in task.grade([problem] * 8, texts)] == [True] * 4 + [False] * 4


@pytest.mark.parametrize(
    "step,states",
    [
        ("Correct answer - B", True),
        ("CORRECT OPTION:OPTION B", True),
        ("Ans. (B)", True),
        ("so the correct choice must be B.", True),
        ("answer is b", True),
        (" B\n", True),
        ("option C", False),
        ("B is 3 and C is 4", False),
        ("Option Because", False),
        ("The answer to B's question", False),
    ],
)
def test_letters_are_stated_in_many_ways(step: str, states: bool) -> None:
    assert states_letter(step, "B") is states


@pytest.mark.parametrize(
    "change,words",
    [
        ({"options": "A)1"}, "line 1: field 'options' must be a list of texts"),
        ({"options": ["A)1", 2]}, "field 'options' must be a list of texts"),
        ({"correct": "C"}, "field 'correct' must be the letter of an option"),
        ({"correct": ""}, "field 'correct' must be a text"),
    ],
)
def test_bad_rows_of_aqua_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    row = {"question": "Q?", "options": ["A)1", "B)2"], "rationale": "R", "correct": "A", **change}
    with pytest.raises(DataError, match=words):
        AQuA(write(tmp_path / "rows.jsonl", [row]))


# -- OpenR1-Math ----------------------------------------------------------------------------------------------------


def test_open_r1_guides_with_the_first_verified_trace(tmp_path: Path) -> None:
    rows = data_set_rows("OpenR1Math-v0", range(3))
    rows[1]["correctness_math_verify"] = [False, False]
    rows[1]["correctness_llama"] = None
    rows[2]["correctness_math_verify"] = [True, True]
    task = OpenR1Math(write(tmp_path / "rows.jsonl", rows), **WHOLE)
    assert [p.problem_id for p in task.source.longest()] == ["train/0", "train/2"]  # one has no verified trace
    first, last = (task.source.get(f"train/{n}") for n in (0, 2))
    assert first.steps == ("<think>\nLet me add.\n\n", "It is 0+2.\n</think>\n\n") and first.final == "\\boxed{2}"
    assert first.level == 0.5 and last.level == 0.0 and last.solution.startswith("I guess.")


@pytest.mark.parametrize(
    "change,words",
    [
        ({"generations": None}, "line 1: field 'generations' must be a list of texts, got None"),
        ({"correctness_math_verify": [True]}, "'correctness_math_verify' must hold one mark for each of 2 generations"),
        ({"correctness_math_verify": None}, "there must be a field 'correctness_math_verify' or"),
    ],
)
def test_bad_rows_of_open_r1_are_named(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    row = {**data_set_rows("OpenR1Math-v0", range(1))[0], **change}
    with pytest.raises(DataError, match=words):
        OpenR1Math(write(tmp_path / "rows.jsonl", [row]))


# -- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("template", ["plain", "boxed", "think"])
def test_every_preset_grades_its_solutions_right_and_no_reveal(tmp_path: Path, name: str, template: str) -> None:
    env = gym.make(f"g2rpo_env/{name}", template=template, **stand_in(name, tmp_path))
    task = env.unwrapped.task
    check_playback(task, list(task.source.longest()), task.verifier)


@pytest.mark.parametrize("name", KINDS)
def test_every_preset_can_come_from_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr("datasets.get_dataset_split_names", lambda name, config: asked.append(name) or ["test"])
    monkeypatch.setattr("datasets.load_dataset", lambda hub, config, split: data_set_rows(name, range(4)))
    options = {} if name == "AIME-v0" else {"split": "test"}
    assert KINDS[name](**options).source.num_problems == 4 and len(asked) == 1 and "/" in asked[0]


def test_a_hub_that_cannot_be_reached_says_how_to_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(name: str, config: str | None) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.get_dataset_split_names", unreachable)
    with pytest.raises(DataError, match=r"no network.*give data the path of the folder"):
        MATH()


def test_parquet_as_on_the_hub_makes_a_task(tmp_path: Path) -> None:
    import datasets

    rows = data_set_rows("OpenR1Math-v0", range(6))
    (tmp_path / "default").mkdir()
    for part in range(2):
        table = datasets.Dataset.from_list(rows[3 * part : 3 * part + 3])
        table.to_parquet(str(tmp_path / f"default/train-0000{part}-of-00002.parquet"))
    task = OpenR1Math(tmp_path, config="default", **WHOLE)
    want = OpenR1Math(write(tmp_path / "rows.jsonl", rows), **WHOLE)
    assert list(task.source.longest()) == list(want.source.longest()) and task.source.num_problems == 6


# -- played back ----------------------------------------------------------------------------------------------------


def played(envs: TokenVectorEnv, episodes: list[tuple[Problem, int, str]]) -> list[bool]:
    """Return whether each episode was right: (problem, revealed tokens, text that is written whole)."""
    lanes, right = envs.num_envs, []
    task = envs.task
    for first in range(0, len(episodes), lanes):
        some = episodes[first : first + lanes]
        some = some + some[:1] * (lanes - len(some))
        reveals = np.array([reveal for _, reveal, _ in some])
        envs.reset(seed=0, options={"problem": [p.problem_id for p, _, _ in some], "reveal": reveals})
        rest = [np.frombuffer(text.encode(), np.uint8)[reveal:] for _, reveal, text in some]
        actions = np.full((max(map(len, rest)) + 1, lanes), task.eos_token_id)
        for lane, text in enumerate(rest):
            actions[: len(text), lane] = BYTES[text]
        correct = np.zeros(lanes, bool)
        for row in actions:
            *_, info = envs.step(row)
            if "correct" in info:
                correct |= info["correct"] & info["_correct"]
        right += correct[: min(lanes, len(episodes) - first)].tolist()
    return right


def _bytes() -> np.ndarray:
    from g2rpo_env.tokenizer import _byte_tables

    return _byte_tables()[0]


BYTES = _bytes()


def other_answer(problem: Problem) -> str:
    """An answer that is wrong, in the place of the right one."""
    if problem.answer in "ABCDE":
        return "ABCDE"["ABCDE".index(problem.answer) - 1]
    return str(int(float(problem.answer)) + 1)


def check_playback(task: Task, problems: list[Problem], verifier: Verifier) -> None:
    """Play solutions back as actions, from the start and from every boundary; and with wrong answers, and with none."""
    longest = max(len(problem.solution.encode()) for problem in problems) + 32
    whole = Task(RowSource(problems, "train"), verifier, max_new_tokens=longest)
    envs = TokenVectorEnv(whole, min(256, 4 * len(problems)), autoreset_mode="DISABLED", copy=False)
    right, wrong, silent = [], [], []
    for problem in problems:
        encoded = whole.encode(problem)
        ends = np.cumsum([0, *(len(step.encode()) for step in problem.steps)]).tolist()
        assert list(encoded.step_ends) == ends[1:]  # a token per byte: every boundary is one of tokens
        shown = "".join(problem.steps)
        tags = "<answer>" in problem.final
        stated = f"<answer>{other_answer(problem)}</answer>" if tags else f"\n#### {other_answer(problem)}"
        right += [(problem, end, problem.solution) for end in ends]
        wrong += [(problem, end, shown + stated) for end in ends]
        silent += [(problem, end, shown.encode()[:end].decode()) for end in ends]
    for episodes, expected in ((right, True), (wrong, False), (silent, False)):
        episodes.sort(key=lambda episode: len(episode[2]) - episode[1])  # lanes of alike length end together
        found = played(envs, episodes)
        bad = [episode for episode, correct in zip(episodes, found, strict=True) if correct is not expected]
        assert len(found) == len(episodes) and bad == []


def all_problems(task: Any) -> list[Problem]:
    return [problem for problems in task.source.rows.splits.values() for problem in problems]


def read(path: Path) -> Iterable[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if text.startswith("[") else map(json.loads, text.splitlines())


@pytest.fixture(scope="module")
def svamp(data_folder: Path) -> SVAMP:
    return SVAMP(data_folder / "SVAMP/SVAMP.json", checksum="5be77703a6d891ae")


@pytest.fixture(scope="module")
def aqua(data_folder: Path) -> AQuA:
    sums = "dev.json:4a52301d8a49ae0b,test.json:de41581881ef95c5"
    return AQuA(data_folder / "AQuA", split="test", checksum=sums)


def test_the_real_svamp_rows_are_whole_and_played_back_right(svamp: SVAMP, data_folder: Path) -> None:
    problems = {problem.problem_id: problem for problem in all_problems(svamp)}
    rows = list(read(data_folder / "SVAMP/SVAMP.json"))
    assert len(problems) == len(rows) == 1000 and svamp.source.describe()["left_out"] == 0
    for number, row in enumerate(rows):
        problem = problems[f"train/{number}"]
        assert "".join(problem.steps) == row["Equation"] and float(problem.answer) == row["Answer"]
    check_playback(svamp, list(problems.values()), svamp.verifier)


def test_the_real_aqua_rationales_are_whole_and_played_back_right(aqua: AQuA, data_folder: Path) -> None:
    problems = {problem.problem_id: problem for problem in all_problems(aqua)}
    assert len(problems) == 508
    for file, split in (("dev", "validation"), ("test", "test")):
        for number, row in enumerate(read(data_folder / f"AQuA/{file}.json")):
            problem = problems[f"{split}/{number}"]
            # Steps and the hidden part of the rationale are the rationale; a closing may follow.
            assert problem.solution.startswith(row["rationale"]) and problem.answer == row["correct"]
            assert problem.solution[len(row["rationale"]) :].lstrip("\n") in ("", f"#### {row['correct']}")
    check_playback(aqua, list(problems.values()), aqua.verifier)
    assert np.mean([bool(problem.steps) for problem in problems.values()]) > 0.97


def gsm8k_problems(data_folder: Path) -> tuple[GSM8K, list[Problem]]:
    task = GSM8K(data_folder / "GSM8K", calculator=True, validation_fraction=0)
    problems = [*task.source.longest(), *task.with_split("test").source.longest()]
    texts = [row["answer"] for name in ("train", "test") for row in read(data_folder / f"GSM8K/{name}.jsonl")]
    assert [problem.solution for problem in problems] == texts and len(texts) == 8792
    return task, problems


def test_the_real_gsm8k_solutions_are_whole_and_some_are_played_back_right(data_folder: Path) -> None:
    task, problems = gsm8k_problems(data_folder)
    check_playback(task, problems[::40], task.verifier)


@pytest.mark.long
def test_all_real_gsm8k_solutions_are_played_back_right_from_every_boundary(data_folder: Path) -> None:
    task, problems = gsm8k_problems(data_folder)
    check_playback(task, problems, task.verifier)


def test_the_real_socratic_rows_are_whole(data_folder: Path) -> None:
    task = GSM8K(data_folder / "GSM8K", split="test", calculator=True, validation_fraction=0, socratic=True)
    problems = list(task.source.longest())
    rows = list(read(data_folder / "GSM8K/test_socratic.jsonl"))
    assert [problem.solution for problem in problems] == [row["answer"] for row in rows] and len(rows) == 1319
    assert all("**" in step for problem in problems[:50] for step in problem.steps)
    check_playback(task, problems[::20], task.verifier)
