"""Provenance: what a result depends on beside its options, as plain data for its folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from g2rpo_env._version import __version__
from g2rpo_env.envs.files import file_sha256
from g2rpo_env.envs.formats import SUFFIXES
from g2rpo_env.report.code import hash_code

SCHEMA = "g2rpo-run/2"
"""Form of run.json and of the files beside it, see docs/schemas."""

PACKAGES = ("torch", "transformers", "tokenizers", "gymnasium", "numpy")
"""Packages whose versions are kept beside those of Python and of this library."""


def get_versions() -> dict[str, str]:
    """Return name -> version of Python, this library and :data:`PACKAGES`."""
    versions = {"python": platform.python_version(), "g2rpo_env": __version__}
    return versions | {name: metadata.version(name) for name in PACKAGES}


def get_checksums(task: Mapping[str, Any]) -> dict[str, str]:
    """Return file -> SHA-256 of the data of a task; empty where its argument ``data`` is no file and no folder.

    Args:
        task: Arguments of the task. Of a folder all files count that may hold rows, by their paths in it.
    """
    data = task.get("data")
    if not isinstance(data, str | Path) or not Path(data).exists():
        return {}
    path = Path(data)
    if path.is_file():
        return {path.name: file_sha256(path)}
    files = [one for one in path.rglob("*") if one.is_file() and {*one.suffixes} & {*SUFFIXES}]
    shown = [one for one in files if not any(part.startswith(".") for part in one.relative_to(path).parts)]
    return {one.relative_to(path).as_posix(): file_sha256(one) for one in sorted(shown)}


def to_plain(value: Any) -> Any:
    """Return plain data for JSON: dataclasses as dicts, what JSON does not know as its text."""
    return json.loads(json.dumps(value, default=_plain))


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a run is made of, as far as only its command knows.

    Attributes:
        command: Name of the command.
        argv: Its arguments.
        label: Name of the run among others.
        env: Id of the environment.
        task: Arguments of its task.
        guidance: Arguments of the guidance wrapper; None for none.
        algorithm: Name of the recipe or of the agent.
        seed: Root seed.
        updates: Updates that it is to do; None where it counts tokens.
        sampled_tokens: Tokens that it is to sample; None where it counts updates.
        problems: Problems per update.
        group_size: Members per problem.
    """

    command: str
    argv: tuple[str, ...]
    label: str
    env: str
    task: Mapping[str, Any]
    guidance: Mapping[str, Any] | None
    algorithm: str
    seed: int
    updates: int | None
    sampled_tokens: int | None
    problems: int
    group_size: int


def describe_run(origin: Origin, policy: Any, recipe: Any = None) -> dict[str, Any]:
    """Return what run.json says of a run that is about to begin.

    Args:
        origin: What its command knows.
        policy: The policy, with the weights that it begins with.
        recipe: The :class:`~g2rpo_env.agents.recipe.Recipe`; None for an agent that has none.
    """
    import torch

    weights, tokenizer = list(policy.model.parameters()), policy.tokenizer
    return {
        "schema": SCHEMA,
        "command": origin.command,
        "argv": list(origin.argv),
        "label": origin.label,
        "env": origin.env,
        "task": to_plain(origin.task),
        "guidance": None if origin.guidance is None else to_plain(origin.guidance),
        "seed": origin.seed,
        "recipe": recipe.to_config() if hasattr(recipe, "to_config") else None,
        "agent": origin.algorithm,
        "updates": origin.updates,
        "sampled_tokens": origin.sampled_tokens,
        "problems": origin.problems,
        "group_size": origin.group_size,
        "parameters": sum(one.numel() for one in weights),
        "initial_weights": hash_weights(policy.model),
        "tokenizer": {"name": str(getattr(tokenizer, "name_or_path", "")), "vocab_size": len(tokenizer)},
        "data": get_checksums(origin.task),
        "versions": get_versions(),
        "code": hash_code(),
        "device": str(weights[0].device) if weights else "cpu",
        "dtype": str(weights[0].dtype).removeprefix("torch.") if weights else "float32",
        "threads": torch.get_num_threads(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def hash_weights(model: Any) -> str:
    """Return 16 hexadecimal digits that stand for the names and weights of a torch module."""
    import torch

    digest = hashlib.sha256()
    for name, weight in model.named_parameters():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _plain(value: Any) -> Any:
    is_object = dataclasses.is_dataclass(value) and not isinstance(value, type)
    return dataclasses.asdict(value) if is_object else str(value)
