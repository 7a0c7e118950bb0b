"""response: the curve of a run, a folder or a fresh tiny model, as a table, a file and a picture."""

import json

from g2rpo_env.report.run_folder import RunFolder

OPTIONS = ["--threads", 1, "--problems", 4, "--fractions", 0, 0.5, 1]


def test_a_run_and_its_checkpoint_have_the_same_curve(command, trained, tmp_path):
    folder = RunFolder(trained).checkpoints()[-1]
    assert command("response", "--model", trained, *OPTIONS, "--out", tmp_path / "run")[0] == 0
    env = ["--env", "g2rpo_env/Addition-v0", "--digits", 1]
    status, text, error = command("response", "--model", folder, *env, *OPTIONS, "--out", tmp_path / "folder")
    assert status == 0, error
    assert "4 test problems" in text and "before_answer" in text
    curves = [json.loads((tmp_path / name / "response.json").read_text()) for name in ("run", "folder")]
    (one,), (other,) = (curve.values() for curve in curves)
    assert one == other
    assert [(point["reveal_cap"], point["fraction"]) for point in one] == [
        (cap, fraction) for cap in ("final_answer", "before_answer") for fraction in (0, 0.5, 1)
    ]
    assert (tmp_path / "run/response.png").stat().st_size > 10_000
    status, _, error = command("response", "--model", trained, *OPTIONS, "--out", tmp_path / "run")
    assert status == 1 and "nothing in it is overwritten" in error


def test_without_a_model_a_tiny_one_is_warm_started(command, tmp_path):
    env = ["--env", "g2rpo_env/Addition-v0", "--digits", 1, "--warm.success", 0, 1, "--warm.samples", 16]
    steps = ["--warm.max-steps", 1, "--warm.check-every", 1]
    status, text, error = command("response", *env, *steps, *OPTIONS, "--out", tmp_path / "fresh")
    assert status == 0, error
    assert "Warm start: 0 steps, sampled success" in text


def test_something_must_name_the_environment(command, tmp_path):
    status, _, error = command("response", "--out", tmp_path / "x")
    assert status == 1 and "env must be given" in error and "or name a model" in error and not (tmp_path / "x").exists()


def test_the_model_may_come_first_and_its_folder_names_the_environment(command, trained, tmp_path):
    folder = RunFolder(trained).checkpoints()[-1]
    status, text, error = command("response", folder, *OPTIONS, "--out", tmp_path / "out")
    assert status == 0 and "4 test problems" in text, error
    status, _, error = command("response", tmp_path / "missing", *OPTIONS, "--out", tmp_path / "none")
    assert status == 1 and "no such folder" in error and not (tmp_path / "none").exists()
