"""The runner: order, one cache for all, resuming, refusing, failing, stopping; any number of workers gives the same."""

import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.errors import ResumeError
from g2rpo_env.experiments.arms import Arm
from g2rpo_env.naming import MOVED_MODULES
from g2rpo_env.report import code
from g2rpo_env.study import runner
from g2rpo_env.study.runner import Counter, Runner, StudyFolder, order_runs, write
from g2rpo_env.study.runs import hash_weights

OPTIONS = {"form": "tests", "seeds": [0]}


@pytest.fixture
def folder(tmp_path):
    return StudyFolder.open(tmp_path / "study", OPTIONS)


def runner_of(folder, **options):
    return Runner(folder, stream=io.StringIO(), **options)


def test_runs_come_after_what_they_read_and_once(tiny):
    guided, other = tiny.make_guided(0), tiny.make_guided(0, "fixed")
    sft = tiny.make_imitation(guided)
    staged = tiny.make_plain(0, after=tiny.make_imitation(other))
    assert order_runs([sft, guided, staged, sft]) == [guided, sft, other, staged]


@pytest.mark.long
def test_results_are_kept_shared_and_equal_for_any_number_of_workers(tiny, tmp_path):
    runs = [tiny.make_run(0), tiny.make_imitation(tiny.make_guided(0)), tiny.make_plain(0), tiny.make_plain(1)]
    found = []
    for workers in (1, 3):
        folder = StudyFolder.open(tmp_path / str(workers), OPTIONS)
        lines = io.StringIO()
        found.append(Runner(folder, workers, stream=lines).do(runs))
        assert lines.getvalue().count("\n") == 6 and "run 5/5" in lines.getvalue()
    for key, one in found[0].items():
        other = found[1][key]
        assert {**one, "seconds": 0} == {k: v for k, v in other.items() if k != "code"} | {"seconds": 0}
    assert len(found[0]) == 5  # four, and the guided run that sft replays
    lines = io.StringIO()
    again = Runner(folder, 1, stream=lines).do(runs)
    assert lines.getvalue() == "" and again.keys() == found[1].keys()
    assert len(list((folder.path / "results").iterdir())) == 5 and len(list((folder.path / "code").iterdir())) == 1


def keep_result(folder, run, **changes):
    """Keep a result that was never computed."""
    found = {"accuracy": 0.5, "lengths": [], "seconds": 1.0, "weights": "0", **changes}
    folder.keep(run, found)
    return found


def test_a_folder_goes_on_with_the_same_options_only(folder, tmp_path):
    assert StudyFolder.open(folder.path, OPTIONS) == folder
    with pytest.raises(ResumeError, match=r"seeds=\[0\] and is now given seeds=\[0, 1\]"):
        StudyFolder.open(folder.path, {**OPTIONS, "seeds": [0, 1]})
    with pytest.raises(ResumeError, match="form=tests and is now given form=full"):
        StudyFolder.open(folder.path, {**OPTIONS, "form": "full"})
    (tmp_path / "brought/bases").mkdir(parents=True)
    assert StudyFolder.open(tmp_path / "brought", OPTIONS).path.is_dir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(ResumeError, match="must be a new or empty folder"):
        StudyFolder.open(tmp_path / "mine", OPTIONS)


def test_results_of_other_code_are_refused_by_the_name_of_what_changed(folder, tiny, monkeypatch):
    run = tiny.make_guided(0)
    keep_result(folder, run)
    assert folder.get_result(run)["accuracy"] == 0.5
    monkeypatch.setitem(code._HASHES, "g2rpo_env.controllers.rules", "changed")
    with pytest.raises(ResumeError, match="other code: g2rpo_env.controllers.rules changed since"):
        folder.get_result(run)
    assert replace(folder, trusts=True).get_result(run)["accuracy"] == 0.5


def test_modules_that_moved_are_named_as_they_are_now(folder, tiny, monkeypatch):
    run = tiny.make_guided(0)
    keep_result(folder, run)
    (file,) = (folder.path / "code").iterdir()
    known = json.loads(file.read_text())
    moved = {"g2rpo_env.old": "g2rpo_env.controllers.rules", "g2rpo_env.other": "g2rpo_env.controllers.rules"}
    monkeypatch.setattr(runner, "MOVED_MODULES", moved)
    file.write_text(json.dumps({"g2rpo_env.old": known["g2rpo_env.controllers.rules"]}))
    assert folder.get_result(run)["accuracy"] == 0.5  # moved, and nothing else
    file.write_text(json.dumps(dict.fromkeys(moved, "changed")))
    with pytest.raises(ResumeError, match="other code: g2rpo_env.controllers.rules changed since"):
        folder.get_result(run)


