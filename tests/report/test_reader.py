import json
import os
from pathlib import Path
from typing import Any

import pytest
from run_folders import SAMPLED, make_record, make_run_of_sums, write_run

from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.report import reader
from g2rpo_env.report.page import make_page
from g2rpo_env.report.reader import find_run_folders, normalize_record, read_runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with three recorded updates."""
    records, problems = make_run_of_sums()
    return write_run(tmp_path / "run", records, problems=problems)


def read_all(path: Path) -> list[dict[str, Any]]:
    """Return the records of all runs of a folder."""
    return [r for one in read_runs(path) for u, file in one.rollouts for r in one.read(u, file)]


def test_a_run_folder_says_what_its_files_say(run: Path) -> None:
    (found,) = read_runs(run)
    assert found.label == "run" and [update for update, _ in found.rollouts] == [1, 3, 6]
    assert len(found.groups) == 12 and found.groups[1]["reveal"] == [9, 9, 0, 0]
    assert found.problems[0]["answer"] == "85" and found.result["accuracy"] == 0.75
    assert len(read_all(run)) == 48 and read_all(run)[0]["problem_id"] == "47+38"


def test_runs_are_found_in_folders_of_demo_and_compare(tmp_path: Path, run: Path) -> None:
    for place in ("demo/sft", "demo/grpo", "compare/0/grpo", "compare/1/grpo"):
        write_run(tmp_path / place, [], label="same")
    (tmp_path / "demo" / "base").mkdir()
    (tmp_path / "demo" / "base" / "config.json").write_text("{}")
    assert [found.label for found in read_runs(tmp_path / "demo")] == ["same", "same"]
    assert [found.label for found in read_runs(tmp_path / "compare")] == ["0/grpo", "1/grpo"]
    assert [path.name for path in find_run_folders(tmp_path / "demo")] == ["grpo", "sft"]


def test_a_file_of_rollouts_is_a_run(run: Path) -> None:
    path = run / "rollouts" / "000003.jsonl"
    (found,) = read_runs(path)
    assert found.label == "000003" and {record["update"] for record in read_all(path)} == {3}


def test_version_1_is_read_with_nothing_where_nobody_sampled(run: Path) -> None:
    path = run / "rollouts" / "000001.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    later = ("update", "logprobs_after", "logprobs_before", "entropies_after", "credits", "shaped_reward", "selected")
    for row in rows:
        row |= {"version": 1, "logprobs": [x or 0 for x in row["logprobs"]]}
        for name in (*later, "prompt_reveal"):
            del row[name]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first = read_all(run)[0]
    assert first["update"] == 1 and first["logprobs_after"] is None and first["selected"]
    assert [x is None for x in first["logprobs"]] == [role != SAMPLED for role in first["roles"]]


def test_an_earlier_run_says_its_facts_in_config_json(run: Path) -> None:
    (run / "run.json").unlink()
    (run / "config.json").write_text(json.dumps({"argv": ["--x"], "options": {"env": "E-v0", "recipe": "grpo"}}))
    (found,) = read_runs(run)
    assert found.facts == {"argv": ["--x"], "env": "E-v0", "agent": "grpo", "command": "train"}


def test_a_run_that_is_going_on_is_read_without_its_last_cut_line(run: Path) -> None:
    for name in ("metrics.jsonl", "groups.jsonl", "rollouts/000006.jsonl"):
        text = (run / name).read_text()
        (run / name).write_text(text[: len(text) - 30])
    (found,) = read_runs(run)
    assert len(found.metrics) == 5 and len(found.groups) == 11 and len(read_all(run)) == 47


def corrupt(path: Path, line: int, text: str) -> None:
    """Put a text in the place of a line, counted from 1."""
    lines = path.read_text().splitlines()
    lines[line - 1] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", ["metrics.jsonl", "groups.jsonl", "problems.jsonl", "rollouts/000001.jsonl"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"update": 1, "gr', "is damaged"),
        ("[1]", "must hold an object"),
        ('{"update": NaN}', "NaN is no number of JSON"),
        ('{"update": 1e999}', "no finite number"),
        ("[" * 100_000, "is damaged"),
        ("\xff\xfe", "is damaged"),
    ],
)
def test_a_damaged_line_is_named_with_its_file(run: Path, name: str, text: str, words: str) -> None:
    lines = (run / name).read_text(encoding="utf-8").splitlines()
    lines[1] = text
    (run / name).write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    with pytest.raises(DataError, match=words) as error:
        read_all(run)
    assert f"{name}:2" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 3}, "version=3 must be one of 1, 2"),
        ({"version": True}, "version=True"),
        ({"texts": ["a"]}, "texts has 1 entries, and the episode has 2 tokens"),
        ({"roles": [0, 9]}, "roles must be of 0 to 3"),
        ({"roles": [0, True]}, "roles holds an entry"),
        ({"tokens": [0, -1]}, "ids begin with 0"),
        ({"tokens": [0, "x"]}, "tokens holds an entry"),
        ({"weights": [0.5, None]}, "weights holds an entry"),
        ({"logprobs": [1e300, 0]}, "beyond"),
        ({"logprobs_after": "no"}, "is not what this field may hold"),
        ({"reward": None}, "reward=None is not what"),
        ({"reward": 10**400}, "reward="),
        ({"verdict": {"outcome": "fine"}}, "outcome='fine'"),
        ({"verdict": []}, "verdict="),
        ({"problem_id": 3}, "problem_id=3"),
        ({"top": [[], [[1, 2, 3]]]}, "no .id, text, logprob."),
        ({"top": [3, None]}, "no .id, text, logprob."),
        ({"parent": [1, 2]}, "parent=.* must be 3 whole numbers"),
        ({"train_prefix": ["a"]}, "train_prefix must hold token ids"),
        ({"parts": [1]}, "parts has 1 entries"),
    ],
)
def test_a_record_that_breaks_a_rule_is_refused(changes: dict[str, Any], words: str) -> None:
    record = make_record([(0, "a"), (2, "b")])
    normalize_record("file:1", record, 1)
    with pytest.raises(DataError, match=f"file:1: .*{words}"):
        normalize_record("file:1", {**record, **changes}, 1)


@pytest.mark.parametrize("name", ["group", "reward", "verdict", "tokens", "weights", "texts", "problem_id"])
def test_a_record_without_a_field_is_refused(name: str) -> None:
    record = make_record([(2, "b")])
    del record[name]
    with pytest.raises(DataError, match=f"the field '{name}' is missing"):
        normalize_record("file:1", record, 1)


def test_lists_of_a_group_must_agree(run: Path) -> None:
    corrupt(run / "groups.jsonl", 3, json.dumps({**read_runs(run)[0].groups[2], "guided": [True]}))
    with pytest.raises(DataError, match="groups.jsonl:3: guided has 1 entries and must have 4"):
        read_runs(run)


def test_another_schema_is_refused(run: Path) -> None:
    (run / "run.json").write_text('{"schema": "g2rpo-run/3"}')
    with pytest.raises(DataError, match="run.json: schema='g2rpo-run/3' must be 'g2rpo-run/2'"):
        read_runs(run)


@pytest.mark.parametrize("name", ["run.json", "metrics.jsonl", "rollouts/000001.jsonl", "rollouts"])
def test_a_link_out_of_the_folder_is_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (run / name).rename(outside)
    (run / name).symlink_to(outside)
    if name == "rollouts":
        assert read_runs(run)[0].rollouts == ()
    else:
        with pytest.raises(DataError, match="must not be a link that leads out"):
            read_all(run)


def test_a_pipe_is_no_file(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    os.mkfifo(run / "metrics.jsonl")
    with pytest.raises(DataError, match="must be a file"):
        read_runs(run)


def test_limits_of_lines(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MOST_LINES", 5)
    with pytest.raises(DataError, match=r"\.jsonl:6: a file must have at most 5 lines"):
        read_runs(run)
    monkeypatch.setattr(reader, "LONGEST_LINE", 50)
    with pytest.raises(DataError, match="has more than 50 bytes|at most 50 bytes"):
        read_runs(run)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a run folder, or hold run folders"):
        read_runs(tmp_path)
    with pytest.raises(DataError, match="must be a run folder, a folder of runs, or a file"):
        read_runs(tmp_path / "nothing")


def test_nothing_of_a_folder_is_unpickled_or_imported(run: Path) -> None:
    checkpoint = run / "checkpoints" / "000006"
    checkpoint.mkdir(parents=True)
    (checkpoint / "training_state.pt").write_bytes(b"cos\nsystem\n(S'touch /pwned'\ntR.")
    (checkpoint / "agent.json").write_text('{"recipe": {"loss": "antigravity:Evil"}}')
    assert read_runs(run)[0].label == "run"


def test_what_another_library_wrote_is_a_run(tmp_path: Path) -> None:
    rows = [{"input": "1+1=", "output": f"{n} it is", "gts": "2", "score": float(n == 2), "step": 7} for n in (2, 3)]
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "7.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (found,) = read_runs(tmp_path / "dump")
    assert found.foreign is not None and found.label == "dump"
    right, wrong = read_all(tmp_path / "dump")
    assert (right["update"], right["reward"], wrong["reward"]) == (7, 1.0, 0.0)
    assert right["verdict"]["outcome"] == "correct" and "".join(right["texts"]) == "1+1=2 it is"
    assert "chunk-0-7" in make_page([tmp_path / "dump"]).html


def test_ids_of_another_library_need_a_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "token_exports" / "step_3"
    folder.mkdir(parents=True)
    (folder / "rank_0.jsonl").write_text("{}\n")
    with pytest.raises(ConfigurationError, match="tokenizer=None must be a folder"):
        read_all(tmp_path / "token_exports")
