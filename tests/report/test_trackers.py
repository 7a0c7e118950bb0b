"""Trackers: numbers by the names of metrics.jsonl; a resumed run goes on; one that fails costs one warning."""

import json
import sys
import time

import pytest

from g2rpo_env.errors import ConfigurationError, MissingDependencyError
from g2rpo_env.report import trackers as module
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.report.trackers import KNOWN, TRACKERS, Trackers, check_names, read_options, start_tracker


class FakeTracker:
    """What accelerate's trackers are like: made with a project and options, then started; it keeps what it is told."""

    name = "wandb"
    requires_logging_directory = False
    made: list["FakeTracker"] = []
    fails_in: str | None = None

    def __init__(self, project, /, **kwargs):
        self.project, self.kwargs, self.calls = project, kwargs, []
        FakeTracker.made.append(self)

    def _do(self, what, *given):
        self.calls.append((what, *given))
        if self.fails_in == what:
            raise RuntimeError(f"no network\nin {what}")

    def start(self):
        self._do("start")

    @property
    def tracker(self):
        return type("Run", (), {"info": type("Info", (), {"run_id": "r1"})})

    def store_init_configuration(self, values):
        self._do("config", values)

    def log(self, values, step=None, **kwargs):
        self._do("log", step, values)

    def finish(self):
        self._do("finish")


class FakeAim(FakeTracker):
    """One that writes into a folder."""

    requires_logging_directory = True


@pytest.fixture
def fake(monkeypatch):
    """Trackers of accelerate that keep what they are told."""
    monkeypatch.setattr(FakeTracker, "made", [])
    kinds = {"wandb": FakeTracker, "trackio": FakeTracker, "mlflow": FakeTracker, "aim": FakeAim, "mine": FakeTracker}
    monkeypatch.setattr(module, "_list_classes", lambda: kinds)
    return FakeTracker


