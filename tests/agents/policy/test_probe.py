"""Probe: the way that is found gives the model's own log-probabilities, and a model is left as it was."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertLMHeadModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaModel,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MptConfig,
    MptForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
)

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.policy import probe
from g2rpo_env.agents.policy.probe import SHORT, Scoring, Stepping, find_scoring, find_stepping, score_rows, suspects
from g2rpo_env.agents.policy.scoring import score
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import char_tokenizer

SIZES: dict[str, Any] = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
WIDE: dict[str, Any] = {"intermediate_size": 64, "max_position_embeddings": 256, **SIZES, **ENDS}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 4.0, 16.0, 64.0],
}


def neo(window: int) -> GPTNeoForCausalLM:
    heads = {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": window}
    return GPTNeoForCausalLM(GPTNeoConfig(vocab_size=300, hidden_size=32, max_position_embeddings=256, **heads, **ENDS))


def phi3(change: int) -> Phi3ForCausalLM:
    config = Phi3Config(**WIDE, rope_parameters=dict(LONGROPE), original_max_position_embeddings=change)
    return Phi3ForCausalLM(config)


def scaled(make: Any) -> Any:
    """Random weights, scaled up so that a wrong position or mask shows."""
    torch.manual_seed(0)
    model = make()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model.eval()


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_FOUND", {})
    monkeypatch.setattr(probe, "_SAID", set())


def mistral(window: int) -> MistralForCausalLM:
    return MistralForCausalLM(MistralConfig(**WIDE, num_key_value_heads=2, sliding_window=window))


WAYS = {
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**WIDE)), Stepping.OWN),
    "gpt2": (
        lambda: GPT2LMHeadModel(GPT2Config(n_positions=99, n_embd=32, n_layer=2, n_head=4, **ENDS)),
        Stepping.SHARED,
    ),
    "a window longer than episodes": (lambda: neo(256), Stepping.SHARED),
    "a window of 8 tokens": (lambda: neo(8), Stepping.LEVEL),
    "a window between a short probe and the episodes": (lambda: neo(20), Stepping.LEVEL),
    "a sliding window": (lambda: mistral(25), Stepping.LEVEL),
    "ALiBi over columns": (
        lambda: MptForCausalLM(MptConfig(d_model=32, n_heads=4, n_layers=2, max_seq_len=99, vocab_size=300)),
        Stepping.LEVEL,
    ),
    "a recurrent state": (
        lambda: MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2)),
        Stepping.LEVEL,
    ),
    "positions from the padding token": (
        lambda: RobertaForCausalLM(RobertaConfig(**WIDE, is_decoder=True)),
        Stepping.WHOLE,
    ),
}


@pytest.mark.parametrize("what", WAYS)
def test_the_way_that_is_found_gives_the_models_own_log_probs(what: str, make_envs: Any) -> None:
    make, way = WAYS[what]
    envs = make_envs(8, 4, digits=(1, 4), guidance={"length": 7, "ratio": 0.5}, max_new_tokens=24)
    policy = CausalLMPolicy(scaled(make), char_tokenizer(), temperature=1.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        episodes = collect(policy, envs, seed=1).episodes
    assert policy._stepping() is way
    assert max(len(e.tokens_T) for e in episodes) > 35
    for episode in episodes:
        tokens = torch.from_numpy(episode.tokens_T.astype(np.int64))[None]
        places = np.flatnonzero(episode.sampled_T)
        with torch.no_grad():
            log_probs = policy.log_probs(policy.model(tokens, use_cache=False).logits[0])
        own = log_probs[places - 1].gather(1, tokens[0, places, None])[:, 0].numpy()
        assert float(np.abs(own - episode.logprob_T[places]).max()) < 1e-4


@pytest.mark.parametrize("length", [SHORT, 60])
def test_factors_that_depend_on_the_length_of_the_call_are_refused_where_an_episode_crosses_it(length: int) -> None:
    within, across = scaled(lambda: phi3(70)), scaled(lambda: phi3(10 if length == SHORT else 20))
    assert find_stepping(within, length, own=False) is Stepping.SHARED
    assert find_scoring(within, length) is Scoring.PADDED
    for find in (lambda: find_stepping(across, length, own=False), lambda: find_scoring(across, length)):
        with pytest.raises(ConfigurationError, match=r"Phi3ForCausalLM.*more tokens follow"):
            find()


def test_a_model_that_reads_both_ways_makes_no_policy() -> None:
    with pytest.raises(ConfigurationError, match="BertLMHeadModel gives a token another probability when more"):
        CausalLMPolicy(scaled(lambda: BertLMHeadModel(BertConfig(**WIDE))), char_tokenizer())


def test_a_model_without_weights_makes_a_policy_and_is_tried_later() -> None:
    with torch.device("meta"):
        CausalLMPolicy(BertLMHeadModel(BertConfig(**WIDE)), char_tokenizer())


def test_a_policy_is_tried_once_in_all_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    model = scaled(lambda: LlamaForCausalLM(LlamaConfig(**WIDE, head_dim=12)))
    CausalLMPolicy(model, char_tokenizer())
    monkeypatch.setattr(probe, "_try", lambda *_: pytest.fail("tried again"))
    for own in (True, False):
        CausalLMPolicy(model, char_tokenizer(), own_decoder=own).complete("1+1=", max_new_tokens=2)


def test_a_slower_way_is_said_once() -> None:
    model = scaled(lambda: neo(8))
    with pytest.warns(UserWarning, match="GPTNeoForCausalLM: lanes are stepped by a cache for each batch"):
        find_stepping(model, 30, own=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_stepping(model, 30, own=False)


def counted(fault: str = "") -> Any:
    """A model that counts its calls, and is wrong where several rows go through it ("rows"), or padding ("padding")."""
    model: Any = scaled(lambda: LlamaForCausalLM(LlamaConfig(**WIDE)))
    model.calls = 0

    def count(*_: Any) -> None:
        model.calls += 1

    model.register_forward_pre_hook(count)

    def disturb(_: Any, __: Any, given: dict[str, Any], out: Any) -> None:
        mask = given.get("attention_mask")
        padded = mask is not None and not bool(mask.all())
        if (fault == "rows" and len(out.last_hidden_state) > 1) or (fault == "padding" and padded):
            out.last_hidden_state = out.last_hidden_state * 1.1

    if fault:
        model.model.register_forward_hook(disturb, with_kwargs=True)
    return model


def test_results_are_kept_by_class_and_configuration() -> None:
    first, second = counted(), counted()
    find_stepping(first, 40, own=False)
    find_scoring(first, 40)
    assert 0 < first.calls < 40
    for length in (5, 40, 90):
        find_stepping(second, length, own=False)
        find_scoring(second, length)
    assert second.calls == 0


class Near(LlamaModel):
    """Sees the last ``reach`` columns of its cache, which no configuration says."""

    reach = 9999

    def forward(self, input_ids: Any, attention_mask: Any = None, past_key_values: Any = None, **given: Any) -> Any:
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        query, key = torch.arange(past, past + input_ids.shape[1])[:, None], torch.arange(past + input_ids.shape[1])
        seen = ((key <= query) & (key > query - self.reach))[None, None]
        if attention_mask is not None:
            seen = seen & attention_mask[:, None, None].bool()
        bias = torch.zeros(seen.shape).masked_fill(~seen, -1e9)
        return super().forward(input_ids, attention_mask=bias, past_key_values=past_key_values, **given)


class NearForCausalLM(LlamaForCausalLM):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = Near(config)


@pytest.mark.parametrize("reach", [8, 20, 50, 9999])
def test_a_window_that_no_configuration_says_is_found(reach: int, make_envs: Any) -> None:
    model: Any = scaled(lambda: NearForCausalLM(LlamaConfig(**WIDE)))
    model.model.reach = reach
    policy = CausalLMPolicy(model, char_tokenizer())
    envs = make_envs(8, 4, digits=(1, 8), guidance={"length": 7, "ratio": 0.5}, max_new_tokens=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        episodes = collect(policy, envs, seed=1).episodes
    assert policy._stepping() is (Stepping.LEVEL if reach < 60 else Stepping.SHARED)
    for episode in episodes:
        tokens = torch.from_numpy(episode.tokens_T.astype(np.int64))[None]
        places = np.flatnonzero(episode.sampled_T)
        with torch.no_grad():
            log_probs = policy.log_probs(model(tokens, use_cache=False).logits[0])
        own = log_probs[places - 1].gather(1, tokens[0, places, None])[:, 0].numpy()
        assert float(np.abs(own - episode.logprob_T[places]).max()) < 1e-4


def test_code_from_elsewhere_is_tried_once_for_its_longest_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = scaled(lambda: NearForCausalLM(LlamaConfig(**WIDE)))
    find_stepping(model, 60, own=False)
    monkeypatch.setattr(probe, "_try", lambda *_: pytest.fail("tried again"))
    for length in (60, 40, 5):
        assert find_stepping(model, length, own=False) is Stepping.SHARED


def test_nothing_is_learnt_from_weights_that_tell_no_order() -> None:
    model = counted()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    find_stepping(model, 40, own=False)
    calls = model.calls
    find_stepping(model, 40, own=False)
    assert model.calls > calls


def test_a_model_that_mixes_the_rows_of_a_batch_is_stepped_and_scored_alone() -> None:
    model = counted("rows")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert find_stepping(model, 40, own=False) is Stepping.ALONE
        assert find_scoring(model, 40) is Scoring.SINGLE


def test_a_model_that_padding_disturbs_is_scored_by_length() -> None:
    model = counted("padding")
    with pytest.warns(UserWarning, match="rows are scored those of equal length together"):
        assert find_scoring(model, 40) is Scoring.EQUAL
    policy = CausalLMPolicy(model, char_tokenizer())
    tokens = torch.randint(2, 258, (5, 12), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(12) < torch.tensor([12, 5, 7, 5, 12])[:, None]
    found = policy.token_log_probs(tokens, mask)
    for row in range(5):
        length = int(mask[row].sum())
        own = policy.log_probs(model(tokens[row : row + 1, :length], use_cache=False).logits[0, :-1])
        expected = own.gather(1, tokens[row, 1:length, None])[:, 0]
        assert torch.allclose(found[row, 1:length], expected, atol=1e-5)
        assert not found[row, length:].any()
    found.sum().backward()
    assert model.lm_head.weight.grad is not None and bool(model.lm_head.weight.grad.any())


@pytest.mark.parametrize("way", list(Scoring))
def test_rows_put_together_in_any_way_keep_their_order(way: Scoring) -> None:
    tokens = torch.arange(2, 38).view(4, 9)
    mask = torch.arange(9) < torch.tensor([4, 9, 2, 4])[:, None]

    def run(tokens: torch.Tensor, mask: torch.Tensor, where: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tokens * mask, where.long()

    one, two = score_rows(run, way, tokens, mask, mask & (tokens % 2 == 0))
    assert torch.equal(one, tokens * mask)
    assert torch.equal(two, (mask & (tokens % 2 == 0)).long())


def test_a_probe_leaves_modes_gradients_and_random_states_as_they_were() -> None:
    model = scaled(lambda: GPT2LMHeadModel(GPT2Config(n_positions=99, n_embd=32, n_layer=2, n_head=4, **ENDS)))
    model.train()
    model.transformer.h[0].eval()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    with torch.inference_mode():
        find_stepping(model, 40, own=False)
        find_scoring(model, 40)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_half_precision_is_told_from_a_wrong_way() -> None:
    assert find_stepping(scaled(lambda: LlamaForCausalLM(LlamaConfig(**WIDE))).bfloat16(), 40, own=True) is Stepping.OWN
    with pytest.warns(UserWarning, match="slower"):
        assert find_stepping(scaled(lambda: neo(8)).bfloat16(), 40, own=False) is Stepping.LEVEL


def test_a_policy_can_be_made_of_a_model_without_weights() -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**WIDE))
    assert CausalLMPolicy(model, char_tokenizer()).vocab_size == len(char_tokenizer())


def gemma(**text: Any) -> Gemma3ForConditionalGeneration:
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 4, "image_size": 28, "patch_size": 14}
    text = {**WIDE, "num_key_value_heads": 2, "head_dim": 8, **text}
    tokens = {"mm_tokens_per_image": 4, "boi_token_index": 290, "eoi_token_index": 291, "image_token_index": 292}
    return Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision, **tokens))


@pytest.mark.parametrize("kinds", [["full_attention"] * 2, ["sliding_attention", "full_attention"]])
def test_sizes_of_a_composite_model_are_those_of_its_text(kinds: list[str], make_envs: Any) -> None:
    policy = CausalLMPolicy(scaled(lambda: gemma(layer_types=kinds, sliding_window=8)), char_tokenizer())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        episodes = collect(policy, make_envs(8, 4, digits=(1, 4)), seed=1).episodes
    tokens = [torch.from_numpy(episode.tokens_T.astype(np.int64))[None] for episode in episodes]
    for episode, ids in zip(episodes, tokens, strict=True):
        scored = policy.token_log_probs(ids, torch.ones_like(ids, dtype=torch.bool))[0].detach().numpy()
        assert float(np.abs((scored - episode.logprob_T)[episode.sampled_T]).max()) < 1e-4


def test_suspects_are_integers_whose_name_does_not_say_something_else() -> None:
    config = LlamaConfig(**WIDE, attention_chunk_size=64, anything={"window": [16, 32]}, kernel=3)
    found = suspects(config)
    assert found.items() >= {"attention_chunk_size": 64, "window": 32, "max_position_embeddings": 256}.items()
    assert not {"hidden_size", "vocab_size", "num_hidden_layers", "eos_token_id", "kernel", "rope_theta"} & set(found)


def test_scores_are_those_of_the_probe(make_policy: Any, make_envs: Any) -> None:
    policy = make_policy(make_envs())
    tokens = torch.arange(2, 14)[None]
    where = torch.ones_like(tokens, dtype=torch.bool)
    expected = score(policy.model, tokens, where, where, temperature=1.0, vocab_size=policy.vocab_size)
    assert torch.equal(policy.token_log_probs(tokens, where), expected)
