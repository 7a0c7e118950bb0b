"""Loading: models, tokenizers, devices and dtypes by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError, ResumeError
from g2rpo_env.tokenizer import known_end_tokens

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"""Names under which configurations give the number of positions, the first that is there counts."""


def torch_dtype(name: str) -> torch.dtype:
    """Return the floating-point torch dtype of a name.

    Raises:
        ConfigurationError: there is none.
    """
    kind = getattr(torch, name, None)
    if not (isinstance(kind, torch.dtype) and kind.is_floating_point):
        raise ConfigurationError(f"dtype={name!r} must name a floating-point torch dtype, such as 'bfloat16'")
    return kind


def check_device(device: str) -> None:
    """Raise ConfigurationError unless this machine has a torch device of that name."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(f"device={device!r} must be a torch device that this machine has: {reason}") from None


def pretrained_tokenizer(name: str | Path) -> Any:
    """Return the tokenizer of a Hugging Face folder or Hub name; raises ConfigurationError if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(name))
    except (OSError, ValueError) as error:
        raise no_model(name, error) from None


def text_config(model: Any) -> Any:
    """Return the configuration of a model's language part: a model of text and images keeps it inside its own."""
    config = model.config
    return config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config


def count_logits(model: Any) -> int:
    """Return how many logits a model gives per token, that is the tokens it knows.

    Raises:
        ConfigurationError: the configuration does not say, and neither does a head.
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    for size in (getattr(text_config(model), "vocab_size", None), getattr(head, "out_features", None)):
        if isinstance(size, int):
            return size
    raise ConfigurationError(
        f"model={type(model).__name__} must be a causal language model: it has no head, and its configuration "
        f"{type(model.config).__name__} no vocab_size"
    )


def find_positions(model: Any) -> tuple[str, int] | None:
    """Return how many tokens a model can read, after the name its configuration has for that; None if it has none."""
    config = text_config(model)
    sizes = ((name, getattr(config, name, None)) for name in POSITIONS)
    return next(((name, size) for name, size in sizes if isinstance(size, int) and size > 0), None)


def find_end_tokens(model: Any, tokenizer: Any, vocab_size: int) -> frozenset[int]:
    """Return the tokens at which a model ends a text, as its ``generate`` does, and those that its tokenizer knows.

    The configurations name a token or a list. A single one that is ordinary text to the tokenizer is left out: that is
    a default, of a model with another vocabulary.

    Args:
        model: A transformers model.
        tokenizer: Its tokenizer.
        vocab_size: V; the model cannot write what lies beyond.
    """
    found = set(known_end_tokens(tokenizer))
    added = tokenizer.added_tokens_decoder
    for holder in (getattr(model, "generation_config", None), model.config, text_config(model)):
        named = getattr(holder, "eos_token_id", None)
        if isinstance(named, int):
            found |= {named} & set(added)
        elif named is not None:
            found |= {int(token) for token in named if 0 <= int(token) < vocab_size}
    return frozenset(found)


def check_intact(folder: Path) -> None:
    """Raise ResumeError, which names the file, where JSON or weights of a saved policy were cut short or garbled."""
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ResumeError(f"{path} is damaged: it must be JSON ({error})") from None
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise ResumeError(f"{path} is damaged, or was cut short: {error}") from None


def no_model(name: str | Path, error: Exception) -> ConfigurationError:
    """Return the error for a name that stands for no causal language model."""
    reason = str(error).strip().partition("\n")[0]
    return ConfigurationError(
        f"policy={str(name)!r} must be a Hugging Face folder or the Hub name of a causal language model: {reason}"
    )
