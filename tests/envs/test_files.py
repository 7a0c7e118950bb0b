"""Local files and folders by split, as the Hub and the datasets library lay them, the Hub stood in for, checksums."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from g2rpo_env.envs.files import check_sums, find_files, is_hub_name, load_tables, local_path, read_rows, rows_sha256
from g2rpo_env.errors import ConfigurationError, DataError

ROWS = [{"question": f"Q{n}?", "answer": str(n)} for n in range(3)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    """Write rows in the format of the file's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
        path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    elif path.suffix == ".parquet":
        import datasets

        datasets.Dataset.from_list(rows).to_parquet(str(path))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def plain(rows: list[Any]) -> list[Any]:
    return [row for _, row in rows]


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name,split",
    [
        ("rows.jsonl", "train"), ("test.jsonl", "test"), ("test.csv", "test"), ("gsm8k_test.json", "test"),
        ("dev-00000-of-00001.parquet", "validation"), ("Train.JSONL", "train"),
    ],
)  # fmt: skip
def test_a_single_file_is_the_split_that_its_name_says(tmp_path: Path, name: str, split: str) -> None:
    path = write(tmp_path / name)
    tables = load_tables(path)
    assert {split: plain(rows) for split, rows in tables.rows.items()} == {split: ROWS}
    assert tables.prefix(split) == name.split(".")[0]


