"""push: a real short run goes to a stand-in for the Hub; bad input is one line."""

import json

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from pushed import FakeApi


@pytest.fixture
def api(monkeypatch):
    """The stand-in that the command meets."""
    made = FakeApi()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    return made


def test_a_run_of_train_is_pushed(command, trained, api):
    status, text, error = command("push", trained, "me/sums", "--private", "--licence", "apache-2.0")
    assert (status, text) == (0, "https://huggingface.co/me/sums\n"), error
    assert api.repos == [("me/sums", "model", True, None)]
    card = ModelCard(api.commits["me/sums"]["README.md"].decode())
    assert card.data.license == "apache-2.0" and "g2rpo-env train --digits 1" in card.text
    assert str(trained.parent) not in card.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "me/sums"], "run='none' must be a run folder"),
        (["RUN", "sums"], "repo='sums' must be user/name"),
        (["RUN", "me/a--b"], "repo='me/a--b' must be user/name"),
    ],
)
def test_bad_input_is_one_line(command, trained, api, arguments, message):
    status, _, error = command("push", *[trained if one == "RUN" else one for one in arguments])
    assert status == 1 and error.startswith(f"g2rpo-env push: {message}") and error.count("\n") == 1
    assert api.repos == []


def test_a_hub_that_refuses_is_one_line(command, trained, api):
    api.fails = ValueError("Token is required")
    status, _, error = command("push", trained, "me/sums")
    assert status == 1 and "Token is required" in error and error.count("\n") == 1


@pytest.mark.long
def test_a_run_of_compare_shows_all_rows(command, trained, api, tmp_path):
    base = sorted((trained / "checkpoints").iterdir())[-1]
    options = ["--digits", 1, "--problems", 2, "--group-size", 2, "--updates", 2, "--evaluation-problems", 6]
    options += ["--algorithms", "grpo@unguided,sft,g2rpo-a", "--policy", base, "--guidance.length", 4]
    status, _, error = command("compare", *options, "--out", tmp_path / "compare")
    assert status == 0, error
    assert command("push", tmp_path / "compare/seed-0/g2rpo-a", "me/sums")[0] == 0
    text = api.commits["me/sums"]["README.md"].decode()
    results = json.loads((tmp_path / "compare/results.json").read_text())
    for row in results:
        name = row["algorithm"] + (" (this model)" if row["algorithm"] == "g2rpo-a" else "")
        assert f"| {name} | test | 6 | greedy | {row['accuracy']:.3f} |" in text
