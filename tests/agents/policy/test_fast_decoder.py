"""FastDecoder: equal to the forward of the model, whatever the lanes do; prefixes are computed once."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.policy.decoder import Decoder
from g2rpo_env.agents.policy.fast_decoder import ROOM, FastDecoder, reason_against
from g2rpo_env.tokenizer import char_tokenizer

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
ENDS = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}


def qwen3(**options: Any) -> Qwen3ForCausalLM:
    return Qwen3ForCausalLM(Qwen3Config(**{"vocab_size": 300, "head_dim": 8, **SIZES, **ENDS, **options}))


def llama(**options: Any) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**{"vocab_size": 300, "num_key_value_heads": 2, **SIZES, **ENDS, **options}))


MODELS = {
    "qwen3": lambda: qwen3(num_key_value_heads=4, tie_word_embeddings=True),
    "qwen3 with shared key heads and wide heads": lambda: qwen3(num_key_value_heads=1, head_dim=16),
    "qwen3 with biases": lambda: qwen3(num_key_value_heads=2, attention_bias=True),
    "llama": lambda: llama(),
    "llama with biases": lambda: llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "llama 3 positions": lambda: llama(rope_parameters=LLAMA3, max_position_embeddings=256),
    "yarn positions": lambda: qwen3(num_key_value_heads=2, rope_parameters=YARN, max_position_embeddings=256),
}


def make_policy_of(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> CausalLMPolicy:
    """Random weights, scaled up so that a wrong position or mask shows; biases and norms other than 0 and 1."""
    torch.manual_seed(0)
    model = MODELS[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0).add_(torch.randn_like(parameter) * 0.02)
    return CausalLMPolicy(model.to(dtype), char_tokenizer(), **{"temperature": 1.3, **options})


@pytest.fixture(params=list(MODELS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Lanes:
    """Contexts of 6 lanes that grow by random tokens, and a decoder that follows them."""

    def __init__(self, policy: CausalLMPolicy, tolerance: float = 1e-4) -> None:
        self.policy, self.tolerance, self.random = policy, tolerance, np.random.default_rng(0)
        self.tokens = self.random.integers(2, 258, (6, 3 * ROOM))
        self.length = np.array([3, 9, 1, 5, 7, 2])
        self.decoder = policy.decoder(6)
        assert isinstance(self.decoder, FastDecoder)

    def check(self, *lanes: int) -> None:
        """Feed some lanes, compare with encoding each alone without a cache, then grow them by one token."""
        chosen = np.array(lanes)
        got = self.policy.log_probs(self.decoder.advance(self.tokens, self.length, chosen).double())
        for row, lane in zip(got, chosen, strict=True):
            with torch.no_grad():
                logits = self.policy.model(torch.from_numpy(self.tokens[lane : lane + 1, : self.length[lane]])).logits
            assert float((row - self.policy.log_probs(logits[0, -1].double())).abs().max()) < self.tolerance
        assert (self.decoder.consumed[chosen] == self.length[chosen]).all()
        self.length[chosen] += 1

    def restart(self, *lanes: int) -> None:
        """Begin other episodes in some lanes."""
        chosen = np.array(lanes)
        self.tokens[chosen] = self.random.integers(2, 258, (len(lanes), self.tokens.shape[1]))
        self.length[chosen] = self.random.integers(1, 10, len(lanes))
        self.decoder.restart(chosen)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-10)])
def test_log_probs_equal_those_of_the_forward(name: str, dtype: torch.dtype, tolerance: float) -> None:
    lanes = Lanes(make_policy_of(name, dtype), tolerance)
    everyone = range(6)
    lanes.check(*everyone)
    lanes.check(5, 3, 0, 1, 4, 2)
    lanes.length += np.array([0, 4, 1, 0, 7, 2])  # what an environment may append after an action
    lanes.check(*everyone)
    lanes.restart(1, 4)
    lanes.check(*everyone)
    for running in ([0, 1, 2, 3, 4], [0, 2, 4, 1], [1, 4], [1, 4], [4]):
        lanes.check(*running)
    assert (lanes.decoder.consumed > 0).tolist() == [False, False, False, False, True, False]
    lanes.restart(3)
    lanes.check(4, 3, 5)
    lanes.check(*everyone)
    lanes.length += ROOM  # the cache has to grow
    lanes.check(*everyone)
    lanes.check(*everyone)
    lanes.restart(*everyone)
    lanes.check(*everyone)


@pytest.mark.parametrize("guidance", [None, {"length": 7, "ratio": 0.5}], ids=["plain", "guided"])
def test_own_path_and_forward_collect_the_same_episodes_in_float64(name: str, make_envs: Any, guidance: Any) -> None:
    episodes = []
    for own in (True, False):
        policy = make_policy_of(name, torch.float64, own_decoder=own)
        envs = make_envs(16, 4, digits=(1, 4), guidance=guidance, max_new_tokens=24, stop_strings=tuple("0123456789"))
        assert isinstance(policy.decoder(2), FastDecoder if own else Decoder)
        episodes.append(collect(policy, envs, seed=1).episodes)
    assert len({int(e.sampled_T.sum()) for e in episodes[0]}) > 1  # some end before others
    for mine, other in zip(*episodes, strict=True):
        assert np.array_equal(mine.tokens_T, other.tokens_T)
        assert float(np.abs(mine.logprob_T - other.logprob_T).max()) < 1e-6


def test_half_precision_stays_near_the_forward(name: str) -> None:
    # bfloat16 keeps 8 bits: log-probabilities of size 10 are known to about 0.05 either way.
    lanes = Lanes(make_policy_of(name, torch.bfloat16), 0.6)
    lanes.check(*range(6))
    lanes.check(*range(6))


# -- prefixes ---------------------------------------------------------------------------------------------------------


def test_members_of_a_group_share_their_prompt() -> None:
    lanes = Lanes(make_policy_of("qwen3"))
    lanes.tokens[1:3], lanes.tokens[4:6] = lanes.tokens[0], lanes.tokens[3]
    lanes.length[:] = [9, 9, 9, 6, 6, 6]
    lanes.check(*range(6))
    # 8 and 5 tokens for a prompt without its last one, then the last one of each lane.
    assert lanes.decoder.computed == 8 + 5 + 6


def test_a_reveal_is_computed_after_the_prompt_that_it_shares() -> None:
    lanes = Lanes(make_policy_of("qwen3"))
    lanes.tokens[1:3, :9] = lanes.tokens[0, :9]
    lanes.length[:] = [9, 14, 13, 6, 5, 3]
    lanes.check(*range(6))
    # Lanes 1 and 2 take 8 tokens of lane 0; of the rest lane 1 lacks 5 and lane 2 lacks 4, in one pass.
    assert lanes.decoder.computed == 8 + 5 + 4 + 5 + 4 + 2 + 6


def test_a_lane_that_is_filled_again_takes_its_prompt_from_a_row_that_holds_it() -> None:
    lanes = Lanes(make_policy_of("qwen3"))
    lanes.length[:] = 8
    lanes.check(*range(6))
    lanes.check(*range(6))
    before = lanes.decoder.computed
    lanes.tokens[2, :8] = lanes.tokens[4, :8]  # another member of lane 4's group
    lanes.length[[2, 5]] = 8  # lane 5: the next member of its own group
    lanes.tokens[3] = lanes.tokens[2]  # a third one, of the row that is itself overwritten
    lanes.length[3] = 8
    lanes.decoder.restart(np.array([2, 3, 5]))
    lanes.check(*range(6))
    assert lanes.decoder.computed == before + 6
    lanes.check(*range(6))


def test_rows_that_exchange_their_prompts_do_not_read_what_the_other_wrote() -> None:
    lanes = Lanes(make_policy_of("llama"))
    lanes.length[:] = 8
    lanes.check(*range(6))
    lanes.tokens[[0, 1, 2]] = lanes.tokens[[1, 2, 0]]
    lanes.length[:3] = 8
    lanes.decoder.restart(np.array([0, 1, 2]))
    before = lanes.decoder.computed
    lanes.check(*range(6))
    assert lanes.decoder.computed == before + 6


# -- weights ----------------------------------------------------------------------------------------------------------


def test_weights_are_those_of_the_live_model(name: str) -> None:
    lanes = Lanes(make_policy_of(name))
    lanes.check(*range(6))
    with torch.no_grad():
        for parameter in lanes.policy.model.parameters():
            parameter.mul_(1.01)
    lanes.check(*range(6))
    state = {key: value * 1.01 for key, value in lanes.policy.model.state_dict().items()}
    lanes.policy.model.load_state_dict(state)
    lanes.check(*range(6))


def test_weights_of_the_model_are_left_as_they_are(weights_of: Any, same_weights: Any) -> None:
    policy = make_policy_of("qwen3")
    before, places = weights_of(policy), [p.data_ptr() for p in policy.model.parameters()]
    lanes = Lanes(policy)
    lanes.check(*range(6))
    assert same_weights(before, weights_of(policy))
    assert places == [p.data_ptr() for p in policy.model.parameters()]
    assert all(p.grad is None and p.requires_grad for p in policy.model.parameters())


def test_a_decoder_fits_the_arguments_it_was_made_with_and_no_others() -> None:
    model, way = qwen3(), {"compile": False, "cuda_graphs": True}
    decoder = FastDecoder(model, 4, **way)
    assert decoder.fits(model, 4, **way) and not decoder.has_cuda_graphs
    assert not decoder.fits(qwen3(), 4, **way) and not decoder.fits(model, 5, **way)
    for name in way:
        assert not decoder.fits(model, 4, **{**way, name: not way[name]})


# -- where it does not fit --------------------------------------------------------------------------------------------


class Adapter(torch.nn.Linear):
    """Stands for a LoRA or quantised layer."""


def with_adapter() -> LlamaForCausalLM:
    model = llama()
    model.model.layers[1].mlp.up_proj = Adapter(32, 64, bias=False)
    return model


class Around(torch.nn.Module):
    """Stands for a module that an adapter puts around another one."""

    def __init__(self, inside: torch.nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, *args: Any, **given: Any) -> Any:
        return self.inside(*args, **given)


def with_attention_inside() -> LlamaForCausalLM:
    model = llama()
    model.model.layers[1].self_attn = Around(model.model.layers[1].self_attn)
    return model


def with_hook() -> LlamaForCausalLM:
    model = llama()
    model.model.layers[0].register_forward_hook(lambda module, arguments, output: output)
    return model


def with_two_dtypes() -> LlamaForCausalLM:
    model = llama()
    model.lm_head.to(torch.float64)
    return model


class Changed(LlamaForCausalLM):
    """A subclass may do something else."""


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MistralForCausalLM(MistralConfig(vocab_size=300, num_key_value_heads=2, **SIZES)), "Mistral"),
        (lambda: Changed(LlamaConfig(vocab_size=300, **SIZES)), "Changed"),
        (
            lambda: qwen3(num_key_value_heads=4, use_sliding_window=True, sliding_window=99, max_window_layers=1),
            "full attention",
        ),
        (lambda: llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic"),
        (with_adapter, "up_proj is an adapter"),
        (with_attention_inside, "q_proj is an adapter"),
        (with_hook, "hook"),
        (with_two_dtypes, "more than one dtype"),
    ],
)
def test_other_models_are_stepped_through_their_own_forward(make: Any, words: str) -> None:
    model = make()
    assert words in str(reason_against(model))
    assert isinstance(CausalLMPolicy(model, char_tokenizer()).decoder(2), Decoder)


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_the_compiled_pass_is_the_same_and_says_once_that_it_takes_time(capfd: pytest.CaptureFixture[str]) -> None:
    lanes = Lanes(make_policy_of("qwen3", compile=True))
    for running in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 2, 4], [2], [2]):
        lanes.check(*running)
    again = Lanes(make_policy_of("qwen3", compile=True))
    again.check(0, 1, 2)
    assert capfd.readouterr().err.count("g2rpo-env: compiling the decode path") == 1
