"""g2rpo-env study: names, forms and contradictions; a claim end to end, again from its cache, and its direction."""

import re
from dataclasses import replace

import numpy as np
import pytest

from g2rpo_env.agents.warm_start import WarmStart
from g2rpo_env.cli import study
from g2rpo_env.cli.app import main
from g2rpo_env.cli.options import parse
from g2rpo_env.cli.study import StudyOptions, make_scale
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.study import grounds
from g2rpo_env.study.claims import CLAIMS, find_claims
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import GUIDED, REDUCED
from g2rpo_env.study.runner import StudyFolder


def options(*argv):
    return parse(StudyOptions, argv, "study")


def test_the_list_counts_the_runs(capsys):
    assert main(["study", "list"]) == 0
    printed = capsys.readouterr().out
    assert all(claim.name in printed for claim in CLAIMS) and re.search(r"\d+ runs for all", printed)


def test_forms():
    assert make_scale(options("all")).seeds == (0, 1, 2) and make_scale(options("all")).name == "default"
    full = make_scale(options("all", "--full"))
    assert full.seeds == (0, 1, 2, 3, 4) and full.families == tuple(FAMILIES) and full.share == 1.0
    assert make_scale(options("all", "--reduced")).get_grounds() == [REDUCED]
    assert make_scale(options("all", "--seeds", "4", "7")).seeds == (4, 7)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no-such-claim"], "name='no-such-claim' must be all, list, or one of adaptive, "),
        (["all", "--full", "--reduced"], "full and reduced contradict each other"),
        (["sparse", "--seeds", "1", "1"], "seeds=(1, 1) must be distinct"),
        (["sparse", "--workers", "0"], "workers=0 must be at least 1"),
    ],
)
def test_bad_input_is_one_line(argv, said, capsys, tmp_path):
    assert main(["study", *argv, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The reduced form on sums of one digit; the workers get it with their runs."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    family = replace(
        REDUCED.family, task={"digits": 1}, warm=WarmStart((0.0, 1.0), max_steps=2, samples=8), longest=9.0, updates=2
    )
    ground = replace(REDUCED, family=family, hidden_size=16, layers=1, evaluation_problems=8, evaluations=2)
    monkeypatch.setattr(grounds, "REDUCED", ground)


@pytest.mark.usefixtures("tiny")
def test_a_claim_end_to_end_and_again_from_its_results(tmp_path, capsys):
    command = ["study", "sparse", "--reduced", "--seeds", "0", "--workers", "1", "--out", str(tmp_path / "study")]
    assert main(command) == 0
    first = capsys.readouterr()
    assert "run 10/10" in first.err and "sparse: " in first.out
    assert (tmp_path / "study/report/sparse.md").is_file() and (tmp_path / "study/report/sparse.png").is_file()
    assert main(command) == 0
    second = capsys.readouterr()
    assert second.err == "" and second.out == first.out
    assert main([*command[:4], "0", "1", *command[5:]]) == 1  # other seeds
    assert "was begun with seeds=[0]" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny")
def test_a_run_that_fails_is_said_at_the_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study.Runner, "_work", lambda self, waiting, done, counter: self.failed.update(a="x: broken"))
    assert main(["study", "sparse", "--reduced", "--out", str(tmp_path / "study")]) == 1
    said = capsys.readouterr()
    assert "1 runs failed, the first one with: x: broken" in said.err and "unfinished" in said.out


@pytest.mark.long
def test_the_reduced_form_shows_the_direction_of_the_effect(tmp_path, capsys, monkeypatch):
    """Two seeds of a very small model: far fewer groups of plain GRPO have a signal than of guided GRPO."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    assert main(["study", "sparse", "--reduced", "--out", str(tmp_path / "study")]) == 0
    printed = capsys.readouterr().out
    assert "sparse: replicates\n" in printed and printed.count("  holds: ") == 2
    (claim,) = find_claims("sparse")
    scale = make_scale(options("sparse", "--reduced"))
    folder = StudyFolder.open(tmp_path / "study", {"form": "reduced", "seeds": [0, 1]})
    (part,) = claim.parts(scale)
    found = Found(part, {run.key: folder.get_result(run) for row in part.rows for run in row.runs})
    for seed in scale.seeds:  # the verdict is of the mean; here of every seed
        early = [np.mean(found.of(label)[seed]["curves"]["groups_with_signal"][:10]) for label in (found.grpo, GUIDED)]
        assert early[1] > early[0]
