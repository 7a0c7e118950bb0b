"""Reference models: the model without its adapter, and the copy of one that has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.parts.references.models import FrozenCopy, WithoutAdapter, make_reference


@pytest.fixture
def policy(make_envs: Any, make_policy: Any) -> CausalLMPolicy:
    """A policy with an adapter of rank 2."""
    pytest.importorskip("peft", reason="peft is missing: pip install 'g2rpo-env[lora]'")
    return make_policy(make_envs()).add_lora(rank=2)


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    token_NT = torch.arange(20).reshape(2, 10) + 5
    return token_NT, torch.ones_like(token_NT, dtype=torch.bool)


def stir(policy: CausalLMPolicy) -> None:
    """Give B other values than 0."""
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))


def test_the_reference_is_the_model_without_its_adapter(policy: CausalLMPolicy) -> None:
    base = policy.token_log_probs(*tokens()).detach()
    stir(policy)
    reference = make_reference(policy)
    assert isinstance(reference, WithoutAdapter) and reference.state_dict() == {}
    with torch.no_grad(), reference.model() as model:
        assert model is policy.model
        assert torch.equal(policy.token_log_probs(*tokens()), base)
    assert not torch.equal(policy.token_log_probs(*tokens()).detach(), base)
    assert any(p.requires_grad for p in policy.model.parameters())


def test_a_policy_without_an_adapter_is_copied(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    reference = make_reference(policy)
    assert isinstance(reference, FrozenCopy)
    with reference.model() as model:
        assert model is not policy.model
