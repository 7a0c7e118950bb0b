"""Memory of an update: checkpointed layers, and a message for when it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from g2rpo_env.errors import ConfigurationError, OutOfMemoryError

SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")
"""Words of allocators in a RuntimeError."""


@contextmanager
def checkpointing(model: Any, enabled: bool = True) -> Iterator[None]:
    """Within, layers keep no activations of their own for the backward pass and compute them again there.

    The model is in evaluation mode, dropout off: only the flag of the layers themselves is set, not of what is in them,
    and not while they run, for some layers have dropout of their own.

    Raises:
        ConfigurationError: the model's layers cannot be checkpointed.
    """
    if not enabled:
        yield
        return
    layers = checkpointed_layers(model)
    if not layers:
        raise ConfigurationError(
            f"checkpointing=True needs a model whose layers can be checkpointed, {type(model).__name__} has none"
        )
    if model.training:
        model.eval()
    names = ("training", "gradient_checkpointing", "_gradient_checkpointing_func")
    before = [{name: vars(layer)[name] for name in names if name in vars(layer)} for layer in layers]
    for layer in layers:
        layer.training = layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(_run_again, layer)
    try:
        yield
    finally:
        for layer, values in zip(layers, before, strict=True):
            for name in names:
                vars(layer).pop(name, None)
            vars(layer).update(values)


def _run_again(layer: Any, forward: Callable[..., Any], *args: Any) -> Any:
    """Run the forward of a layer in evaluation mode, and once more in the backward pass."""

    def quietly(*given: Any) -> Any:
        before, layer.training = layer.training, False
        try:
            return forward(*given)
        finally:
            layer.training = before

    return checkpoint(quietly, *args, use_reentrant=False)


def checkpointed_layers(model: Any) -> list[Any]:
    """Return the layers of a transformers model that can be checkpointed."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


@contextmanager
def name_out_of_memory(what: str, rows: int, width: int) -> Iterator[None]:
    """Turn what allocators raise into an :class:`OutOfMemoryError` that names what helps.

    Args:
        what: What was going on, such as ``"update 3"``.
        rows: Episodes of the update.
        width: Tokens of its longest episode.

    Raises:
        OutOfMemoryError: instead of a MemoryError, or of torch's own for a device or the processor.
    """
    try:
        yield
    except OutOfMemoryError:
        raise
    except (MemoryError, RuntimeError) as error:
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(sign in str(error).lower() for sign in SIGNS):
            raise
        raise OutOfMemoryError(
            f"{what}: {rows} episodes of up to {width} tokens do not fit into memory; lower microbatch_tokens or "
            "microbatch, or set checkpointing=True (options of Optimizer); the weights were left as they were"
        ) from error
