"""Tokens are produced once: the built-in tokenizer, loading others, and encoding text exactly.

Whatever goes through the library keeps the ids it was first given. That only works with a tokenizer that gives every
text back as it was, so one that does not is refused when it is loaded, not when rewards come out wrong.

A text begins a context or continues one. Most tokenizers know no difference. Those that put a space before a text, and
take it away where they decode one (Llama 2, Mistral, other SentencePiece models), have a copy here that does neither:
its tokens continue a context, and their text is what they add to it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from g2rpo_env.chat import end_of_turn
from g2rpo_env.errors import ConfigurationError, TokenizerError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"

# Numbers, capitals, operators, LaTeX, code with indentation, line ends, other scripts.
ROUND_TRIP_SAMPLES = (
    "12+3=15",
    "Natalia sold CLIPS to 48 of her friends in April.",
    " leading, trailing and  double  spaces ",
    "line\nline\n\n\tindented\r\n",
    "x = [1, 2]  # don't , stop .\nif x :\n    return 'a  b'",
    r"\frac{1}{2} \boxed{\sqrt{3}} $5.00 #### 72 <<48/2=24>>24",
    "naïve café “quotes” – £5 €7 ½ π ≤ 数学 🙂",
)
IMPOSSIBLE = -1e6
"""Score of a piece that a Unigram model takes for no text."""
SAMPLE_PAIRS = tuple(zip(ROUND_TRIP_SAMPLES, ROUND_TRIP_SAMPLES[1:] + ROUND_TRIP_SAMPLES[:1], strict=True))
"""Texts, and what stands behind each."""


@lru_cache(maxsize=1)
def char_tokenizer() -> PreTrainedTokenizerFast:
    """Return the built-in tokenizer: one token per character (per UTF-8 byte beyond ASCII), 258 tokens.

    Ids: 0 ``<pad>``, 1 ``<eos>``, then the 256 bytes. Round trips are exact for every valid text, and no token spans
    two characters, so that a step boundary never falls inside a token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {PAD: 0, EOS: 1} | {char: index + 2 for index, char in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD)


def load_tokenizer(tokenizer: PreTrainedTokenizerFast | str | Path | None) -> PreTrainedTokenizerFast:
    """Return a checked tokenizer.

    Args:
        tokenizer: A fast tokenizer, a folder that holds a ``tokenizer.json``, or None for the built-in one.

    Raises:
        TokenizerError: no end token, no fast tokenizer in the folder, or decode(encode(x)) != x.
    """
    if tokenizer is None:
        return char_tokenizer()
    if isinstance(tokenizer, str | Path):
        tokenizer = _from_folder(Path(tokenizer))
    check_tokenizer(tokenizer)
    return tokenizer


