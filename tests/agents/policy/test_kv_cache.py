"""The growing cache holds what transformers' own cache holds, through growth and row selection."""

import pytest
import torch
from transformers import DynamicCache, Qwen3Config
from transformers.cache_utils import DynamicLayer

from g2rpo_env.agents.policy.kv_cache import GrowingLayer, growing_cache


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
    layer, held = GrowingLayer(), []  # tensors, not their addresses alone: memory that is let go is used again
    for _ in range(200):
        held.append(layer.update(torch.zeros(1, 1, 1, 2), torch.zeros(1, 1, 1, 2))[0])
    # room for 1.5 n + 16 tokens: 17, 43, 82, 140, 227
    assert len({keys.data_ptr() for keys in held}) == 5


def test_a_model_gets_a_growing_layer_for_each_plain_one():
    config = Qwen3Config(num_hidden_layers=3)
    layers = growing_cache(config).layers
    assert [type(layer) for layer in layers] == [GrowingLayer] * 3
    assert len(DynamicCache(config=config).layers) == 3


def test_rows_are_overwritten_from_the_start_and_columns_dropped():
    layer, held = GrowingLayer(), torch.arange(12.0).view(3, 1, 4, 1)  # 3 rows, 4 tokens
    layer.update(held, -held)
    new = torch.tensor([50.0, 51.0]).view(1, 1, 2, 1)
    layer.overwrite(torch.tensor([1]), new, -new, 3)
    assert layer.keys[:, 0, :, 0].tolist() == [[0, 1, 2, 3], [50, 51, 6, 7], [8, 9, 10, 11]]
    layer.select_tokens(torch.tensor([0, 1, 3]))
    layer.update(torch.ones(3, 1, 1, 1), -torch.ones(3, 1, 1, 1))
    assert layer.keys[:, 0, :, 0].tolist() == [[0, 1, 3, 1], [50, 51, 7, 1], [8, 9, 11, 1]]
    assert torch.equal(layer.values, -layer.keys)


def test_overwriting_makes_room_for_longer_rows_and_for_a_layer_that_is_empty():
    layer = GrowingLayer()
    new = torch.tensor([[5.0, 6.0], [7.0, 8.0]]).view(2, 1, 2, 1)
    layer.overwrite(torch.tensor([2, 0]), new, new, 3)
    assert layer.keys[:, 0, :, 0].tolist() == [[7, 8], [0, 0], [5, 6]]
    longer = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)
    layer.overwrite(torch.tensor([1]), longer, longer, 3)
    assert layer.keys[:, 0, :, 0].tolist() == [[7, 8, 0], [1, 2, 3], [5, 6, 0]] and layer.get_seq_length() == 3
