"""Fields of rows: texts, lists of texts, JSON text."""

import pytest

from g2rpo_env.envs.coding.rows import parse_json, text_of, texts_of
from g2rpo_env.errors import DataError


def test_json_text_is_read_or_named() -> None:
    assert parse_json('{"a": [1]}', "here") == {"a": [1]}
    for text in ("{", "[" * 100_000, "9" * 5000):
        with pytest.raises(DataError, match="here is not valid JSON"):
            parse_json(text, "here")


def test_fields_are_checked() -> None:
    assert text_of({}, "a", "here", default="") == ""
    assert texts_of({"a": '["x"]'}, "a", "here") == ("x",)
    for value in (None, 1, " ", "\ud800"):
        with pytest.raises(DataError, match="here: field 'a'"):
            text_of({"a": value}, "a", "here")
    for value in (None, [], [1], "x", "[1"):
        with pytest.raises(DataError, match="here: field 'a'"):
            texts_of({"a": value}, "a", "here")