def _from_folder(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise TokenizerError(
            f"tokenizer={str(folder)!r} must be a folder that holds a tokenizer.json (a fast tokenizer)"
        )
    from transformers import PreTrainedTokenizerFast  # not AutoTokenizer, which imports torch

    return PreTrainedTokenizerFast.from_pretrained(str(folder))


def check_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise TokenizerError unless the tokenizer has an end token and gives sample texts back exactly.

    It must do so for a text that begins a context, and for one that continues another.
    """
    name = getattr(tokenizer, "name_or_path", None) or type(tokenizer).__name__
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(f"tokenizer={name!r} must be a fast tokenizer (PreTrainedTokenizerFast)")
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            f"tokenizer={name!r} has no end token: eos_token_id is None, but an episode ends with it. "
            "Set tokenizer.eos_token."
        )
    for text in ROUND_TRIP_SAMPLES:
        back = decode(tokenizer, encode(tokenizer, text, begins=True)[0], begins=True)
        if back not in _as_begun(tokenizer, text):
            raise TokenizerError(
                f"tokenizer={name!r} has no exact round trip: decode(encode({text!r})) is {back!r}; "
                "the tokens of a solution must give its text back unchanged"
            )
    for before, text in SAMPLE_PAIRS:
        added_T = encode(tokenizer, text)[0]
        whole = decode(tokenizer, np.concatenate([encode(tokenizer, before, begins=True)[0], added_T]), begins=True)
        if whole not in _as_begun(tokenizer, before + text) or decode(tokenizer, added_T) != text:
            raise TokenizerError(
                f"tokenizer={name!r} cannot continue a text: the tokens of {text!r} behind those of {before!r} give "
                f"{whole!r}; the tokens of a solution must add its text to that of the prompt, whatever that is"
            )
    beginning(tokenizer)


def _as_begun(tokenizer: Any, text: str) -> tuple[str, ...]:
    """Return what a tokenizer may make of a text that begins a context.

    One that puts a space before a text may take that for a space which the text begins with.
    """
    return (text, text.lstrip(" ")) if begins_with_space(tokenizer) else (text,)


@lru_cache(maxsize=1)
def _byte_tables() -> tuple[np.ndarray, np.ndarray]:
    """Return the built-in tokenizer as two tables: the id of each byte, int32 (256,), and the byte of each id, (258,).

    The special tokens, ids 0 and 1, have no byte; 0 stands in their place.

    A tokenizer call costs a hundred microseconds, whatever the length of the text, and an episode needs three.
    """
    # How byte-level tokenizers write bytes as characters: the printable ones as they are, the others from 256 on.
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    vocab = char_tokenizer().get_vocab()
    id_of_byte = np.array([vocab[names[byte]] for byte in range(256)], np.int32)
    byte_of_id = np.zeros(len(vocab), np.uint8)
    byte_of_id[id_of_byte] = np.arange(256)
    return id_of_byte, byte_of_id


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"text={text!r:.80} must be valid Unicode: it holds a lone surrogate at {error.start}"
        ) from None


def check_text(text: str) -> None:
    """Raise TokenizerError where a text holds half a surrogate pair, which is no character."""
    _utf8(text)


# -- what stands before and behind a text -----------------------------------------------------------------------------


def beginning(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Return the special tokens that a tokenizer puts before every text, int32 (B,), such as ``<bos>``.

    What it puts behind one is left out: the text goes on.

    Raises:
        TokenizerError: it does not put special tokens around a text alone.
    """
    if tokenizer is char_tokenizer():
        return np.zeros(0, np.int32)
    plain = tokenizer("a", add_special_tokens=False)["input_ids"]
    whole = tokenizer("a")["input_ids"]
    for first in range(len(whole) - len(plain) + 1):
        if whole[first : first + len(plain)] == plain:
            return np.array(whole[:first], np.int32)
    raise TokenizerError(
        f"tokenizer={tokenizer.name_or_path!r} must put special tokens before and behind a text alone: 'a' is {plain} "
        f"without and {whole} with them"
    )


def known_end_tokens(tokenizer: PreTrainedTokenizerFast) -> frozenset[int]:
    """Return the tokens that end an answer as far as a tokenizer knows: its end token, and its template's end of turn.

    A model may have others, see :attr:`g2rpo_env.agents.CausalLMPolicy.end_tokens`.
    """
    turn = None if tokenizer is char_tokenizer() else _backends(tokenizer).turn
    return frozenset(int(token) for token in (tokenizer.eos_token_id, turn) if token is not None)


def vocabulary_size(tokenizer: PreTrainedTokenizerFast) -> int:
    """Return V, the largest token id and one: more than the number of tokens where there are ids without a token."""
    return len(tokenizer) if tokenizer is char_tokenizer() else max(tokenizer.get_vocab().values(), default=-1) + 1


def unused_ids(tokenizer: PreTrainedTokenizerFast) -> np.ndarray:
    """Return the ids below V that are no token, int64 (U,), in order; nearly always none."""
    if tokenizer is char_tokenizer():
        return np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(vocabulary_size(tokenizer)), list(tokenizer.get_vocab().values()))


