"""Tokens are produced once: the built-in tokenizer, loading others, and encoding text exactly.

Whatever goes through the library keeps the ids it was first given. That only works with a tokenizer that gives every
text back as it was, so one that does not is refused when it is loaded, not when rewards come out wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """Raise TokenizerError unless the tokenizer has an end token and gives sample texts back exactly."""
    name = getattr(tokenizer, "name_or_path", None) or type(tokenizer).__name__
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError(f"tokenizer={name!r} must be a fast tokenizer (PreTrainedTokenizerFast)")
    if tokenizer.eos_token_id is None:
        raise TokenizerError(
            f"tokenizer={name!r} has no end token: eos_token_id is None, but an episode ends with it. "
            "Set tokenizer.eos_token."
        )
    for text in ROUND_TRIP_SAMPLES:
        back = decode(tokenizer, encode(tokenizer, text)[0])
        if back != text:
            raise TokenizerError(
                f"tokenizer={name!r} has no exact round trip: decode(encode({text!r})) is {back!r}; "
                "the tokens of a solution must give its text back unchanged"
            )


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


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Encode text as data: a literal ``<eos>`` in it becomes ordinary tokens, never the end token.

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
    out = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    ends = np.array([end for _, end in out["offset_mapping"]], dtype=np.int64)
    return np.array(out["input_ids"], dtype=np.int32), ends


def encode_many(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> list[np.ndarray]:
    """Return the ids that :func:`encode` gives for each text, int32 (T,) each, all made at once and not to be changed.

    Raises:
        TokenizerError: a text holds half a surrogate pair.
    """
    if tokenizer is not char_tokenizer():
        return [np.array(encoding.ids, dtype=np.int32) for encoding in encode_batch(tokenizer, texts)]
    raws = [_utf8(text) for text in texts]
    ids = _byte_tables()[0][np.frombuffer(b"".join(raws), np.uint8)]
    ids.flags.writeable = False
    ends = list(accumulate(map(len, raws)))
    return [ids[end - len(raw) : end] for raw, end in zip(raws, ends, strict=True)]


def encode_batch(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], offsets: bool = False) -> list[Any]:
    """Encode texts as data, all at once: several times faster than one by one, same ids as :func:`encode`.

    Raises:
        TokenizerError: a text holds half a surrogate pair.

    Returns:
        One ``tokenizers.Encoding`` per text: ``.ids``, and with ``offsets`` also ``.char_to_token(position)``.
    """
    for text in texts:
        _utf8(text)
    tokenizer("", add_special_tokens=False, split_special_tokens=True)  # sets the backend: no truncation, no padding
    backend = tokenizer.backend_tokenizer
    many = backend.encode_batch if offsets else backend.encode_batch_fast
    return many(list(texts), add_special_tokens=False)


def decode(tokenizer: PreTrainedTokenizerFast, ids: np.ndarray) -> str:
    """Return the exact text of token ids; special tokens appear by name.

    Always valid Unicode: bytes that make no character, and lone surrogates that a tokenizer may produce, become
    U+FFFD.
    """
    ids = np.asarray(ids)
    if tokenizer is char_tokenizer():
        raw = _byte_tables()[1][ids].tobytes()
        if b"\0" not in raw or (ids > 1).all():  # no special token
            return raw.decode(errors="replace")
    text = str(tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False))
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
    if len(np.unique(ids)) < len(ids) or ids.min() < 0 or ids.max() >= len(tokenizer):
        raise ConfigurationError(f"vocabulary={vocabulary!r:.80} must hold distinct ids in [0, {len(tokenizer)})")
    return ids.astype(np.int32)


def same_vocabulary(a: PreTrainedTokenizerFast, b: PreTrainedTokenizerFast) -> bool:
    """Whether two tokenizers give the same ids to the same tokens and end with the same id."""
    return a is b or (a.eos_token_id == b.eos_token_id and a.get_vocab() == b.get_vocab())