def read_scalars(folder):
    """Return name -> [(step, value)] of the event files of a folder, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, round(e.value, 4)) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_has_the_names_of_metrics_and_forgets_what_a_resumed_run_writes_again(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    for update in (1, 2, 3):
        run.record({"update": update, "reward": update / 4, "loss": None}, seconds=0.1)
    run.close()
    time.sleep(1.05)  # TensorBoard orders the files of a folder by the second in their names
    again = RunFolder.open(tmp_path / "run")
    again.rewind(1)
    for update in (2, 3):
        again.record({"update": update, "reward": 0.5, "loss": -1.0}, seconds=0.1)
    again.close()
    assert read_scalars(run.path) == {"reward": [(1, 0.25), (2, 0.5), (3, 0.5)], "loss": [(2, -1.0), (3, -1.0)]}
    assert not (run.path / TRACKERS).exists()


def test_other_trackers_get_the_options_of_the_run_and_its_numbers_by_name(tmp_path, fake):
    RunFolder.create(tmp_path / "run", {"argv": [], "options": {"seed": 0, "task": {"digits": 3, "data": None}}})
    told = Trackers(tmp_path / "run", ["wandb", "wandb"], project="sums")
    told.log(1, {"update": 1, "reward": 0.5, "loss": None, "note": "text"})
    told.log(1, {"test_accuracy": 0.25})
    told.finish()
    (one,) = fake.made
    assert one.project == "sums" and one.kwargs["name"] == "run" and one.kwargs["resume"] == "allow"
    assert (
        one.kwargs["dir"] == str(tmp_path / "run")
        and "dir" not in json.loads((tmp_path / "run" / TRACKERS).read_text())["wandb"]
    )
    assert one.calls == [
        ("start",),
        ("config", {"seed": 0, "task.digits": 3, "task.data": "None"}),
        ("log", 1, {"reward": 0.5}),
        ("log", 1, {"test_accuracy": 0.25}),
        ("finish",),
    ]


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name"), ("mlflow", "run_id")])
def test_a_resumed_run_goes_on_in_the_same_run_of_the_tracker(tmp_path, fake, name, key):
    for _ in range(2):
        told = Trackers(tmp_path, [name])
        told.log(1, {"reward": 0.5})
        told.finish()
    first, second = fake.made
    assert second.kwargs[key] == json.loads((tmp_path / TRACKERS).read_text())[name][key]
    assert name == "mlflow" or first.kwargs == second.kwargs


def test_a_tracker_that_needs_a_folder_gets_the_run_folder(tmp_path, fake):
    start_tracker("aim", tmp_path, "p", 1)
    assert fake.made[0].kwargs == {"logging_dir": str(tmp_path)}
    assert not (tmp_path / TRACKERS).exists()


@pytest.mark.parametrize("fails_in", ["start", "config", "log", "finish"])
def test_a_tracker_that_fails_costs_one_warning_and_the_others_go_on(tmp_path, fake, monkeypatch, capsys, fails_in):
    monkeypatch.setattr(FakeTracker, "fails_in", fails_in)
    run = RunFolder.create(tmp_path / "run", {})
    run.trackers = Trackers(run.path, ["wandb", "tensorboard"])
    for update in (1, 2):
        run.record({"update": update, "reward": 0.5}, seconds=0.1)
    run.close()
    run.close()
    warning = capsys.readouterr().err
    assert warning.count("Warning") == 1 and warning.count("\n") == 1
    assert "track='wandb' could not be" in warning and f"no network in {fails_in}" in warning
    assert len(run.metrics()) == 2 and read_scalars(run.path) == {"reward": [(1, 0.5), (2, 0.5)]}
    assert sum(call[0] == fails_in for one in fake.made for call in one.calls) == 1


def test_tensorboard_that_fails_costs_one_warning(tmp_path, monkeypatch, capsys):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "TensorBoard", fail)
    run = RunFolder.create(tmp_path / "run", {})
    run.record({"update": 1, "reward": 0.5}, seconds=0.1)
    run.record({"update": 2, "reward": 0.5}, seconds=0.1)
    run.close()
    assert capsys.readouterr().err.count("No space left on device") == 1 and len(run.metrics()) == 2


def test_without_accelerate_tensorboard_works_and_another_tracker_is_told_what_to_install(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.setitem(sys.modules, "accelerate.tracking", None)
    with pytest.raises(MissingDependencyError, match=r"track='wandb' needs accelerate, of the extra 'track'"):
        start_tracker("wandb", tmp_path, "p", 1)
    told = Trackers(tmp_path, ["tensorboard", "wandb"])
    told.log(1, {"reward": 0.5})
    told.finish()
    assert read_scalars(tmp_path) == {"reward": [(1, 0.5)]}
    assert "pip install 'g2rpo-env[track]' wandb" in capsys.readouterr().err


def test_an_unknown_name_is_one_message_with_the_known_ones(tmp_path, fake):
    with pytest.raises(ConfigurationError) as error:
        Trackers(tmp_path, ["wandbb"])
    assert str(error.value).startswith("track='wandbb' must be one of tensorboard, aim, clearml")
    assert str(error.value).endswith("did you mean 'wandb'?")
    check_names(["mine"])  # registered in accelerate


def test_the_known_names_are_those_of_accelerate():
    tracking = pytest.importorskip("accelerate.tracking", reason="accelerate is not installed")
    assert set(KNOWN) <= set(tracking.LOGGER_TYPE_TO_CLASS)
    for kind in tracking.LOGGER_TYPE_TO_CLASS.values():
        assert all(hasattr(kind, name) for name in ("start", "log", "finish", "store_init_configuration"))


def test_no_tracker_writes_nothing_beside_the_files(tmp_path):
    run = RunFolder.create(tmp_path / "run", {})
    run.trackers = Trackers(run.path, [])
    run.record({"update": 1, "reward": 0.5}, seconds=0.1)
    run.close()
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "metrics.jsonl", "timings.jsonl"]


def test_damaged_files_of_the_folder_are_no_reason_to_stop(tmp_path, fake):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / TRACKERS).write_text("[1]")
    assert read_options(tmp_path) == {}
    Trackers(tmp_path, ["wandb"]).log(1, {"reward": 1.0})
    assert fake.made[0].calls[-1] == ("log", 1, {"reward": 1.0})


def test_a_tracker_of_accelerate_itself_starts_logs_and_finishes(tmp_path, monkeypatch, capsys):
    tracking = pytest.importorskip("accelerate.tracking", reason="accelerate is not installed")
    told = []

    class Own(tracking.GeneralTracker):
        """One that logs as those of accelerate do, with its logger, which needs a process state."""

        name, requires_logging_directory, tracker = "own", False, None

        def __init__(self, run_name):
            super().__init__()

        @tracking.on_main_process
        def log(self, values, step=None, **kwargs):
            tracking.logger.debug("logged")
            told.append((step, values))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "own", Own)
    own = Trackers(tmp_path, ["own"])
    own.log(1, {"reward": 0.5})
    own.finish()
    assert told == [(1, {"reward": 0.5})] and capsys.readouterr().err == ""


def test_trackio_goes_on_in_one_run_where_it_is_installed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    for update in (1, 2):
        told = Trackers(tmp_path, ["trackio"], project="p")
        told.log(update, {"reward": update / 4})
        told.finish()
    assert "Warning" not in capsys.readouterr().err
    (run,) = trackio.Api().runs("p")
    assert run.name == json.loads((tmp_path / TRACKERS).read_text())["trackio"]["name"]