_LINE_ENDS: WeakKeyDictionary[Any, np.ndarray] = WeakKeyDictionary()


def find_line_ends(tokenizer: Any) -> np.ndarray:
    """Return which tokens of a vocabulary hold a line end, bool (V,); decoded once per tokenizer."""
    if tokenizer not in _LINE_ENDS:
        ends = ["\n" in decode(tokenizer, np.array([i])) for i in range(vocabulary_size(tokenizer))]
        _LINE_ENDS[tokenizer] = np.array(ends)
    return _LINE_ENDS[tokenizer]


# -- beginning a text, and continuing one -----------------------------------------------------------------------------


class _Backends(NamedTuple):
    """The tokenizers of the package ``tokenizers`` that stand in for a tokenizer's own; None where that will do.

    Attributes:
        tokens: Number of tokens of the tokenizer that they were made of.
        template: Its chat template.
        turn: Token at which the template ends a turn.
        begin: Encodes a text that begins a context.
        go_on: Encodes a text that continues one, and decodes it.
    """

    tokens: int
    template: Any
    turn: int | None
    begin: Any
    go_on: Any


_NO_BACKENDS = _Backends(0, None, None, None, None)
_BACKENDS: WeakKeyDictionary[Any, _Backends] = WeakKeyDictionary()


def _backends(tokenizer: Any) -> _Backends:
    """Return what stands in for a tokenizer's own backend, made anew where it got tokens or another template."""
    found = _BACKENDS.get(tokenizer)
    if found is None and not getattr(tokenizer, "is_fast", False):
        return _NO_BACKENDS  # whatever stands in for a tokenizer has one way to encode and to decode
    if found is None or found.tokens != len(tokenizer) or found.template is not tokenizer.chat_template:
        turn = end_of_turn(tokenizer)
        begin, go_on = _make_backends(tokenizer, [tokenizer.eos_token_id, turn])
        found = _Backends(len(tokenizer), tokenizer.chat_template, turn, begin, go_on)
        _BACKENDS[tokenizer] = found
    return found


def _make_backends(tokenizer: Any, ends: Sequence[int | None]) -> tuple[Any, Any]:
    """Return the backends for the beginning and for the continuation of a context; None for the tokenizer's own."""
    added = tokenizer.added_tokens_decoder
    # An added token that is not marked as special is found in data, too: an end of turn must not be.
    unmarked = [added[end].content for end in ends if end in added and not added[end].special]
    begin = _copy_backend(tokenizer, unmarked, False) if unmarked or _has_special_pieces(tokenizer) else None
    if _adds_up(tokenizer):
        return begin, begin
    return begin, _copy_backend(tokenizer, unmarked, True)


def _has_special_pieces(tokenizer: Any) -> bool:
    """Whether a special token is a piece of a Unigram model, which finds it in data as it finds any other."""
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"] if _is_unigram(tokenizer) else {"vocab": []}
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return any(piece in special for piece, _ in model["vocab"])


def _is_unigram(tokenizer: Any) -> bool:
    return type(tokenizer.backend_tokenizer.model).__name__ == "Unigram"


def _adds_up(tokenizer: Any) -> bool:
    """Whether the tokens of sample texts, one behind the other, give the texts one behind the other."""
    for before, text in SAMPLE_PAIRS:
        ids = [token for part in (before, text) for token in _own_tokens(tokenizer, part)["input_ids"]]
        if _own_text(tokenizer, ids) != before + text:
            return False
    return True


def _own_tokens(tokenizer: Any, text: str) -> Any:
    """Return ``input_ids`` and ``offset_mapping`` of a text as the tokenizer itself encodes data."""
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)


