"""Devices: where a benchmark runs, on which model, and the device's peaks.

The work that is set against a device's peak is that of the model, whatever a side does on top of it:

- A token costs 2 FLOPs per weight of a linear layer, the head's included, and 4 * layers * query heads * head size per
  token that it attends to, for the scores and the mixture (Kaplan et al., arXiv 2001.08361, table 1). A backward pass
  costs twice that; what is computed again in it does not count.
- A step of decoding must read every such weight once, and keys and values of what its lanes attend to: 2 * layers *
  key heads * head size numbers per token.

Prompts are left out of the work of decoding. Peaks are those of the vendor's data sheets: dense products, without TF32.
"""

from __future__ import annotations

import itertools
import string
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.policy.loading import torch_dtype
from g2rpo_env.bench.measurement import Measurement
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import EOS, PAD

MODELS: dict[str, dict[str, Any]] = {
    "0.6b": {
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 40_960,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "tie_word_embeddings": True,
    }
}
"""Name -> configuration, with random weights; 0.6b is that of Qwen/Qwen3-0.6B."""

HALF, SINGLE = "half", "single"
PEAKS = {
    "NVIDIA H100 80GB HBM3": ({HALF: 989e12, SINGLE: 67e12}, 3.35e12),
    "NVIDIA H200": ({HALF: 989e12, SINGLE: 67e12}, 4.8e12),
}
"""Name of a device -> (FLOP/s by precision, bytes/s)."""


@dataclass(frozen=True)
class Place:
    """Where a benchmark runs, and on which model.

    Args:
        device: Torch device.
        dtype: Name of a torch dtype.
        model: Key of :data:`MODELS`; None for the small one of the benchmark.
        compiled: Whether the compiled decode path is measured, too.

    Raises:
        ConfigurationError: there is no such model, dtype or device.
    """

    device: str = "cpu"
    dtype: str = "float32"
    model: str | None = None
    compiled: bool = True

    def __post_init__(self) -> None:
        if self.model is not None and self.model not in MODELS:
            raise ConfigurationError(f"model={self.model!r} must be one of {', '.join(MODELS)}")
        torch_dtype(self.dtype)  # raises unless there is one
        try:
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:  # what torch raises depends on how it was built
            raise ConfigurationError(f"device={self.device!r} cannot be used: {error}") from None

    @property
    def kind(self) -> torch.dtype:
        """Return the dtype."""
        return torch_dtype(self.dtype)

    @property
    def on_cpu(self) -> bool:
        """Whether this is the processor, whose threads are stated."""
        return torch.device(self.device).type == "cpu"

    def put(self, model: Any) -> Any:
        """Return a model moved here, in the dtype."""
        return model.to(self.device, self.kind)

    def read_clock(self) -> float:
        """Return the time in seconds, when all that was asked of the device has been done."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def note(self, name: str, value: float, unit: str) -> None:
        """Print a figure as soon as it is measured, since the table comes at the end."""
        print(f"{name}: {value:,.4g} {unit}", file=sys.stderr, flush=True)

    def prepare(self, threads: int) -> list[Measurement]:
        """Set torch's threads on a processor, and return what the figures hold for: those, or the device by name."""
        if self.on_cpu:
            torch.set_num_threads(threads)
            return [Measurement("threads of torch", threads, "threads")]
        device = torch.cuda.get_device_properties(self.device)
        return [Measurement(f"{device.name}, {self.dtype}", device.multi_processor_count, "SMs")]

    def make_model(self) -> Any:
        """Return the model of :data:`MODELS` with random weights."""
        from transformers import Qwen3Config, Qwen3ForCausalLM

        assert self.model is not None
        config = Qwen3Config(**MODELS[self.model], bos_token_id=None, eos_token_id=1, pad_token_id=0)
        torch.manual_seed(0)
        with torch.device(self.device):
            return self.put(Qwen3ForCausalLM(config)).eval()

    def make_policy(self) -> CausalLMPolicy:
        """Return a policy of that model whose tokenizer has a token for each of its logits."""
        model = self.make_model()
        return CausalLMPolicy(model, make_wide_tokenizer(model.config.vocab_size))

    def get_shares(self, title: str, seconds: float, work: Work) -> list[Measurement]:
        """Return the shares of the device's peaks; none where they are not known."""
        if self.on_cpu or torch.cuda.get_device_name(self.device) not in PEAKS:
            return []
        flops, bandwidth = PEAKS[torch.cuda.get_device_name(self.device)]
        peak = flops[HALF if self.kind in (torch.bfloat16, torch.float16) else SINGLE]
        rows = [Measurement(f"{title}: share of peak FLOP/s", work.flops / seconds / peak, "ratio")]
        if work.bytes:
            rows.append(Measurement(f"{title}: share of peak bytes/s", work.bytes / seconds / bandwidth, "ratio"))
        return rows


@dataclass(frozen=True)
class Work:
    """Work that has to be done.

    Attributes:
        flops: Operations.
        bytes: Bytes to be read; 0 where nobody counts them.
    """

    flops: float
    bytes: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Work that the tokens of a model take, see the module.

    Args:
        model: A transformers causal LM with grouped attention.
    """

    model: Any

    @cached_property
    def weights(self) -> int:
        """Weights of linear layers, the head's included."""
        return sum(m.weight.numel() for m in self.model.modules() if isinstance(m, torch.nn.Linear))

    @cached_property
    def head(self) -> int:
        """Weights of the head."""
        return self.model.lm_head.weight.numel()

    @cached_property
    def pair(self) -> int:
        """FLOPs of a token per token that it attends to."""
        config = self.model.config
        return 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim

    def count_decoding(self, prompt: int, length_N: np.ndarray, steps: int) -> Work:
        """Return the work of writing answers of some lengths after prompts of ``prompt`` tokens in some steps."""
        config, size = self.model.config, self.model.dtype.itemsize
        tokens = int(length_N.sum())
        seen = int((length_N * prompt + length_N * (length_N - 1) // 2).sum())
        held = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * size
        return Work(2.0 * self.weights * tokens + self.pair * seen, float(steps) * self.weights * size + held * seen)

    def count_update(self, length_N: np.ndarray, scored: int) -> Work:
        """Return the work of a forward and a backward pass over rows of some lengths, ``scored`` tokens in the loss."""
        tokens, seen = int(length_N.sum()), int((length_N * (length_N + 1) // 2).sum())
        return Work(3.0 * (2 * (self.weights - self.head) * tokens + 2 * self.head * scored + self.pair * seen))


def make_wide_tokenizer(size: int) -> Any:
    """Return a tokenizer of ``size`` tokens that encodes text byte by byte.

    The further tokens are words that it never writes itself, so that every sample of a model with as many logits can be
    decoded.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = (itertools.product(string.ascii_letters, repeat=n) for n in itertools.count(2))
    words = map("".join, itertools.chain.from_iterable(letters))
    names = itertools.islice(itertools.chain([PAD, EOS], alphabet, words), size)
    tokenizer = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD)
