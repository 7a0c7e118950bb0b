"""Generators: strategies that let something else write the answers, Hugging Face's ``generate`` or a vLLM server.

What they write is replayed through the environment, token by token, so that rewards, verdicts, ends and budgets are the
environment's, and the records those of :class:`~g2rpo_env.agents.parts.strategies.Rollout`. The replay is checked: one
answer per lane, each to its end, with the log-probabilities that the policy itself gives to its tokens.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.parts.options import check_types
from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.policy.loading import count_logits
from g2rpo_env.agents.rollout import EpisodeRecorder, fit_policy, sampling_stream, token_vector_env
from g2rpo_env.episode import Episode, Groups, group_episodes
from g2rpo_env.errors import ConfigurationError, GenerationError
from g2rpo_env.streams import stream
from g2rpo_env.tokenizer import unused_ids
from g2rpo_env.vector import TokenVectorEnv

CHECKED = 8
"""Episodes whose log-probabilities are computed again."""


@dataclass(frozen=True)
class Beginning:
    """Beginning that a generator continues.

    Attributes:
        tokens_T: int64 (T,), prompt and revealed tokens.
        group: Number of the group.
        member: Position in the group.
        seed: int in [0, 2**63), from the stream that the episode's tokens are sampled from.
    """

    tokens_T: np.ndarray
    group: int
    member: int
    seed: int


@dataclass(frozen=True)
class Answer:
    """Continuation by a generator.

    Attributes:
        tokens_T: int (T,), the new tokens with the one that ends the answer; tokens after the end are ignored.
        logprob_T: float (T,), their log-probabilities under the sampling distribution.
    """

    tokens_T: np.ndarray
    logprob_T: np.ndarray


Writer = Callable[[CausalLMPolicy, TokenVectorEnv, list[Beginning]], Sequence[Answer]]


def replay(policy: CausalLMPolicy, envs: Any, write: Writer, tolerance: float | None) -> Groups:
    """Reset all lanes, let ``write`` continue them, step the environment through the answers and return the groups.

    Args:
        policy: The policy.
        envs: A TokenVectorEnv, wrapped or not, with autoreset_mode DISABLED.
        write: (policy, environment, starts) -> one answer per start.
        tolerance: Largest mean difference between the log-probabilities of the answers and the policy's; None
            does not compare.

    Raises:
        ConfigurationError: the environment replies to answers, which nobody can write ahead.
        GenerationError: answers are missing, unfinished, or have other log-probabilities than the policy gives them.
    """
    base = token_vector_env(envs)
    fit_policy(policy, envs)
    if base.task.reply is not None:
        raise ConfigurationError(
            f"reply={base.task.reply!r:.40} of the task must be None: what comes after a reply cannot be written "
            "ahead; strategy=Rollout() samples it"
        )
    _, info = envs.reset()
    recorder = EpisodeRecorder(base)
    lanes = np.flatnonzero(base.active)
    recorder.begin(lanes, info)
    starts = [_start(base, info, int(lane)) for lane in lanes]
    answers = list(write(policy, base, starts))
    if len(answers) != len(starts):
        raise GenerationError(f"the generator returned {len(answers)} answers for {len(starts)} episodes")
    begins = np.array([len(start.tokens_T) for start in starts])
    actions, step = np.zeros(base.num_envs, np.int64), 0
    while (running := np.flatnonzero(base.active[lanes])).size:
        for i in running:
            if step >= len(answers[i].tokens_T):
                raise GenerationError(
                    f"the answer to group={starts[i].group}, member={starts[i].member} stops after {step} tokens, "
                    "neither ended nor at its budget"
                )
            actions[lanes[i]] = answers[i].tokens_T[step]
        values = np.array([answers[i].logprob_T[step] for i in running], np.float32)
        recorder.record(lanes[running], begins[running] + step, values)
        _, reward, terminated, truncated, info = envs.step(actions)
        recorder.finish(np.flatnonzero(terminated | truncated), reward, terminated, info)
        step += 1
    if tolerance is not None:
        _compare(policy, recorder.episodes[:CHECKED], tolerance)
    return group_episodes(recorder.episodes)


def _start(base: TokenVectorEnv, info: dict[str, Any], lane: int) -> Beginning:
    group, member = int(info["group"][lane]), int(info["member"][lane])
    seed = int(sampling_stream(base.root_seed, group, member).integers(2**63))
    return Beginning(base.episode_tokens(lane)[0].astype(np.int64), group, member, seed)


@torch.inference_mode()
def _compare(policy: CausalLMPolicy, episodes: Sequence[Episode], tolerance: float) -> None:
    differences = []
    for episode in episodes:
        tokens = torch.from_numpy(episode.tokens_T.astype(np.int64))[None].to(policy.device)
        places = np.flatnonzero(episode.sampled_T)
        log_probs = policy.sampling_log_probs(policy.model(tokens, use_cache=False).logits[0, places - 1])
        own = log_probs.gather(1, tokens[0, places, None])[:, 0].cpu().numpy()
        differences.append(np.abs(own - episode.logprob_T[places]))
    mean = float(np.concatenate(differences).mean())
    if not mean <= tolerance:
        raise GenerationError(
            f"the generator's log-probabilities differ from the policy's by {mean:.3g} on average, more than "
            f"tolerance={tolerance}: it must have the policy's weights and report the distribution it samples from"
        )


def _check_tolerance(tolerance: float | None) -> None:
    if tolerance is not None and not tolerance > 0:
        raise ConfigurationError(f"tolerance={tolerance} must be None or above 0")


@dataclass(frozen=True)
class HuggingFace:
    """One episode per lane, written by ``model.generate`` with the policy's sampling options.

    It keeps the logits of all steps: lanes x tokens x vocabulary in the model's precision.

    Args:
        batch_size: Lanes per call, >= 1; None for all.
        tolerance: See :func:`replay`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    batch_size: int | None = None
    tolerance: float | None = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if self.batch_size is not None and self.batch_size < 1:
            raise ConfigurationError(f"batch_size={self.batch_size} must be None or at least 1")
        _check_tolerance(self.tolerance)

    def __call__(self, policy: CausalLMPolicy, envs: Any) -> Groups:
        """Return the groups of one update."""
        return replay(policy, envs, self._write, self.tolerance)

    @torch.no_grad()  # not inference_mode: generate may keep tensors for later calls
    def _write(self, policy: CausalLMPolicy, base: TokenVectorEnv, starts: list[Beginning]) -> list[Answer]:
        devices = [policy.device] if policy.device.type == "cuda" else []
        seed = int(stream(base.root_seed, "generate", starts[0].group).integers(2**63))
        answers: dict[int, Answer] = {}
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed)
            for rows in self._batches(policy, starts):
                written = generate(policy, base.task.max_new_tokens, [starts[i] for i in rows], base.end_tokens)
                answers |= zip(rows, written, strict=True)
        return [answers[i] for i in range(len(starts))]

    def _batches(self, policy: CausalLMPolicy, starts: Sequence[Beginning]) -> list[list[int]]:
        """Return which starts go through the model together: those of equal length where padding would disturb it."""
        order, size = list(range(len(starts))), self.batch_size or len(starts)
        levels = [order]
        if not policy.takes_padding:
            lengths = [len(start.tokens_T) for start in starts]
            levels = [[i for i in order if lengths[i] == length] for length in sorted(set(lengths))]
        return [level[begin : begin + size] for level in levels for begin in range(0, len(level), size)]


