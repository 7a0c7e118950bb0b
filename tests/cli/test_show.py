from pathlib import Path

import pytest
from run_folders import SAMPLED, make_record, make_run_of_sums, write_run

from g2rpo_env.cli.app import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two runs."""
    records, problems = make_run_of_sums()
    records.append(make_record([(SAMPLED, ["[/bold]", "\x1b[2J", "\u202e"])], update=6, group=9, problem_id="[link=x]"))
    write_run(tmp_path / "a", records, problems=problems)
    write_run(tmp_path / "b", [])
    return tmp_path


def show(capsys: pytest.CaptureFixture, *argv: object) -> str:
    """Return what the command prints."""
    assert main(["show", *map(str, argv)]) == 0
    return str(capsys.readouterr().out)


def test_a_group_is_chosen_by_number_and_by_problem(folder: Path, capsys: pytest.CaptureFixture) -> None:
    text = show(capsys, folder, "--update", 3, "--group", 13, "--channel", "credit")
    assert text.startswith(
        "a, update 3, group 13, problem 12+34\nmember 0, ✓ right, 9 tokens shown, answer 46, reward 1"
    )
    assert "advantage times weight" in text
    assert show(capsys, folder / "a", "--update", 3, "--problem", "12+34", "--channel", "credit") == text
    assert show(capsys, folder).startswith("a, update 6, group 24, problem 47+38")
    assert show(capsys, folder / "a" / "rollouts" / "000001.jsonl").startswith("000001, update 1, group 4")


def test_markup_and_control_characters_are_shown_as_they_are(folder: Path, capsys: pytest.CaptureFixture) -> None:
    text = show(capsys, folder, "--group", 9)
    assert "[/bold]\\x1b[2J\\u202e" in text and "problem [link=x]" in text and "\x1b" not in text


def test_what_is_not_there_gives_one_line(folder: Path, capsys: pytest.CaptureFixture) -> None:
    for argv, words in (
        (["--update", "2"], "update=2 must be one whose tokens are recorded: 1, 3, 6"),
        (["--group", "77"], "group=77 must be one of the update: 24 (47+38)"),
        (["--problem", "x"], "problem='x' must be one of the update"),
        (["--label", "c"], "label='c' must be one of a, b"),
        (["--label", "b"], "must be one whose tokens are recorded"),
    ):
        assert main(["show", str(folder), *argv]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and words in error
    assert main(["show", str(folder / "b")]) == 1
    assert "must hold recorded tokens" in capsys.readouterr().err
