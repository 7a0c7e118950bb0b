"""Reference models: the model without its adapter, the copy of one that has none, and an average that moves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import make_tokens, stir_adapter

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.parts.references.models import AveragedCopy, FrozenCopy, WithoutAdapter, make_reference


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


# -- an average --------------------------------------------------------------------------------------------------------


def test_the_average_moves_after_every_so_many_steps(make_envs: Any, make_policy: Any) -> None:
    # start + (1 - d) (now - start) after every second step: after four steps, with the weights 1 higher each time,
    # 0 -> 0 -> 0.25 * 2 = 0.5 -> 0.5 -> 0.5 + 0.25 (4 - 0.5) = 1.375.
    policy = make_policy(make_envs())
    reference, start = AveragedCopy(policy, decay=0.75, every=2), next(policy.model.parameters()).detach().clone()
    found = []
    for _ in range(4):
        with torch.no_grad():
            for weight in policy.model.parameters():
                weight.add_(1.0)
        reference.follow(policy)
        with reference.model() as model:
            found.append(float((next(model.parameters()) - start).detach().mean()))
    assert found == pytest.approx([0, 0.5, 0.5, 1.375], abs=1e-5) and reference.steps == 4


def test_it_is_the_model_inside_of_the_block_alone(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    reference = AveragedCopy(policy)
    with torch.no_grad():
        base = policy.token_log_probs(*make_tokens())
        for weight in policy.model.parameters():
            weight.mul_(1.5)
        changed = policy.token_log_probs(*make_tokens())
        weights = list(policy.model.parameters())
        places, versions = [w.data_ptr() for w in weights], [w._version for w in weights]
        with reference.model() as model:
            assert torch.equal(policy.token_log_probs(*make_tokens(), model=model), base)
        assert torch.equal(policy.token_log_probs(*make_tokens()), changed) and not torch.equal(base, changed)
        with pytest.raises(RuntimeError, match="inside"), reference.model():
            raise RuntimeError("inside")
        assert torch.equal(policy.token_log_probs(*make_tokens()), changed)
    # Decoders look at places and versions, and have nothing to do again.
    assert [w.data_ptr() for w in weights] == places and [w._version for w in weights] == versions


def test_small_moves_are_not_lost_in_sixteen_bits(make_envs: Any, make_policy: Any) -> None:
    # bfloat16 has 8 bits: at 1 its numbers are 1/128 apart, and a move of 0.005 * 0.5 would be rounded away.
    policy = make_policy(make_envs())
    policy.to(dtype="bfloat16")
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.fill_(1.0)
    reference = AveragedCopy(policy, decay=0.995, every=1)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.fill_(1.5)
    for _ in range(100):
        reference.follow(policy)
    with reference.model() as model:
        weight = next(model.parameters())
        # 1.5 - 0.5 * 0.995^100 = 1.1971
        assert weight.dtype == torch.bfloat16 and float(weight.flatten()[0]) == pytest.approx(1.1971, abs=1 / 128)


def test_with_an_adapter_its_weights_alone_are_kept(make_envs: Any, make_policy: Any) -> None:
    pytest.importorskip("peft", reason="peft is missing: pip install 'g2rpo-env[lora]'")
    policy = make_policy(make_envs()).add_lora(rank=2)
    stir_adapter(policy)
    reference = AveragedCopy(policy, decay=0.5, every=1)
    names = list(reference.state_dict()["average"])
    assert names and all("lora_" in name for name in names)
    with torch.no_grad():
        base = policy.token_log_probs(*make_tokens())
        stir_adapter(policy, seed=2)
        now = policy.token_log_probs(*make_tokens())
        with reference.model() as model:
            assert torch.equal(policy.token_log_probs(*make_tokens(), model=model), base)
        assert not torch.equal(base, now)
        reference.follow(policy)
        with reference.model() as model:
            between = policy.token_log_probs(*make_tokens(), model=model)
    assert not torch.equal(between, base) and not torch.equal(between, now)
