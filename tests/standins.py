"""Small data sets like the real ones, for tests that need rows and no download."""

import json
from pathlib import Path
from typing import Any

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
