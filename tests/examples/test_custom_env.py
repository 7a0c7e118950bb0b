"""The example of a task of one's own: it runs, its verifier and its splits are right, it trains."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from g2rpo_env import Outcome, TokenEnv, check_env

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "custom_env.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The script as a module; its main is not run."""
    spec = importlib.util.spec_from_file_location("custom_env", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # pickling looks it up
    spec.loader.exec_module(module)
    return module


def test_the_task_is_what_its_text_says(example: ModuleType) -> None:
    problem = example.Words().problem("abca")
    assert (problem.prompt, problem.solution, problem.answer) == ("abca\n", "a1\nb1\nc1\na2\n#2", "2")
    verdicts = example.AfterTheMark()([problem] * 3, [problem.solution, "#3", "2"])
    assert [v.outcome for v in verdicts] == [Outcome.CORRECT, Outcome.WRONG, Outcome.NO_ANSWER]
    assert sum(len(words) for words in example.SPLITS.values()) == len(set().union(*example.SPLITS.values())) == 81


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_split_passes_the_check(example: ModuleType, split: str) -> None:
    check_env(TokenEnv(example.count_letters(split)))


def test_the_script_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == r"two steps revealed: 'babc\n[b0\na1\n]'"
    assert lines[1].startswith("one update: ") and " tokens sampled, mean reward " in lines[1]
