"""Files of earlier versions: what commit 5ebc9d2 wrote is read, and training goes on from it as it did there.

That commit saved parts under the paths of their modules, which have moved since. ``fixtures/5ebc9d2/write_fixtures.py``
wrote the files with its code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from g2rpo_env import TargetSuccess, TokenVectorEnv, VectorGuidanceWrapper
from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.parts import KLToStart, SequenceMean
from g2rpo_env.agents.recipe import MODULES, part_from_config, part_to_config
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli.app import main
from g2rpo_env.controllers import PerProblem
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.errors import ResumeError
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.naming import public_classes
from g2rpo_env.problem import Problem
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.study.grounds import Ground
from g2rpo_env.study.runner import StudyFolder
from g2rpo_env.study.runs import Run
from g2rpo_env.task import Task
from g2rpo_env.verdict import Outcome, Verdict

OLD = Path(__file__).parent / "fixtures/5ebc9d2"
CONFIGS = json.loads((OLD / "configs.json").read_text())


@pytest.fixture(autouse=True)
def own_cache_and_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """No test reads or writes the cache of whoever runs it; sums are taken in the order they were taken in."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_same_metrics(rows: Sequence[dict[str, Any]], written: Sequence[dict[str, Any]]) -> None:
    """Compare whole numbers exactly and others to five digits, in which processors agree."""
    assert len(rows) == len(written)
    for row, old in zip(rows, written, strict=True):
        assert {name: type(row[name]) for name in old} == {name: type(value) for name, value in old.items()}
        for name, value in old.items():
            close = pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
            assert row[name] == close, name


# -- parts and recipes ------------------------------------------------------------------------------------------------


def saved_names(config: Any) -> list[str]:
    """Return the names of all classes in plain data."""
    if not isinstance(config, dict):
        return []
    own = [config["class"]] if "class" in config else []
    return own + [name for value in config.values() for name in saved_names(value)]


STATED = {
    "PerProblem(rule=AdaptiveGuidance())": "PerProblem(length=45, rule=AdaptiveGuidance(length=45, max_length=120))",
    "PerProblem(length=20, max_length=60, rule=TargetSuccess(gain=0.3))": (
        "PerProblem(length=20, max_length=60, rule=TargetSuccess(length=45, gain=0.3))"
    ),
}
"""Parts whose default lengths were 45 and 120 -> the same with these stated."""


@pytest.mark.parametrize("text", CONFIGS["parts"])
def test_a_part_is_read_from_its_old_path_and_saved_by_its_public_name(text: str) -> None:
    part = part_from_config(CONFIGS["parts"][text])
    assert part == eval(STATED.get(text, text), {**public_classes(MODULES)})
    config = json.loads(json.dumps(part_to_config(part)))
    assert saved_names(config) == [name.split(":")[1] for name in saved_names(CONFIGS["parts"][text])]
    assert part_from_config(config) == part


@pytest.mark.parametrize("name", CONFIGS["recipes"])
def test_a_recipe_is_read_from_its_old_form(name: str) -> None:
    assert Recipe.from_config(CONFIGS["recipes"][name]) == recipes.get(name)


# -- a checkpoint -----------------------------------------------------------------------------------------------------


class EvenBytes:
    """Correct if the bytes of the completion have an even sum: chance for a random policy, a pure function of text."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        return [Verdict(Outcome.WRONG if sum(c.encode()) % 2 else Outcome.CORRECT) for c in completions]


def test_a_checkpoint_goes_on_as_it_did(tmp_path: Path) -> None:
    task = Task(AdditionSource(1), EvenBytes(), max_new_tokens=10)
    envs: Any = TokenVectorEnv(task, 16, group_size=4, autoreset_mode="DISABLED")
    envs = VectorGuidanceWrapper(envs, length=6, ratio=0.5)
    agent = GRPO.load(OLD / "checkpoint", envs)
    assert agent.updates == 2 and agent.seed == 5
    assert agent.recipe.reference == KLToStart(0.1)
    assert agent.recipe.token_weight == SequenceMean(revealed=True, which="entropy")
    assert agent.recipe.controller == PerProblem(length=6, max_length=9, rule=TargetSuccess(length=45, gain=1.0))
    rows = [agent.update(), agent.update()]
    assert_same_metrics(rows, json.loads((OLD / "checkpoint/metrics.json").read_text()))
    agent.save(tmp_path)
    assert not any(":" in name for name in saved_names(json.loads((tmp_path / "agent.json").read_text())))
    assert GRPO.load(tmp_path, envs).recipe == agent.recipe


# -- a run folder -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the run, beside the policy that it started from."""
    for name in ("base", "run"):
        shutil.copytree(OLD / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return RunFolder.open("run")


def test_a_run_folder_is_read(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["update"] for row in run.metrics()] == [1, 2, 3]
    assert [row["update"] for row in run.evaluations()] == [0, 2, 3]
    assert [path.name for path in run.checkpoints()] == ["000003"]
    assert main(["evaluate", "run", "--problems", "8", "--threads", "1"]) == 0
    assert "Greedy unguided accuracy on 8 test problems" in capsys.readouterr().out


def test_a_run_is_resumed_and_goes_on_as_it_did(run: RunFolder) -> None:
    before = run.metrics()
    assert main(["train", "--resume", "run", "--updates", "5"]) == 0
    assert run.metrics()[:3] == before
    assert_same_metrics(run.metrics()[3:], json.loads((OLD / "run.json").read_text()))
    assert sorted(path.stem for path in (run.path / "rollouts").iterdir()) == [f"{n:06d}" for n in range(1, 6)]


# -- a study folder ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A copy of the study."""
    shutil.copytree(OLD / "study", tmp_path / "study")
    return StudyFolder.open(tmp_path / "study", {"form": "tests", "seeds": [0]})


@pytest.fixture
def runs() -> dict[str, Run]:
    """The runs of the study, made by the code of today."""
    env = "g2rpo_env/Addition-v0"
    warm = WarmStart(max_steps=2, samples=8)
    family = replace(FAMILIES[env], task={"digits": 1}, warm=warm, longest=8.0, shortest=1.0, updates=3)
    tiny = Ground("tiny", env, family, hidden_size=16, layers=1, evaluation_problems=8, evaluations=2)
    return {
        "guided": tiny.make_guided(0),
        "imitation": tiny.make_imitation(tiny.make_guided(0)),
        "plain": tiny.make_plain(0),
    }


def test_results_of_a_study_are_found_by_the_keys_of_today(folder: StudyFolder, runs: dict[str, Run]) -> None:
    assert {name: run.key for name, run in runs.items()} == json.loads((folder.path / "keys.json").read_text())
    for run in runs.values():
        found = replace(folder, trusts=True).get_result(run)
        assert found is not None and found["config"] == json.loads(json.dumps(run.config))
        assert found["problems"] == 8 and found["updates"] > 0


def test_results_of_a_study_are_refused_by_the_modules_that_changed(folder: StudyFolder, runs: dict[str, Run]) -> None:
    with pytest.raises(ResumeError, match=r"holds results of other code: g2rpo_env.*, .* changed since"):
        folder.get_result(runs["guided"])
    code = next((folder.path / "code").iterdir()).stem
    moved = {"g2rpo_env.controllers.rules", "g2rpo_env.agents.parts.losses.surrogate"}
    assert moved <= set(folder.find_changed(code))
