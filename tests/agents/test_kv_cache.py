"""The growing cache holds what transformers' own cache holds, through growth and row selection."""

import pytest
import torch
from transformers import DynamicCache, Qwen3Config
from transformers.cache_utils import DynamicLayer

from g2rpo_env.agents.kv_cache import GrowingLayer, growing_cache


@pytest.mark.parametrize("widths", [[1] * 60, [30, 1, 1, 40, 1], [5]])
def test_a_growing_layer_equals_a_dynamic_one(widths):
    generator = torch.Generator().manual_seed(0)
    one, other = GrowingLayer(), DynamicLayer()
    rows = 4
    for step, width in enumerate(widths):
        keys, values = torch.randn((2, rows, 2, width, 3), generator=generator)
        for got, expected in zip(one.update(keys, values), other.update(keys, values), strict=True):
            assert torch.equal(got, expected)
        assert one.get_seq_length() == other.get_seq_length()
        if step == 2:
            keep, rows = torch.tensor([2, 0]), 2
            one.batch_select_indices(keep)
            other.batch_select_indices(keep)


def test_appending_one_token_mostly_writes_in_place():
    layer, places = GrowingLayer(), set()
    for _ in range(200):
        places.add(layer.update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))[0].data_ptr())
    # room for 1.5 n + 16 tokens: 17, 43, 82, 140, 227
    assert len(places) == 5


def test_a_model_gets_a_growing_layer_for_each_plain_one():
    config = Qwen3Config(num_hidden_layers=3)
    layers = growing_cache(config).layers
    assert [type(layer) for layer in layers] == [GrowingLayer] * 3
    assert len(DynamicCache(config=config).layers) == 3
