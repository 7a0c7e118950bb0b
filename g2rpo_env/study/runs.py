"""Runs: one training each, found again by the hash of everything its result depends on.

A run starts from a base, a warm-started tiny model, which many runs share. Its result is one small file of plain data:
answers on the test problems, and curves thinned to :data:`BINS` points. Policies are not kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents import CausalLMPolicy, Evaluation, evaluate
from g2rpo_env.agents.agent import Updater
from g2rpo_env.agents.warm_start import WarmStart, find_context
from g2rpo_env.experiments.arms import Arm, Setting, make_agent, train
from g2rpo_env.experiments.bases import save_base, warm_start_tiny
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.experiments.runner import ArmFolder
from g2rpo_env.report.records import Recording


def hash_weights(folder: Path) -> str:
    """Return a hash of the weights in a policy's folder: two machines make two bases of one configuration."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]


BINS = 40
"""Points that a curve over the updates is thinned to, each the mean of the updates around it."""


LATER: Mapping[str, Any] = {"truncated": True, "cap": None, "strategy": None}
"""Options that parts and bases got after results were first kept, at values that change nothing: they are in no key."""


def to_plain(value: Any) -> Any:
    """Return plain data that says all of a configuration: objects become their class and the arguments of it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        options = {name: to_plain(one) for name, one in given.items() if LATER.get(name, given) != one}
        return {"class": type(value).__qualname__, **options}
    if isinstance(value, Mapping):
        return {str(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [to_plain(one) for one in value]
    return value


def hash_config(config: Any) -> str:
    """Return 16 hexadecimal digits that stand for plain data."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Base:
    """The policy that runs start from: a tiny model of random weights, warm-started on solutions.

    Attributes:
        env: Id of the environment.
        task: Arguments of its task.
        warm: The warm start; its seed is that of the base.
        hidden_size: Width of the model.
        layers: Its number of layers.
        seed: Of the weights and of the warm start.
        strategy: Part under whose context it is warm-started and measured, such as ``Refine()``: what begins answers
            from something new needs a base that has seen it. None for the prompt.
    """

    env: str
    task: dict[str, Any]
    warm: WarmStart
    hidden_size: int = 96
    layers: int = 3
    seed: int = 0
    strategy: Any = None

    @cached_property
    def key(self) -> str:
        """Name of the folder it is kept in."""
        return hash_config(to_plain(self))

    def make(self, folder: Path) -> dict[str, Any]:
        """Train it, save it in a folder that does not exist yet, and return the result of the warm start."""
        envs = make_envs(self.env, 1, 1, self.task)
        size = {"hidden_size": self.hidden_size, "layers": self.layers}
        policy, result = warm_start_tiny(envs, self.warm, self.seed, find_context(self.strategy), **size)
        found = {**dataclasses.asdict(result), "parameters": sum(p.numel() for p in policy.model.parameters())}
        half = folder.with_suffix(".part")
        save_base(policy, half, {**found, "env": self.env, "task": to_plain(self.task)})
        half.rename(folder)
        return found


@dataclass(frozen=True)
class Run:
    """One way to train one base, with one seed.

    Attributes:
        base: Where it starts.
        setting: Environment, guidance, budget and root seed.
        arm: How it trains; None leaves the base as it is and only measures it. Its label is for the eye alone.
        replays: The run whose reveal lengths it plays back, update by update.
        after: Run that trains its policy before, from the same base, such as supervised training; the budgets add up.
    """

    base: Base
    setting: Setting
    arm: Arm | None = None
    replays: Run | None = None
    after: Run | None = None

    @property
    def config(self) -> dict[str, Any]:
        """All that the result depends on, as plain data."""
        arm = None if self.arm is None else to_plain(self.arm)
        return {
            "base": to_plain(self.base),
            "setting": to_plain(self.setting),
            "arm": arm and {name: value for name, value in arm.items() if name not in ("label", "replays")},
            "replays": None if self.replays is None else self.replays.key,
            "after": None if self.after is None else self.after.key,
        }

    @cached_property
    def key(self) -> str:
        """Name of the file of its result."""
        return hash_config(self.config)

    @property
    def needed(self) -> list[Run]:
        """Runs whose results this one reads, those that it replays itself or in an earlier stage."""
        earlier = [] if self.after is None else self.after.needed
        return [*earlier, *([] if self.replays is None else [self.replays])]

    @property
    def label(self) -> str:
        """Name of the run in lines about progress."""
        return f"{'base' if self.arm is None else self.arm.label}, seed {self.setting.seed}"


@dataclass
class MemoryRecorder:
    """A :class:`~g2rpo_env.experiments.arms.UpdateRecorder` that keeps the updates of an agent in memory.

    Attributes:
        rows: One per update, from which the curves are made.
        curve: One (updates, sampled tokens, accuracy) per evaluation on validation problems.
        forward_tokens: Prompt, revealed and sampled tokens of all episodes so far.
        solved: Per update the number of right answers of each group, in the order of the batch.
    """

    agent: Any
    rows: list[dict[str, Any]] = field(default_factory=list)
    curve: list[tuple[int, int, float]] = field(default_factory=list)
    forward_tokens: int = 0
    solved: list[list[int]] = field(default_factory=list)

    def record(self, metrics: dict[str, Any], seconds: float) -> None:
        """Keep one update."""
        row = {**metrics, "seconds": seconds}
        update = self.agent.last_update if isinstance(self.agent, Updater) else None
        if update is not None:
            if not update.groups.reused:
                self.forward_tokens += sum(len(e.tokens_T) for e in update.groups.sampled_episodes)
            self.solved.append([int(sum(e.correct for e in g.episodes)) for g in update.groups])
            advantages = update.advantages
            row["advantage_std"] = float(np.std(np.concatenate(advantages))) if advantages else 0.0
        self.rows.append(row)

    def record_evaluation(self, update: int, evaluation: Evaluation) -> None:
        """Keep an evaluation made after ``update`` updates."""
        self.curve.append((update, self.agent.sampled_tokens, round(evaluation.accuracy, 4)))

    def summary(self) -> dict[str, Any]:
        """Return the curves, thinned, and all reveal lengths, as plain data."""
        rows, solved = self.rows, self.solved
        shown = np.linspace(0, len(solved) - 1, min(BINS, len(solved))).astype(int)
        return {
            "revealed_tokens": int(sum(row.get("revealed_tokens") or 0 for row in rows)),
            "curve": self.curve,
            "curves": {name: thin_curve(rows, name) for name in CURVES if any(r.get(name) is not None for r in rows)},
            "lengths": [row["reveal_length"] for row in rows if row.get("reveal_length") is not None],
            "solved": [solved[i] for i in shown],
        }


