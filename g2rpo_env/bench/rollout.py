"""``g2rpo-env bench rollout``: rollouts beside Hugging Face's ``generate`` with the same sampling.

Both sides write the same number of tokens after the same prompts, alternately in one process; a figure is the median of
the rounds. Lengths are given: the end token is written when an episode has its length, and never before.
"""

from __future__ import annotations

import copy
import shutil
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.policy.decoder import Decoder
from g2rpo_env.agents.policy.fast_decoder import FastDecoder
from g2rpo_env.agents.policy.kv_cache import growing_cache
from g2rpo_env.bench.device import Cost, Place, Work
from g2rpo_env.bench.measurement import Measurement

THREADS = 2
LANES, GROUP = 64, 8
EQUAL = 64
"""Tokens of each episode where all are equally long."""
EPISODES, MEAN, SHORTEST, LONGEST = 256, 30, 16, 128
"""Where lengths are spread: clip(geometric(mean), shortest, longest)."""
LARGE_EQUAL, LARGE_EPISODES, LARGE_LONGEST = 64, 128, 64
"""The same for a model of :data:`~g2rpo_env.bench.device.MODELS`, few enough for a minute with all sides."""
OTHER = 90
"""Token that is written where an end token was sampled too early."""


class GivenLengths(gym.vector.VectorWrapper):
    """Gives every episode its length, and measures the time inside the environment.

    Args:
        env: A TokenVectorEnv.
        lengths: Length by (group, member), with the end token.
    """

    def __init__(self, env: gym.vector.VectorEnv, lengths: Mapping[tuple[int, int], int]) -> None:
        super().__init__(env)
        self.lengths = lengths
        self.left = np.zeros(env.num_envs, np.int64)
        self.seconds = 0.0
        self.end = env.unwrapped.task.eos_token_id  # type: ignore[attr-defined]

    def reset(self, **options: Any) -> Any:
        """Reset, and look up the lengths of the episodes that start."""
        started = time.perf_counter()
        observation, info = self.env.reset(**options)
        self.seconds += time.perf_counter() - started
        for lane in np.flatnonzero(info["_group"]):
            self.left[lane] = self.lengths[int(info["group"][lane]), int(info["member"][lane])]
        return observation, info

    def step(self, actions: np.ndarray) -> Any:
        """Step with the end token exactly where an episode has its length."""
        actions = np.where(actions == self.end, OTHER, actions)
        actions[self.left == 1] = self.end
        self.left -= 1
        started = time.perf_counter()
        out = self.env.step(actions)
        self.seconds += time.perf_counter() - started
        return out


