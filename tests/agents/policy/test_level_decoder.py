"""LevelDecoder: lanes in batches of equal length give what each lane alone gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, MistralConfig, MistralForCausalLM, RwkvConfig, RwkvForCausalLM

from g2rpo_env.agents.policy.level_decoder import LevelDecoder

MODELS = {
    "window": lambda: MistralForCausalLM(
        MistralConfig(
            vocab_size=300,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            sliding_window=8,
        )
    ),
    "recurrent": lambda: MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2)),
}


class Lanes:
    """Contexts of 6 lanes that grow by random tokens, and a decoder that follows them."""

    def __init__(self, model: Any) -> None:
        self.model, self.random = model, np.random.default_rng(0)
        self.tokens = self.random.integers(2, 258, (6, 60))
        self.length = np.array([3, 9, 9, 5, 9, 3])
        self.decoder = LevelDecoder(model, 6)

    def check(self, *lanes: int) -> None:
        """Feed some lanes, compare with each alone, then grow them by one token."""
        chosen = np.array(lanes)
        got = self.decoder.advance(self.tokens, self.length, chosen)
        with torch.no_grad():
            alone = [
                self.model(torch.from_numpy(self.tokens[i : i + 1, : self.length[i]])).logits[0, -1] for i in lanes
            ]
        want = torch.stack(alone)
        assert float((got - want).abs().max()) < 1e-3 * float(want.abs().max())
        self.length[chosen] += 1


@pytest.fixture(params=list(MODELS))
def lanes(request: pytest.FixtureRequest) -> Lanes:
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return Lanes(model)


def test_lanes_end_and_come_in_any_order(lanes: Lanes) -> None:
    for running in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 4, 2], [4, 0, 5], [0, 4], [1, 4], [0, 1, 2, 3, 4, 5]):
        lanes.check(*running)


def test_lanes_that_restart_or_take_several_tokens_begin_another_batch(lanes: Lanes) -> None:
    lanes.check(*range(6))
    lanes.length += np.array([0, 4, 1, 0, 7, 2])
    lanes.check(*range(6))
    lanes.tokens[[1, 4]] = lanes.random.integers(2, 258, (2, 60))
    lanes.length[[1, 4]] = 4
    lanes.decoder.restart(np.array([1, 4]))
    lanes.check(*range(6))
    lanes.check(*range(6))


def test_equal_contexts_are_computed_once(lanes: Lanes) -> None:
    seen: list[tuple[int, ...]] = []
    lanes.model.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    lanes.tokens[:] = lanes.tokens[0]
    lanes.length[:] = [9, 9, 9, 4, 4, 4]
    lanes.decoder.advance(lanes.tokens, lanes.length, np.arange(6))
    lanes.length += 1
    lanes.decoder.advance(lanes.tokens, lanes.length, np.arange(6))
    assert seen == [(1, 4), (1, 9), (3, 1), (3, 1)]


def test_a_model_that_takes_no_cache_is_refused() -> None:
    with pytest.raises(TypeError, match="RwkvForCausalLM"):
        LevelDecoder(RwkvForCausalLM(RwkvConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2)), 2)