def test_a_packed_file_is_named_by_its_split_and_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "rows.jsonl").read_bytes()))
    tables = load_tables(path)
    assert plain(tables.rows["test"]) == ROWS and tables.prefix("test") == "test"
    assert tables.sha256 == {"test.jsonl.gz": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_a_name_is_of_the_hub_unless_it_looks_like_a_path(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    assert [is_hub_name(name) for name in ("gsm8k", "openai/gsm8k", "bigcode/mbpp-v1.1")] == [True] * 3
    names = (tmp_path, tmp_path / "a.jsonl", "a.jsonl", "a.csv.gz", "/a/b", "a/b/c", "./a", "../a")
    assert not any(is_hub_name(name) for name in names)


def test_a_path_may_begin_at_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "x" / "a.jsonl")
    assert plain(load_tables("~/x/a.jsonl").rows["train"]) == ROWS and plain(read_rows("~/x")) == ROWS
    assert local_path("~no-such-user-at-all/a") == Path("~no-such-user-at-all/a")


@pytest.mark.parametrize("data", [["a.jsonl", "b.jsonl"], "", 5])
def test_data_is_one_path_or_name(data: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be one path or the name of a Hub data set"):
        load_tables(data)


# -- folders --------------------------------------------------------------------------------------------------------


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl")
    (tmp_path / "test.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match="test.jsonl is a link to .*nowhere, which does not exist"):
        find_files(tmp_path)


def test_folders_that_each_hold_a_split_are_read_together_with_a_warning(tmp_path: Path) -> None:
    for folder in ("main", "socratic"):
        write(tmp_path / folder / "train-00000-of-00001.jsonl")
    with pytest.warns(
        UserWarning, match="train of .* comes from the folders main, socratic, .* config='main' reads one"
    ):
        assert len(find_files(tmp_path)["train"]) == 2
    assert len(find_files(tmp_path, "main")["train"]) == 1


@pytest.mark.parametrize(
    "names,expected",
    [
        (["train.jsonl", "test.jsonl"], {"train": 1, "test": 1}),
        (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"], {"train": 2}),
        (["dev.json", "test.json"], {"validation": 1, "test": 1}),
        (["train/algebra/1.json", "train/algebra/2.json", "test/algebra/1.json"], {"train": 2, "test": 1}),
        (["algebra/train-00000-of-00001.csv", "geometry/train-00000-of-00001.csv"], {"train": 2}),
        (["a.jsonl", "b.jsonl"], {"train": 2}),
        (["test.jsonl", "test_socratic.jsonl", "sources.jsonl"], {"test": 1}),  # the exact name goes first
        (["train_a.jsonl", "train_b.jsonl"], {"train": 2}),
        (["train.jsonl", "dataset_info.json", ".cache/train.csv", "__MACOSX/train.csv"], {"train": 1}),
        (["train.jsonl", "test.csv", "dev.json"], {"train": 1, "test": 1, "validation": 1}),
    ],
)
def test_a_folder_has_its_files_by_split(tmp_path: Path, names: list[str], expected: dict[str, int]) -> None:
    for name in names:
        write(tmp_path / name)
    assert {split: len(files) for split, files in find_files(tmp_path).items()} == expected
    tables = load_tables(tmp_path)
    assert {split: len(rows) for split, rows in tables.rows.items()} == {s: 3 * n for s, n in expected.items()}
    assert len(load_tables(tmp_path, limit=2).rows[min(expected)]) == 2


def test_a_folder_in_the_layout_of_the_hub_with_parquet(tmp_path: Path) -> None:
    for part in range(2):
        write(tmp_path / "main" / f"train-0000{part}-of-00002.parquet", ROWS[part : part + 1])
    write(tmp_path / "main/test-00000-of-00001.parquet", ROWS[2:])
    write(tmp_path / "other/train-00000-of-00001.parquet")
    rows = load_tables(tmp_path, config="main").rows
    assert plain(rows["train"]) == ROWS[:2] and plain(rows["test"]) == ROWS[2:]


def test_what_the_datasets_library_saves_is_read_without_its_caches(tmp_path: Path) -> None:
    import datasets

    rows = {"train": [dict(row, n=n) for n, row in enumerate(ROWS * 3)], "validation": ROWS, "test": ROWS[:1]}
    whole = datasets.DatasetDict({split: datasets.Dataset.from_list(found) for split, found in rows.items()})
    whole.save_to_disk(tmp_path / "all", num_shards={"train": 2, "validation": 1, "test": 1})
    loaded = datasets.load_from_disk(str(tmp_path / "all"))
    loaded["train"].filter(lambda row: row["n"] == 0)  # writes a cache beside the data
    assert any("cache" in path.name for path in (tmp_path / "all/train").iterdir())
    found = load_tables(tmp_path / "all").rows
    assert {split: plain(placed) for split, placed in found.items()} == rows
    alone = datasets.Dataset.from_list(ROWS, split="test")
    alone.save_to_disk(tmp_path / "alone")
    assert plain(load_tables(tmp_path / "alone").rows["test"]) == ROWS


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    for part in (0, 2):
        write(tmp_path / f"data/train-0000{part}-of-00003.jsonl")
    with pytest.raises(DataError, match="data lacks part 1 of 3 of 'train'"):
        load_tables(tmp_path)


def test_rows_of_all_files_of_a_folder_whatever_their_split(tmp_path: Path) -> None:
    for number, name in enumerate(("full/train.csv", "full/prompt.csv", "sanitized/test.csv")):
        write(tmp_path / name, ROWS[number : number + 1])
    assert plain(read_rows(tmp_path, "full")) == [ROWS[1], ROWS[0]]
    assert len(read_rows(tmp_path)) == 3 and plain(read_rows(tmp_path / "sanitized/test.csv")) == ROWS[2:]


def test_folders_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must hold files that end in \.jsonl, .*; there are none"):
        load_tables(tmp_path)
    (tmp_path / "rows.xlsx").touch()
    with pytest.raises(DataError, match=r"packed as \.gz, \.bz2, \.xz, \.zst; it holds rows.xlsx"):
        load_tables(tmp_path)
    write(tmp_path / "main/train.jsonl")
    with pytest.raises(DataError, match="config='socratic' must be a sub-folder of .*; there are main"):
        load_tables(tmp_path, config="socratic")
    write(tmp_path / "main/train.csv")
    with pytest.raises(DataError, match=r"holds train as \.csv and \.jsonl: give the file itself"):
        load_tables(tmp_path)
    with pytest.raises(DataError, match="none.csv' is no file and no folder"):
        load_tables(tmp_path / "none.csv")
    with pytest.raises(ConfigurationError, match="limit=0 must be at least 1"):
        load_tables(tmp_path, limit=0)


# -- the Hub --------------------------------------------------------------------------------------------------------


def test_the_splits_of_the_hub_come_with_revision_and_as_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def answers(make: Any) -> Any:
        return lambda *names, **options: asked.append((*names, options)) or make()

    monkeypatch.setattr("datasets.get_dataset_split_names", answers(lambda: ["train", "val"]))
    monkeypatch.setattr("datasets.load_dataset", answers(lambda: iter(ROWS)))
    tables = load_tables("some/data", config="main", revision="v2", streaming=True, limit=2)
    assert {split: plain(rows) for split, rows in tables.rows.items()} == {"train": ROWS[:2], "validation": ROWS[:2]}
    assert tables.rows["train"][1][0] == "some/data (main, train), row 2"
    assert tables.sha256 == dict.fromkeys(("train", "val"), rows_sha256(ROWS[:2]))
    assert asked == [
        ("some/data", "main", {"revision": "v2"}),
        ("some/data", "main", {"split": "train", "revision": "v2", "streaming": True}),
        ("some/data", "main", {"split": "val", "revision": "v2", "streaming": True}),
    ]


def test_a_hub_that_cannot_be_reached_says_how_to_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*names: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the Hub")

    monkeypatch.setattr("datasets.get_dataset_split_names", unreachable)
    with pytest.raises(DataError, match=r"'some/data' .*reach the Hub.*give data the path of the folder or of a file"):
        load_tables("some/data")


# -- checksums ------------------------------------------------------------------------------------------------------


def test_the_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_tables(path, checksum=digest[:16].upper()).sha256 == {"rows.jsonl": digest}
    with pytest.raises(DataError, match=f"rows.jsonl of .* has the wrong checksum: expected 00000000, got {digest}"):
        load_tables(path, checksum="00000000")


def test_several_files_have_a_checksum_each(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl")
    write(tmp_path / "data/test.jsonl")
    tables = load_tables(tmp_path)
    assert set(tables.sha256) == {"train.jsonl", "data/test.jsonl"}
    check_sums(tables, {"data/test.jsonl": tables.sha256["data/test.jsonl"]})
    for expected, words in [
        ("0" * 64, "must name its file, .* has several: "),
        ({"none.jsonl": "0" * 64}, "checksum names 'none.jsonl'"),
        ({"train.jsonl": "12"}, "checksum='12' must be the first 8 to 64 digits"),
        ({"train.jsonl": "x" * 64}, "must be the first 8 to 64 digits"),
    ]:
        with pytest.raises(ConfigurationError, match=words):
            check_sums(tables, expected)


def test_the_checksum_of_rows_does_not_depend_on_the_order_of_fields() -> None:
    assert rows_sha256([{"a": 1, "b": "é"}]) == rows_sha256([{"b": "é", "a": 1}])
    assert rows_sha256(ROWS) != rows_sha256(ROWS[::-1])
