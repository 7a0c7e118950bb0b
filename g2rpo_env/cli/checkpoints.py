"""Models that ``evaluate``, ``response``, ``complete`` and ``play`` start from, and the environments they belong to.

A model is named by a run folder of any command (its newest checkpoint counts), a checkpoint, a base, any other Hugging
Face folder, a folder with a LoRA adapter, or a Hub name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from g2rpo_env.agents.grpo import CONFIG_FILE
from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.cli.options import TorchOptions, check_torch_options, nested, parse, task_options, use_threads, values
from g2rpo_env.cli.train import make_environment, make_options_type
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.bases import FACTS
from g2rpo_env.experiments.environments import make_envs, prepare_torch
from g2rpo_env.report.run_folder import CONFIG, RunFolder, read_object

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model*.bin")
"""Files that hold the weights of a Hugging Face folder, in one piece or several."""

DEPTH = 4
"""Folders below one that are searched for models, where it is none itself."""


@dataclass(frozen=True)
class Model:
    """A model that a command was given.

    Attributes:
        name: As it was given: a folder, or a Hub name.
        weights: Folder of its weights, or the Hub name.
        home: The folders that may say which environment it belongs to, nearest first.
    """

    name: str
    weights: str
    home: tuple[Path, ...] = ()

    def load_policy(self, options: TorchOptions, temperature: float | None = None) -> CausalLMPolicy:
        """Return the policy, as it was trained unless the options or a temperature say otherwise."""
        check_torch_options(options)
        prepare_torch()
        path = Path(self.weights) / CONFIG_FILE
        said = _read_json(path) if path.is_file() else {}
        config = said.get("policy", {})
        given = {"temperature": temperature, "dtype": options.dtype}
        changed = {name: value for name, value in given.items() if value is not None}
        policy = CausalLMPolicy.from_pretrained(self.weights, device=options.device, **{**config, **changed})
        use_threads(policy, options.threads)
        return policy

    @cached_property
    def trained_on(self) -> Mapping[str, Any] | None:
        """What the nearest folder says of the environment: ``argv`` of train, or ``env`` and ``task``; or None."""
        for folder in self.home:
            for name in (CONFIG, FACTS):
                said = _read_json(folder / name) if (folder / name).is_file() else {}
                if "argv" in said or "env" in said:
                    return said
        return None

    def make_envs(self, env_id: str | None, task: Any = None) -> Any:
        """Return an environment for the model: the one named, with the options of its task, or its own one.

        A tokenizer that nobody names is the model's.

        Raises:
            ConfigurationError: no environment is named, and no folder says which one the model was trained on.
        """
        if env_id is not None:
            return make_envs(env_id, 1, 1, self._with_tokenizer({} if task is None else values(task)))
        said = self.trained_on
        if said is None:
            raise ConfigurationError(
                f"env must be given, such as --env g2rpo_env/Addition-v0: nothing in {self.name!r} says which "
                "environment the model was trained on"
            )
        check_said(said, self.name)
        if "argv" in said:
            options = parse(make_options_type(said["argv"]), said["argv"], "train")
            # The tokenizer of the model lies beside its weights, wherever the model came from.
            return make_environment(dataclasses.replace(options, policy=options.policy and self.weights))
        try:
            return make_envs(said["env"], 1, 1, self._with_tokenizer(said.get("task", {})))
        except TypeError as error:  # an option that the task does not have, or of another kind
            raise ConfigurationError(f"model={self.name!r}: task of its config.json: {error}") from None

    def _with_tokenizer(self, task: Mapping[str, Any]) -> dict[str, Any]:
        return {**task, "tokenizer": self.weights} if task.get("tokenizer", "") is None else dict(task)


def check_said(said: Mapping[str, Any], name: str) -> None:
    """Raise ConfigurationError where the config.json of a run does not say its environment as runs do."""
    argv, env, task = said.get("argv", []), said.get("env", ""), said.get("task", {})
    if not isinstance(argv, list) or not all(isinstance(word, str) and word not in ("-h", "--help") for word in argv):
        raise ConfigurationError(f"model={name!r}: argv={argv!r:.60} of its config.json must be options of train")
    if not isinstance(env, str) or not isinstance(task, Mapping):
        raise ConfigurationError(f"model={name!r}: env={env!r:.60} and task={task!r:.60} must be an id and its options")


def find_model(name: str | Path) -> Model:
    """Return the model that a folder or a Hub name stands for.

    Raises:
        ConfigurationError: there is none, or several; the message names what is missing, or which there are.
    """
    path = Path(name)
    if not path.exists():
        if isinstance(name, str) and name.count("/") == 1 and not name.startswith((".", "/", "~")) and name[-1] != "/":
            if not path.parent.is_dir():
                return Model(name, name)
        raise ConfigurationError(f"model={str(name)!r} must be a folder or a Hub name: there is no such folder")
    if not path.is_dir():
        raise ConfigurationError(f"model={str(name)!r} must be a folder or a Hub name, and is a file")
    home = (path, *path.resolve().parents[:2])
    if is_model(path):
        return Model(str(name), str(path), home)
    if (path / "checkpoints").is_dir():
        found = RunFolder(path).checkpoints()
        if not found:
            raise ConfigurationError(f"model={str(name)!r} must be a run folder with a checkpoint, and has none yet")
        return Model(str(name), str(found[-1]), home)
    is_one = (path / CONFIG).is_file() or lora.is_adapter(path)  # a damaged one: what lies in it is another model
    below = [] if is_one else find_models(path)
    if len(below) == 1:
        return find_model(below[0])
    if below:
        names = ", ".join(str(one.relative_to(path)) for one in below)
        raise ConfigurationError(
            f"model={str(name)!r} must be one model, and holds {len(below)}: {names} (give one, such as {below[-1]})"
        )
    raise ConfigurationError(
        f"model={str(name)!r} must be a run folder with a checkpoint, or a Hugging Face folder: {_describe_lack(path)}"
    )


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model of its own: configuration and weights, or an adapter."""
    has_weights = any(next(folder.glob(pattern), None) for pattern in WEIGHTS)
    return has_weights and ((folder / CONFIG).is_file() or lora.is_adapter(folder))


def find_models(folder: Path, depth: int = DEPTH) -> list[Path]:
    """Return the models and runs below a folder, in order; what lies inside one of them does not count."""
    found = []
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        if is_model(one) or (one / "checkpoints").is_dir():
            found.append(one)
        elif depth > 1:
            found += find_models(one, depth - 1)
    return found


def _describe_lack(folder: Path) -> str:
    """Return what a folder lacks to be a model."""
    if not any(folder.iterdir()):
        return "it is empty"
    if lora.is_adapter(folder):
        return "it has an adapter's configuration without its weights, adapter_model.safetensors"
    if (folder / CONFIG).is_file():
        said = _read_json(folder / CONFIG)
        if "argv" in said or "algorithm" in said:
            return "the run has no checkpoint yet"
        return f"it has {CONFIG} without weights, model.safetensors"
    return f"it has no {CONFIG} and no checkpoints/"


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path, ConfigurationError, repr(str(path)))


def add_task_options(kind: type, env_id: str | None) -> type:
    """Return options of a command, with those of an environment's task if one is named."""
    if env_id is None:
        return kind
    group = ("task", *nested(task_options(env_id), prefix=""))
    return dataclasses.make_dataclass(
        kind.__name__, [group], bases=(kind,), namespace={"__doc__": kind.__doc__}, kw_only=True
    )
