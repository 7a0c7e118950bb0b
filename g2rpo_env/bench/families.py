"""``g2rpo-env bench families``: which families of transformers can be rolled out and trained, and in which way.

Every family is a small model with random weights, and every window shorter than the episodes. Unequal prompts, reveals
and ends are sampled, then each recorded log-probability, and each that training would compute, is set against the
model's own forward over that episode alone. The largest difference counts.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.policy.probe import Stepping, find_stepping
from g2rpo_env.errors import G2RPOError
from g2rpo_env.experiments.environments import make_envs
from g2rpo_env.guidance import VectorGuidanceWrapper
from g2rpo_env.tokenizer import char_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
"""Options of every configuration that knows them."""

SCALE = 2.0
"""Random weights are multiplied by this, so that a wrong position or mask shows."""

WINDOW = 8
"""Tokens of every window; episodes have 20 to 60."""

EXPERTS = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": WINDOW}
LATENT = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "head_dim": 8,
    "first_k_dense_replace": 1,
    "n_routed_experts": 4,
    "n_group": 1,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
SIGLIP = {"model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14, **VISION}
PIXTRAL = {"model_type": "pixtral", "image_size": 28, "patch_size": 14, "head_dim": 8, **VISION}
QWEN_VISION = {"depth": 1, "num_heads": 4, "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 64}
SECTIONS = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 4.0, 16.0, 64.0],
}


@dataclass(frozen=True)
class Family:
    """A small model of a family.

    Attributes:
        model: Name of its class in transformers.
        options: Of its configuration, beyond :data:`SIZES`; a composite one takes those of its text in ``text_config``.
        note: What is special about it.
    """

    model: str
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def make(self) -> Any:
        """Return the model."""
        import transformers

        kind = getattr(transformers, self.model)
        options = dict(self.options)
        known = {f.name for f in dataclasses.fields(kind.config_class)} | set(kind.config_class.attribute_map)
        given = {name: value for name, value in SIZES.items() if name in known}
        if "text_config" in options:
            options["text_config"] = {**SIZES, **options["text_config"]}
            given = {}
        torch.manual_seed(0)
        model = kind(kind.config_class(**{**given, **options}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(SCALE)
        return model


FAMILIES: dict[str, Family] = {
    "Llama": Family("LlamaForCausalLM"),
    "Qwen3": Family("Qwen3ForCausalLM"),
    "Apertus": Family("ApertusForCausalLM"),
    "BART decoder": Family("BartForCausalLM", {"d_model": 32, "decoder_ffn_dim": 64, "decoder_layers": 2}),
    "Bamba": Family(
        "BambaForCausalLM",
        {"mamba_n_heads": 4, "mamba_d_state": 16, "attn_layer_indices": [1], "mamba_chunk_size": WINDOW},
        "recurrent and attention",
    ),
    "BERT": Family("BertLMHeadModel", {"is_decoder": False}, "reads both ways"),
    "BERT decoder": Family("BertLMHeadModel", {"is_decoder": True}),
    "BioGPT": Family("BioGptForCausalLM"),
    "BLOOM": Family("BloomForCausalLM", {}, "ALiBi"),
    "CodeGen": Family("CodeGenForCausalLM", {"rotary_dim": 8}),
    "Cohere": Family("CohereForCausalLM", {}, "scaled logits"),
    "Cohere 2": Family("Cohere2ForCausalLM", MIXED, "window"),
    "CPM-Ant": Family("CpmAntForCausalLM", {"dim_head": 8, "dim_ff": 64, "prompt_length": 4}, "reads both ways"),
    "CTRL": Family("CTRLLMHeadModel", {"dff": 64}),
    "DeepSeek-V3": Family("DeepseekV3ForCausalLM", LATENT, "latent attention, experts"),
    "DiffLlama": Family("DiffLlamaForCausalLM"),
    "ERNIE 4.5": Family("Ernie4_5ForCausalLM"),
    "EXAONE 4": Family("Exaone4ForCausalLM", MIXED, "window"),
    "Falcon": Family("FalconForCausalLM"),
    "Falcon, ALiBi": Family("FalconForCausalLM", {"alibi": True}, "ALiBi"),
    "FalconMamba": Family("FalconMambaForCausalLM", {}, "recurrent"),
    "Gemma": Family("GemmaForCausalLM"),
    "Gemma 2": Family("Gemma2ForCausalLM", MIXED, "window, soft cap"),
    "Gemma 3": Family("Gemma3ForCausalLM", MIXED, "window"),
    "Gemma 3, images": Family(
        "Gemma3ForConditionalGeneration",
        {
            "text_config": MIXED,
            "vision_config": SIGLIP,
            "mm_tokens_per_image": 4,
            "boi_token_index": 290,
            "eoi_token_index": 291,
            "image_token_index": 292,
        },
        "composite, window",
    ),
    "GLM-4": Family("Glm4ForCausalLM"),
    "GPT-2": Family("GPT2LMHeadModel"),
    "GPT-BigCode": Family("GPTBigCodeForCausalLM"),
    "GPT-J": Family("GPTJForCausalLM", {"rotary_dim": 8}),
    "GPT-Neo": Family(
        "GPTNeoForCausalLM",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": WINDOW},
        "window",
    ),
    "GPT-NeoX": Family("GPTNeoXForCausalLM"),
    "gpt-oss": Family("GptOssForCausalLM", {**MIXED, **EXPERTS}, "window, sinks, experts"),
    "Granite": Family("GraniteForCausalLM", {}, "scaled logits"),
    "Granite, experts": Family("GraniteMoeForCausalLM", EXPERTS, "experts"),
    "Jamba": Family(
        "JambaForCausalLM",
        {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "num_experts": 2},
        "recurrent and attention",
    ),
    "LFM2": Family("Lfm2ForCausalLM", {"layer_types": ["conv", "full_attention"]}, "convolution and attention"),
    "Llama 4": Family(
        "Llama4ForCausalLM",
        {
            "layer_types": ["chunked_attention", "full_attention"],
            "attention_chunk_size": WINDOW,
            "intermediate_size_mlp": 64,
            "num_local_experts": 2,
        },
        "chunks, experts",
    ),
    "LLaVA": Family(
        "LlavaForConditionalGeneration",
        {"text_config": {"model_type": "llama"}, "vision_config": SIGLIP, "image_token_index": 292},
        "composite",
    ),
    "Mamba": Family("MambaForCausalLM", {}, "recurrent"),
    "Mamba 2": Family(
        "Mamba2ForCausalLM",
        {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": WINDOW},
        "recurrent",
    ),
    "Mistral": Family("MistralForCausalLM", {"sliding_window": WINDOW}, "window"),
    "Mistral 3, images": Family(
        "Mistral3ForConditionalGeneration",
        {
            "text_config": {"model_type": "mistral", "sliding_window": None},
            "vision_config": PIXTRAL,
            "image_token_index": 292,
        },
        "composite",
    ),
    "Mixtral": Family("MixtralForCausalLM", EXPERTS, "experts"),
    "ModernBERT decoder": Family(
        "ModernBertDecoderForCausalLM",
        {
            "layer_types": MIXED["layer_types"],
            "local_attention": WINDOW,
            "bos_token_id": 2,
            "cls_token_id": 2,
            "sep_token_id": 1,
        },
        "window",
    ),
    "MPT": Family("MptForCausalLM", {}, "ALiBi"),
    "Nemotron": Family("NemotronForCausalLM"),
    "OLMo": Family("OlmoForCausalLM"),
    "OLMo 2": Family("Olmo2ForCausalLM"),
    "OLMo 3": Family("Olmo3ForCausalLM", MIXED, "window"),
    "OpenAI GPT": Family("OpenAIGPTLMHeadModel", {}, "no cache"),
    "OPT": Family("OPTForCausalLM", {"ffn_dim": 64, "word_embed_proj_dim": 32}, "positions from 2 on"),
    "Persimmon": Family("PersimmonForCausalLM"),
    "Phi": Family("PhiForCausalLM"),
    "Phi-3": Family("Phi3ForCausalLM"),
    "Phi-3, longrope within": Family(
        "Phi3ForCausalLM", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 128}, "shorter than 128"
    ),
    "Phi-3, longrope across": Family(
        "Phi3ForCausalLM", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 20}, "longer than 20"
    ),
    "PhiMoE": Family("PhimoeForCausalLM", EXPERTS, "experts"),
    "Qwen2": Family("Qwen2ForCausalLM"),
    "Qwen2-VL": Family(
        "Qwen2VLForConditionalGeneration",
        {"text_config": SECTIONS, "vision_config": {**QWEN_VISION, "embed_dim": 32}, "image_token_id": 292},
        "composite",
    ),
    "Qwen2.5-VL": Family(
        "Qwen2_5_VLForConditionalGeneration",
        {"text_config": SECTIONS, "vision_config": QWEN_VISION, "image_token_id": 292},
        "composite",
    ),
    "Qwen3, experts": Family("Qwen3MoeForCausalLM", EXPERTS, "experts"),
    "Qwen3-Next": Family(
        "Qwen3NextForCausalLM",
        {
            **LINEAR,
            **EXPERTS,
            "shared_expert_intermediate_size": 32,
            "layer_types": ["linear_attention", "full_attention"],
        },
        "recurrent and attention, experts",
    ),
    "Qwen3-VL": Family(
        "Qwen3VLForConditionalGeneration",
        {
            "text_config": SECTIONS,
            "vision_config": {**QWEN_VISION, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            "image_token_id": 292,
        },
        "composite",
    ),
    "Qwen3.5": Family(
        "Qwen3_5ForCausalLM",
        {**LINEAR, "layer_types": ["linear_attention", "full_attention"]},
        "recurrent and attention",
    ),
    "RecurrentGemma": Family(
        "RecurrentGemmaForCausalLM",
        {"attention_window_size": WINDOW, "lru_width": 32, "num_hidden_layers": 3},
        "recurrent, window",
    ),
    "RoBERTa decoder": Family("RobertaForCausalLM", {"is_decoder": True}, "positions from the padding token"),
    "RWKV": Family("RwkvForCausalLM", {"attention_hidden_size": 32}, "recurrent"),
    "SmolLM3": Family("SmolLM3ForCausalLM"),
    "StableLM": Family("StableLmForCausalLM"),
    "StarCoder 2": Family("Starcoder2ForCausalLM", {"sliding_window": WINDOW}, "window"),
    "T5": Family("T5ForConditionalGeneration", {"d_model": 32, "d_kv": 8, "d_ff": 64}, "encoder and decoder"),
    "XGLM": Family("XGLMForCausalLM", {"ffn_dim": 64}),
    "xLSTM": Family("xLSTMForCausalLM", {"chunk_size": WINDOW}, "recurrent"),
    "Zamba 2": Family(
        "Zamba2ForCausalLM",
        {
            "layers_block_type": ["mamba", "hybrid"],
            "mamba_d_state": 8,
            "n_mamba_heads": 8,
            "chunk_size": WINDOW,
            "num_key_value_heads": 4,
            "attention_head_dim": 16,
            "adapter_rank": 4,
        },
        "recurrent and attention",
    ),
}
"""Name -> small model."""


@dataclass(frozen=True)
class FamilyRow:
    """What was found of a family; a difference is None where a model has no such path.

    Attributes:
        name: Key of :data:`FAMILIES`.
        own: Largest difference on the own decode path.
        other: Largest difference on the path for any model.
        stepping: How that path steps.
        lora: Largest difference with a LoRA adapter.
        ends: Whether several end tokens are taken from the model's generation configuration; None if not known.
        refused: Why the model is refused.
    """

    name: str
    own: float | None = None
    other: float | None = None
    stepping: Stepping | None = None
    lora: float | None = None
    ends: bool | None = None
    refused: str = ""


def measure_family(name: str) -> FamilyRow:
    """Return what is found of a family.

    Raises:
        AssertionError: a window is longer than the episodes.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # a slower way is what the table says
        family = FAMILIES[name]
        try:
            policy = CausalLMPolicy(family.make(), char_tokenizer(), own_decoder=False)
            other, length = measure_difference(policy)
            stepping = find_stepping(policy.model, length, own=False)
            own = None
            policy.own_decoder = True
            if type(policy.decoder(1)).__name__ == "FastDecoder":
                own, _ = measure_difference(policy)
        except G2RPOError as error:
            return FamilyRow(name, refused=_reason(error))
        return FamilyRow(name, own, other, stepping, _measure_lora(policy), has_several_ends(family.make()))