EARLIER = Path(__file__).parent / "earlier"
"""A study of one run of the tiny ground without its base, made by the code of version 0.1 before its modules moved."""


def test_a_study_of_earlier_code_goes_on_if_it_is_trusted(tiny, tmp_path):
    shutil.copytree(EARLIER, tmp_path / "study")
    folder = StudyFolder.open(tmp_path / "study", OPTIONS)
    warm = WarmStart(max_steps=2, samples=8)  # what the kept result was made with, though no base can meet it
    run = replace(tiny, family=replace(tiny.family, warm=warm)).make_guided(0)
    with pytest.raises(ResumeError) as error:
        folder.get_result(run)
    said = str(error.value).partition("other code: ")[2].partition(" and ")[0].split(", ")
    assert len(said) == runner.NAMED and all(importlib.util.find_spec(name) for name in said)
    (code,) = (folder.path / "code").iterdir()
    assert not set(folder.find_changed(code.stem)) & MOVED_MODULES.keys()
    trusted = StudyFolder.open(tmp_path / "study", OPTIONS, trusts=True)
    assert trusted.get_result(run)["lengths"] == [4.5, 9.0]
    lines = io.StringIO()
    assert Runner(trusted, 1, stream=lines).do([run])[run.key]["sampled_tokens"] == 2118 and lines.getvalue() == ""


def test_results_of_another_base_are_refused(folder, tiny):
    run = tiny.make_guided(0)
    keep_result(folder, run)
    assert folder.get_result(run) is not None  # no base lies here
    run.base.make(folder.get_base(run.base))
    with pytest.raises(ResumeError, match="bases and results belong together"):
        folder.get_result(run)
    keep_result(folder, run, weights=hash_weights(folder.get_base(run.base)))
    assert folder.get_result(run)["accuracy"] == 0.5


def test_a_run_that_fails_is_named_and_holds_up_nothing_but_what_needs_it(folder, tiny):
    wrong = tiny.make_run(0, Arm("wrong", "no-such-recipe", 1e-3))
    sft = tiny.make_imitation(wrong)
    one = runner_of(folder, workers=1)
    done = one.do([sft, tiny.make_run(0)])
    assert set(done) == {tiny.make_run(0).key}
    assert "wrong, seed 0: ConfigurationError: recipe='no-such-recipe'" in one.failed[wrong.key]


def test_no_run_begins_after_the_time_is_over(folder, tiny):
    one = runner_of(folder, workers=1, seconds=0.0)
    assert one.do([tiny.make_plain(0)]) == {} and one.failed == {}


SCRIPT = """
import sys
from pathlib import Path
from tests_tiny import tiny
from g2rpo_env.study.runner import Runner, StudyFolder

if __name__ == "__main__":
    folder = StudyFolder.open(Path(sys.argv[1]), {})
    Runner(folder, 1).do([tiny.make_plain(seed) for seed in range(200)])
"""
GROUND = """
from dataclasses import replace
from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study.grounds import Ground

ENV = "g2rpo_env/Addition-v0"
warm = WarmStart((0.0, 1.0), max_steps=2, samples=8)
family = replace(FAMILIES[ENV], task={"digits": 1}, warm=warm, longest=8.0, updates=3)
tiny = Ground("tiny", ENV, family, hidden_size=16, layers=1, evaluation_problems=8, evaluations=2)
"""


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(tmp_path, number):
    (tmp_path / "job.py").write_text(SCRIPT)
    (tmp_path / "tests_tiny.py").write_text(GROUND)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(
        [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "study")], env=environment, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )  # fmt: skip
    results = tmp_path / "study/results"
    limit = time.monotonic() + 120
    while time.monotonic() < limit and not (results.is_dir() and any(results.iterdir())):
        time.sleep(0.1)
    (os.killpg if number == signal.SIGINT else os.kill)(job.pid, number)  # a terminal sends Ctrl-C to all of them
    job.wait(30)
    kept = list(results.iterdir())
    assert kept and all(json.loads(path.read_text())["updates"] for path in kept)
    assert not [path for path in results.iterdir() if path.suffix == ".part"]
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.killpg(job.pid, 0)
            time.sleep(0.1)


def test_a_file_is_whole_or_not_there(tmp_path):
    write(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write(tmp_path / "a.json", {"x": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_lines_say_how_long_the_rest_will_take():
    stream = io.StringIO()
    with Counter(3, stream) as counter:
        counter.step("one: accuracy 0.500")
        counter.step("two: accuracy 0.600")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "3 runs to do" and lines[1].startswith("run 1/3  one: accuracy 0.500, 0:00 left")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Counter(2, stream) as counter:
        counter.step("one: accuracy 0.500")
    assert "1/2" in stream.getvalue() and "one: accuracy 0.500" in stream.getvalue()
