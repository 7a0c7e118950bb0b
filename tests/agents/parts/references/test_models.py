"""Reference models: the model without its adapter, and the copy of one that has none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import make_tokens, stir_adapter

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.parts.references.models import FrozenCopy, WithoutAdapter, make_reference


@pytest.fixture
def policy(make_envs: Any, make_policy: Any) -> CausalLMPolicy:
    """A policy with an adapter of rank 2."""
    pytest.importorskip("peft", reason="peft is missing: pip install 'g2rpo-env[lora]'")
    return make_policy(make_envs()).add_lora(rank=2)


def test_the_reference_is_the_model_without_its_adapter(policy: CausalLMPolicy) -> None:
    base = policy.token_log_probs(*make_tokens()).detach()
    stir_adapter(policy)
    reference = make_reference(policy)
    assert isinstance(reference, WithoutAdapter) and reference.state_dict() == {}
    with torch.no_grad(), reference.model() as model:
        assert model is policy.model
        assert torch.equal(policy.token_log_probs(*make_tokens()), base)
    assert not torch.equal(policy.token_log_probs(*make_tokens()).detach(), base)
    assert any(p.requires_grad for p in policy.model.parameters())


def test_a_policy_without_an_adapter_is_copied(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    reference = make_reference(policy)
    assert isinstance(reference, FrozenCopy)
    with reference.model() as model:
        assert model is not policy.model
