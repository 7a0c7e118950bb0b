"""A checkpoint of one's own: byte-level BPE tokenizer and random weights, trained on GSM8K, loaded by transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import g2rpo_env
from g2rpo_env.agents import GRPO, CausalLMPolicy, recipes
from g2rpo_env.agents.recipe import Optimizer

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS = {
    "qwen3": lambda **o: Qwen3ForCausalLM(Qwen3Config(**SIZES, **o, num_key_value_heads=2, head_dim=8)),
    "llama": lambda **o: LlamaForCausalLM(LlamaConfig(**SIZES, **o, num_key_value_heads=2)),
}


def bpe_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer as published models have them, trained on these texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>")


def write_checkpoint(folder: Path, family: str, rows: Path, vocab_size: int, positions: int) -> None:
    """Write a Hugging Face folder: tokenizer trained on the rows, random weights, a padded vocabulary."""
    with rows.open(encoding="utf-8") as lines:
        texts = ["{question}\n{answer}".format(**json.loads(line)) for _, line in zip(range(2000), lines)]  # noqa: B905
    tokenizer = bpe_tokenizer(texts, vocab_size)
    torch.manual_seed(0)
    model = MODELS[family](
        vocab_size=len(tokenizer) + 13,
        max_position_embeddings=positions,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_and_reload(family: str, data: Path, folder: Path, vocab_size: int, max_new_tokens: int) -> None:
    """Train a checkpoint with g2rpo-a for two updates, save it, and compare it with what transformers loads."""
    write_checkpoint(folder / "base", family, data / "train.jsonl", vocab_size, 4096)
    policy = CausalLMPolicy.from_pretrained(folder / "base")
    envs = gym.make_vec(
        "g2rpo_env/GSM8K-v0",
        num_envs=8,
        group_size=4,
        data=str(data),
        tokenizer=str(folder / "base"),
        max_new_tokens=max_new_tokens,
    )
    envs.unwrapped.task.verifier = half_right
    envs = g2rpo_env.VectorGuidanceWrapper(envs, length=8, ratio=0.5)
    agent = recipes.make("g2rpo-a", policy, envs, optimizer=Optimizer(learning_rate=1e-3))
    before = {name: value.clone() for name, value in policy.model.state_dict().items()}
    losses: list[Any] = []
    agent.learn(2, lambda agent, metrics: losses.append(metrics["grad_norm"]))
    assert max(losses) > 0 and any(not torch.equal(before[n], v) for n, v in policy.model.state_dict().items())
    assert all(e.tokens_T.max() < len(policy.tokenizer) for e in agent.groups.episodes)

    agent.save(folder / "trained")
    model = AutoModelForCausalLM.from_pretrained(folder / "trained")
    tokenizer = AutoTokenizer.from_pretrained(folder / "trained")
    ids = tokenizer("Ann has 3 boxes of 4 pens.\n", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(model(ids).logits, policy.model(ids).logits)
    assert tokenizer.get_vocab() == policy.tokenizer.get_vocab() and tokenizer.eos_token == "<|endoftext|>"
    assert tokenizer.decode(ids[0]) == "Ann has 3 boxes of 4 pens.\n"
    resumed = GRPO.load(folder / "trained", envs)
    assert resumed.updates == 2 and resumed.policy.complete("Ann", 8) == policy.complete("Ann", 8)


def half_right(problems: Any, completions: Any) -> list[g2rpo_env.Verdict]:
    """A random policy never solves a word problem: correct if the completion has an even sum of bytes."""
    kinds = [g2rpo_env.Outcome.CORRECT, g2rpo_env.Outcome.WRONG]
    return [g2rpo_env.Verdict(kinds[sum(c.encode()) % 2]) for c in completions]


@pytest.mark.parametrize("family", list(MODELS))
def test_a_small_checkpoint_trains_on_word_problems_and_loads_anywhere(
    gsm8k_folder: Path, tmp_path: Path, family: str
) -> None:
    train_and_reload(family, gsm8k_folder, tmp_path, vocab_size=300, max_new_tokens=12)


@pytest.mark.long
@pytest.mark.parametrize("family", list(MODELS))
def test_a_checkpoint_trains_on_gsm8k_and_loads_anywhere(data_folder: Path, tmp_path: Path, family: str) -> None:
    train_and_reload(family, data_folder / "GSM8K", tmp_path, vocab_size=2000, max_new_tokens=64)


@pytest.mark.parametrize("family", list(MODELS))
def test_a_merging_tokenizer_keeps_cached_and_full_log_probs_equal(
    gsm8k_folder: Path, tmp_path: Path, family: str
) -> None:
    from g2rpo_env.agents import collect

    write_checkpoint(tmp_path, family, gsm8k_folder / "train.jsonl", 300, 4096)
    policy = CausalLMPolicy.from_pretrained(tmp_path)
    envs = gym.make_vec(
        "g2rpo_env/GSM8K-v0",
        num_envs=8,
        group_size=2,
        data=str(gsm8k_folder),
        tokenizer=policy.tokenizer,
        max_new_tokens=12,
    )
    envs = g2rpo_env.VectorGuidanceWrapper(envs, length=5, ratio=0.5)
    for episode in collect(policy, envs, seed=0).episodes:
        tokens = torch.from_numpy(episode.tokens_T[None].astype(np.int64))
        with torch.no_grad():
            full = policy.token_log_probs(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        assert np.abs(full - episode.logprob_T)[episode.sampled_T].max() < 1e-4
