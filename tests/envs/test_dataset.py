"""Rows from files and the endless seeded order over them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Problem
from g2rpo_env.envs.dataset import RowSource, check_row, epoch_order, find_value, join_messages, parse_json, read_hub
from g2rpo_env.errors import ConfigurationError, DataError, UnknownProblemError

FIELDS = ("question", "answer")
GOOD = '{"question": "q", "answer": "a"}'


# -- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row,words",
    [
        (["q", "a"], "a row must be a JSON object, got list"),
        (None, "a row must be a JSON object, got NoneType"),
        ({"question": "q"}, "field 'answer' must be a text that is not empty, got None"),
        ({"question": 5, "answer": "a"}, "field 'question' must be a text that is not empty, got 5"),
        ({"question": " \n", "answer": "a"}, "field 'question'"),
        ({"question": "q", "answer": ""}, "field 'answer'"),
        ({"question": "ab\ud83d!", "answer": "a"}, r"field 'question' must be text, .* '\\ud83d' at character 2"),
    ],
)
def test_a_bad_row_is_named_with_its_place(row: Any, words: str) -> None:
    with pytest.raises(DataError, match=f"rows.jsonl, line 3: {words}"):
        check_row(row, FIELDS, "rows.jsonl, line 3")


def test_json_text_is_read_or_named() -> None:
    assert parse_json('{"a": [1]}', "here") == {"a": [1]}
    for text in ("{", "[" * 100_000, "9" * 5000):
        with pytest.raises(DataError, match="here is not valid JSON"):
            parse_json(text, "here")


def test_a_field_inside_a_field_is_found() -> None:
    row = {"a": {"b": '{"c": 1}'}, "d": "text"}
    assert [find_value(row, name, "here") for name in ("a.b.c", "a.x", "d.e", "f.g")] == [1, None, None, None]
    assert find_value(row, "a.x", "here", "none") == "none" and find_value({"a.b": 2}, "a.b", "here") == 2
    with pytest.raises(DataError, match="here: field 'a' is not valid JSON"):
        find_value({"a": "{b"}, "a.b", "here")


def test_a_conversation_is_the_text_before_its_answer() -> None:
    system, user, answer = ({"role": role, "content": role + "!"} for role in ("system", "user", "assistant"))
    assert join_messages([system, user], "here") == "system!\n\nuser!"
    assert join_messages([user, answer], "here") == "user!"
    assert join_messages([{"role": "user", "content": [{"type": "text", "text": "Q?"}]}], "here") == "Q?"
    for value in ("text", [], ["a"], [{"a": 1}], None):
        assert join_messages(value, "here") == value
    for turns in ([user, answer, user], [answer]):
        with pytest.raises(DataError, match="here holds a conversation of several turns"):
            join_messages(turns, "here")
    with pytest.raises(DataError, match="here holds a message whose content is no text: None"):
        join_messages([{"role": "user", "content": None}], "here")


def test_a_long_wrong_value_is_shown_in_part() -> None:
    with pytest.raises(DataError) as caught:
        check_row({"question": ["x" * 1000]}, ("question",), "here")
    assert len(str(caught.value)) < 200


# -- data sets in the Hub's layout ----------------------------------------------------------------------------------


def test_a_folder_in_the_layout_of_the_hub_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(name: str, config: str, split: str) -> list[dict[str, str]]:
        asked.append((name, config, split))
        return [json.loads(GOOD), {"question": "", "answer": "a"}][: len(asked)]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert read_hub("some/data", "main", "test", FIELDS) == [("some/data (main, test), row 1", json.loads(GOOD))]
    with pytest.raises(DataError, match=r"some/data \(main, train\), row 2: field 'question'"):
        read_hub("some/data", "main", "train", FIELDS)
    assert asked == [("some/data", "main", "test"), ("some/data", "main", "train")]


def test_a_data_set_that_cannot_be_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, config: str, split: str) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(DataError, match="data='some/data' must be a local folder with test.jsonl, .*: no network"):
        read_hub("some/data", "main", "test", FIELDS)


# -- order ----------------------------------------------------------------------------------------------------------


def source(count: int) -> RowSource:
    return RowSource([Problem(f"p{i}", "", (), "#", "") for i in range(count)], "train")


@settings(deadline=None, max_examples=40)
@given(count=st.integers(1, 9), seed=st.integers(0, 99) | st.lists(st.integers(0, 9), min_size=1, max_size=2))
def test_every_epoch_holds_every_problem_once(count: int, seed: Any) -> None:
    rows = source(count)
    drawn = np.array([rows.draw(seed, index) for index in range(3 * count)]).reshape(3, count)
    assert all(sorted(epoch) == sorted(f"p{i}" for i in range(count)) for epoch in drawn.tolist())


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    rows = source(30)
    orders = {
        (seed, epoch): tuple(rows.draw(seed, 30 * epoch + i) for i in range(30)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


def test_the_order_is_a_function_of_seed_and_index_alone() -> None:
    rows = source(12)
    forwards = [rows.draw(5, index) for index in range(40)]
    epoch_order.cache_clear()
    assert [source(12).draw(5, index) for index in reversed(range(40))] == forwards[::-1]


def test_two_problems_of_one_id_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="20 problems must have ids of their own, but 'p' is that of 20"):
        RowSource([Problem("p", f"{n}", (), "#", "") for n in range(20)], "train")
    with pytest.raises(ConfigurationError, match="split='train' must hold at least one problem"):
        RowSource([], "train")


def test_a_source_knows_its_problems() -> None:
    rows = source(3)
    assert rows.num_problems == 3 and [p.problem_id for p in rows.longest()] == ["p0", "p1", "p2"]
    assert rows.get("p1").problem_id == "p1"
    with pytest.raises(UnknownProblemError, match="problem='p9' must be one of the 3 ids of split 'train', 'p0'"):
        rows.get("p9")
