"""``g2rpo-env bench memory``: peak memory of an update's forward and backward pass.

On the processor each is taken in a fresh process, which the system measures; on a GPU the allocator measures.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from g2rpo_env.bench import update
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Row
from g2rpo_env.errors import ConfigurationError

SIZES = {"vocab_size": 151_936, "hidden_size": 256, "num_hidden_layers": 4}
EPISODES = 16
LARGE_EPISODES = 8
"""Episodes for a model of :data:`~g2rpo_env.bench.device.MODELS`."""
LENGTHS = (256, 1024, 2048)
"""Tokens per episode."""
THEIRS = 1024
"""The length at which TRL is measured."""


def bench_memory(repeats: int, place: Place = Place()) -> list[Row]:  # noqa: B008, it is frozen
    """Return what log-probabilities and loss take beyond the backbone; peaks repeat well, so each is taken once.

    Raises:
        ConfigurationError: another model or dtype on the processor.
    """
    if place.on_cpu and (place.model is not None or place.dtype != "float32"):
        raise ConfigurationError(f"model={place.model!r} and dtype={place.dtype!r} of bench memory need a GPU")
    take = peak if place.on_cpu else partial(device_peak, place)
    found = {(side, n): take(side, n) for n in LENGTHS for side in ("backbone", "ours")}
    found["TRL", THEIRS] = take("TRL", THEIRS)
    excess = {(s, n): mib - found["backbone", n] for (s, n), mib in found.items() if s != "backbone"}
    rows = [Row(f"peak, {side}, {n} tokens", mib, "MiB") for (side, n), mib in found.items()]
    rows = [*([] if place.on_cpu else place.rows(0)), *rows]
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


def device_peak(place: Place, side: str, tokens: int) -> float:
    """Return the peak memory in MiB that the allocator of a GPU gives out during one pass of a side."""
    gc.collect()  # what an earlier side left in cycles
    torch.cuda.empty_cache()
    model = place.make_model() if place.model is not None else place.put(update.model_of(**SIZES))
    episodes = EPISODES if place.model is None else LARGE_EPISODES
    batch = update.case_of(model, [tokens - update.PROMPT] * episodes)
    torch.cuda.reset_peak_memory_stats(place.device)
    SIDES[side](model, batch)
    return torch.cuda.max_memory_allocated(place.device) / 2**20


def our_pass(model: Any, batch: Any) -> None:
    """Run forward and backward as GRPO does, all episodes in one microbatch."""
    agent = update.our_agent(model)
    agent._accumulate(batch, agent.recipe.loss, float(batch.weight_NT.sum()))


def trl_pass(model: Any, batch: Any) -> None:
    """Run forward and backward of TRL's loss."""
    trainer = update.trl_trainer(model)
    trainer._compute_loss(trainer.model, update.trl_inputs(batch)).backward()


SIDES: dict[str, Callable[[Any, Any], None]] = {
    "ours": our_pass,
    "TRL": trl_pass,
    "backbone": lambda model, batch: update.backbone_passes(model, batch)(),
}


def main(side: str, tokens: int) -> None:
    """Run one pass and print the peak of this process in MiB."""
    torch.set_num_threads(update.THREADS)
    model = update.model_of(**SIZES)
    SIDES[side](model, update.case_of(model, [tokens - update.PROMPT] * EPISODES))
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
