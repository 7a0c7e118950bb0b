"""``g2rpo-env bench step``: a whole step of GRPO (rollout, verdicts, update) beside TRL's GRPOTrainer.

Both sides train a copy of the same model with the same settings and write the same number of tokens: lengths are
given. Verdicts come from one and the same verifier, which is right about half of the time, so that groups have signal.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents import GRPO
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.agents.trl import problem_dataset, verifier_reward
from g2rpo_env.bench import update
from g2rpo_env.bench.device import Place
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.bench.rollout import EQUAL, GROUP, LANES, THREADS, Case, EndAt, draw_lengths, get_compiled_side
from g2rpo_env.errors import MissingDependencyError
from g2rpo_env.problem import Problem
from g2rpo_env.verdict import Outcome, Verdict

LARGE_EQUAL = 128
"""Tokens of each episode where all are equally long, for a model of :data:`~g2rpo_env.bench.device.MODELS`."""
LEARNING_RATE = 1e-5
STEPS = 3
"""Steps of each side in a round; the first one does not count."""


def judge_parity(problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
    """Return CORRECT where the code points of a completion have an even sum: a verdict as cheap as a lookup."""
    return [Verdict(Outcome.WRONG if sum(map(ord, text)) % 2 else Outcome.CORRECT) for text in completions]


def bench_step(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return the seconds of a step of ours and of TRL's, and their ratio.

    Raises:
        AssertionError: the sides have other losses on the same batch, or write other numbers of tokens.
        MissingDependencyError: TRL is missing.
    """
    rows = place.prepare(THREADS)
    equal, spread, policy = np.full(LANES, EQUAL), draw_lengths(LANES), None
    if place.model is not None:
        policy = place.make_policy()
        equal = np.full(LANES, LARGE_EQUAL)
    for name, lengths in {"equal": equal, "spread": spread}.items():
        case = Case(lengths, LANES, policy, place)
        case.envs.unwrapped.task.verifier = judge_parity  # type: ignore[attr-defined]
        check_same_loss(case)
        sides = {"ours": make_our_steps(case), "TRL": make_trl_steps(case)}
        if get_compiled_side(case):
            sides["ours, compiled"] = make_our_steps(case, compile=True)
            sides["ours, compiled"]()
        taken: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(repeats):
            for side, work in sides.items():
                taken[side] += work()
        medians = {side: statistics.median(seconds) for side, seconds in taken.items()}
        title = f"step of {LANES} episodes, {name} lengths" + (f", {THREADS} threads" if place.on_cpu else "")
        rows += [Measurement(f"{title}: {side}", seconds, "s") for side, seconds in medians.items()]
        rows += [
            Measurement(f"{title}: TRL / {side}", medians["TRL"] / seconds, "ratio")
            for side, seconds in medians.items()
            if side != "TRL"
        ]
    return rows


def check_same_loss(case: Case) -> None:
    """Raise AssertionError unless both sides have the same loss on the same batch, before and after a step.

    In single precision: numbers of 16 bits are rounded in other places by either side.
    """
    model = copy.deepcopy(case.policy.model).float()
    batch = update.make_case(model, [5, 9, 3, 7])
    steps = [make(copy.deepcopy(model), batch) for make in (update.make_our_step, update.make_trl_step)]
    for _ in range(2):
        update.check_same_loss(*(step() for step in steps))


def make_our_steps(case: Case, *, compile: bool = False) -> Callable[[], list[float]]:
    """Return a function that takes some steps of ours and returns the seconds of all but the first."""
    policy = copy.copy(case.policy)
    policy.model, policy.compile = copy.deepcopy(case.policy.model), compile
    envs: Any = case.envs.unwrapped
    agent = GRPO(policy, case.envs, recipe=Recipe(optimizer=Optimizer(learning_rate=LEARNING_RATE)))

    def run() -> list[float]:
        # Lengths go by group and member, and every update shall have those of the first.
        taken = []
        for _ in range(STEPS):
            envs.load_state_dict({"root": 0, "counter": 0, "open": {}})
            started = case.place.read_clock()
            metrics = agent.update()
            taken.append(case.place.read_clock() - started)
            assert metrics["sampled_tokens"] == case.length.sum(), "ours did not keep the given lengths"
            assert metrics["groups_with_signal"] > 0
        return taken[1:]

    return run


def make_trl_steps(case: Case) -> Callable[[], list[float]]:
    """Return a function that takes some steps of TRL's trainer and returns the seconds of all but the first."""
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise MissingDependencyError("bench step needs trl: install g2rpo-env[benchmark]") from error
    from transformers import PrinterCallback, TrainerCallback

    model: Any = copy.deepcopy(case.policy.model)
    task = case.envs.unwrapped.task  # type: ignore[attr-defined]
    give_lengths(model, case)
    reward, written, taken = verifier_reward(task), [0], [0.0]

    def count_and_reward(completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float | None]:
        written[0] = sum(map(len, completion_ids))
        return reward(completion_ids, **columns)

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            taken[-1] -= case.place.read_clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            taken[-1] += case.place.read_clock()
            taken.append(0.0)

    def run() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            config = GRPOConfig(
                output_dir=str(Path(folder)),
                max_steps=STEPS,
                per_device_train_batch_size=LANES,
                num_generations=GROUP,
                max_completion_length=task.max_new_tokens,
                learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant",
                loss_type="grpo",
                beta=0.0,
                temperature=1.0,
                bf16=False,
                use_cpu=case.place.on_cpu,
                gradient_checkpointing=False,
                disable_dropout=True,
                optim="adamw_torch_fused",
                logging_strategy="no",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            )
            trainer: Any = GRPOTrainer(
                model=model,
                reward_funcs=count_and_reward,
                args=config,
                train_dataset=problem_dataset(task, LANES),
                processing_class=case.policy.tokenizer,
                callbacks=[Clock()],
            )
            trainer.remove_callback(PrinterCallback)
            taken[:] = [0.0]
            trainer.train()
        assert written[0] == case.length.sum(), "TRL did not keep the given lengths"
        return taken[1:-1]

    return run


def give_lengths(model: Any, case: Case) -> None:
    """Make ``model.generate`` write answers of the case's lengths."""
    length, end = torch.from_numpy(case.length).to(model.device), case.policy.tokenizer.eos_token_id
    original = model.generate

    def generate(*, input_ids: torch.Tensor, **options: Any) -> Any:
        return original(input_ids=input_ids, logits_processor=[EndAt(length, input_ids.shape[1], end)], **options)

    model.generate = generate
