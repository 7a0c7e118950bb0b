"""Bases: the weak policy that all arms start from, and the folder it lies in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.warm_start import WarmStart, load_or_warm_start
from g2rpo_env.errors import RunExistsError
from g2rpo_env.experiments.arms import Setting


def make_folder(path: Path) -> None:
    """Make a folder; raises RunExistsError if something is in it."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunExistsError(f"out={str(path)!r} must be a new or empty folder; nothing in it is overwritten")
    path.mkdir(parents=True, exist_ok=True)


def make_base(setting: Setting, policy: str | Path | None, warm: WarmStart, folder: Path, report: Any = print) -> Path:
    """Return the folder of the base policy: the user's, or a warm-started tiny model of this seed.

    Args:
        setting: Environment and seed.
        policy: Folder of the user's base; None makes one.
        warm: How it is made; its seed is replaced.
        folder: Where it goes.
        report: Called with a line about it.
    """
    if policy is not None:
        return Path(policy)
    envs = setting.make_envs(guided=False)
    warm = replace(warm, seed=setting.seed)
    base, result = load_or_warm_start(lambda: CausalLMPolicy.tiny(envs, seed=setting.seed), envs, warm)
    reached = "" if result.reached else " (not in the range that was asked for)"
    report(f"Base, seed {setting.seed}: {result.steps} steps, sampled success {result.success:.2%}{reached}")
    base.save_pretrained(folder)
    (folder / "warm_start.json").write_text(json.dumps({"steps": result.steps, "success": result.success}) + "\n")
    return folder
