"""GSM8K: rows become problems as they should, by hand on a few rows and as counted on the real ones."""

import gzip
import json
import re
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from standins import GSM8K_ROWS, write_rows

from g2rpo_env import GuidanceWrapper, Outcome, Problem, char_tokenizer
from g2rpo_env.encoding import encode_problem, first_occurrence, measure
from g2rpo_env.envs.mathematics.gsm8k import GSM8K, Rows
from g2rpo_env.errors import BudgetError, ConfigurationError, DataError
from g2rpo_env.reveal.plan import CAPS, reveal_tokens
from g2rpo_env.tokenizer import decode


def ids(problems: Iterable[Problem]) -> list[str]:
    return [problem.problem_id for problem in problems]


# -- rows by hand ---------------------------------------------------------------------------------------------------


def test_a_row_becomes_prompt_steps_final_part_and_answer(gsm8k_folder: Path) -> None:
    source = Rows(gsm8k_folder).load("train")
    assert source.get("train/0") == Problem(
        "train/0",
        "Ann has 3 boxes of 4 pens. How many pens?\n",
        ("She has 3*4=12 pens.\n",),
        "#### 12",
        "12",
    )
    assert source.get("train/1").final == "#### 1,234" and source.get("train/1").answer == "1234"
    assert source.get("train/2").answer == "4.5"
    assert source.get("train/3").steps == ("It drops below zero.\n", "By three degrees.\n")
    assert source.get("train/3").answer == "-3"
    assert source.get("train/4").steps == ("Two at 5 are 2*5=10 £.\n\n",)  # the empty line is no step of its own


def test_annotations_of_the_calculator_are_kept_on_request(gsm8k_folder: Path) -> None:
    source = Rows(gsm8k_folder, calculator=True).load("train")
    assert source.get("train/0").steps == ("She has 3*4=<<3*4=12>>12 pens.\n",)


def test_steps_and_final_part_joined_are_the_row(gsm8k_folder: Path) -> None:
    for problem, (_, text) in zip(Rows(gsm8k_folder, calculator=True).load("train").longest(), GSM8K_ROWS, strict=True):
        assert problem.solution == text


def test_socratic_rows_come_from_files_of_their_own(tmp_path: Path) -> None:
    text = "How many are left? ** 5-2=<<5-2=3>>3 are left.\nAnd then? ** 3-1=2.\n#### 2"
    write_rows(tmp_path / "test_socratic.jsonl", [("Q?", text)])
    source = Rows(tmp_path, socratic=True, validation_fraction=0).load("test")
    assert source.get("test/0").steps == ("How many are left? ** 5-2=3 are left.\n", "And then? ** 3-1=2.\n")
    with pytest.raises(ConfigurationError, match=r"split='train' .* is empty; there are test \(1\)"):
        Rows(tmp_path, socratic=True, validation_fraction=0).load("train")
    with pytest.raises(DataError, match="must hold files such as train.jsonl"):
        GSM8K(tmp_path)


def test_the_hub_has_a_configuration_for_socratic_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    rows = [{"question": "Q?", "answer": "Two.\n#### 2"}]
    monkeypatch.setattr("datasets.load_dataset", lambda *names, split: asked.append((*names, split)) or rows)
    assert [GSM8K(socratic=socratic).source.num_problems for socratic in (False, True)] == [1, 1]
    assert asked == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "socratic", "train")]


def test_the_template_holds_the_question(gsm8k_folder: Path) -> None:
    source = Rows(gsm8k_folder, template="Q: {question}\nA:\n").load("train")
    assert source.get("train/0").prompt == "Q: Ann has 3 boxes of 4 pens. How many pens?\nA:\n"


@pytest.mark.parametrize(
    "answer,bare",
    [("$1,234", "1234"), ("5.0", "5"), ("$4.50", "4.50"), ("50%", "50"), ("1/2", "1/2"), ("-1,000.", "-1000")],
)
def test_the_bare_answer_is_the_number_as_digits(tmp_path: Path, answer: str, bare: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "Q?", "answer": f"Work.\n#### {answer}"}), encoding="utf-8")
    assert Rows(path).load("train").get("rows/0").answer == bare


def test_where_the_answer_first_stands_is_kept_back(gsm8k_folder: Path) -> None:
    source, tokenizer = Rows(gsm8k_folder).load("train"), char_tokenizer()

    def shown(number: int) -> str:
        encoded = encode_problem(tokenizer, source.get(f"train/{number}"))
        count = reveal_tokens(encoded, 999, "tokens", "before_answer")
        return decode(tokenizer, encoded.solution_T[:count])

    assert shown(0) == "She has 3*4="
    assert shown(1) == "The bus adds 234.\nIt is 1000+234=$"
    assert shown(2) == "He eats 9/2="
    assert shown(3) == "It drops below zero.\nBy three degrees.\n"  # it stands nowhere
    assert shown(4) == "Two at 5 are 2*5="


