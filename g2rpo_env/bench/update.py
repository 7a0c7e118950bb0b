"""``g2rpo-env bench update``: one gradient step, beside TRL's loss with the same optimiser on the same batch."""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from g2rpo_env.agents import GRPO, CausalLMPolicy
from g2rpo_env.agents.batch import Batch
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.bench.device import Cost, Place
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.episode import Role
from g2rpo_env.errors import MissingDependencyError
from g2rpo_env.tokenizer import char_tokenizer

THREADS = 2
PROMPT = 16
"""Tokens of each prompt."""
SIZES = {"vocab_size": 8192, "hidden_size": 384, "num_hidden_layers": 10}
"""A model of 21 M parameters."""
CASES = {"equal": [112] * 8, "spread 1:8": [24, 48, 72, 96, 120, 144, 168, 192]}
"""Name -> sampled tokens of each episode."""
LARGE_CASES = {"equal": [256] * 32, "spread 1:8": [64 * (1 + row % 8) for row in range(32)]}
"""The same for a model of :data:`~g2rpo_env.bench.device.MODELS`."""
CHECKED = 8
"""Episodes on which both sides are first compared in single precision."""
TOLERANCE = 1e-4
"""Largest difference between the losses of both sides."""


def bench_update(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return the seconds of a gradient step of ours and of TRL's, and of the backbone alone, which nobody can beat.

    Raises:
        AssertionError: the losses of both sides differ.
        MissingDependencyError: TRL is missing.
    """
    rows = place.prepare(THREADS)
    cases = CASES if place.model is None else LARGE_CASES
    for name, lengths in cases.items():
        model = place.put(make_model(**SIZES)) if place.model is None else place.make_model()
        case = make_case(model, lengths)
        check_losses(model, case)
        ours, theirs = make_our_step(copy.deepcopy(model), case), make_trl_step(copy.deepcopy(model), case)
        ours(), theirs()  # the first step of both warms them up
        sides = {"ours": ours, "TRL": theirs, "backbone": make_backbone_passes(model, case)}
        taken = time_sides(sides, repeats, place)
        title = f"{name} lengths, {THREADS} threads" if place.on_cpu else f"{name} lengths"
        rows += [Measurement(f"update, {title}: {side}", seconds, "s") for side, seconds in taken.items()]
        rows.append(Measurement(f"TRL / ours, {title}", taken["TRL"] / taken["ours"], "ratio"))
        rows.append(Measurement(f"TRL / backbone alone, {title}: ceiling", taken["TRL"] / taken["backbone"], "ratio"))
        work = Cost(model).count_update(case.mask_NT.sum(-1).cpu().numpy(), int((case.weight_NT > 0).sum()))
        for side in ("ours", "TRL"):
            rows += place.get_shares(f"update, {title}: {side}", taken[side], work)
    return rows


def time_sides(sides: dict[str, Callable[[], Any]], repeats: int, place: Place) -> dict[str, float]:
    """Return the median seconds of each side; they take turns, so that other work of the machine hits all alike."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, work in sides.items():
            started = place.read_clock()
            work()
            taken[name].append(place.read_clock() - started)
            place.note(name, taken[name][-1], "s")
    return {name: statistics.median(values) for name, values in taken.items()}


def check_losses(model: Any, batch: Batch) -> None:
    """Raise AssertionError unless both sides have the same loss on some of the batch in single precision.

    Numbers of 16 bits are rounded in other places by either side.
    """
    rows = torch.arange(min(CHECKED, len(batch)), device=batch.mask_NT.device)
    part = batch.take(rows)
    losses = [make(copy.deepcopy(model).float(), part)() for make in (make_our_step, make_trl_step)]
    check_same_loss(*losses)


def check_same_loss(ours: float, theirs: float) -> None:
    """Raise AssertionError unless both losses are the same."""
    assert abs(ours - theirs) <= TOLERANCE * max(1.0, abs(theirs)), f"loss {ours} of ours, {theirs} of TRL's"


def make_model(vocab_size: int, hidden_size: int, num_hidden_layers: int) -> Any:
    """Return a Qwen3 with random weights and tied embeddings."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 8 // 3,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=hidden_size // 4,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).eval()


def make_case(model: Any, lengths: Sequence[int]) -> Batch:
    """Return a batch of random tokens whose old log-probabilities lie near those of a random policy."""
    random = torch.Generator().manual_seed(0)
    rows, width = len(lengths), PROMPT + max(lengths)
    size = model.config.vocab_size
    mask = torch.arange(width) < PROMPT + torch.tensor(lengths)[:, None]
    sampled = mask & (torch.arange(width) >= PROMPT)
    noise = 0.1 * torch.randn(rows, width, generator=random)
    advantage = torch.randn(rows, 1, generator=random)
    batch = Batch(
        tokens_NT=torch.randint(2, size, (rows, width), generator=random) * mask,
        mask_NT=mask,
        role_NT=torch.where(sampled, Role.SAMPLED, Role.PROMPT).to(torch.int8),
        old_log_probs_NT=(noise - float(np.log(size))) * sampled,
        advantage_NT=advantage.expand(rows, width),
        weight_NT=sampled / sampled.sum(-1, keepdim=True),
    )
    given = {field.name: getattr(batch, field.name) for field in fields(batch)}
    moved: dict[str, Any] = {name: None if value is None else value.to(model.device) for name, value in given.items()}
    return Batch(**moved)


def make_our_agent(model: Any) -> GRPO:
    """Return an agent that trains the model; its environment is never stepped."""
    policy = CausalLMPolicy(model, char_tokenizer())
    policy.vocab_size = model.config.vocab_size  # all of the head takes part, as on the other side
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, group_size=2, tokenizer=policy.tokenizer)
    return GRPO(policy, envs, recipe=Recipe(optimizer=Optimizer(learning_rate=1e-6)))


def make_our_step(model: Any, batch: Batch) -> Callable[[], float]:
    """Return a function that takes one gradient step of ours and returns its loss."""
    agent = make_our_agent(model)
    return lambda: float(agent.learner._step(batch)["loss"])


def make_trl_step(model: Any, batch: Batch) -> Callable[[], float]:
    """Return a function that takes one gradient step with TRL's loss and returns that loss."""
    trainer, inputs = make_trl_trainer(model), get_trl_inputs(batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0.0, fused=True)

    def step() -> float:
        loss = trainer._compute_loss(trainer.model, inputs)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def make_trl_trainer(model: Any) -> Any:
    """Return TRL's trainer with our settings: single precision, no checkpointing, mean of episodes, no KL term."""
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise MissingDependencyError("bench update needs trl: install g2rpo-env[benchmark]") from error
    from datasets import Dataset

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        loss_type="grpo",
        beta=0.0,
        temperature=1.0,
        bf16=False,
        use_cpu=model.device.type == "cpu",
        gradient_checkpointing=False,
        disable_dropout=True,
        optim="adamw_torch_fused",
        per_device_train_batch_size=2,
        num_generations=2,
        report_to=[],
    )
    trainer: Any = GRPOTrainer(
        model=model,
        reward_funcs=_no_reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["1+1="] * 4}),
        processing_class=char_tokenizer(),
    )
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    return trainer


def _no_reward(completions: list[Any], **_: Any) -> list[float | None]:
    return [0.0] * len(completions)


def get_trl_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Return the batch as TRL's loss takes it: prompts and completions apart."""
    return {
        "prompt_ids": batch.tokens_NT[:, :PROMPT],
        "prompt_mask": batch.mask_NT[:, :PROMPT].long(),
        "completion_ids": batch.tokens_NT[:, PROMPT:],
        "completion_mask": batch.mask_NT[:, PROMPT:].long(),
        "advantages": batch.advantage_NT[:, 0],
        "old_per_token_logps": batch.old_log_probs_NT[:, PROMPT:],
    }


def make_backbone_passes(model: Any, batch: Batch) -> Callable[[], None]:
    """Return a function that runs the layers forward and backward over our microbatches, without head and loss."""

    def run() -> None:
        for part in batch.microbatches():
            model.base_model(input_ids=part.tokens_NT, use_cache=False).last_hidden_state.sum().backward()
        model.zero_grad(set_to_none=True)

    return run
