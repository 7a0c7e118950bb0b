"""bench's devices: the work of a model by hand, shares of peaks, places that cannot be, a tokenizer of any width."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from g2rpo_env.bench import device
from g2rpo_env.bench.device import Cost, Place, Work, make_wide_tokenizer
from g2rpo_env.errors import ConfigurationError


@pytest.fixture(scope="module")
def model() -> Any:
    """Two layers: queries 4 x 8, keys and values 2 x 8 each, hidden 16, inner 24, head 50."""
    config = Qwen3Config(
        vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return Qwen3ForCausalLM(config)


# A layer has 16 * (32 + 16 + 16) + 32 * 16 + 3 * 16 * 24 = 2688 weights, the head 16 * 50 = 800: 6176 of two layers.
WEIGHTS, HEAD = 6176, 800


def test_weights_by_hand(model: Any) -> None:
    cost = Cost(model)
    assert (cost.weights, cost.head, cost.pair) == (WEIGHTS, HEAD, 4 * 2 * 4 * 8)


def test_the_work_of_decoding_by_hand(model: Any) -> None:
    # Answers of 1 and 3 tokens after 5: the tokens see 5, and 5 + 6 + 7; a token's keys and values are 2 * 2 * 2 * 8.
    work = Cost(model).count_decoding(5, np.array([1, 3]), steps=3)
    assert work == Work(2.0 * WEIGHTS * 4 + 256 * 23, 4.0 * (3 * WEIGHTS + 64 * 23))
    assert Cost(model.to(torch.bfloat16)).count_decoding(5, np.array([1, 3]), 3).bytes == work.bytes / 2
    model.float()


def test_the_work_of_an_update_by_hand(model: Any) -> None:
    # Rows of 2 and 3 tokens see 1 + 2 and 1 + 2 + 3; forward once, backward twice; three tokens go through the head.
    wanted = 3.0 * (2 * (WEIGHTS - HEAD) * 5 + 2 * HEAD * 3 + 256 * 9)
    assert Cost(model).count_update(np.array([2, 3]), 3).flops == wanted


def test_the_weights_of_the_named_model_are_those_of_its_name() -> None:
    sizes = device.MODELS["0.6b"]
    with torch.device("meta"):
        model = Qwen3ForCausalLM(Qwen3Config(**sizes, bos_token_id=None, eos_token_id=1, pad_token_id=0))
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.6e9, rel=0.01)


@pytest.mark.parametrize(("dtype", "peak"), [("bfloat16", 989e12), ("float32", 67e12)])
def test_shares_are_those_of_the_peaks(monkeypatch: pytest.MonkeyPatch, dtype: str, peak: float) -> None:
    monkeypatch.setattr(Place, "on_cpu", False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200")
    rows = Place(dtype=dtype).get_shares("side", 2.0, Work(peak, 4.8e12))
    assert [(row.name, row.value) for row in rows] == [
        ("side: share of peak FLOP/s", 0.5),
        ("side: share of peak bytes/s", 0.5),
    ]
    assert len(Place(dtype=dtype).get_shares("side", 2.0, Work(peak))) == 1
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "another")
    assert Place(dtype=dtype).get_shares("side", 2.0, Work(peak)) == []


def test_no_shares_on_a_processor() -> None:
    assert Place().get_shares("side", 1.0, Work(1.0)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "7b"}, "model='7b' must be one of 0.6b"),
        ({"dtype": "int8"}, "dtype='int8' must name a floating-point"),
        ({"device": "abacus"}, "device='abacus' cannot be used"),
    ],
)
def test_places_that_cannot_be_are_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Place(**options)  # type: ignore[arg-type]


def test_what_was_measured_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Place().note("ours", 1234.5678, "tokens/s")
    assert capsys.readouterr().err == "ours: 1,235 tokens/s\n"


def test_a_tokenizer_as_wide_as_a_head_writes_bytes_and_reads_any_token() -> None:
    tokenizer = make_wide_tokenizer(3000)
    assert len(tokenizer) == 3000
    text = "1+2=3, é"
    ids = tokenizer.encode(text)
    assert len(ids) == len(text.encode()) and max(ids) < 258 and tokenizer.decode(ids) == text
    assert len({tokenizer.convert_ids_to_tokens(i) for i in range(3000)}) == 3000
    assert tokenizer.decode([2999, 2998])