# -- splits ---------------------------------------------------------------------------------------------------------


def test_validation_and_test_share_out_the_test_rows(gsm8k_folder: Path) -> None:
    rows = Rows(gsm8k_folder, validation_fraction=0.5)
    test, validation = ids(rows.load("test").longest()), ids(rows.load("validation").longest())
    assert len(test) > 5 and len(validation) > 5
    assert sorted(test + validation) == sorted(f"test/{i}" for i in range(40))


def test_a_larger_share_only_moves_problems_to_validation(gsm8k_folder: Path) -> None:
    sources = [Rows(gsm8k_folder, validation_fraction=share).load("validation") for share in (0.3, 0.6)]
    assert set(ids(sources[0].longest())) < set(ids(sources[1].longest()))


def test_another_template_moves_no_problem_from_test_to_validation(gsm8k_folder: Path) -> None:
    templates = ("{question}\n", "Question: {question}\nLet us think.\n")
    splits = [Rows(gsm8k_folder, template=t, validation_fraction=0.5).load("test").longest() for t in templates]
    assert ids(splits[0]) == ids(splits[1])


def test_without_a_share_test_is_all_rows_and_validation_is_refused(gsm8k_folder: Path) -> None:
    rows = Rows(gsm8k_folder, validation_fraction=0)
    assert rows.load("test").num_problems == 40
    with pytest.raises(ConfigurationError, match="split='validation' of .* is empty; .*validation_fraction is"):
        rows.load("validation")


def test_a_warm_start_uses_the_training_rows(gsm8k_folder: Path) -> None:
    rows = Rows(gsm8k_folder)
    assert ids(rows.load("warmstart").longest()) == ids(rows.load("train").longest())


def test_a_single_file_is_the_split_of_its_name(gsm8k_folder: Path) -> None:
    train, test = Rows(gsm8k_folder / "train.jsonl"), Rows(gsm8k_folder / "test.jsonl", validation_fraction=0.5)
    assert ids(train.load("train").longest()) == [f"train/{n}" for n in range(5)]
    for split in ("validation", "test"):
        with pytest.raises(
            ConfigurationError, match=rf"split='{split}' of .* is empty; there are train \(5\)\. Give a folder"
        ):
            train.load(split)
    with pytest.raises(ConfigurationError, match="split='train' of .*test.jsonl' is empty"):
        test.load("train")
    found = [ids(test.load(split).longest()) for split in ("validation", "test")]
    assert sorted(found[0] + found[1]) == sorted(f"test/{n}" for n in range(40)) and all(found)


