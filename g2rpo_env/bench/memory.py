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
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.errors import ConfigurationError

SIZES = {"vocab_size": 151_936, "hidden_size": 256, "num_hidden_layers": 4}
EPISODES = 16
LARGE_EPISODES = 8
"""Episodes for a model of :data:`~g2rpo_env.bench.device.MODELS`."""
LENGTHS = (256, 1024, 2048)
"""Tokens per episode."""
THEIRS = 1024
"""The length at which TRL is measured."""


def bench_memory(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return the memory that log-probabilities and loss take beyond the backbone; each peak, which repeats well, once.

    Raises:
        ConfigurationError: another model or dtype on the processor.
    """
    if place.on_cpu and (place.model is not None or place.dtype != "float32"):
        raise ConfigurationError(f"model={place.model!r} and dtype={place.dtype!r} of bench memory need a GPU")
    take = measure_peak if place.on_cpu else partial(measure_device_peak, place)
    found = {(side, n): take(side, n) for n in LENGTHS for side in ("backbone", "ours")}
    found["TRL", THEIRS] = take("TRL", THEIRS)
    excess = {(s, n): mib - found["backbone", n] for (s, n), mib in found.items() if s != "backbone"}
    rows = [Measurement(f"peak, {side}, {n} tokens", mib, "MiB") for (side, n), mib in found.items()]
    rows = [*([] if place.on_cpu else place.prepare(0)), *rows]
    rows += [
        Measurement(f"excess over the backbone, {side}, {n} tokens", mib, "MiB") for (side, n), mib in excess.items()
    ]
    shortest, longest = LENGTHS[0], LENGTHS[-1]
    growth = excess["ours", longest] / excess["ours", shortest]
    rows.append(Measurement(f"excess of ours, {longest} / {shortest} tokens", growth, "ratio"))
    rows.append(
        Measurement(f"peak, ours / TRL, {THEIRS} tokens", found["ours", THEIRS] / found["TRL", THEIRS], "ratio")
    )
    rows.append(
        Measurement(f"excess, ours / TRL, {THEIRS} tokens", excess["ours", THEIRS] / excess["TRL", THEIRS], "ratio")
    )
    return rows


def measure_peak(side: str, tokens: int) -> float:
    """Return the peak memory in MiB of a process that runs one pass of a side.

    Raises:
        ConfigurationError: the process failed; the message ends as its output does.
    """
    command = [sys.executable, "-m", __name__, side, str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ConfigurationError(f"side={side!r} with {tokens} tokens did not finish: {done.stderr[-500:]}")
    return float(done.stdout.split()[-1])


def measure_device_peak(place: Place, side: str, tokens: int) -> float:
    """Return the peak memory in MiB that the allocator of a GPU gives out during one pass of a side."""
    gc.collect()  # what an earlier side left in cycles
    torch.cuda.empty_cache()
    model = place.make_model() if place.model is not None else place.put(update.make_model(**SIZES))
    episodes = EPISODES if place.model is None else LARGE_EPISODES
    batch = update.make_case(model, [tokens - update.PROMPT] * episodes)
    torch.cuda.reset_peak_memory_stats(place.device)
    SIDES[side](model, batch)
    return torch.cuda.max_memory_allocated(place.device) / 2**20


def run_our_pass(model: Any, batch: Any) -> None:
    """Run forward and backward as GRPO does, all episodes in one microbatch."""
    agent = update.make_our_agent(model)
    agent.learner._accumulate(batch, agent.recipe.loss, float(batch.weight_NT.sum()))


def run_trl_pass(model: Any, batch: Any) -> None:
    """Run forward and backward of TRL's loss."""
    trainer = update.make_trl_trainer(model)
    trainer._compute_loss(trainer.model, update.get_trl_inputs(batch)).backward()


SIDES: dict[str, Callable[[Any, Any], None]] = {
    "ours": run_our_pass,
    "TRL": run_trl_pass,
    "backbone": lambda model, batch: update.make_backbone_passes(model, batch)(),
}


def main(side: str, tokens: int) -> None:
    """Run one pass and print the peak of this process in MiB."""
    torch.set_num_threads(update.THREADS)
    model = update.make_model(**SIZES)
    SIDES[side](model, update.make_case(model, [tokens - update.PROMPT] * EPISODES))
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
