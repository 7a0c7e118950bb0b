"""Provenance: versions of what is installed, checksums of the files that hold rows, plain data."""

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from g2rpo_env import __version__
from g2rpo_env.report.provenance import get_checksums, get_versions, to_plain


def test_versions_are_those_of_this_process():
    versions = get_versions()
    assert versions["python"] == platform.python_version() and versions["g2rpo_env"] == __version__
    assert versions["torch"] == metadata.version("torch") and versions["transformers"] == metadata.version(
        "transformers"
    )


def test_a_file_and_a_folder_of_rows_have_checksums_and_names_have_none(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/train.jsonl").write_text("{}")
    (tmp_path / "data/notes.txt").write_text("not rows")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/train.jsonl").write_text("hidden")
    digest = hashlib.sha256(b"{}").hexdigest()
    assert get_checksums({"data": str(tmp_path)}) == {"data/train.jsonl": digest}
    assert get_checksums({"data": tmp_path / "data/train.jsonl"}) == {"train.jsonl": digest}
    assert (
        get_checksums({"data": "openai/gsm8k"}) == get_checksums({"digits": 3}) == get_checksums({"data": None}) == {}
    )


def test_dataclasses_and_paths_become_plain():
    @dataclass
    class Point:
        x: int
        where: Path

    assert json.dumps(to_plain({"point": Point(1, Path("a/b")), "pair": (1, 2)})) == (
        '{"point": {"x": 1, "where": "a/b"}, "pair": [1, 2]}'
    )
