from pathlib import Path

import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.cli import report
from g2rpo_env.cli.app import main
from g2rpo_env.cli.report import PageArguments, make_page_options
from g2rpo_env.errors import ConfigurationError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three recorded updates."""
    records, problems = make_run_of_sums()
    return write_run(tmp_path / "run", records, problems=problems)


def test_it_writes_a_page_and_says_what_was_left_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "pages" / "run.html"
    argv = [
        "report",
        str(run),
        "--out",
        str(out),
        "--title",
        "<b>",
        "--episodes",
        "20",
        "--redact",
        "prompts,solutions",
    ]
    assert main(argv) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "run: 20 of 48 recorded episodes hold tokens in this page." and said[1].startswith(str(out))
    assert "<title>&lt;b&gt;</title>" in out.read_text()


def test_a_wrong_folder_gives_one_line_and_no_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "x.html"
    path = run / "rollouts" / "000003.jsonl"
    path.write_text(path.read_text() + '{"version": 2}\n')
    for argv, words in (
        ([str(tmp_path / "nothing")], "must be a run folder"),
        ([str(run)], "000003.jsonl:17"),
        ([str(run), "--updates", "x"], "updates='x' must be numbers of updates, or all"),
        ([str(run), "--redact", "all"], "redact='all' must be of prompts, solutions"),
        ([], "run must name a run folder"),
    ):
        assert main(["report", *argv, "--out", str(out)]) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("g2rpo-env report: ") and words in error
        assert not out.exists() and not list(tmp_path.glob("*.part"))


def test_hostile_names_do_not_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    records, _ = make_run_of_sums((1,))
    run = write_run(tmp_path / "a\x1b[2J", records, label="\x1b]0;title\x07\u202e")
    assert main(["report", str(run), "--out", str(tmp_path / "x.html"), "--episodes", "3"]) == 0
    assert "\\x1b]0;title\\x07\\u202e: 0 of 16" in capsys.readouterr().out
    (run / "groups.jsonl").write_text("[]\n")
    assert main(["report", str(run), "--out", str(tmp_path / "x.html")]) == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error and "a\\x1b[2J/groups.jsonl:1" in error


def test_options_of_a_page() -> None:
    options = make_page_options(PageArguments(run=(Path("x"),), updates=("1", "50"), redact="prompts"))
    assert options.updates == {1, 50} and options.redact == {"prompts"}
    assert make_page_options(PageArguments(run=(Path("x"),))).updates is None
    with pytest.raises(ConfigurationError, match="run must name"):
        make_page_options(PageArguments(run=()))


def test_it_opens_a_browser_when_asked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(report.webbrowser, "open", lambda address: bool(opened.append(address)))
    assert main(["report", str(run), "--out", str(tmp_path / "a b.html"), "--open"]) == 0
    assert opened == [(tmp_path / "a b.html").as_uri()] and "No browser was found" in capsys.readouterr().out
