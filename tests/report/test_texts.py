"""Texts of tokens: whole characters on their last token, whatever the bytes are."""

import numpy as np
import pytest
from tokenizer_families import byte_level

from g2rpo_env.report.texts import TokenTexts
from g2rpo_env.tokenizer import char_tokenizer, decode, encode


@pytest.fixture(scope="module")
def tokenizer():
    """A token per byte, and a few merges."""
    return byte_level(["<eos>"])


def to_ids(tokenizer, data: bytes) -> np.ndarray:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = dict(zip(printable, map(chr, printable), strict=True)) | {b: chr(256 + n) for n, b in enumerate(others)}
    return np.array([tokenizer.convert_tokens_to_ids(names[byte]) for byte in data])


@pytest.mark.parametrize(
    ("data", "texts", "parts"),
    [
        ("é".encode(), ["", "é"], [True, False]),
        ("a👍b".encode(), ["a", "", "", "", "👍", "b"], [False, True, True, True, False, False]),
        (b"a\xf0\x9f", ["a", "", "\ufffd"], [False, True, False]),  # cut in the middle of a character
        (b"\xf0\x9fa", ["", "\ufffd", "a"], [True, False, False]),
        (b"\xff\xffa", ["", "\ufffd\ufffd", "a"], [True, False, False]),
        (b"\xff\xff\xff\xff\xf0\x9f\x91\x8d", [*["\ufffd"] * 4, "", "", "", "👍"], [False] * 4 + [True] * 3 + [False]),
        (b"", [], []),
    ],
)
def test_a_character_stands_once_on_its_last_token(tokenizer, data, texts, parts):
    assert TokenTexts(tokenizer).decode(to_ids(tokenizer, data)) == (texts, parts)


def test_the_texts_in_a_row_are_the_text_of_the_context(tokenizer):
    rng, reader = np.random.default_rng(0), TokenTexts(tokenizer)
    for _ in range(200):
        data = "".join(rng.choice(list("ab é€👍\u200d\u202e\n"), size=12)).encode()
        assert "".join(reader.decode(to_ids(tokenizer, data))[0]) == data.decode()


def test_tokens_of_characters_read_as_themselves():
    reader = TokenTexts(char_tokenizer())
    ids = encode(char_tokenizer(), "12+3=")[0]
    assert reader.decode(ids) == (list("12+3="), [False] * 5)
    assert reader.read(int(ids[2])) == "+" == decode(char_tokenizer(), ids[2:3])
