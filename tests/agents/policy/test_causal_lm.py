"""CausalLMPolicy: the distribution, completions, saving and loading, and what it refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from tokenizer_families import FAMILIES, with_holes
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.errors import BudgetError, ConfigurationError, VocabularyMismatchError
from g2rpo_env.tokenizer import beginning, char_tokenizer, encode, unused_ids


def llama(vocab_size: int, seed: int = 0, **options: Any) -> LlamaForCausalLM:
    """A one-layer Llama with random weights, scaled up so that its choices differ."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=options.pop("max_position_embeddings", 512),
        bos_token_id=None,
        eos_token_id=options.pop("eos_token_id", 1),
        pad_token_id=0,
        **options,
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config)


# -- the distribution --------------------------------------------------------------------------------------------------


def test_log_probs_by_hand_at_two_temperatures(make_envs: Any) -> None:
    # logits (0, 2) at temperature 2 are (0, 1): probabilities 1 / (1 + e) and e / (1 + e)
    policy = CausalLMPolicy.tiny(make_envs(), hidden_size=32, layers=1, temperature=2.0)
    policy.vocab_size = 2
    probabilities = policy.log_probs(torch.tensor([0.0, 2.0])).exp()
    assert probabilities.tolist() == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)], rel=1e-6)


def test_logits_beyond_the_vocabulary_have_no_share_in_the_distribution() -> None:
    policy = CausalLMPolicy(llama(300), char_tokenizer())
    logits = torch.zeros(300)
    logits[258:] = 50.0
    assert policy.log_probs(logits).exp().tolist() == pytest.approx([1 / 258] * 258, rel=1e-5)


def test_token_log_probs_are_those_of_the_model_shifted_by_one(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs(), scale=3.0)
    tokens = torch.tensor([[5, 9, 7, 3], [8, 6, 0, 0]])
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    with torch.no_grad():
        scored = policy.token_log_probs(tokens, mask)
        alone = torch.log_softmax(policy.model(tokens[1:, :2]).logits, -1)
    assert scored[:, 0].tolist() == [0, 0]
    assert float(scored[1, 1]) == pytest.approx(float(alone[0, 0, 6]), abs=1e-5)


# -- completions -------------------------------------------------------------------------------------------------------


def reference_completion(policy: CausalLMPolicy, prompt: str, budget: int) -> str:
    """Greedy decoding by full re-encoding, without a cache."""
    ids = encode(policy.tokenizer, prompt)[0].tolist()
    start = len(ids)
    for _ in range(budget):
        with torch.no_grad():
            token = int(policy.model(torch.tensor([ids])).logits[0, -1, : policy.vocab_size].argmax())
        if token == policy.tokenizer.eos_token_id:
            break
        ids.append(token)
    return policy.tokenizer.decode(ids[start:])


@pytest.mark.parametrize("seed", range(3))
def test_a_greedy_completion_equals_decoding_without_a_cache(make_envs: Any, make_policy: Any, seed: int) -> None:
    policy = make_policy(make_envs(), seed, scale=4.0)
    assert policy.complete("1+1=", 12) == reference_completion(policy, "1+1=", 12) != ""


