import errno
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_many, make_record, make_run_of_sums, write_run

from g2rpo_env.errors import ConfigurationError, DataError, StorageError
from g2rpo_env.report import page
from g2rpo_env.report.chunks import decode, read_chunk
from g2rpo_env.report.page import Budget, PageOptions, keep_groups, make_page, order_updates, write_page
from g2rpo_env.report.reader import read_runs


def read_blocks(html: str) -> dict[str, Any]:
    """Return the data of a page by name."""
    blocks = re.findall(r'<script type="application/x-g2rpo" id="([^"]*)" data-bytes="(\d+)">([^<]*)</script>', html)
    assert all(len(text) == int(size) for _, size, text in blocks)
    return {name: decode(text) for name, _, text in blocks}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three recorded updates."""
    records, problems = make_run_of_sums()
    return write_run(tmp_path / "run", records, problems=problems)


def test_a_page_holds_every_record(run: Path) -> None:
    blocks = read_blocks(make_page([run]).html)
    assert list(blocks) == ["index", "chunk-0-1", "chunk-0-6", "chunk-0-3"]
    (found,) = read_runs(run)
    for update, path in found.rollouts:
        records = list(found.read(update, path))
        again = read_chunk(blocks[f"chunk-0-{update}"])
        assert [r["texts"] for r in again] == [r["texts"] for r in records]
        assert [r["weights"] for r in again] == [r["weights"] for r in records]
        total = sum(sum(r["weights"]) for r in records)
        assert blocks[f"chunk-0-{update}"]["weight_sum"] == pytest.approx(total)
    assert make_page([run]).html == make_page([run]).html


def test_a_run_without_rollouts_and_an_empty_one_have_pages(run: Path, tmp_path: Path) -> None:
    for path in (run / "rollouts").iterdir():
        path.unlink()
    (index,) = read_blocks(make_page([run]).html)["index"]["runs"]
    assert index["chunks"] == [] and len(index["groups"]["size"]) == 12
    (tmp_path / "empty" / "rollouts").mkdir(parents=True)
    (index,) = read_blocks(make_page([tmp_path / "empty"]).html)["index"]["runs"]
    assert index["groups"]["size"] == [] and index["metrics"] == []


def test_episodes_of_one_token_and_of_none(tmp_path: Path) -> None:
    records = [make_record([(2, "x")]), make_record([], member=1)]
    blocks = read_blocks(make_page([write_run(tmp_path / "run", records)]).html)
    assert [len(record["tokens"]) for record in read_chunk(blocks["chunk-0-1"])] == [1, 0]


def test_updates_are_kept_from_the_ends_inwards() -> None:
    assert order_updates(0) == [] and order_updates(1) == [0] and order_updates(2) == [0, 1]
    assert order_updates(9) == [0, 8, 4, 2, 6, 1, 3, 5, 7] and sorted(order_updates(1000)) == list(range(1000))


def test_only_whole_groups_are_kept() -> None:
    records = [{"group": group, "tokens": [0] * 5} for group in (1, 2, 1, 3)]
    assert keep_groups(records, Budget(10, 1000)) == [True] * 4
    assert keep_groups(records, Budget(2, 1000)) == [True, False, True, False]
    assert keep_groups(records, Budget(1, 1000)) == [False, True, False, False]
    assert keep_groups(records, Budget(10, 5)) == [False, True, False, False]


def test_a_page_is_cut_and_says_so(run: Path) -> None:
    made = make_page([run], PageOptions(episodes=21))
    assert made.notes == ("run: 20 of 48 recorded episodes hold tokens in this page.",)
    index = read_blocks(made.html)["index"]["runs"][0]
    assert index["cut"] == made.notes[0] and [chunk[1:] for chunk in index["chunks"]] == [[1, 16], [6, 4]]
    assert len(index["groups"]["size"]) == 12
    made = make_page([run], PageOptions(updates=frozenset({3}), tokens=10**9))
    assert [name for name in read_blocks(made.html)] == ["index", "chunk-0-3"]
    assert "20 of" not in "".join(make_page([run], PageOptions(episodes=0)).notes)


def test_a_lone_file_of_several_updates_is_cut_by_whole_groups(run: Path, tmp_path: Path) -> None:
    lone = tmp_path / "all.jsonl"
    lone.write_text("".join(path.read_text() for path in sorted((run / "rollouts").iterdir())))
    made = make_page([lone], PageOptions(episodes=20))
    index = read_blocks(made.html)["index"]["runs"][0]
    assert [chunk[1:] for chunk in index["chunks"]] == [[1, 16], [3, 4]]
    assert made.notes == ("all: 20 of 48 recorded episodes hold tokens in this page.",)


def test_runs_of_a_folder_share_the_budget_and_have_labels_that_differ(run: Path, tmp_path: Path) -> None:
    records, _ = make_run_of_sums((1,))
    for place in ("x", "y"):
        write_run(tmp_path / "both" / place, records, label="same")
    blocks = read_blocks(make_page([tmp_path / "both"], PageOptions(episodes=16)).html)
    assert [one["label"] for one in blocks["index"]["runs"]] == ["same (1)", "same (2)"]
    assert [one["chunks"][0][2] for one in blocks["index"]["runs"]] == [8, 8]


def test_two_runs_of_different_tasks_are_refused(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [], env="g2rpo_env/Chain-v0")
    with pytest.raises(DataError, match="has env='g2rpo_env/Chain-v0' and .* must be of one task"):
        make_page([run, other])
    other = write_run(tmp_path / "more", [], task={"digits": 3})
    with pytest.raises(DataError, match="has task="):
        make_page([run, other])
    assert "chunk-0-1" in read_blocks(make_page([run, write_run(tmp_path / "fits", [])]).html)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"episodes": -1}, "episodes=-1"), ({"tokens": -1}, "tokens=-1"), ({"redact": frozenset({"x"})}, "redact='x'")],
)
def test_options_that_break_a_rule(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        PageOptions(**options)


def test_the_policy_allows_the_script_of_the_page_and_no_network(run: Path) -> None:
    html = make_page([run]).html
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy and policy[1].startswith("default-src 'none'; script-src 'sha256-")
    assert "connect" not in policy[1] and "http" not in policy[1] and "unsafe-eval" not in policy[1]
    assert re.findall(r"<(?:link|img|iframe|base|object|embed)\b", html.split("</style>")[0]) == []


def test_a_full_disk_leaves_no_half_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "page.html"
    out.write_text("before")

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(page.os, "replace", refuse)
    with pytest.raises(StorageError, match="No space left on device"):
        write_page("after", out)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"] and out.read_text() == "before"
    monkeypatch.undo()
    write_page("after \u2028", out)
    assert out.read_text() == "after \u2028" and out.stat().st_mode & 0o777 == 0o644
    with pytest.raises(StorageError, match="could not be written"):
        write_page("x", out / "below" / "page.html")


def test_making_a_page_imports_no_torch(run: Path, tmp_path: Path) -> None:
    call = (
        "import sys; from g2rpo_env.cli.app import main\n"
        f"assert main(['report', {str(run)!r}, '--out', {str(tmp_path / 'x.html')!r}]) == 0\n"
        f"assert main(['show', {str(run)!r}]) == 0\n"
        "print([name for name in ('torch', 'transformers', 'pickle5') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_bundle_is_small() -> None:
    script = (page.VIEWER / "dist" / "viewer.js").read_bytes()
    style = (page.VIEWER / "dist" / "viewer.css").read_bytes()
    import gzip

    assert len(script) + len(style) <= 400_000
    assert len(gzip.compress(script + style)) <= 130_000


@pytest.mark.parametrize(("top", "most"), [(False, 3_000_000), (True, 5_000_000)])
def test_ten_thousand_episodes_fit_into_a_page(tmp_path: Path, top: bool, most: int) -> None:
    episodes = 2048
    html = make_page([make_many(tmp_path / "run", episodes, top)]).html
    bundle = sum((page.VIEWER / "dist" / name).stat().st_size for name in ("viewer.js", "viewer.css"))
    assert bundle + (len(html) - bundle) * 10_000 / episodes <= most


def test_the_data_of_a_page_is_json(run: Path) -> None:
    for block in read_blocks(make_page([run]).html).values():
        json.dumps(block, allow_nan=False)


def test_the_rows_of_a_comparison_include_what_is_no_run(tmp_path: Path) -> None:
    records, problems = make_run_of_sums()
    write_run(tmp_path / "demo" / "grpo", records, problems=problems)
    hostile = {"base": {"accuracy": 0.25, "interval": [0.2, 0.3]}, "<script>": {"accuracy": 0.5, "interval": "x"}}
    text = json.dumps({**hostile, "grpo": {"accuracy": 0.1}, "note": "text", "__proto__": {"accuracy": "1"}})
    (tmp_path / "demo" / "summary.json").write_text(text)
    rows = read_blocks(make_page([tmp_path / "demo"]).html)["index"]["rows"]
    assert rows == [["base", None, 0.25, 0.2, 0.3], ["<script>", None, 0.5, None, None], ["grpo", 0, 0.75, 0.6, 0.9]]
    (tmp_path / "demo" / "summary.json").write_text("[")
    with pytest.raises(DataError, match=r"summary\.json is damaged"):
        make_page([tmp_path / "demo"])


def test_an_update_in_two_files_is_refused(run: Path) -> None:
    (run / "rollouts" / "1.jsonl").write_bytes((run / "rollouts" / "000001.jsonl").read_bytes())
    with pytest.raises(DataError, match="update 1 is recorded in two files"):
        make_page([run])


def test_files_are_checked_where_nothing_of_them_is_kept(run: Path) -> None:
    file = run / "rollouts" / "000001.jsonl"
    for target in ("/etc/passwd", "000001.jsonl"):  # out of the folder, and to itself
        file.unlink()
        file.symlink_to(target)
        for options in (PageOptions(), PageOptions(episodes=0)):
            with pytest.raises(DataError, match=r"000001\.jsonl must not be a link that leads out"):
                make_page([run], options)
    (run / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="run="):
        make_page([run / "loop"])
