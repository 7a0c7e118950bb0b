"""Fields of rows: texts, lists of texts, JSON text."""

import pytest

from g2rpo_env.envs.coding.rows import text_of, texts_of
from g2rpo_env.errors import DataError


def test_fields_are_checked() -> None:
    assert text_of({}, "a", "here", default="") == ""
    assert texts_of({"a": '["x"]'}, "a", "here") == ("x",)
    for value in (None, 1, " ", "\ud800"):
        with pytest.raises(DataError, match="here: field 'a'"):
            text_of({"a": value}, "a", "here")
    for value in (None, [], [1], "x", "[1"):
        with pytest.raises(DataError, match="here: field 'a'"):
            texts_of({"a": value}, "a", "here")
