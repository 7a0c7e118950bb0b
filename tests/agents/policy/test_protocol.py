"""Protocols: policies without a transformers model are sampled, evaluated and trained; CausalLMPolicy has it all."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, CausalLMPolicy, collect, evaluate
from g2rpo_env.agents.policy import protocol
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.rollout import sampling_stream
from g2rpo_env.tokenizer import char_tokenizer, decode, encode

VOCABULARY = len(char_tokenizer())
LETTERS = encode(char_tokenizer(), "abcd")[0].astype(np.int64)


class Sampling:
    """A policy for sampling that is its own decoder; a subclass has one method, the next logits."""

    def __init__(self) -> None:
        self.restarted: list[list[int]] = []
        self.kept: list[Any] = []

    def check_fits(self, envs: Any) -> None:
        pass

    def decoder(self, num_lanes: int) -> Sampling:
        return self

    def keep(self, decoder: Any) -> None:
        self.kept.append(decoder)

    def restart(self, lanes: np.ndarray) -> None:
        self.restarted.append(lanes.tolist())

    def advance(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
        return torch.stack([self.logits(tokens_NL[lane, : length_N[lane]]) for lane in lanes])

    def logits(self, tokens_T: np.ndarray) -> torch.Tensor:
        raise NotImplementedError

    def sampling_log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.log_softmax(logits, -1)


class Monkey(Sampling):
    """Writes a, b, c and d, each as likely."""

    def logits(self, tokens_T: np.ndarray) -> torch.Tensor:
        return torch.full((VOCABULARY,), -torch.inf).index_fill(0, torch.from_numpy(LETTERS), 0.0)


class Calculator(Sampling):
    """Writes the sum behind the mark."""

    def logits(self, tokens_T: np.ndarray) -> torch.Tensor:
        problem, _, written = decode(char_tokenizer(), tokens_T).partition("=")
        answer = encode(char_tokenizer(), f"#{sum(map(int, problem.split('+')))}")[0]
        token = answer[len(written)] if len(written) < len(answer) else char_tokenizer().eos_token_id
        return torch.zeros(VOCABULARY).index_fill(0, torch.tensor(int(token)), 9.0)


def test_each_token_is_where_the_stream_of_its_episode_meets_the_distribution(make_envs: Any) -> None:
    # Four letters of probability 1/4: the number u of a step lies in the quarter of letter floor(4 u).
    envs = make_envs(8, 4, max_new_tokens=10)
    groups = collect(Monkey(), envs, seed=5)
    assert len(groups.episodes) == 8
    for episode in groups.episodes:
        uniform_T = sampling_stream(envs.unwrapped.root_seed, episode.group, episode.member).random(10)
        assert episode.tokens_T[episode.sampled_T].tolist() == LETTERS[(4 * uniform_T).astype(int)].tolist()
        assert episode.logprob_T[episode.sampled_T] == pytest.approx(np.log(0.25), rel=1e-6)


def test_a_decoder_is_told_of_lanes_that_start_again_and_given_back_at_the_end(make_envs: Any) -> None:
    policy = Monkey()
    collect(policy, make_envs(4, 4, max_new_tokens=3), groups=2, seed=0)
    assert policy.restarted == [[0, 1, 2, 3]] and policy.kept == [policy]


def test_a_policy_without_a_model_is_evaluated(make_envs: Any, addition_verifier: Any) -> None:
    envs = make_envs(8, 4, digits=(1, 3), verifier=addition_verifier)
    assert evaluate(Calculator(), envs, problems=20).accuracy == 1
    assert evaluate(Monkey(), envs, problems=20).accuracy == 0


# -- training ----------------------------------------------------------------------------------------------------------


class Bigram(Sampling):
    """A table of logits of the next token given the last one, (V, V), and all that GRPO asks for."""

    temperature = 1.0
    tokenizer = char_tokenizer()
    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.model = torch.nn.Embedding(VOCABULARY, VOCABULARY)
        torch.nn.init.zeros_(self.model.weight)

    def logits(self, tokens_T: np.ndarray) -> torch.Tensor:
        return self.model.weight.detach()[int(tokens_T[-1])]

    def to(self, device: Any = None, dtype: str | None = None) -> Bigram:
        return self

    def token_log_probs(self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: Any = None) -> torch.Tensor:
        log_probs_NTV = torch.log_softmax(self.model(tokens_NT[:, :-1]), -1)
        picked_NT = log_probs_NTV.gather(-1, tokens_NT[:, 1:, None])[..., 0]
        return torch.nn.functional.pad(picked_NT, (1, 0)) * (mask_NT if where_NT is None else where_NT & mask_NT)

    def token_entropies(self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: torch.Tensor) -> torch.Tensor:
        return torch.zeros(tokens_NT.shape)

    def save_pretrained(self, folder: str | Path) -> None:
        torch.save(self.model.state_dict(), Path(folder) / "table.pt")

    def to_config(self) -> dict[str, Any]:
        return {}


def test_a_policy_without_a_transformers_model_is_trained(make_envs: Any) -> None:
    # Only rows of tokens that a sampled token follows have a gradient.
    policy = Bigram()
    agent = GRPO(policy, make_envs(16, 4), seed=0, optimizer=Optimizer(learning_rate=0.1, warmup=0))  # type: ignore[arg-type]
    agent.update()
    before_sampled = {int(e.tokens_T[t - 1]) for e in agent.groups.episodes for t in np.flatnonzero(e.sampled_T)}
    moved = set(torch.nonzero(policy.model.weight.detach().any(-1))[:, 0].tolist())
    assert moved and moved <= before_sampled < set(range(VOCABULARY))


# -- the policy of the library -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [protocol.SamplingPolicy, protocol.Policy])
def test_the_policy_of_the_library_has_each_member_with_the_same_arguments(
    kind: type, make_envs: Any, make_policy: Any
) -> None:
    policy = make_policy(make_envs())
    members = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
    assert members
    for name, member in members.items():
        if inspect.isfunction(member):
            own = inspect.signature(getattr(CausalLMPolicy, name))
            assert list(own.parameters) == list(inspect.signature(member).parameters), name
        else:
            getattr(policy, name)
