"""The run folder: nothing is overwritten, an interrupted run leaves whole lines, a rewind forgets what comes again."""

import gymnasium as gym
import pytest

import g2rpo_env
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.errors import ResumeError, RunExistsError, StorageError
from g2rpo_env.report.records import Recorder, Recording
from g2rpo_env.report.run_folder import KEEP_CHECKPOINTS, RunFolder, check_file, read_lines


@pytest.fixture
def agent():
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=1)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, length=4, ratio=0.5)
    return recipes.make("g2rpo-a", CausalLMPolicy.tiny(envs, hidden_size=16, layers=1), envs)


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    with pytest.raises(RunExistsError, match="must be a new or empty folder"):
        RunFolder.create(tmp_path, {})
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "a" / "b"):
        with pytest.raises(StorageError, match="out='.*' must be a folder that can be written: Not a directory"):
            RunFolder.check_free(path)
    RunFolder.check_free(tmp_path / "a" / "b")
    for path, why in ((tmp_path / "none" / "x.json", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(StorageError, match=f"json='.*' must be a file that can be written: {why}"):
            check_file(path, "json")
    check_file(tmp_path / "x.json", "json")
    check_file(tmp_path / "file", "json")
    check_file(None, "json")
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_a_run_cannot_be_opened(tmp_path):
    with pytest.raises(ResumeError, match="config.json"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_file_of_a_run_is_named(tmp_path, text):
    run = RunFolder.create(tmp_path / "run", {})
    for name, read in (("config.json", lambda: run.config), ("result.json", run.result)):
        (run.path / name).write_text(text)
        with pytest.raises(ResumeError, match=f"{name} (is damaged|must hold an object)"):
            read()


def test_metrics_hold_no_clock_times_and_timings_do(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"a": 1})
    run.record({"update": 1, "reward": 0.5, "loss": None}, seconds=1.25)
    run.close()
    assert run.config == {"a": 1}
    assert (tmp_path / "run/metrics.jsonl").read_text() == '{"update": 1, "reward": 0.5, "loss": null}\n'
    assert read_lines(tmp_path / "run/timings.jsonl") == [{"update": 1, "seconds": 1.25}]
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))


def test_a_rewind_forgets_later_updates_everywhere(tmp_path, agent):
    run = RunFolder.create(tmp_path / "run", {})
    recorder = Recorder(run.path, agent, Recording(every=1))
    for _ in range(3):
        run.record(agent.update(), 0.1)
        run.record_evaluation(agent.updates, agent.evaluate("validation", 4))
        recorder.record()
    run.rewind(2)
    assert [row["update"] for row in run.metrics()] == [1, 2]
    assert [row["update"] for row in run.evaluations()] == [1, 2]
    assert sorted(p.name for p in (run.path / "rollouts").iterdir()) == ["000001.jsonl", "000002.jsonl"]
    for name in ("groups.jsonl", "problems.jsonl"):
        assert [row["update"] for row in read_lines(run.path / name)] == [1, 2]


def test_a_line_cut_short_by_an_interruption_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"update": 1}\n{"update": 2, "rew')
    assert read_lines(path) == [{"update": 1}]
    path.write_text("")
    assert read_lines(path) == []


def test_only_the_newest_checkpoints_are_kept_and_a_half_one_is_no_checkpoint(tmp_path, agent):
    run = RunFolder.create(tmp_path / "run", {})
    (run.path / "checkpoints/000009.part").mkdir(parents=True)
    for _ in range(KEEP_CHECKPOINTS + 1):
        agent.update()
        run.checkpoint(agent, agent.updates)
    names = [p.name for p in run.checkpoints()]
    assert names == [f"{n:06d}" for n in range(2, KEEP_CHECKPOINTS + 2)]
