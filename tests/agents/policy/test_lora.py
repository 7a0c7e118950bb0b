"""Adapters: only they are trained, the reference is the model without them, and everything is saved and goes on."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toys import make_tokens, stir_adapter

from g2rpo_env.agents import GRPO, CausalLMPolicy, collect, recipes
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.errors import ConfigurationError, MissingDependencyError

FAST = Optimizer(learning_rate=1e-2, warmup=1)


@pytest.fixture
def policy(make_envs: Any, make_policy: Any) -> CausalLMPolicy:
    """A policy with an adapter of rank 2."""
    pytest.importorskip("peft", reason="peft is missing: pip install 'g2rpo-env[lora]'")
    return make_policy(make_envs()).add_lora(rank=2)


def test_a_fresh_adapter_changes_nothing_and_freezes_the_rest(make_envs: Any, make_policy: Any) -> None:
    pytest.importorskip("peft")
    policy = make_policy(make_envs())
    before = policy.token_log_probs(*make_tokens())
    same = policy.add_lora(rank=2)
    assert same is policy
    assert torch.equal(policy.token_log_probs(*make_tokens()), before)
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name for name in trained)


def test_a_model_without_a_policy_takes_an_adapter_too(make_envs: Any, make_policy: Any) -> None:
    pytest.importorskip("peft")
    one, other = make_policy(make_envs()), make_policy(make_envs())
    model = lora.add_lora(one.model, rank=2, seed=3)
    assert lora.has_adapter(model) and lora.inner(model) is one.model and not model.training
    weights = other.add_lora(rank=2, seed=3).model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_the_scale_by_hand(policy: CausalLMPolicy) -> None:
    # W + alpha / rank * B A, and alpha is twice the rank unless given
    stir_adapter(policy)
    layer = policy.model.get_base_model().model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    weight = lora.merge(policy.model).model.layers[0].self_attn.q_proj.weight
    assert torch.allclose(weight, layer.base_layer.weight + 2 * b @ a, atol=1e-6)


def test_a_merged_model_is_an_ordinary_one_and_computes_the_same(policy: CausalLMPolicy) -> None:
    stir_adapter(policy)
    merged = CausalLMPolicy(lora.merge(policy.model), policy.tokenizer)
    assert not lora.has_adapter(merged.model) and lora.has_adapter(policy.model)
    expected = policy.token_log_probs(*make_tokens()).detach()
    torch.testing.assert_close(merged.token_log_probs(*make_tokens()).detach(), expected, atol=1e-5, rtol=1e-5)


def test_a_rollout_steps_through_the_adapter(make_envs: Any, policy: CausalLMPolicy) -> None:
    stir_adapter(policy)
    merged = CausalLMPolicy(lora.merge(policy.model), policy.tokenizer)
    one, other = (collect(p, make_envs(8, 4), seed=3).episodes for p in (policy, merged))
    assert [e.tokens_T.tolist() for e in one] == [e.tokens_T.tolist() for e in other]
    episode = one[0]
    token_NT = torch.as_tensor(episode.tokens_T).long()[None]
    again = policy.token_log_probs(token_NT, torch.ones_like(token_NT, dtype=torch.bool))[0].detach().numpy()
    np.testing.assert_allclose(episode.logprob_T[episode.sampled_T], again[episode.sampled_T], atol=1e-4)


def test_training_moves_the_adapter_only_and_resumes_exactly(
    make_envs: Any, policy: CausalLMPolicy, tmp_path: Path
) -> None:
    before = copy.deepcopy(policy.model.state_dict())
    agent = recipes.make("grpo", policy, make_envs(16, 4), seed=0, optimizer=FAST, reference=KLToStart(beta=0.1))
    agent.learn(2)
    moved = {name for name, value in policy.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and all("lora_" in name for name in moved)
    agent.save(tmp_path)
    expected = [agent.update() for _ in range(2)]
    loaded = GRPO.load(tmp_path, make_envs(16, 4))
    assert lora.has_adapter(loaded.policy.model)
    assert [loaded.update() for _ in range(2)] == expected


def test_checkpointing_reaches_through_the_adapter(make_envs: Any, policy: CausalLMPolicy) -> None:
    twin = copy.deepcopy(policy)
    updates = []
    for one, checkpointing in ((policy, False), (twin, True)):
        options = Optimizer(learning_rate=1e-2, warmup=1, checkpointing=checkpointing)
        updates.append(recipes.make("grpo", one, make_envs(16, 4), seed=0, optimizer=options).update())
    assert updates[0].pop("grad_norm") == pytest.approx(updates[1].pop("grad_norm"), rel=1e-5)
    assert updates[0]["reward"] == updates[1]["reward"]


@pytest.mark.parametrize(("options", "message"), [({"rank": 0}, "rank=0"), ({"alpha": 0.0}, "alpha=0.0")])
def test_refused_arguments(make_envs: Any, make_policy: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_policy(make_envs()).add_lora(**options)


def test_a_second_adapter_is_refused(policy: CausalLMPolicy) -> None:
    with pytest.raises(ConfigurationError, match="no adapter yet"):
        policy.add_lora()


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PrefixTuningConfig"])
def test_an_adapter_before_the_text_is_refused(make_envs: Any, make_policy: Any, kind: str) -> None:
    peft = pytest.importorskip("peft")
    policy = make_policy(make_envs())
    config = getattr(peft, kind)(num_virtual_tokens=2, task_type="CAUSAL_LM")
    model = peft.get_peft_model(policy.model, config)
    with pytest.raises(ConfigurationError, match="has an adapter of the type .*_TUNING, which puts vectors before the"):
        CausalLMPolicy(model, policy.tokenizer)


def test_a_missing_library_is_named(make_envs: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingDependencyError, match=r"g2rpo-env\[lora\]"):
        make_policy(make_envs()).add_lora()


# -- saving ------------------------------------------------------------------------------------------------------------


def save_in_a_run(policy: CausalLMPolicy, run: Path, *numbers: int) -> list[Path]:
    """Checkpoints of a run, each with another adapter, and the model kept once."""
    folders = []
    for number in numbers:
        lora.keep_base(policy.model, run / "base")
        stir_adapter(policy, seed=number)
        folders.append(run / "checkpoints" / f"{number:06d}")
        policy.save_pretrained(folders[-1])
    return folders


def test_checkpoints_of_a_run_share_one_copy_of_the_model(policy: CausalLMPolicy, tmp_path: Path) -> None:
    run = tmp_path / "run"
    folders = save_in_a_run(policy, run, 1, 2)
    copies = [file for file in run.rglob("*.safetensors") if file.name == "model.safetensors"]
    assert copies == [run / "base/model.safetensors"]
    moved = run.rename(tmp_path / "elsewhere")
    expected = policy.token_log_probs(*make_tokens())
    loaded = CausalLMPolicy.from_pretrained(moved / "checkpoints" / folders[-1].name)
    assert torch.equal(loaded.token_log_probs(*make_tokens()), expected)
    loaded.save_pretrained(moved / "checkpoints/000003")  # a run that goes on where it lies now
    assert not (moved / "checkpoints/000003/base").exists()
    loaded.save_pretrained(tmp_path / "alone")  # a folder outside the run stands alone
    assert (tmp_path / "alone/base/model.safetensors").is_file()
    alone = CausalLMPolicy.from_pretrained(tmp_path / "alone")
    assert torch.equal(alone.token_log_probs(*make_tokens()), expected)


def test_an_adapter_says_where_its_model_is_missing_or_another_one(policy: CausalLMPolicy, tmp_path: Path) -> None:
    (folder,) = save_in_a_run(policy, tmp_path / "run", 1)
    shutil.copytree(folder, tmp_path / "copied/checkpoints/000001")
    with pytest.raises(ConfigurationError, match=r"must lie at .*copied/base: move or copy the whole run folder"):
        CausalLMPolicy.from_pretrained(tmp_path / "copied/checkpoints/000001")
    weights = tmp_path / "run/base/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(ConfigurationError, match="another model"):
        CausalLMPolicy.from_pretrained(folder)


def test_a_run_keeps_the_model_of_one_adapter_only(policy: CausalLMPolicy, tmp_path: Path) -> None:
    save_in_a_run(policy, tmp_path, 1)
    again = CausalLMPolicy.from_pretrained(tmp_path / "checkpoints/000001")
    lora.keep_base(again.model, tmp_path / "base")
    other = copy.deepcopy(policy)
    del other.model.kept_base
    lora.keep_base(other.model, tmp_path / "base")  # the very same weights
    with torch.no_grad():
        lora.inner(other.model).model.norm.weight += 1
    del other.model.kept_base
    with pytest.raises(ConfigurationError, match="holds another one"):
        lora.keep_base(other.model, tmp_path / "base")


def test_an_adapter_of_another_library_names_its_model(policy: CausalLMPolicy, tmp_path: Path) -> None:
    stir_adapter(policy)
    expected = policy.token_log_probs(*make_tokens())
    policy.save_pretrained(tmp_path / "ours")
    base = (tmp_path / "ours/base").rename(tmp_path / "model")
    policy.tokenizer.save_pretrained(base)
    for file in (tmp_path / "ours").glob("*token*"):
        file.unlink()
    config = tmp_path / "ours/adapter_config.json"
    named = json.loads(config.read_text()) | {"base_model_name_or_path": str(base)}
    config.write_text(json.dumps(named))
    loaded = CausalLMPolicy.from_pretrained(tmp_path / "ours")
    assert torch.equal(loaded.token_log_probs(*make_tokens()), expected)
    config.write_text(json.dumps(named | {"base_model_name_or_path": None}))
    with pytest.raises(ConfigurationError, match="does not name its model"):
        CausalLMPolicy.from_pretrained(tmp_path / "ours")
