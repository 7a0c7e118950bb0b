"""Memory: checkpointing changes no number and no mode, and what allocators raise is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from g2rpo_env.agents.checkpointing import checkpointed_layers, checkpointing, name_out_of_memory
from g2rpo_env.errors import ConfigurationError, OutOfMemoryError


@pytest.fixture
def model() -> Any:
    """A small GPT-2 in evaluation mode that has dropout."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=8, n_layer=2, n_head=2, n_positions=8)).eval()


def test_dropout_of_the_layers_themselves_stays_off() -> None:
    sizes = {"vocab_size": 11, "hidden_size": 8, "ffn_dim": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
    model: Any = OPTForCausalLM(OPTConfig(**sizes, word_embed_proj_dim=8, max_position_embeddings=8, dropout=0.5))
    results = []
    for enabled in (False, True):
        model.zero_grad()
        model.train(enabled)  # the second time as somebody may have left it
        with checkpointing(model, enabled):
            model(torch.arange(8)[None], use_cache=False).logits.square().sum().backward()
        results.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_gradients_are_the_same_and_layers_run_twice(model: Any) -> None:
    tokens = torch.arange(8)[None]
    calls: list[int] = []
    model.transformer.h[0].ln_1.register_forward_hook(lambda *_: calls.append(1))
    results = []
    for enabled in (False, True):
        model.zero_grad()
        calls.clear()
        with checkpointing(model, enabled):
            model(tokens, use_cache=False).logits.square().sum().backward()
        results.append([p.grad.clone() for p in model.parameters()])
        assert len(calls) == 1 + enabled
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_mode_comes_back_after_an_error_too(model: Any) -> None:
    with pytest.raises(KeyError), checkpointing(model):
        assert not model.transformer.h[0].mlp.training  # dropout stays off
        raise KeyError
    assert not any(module.training for module in model.modules())
    assert not any(layer.gradient_checkpointing for layer in checkpointed_layers(model))


def test_a_model_without_such_layers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="checkpointing=True .* Linear"), checkpointing(torch.nn.Linear(1, 1)):
        pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_running_out_of_memory_names_what_helps(error: Exception) -> None:
    with pytest.raises(OutOfMemoryError, match="update 3: 4 episodes of up to 9 tokens") as found:
        with name_out_of_memory("update 3", 4, 9):
            raise error
    assert all(word in str(found.value) for word in ("microbatch_tokens", "microbatch,", "checkpointing"))
    assert found.value.__cause__ is error


def test_the_processor_really_runs_out() -> None:
    with pytest.raises(OutOfMemoryError), name_out_of_memory("update 1", 1, 1):
        torch.empty(1 << 60)


def test_other_errors_pass_through() -> None:
    with pytest.raises(RuntimeError, match="shape") as found, name_out_of_memory("update 1", 1, 1):
        raise RuntimeError("shape mismatch")
    assert type(found.value) is RuntimeError