def generate(
    policy: CausalLMPolicy,
    max_new_tokens: int,
    starts: Sequence[Beginning],
    end_tokens: Collection[int] | None = None,
) -> list[Answer]:
    """Return the continuations of some starts by ``model.generate``, at torch's random state.

    Args:
        policy: The policy.
        max_new_tokens: Budget of each.
        starts: What is continued.
        end_tokens: Token ids of which each ends a continuation; None for those of the policy.
    """
    from transformers import GenerationConfig

    end, truncation = policy.tokenizer.eos_token_id, policy.truncation
    unused = unused_ids(policy.tokenizer).tolist()
    width = max(len(start.tokens_T) for start in starts)
    ids = torch.full((len(starts), width), end)
    mask = torch.zeros((len(starts), width), dtype=torch.int64)
    for row, start in enumerate(starts):
        ids[row, width - len(start.tokens_T) :] = torch.from_numpy(start.tokens_T)
        mask[row, width - len(start.tokens_T) :] = 1
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=True,
        temperature=policy.temperature,
        top_k=truncation.top_k or 0,
        top_p=1.0 if truncation.top_p is None else truncation.top_p,
        min_p=truncation.min_p or None,
        repetition_penalty=1.0,
        eos_token_id=sorted(policy.end_tokens if end_tokens is None else end_tokens),
        pad_token_id=end,
        return_dict_in_generate=True,
        output_logits=True,
    )

    def within_vocabulary(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, policy.vocab_size :] = -torch.inf
        scores[:, unused] = -torch.inf
        return scores

    padded = count_logits(policy.model) > policy.vocab_size or unused
    policy.model.eval()
    with _without_options_of_its_own(policy.model):
        out: Any = policy.model.generate(  # type: ignore[operator]
            ids.to(policy.device),
            attention_mask=mask.to(policy.device),
            generation_config=config,
            logits_processor=[within_vocabulary] if padded else None,
        )
    tokens = out.sequences[:, width:]
    columns = [policy.sampling_log_probs(logits).gather(1, tokens[:, i, None]) for i, logits in enumerate(out.logits)]
    rows = zip(tokens.cpu().numpy(), torch.cat(columns, dim=1).float().cpu().numpy(), strict=True)
    return [Answer(tokens_T, logprob_T) for tokens_T, logprob_T in rows]


