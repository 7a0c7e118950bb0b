"""Tokenizers: every text comes back as it was, data text cannot end an episode, and what cannot do that is refused."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import prepending, with_beginning, with_holes

from g2rpo_env import char_tokenizer, load_tokenizer
from g2rpo_env.errors import ConfigurationError, TokenizerError
from g2rpo_env.tokenizer import (
    beginning,
    begins_with_space,
    decode,
    encode,
    encode_batch,
    encode_many,
    find_line_ends,
    known_end_tokens,
    reduced_vocabulary,
    same_vocabulary,
    unused_ids,
    vocabulary_size,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=40)
SPECIAL = st.sampled_from(["<eos>", "<pad>", "\n", "\n5", "=8", "8+", " ", "é", "🙂", "<", "os>"])
MIXED = st.lists(TEXTS | SPECIAL, max_size=6).map("".join)


@pytest.fixture(scope="session", params=["characters", "merging"])
def tokenizer(request: pytest.FixtureRequest, merging_tokenizer: Any) -> Any:
    return char_tokenizer() if request.param == "characters" else merging_tokenizer


def broken(change: Callable[[Any], None]) -> Any:
    """The built-in tokenizer with one thing wrong."""
    other = copy.deepcopy(char_tokenizer())
    change(other)
    return other


# -- round trips ----------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(text=MIXED)
def test_every_text_comes_back_as_it_was_without_an_end_token(tokenizer: Any, text: str) -> None:
    tokens, ends = encode(tokenizer, text)
    assert tokens.dtype == np.int32 and ends.dtype == np.int64 and tokens.shape == ends.shape
    assert decode(tokenizer, tokens) == text
    assert tokenizer.eos_token_id not in tokens and tokenizer.pad_token_id not in tokens


@settings(deadline=None, max_examples=100)
@given(text=MIXED)
def test_token_ends_say_which_text_is_complete(tokenizer: Any, text: str) -> None:
    tokens, ends = encode(tokenizer, text)
    assert (np.diff(ends) >= 0).all() and (len(text) == 0 or ends[-1] == len(text))
    for boundary in range(len(text) + 1):
        whole = decode(tokenizer, tokens[: np.searchsorted(ends, boundary, side="right")])
        assert text[:boundary].startswith(whole.rstrip("\ufffd"))


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(MIXED, max_size=5))
def test_a_batch_has_the_same_tokens_as_its_texts_one_by_one(tokenizer: Any, texts: list[str]) -> None:
    for offsets in (False, True):
        batch = encode_batch(tokenizer, texts, offsets=offsets)
        assert [encoding.ids for encoding in batch] == [encode(tokenizer, text)[0].tolist() for text in texts]
    many = encode_many(tokenizer, texts)
    assert [ids.tolist() for ids in many] == [encoding.ids for encoding in batch]
    assert all(ids.dtype == np.int32 for ids in many)


def test_a_batch_after_other_settings_of_the_tokenizer_still_takes_text_as_data(merging_tokenizer: Any) -> None:
    merging_tokenizer(["<eos>", "a" * 50], padding=True, truncation=True, max_length=5)
    (encoding,) = encode_batch(merging_tokenizer, ["<eos> and " + "a" * 50])
    assert len(encoding.ids) == 60 and merging_tokenizer.eos_token_id not in encoding.ids


def test_literal_special_tokens_in_data_are_ordinary_characters() -> None:
    tokens, _ = encode(char_tokenizer(), "a<eos>b<pad>")
    assert len(tokens) == 12 and not {0, 1} & set(tokens.tolist())
    # the library's own end token shows by name
    assert decode(char_tokenizer(), np.array([tokens[0], 1])) == "a<eos>"


def test_the_builtin_tokenizer_has_an_id_per_byte_after_its_two_special_tokens() -> None:
    tokenizer = char_tokenizer()
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, len(tokenizer)) == (0, 1, 258)
    assert len(encode(tokenizer, "aé🙂")[0]) == 1 + 2 + 4
    assert load_tokenizer(None) is tokenizer


def test_merges_are_as_the_fixture_says(merging_tokenizer: Any) -> None:
    tokens, ends = encode(merging_tokenizer, "8+=8\n5\n#")
    assert merging_tokenizer.convert_ids_to_tokens(tokens) == ["8+", "=8", "Ċ5", "Ċ#"]
    assert ends.tolist() == [2, 4, 6, 8]


# -- loading and refusing -------------------------------------------------------------------------------------------


def test_a_saved_tokenizer_is_loaded_from_its_folder(tmp_path: Path, merging_tokenizer: Any) -> None:
    merging_tokenizer.save_pretrained(tmp_path)
    for folder in (tmp_path, str(tmp_path)):
        loaded = load_tokenizer(folder)
        assert same_vocabulary(loaded, merging_tokenizer)
        assert encode(loaded, "=8\n5<eos>")[0].tolist() == encode(merging_tokenizer, "=8\n5<eos>")[0].tolist()


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="must be a folder that holds a tokenizer.json"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    with pytest.raises(TokenizerError, match="has no end token: eos_token_id is None.*Set tokenizer.eos_token"):
        load_tokenizer(broken(lambda tokenizer: setattr(tokenizer, "eos_token", None)))


def lower(tokenizer: Any) -> None:
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def with_leading_space(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)


def compatible(tokenizer: Any) -> None:
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()


@pytest.mark.parametrize(
    "change,back",
    [(lower, "'natalia sold clips"), (with_leading_space, "' 12.3=15'"), (compatible, "1⁄2 π")],
    ids=["lower case", "leading space", "compatible characters"],
)
def test_a_tokenizer_that_changes_text_is_refused(change: Callable[[Any], None], back: str) -> None:
    with pytest.raises(TokenizerError, match=rf"no exact round trip: decode\(encode\(.*is .*{back}"):
        load_tokenizer(broken(change))


@pytest.mark.parametrize("other", [3, object()], ids=["number", "object"])
def test_what_is_no_fast_tokenizer_is_refused(other: Any) -> None:
    with pytest.raises(TokenizerError, match="must be a fast tokenizer"):
        load_tokenizer(other)


def test_vocabularies_are_compared_by_ids_and_end_token(merging_tokenizer: Any) -> None:
    assert same_vocabulary(char_tokenizer(), copy.deepcopy(char_tokenizer()))
    assert not same_vocabulary(char_tokenizer(), merging_tokenizer)
    assert not same_vocabulary(char_tokenizer(), broken(lambda t: setattr(t, "eos_token", "<pad>")))


# -- tables of the built-in tokenizer ----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=200)
@given(text=MIXED, ids=st.lists(st.integers(0, 257), max_size=20))
def test_the_tables_say_what_the_tokenizer_says(text: str, ids: list[int]) -> None:
    tokenizer = char_tokenizer()
    out = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    found, ends = encode(tokenizer, text)
    assert found.tolist() == out["input_ids"] and ends.tolist() == [end for _, end in out["offset_mapping"]]
    named = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert decode(tokenizer, np.array(ids, np.int32)) == named


def test_half_a_surrogate_pair_is_refused_in_and_replaced_out() -> None:
    with pytest.raises(TokenizerError, match="lone surrogate at 1"):
        encode(char_tokenizer(), "a\ud800b")

    class Odd:
        def decode(self, ids: list[int], **_: Any) -> str:
            return "a\ud800é"

    assert decode(Odd(), np.array([0])) == "a\ufffdé"


def test_a_reduced_vocabulary_is_a_text_or_ids() -> None:
    tokenizer = char_tokenizer()
    ids = reduced_vocabulary(tokenizer, "10")
    assert ids[0] == tokenizer.eos_token_id and decode(tokenizer, ids[1:]) == "01"
    assert reduced_vocabulary(tokenizer, [9, 1, 5]).tolist() == [9, 1, 5]


@pytest.mark.parametrize("vocabulary", ["", [5], [], [3, 3], [-1, 2], [0, 258], [0.5, 1.0]])
def test_a_bad_vocabulary_is_named(vocabulary: Any) -> None:
    with pytest.raises(ConfigurationError, match="vocabulary="):
        reduced_vocabulary(char_tokenizer(), vocabulary)


# -- ids without a token ----------------------------------------------------------------------------------------------


def test_ids_may_have_holes_and_exceed_the_number_of_tokens() -> None:
    tokenizer = load_tokenizer(with_holes())
    assert (len(tokenizer), vocabulary_size(tokenizer)) == (259, 401)
    assert unused_ids(tokenizer).tolist() == [5, 6, 7, 8, 9, *range(263, 400)]
    assert decode(tokenizer, encode(tokenizer, "it is é")[0]) == "it is é" and 400 in encode(tokenizer, "is")[0]
    assert reduced_vocabulary(tokenizer, [1, 400]).tolist() == [1, 400]
    with pytest.raises(ConfigurationError, match="must hold ids of tokens: 7 is none"):
        reduced_vocabulary(tokenizer, [1, 7])
    with pytest.raises(ConfigurationError, match=r"distinct ids in \[0, 401\)"):
        reduced_vocabulary(tokenizer, [1, 401])
    assert vocabulary_size(char_tokenizer()) == 258 and not unused_ids(char_tokenizer()).size


# -- beginnings, ends, and a context that changes ---------------------------------------------------------------------


def test_the_beginning_is_what_stands_before_a_text_alone() -> None:
    tokenizer = copy.deepcopy(char_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<a>", "<b>", "<c>"]})
    assert beginning(tokenizer).tolist() == [] and beginning(char_tokenizer()).dtype == np.int32
    assert beginning(with_beginning(tokenizer, "<a> <b> $A <c>")).tolist() == [258, 259]
    assert beginning(with_beginning(tokenizer, "$A <c>")).tolist() == []


def test_a_tokenizer_that_gets_a_template_or_a_token_is_asked_again() -> None:
    tokenizer = copy.deepcopy(char_tokenizer())
    assert known_end_tokens(tokenizer) == {1}
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end>"]})
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<end>{% endfor %}"
    assert known_end_tokens(tokenizer) == {1, 258}
    assert decode(tokenizer, encode(tokenizer, "a<end>")[0]) == "a<end>" and 258 not in encode(tokenizer, "a<end>")[0]


def test_one_copy_is_made_of_a_tokenizer_that_begins_with_a_space_and_none_of_others() -> None:
    llama, plain = prepending([]), copy.deepcopy(char_tokenizer())
    assert begins_with_space(llama) and not begins_with_space(plain) and not begins_with_space(char_tokenizer())
    tokens, ends = encode(llama, " is é")
    assert decode(llama, tokens) == " is é" and ends.tolist() == [3, 4, 5, 5]
    assert llama.convert_ids_to_tokens(encode(llama, "is", begins=True)[0].tolist()) == ["▁is"]
    assert llama.convert_ids_to_tokens(encode(llama, "is")[0].tolist()) == ["is"]
    assert decode(llama, encode(llama, "is", begins=True)[0], begins=True) == "is"
    assert [ids.tolist() for ids in encode_many(llama, ["is", " 1"])] == [
        encode(llama, t)[0].tolist() for t in ("is", " 1")
    ]
    begun = [ids.tolist() for ids in encode_many(llama, ["is", " 1"], begins=True)]
    assert begun == [encode(llama, text, begins=True)[0].tolist() for text in ("is", " 1")]


def test_line_ends_are_the_tokens_whose_text_holds_one(merging_tokenizer: Any) -> None:
    for tokenizer in (char_tokenizer(), merging_tokenizer):
        ends_V = find_line_ends(tokenizer)
        texts = [decode(tokenizer, np.array([i])) for i in range(len(ends_V))]
        assert ends_V.tolist() == ["\n" in text for text in texts] and ends_V.any()
        assert find_line_ends(tokenizer) is ends_V
