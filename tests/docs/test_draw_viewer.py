import shutil
from pathlib import Path

import pytest
from draw_viewer import IMAGES, choose_group, draw, list_views
from run_folders import make_run_of_sums, write_run

from g2rpo_env.report.reader import read_runs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two runs."""
    records, problems = make_run_of_sums((1, 3))
    for label in "ab":
        write_run(tmp_path / "runs" / label, records, problems=problems)
    return tmp_path / "runs"


def test_a_group_is_chosen_that_has_something_to_show(folder: Path) -> None:
    runs = read_runs(folder)
    assert choose_group(runs[0]) == (3, 13, 0)
    assert list_views(runs)["compare-group"] == "#/compare/0/1/update/3/problem/1"
    assert "compare" not in list_views(runs[:1])


def test_every_page_is_drawn_in_both_schemes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright", reason="playwright is missing: pip install playwright")
    pytest.importorskip("PIL", reason="Pillow is missing: pip install 'g2rpo-env[video]'")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    monkeypatch.setattr("draw_viewer.list_views", lambda runs: {"overview": "#/run/0"})
    files = draw([folder], tmp_path / "out")
    assert [file.name for file in files] == ["overview-light.webp", "overview-dark.webp"]
    assert all(3_000 < file.stat().st_size < 200_000 for file in files)


def test_the_pictures_of_the_page_are_small_and_complete() -> None:
    pictures = {path.name: path.stat().st_size for path in IMAGES.glob("*.webp")}
    assert len(pictures) == 22 and sum(pictures.values()) < 1_500_000
