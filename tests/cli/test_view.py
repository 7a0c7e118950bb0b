from pathlib import Path

import pytest
from run_folders import make_run_of_sums, write_run

from g2rpo_env.cli import report
from g2rpo_env.cli.app import main
from g2rpo_env.cli.view import find_place


def test_it_writes_into_the_cache_and_opens_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    opened: list[str] = []
    monkeypatch.setattr(report.webbrowser, "open", lambda address: opened.append(address) or True)
    records, problems = make_run_of_sums((1,))
    run = write_run(tmp_path / "run", records, problems=problems)
    assert main(["view", str(run)]) == 0
    place = find_place([run])
    assert place.is_relative_to(tmp_path / "cache" / "g2rpo-env") and opened == [place.as_uri()]
    assert str(place) in capsys.readouterr().out
    assert main(["view", str(run), "--no-open"]) == 0 and len(opened) == 1
    assert find_place([run]) != find_place([run, run])
