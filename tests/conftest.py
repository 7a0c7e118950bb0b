"""Shared fixtures: small data, a merging tokenizer, real data when there is some; long tests only when CI is set."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked long unless CI is set."""
    if os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="long: runs when CI=1")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that G2RPO_DATA names."""
    folder = os.environ.get("G2RPO_DATA")
    if not folder:
        pytest.skip("G2RPO_DATA is not set: it names the folder with the real data sets")
    return Path(folder)


GSM8K_ROWS = [
    # question, worked solution: the answer stands in the last step, with a thousands separator, or not at all
    ("Ann has 3 boxes of 4 pens. How many pens?", "She has 3*4=<<3*4=12>>12 pens.\n#### 12"),
    ("A car costs $1,000 and a bus $234 more. The bus?", "The bus adds 234.\nIt is 1000+234=$1,234.\n#### 1,234"),
    ("Bo eats half of 9 pies. How many are left?", "He eats 9/2=<<9/2=4.5>>4.5 pies.\n4.5 are left.\n#### 4.5"),
    ("It is 2 degrees and drops by 5. How cold?", "It drops below zero.\nBy three degrees.\n#### -3"),
    ("Naïve café: £5 for <eos> each, two of them?", "Two at 5 are 2*5=10 £.\n\n#### 10"),
]


def write_rows(path: Path, rows: list[tuple[str, str]]) -> Path:
    """Write GSM8K-like rows as JSON Lines."""
    path.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def gsm8k_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like GSM8K's: 5 rows of train.jsonl, 40 of test.jsonl."""
    folder = tmp_path_factory.mktemp("gsm8k")
    write_rows(folder / "train.jsonl", GSM8K_ROWS)
    write_rows(folder / "test.jsonl", [(f"What is {n}+1?", f"{n}+1={n + 1}\n#### {n + 1}") for n in range(40)])
    return folder


MATH_SUBJECTS = ("Algebra", "Number Theory")


def data_set_rows(name: str, numbers: range) -> list[dict[str, Any]]:
    """Rows as the data set of an id has them, one per number."""

    def row(n: int) -> dict[str, Any]:
        if name == "SVAMP-v0":
            question = {"Body": f"Bo has {n} pens and buys {n + 1} more", "Question": "How many pens?"}
            return {**question, "Equation": f"( {n}.0 + {n + 1}.0 )", "Answer": 2 * n + 1.0, "Type": "Addition"}
        if name == "AQuA-v0":
            options = [f"{letter}){n + shift}" for shift, letter in enumerate("ABCDE")]
            text = f"Add one.\n{n}+{n % 5}={n + n % 5}\nAnswer: {'ABCDE'[n % 5]}"
            return {"question": f"{n}+{n % 5}=?", "options": options, "rationale": text, "correct": "ABCDE"[n % 5]}
        if name == "MATH-v0":
            text = f"We add $1$ to ${n}$. Then \\[x = {n} + 1.\\] So $x = \\boxed{{{n + 1}}}$."
            level = {"level": f"Level {n % 5 + 1}", "type": MATH_SUBJECTS[n % 2]}
            return {"problem": f"Find $x = {n} + 1$.", "solution": text, **level}
        if name == "AIME-v0":
            return {"problem": f"Find ${n} + 1$.", "answer": f"{n + 1:03d}"}
        if name == "OpenR1Math-v0":
            traces = ["I guess. \\boxed{-1}", f"<think>\nLet me add.\n\nIt is {n}+2.\n</think>\n\n\\boxed{{{n + 2}}}"]
            return {
                "problem": f"What is {n} + 2?", "answer": str(n + 2), "solution": "", "generations": traces,
                "correctness_math_verify": [False, True],
            }  # fmt: skip
        return {"question": f"What is {n}+1?", "solution": f"Add 1. It is {n}+1.", "answer": str(n + 1), "level": n}

    return [row(n) for n in numbers]


def stand_in(name: str, folder: Path) -> dict[str, Any]:
    """Write a small data set like that of an id; return the arguments of its task."""
    path = folder / f"{name.lower().partition('-')[0]}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in data_set_rows(name, range(40))), encoding="utf-8")
    return {"data": path, "max_new_tokens": 24, "test_fraction": 0.3}


MERGES = [("Ċ", "5"), ("Ċ", "#"), ("=", "8"), ("8", "+")]  # Ċ is the line break


@pytest.fixture(scope="session")
def merging_tokenizer() -> Any:
    """Bytes and four merges: line break with the digit or mark that follows, and '=8', which crosses the prompt."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>", pad_token="<pad>")