@contextmanager
def _without_options_of_its_own(model: Any) -> Iterator[None]:
    """Within, a model has no generation options that would fill up those that are given.

    Tokens that it suppresses, a penalty or beams would give answers of another distribution than the recorded one.
    """
    from transformers import GenerationConfig

    holders = {id(holder): holder for holder in (model, lora.inner(model))}.values()
    before = [holder.generation_config for holder in holders]
    try:
        for holder in holders:
            holder.generation_config = GenerationConfig()
        yield
    finally:
        for holder, config in zip(holders, before, strict=True):
            holder.generation_config = config


@dataclass(frozen=True)
class VLLMServer:
    """One episode per lane, written by a vLLM server (0.10.2 or newer) through ``/v1/completions``.

    Start it with ``vllm serve FOLDER --logprobs-mode processed_logprobs``, so that it reports the distribution it
    samples from. Each episode is a request of its own with a seed of its own; the server batches them. It is for the
    caller to give the server new weights after an update; the comparison of log-probabilities notices old ones.

    Args:
        model: Name under which the server has the model.
        url: Where the server listens.
        connections: Requests at a time, >= 1.
        timeout: Seconds per request, > 0.
        tolerance: See :func:`replay`.

    Raises:
        ConfigurationError: an argument breaks its rule.
    """

    model: str
    url: str = "http://localhost:8000"
    connections: int = 64
    timeout: float = 600.0
    tolerance: float | None = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not self.url.startswith(("http://", "https://")):
            raise ConfigurationError(f"url={self.url!r} must begin with http:// or https://")
        if self.connections < 1:
            raise ConfigurationError(f"connections={self.connections} must be at least 1")
        if not self.timeout > 0:
            raise ConfigurationError(f"timeout={self.timeout} must be above 0")
        _check_tolerance(self.tolerance)

    def __call__(self, policy: CausalLMPolicy, envs: Any) -> Groups:
        """Return the groups of one update."""
        return replay(policy, envs, self._write, self.tolerance)

    def _write(self, policy: CausalLMPolicy, base: TokenVectorEnv, starts: list[Beginning]) -> list[Answer]:
        requests = [self.request(policy, base, start) for start in starts]
        with ThreadPoolExecutor(min(self.connections, len(requests))) as pool:
            return [read_answer(body) for body in pool.map(self._post, requests)]

    def request(self, policy: CausalLMPolicy, base: TokenVectorEnv, start: Beginning) -> dict[str, Any]:
        """Return the body of the request for one episode."""
        truncation = policy.truncation
        return {
            "model": self.model,
            "prompt": start.tokens_T.tolist(),
            "max_tokens": base.task.max_new_tokens,
            "temperature": policy.temperature,
            "top_k": truncation.top_k or 0,
            "top_p": 1.0 if truncation.top_p is None else truncation.top_p,
            "min_p": truncation.min_p or 0.0,
            "repetition_penalty": 1.0,
            "seed": start.seed,
            "stop": list(base.task.stop_strings),
            "stop_token_ids": sorted(base.end_tokens),
            "logprobs": 1,
            "return_token_ids": True,
            "skip_special_tokens": False,
        }

    def _post(self, body: dict[str, Any]) -> Any:
        url = f"{self.url.rstrip('/')}/v1/completions"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise GenerationError(f"{url} answered {error.code}: {error.read(500).decode(errors='replace')}") from None
        except (OSError, ValueError) as error:
            raise GenerationError(f"{url} could not be asked: {error}") from None


def read_answer(body: Any) -> Answer:
    """Return the answer in a response of vLLM's ``/v1/completions`` to one prompt.

    Raises:
        GenerationError: the response has not exactly one completion, was cut off, or lacks token ids or
            log-probabilities.
    """
    choices = body.get("choices", []) if isinstance(body, dict) else []
    if len(choices) != 1:
        raise GenerationError(f"the server returned {len(choices)} completions for one prompt")
    choice = choices[0]
    if choice.get("finish_reason") not in ("stop", "length"):
        raise GenerationError(f"finish_reason={choice.get('finish_reason')!r} of a completion must be stop or length")
    tokens, values = choice.get("token_ids"), (choice.get("logprobs") or {}).get("token_logprobs")
    if tokens is None or values is None:
        raise GenerationError("the server returned no token_ids or no logprobs: it must be vLLM 0.10.2 or newer")
    if len(tokens) != len(values):
        raise GenerationError(f"the server returned {len(tokens)} token_ids with {len(values)} token_logprobs")
    return Answer(np.array(tokens, np.int64), np.array(values, np.float32))