CURVES = (
    "reward", "reward_guided", "reward_unguided", "groups_with_signal", "advantage_std", "reveal_length",
    "sampled_length", "clip_fraction",
)  # fmt: skip
"""Metrics that are kept as thinned curves."""


def thin_curve(rows: Sequence[Mapping[str, Any]], name: str, bins: int = BINS) -> list[float | None]:
    """Return the means of a metric over as many parts of the updates; None where it has no value.

    >>> thin_curve([{"x": 1.0}, {"x": 3.0}, {"x": None}, {"x": 5.0}], "x", bins=2)
    [2.0, 5.0]
    """
    parts = np.array_split(np.arange(len(rows)), min(bins, len(rows)) or 1)
    values = [[rows[i][name] for i in part if rows[i].get(name) is not None] for part in parts]
    return [round(float(np.mean(one)), 4) if one else None for one in values]


RECORDING = Recording(command="study")
"""What the run folders of a study keep, where they are asked for."""


def pack_answers(evaluation: Evaluation) -> str:
    """Return the problems that were answered correctly as hexadecimal digits, see :func:`unpack_answers`."""
    return np.packbits(evaluation.correct_PS[:, 0]).tobytes().hex()


def unpack_answers(text: str, problems: int) -> np.ndarray:
    """Return bool (P,): whether each problem was answered correctly.

    >>> unpack_answers("a0", 3)
    array([ True, False,  True])
    """
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:problems].astype(bool)


def execute(
    run: Run,
    base: Path,
    lengths: Mapping[str, Sequence[float]] | None = None,
    device: str = "cpu",
    out: Path | None = None,
) -> dict[str, Any]:
    """Do a run and return its result as plain data of less than 20 kB.

    Args:
        run: The run.
        base: Folder of its base.
        lengths: Key of a run that is replayed -> its reveal lengths.
        device: Torch device.
        out: Run folder, new or empty, for a study that keeps them; that of a run before it ends in ``-before``. None
            keeps none.
    """
    started = time.perf_counter()
    policy = CausalLMPolicy.from_pretrained(base, device=device)
    trained = {"sampled_tokens": 0, "forward_tokens": 0, "updates": 0}
    agent = _train(run, policy, lengths or {}, trained, base, out)
    setting = run.setting
    if agent is None:
        envs = make_envs(setting.env, 1, 1, setting.task if setting.measured is None else setting.measured)
        context = getattr(run.base.strategy, "context", None)
        evaluation = evaluate(policy, envs, split="test", problems=setting.evaluation_problems, context=context)
    else:
        evaluation = setting.evaluate(agent, "test", setting.evaluation_problems)
    return {
        "label": run.label,
        "config": run.config,
        "weights": hash_weights(base),
        "accuracy": evaluation.accuracy,
        "problems": len(evaluation.problem_ids),
        "answers": pack_answers(evaluation),
        **trained,
        "seconds": round(time.perf_counter() - started, 2),
        "device": device,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


@dataclass
class Recorders:
    """Several recorders as one."""

    recorders: Sequence[Any]

    def record(self, metrics: dict[str, Any], seconds: float) -> None:
        """Keep one update."""
        for one in self.recorders:
            one.record(metrics, seconds)

    def record_evaluation(self, update: int, evaluation: Evaluation) -> None:
        """Keep an evaluation made after ``update`` updates."""
        for one in self.recorders:
            one.record_evaluation(update, evaluation)


def _train(
    run: Run,
    policy: Any,
    lengths: Mapping[str, Sequence[float]],
    trained: dict[str, Any],
    base: Path,
    out: Path | None,
) -> Any:
    """Train a policy stage by stage, add up its budgets, and return the agent of the last stage."""
    if run.after is not None:
        _train(run.after, policy, lengths, trained, base, None if out is None else out.with_name(f"{out.name}-before"))
    if run.arm is None:
        return None
    setting, replayed = run.setting, None if run.replays is None else lengths[run.replays.key]
    if replayed is not None:
        setting = replace(setting, updates=len(replayed), sampled_tokens=None)
    agent = make_agent(setting, policy, run.arm, replayed)
    recorder = MemoryRecorder(agent)
    folder = None if out is None else ArmFolder(setting, base, run.arm, agent, policy, out, recording=RECORDING)
    updates = train(agent, setting, recorder if folder is None else Recorders([recorder, folder]))
    if folder is not None:
        folder.finish(updates)
    trained["updates"] += updates
    trained["sampled_tokens"] += int(agent.sampled_tokens)
    trained["forward_tokens"] += recorder.forward_tokens
    trained.update(recorder.summary())
    return agent