class Case:
    """A model, its environment and the lengths of the episodes.

    Args:
        lengths: Length of each episode, in the order in which they start; a multiple of ``lanes``.
        lanes: Lanes, and rows of a batch of ``generate``.
        policy: A policy of a large model; None for the tiny one.
        place: Where it runs.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        lanes: int = LANES,
        policy: CausalLMPolicy | None = None,
        place: Place = Place(),  # noqa: B008, it is frozen
    ) -> None:
        self.length, self.lanes, self.groups, self.place = lengths, lanes, len(lengths) // GROUP, place
        base = gym.make_vec(
            "g2rpo_env/Addition-v0",
            num_envs=lanes,
            group_size=GROUP,
            digits=3,
            max_new_tokens=int(lengths.max()),
            tokenizer=None if policy is None else policy.tokenizer,
            copy=False,
        )
        by_key = {(i // GROUP, i % GROUP): int(length) for i, length in enumerate(lengths)}
        self.envs = GivenLengths(base, by_key)
        if policy is None:
            policy = CausalLMPolicy.tiny(base, seed=0)
            place.put(policy.model)
        self.policy = policy
        self.prompts = self._prompts(base.unwrapped)
        self._ways: dict[tuple[bool, bool, bool], CausalLMPolicy] = {}

    def _prompts(self, base: Any) -> torch.Tensor:
        """Return the prompts of all episodes, int64 (episodes, T); with three digits they are equally long."""
        problems = [base.task.source.draw(0, group) for group in range(self.groups)]
        rows = [base.task.start(problem, 0).tokens_T for problem in problems for _ in range(GROUP)]
        return torch.from_numpy(np.stack(rows).astype(np.int64)).to(self.policy.device)

    def run_ours(self, own: bool, *, refill: bool = True, compile: bool = False, graphs: bool = True) -> int:
        """Collect all episodes and return the number of tokens written."""
        policy = self.get_policy(own, compile, graphs)
        return collect(policy, self.envs, seed=0, groups=self.groups, refill=refill).sampled_tokens

    def get_policy(self, own: bool, compile: bool = False, graphs: bool = True) -> CausalLMPolicy:
        """Return the policy that steps in one way: a copy, so that each way keeps its own graphs."""
        key = own, compile, graphs
        if key not in self._ways:
            policy = self._ways[key] = copy.copy(self.policy)
            policy.own_decoder, policy.compile, policy.cuda_graphs = key
        return self._ways[key]

    def get_work(self, steps: int) -> Work:
        """Return the work of all episodes in some steps."""
        return Cost(self.policy.model).count_decoding(self.prompts.shape[1], self.length, steps)

    def run_theirs(self) -> int:
        """Let ``generate`` write the episodes, a batch of as many as there are lanes at a time."""
        written = 0
        for begin in range(0, len(self.length), self.lanes):
            prompts, length = self.prompts[begin : begin + self.lanes], self.length[begin : begin + self.lanes]
            written += self._generate(prompts, torch.from_numpy(length).to(prompts.device))
        return written

    @torch.inference_mode()
    def _generate(self, prompts: torch.Tensor, length: torch.Tensor) -> int:
        end, width = self.policy.tokenizer.eos_token_id, prompts.shape[1]
        longest = int(length.max())
        model: Any = self.policy.model
        out = model.generate(
            prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=longest,
            do_sample=True,
            temperature=self.policy.temperature,
            top_k=0,
            top_p=1.0,
            eos_token_id=end,
            pad_token_id=end,
            logits_processor=[EndAt(length, width, end)],
        )
        ended = (out[:, width:] == end).int().argmax(1) + 1
        assert torch.equal(ended, length), "generate did not keep the given lengths"
        return int(ended.sum())

    @torch.inference_mode()
    def run_forward(self, own: bool | None) -> int:
        """Step the lanes through given tokens without sampling or environment; None is the plain forward."""
        tokens = np.random.default_rng(0).integers(2, 200, (self.lanes, self.prompts.shape[1] + int(self.length.max())))
        tokens[:, : self.prompts.shape[1]] = self.prompts[: self.lanes].cpu()
        lanes = np.arange(self.lanes)
        ends = range(self.prompts.shape[1], tokens.shape[1])
        if own is None:
            ids, model = torch.from_numpy(tokens).to(self.policy.device), self.policy.model
            cache = growing_cache(model.config)
            for end in ends:
                begin = 0 if end == ends[0] else end - 1
                model(input_ids=ids[:, begin:end], past_key_values=cache, use_cache=True, logits_to_keep=1)
        else:
            policy = self.get_policy(own)
            decoder = policy.decoder(self.lanes)
            for end in ends:
                decoder.advance(tokens, np.full(self.lanes, end), lanes)
            policy.keep(decoder)
        return self.lanes * len(ends)


class EndAt:
    """A logits processor of ``generate``: the end token is written at a row's length, and never before.

    Args:
        length_N: int64, new tokens of each row with the end token.
        width: Tokens of the prompts.
        end: The end token.
    """

    def __init__(self, length_N: torch.Tensor, width: int, end: int) -> None:
        self.length_N, self.width, self.end = length_N, width, end

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (N, V) that are sampled from."""
        scores[:, self.end] = -torch.inf
        ends = self.length_N == ids.shape[1] - self.width + 1
        scores[ends] = -torch.inf
        scores[ends, self.end] = 0.0
        return scores


def draw_lengths(episodes: int = EPISODES, seed: int = 0) -> np.ndarray:
    """Return lengths clip(geometric(mean 30), 16, 128), int64."""
    return np.random.default_rng(seed).geometric(1 / MEAN, episodes).clip(SHORTEST, LONGEST)


TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Largest difference between log-probabilities of the paths; 0.1 for dtypes of 8 to 11 bits."""


def check_same_computation(case: Case) -> None:
    """Raise AssertionError unless both paths have the same logits and both sides write as many tokens."""
    tokens, policy = case.prompts.cpu().numpy(), case.policy
    lanes, length = np.arange(case.lanes), np.full(case.lanes, tokens.shape[1])
    with torch.inference_mode():
        wanted = policy.log_probs(policy.model(case.prompts[: case.lanes]).logits[:, -1])
    for own in (FastDecoder, Decoder):
        got = policy.log_probs(own(policy.model, case.lanes).advance(tokens[: case.lanes], length, lanes))
        assert float((got - wanted).abs().max()) < TOLERANCE.get(policy.model.dtype, 0.1), own.__name__
    wanted_tokens = int(case.length.sum())
    assert case.run_ours(True) == case.run_ours(False) == case.run_theirs() == wanted_tokens


def alternate(sides: Mapping[str, Callable[[], int]], repeats: int, place: Place) -> dict[str, float]:
    """Run the sides in turn and return the median of each one's tokens per second."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            started = place.read_clock()
            tokens = run()
            rates[name].append(tokens / (place.read_clock() - started))
            place.note(name, rates[name][-1], "tokens/s")
    return {name: statistics.median(values) for name, values in rates.items()}


