"""Checkpoints that ``evaluate``, ``complete`` and ``response`` start from: a run folder, or a Hugging Face folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from g2rpo_env.agents.grpo import CONFIG_FILE
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.cli.options import nested, parse, task_options, values
from g2rpo_env.cli.train import make_environment, make_options_type
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.report.run_folder import CONFIG, RunFolder


def find_weights(source: Path) -> Path:
    """Return the Hugging Face folder of a source: itself, or the newest checkpoint of a run folder.

    Raises:
        ConfigurationError: the source is neither.
    """
    if (source / CONFIG).is_file() and (source / "model.safetensors").is_file():
        return source
    if (source / CONFIG).is_file() and (source / "checkpoints").is_dir():
        found = RunFolder(source).checkpoints()
        if found:
            return found[-1]
    raise ConfigurationError(
        f"source={str(source)!r} must be a run folder with a checkpoint, or a Hugging Face folder with config.json "
        "and model.safetensors"
    )


def load_policy(source: Path, temperature: float | None = None) -> CausalLMPolicy:
    """Return the policy of a run or a folder, as it was trained, at another temperature if one is given."""
    folder = find_weights(source)
    trained = json.loads((folder / CONFIG_FILE).read_text())["policy"] if (folder / CONFIG_FILE).is_file() else {}
    given = {} if temperature is None else {"temperature": temperature}
    return CausalLMPolicy.from_pretrained(folder, **{**trained, **given})


def add_task_options(kind: type, env_id: str | None) -> type:
    """Return options of a command, with those of an environment's task if one is named."""
    if env_id is None:
        return kind
    group = ("task", *nested(task_options(env_id), prefix=""))
    return dataclasses.make_dataclass(kind.__name__, [group], bases=(kind,), namespace={"__doc__": kind.__doc__})


def make_environment_of(source: Path, env_id: str | None, task: Any) -> Any:
    """Return an environment for a policy: the one named, or the one its run was trained on.

    Raises:
        ConfigurationError: no environment is named and the source is no run folder.
    """
    if env_id is not None:
        arguments = values(task)
        if "tokenizer" in arguments and arguments["tokenizer"] is None:
            arguments["tokenizer"] = str(find_weights(source))
        return make_envs(env_id, 1, 1, arguments)
    run = RunFolder(source)
    if not (source / "checkpoints").is_dir():
        raise ConfigurationError(f"env must be given: {str(source)!r} is no run folder that would name it")
    argv = run.config["argv"]
    return make_environment(parse(make_options_type(argv), argv, "train"))
