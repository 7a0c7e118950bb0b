"""Adapters: train a few added weights instead of the model's own, with LoRA of the library ``peft``.

The reference of a KL term is then the same model with its adapter switched off, not a second copy. Rollouts of a model
with an adapter go through its own forward, for :mod:`~g2rpo_env.agents.policy.fast_decoder` reads plain weights.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.errors import ConfigurationError, MissingDependencyError

CONFIG_FILE, BASE_FOLDER, REFERENCE_FILE = "adapter_config.json", "base", "base.json"


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
    peft = require_peft()
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


def check_adapter(model: Any) -> None:
    """Raise ConfigurationError where a model has an adapter that is not in its layers.

    Prompt and prefix tuning put vectors before the text: the model inside knows nothing of them.
    """
    configs = getattr(model, "peft_config", {}).values() if has_adapter(model) else ()
    if kinds := [config.peft_type.value for config in configs if config.is_prompt_learning]:
        raise ConfigurationError(
            f"model={type(model).__name__} has an adapter of the type {', '.join(kinds)}, which puts vectors before "
            "the text: only adapters in the layers of a model can be used, such as LoRA"
        )


def inner(model: Any) -> Any:
    """Return the transformers model that an adapter sits in, adapter included; a model without one is itself."""
    return model.get_base_model() if has_adapter(model) else model


def keep_base(model: Any, place: str | Path) -> None:
    """Write the model below an adapter into a folder, and let every later :func:`save` beside it refer to that folder.

    Its weights are frozen, so one copy serves all checkpoints of a run.

    Args:
        model: A model; nothing happens to one without an adapter, and one whose model lies there already.
        place: New folder, or one in which this very model lies already.

    Raises:
        ConfigurationError: another model lies there.
    """
    place = Path(place).resolve()
    if not has_adapter(model) or _get_kept(model)[0] == str(place):
        return
    half = place.with_name(f"{place.name}.part")
    shutil.rmtree(half, ignore_errors=True)
    _save_base(model, half)
    digest = hash_weights(half)
    if not place.is_dir():
        half.rename(place)  # an interrupted save leaves no half model
    shutil.rmtree(half, ignore_errors=True)
    if hash_weights(place) != digest:
        raise ConfigurationError(f"place={str(place)!r} must hold the model of this adapter, and holds another one")
    model.kept_base = str(place), digest


def save(model: Any, folder: str | Path) -> None:
    """Write the adapter as a folder of ``peft``, and with it the model that it belongs to.

    That model goes below the folder; where :func:`keep_base` has put it into the run that the folder is part of, the
    folder names that place, relative to itself, and the checksum of what lies there.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    place, digest = _get_kept(model)
    if place is not None and Path(place).is_dir() and Path(place).parent in folder.parents:
        named = {"folder": os.path.relpath(place, folder), "sha256": digest}
        (folder / REFERENCE_FILE).write_text(json.dumps(named, indent=2) + "\n", encoding="utf-8")
    else:
        _save_base(model, folder / BASE_FOLDER)
    model.save_pretrained(str(folder))


def _save_base(model: Any, folder: Path) -> None:
    # An adapted layer keeps its own weights under "base_layer".
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in inner(model).state_dict().items()
        if ".lora_" not in name
    }
    inner(model).save_pretrained(str(folder), state_dict=weights)


def _get_kept(model: Any) -> tuple[str | None, str | None]:
    """Return the folder that keeps the model below an adapter, and its checksum; None if there is none."""
    return getattr(model, "kept_base", (None, None))


def hash_weights(folder: str | Path) -> str:
    """Return the SHA-256 of the weight files of a Hugging Face folder, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.safetensors")):
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def load(model: Any, folder: str | Path) -> Any:
    """Return a model with the adapter of a folder, ready to be trained on.

    Raises:
        MissingDependencyError: peft is missing.
    """
    adapted = require_peft().PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    if (Path(folder) / REFERENCE_FILE).is_file():
        named = json.loads((Path(folder) / REFERENCE_FILE).read_text(encoding="utf-8"))
        adapted.kept_base = str((Path(folder).resolve() / named["folder"]).resolve()), named["sha256"]
    return adapted


def is_adapter(folder: str | Path) -> bool:
    """Whether a folder holds an adapter of ``peft``, of this module or of another library."""
    return (Path(folder) / CONFIG_FILE).is_file()


def base_of(folder: str | Path) -> str:
    """Return the folder, or the Hub name, of the model that a saved adapter belongs to.

    Args:
        folder: Folder of an adapter, of :func:`save` or any other of ``peft``.

    Raises:
        ConfigurationError: that model is gone, is another one by now, or is not named.
    """
    folder = Path(folder)
    if (folder / BASE_FOLDER).is_dir():
        return str(folder / BASE_FOLDER)
    if (folder / REFERENCE_FILE).is_file():
        named = json.loads((folder / REFERENCE_FILE).read_text(encoding="utf-8"))
        place = folder.resolve() / named["folder"]
        if not place.is_dir():
            raise ConfigurationError(
                f"folder={str(folder)!r} holds a LoRA adapter alone; its model must lie at {os.path.normpath(place)}: "
                "move or copy the whole run folder"
            )
        if hash_weights(place) != named["sha256"]:
            raise ConfigurationError(
                f"folder={str(folder)!r} holds a LoRA adapter of another model than {os.path.normpath(place)} is now: "
                f"its weights must have the SHA-256 {named['sha256']}"
            )
        return os.path.normpath(place)
    named = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not named:
        raise ConfigurationError(f"folder={str(folder)!r} holds a LoRA adapter that does not name its model")
    return str(named)


def merge(model: Any) -> Any:
    """Return a copy of a model with the adapter's weights added to its own: an ordinary transformers model."""
    copied = copy.deepcopy(model)
    return copied.merge_and_unload() if has_adapter(copied) else copied


def require_peft() -> Any:
    """Return the library ``peft``; raises MissingDependencyError if it is missing."""
    try:
        import peft
    except ImportError as error:
        raise MissingDependencyError("LoRA needs peft: install g2rpo-env[lora]") from error
    return peft