def _own_text(tokenizer: Any, ids: list[int]) -> str:
    """Return the text of token ids as the tokenizer itself decodes them."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _copy_backend(tokenizer: Any, unmarked: Sequence[str], go_on: bool) -> Any:
    """Return a copy of a tokenizer's backend that takes all text for data.

    Args:
        tokenizer: The tokenizer.
        unmarked: Added tokens that are special, though not marked as such.
        go_on: Whether it puts no space before a text, and takes none away where it decodes one.
    """
    from tokenizers import Tokenizer

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state |= {"truncation": None, "padding": None}
    for token in state["added_tokens"]:
        token["special"] = token["special"] or token["content"] in unmarked
    if _is_unigram(tokenizer):
        special = {token["content"] for token in state["added_tokens"] if token["special"]}
        state["model"]["vocab"] = [[p, IMPOSSIBLE if p in special else score] for p, score in state["model"]["vocab"]]
    if go_on:
        state |= {part: _without_space(state[part]) for part in ("normalizer", "pre_tokenizer", "decoder")}
    backend = Tokenizer.from_str(json.dumps(state))
    backend.encode_special_tokens = True
    return backend


def _without_space(part: Any) -> Any:
    """Return a normalizer, pre-tokenizer or decoder without the space before a text; None where nothing is left."""
    kind = None if part is None else part["type"]
    if kind == "Sequence":
        (name,) = set(part) - {"type"}
        kept = [one for one in map(_without_space, part[name]) if one is not None]
        return {**part, name: kept} if kept else None
    if kind == "Prepend":
        return None
    if kind == "Strip" and "start" in part:  # the decoder; the normalizer of that name strips what was written
        return {**part, "start": 0} if part["stop"] else None
    if kind == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    if kind == "ByteLevel":
        return {**part, "add_prefix_space": False}
    return part


def begins_with_space(tokenizer: Any) -> bool:
    """Whether a text that begins a context has other tokens than one that continues it, by a space before it."""
    if tokenizer is char_tokenizer():
        return False
    backends = _backends(tokenizer)
    return backends.go_on is not backends.begin


def begins_behind_special_tokens(tokenizer: Any) -> bool:
    """Whether a text behind a special token gets the space that it would get at the beginning of a context."""
    if not begins_with_space(tokenizer):
        return True  # no difference
    behind = tokenizer(f"{tokenizer.eos_token}a", add_special_tokens=False, split_special_tokens=False)["input_ids"]
    return behind[1:] == encode(tokenizer, "a", begins=True)[0].tolist()


# -- text to tokens and back ------------------------------------------------------------------------------------------


def encode(tokenizer: PreTrainedTokenizerFast, text: str, begins: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Encode text as data: a literal ``<eos>`` in it becomes ordinary tokens, never the end token.

    Args:
        tokenizer: The tokenizer.
        text: The text.
        begins: Whether the text begins a context, so that the tokens are those of ``tokenizer(text)`` without special
            ones; they continue one otherwise.

    Returns:
        ids: int32 (T,).
        ends: int64 (T,), the position in ``text`` where each token ends.

    Raises:
        TokenizerError: the text holds half a surrogate pair, which is no character.
    """
    raw = _utf8(text)
    if tokenizer is char_tokenizer():
        ids = _byte_tables()[0][np.frombuffer(raw, np.uint8)]
        if len(raw) == len(text):
            return ids, np.arange(1, len(ids) + 1)
        return ids, np.repeat(np.arange(1, len(text) + 1), [len(char.encode()) for char in text])
    if (backend := _backend(tokenizer, begins)) is not None:
        encoding = backend.encode(text, add_special_tokens=False)
        ids, offsets = encoding.ids, encoding.offsets
    else:
        out = _own_tokens(tokenizer, text)
        ids, offsets = out["input_ids"], out["offset_mapping"]
    ends = np.array([end for _, end in offsets], dtype=np.int64)
    return np.array(ids, dtype=np.int32), ends


def _backend(tokenizer: Any, begins: bool) -> Any:
    backends = _backends(tokenizer)
    return backends.begin if begins else backends.go_on