def test_a_sampled_completion_follows_its_seed(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    texts = [policy.complete("1+1=", 12, greedy=False, seed=s) for s in (0, 0, 1, 2)]
    assert texts[0] == texts[1] and len(set(texts)) == 3


def test_a_completion_stops_at_the_end_token_and_leaves_it_out(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    texts = {seed: policy.complete("=", 200, greedy=False, seed=seed) for seed in range(8)}
    ended = [s for s, text in texts.items() if text == policy.complete("=", 300, greedy=False, seed=s)]
    assert 0 < len(ended) < 8  # a flat distribution over 258 tokens ends before 200 tokens in every second case
    assert not any("<eos>" in text for text in texts.values())


def test_a_sampled_completion_draws_anew_for_every_token(make_envs: Any, make_policy: Any) -> None:
    text = make_policy(make_envs()).complete("1+1=", 40, greedy=False)
    assert len(set(text.encode())) > 10


def test_a_completion_is_no_longer_than_its_budget(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs(), scale=4.0)
    assert policy.complete("1+1=", 3) == policy.complete("1+1=", 12)[:3]


@pytest.mark.parametrize(
    "arguments,error,words",
    [
        (("", 4), ConfigurationError, "prompt"),
        (("1+1=", 0), ConfigurationError, "max_new_tokens=0"),
        (("1+1=", 600), BudgetError, "max_position_embeddings=512"),
    ],
)
def test_completions_that_cannot_be_are_refused(
    make_envs: Any, make_policy: Any, arguments: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make_policy(make_envs()).complete(*arguments)


# -- making, saving, loading -------------------------------------------------------------------------------------------


def test_the_default_policy_has_about_0_36_million_parameters(make_envs: Any) -> None:
    parameters = sum(p.numel() for p in CausalLMPolicy.tiny(make_envs()).model.parameters())
    assert 0.34e6 < parameters < 0.38e6


def test_equal_seeds_give_equal_weights_and_leave_the_global_generator_alone(
    make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (weights_of(make_policy(make_envs(), seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(one, two) and not same_weights(one, other)


@pytest.mark.parametrize("family", ["qwen3", "llama"])
def test_saving_and_loading_keeps_weights_tokens_and_completions(
    make_envs: Any, make_policy: Any, tmp_path: Path, weights_of: Any, same_weights: Any, family: str
) -> None:
    envs = make_envs()
    policy = make_policy(envs, scale=4.0) if family == "qwen3" else CausalLMPolicy(llama(300), char_tokenizer())
    policy.save_pretrained(tmp_path)
    loaded = CausalLMPolicy.from_pretrained(tmp_path)
    assert same_weights(weights_of(policy), weights_of(loaded))
    assert type(loaded.model) is type(policy.model)
    assert loaded.complete("1+1=", 12) == policy.complete("1+1=", 12)
    loaded.check_fits(envs)


def test_dropout_is_off() -> None:
    policy = CausalLMPolicy(llama(258, attention_dropout=0.5), char_tokenizer())
    tokens, mask = torch.randint(2, 258, (2, 20)), torch.ones(2, 20, dtype=torch.bool)
    with torch.no_grad():
        quiet = policy.token_log_probs(tokens, mask)
    policy.model.train()
    assert torch.equal(policy.token_log_probs(tokens, mask), quiet) and not policy.model.training
    policy.model.train()
    assert torch.allclose(policy.token_scores(tokens, mask, mask)[0], quiet) and not policy.model.training


@pytest.mark.parametrize("lora", [False, True])
def test_a_model_in_training_mode_is_sampled_without_dropout(make_envs: Any, lora: bool) -> None:
    sizes = {"vocab_size": 258, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 99}
    model = GPT2LMHeadModel(GPT2Config(**sizes, attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5))
    policy = CausalLMPolicy(model, char_tokenizer())
    if lora:
        policy.add_lora(rank=2)
    before = collect(policy, make_envs(), seed=0).episodes
    policy.model.train()
    after = collect(policy, make_envs(), seed=0).episodes
    assert all(np.array_equal(a.logprob_T, b.logprob_T) for a, b in zip(before, after, strict=True))
    policy.model.train()
    assert policy.complete("1+1=", 8) == policy.complete("1+1=", 8)


def test_a_module_that_is_no_model_of_transformers_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="model=Linear must be a causal language model .* it has no config"):
        CausalLMPolicy(torch.nn.Linear(2, 2), char_tokenizer())  # type: ignore[arg-type]


# -- what does not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_above_zero_is_refused(make_envs: Any, temperature: float) -> None:
    with pytest.raises(ConfigurationError, match="temperature="):
        CausalLMPolicy.tiny(make_envs(), hidden_size=32, layers=1, temperature=temperature)


def test_a_model_with_too_few_logits_is_refused() -> None:
    with pytest.raises(VocabularyMismatchError, match="vocab_size=200"):
        CausalLMPolicy(llama(200), char_tokenizer())


def test_tokenizers_that_differ_are_refused(make_envs: Any, make_policy: Any, merging_tokenizer: Any) -> None:
    policy = make_policy(make_envs())
    with pytest.raises(VocabularyMismatchError, match="tokenizer=policy.tokenizer"):
        collect(policy, make_envs(tokenizer=merging_tokenizer))


def test_too_few_positions_are_refused(make_envs: Any) -> None:
    policy = CausalLMPolicy(llama(258, max_position_embeddings=16), char_tokenizer())
    with pytest.raises(BudgetError, match="max_position_embeddings=16"):
        collect(policy, make_envs())


def test_a_reduced_vocabulary_is_refused(make_envs: Any, make_policy: Any) -> None:
    policy = make_policy(make_envs())
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, group_size=2, vocabulary="0123456789#")
    with pytest.raises(VocabularyMismatchError, match="reduced vocabulary of 12 actions"):
        collect(policy, envs)


# -- beginnings, ends, ids without a token ----------------------------------------------------------------------------


def says(model: Any, after: dict[int, int], otherwise: int) -> Any:
    """A model whose next token is certain, by the last one."""
    original = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        ids = kwargs.get("input_ids", args[0] if args else None)
        chosen = torch.full_like(ids, otherwise)
        for last, token in after.items():
            chosen[ids == last] = token
        out.logits = torch.zeros_like(out.logits).scatter_(-1, chosen[..., None], 50.0)
        return out

    model.forward = forward
    return model


@pytest.mark.parametrize("name", ["Gemma", "Llama 2", "OPT", "GLM, two tokens", "language code", "encoder with bytes"])
def test_a_completion_reads_what_the_tokenizer_puts_before_a_text(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    model, read = llama(500), []
    with torch.no_grad():  # so that the order of tokens matters, and the model is tried once, when the policy is made
        for weight in model.parameters():
            weight.mul_(4.0)
    policy = CausalLMPolicy(model, tokenizer, own_decoder=False)
    policy.model.register_forward_pre_hook(lambda m, a, k: read.extend(k["input_ids"][0].tolist()), with_kwargs=True)
    policy.model.model.register_forward_pre_hook(
        lambda m, a, k: read.extend(k["input_ids"][0].tolist()) if k["input_ids"].shape[1] > 1 else None,
        with_kwargs=True,
    )
    policy.complete("What is", max_new_tokens=1)
    begin = beginning(tokenizer).tolist()
    assert begin and read == [*begin, *encode(tokenizer, "What is", begins=True)[0]]
    read.clear()
    policy.complete("What is", max_new_tokens=1, begin_tokens=())
    assert read == encode(tokenizer, "What is", begins=True)[0].tolist()


@pytest.mark.parametrize("where", ["list", "one", "config", "template"])
def test_a_completion_ends_where_generate_does_and_at_the_end_of_a_turn(where: str) -> None:
    tokenizer = copy.deepcopy(char_tokenizer())
    tokenizer.add_special_tokens({"additional_special_tokens": ["<end_of_turn>"]})
    turn, seven = tokenizer.convert_tokens_to_ids("<end_of_turn>"), int(encode(tokenizer, "7")[0][0])
    model = says(llama(300), {seven: turn}, seven)
    if where == "template":
        tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}<end_of_turn>{% endfor %}"
    elif where == "config":
        model.config.eos_token_id = [1, turn]
    else:
        model.generation_config.eos_token_id = [1, turn] if where == "list" else turn
    policy = CausalLMPolicy(model, tokenizer, own_decoder=False)
    assert policy.end_tokens == {1, turn} and policy.complete("3+4=", 8) == "7"


def test_one_end_token_that_is_text_to_the_tokenizer_is_the_default_of_another_model() -> None:
    model = llama(300)
    model.config.eos_token_id = model.generation_config.eos_token_id = 40
    policy = CausalLMPolicy(model, char_tokenizer())
    assert policy.end_tokens == {1}
    model.generation_config.eos_token_id = [40, 299]  # a list is meant; 299 is beyond the tokenizer
    assert policy.end_tokens == {1, 40}


def test_a_completion_is_what_it_adds_to_the_text() -> None:
    tokenizer = FAMILIES["Llama 2"].tokenizer
    space, one = tokenizer.convert_tokens_to_ids("▁"), tokenizer.convert_tokens_to_ids("1")
    colon = tokenizer.convert_tokens_to_ids(":")
    model = says(llama(500, eos_token_id=2), {colon: space, space: one, one: 2}, one)
    assert CausalLMPolicy(model, tokenizer, own_decoder=False).complete("def f():", 8) == " 1"


def test_ids_without_a_token_are_never_sampled() -> None:
    tokenizer = with_holes()
    with pytest.raises(VocabularyMismatchError, match="vocab_size=400, the tokenizer 401"):
        CausalLMPolicy(llama(400), tokenizer)
    policy = CausalLMPolicy(llama(401), tokenizer)
    unused = unused_ids(tokenizer)
    log_probs = policy.sampling_log_probs(torch.zeros(2, 401))
    assert torch.isinf(log_probs[:, unused]).all() and float(log_probs.exp().sum()) == pytest.approx(2)
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0", num_envs=8, group_size=4, digits=1, max_new_tokens=30, tokenizer=tokenizer
    )
    tokens = np.concatenate([e.tokens_T for e in collect(policy, envs, seed=0).episodes])
    assert not np.isin(tokens, unused).any() and len(tokens) > 100