@pytest.mark.parametrize("name", ["rows.jsonl", "train.jsonl"])
def test_test_rows_are_taken_out_of_training_rows_on_request(gsm8k_folder: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((gsm8k_folder / "test.jsonl").read_bytes())
    rows = Rows(path, test_fraction=0.5, validation_fraction=0.5)
    found = [ids(rows.load(split).longest()) for split in ("train", "validation", "test")]
    assert sorted(sum(found, [])) == sorted(f"{path.stem}/{n}" for n in range(40)) and all(found)
    assert rows.load("train").with_split("test").num_problems == len(found[2])


def test_a_training_question_that_is_in_test_too_is_left_out(gsm8k_folder: Path, tmp_path: Path) -> None:
    test = (gsm8k_folder / "test.jsonl").read_bytes()
    (tmp_path / "train.jsonl").write_bytes((gsm8k_folder / "train.jsonl").read_bytes() + test.splitlines()[0])
    (tmp_path / "test.jsonl").write_bytes(test)
    assert Rows(tmp_path).load("train").num_problems == 5


@pytest.mark.parametrize("layout", ["main/train.jsonl", "gsm8k_train.jsonl", "data/train-00000-of-00001.jsonl"])
def test_other_layouts_and_packed_files_are_read(gsm8k_folder: Path, tmp_path: Path, layout: str) -> None:
    raw = (gsm8k_folder / "train.jsonl").read_bytes()
    path = tmp_path / "data set" / f"{layout}.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(raw))
    path.with_name(path.name.replace("train", "test")).write_bytes((gsm8k_folder / "test.jsonl").read_bytes())
    rows = Rows(tmp_path / "data set")
    assert ids(rows.load("train").longest()) == [f"train/{n}" for n in range(5)]
    assert rows.load("test").num_problems + rows.load("validation").num_problems == 40


def test_a_task_on_another_split_is_measured_anew(gsm8k_folder: Path) -> None:
    train = GSM8K(gsm8k_folder)
    test = train.with_split("test")
    # "What is 39+1?\n" and "39+1=40\n"
    assert test.length == 14 + 8 + 320 != train.length
    assert test.source.get(test.source.draw(0, 0)).prompt.startswith("What is")


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"template": "no place"}, r"template='no place' must hold '\{question\}' exactly once, or be one of plain"),
        ({"template": "chat"}, "template='chat' needs a tokenizer with a chat template"),
        ({"system": "Be brief."}, "system='Be brief.' must come with template='chat'"),
        ({"format_weight": 0.1}, "format_weight=0.1 must come with template='think'"),
        ({"test_fraction": 2}, r"test_fraction=2 must lie in \[0, 1\]"),
        ({"template": "{question} {question}"}, "exactly once"),
        ({"validation_fraction": 1}, r"validation_fraction=1 must lie in \[0, 1\)"),
        ({"validation_fraction": -0.1}, "validation_fraction=-0.1"),
        ({"split": "dev"}, "split='dev' must be one of train, validation, test, warmstart"),
    ],
)
def test_bad_arguments_are_named(gsm8k_folder: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        GSM8K(gsm8k_folder, **options)


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "train.jsonl holds no rows"),
        ('{"question": "Q?", "answer": "1\\n#### 1"}\n{"question"\n', "train.jsonl, line 2: not valid JSON"),
        ('\n{"question": "Q?"}\n', "train.jsonl, line 2: field 'answer' must be a text"),
        ('\n{"question": "Q?", "answer": "no mark"}', "train.jsonl, line 2: field 'answer' must end with '#### '"),
        ('{"question": "Q?", "answer": "1\\n#### many"}', "line 1: field 'answer' must end with .* got '1.*# many'"),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_bad_files_are_named_with_their_line(tmp_path: Path, text: str, words: str, whole: bool) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        GSM8K(tmp_path if whole else path)


def test_a_folder_without_the_file_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold files that end in .jsonl"):
        GSM8K(tmp_path)
    with pytest.raises(DataError, match="none.jsonl' is not a file"):
        GSM8K(tmp_path / "none.jsonl")


def test_a_problem_that_does_not_fit_is_named(gsm8k_folder: Path) -> None:
    with pytest.raises(BudgetError, match=r"problem 'train/0' is longer than the budget: prompt 42 \+ revealable 21"):
        GSM8K(gsm8k_folder, max_new_tokens=100, max_length=150)


# -- templates ------------------------------------------------------------------------------------------------------


def test_named_templates_are_those_of_the_other_data_sets(gsm8k_folder: Path) -> None:
    tasks = {name: GSM8K(gsm8k_folder, template=name) for name in ("plain", "boxed", "think")}
    problems = {name: task.source.get("train/1") for name, task in tasks.items()}
    assert problems["boxed"].prompt.endswith("put the final answer in \\boxed{}.\n")
    assert problems["think"].steps[0].startswith("<think>\nThe bus")
    assert problems["think"].final == "#### 1,234\n</think>\n<answer>1234</answer>"
    for name, task in tasks.items():
        assert [v.correct for v in task.grade([problems[name]] * 2, [problems[name].solution, "#### 3"])] == [
            True,
            False,
        ]
    texts = ["\\boxed{1234}", "The answer is 1,234."]
    assert [v.correct for v in tasks["boxed"].grade([problems["boxed"]] * 2, texts)] == [True, True]
    assert [v.outcome for v in tasks["plain"].grade([problems["plain"]] * 2, texts)] == [Outcome.NO_ANSWER] * 2
    weighed = GSM8K(gsm8k_folder, template="think", format_weight=0.5)
    (verdict,) = weighed.grade([problems["think"]], [problems["think"].solution])
    assert verdict.correct and verdict.reward == 1.5


def test_a_chat_template_stands_around_the_question(gsm8k_folder: Path, chat_tokenizer: Any) -> None:
    task = GSM8K(gsm8k_folder, tokenizer=chat_tokenizer, template="chat", system="Be brief.")
    encoded = task.encode(task.source.get("train/0"))
    assert decode(chat_tokenizer, encoded.prompt_T) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nAnn has 3 boxes of 4 pens. How many pens?"
        "<|im_end|>\n<|im_start|>assistant\n"
    )
    problem = task.source.get("train/0")
    assert [v.correct for v in task.grade([problem] * 2, ["The answer is 12.", problem.solution])] == [True, True]


# -- environments ---------------------------------------------------------------------------------------------------


