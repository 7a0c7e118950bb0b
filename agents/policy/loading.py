"""Loading: models, tokenizers, devices and dtypes by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError, ResumeError


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