def _reason(error: Exception) -> str:
    """Return what an error says of the model, in short."""
    words = str(error).partition(" ")[2]
    for mark in (" (", ": ", ", ", "; "):
        words = words.partition(mark)[0]
    return words


def measure_difference(policy: CausalLMPolicy) -> tuple[float, int]:
    """Return the largest difference to the model's own forward, and how long an episode may be.

    What a rollout records and what training computes are both compared, each episode alone.
    """
    envs: Any = make_envs("g2rpo_env/Addition-v0", 2, 4, {"digits": (1, 4), "max_new_tokens": 24})
    envs = VectorGuidanceWrapper(envs, length=7, ratio=0.5, unit="tokens")
    episodes = collect(policy, envs, seed=1).episodes
    width = max(len(episode.tokens_T) for episode in episodes)
    tokens_NT = torch.zeros((len(episodes), width), dtype=torch.int64)
    mask_NT = torch.zeros((len(episodes), width), dtype=torch.bool)
    for row, episode in enumerate(episodes):
        tokens_NT[row, : len(episode.tokens_T)] = torch.from_numpy(episode.tokens_T.astype(np.int64))
        mask_NT[row, : len(episode.tokens_T)] = True
    with torch.no_grad():
        scored_NT = policy.token_log_probs(tokens_NT, mask_NT)
        worst = 0.0
        for row, episode in enumerate(episodes):
            tokens_T = tokens_NT[row : row + 1, : len(episode.tokens_T)]
            log_probs = policy.log_probs(policy.model(input_ids=tokens_T, use_cache=False).logits[0, :-1])
            own_T = log_probs.gather(1, tokens_T[0, 1:, None])[:, 0]
            sampled = torch.from_numpy(episode.sampled_T[1:])
            recorded_T = torch.from_numpy(episode.logprob_T[1:])
            differences = (recorded_T - own_T)[sampled], scored_NT[row, 1 : len(episode.tokens_T)] - own_T
            worst = max(worst, *(float(values.abs().max()) for values in differences))
    return worst, int(envs.unwrapped.task.length)


