"""Programs are graded in one batch; broken tests are errors and never a reward of 0."""

import copy
import pickle
from typing import Any

import pytest
from opening import opened

from g2rpo_env.envs.coding import verifier as module
from g2rpo_env.envs.coding.programs import CodeProblem
from g2rpo_env.envs.coding.verifier import ProgramVerifier
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome

ADD = CodeProblem("add", "add\n", (), "r", "r", asserts=("assert add(1, 2) == 3", "assert add(0, 0) == 0"))
BROKEN = CodeProblem("broken", "add\n", (), "r", "r", asserts=("assert add(1, 2 == 3",))
RIGHT, HALF, WRONG = (f"def add(a, b): return {e}" for e in ("a + b", "a * b", "1"))


@pytest.fixture(autouse=True)
def _runs() -> None:
    opened().close()


def test_verdicts_of_a_batch_by_hand() -> None:
    texts = [RIGHT, HALF, "", " \n", "```\n```", "def add(:", f"So:\n```python\n{RIGHT}\n```\n"]
    verdicts = ProgramVerifier()([ADD] * len(texts), texts)
    assert [v.outcome.value for v in verdicts] == ["correct", "wrong", *["no_answer"] * 3, "wrong", "correct"]
    assert [v.reward for v in verdicts] == [1, 0, 0, 0, 0, 0, 1]
    assert verdicts[-1].answer == RIGHT + "\n" and verdicts[1].message.startswith("wrong: ")


def test_share_and_format_are_paid_on_request() -> None:
    block = f"```\n{HALF}\n```"
    assert [v.reward for v in ProgramVerifier("share")([ADD] * 3, [RIGHT, HALF, WRONG])] == [1.0, 0.5, 0.0]
    verdicts = ProgramVerifier("share", format_reward=0.1)([ADD] * 2, [HALF, block])
    assert [v.reward for v in verdicts] == pytest.approx([0.45, 0.55])  # 0.9 * 0.5, and 0.1 for the block
    verdict = ProgramVerifier(format_reward=0.1)([ADD], [RIGHT])[0]
    assert verdict.correct and verdict.reward == pytest.approx(0.9)


def test_tests_that_do_not_compile_are_an_error_that_names_the_problem() -> None:
    verdicts = ProgramVerifier()([BROKEN, ADD], [RIGHT, RIGHT])
    assert [v.valid for v in verdicts] == [False, True]
    assert verdicts[0].outcome is Outcome.ERROR and "sandbox_error" in verdicts[0].message
    assert "broken" in verdicts[0].message


@pytest.mark.parametrize("text", ["\ud800", "x = 1\x00", "9" * 10_000_000, "def other(): pass", "🙂", "\udcff" + RIGHT])
def test_bad_programs_are_wrong_and_valid(text: str) -> None:
    verdict = ProgramVerifier()([ADD], [text])[0]
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, 0.0)


def test_a_batch_is_one_call_and_copies_share_the_sandbox(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    real = module.shared_sandbox

    class Counted:
        def __init__(self, **options: Any) -> None:
            self.box = real(**options)

        def check(self, checks: list[Any]) -> Any:
            calls.append(len(checks))
            return self.box.check(checks)

    monkeypatch.setattr(module, "shared_sandbox", Counted)
    verifier = ProgramVerifier()
    for same in (verifier, copy.deepcopy(verifier), pickle.loads(pickle.dumps(verifier))):
        assert all(v.correct for v in same([ADD] * 5, [RIGHT] * 5))
        assert real(**same.options) is real(**verifier.options)
    assert calls == [5, 5, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reward": "some"}, "reward='some' must be one of all, share"),
        ({"format_reward": 1.0}, r"format_reward=1.0 must lie in \[0, 1\)"),
        ({"timeout": 0}, "timeout=0 must lie in"),
        ({"workers": -1}, "workers=-1 must be at least 1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ProgramVerifier(**options)


def test_a_problem_without_tests_is_named() -> None:
    with pytest.raises(ConfigurationError, match="problem 'plain' must be a CodeProblem"):
        ProgramVerifier()([Problem("plain", "p", (), "f", "a")], [RIGHT])