def bench_rollout(repeats: int, place: Place = Place()) -> list[Measurement]:  # noqa: B008, it is frozen
    """Return tokens per second of both decode paths and of ``generate``, their ratios and the ceilings."""
    rows = place.prepare(THREADS)
    equal, spread = np.full(LANES, EQUAL), draw_lengths()
    policy = None
    if place.model is not None:
        policy = place.make_policy()
        equal, spread = np.full(LANES, LARGE_EQUAL), draw_lengths(LARGE_EPISODES).clip(max=LARGE_LONGEST)
    rows += measure_equal(Case(equal, LANES, policy, place), repeats)
    rows += measure_spread(Case(spread, LANES, policy, place), repeats)
    return rows


def measure_equal(case: Case, repeats: int) -> list[Measurement]:
    """Return the measurements of episodes of equal length."""
    check_same_computation(case)
    shares: list[float] = []

    def run_own() -> int:
        case.envs.seconds, started = 0.0, time.perf_counter()
        tokens = case.run_ours(True)
        shares.append(case.envs.seconds / (time.perf_counter() - started))
        return tokens

    rates = alternate(
        {
            "generate": case.run_theirs,
            "any-model path": lambda: case.run_ours(False),
            "own path": run_own,
            **get_other_sides(case),
            "forward alone": lambda: case.run_forward(None),
            "own path without sampling and environment": lambda: case.run_forward(True),
        },
        repeats,
        case.place,
    )
    title = f"{case.lanes} lanes, {int(case.length[0])} tokens each"
    work = case.get_work(int(case.length[0]))
    return [
        *get_rates(title, rates),
        Measurement("environment / rollout, own path", statistics.median(shares), "ratio"),
        *get_shares(case, title, rates, work),
    ]


def get_shares(case: Case, title: str, rates: dict[str, float], work: Work) -> list[Measurement]:
    """Return the shares of the device's peaks that each side reached."""
    tokens, share = int(case.length.sum()), case.place.get_shares
    return [row for name, rate in rates.items() for row in share(f"{title}: {name}", tokens / rate, work)]


def get_other_sides(case: Case) -> dict[str, Callable[[], int]]:
    """Return the own path without CUDA graphs, where it has them, and compiled, all warmed up."""
    sides = get_compiled_side(case)
    if not case.place.on_cpu:
        sides["own path without CUDA graphs"] = lambda: case.run_ours(True, graphs=False)
        for run in [lambda: case.run_ours(True), *sides.values()]:
            run()  # a size is captured when it comes for the second time
    return sides


def get_compiled_side(case: Case) -> dict[str, Callable[[], int]]:
    """Return the compiled own path, already compiled; empty where torch.compile finds no C++ compiler."""
    if not case.place.compiled or (case.place.on_cpu and not any(map(shutil.which, ("g++", "clang++", "cl")))):
        return {}
    case.run_ours(True, compile=True)
    return {"own path, compiled": lambda: case.run_ours(True, compile=True)}


def measure_spread(case: Case, repeats: int) -> list[Measurement]:
    """Return the measurements of more episodes than lanes, of spread lengths."""
    check_same_computation(case)
    rates = alternate(
        {
            "generate": case.run_theirs,
            "any-model path": lambda: case.run_ours(False),
            "own path": lambda: case.run_ours(True),
            **get_other_sides(case),
            "own path without refill": lambda: case.run_ours(True, refill=False),
        },
        repeats,
        case.place,
    )
    waves = int(case.length.reshape(-1, case.lanes).max(1).sum())
    title = f"{len(case.length)} episodes on {case.lanes} lanes, lengths spread"
    return [
        *get_rates(title, rates),
        Measurement(f"{title}: steps in batches / fewest steps", waves / count_fewest_steps(case), "ratio"),
        *get_shares(case, title, rates, case.get_work(count_fewest_steps(case))),
    ]


def count_fewest_steps(case: Case) -> int:
    """Return the steps that refill takes, in the order in which the episodes start."""
    free = np.zeros(case.lanes, np.int64)
    for length in case.length:
        free[free.argmin()] += length
    return int(free.max())


def get_rates(title: str, rates: dict[str, float]) -> list[Measurement]:
    """Return the rates, and the ratio of each to that of ``generate``."""
    rows = [Measurement(f"{title}: {name}", rate, "tokens/s") for name, rate in rates.items()]
    base = rates["generate"]
    return rows + [
        Measurement(f"{title}: {name} / generate", rate / base, "ratio")
        for name, rate in rates.items()
        if name != "generate"
    ]