def _measure_lora(policy: CausalLMPolicy) -> float | None:
    """Return the largest difference with an adapter that does something; None where there can be none."""
    try:
        policy.add_lora(rank=2)
    except (G2RPOError, ValueError):
        return None
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return measure_difference(policy)[0]


def has_several_ends(model: Any) -> bool | None:
    """Return whether a policy takes all end tokens of a model's generation configuration; None if it has none."""
    if getattr(model, "generation_config", None) is None:
        return None
    model.generation_config.eos_token_id = [1, 5]
    return {1, 5} <= CausalLMPolicy(model, char_tokenizer()).end_tokens


def make_table(names: Sequence[str] = tuple(FAMILIES)) -> str:
    """Return the table of some families in Markdown."""
    lines = [
        "| family | special | own path | any model | stepped by | LoRA | several end tokens | refused |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        row = measure_family(name)
        by = "" if row.stepping is None else BY[row.stepping]
        ends = {True: "yes", False: "no", None: ""}[row.ends]
        differences = [format_difference(value) for value in (row.own, row.other)]
        cells = [name, FAMILIES[name].note, *differences, by, format_difference(row.lora), ends, row.refused]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(line.replace("  ", " ") for line in lines)


BY = {
    Stepping.SHARED: "shared cache",
    Stepping.LEVEL: "cache per length",
    Stepping.WHOLE: "whole contexts",
    Stepping.ALONE: "whole contexts, alone",
}
"""How the path for any model steps, in short."""


def format_difference(value: float | None) -> str:
    """Return the power of ten below which a difference stays, but 1e-6 where it is smaller still.

    >>> format_difference(3e-7), format_difference(0.00002), format_difference(None)
    ('< 1e-6', '< 1e-4', '')
    """
    return "" if value is None else f"< 1e{max(-6, math.ceil(math.log10(max(value, 1e-9))))}"
