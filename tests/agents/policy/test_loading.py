"""Loading: names of dtypes, devices and models that there are, and those that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.policy.loading import check_device, check_intact, pretrained_tokenizer, torch_dtype
from g2rpo_env.errors import ConfigurationError, ResumeError


def test_a_policy_loads_in_bfloat16_and_samples(make_envs: Any, make_policy: Any, tmp_path: Path) -> None:
    envs = make_envs()
    make_policy(envs).save_pretrained(tmp_path)
    policy = CausalLMPolicy.from_pretrained(tmp_path, dtype="bfloat16")
    assert policy.model.dtype is torch.bfloat16
    groups = collect(policy, envs, seed=0)
    assert all(e.logprob_T.dtype == np.float32 and (e.logprob_T[e.sampled_T] < 0).all() for e in groups.episodes)


def test_an_unknown_dtype_is_refused_by_name(make_envs: Any, make_policy: Any, tmp_path: Path) -> None:
    make_policy(make_envs()).save_pretrained(tmp_path)
    for name in ("float33", "nn", "int64"):
        with pytest.raises(ConfigurationError, match=name):
            CausalLMPolicy.from_pretrained(tmp_path, dtype=name)


def test_names_of_dtypes_and_devices_that_there_are() -> None:
    assert torch_dtype("bfloat16") is torch.bfloat16 and torch_dtype("double") is torch.float64
    check_device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_refused_by_name(device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"device='{device}' must be a torch device that this machine has: "):
        check_device(device)


def test_a_folder_without_a_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"policy='{tmp_path}' must be a Hugging Face folder"):
        pretrained_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_file_that_was_cut_short_is_named(make_envs: Any, make_policy: Any, tmp_path: Path, name: str) -> None:
    make_policy(make_envs()).save_pretrained(tmp_path)
    check_intact(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ResumeError, match=f"{name} is damaged"):
        check_intact(tmp_path)
    if name == "model.safetensors":
        with pytest.raises(ConfigurationError, match="must be a Hugging Face folder or the Hub name"):
            CausalLMPolicy.from_pretrained(tmp_path)
