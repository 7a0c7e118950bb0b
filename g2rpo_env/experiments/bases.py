"""Bases: the weak policy that all arms start from, and the folder it lies in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.evaluation import ContextRule
from g2rpo_env.agents.progress import Meter
from g2rpo_env.agents.warm_start import WarmStart, WarmStartResult, check_base, load_or_warm_start
from g2rpo_env.experiments.arms import Setting
from g2rpo_env.guidance import AnyEnv
from g2rpo_env.report.run_folder import RunFolder

FACTS = "warm_start.json"
"""File of a base's folder with the facts of its warm start, and the environment that it was made for."""


def make_folder(path: Path) -> None:
    """Make a folder; raises RunExistsError if something is in it."""
    RunFolder.check_free(path)
    path.mkdir(parents=True, exist_ok=True)


def warm_start_tiny(
    envs: AnyEnv, warm: WarmStart, seed: int, context: ContextRule | None = None, **size: int
) -> tuple[CausalLMPolicy, WarmStartResult]:
    """Return a tiny model after its warm start, from the cache if it is there; weights and warm start have one seed.

    Args:
        envs: Any environment of the task.
        warm: How it is made; its seed is replaced.
        seed: The seed.
        context: See :func:`~g2rpo_env.agents.warm_start.warm_start`.
        **size: ``hidden_size`` and the like, see :meth:`~g2rpo_env.agents.CausalLMPolicy.tiny`.

    Raises:
        ConfigurationError: no share of the samples of a check lies in the range that it is to stop in.
        WarmStartError: it ended without a right answer.
    """
    warm = replace(warm, seed=seed)
    with Meter(f"Warm start, seed {seed}, at most {warm.max_steps} steps") as meter:
        policy, result = load_or_warm_start(
            lambda: CausalLMPolicy.tiny(envs, seed, **size),
            envs,
            warm,
            progress=lambda steps, success: meter(steps, warm.max_steps),
            context=context,
        )
    check_base(result, warm)
    return policy, result


def save_base(policy: CausalLMPolicy, folder: Path, facts: dict[str, Any]) -> None:
    """Write a base and the facts of its warm start, plain data, into a folder."""
    policy.save_pretrained(folder)
    (folder / FACTS).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def make_base(
    setting: Setting,
    policy: str | Path | None,
    warm: WarmStart,
    folder: Path,
    report: Any = print,
    context: ContextRule | None = None,
) -> Path:
    """Return the folder of the base policy: the user's, or a warm-started tiny model of this seed.

    Args:
        setting: Environment and seed.
        policy: Folder of the user's base; None makes one.
        warm: How it is made; its seed is replaced.
        folder: Where it goes.
        report: Called with a line about it.
        context: Tokens that stand in the place of the prompt in its warm start; None for the prompt. A strategy that
            puts something new there needs a base that has seen it.
    """
    if policy is not None:
        return Path(policy)
    base, result = warm_start_tiny(setting.make_envs(guided=False), warm, setting.seed, context)
    reached = "" if result.reached else f" (not in {warm.success}, because {result.reason})"
    report(f"Base, seed {setting.seed}: {result.steps} steps, sampled success {result.success:.2%}{reached}")
    save_base(base, folder, {"steps": result.steps, "success": result.success, **setting.get_environment()})
    return folder
