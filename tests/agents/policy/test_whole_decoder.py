"""WholeDecoder: every step reads whole contexts, equal ones once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from g2rpo_env.agents.policy import whole_decoder
from g2rpo_env.agents.policy.whole_decoder import WholeDecoder, last_logits

SIZES: dict[str, Any] = {"vocab_size": 300, "n_positions": 99, "n_embd": 32, "n_layer": 2, "n_head": 4}


@pytest.fixture(params=["logits are left out", "all logits are made"])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    if request.param == "logits are left out":
        return GPT2LMHeadModel(GPT2Config(**SIZES)).eval()
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**SIZES)).eval()


@pytest.mark.parametrize(("together", "calls"), [(True, [(1, 3), (2, 5)]), (False, [(1, 3), (1, 5), (1, 5)])])
def test_lanes_of_equal_length_go_together_and_equal_contexts_once(model: Any, together: bool, calls: Any) -> None:
    tokens = np.random.default_rng(0).integers(2, 258, (5, 9))
    tokens[4] = tokens[0]
    length, lanes = np.array([5, 5, 3, 2, 5]), np.array([4, 2, 1, 0])
    with torch.no_grad():
        want = torch.stack([model(torch.from_numpy(tokens[i : i + 1, : length[i]])).logits[0, -1] for i in lanes])
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    decoder = WholeDecoder(model, 5, together=together)
    assert torch.allclose(decoder.advance(tokens, length, lanes), want, atol=1e-5)
    assert seen == calls
    assert decoder.consumed.tolist() == [5, 5, 3, 0, 5]
    decoder.restart(np.array([1]))
    assert decoder.consumed.tolist() == [5, 0, 3, 0, 5]


def test_no_more_tokens_at_once_than_allowed(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_decoder, "TOKENS", 11)
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True)
    tokens = np.random.default_rng(0).integers(2, 258, (5, 5))
    WholeDecoder(model, 5).advance(tokens, np.full(5, 5), np.arange(5))
    assert seen == [(2, 5), (2, 5), (1, 5)]


def test_logits_after_contexts_are_those_of_the_last_token(model: Any) -> None:
    ids = np.random.default_rng(0).integers(2, 258, (3, 7))
    with torch.no_grad():
        assert torch.allclose(last_logits(model, ids), model(torch.from_numpy(ids)).logits[:, -1], atol=1e-5)
