"""Loading: models, tokenizers, devices and dtypes by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError

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


def no_model(name: str | Path, error: Exception) -> ConfigurationError:
    """Return the error for a name that stands for no causal language model."""
    reason = str(error).strip().partition("\n")[0]
    return ConfigurationError(
        f"policy={str(name)!r} must be a Hugging Face folder or the Hub name of a causal language model: {reason}"
    )
