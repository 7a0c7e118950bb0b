"""``g2rpo-env bench memory``: peak memory of an update's forward and backward pass, each in a fresh process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.cli import bench_update
from g2rpo_env.cli.rows import Row
from g2rpo_env.errors import ConfigurationError

SIZES = {"vocab_size": 151_936, "hidden_size": 256, "num_hidden_layers": 4}
EPISODES = 16
LENGTHS = (256, 1024, 2048)
"""Tokens per episode."""
THEIRS = 1024
"""The length at which TRL is measured."""


def bench_memory(repeats: int) -> list[Row]:
    """Return what log-probabilities and loss take beyond the backbone; peaks repeat well, so each is taken once."""
    found = {(side, n): peak(side, n) for n in LENGTHS for side in ("backbone", "ours")}
    found["TRL", THEIRS] = peak("TRL", THEIRS)
    excess = {(s, n): mib - found["backbone", n] for (s, n), mib in found.items() if s != "backbone"}
    rows = [Row(f"peak, {side}, {n} tokens", mib, "MiB") for (side, n), mib in found.items()]
    rows += [Row(f"excess over the backbone, {side}, {n} tokens", mib, "MiB") for (side, n), mib in excess.items()]
    shortest, longest = LENGTHS[0], LENGTHS[-1]
    growth = excess["ours", longest] / excess["ours", shortest]
    rows.append(Row(f"excess of ours, {longest} / {shortest} tokens", growth, "ratio"))
    rows.append(Row(f"peak, ours / TRL, {THEIRS} tokens", found["ours", THEIRS] / found["TRL", THEIRS], "ratio"))
    rows.append(Row(f"excess, ours / TRL, {THEIRS} tokens", excess["ours", THEIRS] / excess["TRL", THEIRS], "ratio"))
    return rows


def peak(side: str, tokens: int) -> float:
    """Return the peak memory in MiB of a process that runs one pass of a side.

    Raises:
        ConfigurationError: the process failed; the message ends as its output does.
    """
    command = [sys.executable, "-m", __name__, side, str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(f"side={side!r} with {tokens} tokens did not finish: {done.stderr[-500:]}")
    return float(done.stdout.split()[-1])


def our_pass(model: Any, batch: Any) -> None:
    """Run forward and backward as GRPO does, all episodes in one microbatch."""
    bench_update.our_agent(model)._accumulate(batch, float(batch.weight_NT.sum()))


def trl_pass(model: Any, batch: Any) -> None:
    """Run forward and backward of TRL's loss."""
    trainer = bench_update.trl_trainer(model)
    trainer._compute_loss(trainer.model, bench_update.trl_inputs(batch)).backward()


SIDES: dict[str, Callable[[Any, Any], None]] = {
    "ours": our_pass,
    "TRL": trl_pass,
    "backbone": lambda model, batch: bench_update.backbone_passes(model, batch)(),
}


def main(side: str, tokens: int) -> None:
    """Run one pass and print the peak of this process in MiB."""
    torch.set_num_threads(bench_update.THREADS)
    model = bench_update.model_of(**SIZES)
    SIDES[side](model, bench_update.case_of(model, [tokens - bench_update.PROMPT] * EPISODES))
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
