"""Scoring: equal to the logits of the model, whatever the chunk, and plain where a head is more than a matrix."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from g2rpo_env.agents.policy import scoring

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 1, "head_dim": 8, "vocab_size": 37}


def model_of(kind: str) -> Any:
    """A small model in float64 with random weights, scaled up so that its distributions are far from flat."""
    torch.manual_seed(0)
    model: Any = {
        "qwen3, tied": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, tie_word_embeddings=True)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False)),
        "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=37, n_embd=16, n_layer=2, n_head=2, n_positions=32)),
        "gemma2, soft cap": lambda: Gemma2ForCausalLM(Gemma2Config(**SIZES)),
        "granite, scaled": lambda: GraniteForCausalLM(GraniteConfig(**SIZES, logits_scaling=3.0)),
    }[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4)
    return model.double().eval()


def plain(model: Any, tokens: torch.Tensor, mask: torch.Tensor, temperature: float, size: int) -> torch.Tensor:
    """The log-probabilities from all logits."""
    logits = model(input_ids=tokens, attention_mask=mask.long()).logits[:, :-1, :size] / temperature
    picked = torch.log_softmax(logits, -1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return torch.nn.functional.pad(picked, (1, 0))


KINDS = {"qwen3, tied": True, "llama": True, "gpt2": True, "gemma2, soft cap": False, "granite, scaled": False}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 3, 100, None])
def test_values_and_gradients_are_those_of_all_logits(kind: str, chunk: int | None) -> None:
    model, temperature, size = model_of(kind), 0.7, 31
    tokens = torch.randint(0, size, (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    where = mask & (torch.arange(9) % 3 != 1)
    where[:, 0] = False
    slope = torch.randn(3, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * where
    results = []
    for way in ("plain", "chunks"):
        model.zero_grad()
        if way == "plain":
            found = plain(model, tokens, mask, temperature, size)
        else:
            found = scoring.score(model, tokens, mask, where, temperature=temperature, vocab_size=size, chunk=chunk)
        (found * slope).sum().backward()
        results.append((found.detach() * where, {n: p.grad.clone() for n, p in model.named_parameters()}))
    (expected, gradients), (found, ours) = results
    assert found.dtype == torch.float64 and torch.allclose(found, expected, rtol=0, atol=1e-10)
    largest = max(float(g.abs().max()) for g in gradients.values())
    assert largest > 0 and gradients.keys() == ours.keys()
    assert all(torch.allclose(ours[n], g, rtol=0, atol=1e-10 * max(1, largest)) for n, g in gradients.items())


@pytest.mark.parametrize("kind", KINDS)
def test_heads_that_are_more_than_a_matrix_are_found(kind: str) -> None:
    assert scoring.is_plain(model_of(kind)) == KINDS[kind]


def test_a_head_with_a_bias_and_a_head_of_zeros_are_not_trusted() -> None:
    model = model_of("llama")
    torch.nn.init.zeros_(model.lm_head.weight)
    assert not scoring.is_plain(model)
    model = model_of("llama")
    model.lm_head = torch.nn.Linear(16, 37, bias=True, dtype=torch.float64)
    assert not scoring.is_plain(model)


def test_states_wider_than_their_head_are_scored_by_the_model() -> None:
    sizes = {"vocab_size": 37, "hidden_size": 16, "state_size": 4, "num_hidden_layers": 1}
    model: Any = MambaForCausalLM(MambaConfig(**sizes)).bfloat16().eval()
    assert not scoring.is_plain(model)
    tokens = torch.randint(0, 37, (1, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    found = scoring.score(model, tokens, mask, mask, temperature=1.0, vocab_size=37)
    assert torch.allclose(found, plain(model, tokens, mask, 1.0, 37).float(), atol=0.05)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(0, 7), chunk=st.integers(1, 8), size=st.integers(2, 5), temperature=st.floats(0.2, 4))
def test_the_gradient_agrees_with_finite_differences(rows: int, chunk: int, size: int, temperature: float) -> None:
    random = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, 3, dtype=torch.float64, generator=random, requires_grad=True)
    weight = torch.randn(5, 3, dtype=torch.float64, generator=random, requires_grad=True)
    target = torch.randint(0, size, (rows,), generator=random)
    if rows:
        assert torch.autograd.gradcheck(
            lambda h, w: scoring.head_log_probs(h, w, target, temperature, size, chunk), (hidden, weight)
        )
    else:
        assert scoring.head_log_probs(hidden, weight, target, temperature, size, chunk).shape == (0,)


def test_by_hand() -> None:
    # logits (0, ln 3): probabilities 1/4 and 3/4; d log p(0) / d weight = (3/4, -3/4) times the hidden state 2
    weight = torch.tensor([[0.0], [0.5 * torch.log(torch.tensor(3.0))]], requires_grad=True)
    found = scoring.head_log_probs(torch.tensor([[2.0]]), weight, torch.tensor([0]))
    found.sum().backward()
    assert found.exp().tolist() == pytest.approx([0.25])
    assert weight.grad is not None and weight.grad[:, 0].tolist() == pytest.approx([1.5, -1.5])


def test_no_more_logits_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LOGITS", 100)
    sizes: list[int] = []
    scaled = scoring._logits
    monkeypatch.setattr(scoring, "_logits", lambda h, w, t: sizes.append(h.shape[0] * w.shape[0]) or scaled(h, w, t))
    hidden = torch.randn(11, 3, requires_grad=True)
    scoring.head_log_probs(hidden, torch.randn(40, 3), torch.zeros(11, dtype=torch.int64)).sum().backward()
    assert sizes == [80] * 5 + [40] + [80] * 5 + [40]  # forward, and once more backward


def test_half_precision_is_summed_in_single() -> None:
    weight = torch.randn(50, 8).bfloat16().requires_grad_()
    hidden = torch.randn(20, 8).bfloat16().requires_grad_()
    target = torch.arange(20)
    found = scoring.head_log_probs(hidden, weight, target, chunk=3)
    expected = torch.log_softmax((hidden @ weight.T).float(), -1).gather(-1, target[:, None])[:, 0]
    assert found.dtype == torch.float32 and torch.allclose(found, expected, atol=1e-5)
    found.sum().backward()
    assert hidden.grad is not None and weight.grad is not None and weight.grad.dtype == torch.bfloat16


def test_half_precision_keeps_the_gradient_of_a_token_that_is_all_but_sure() -> None:
    # Logits (9, 0): d log p(0) / d weight[0] = (1 - p) h, 1 - p = 1.234e-4; a p rounded to 8 bits would be 1.
    weight = torch.tensor([[9.0], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    for chunk in (1, 2):  # made again, kept
        weight.grad = None
        hidden = torch.ones(2, 1, dtype=torch.bfloat16, requires_grad=True)
        scoring.head_log_probs(hidden, weight, torch.zeros(2, dtype=torch.int64), chunk=chunk).sum().backward()
        assert weight.grad is not None and hidden.grad is not None
        assert weight.grad[:, 0].tolist() == pytest.approx([2 * 1.234e-4, -2 * 1.234e-4], rel=1e-2)
        assert hidden.grad[:, 0].tolist() == pytest.approx([9 * 1.234e-4] * 2, rel=1e-2)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("chunk", [7, 64])
def test_fewer_bits_agree_with_float64(dtype: torch.dtype, tolerance: float, chunk: int) -> None:
    random = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 16, dtype=torch.float64, generator=random).to(dtype) for n in (60, 90))
    target = torch.randint(0, 80, (60,), generator=random)
    results = []
    for kind in (torch.float64, dtype):
        leaves = [hidden.to(kind).requires_grad_(), weight.to(kind).requires_grad_()]
        found = scoring.head_log_probs(*leaves, target, 1.3, 80, chunk)
        (found * torch.linspace(-1, 1, 60)).sum().backward()
        results.append([found.detach(), *(leaf.grad for leaf in leaves)])
    for wanted, found in zip(*results, strict=True):
        assert wanted is not None and found is not None
        assert float((found.double() - wanted).norm()) < tolerance * float(wanted.norm())


def test_nothing_asked_for_is_all_zeros_with_a_gradient() -> None:
    model = model_of("llama")
    tokens = torch.ones(2, 4, dtype=torch.int64)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    found = scoring.score(model, tokens, ~nothing, nothing, temperature=1.0, vocab_size=37)
    found.sum().backward()
    assert found.tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("kind", ["qwen3, tied", "gpt2", "gemma2, soft cap"])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_entropies_are_those_of_the_distribution_each_token_comes_from(
    kind: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(kind)
    tokens = torch.arange(2, 12).reshape(2, 5)
    mask = torch.ones(2, 5, dtype=torch.bool)
    where = torch.tensor([[1, 1, 0, 1, 0], [0, 0, 1, 0, 1]], dtype=torch.bool)
    monkeypatch.setattr(scoring, "LOGITS", 70)  # two tokens at once
    with torch.no_grad():
        _, found = scoring.score_with_entropy(model, tokens, mask, where, temperature=temperature, vocab_size=30)
    with torch.no_grad():
        p = torch.softmax(model(tokens).logits[..., :30] / temperature, -1)
    expected = torch.nn.functional.pad(-(p * p.log()).sum(-1)[:, :-1], (1, 0))
    assert torch.allclose(found, torch.where(where, expected, 0.0) * (torch.arange(5) > 0), atol=1e-5)
    assert not found[:, 0].any()
    nothing = torch.zeros_like(where)
    for values in scoring.score_with_entropy(model, tokens, mask, nothing, temperature=1.0, vocab_size=30):
        assert values.tolist() == [[0.0] * 5] * 2
