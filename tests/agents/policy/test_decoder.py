"""Decoder: stepping with a cache gives what encoding the whole context anew gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.batch import make_batch
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.policy.decoder import COMPACT_BELOW, Decoder
from g2rpo_env.agents.policy.level_decoder import LevelDecoder
from g2rpo_env.tokenizer import char_tokenizer

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
ENDS = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
MODELS = {
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(vocab_size=300, **SIZES, **ENDS, num_key_value_heads=4, head_dim=8)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(vocab_size=300, **SIZES, **ENDS, num_key_value_heads=2)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=99, n_embd=32, n_layer=2, n_head=4, **ENDS)),
    "neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=300, **SIZES, **ENDS)),
}


@pytest.fixture(params=list(MODELS))
def policy(request: pytest.FixtureRequest) -> CausalLMPolicy:
    """Random weights, scaled up so that a wrong position or mask shows; temperature other than 1."""
    torch.manual_seed(0)
    model = MODELS[request.param]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    return CausalLMPolicy(model, char_tokenizer(), temperature=1.5, own_decoder=False)


def recomputed(policy: CausalLMPolicy, episodes: list[Any]) -> list[np.ndarray]:
    """Log-probabilities of the sampled tokens by one forward pass over whole episodes."""
    batch = make_batch(episodes, np.ones(len(episodes)), [TokenMean()(e) for e in episodes], torch.device("cpu"))
    with torch.no_grad():
        log_probs = policy.token_log_probs(batch.tokens_NT, batch.mask_NT).numpy()
    return [row[: len(e.tokens_T)][e.sampled_T] for row, e in zip(log_probs, episodes, strict=True)]


def largest_difference(policy: CausalLMPolicy, episodes: list[Any]) -> float:
    """Between recorded and recomputed log-probabilities of sampled tokens."""
    rows = zip(episodes, recomputed(policy, episodes), strict=True)
    return max(float(np.abs(e.logprob_T[e.sampled_T] - row).max()) for e, row in rows)


@pytest.mark.parametrize("guidance", [None, {"length": 7, "ratio": 0.5}], ids=["plain", "guided"])
def test_recorded_log_probs_equal_full_encoding(policy: CausalLMPolicy, make_envs: Any, guidance: Any) -> None:
    envs = make_envs(16, 4, digits=(1, 4), guidance=guidance, max_new_tokens=24, stop_strings=tuple("0123456789abcdef"))
    episodes = collect(policy, envs, seed=1).episodes
    assert len({int((e.role_T == 0).sum()) for e in episodes}) > 1  # prompts of unequal length
    assert len({int(e.sampled_T.sum()) for e in episodes}) > 1  # some end before others
    assert any(e.reveal for e in episodes) == (guidance is not None)
    assert largest_difference(policy, episodes) < 1e-4


def test_the_check_would_notice_a_wrong_context(policy: CausalLMPolicy, make_envs: Any) -> None:
    episodes = collect(policy, make_envs(8, 4, digits=(1, 4), max_new_tokens=24), seed=1).episodes
    for episode in episodes:
        episode.tokens_T[0] += 1
    assert largest_difference(policy, episodes) > 1e-2


def full_logits(policy: CausalLMPolicy, tokens: np.ndarray, length: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
    """Logits after the last token of each lane, one lane at a time, without a cache."""
    with torch.no_grad():
        rows = [policy.model(torch.from_numpy(tokens[i : i + 1, : length[i]])).logits[0, -1] for i in lanes]
    return torch.stack(rows)


class Lanes:
    """Contexts of 6 lanes that grow by random tokens, and a decoder that follows them."""

    def __init__(self, policy: CausalLMPolicy) -> None:
        self.policy, self.random = policy, np.random.default_rng(0)
        self.tokens = self.random.integers(2, 258, (6, 60))
        self.length = np.array([3, 9, 1, 5, 7, 2])
        self.decoder = policy.decoder(6)

    def check(self, *lanes: int) -> None:
        """Feed some lanes, compare with full encoding, then grow them by one token."""
        chosen = np.array(lanes)
        got = self.decoder.advance(self.tokens, self.length, chosen)
        want = full_logits(self.policy, self.tokens, self.length, chosen)
        assert torch.isfinite(got).all()
        assert float((got - want).abs().max()) < 1e-3 * float(want.abs().max())
        self.length[chosen] += 1

    def restart(self, *lanes: int) -> None:
        """Begin other episodes in some lanes."""
        chosen = np.array(lanes)
        self.tokens[chosen] = self.random.integers(2, 258, (len(lanes), 60))
        self.length[chosen] = self.random.integers(1, 10, len(lanes))
        self.decoder.restart(chosen)


@pytest.fixture
def lanes(policy: CausalLMPolicy) -> Lanes:
    return Lanes(policy)


def test_lanes_that_finish_leave_the_cache_and_the_others_do_not_notice(lanes: Lanes) -> None:
    for running in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [0, 1, 2, 4], [1, 4], [1, 4], [4]):
        lanes.check(*running)
    assert len(lanes.decoder._lanes) < 6 * COMPACT_BELOW
    assert (lanes.decoder.consumed > 0).tolist() == [False, False, False, False, True, False]


def test_the_order_in_which_lanes_are_asked_for_is_the_order_of_the_answer(lanes: Lanes) -> None:
    lanes.check(0, 1, 2, 3, 4, 5)
    lanes.check(5, 3, 0, 1, 4, 2)
    lanes.check(4, 0, 5)
    lanes.check(0, 5, 4)


def test_lanes_that_restart_forget_their_tokens(lanes: Lanes) -> None:
    everyone = range(6)
    lanes.check(*everyone)
    lanes.check(*everyone)
    lanes.restart(1, 4)
    lanes.check(*everyone)
    lanes.restart(0, 1, 2, 3, 4, 5)
    lanes.check(*everyone)


def test_a_lane_may_restart_and_wait_before_it_is_asked_for(lanes: Lanes) -> None:
    everyone = range(6)
    lanes.check(*everyone)
    lanes.restart(2)
    lanes.check(0, 1, 3, 4, 5)
    lanes.check(0, 1, 3, 4, 5)
    lanes.check(*everyone)
    lanes.check(*everyone)


def test_a_lane_that_left_the_cache_may_come_back(lanes: Lanes) -> None:
    lanes.check(*range(6))
    lanes.check(0, 1)
    lanes.check(0, 1)
    lanes.restart(3)
    lanes.check(0, 1, 3)
    lanes.check(0, 1, 3, 5)


def test_several_new_tokens_at_once_are_fed_at_their_positions(lanes: Lanes) -> None:
    lanes.check(*range(6))
    lanes.length += np.array([0, 4, 1, 0, 7, 2])  # what an environment may append after an action
    lanes.check(*range(6))
    lanes.check(*range(6))


def test_partial_resets_of_an_environment_can_be_followed(policy: CausalLMPolicy, make_envs: Any) -> None:
    envs = make_envs(6, 1, digits=(1, 4), max_new_tokens=12, autoreset_mode="DISABLED")
    observation, _ = envs.reset(seed=0)
    decoder, random = policy.decoder(6), np.random.default_rng(0)
    for step in range(40):
        lanes = np.flatnonzero(envs.active)
        tokens, length = observation["tokens"].astype(np.int64), observation["length"][:, 0]
        got = decoder.advance(tokens, length, lanes)
        want = full_logits(policy, tokens, length, lanes)
        assert float((got - want).abs().max()) < 1e-3 * float(want.abs().max()), step
        actions = np.where(random.random(6) < 0.1, 1, random.integers(2, 258, 6))
        observation, _, terminated, truncated, _ = envs.step(actions)
        done = terminated | truncated
        if done.any():
            observation, _ = envs.reset(options={"reset_mask": done})
            decoder.restart(np.flatnonzero(done))


def test_a_sliding_window_is_right_whether_an_episode_outgrows_it_or_not(make_envs: Any) -> None:
    # Columns that other lanes skipped would count as part of the window.
    def mistral(window: int) -> CausalLMPolicy:
        torch.manual_seed(0)
        config = MistralConfig(vocab_size=300, **SIZES, **ENDS, num_key_value_heads=2, sliding_window=window)
        return CausalLMPolicy(MistralForCausalLM(config), char_tokenizer())

    envs = make_envs(8, 4, digits=(1, 4))
    for window, kind in ((8, LevelDecoder), (4096, Decoder)):
        policy = mistral(window)
        assert largest_difference(policy, collect(policy, envs, seed=0).episodes) < 1e-4
        assert type(policy.decoder(8)) is kind


def test_members_of_a_group_share_what_they_begin_with(policy: CausalLMPolicy) -> None:
    seen: list[tuple[int, ...]] = []
    hook = policy.model.base_model.register_forward_pre_hook(
        lambda _, given, named: seen.append(tuple((given[0] if given else named["input_ids"]).shape)), with_kwargs=True
    )
    lanes = Lanes(policy)
    lanes.tokens[:] = lanes.tokens[0]
    lanes.length[:] = [9, 9, 9, 4, 4, 1]
    lanes.decoder.advance(lanes.tokens, lanes.length, np.arange(6))
    hook.remove()
    assert seen == [(2, 8), (6, 1)]  # two beginnings, of 8 and 3 tokens, then the last token of all six lanes


def test_columns_that_nobody_reads_are_dropped(policy: CausalLMPolicy) -> None:
    lanes = Lanes(policy)
    for _ in range(30):
        lanes.check(0, 1, 2, 3, 4, 5)
    assert lanes.decoder._mask.shape[1] == 8 + 30  # the longest beginning, and a column for each step
    lanes.restart(0, 1, 2, 3, 4, 5)
    lanes.check(0, 1, 2, 3, 4, 5)
    assert lanes.decoder._mask.shape[1] <= 10
    lanes.check(0, 1, 2, 3, 4, 5)