def encode_many(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], begins: bool = False) -> list[np.ndarray]:
    """Return the ids that :func:`encode` gives for each text, int32 (T,) each, all made at once and not to be changed.

    Raises:
        TokenizerError: a text holds half a surrogate pair.
    """
    if tokenizer is not char_tokenizer():
        found = encode_batch(tokenizer, texts, begins=begins)
        return [np.array(encoding.ids, dtype=np.int32) for encoding in found]
    raws = [_utf8(text) for text in texts]
    ids = _byte_tables()[0][np.frombuffer(b"".join(raws), np.uint8)]
    ids.flags.writeable = False
    ends = list(accumulate(map(len, raws)))
    return [ids[end - len(raw) : end] for raw, end in zip(raws, ends, strict=True)]


def encode_batch(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], offsets: bool = False, begins: bool = False
) -> list[Any]:
    """Encode texts as data, all at once: several times faster than one by one, same ids as :func:`encode`.

    Raises:
        TokenizerError: a text holds half a surrogate pair.

    Returns:
        One ``tokenizers.Encoding`` per text: ``.ids``, and with ``offsets`` also ``.char_to_token(position)``.
    """
    for text in texts:
        _utf8(text)
    backend = _backend(tokenizer, begins)
    if backend is None:
        tokenizer("", add_special_tokens=False, split_special_tokens=True)  # no truncation, no padding
        backend = tokenizer.backend_tokenizer
    many = backend.encode_batch if offsets else backend.encode_batch_fast
    return many(list(texts), add_special_tokens=False)


def decode(tokenizer: PreTrainedTokenizerFast, ids: np.ndarray, begins: bool = False) -> str:
    """Return the exact text of token ids; special tokens appear by name.

    It is the text that they add to a context, or that of the context that they begin. Always valid Unicode: bytes that
    make no character, and lone surrogates that a tokenizer may produce, become U+FFFD.
    """
    ids = np.asarray(ids)
    if tokenizer is char_tokenizer():
        raw = _byte_tables()[1][ids].tobytes()
        if b"\0" not in raw or (ids > 1).all():  # no special token
            return raw.decode(errors="replace")
    backend = None if begins else _backends(tokenizer).go_on
    if backend is None:
        text = _own_text(tokenizer, ids.tolist())
    else:
        text = backend.decode(ids.tolist(), skip_special_tokens=False)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def reduced_vocabulary(tokenizer: PreTrainedTokenizerFast, vocabulary: str | Sequence[int] | np.ndarray) -> np.ndarray:
    """Return the token ids that the actions 0, 1, ... of a reduced vocabulary stand for, int32 (A,).

    Args:
        tokenizer: The tokenizer.
        vocabulary: A text, for its tokens and the end token, in the order of their ids; or distinct ids, in the order
            of the actions.

    Raises:
        ConfigurationError: fewer than two tokens, one twice, or an id outside [0, V).
    """
    if isinstance(vocabulary, str):
        ids = np.union1d(encode(tokenizer, vocabulary)[0], [tokenizer.eos_token_id])
    else:
        ids = np.asarray(vocabulary)
    if ids.ndim != 1 or len(ids) < 2 or ids.dtype.kind not in "iu":
        raise ConfigurationError(f"vocabulary={vocabulary!r:.80} must name at least 2 tokens, as a text or as ids")
    size = vocabulary_size(tokenizer)
    if len(np.unique(ids)) < len(ids) or ids.min() < 0 or ids.max() >= size:
        raise ConfigurationError(f"vocabulary={vocabulary!r:.80} must hold distinct ids in [0, {size})")
    if (unused := np.intersect1d(ids, unused_ids(tokenizer))).size:
        raise ConfigurationError(f"vocabulary={vocabulary!r:.80} must hold ids of tokens: {unused[0]} is none")
    return ids.astype(np.int32)


def same_vocabulary(a: PreTrainedTokenizerFast, b: PreTrainedTokenizerFast) -> bool:
    """Whether two tokenizers give the same ids to the same tokens and end with the same id."""
    return a is b or (a.eos_token_id == b.eos_token_id and a.get_vocab() == b.get_vocab())
