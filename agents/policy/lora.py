"""Adapters: train a few added weights instead of the model's own, with LoRA of the library ``peft``.

The reference of a KL term is then the same model with its adapter switched off, not a second copy. Rollouts of a model
with an adapter go through its own forward, for :mod:`~g2rpo_env.agents.policy.fast_decoder` reads plain weights.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError, MissingDependencyError

CONFIG_FILE, BASE_FOLDER = "adapter_config.json", "base"


def add_lora(
    model: Any,
    rank: int = 8,
    *,
    alpha: float | None = None,
    targets: str | list[str] = "all-linear",
    seed: int = 0,
) -> Any:
    """Return a model with a LoRA adapter (arXiv 2106.09685) in it; the other weights are frozen.

    The adapter adds alpha / rank * B A to the weights of linear layers. B starts at 0, so the model computes what it
    did before. The short way for a policy is :meth:`~g2rpo_env.agents.policy.causal_lm.CausalLMPolicy.add_lora`.

    Args:
        model: A transformers model, changed in place: its linear layers get the adapter.
        rank: Rows of A, >= 1.
        alpha: Scale, > 0; None for twice the rank.
        targets: ``"all-linear"``, which leaves out the head, or the names of modules.
        seed: Of the initial A.

    Raises:
        ConfigurationError: an argument breaks its rule, or the model has an adapter already.
        MissingDependencyError: peft is missing.
    """
    if rank < 1:
        raise ConfigurationError(f"rank={rank} must be at least 1")
    if alpha is not None and not alpha > 0:
        raise ConfigurationError(f"alpha={alpha} must be None or above 0")
    if has_adapter(model):
        raise ConfigurationError("model must have no adapter yet")
    peft = _peft()
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=2 * rank if alpha is None else alpha,
        target_modules=targets,
        exclude_modules=_routers(model) if targets == "all-linear" else None,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not those of GPUs
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:
            raise ConfigurationError(f"peft gives model={type(model).__name__} no adapter: {error}") from error
    return adapted.eval()  # peft's own dropout stays off, too


@torch.no_grad()
def _routers(model: Any) -> list[str] | None:
    """Return the names of layers that transformers derives from a linear one and that give more than a tensor.

    Some mixtures of experts have such routers. An adapter would take what they give for the outputs of a linear layer.
    """
    names = set()
    for name, module in model.named_modules():
        derived = isinstance(module, torch.nn.Linear) and type(module).__module__.startswith("transformers.models.")
        if derived and not isinstance(module(module.weight.new_zeros((1, module.in_features))), torch.Tensor):
            names.add(name.rpartition(".")[2])
    return sorted(names) or None


def has_adapter(model: Any) -> bool:
    """Whether the model is one of peft's, with an adapter that can be switched off."""
    return hasattr(model, "peft_config") and hasattr(model, "disable_adapter")


def inner(model: Any) -> Any:
    """Return the transformers model that an adapter sits in, adapter included; a model without one is itself."""
    return model.get_base_model() if has_adapter(model) else model


def save(model: Any, folder: str | Path) -> None:
    """Write the adapter, and beside it the model it belongs to, as ordinary folders of both libraries."""
    # An adapted layer keeps its own weights under "base_layer".
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in inner(model).state_dict().items()
        if ".lora_" not in name
    }
    inner(model).save_pretrained(str(Path(folder) / BASE_FOLDER), state_dict=weights)
    model.save_pretrained(str(folder))


def load(model: Any, folder: str | Path) -> Any:
    """Return a model with the adapter of a folder, ready to be trained on.

    Raises:
        MissingDependencyError: peft is missing.
    """
    return _peft().PeftModel.from_pretrained(model, str(folder), is_trainable=True)


def base_folder(folder: str | Path) -> Path | None:
    """Return where the model of a saved adapter lies; None if the folder holds no adapter of :func:`save`."""
    folder = Path(folder)
    return folder / BASE_FOLDER if (folder / CONFIG_FILE).is_file() and (folder / BASE_FOLDER).is_dir() else None


def merge(model: Any) -> Any:
    """Return a copy of a model with the adapter's weights added to its own: an ordinary transformers model."""
    copied = copy.deepcopy(model)
    return copied.merge_and_unload() if has_adapter(copied) else copied


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError("LoRA needs peft: install g2rpo-env[lora]") from error
    return peft