def test_every_ground_truth_is_worth_one(gsm8k_folder: Path) -> None:
    env = GuidanceWrapper(gym.make("g2rpo_env/GSM8K-v0", data=gsm8k_folder), length=1, unit="steps")
    task = env.unwrapped.task
    for number in range(5):
        _, info = env.reset(seed=0, options={"problem": f"train/{number}"})
        encoded = task.encode(task.source.get(info["problem_id"]))
        assert info["reveal_length"] == encoded.step_ends[0]
        for token in [*encoded.solution_T[info["reveal_length"] :], task.eos_token_id]:
            _, reward, terminated, _, info = env.step(token)
        assert terminated and reward == 1.0 and info["completion"] == task.source.get(f"train/{number}").solution


def test_a_literal_end_token_in_a_question_ends_nothing(gsm8k_folder: Path) -> None:
    env = gym.make("g2rpo_env/GSM8K-v0", data=gsm8k_folder)
    observation, info = env.reset(seed=0, options={"problem": "train/4"})
    prompt = observation["tokens"][: info["prompt_length"]]
    assert 1 not in prompt and "for <eos> each" in decode(char_tokenizer(), prompt)


# -- the real rows --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(data_folder: Path) -> GSM8K:
    return GSM8K(data_folder / "GSM8K")


@pytest.fixture(scope="module")
def real_rows(real: GSM8K) -> list[Problem]:
    return list(real.source.longest())


def test_the_real_splits_have_their_sizes_and_share_no_question(data_folder: Path) -> None:
    rows = Rows(data_folder / "GSM8K")
    train, test, validation = (list(rows.load(s).longest()) for s in ("train", "test", "validation"))
    assert (len(train), len(test), len(validation)) == (7473, 1189, 130)
    questions = [{problem.prompt for problem in split} for split in (train, test, validation)]
    assert not questions[0] & (questions[1] | questions[2]) and not questions[1] & questions[2]
    official = Rows(data_folder / "GSM8K", validation_fraction=0).load("test")
    assert official.num_problems == 1319


def test_the_real_solutions_grade_themselves_right(real: GSM8K, real_rows: list[Problem]) -> None:
    verdicts = real.grade(real_rows, [problem.solution for problem in real_rows])
    assert all(verdict.correct for verdict in verdicts)
    verdicts = real.grade(real_rows, ["".join(problem.steps) for problem in real_rows])
    assert not any(verdict.correct for verdict in verdicts)


def stands_at(answer: str, text: str) -> int | None:
    """Where the first number of a text stands that is the answer: an independent reading, number by number."""
    value = abs(Fraction(answer))
    numbers = re.finditer(r"\d[\d,]*(?:\.\d+)?", text)
    return next((m.start() for m in numbers if Fraction(m.group().replace(",", "")) == value), None)


def test_no_reveal_of_a_real_row_shows_its_final_part_or_under_the_cap_its_answer(
    real: GSM8K, real_rows: list[Problem]
) -> None:
    named = 0
    for problem in real_rows:
        steps = "".join(problem.steps)
        assert "####" not in steps and problem.steps and steps
        encoded = real.encode(problem)
        ends = np.cumsum([len(step.encode()) for step in problem.steps])  # built-in tokenizer: a token per byte
        assert encoded.step_ends == tuple(ends) and encoded.revealable == len(steps.encode())
        caps = {name: cap(encoded) for name, cap in CAPS.items()}
        assert caps["final_answer"] == encoded.revealable
        where = stands_at(problem.answer, steps)
        named += where is not None
        first = min(first_occurrence(problem.answer, problem.solution), len(steps))
        assert caps["before_answer"] == len(steps[:first].encode())
        if where is not None and problem.answer[0] != "-":
            assert first <= where
    # As a number the answer stands in 99.8 % of the worked solutions; spelt as in the final part in 97.6 %.
    assert named == 7457


def test_most_real_solutions_name_their_answer_as_it_is_spelt_at_the_end(real_rows: list[Problem]) -> None:
    spelt = [re.search(rf"(?<![\d.,]){re.escape(p.answer)}(?!\d)", "".join(p.steps)) for p in real_rows]
    assert 0.97 < np.mean([found is not None for found in spelt]) < 0.98


def test_the_real_rows_measured_in_batches_are_as_measured_one_by_one(real: GSM8K, real_rows: list[Problem]) -> None:
    some = real_rows[::10]
    for problem, size in measure(real.tokenizer, some):
        encoded = real.encode(problem)
        assert (size.prompt, size.revealable, size.crossing) == (len(encoded.prompt_T), encoded.revealable, False)
    longest = max(len(p.prompt.encode()) for p in real_rows)
    assert real.length == longest + max(len("".join(p.steps).encode()) for p in real_rows) + 320
    assert real.max_steps == max(len(p.steps) for p in real_rows)
