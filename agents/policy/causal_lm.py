"""CausalLMPolicy: any transformers causal language model as a policy over tokens.

A policy is a model, its tokenizer and a sampling temperature, nothing else; the state of a rollout lives in a Decoder.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.decoder import Decoder
from g2rpo_env.agents.policy.fast_decoder import FastDecoder, reason_against
from g2rpo_env.agents.policy.loading import (
    check_device,
    count_logits,
    find_end_tokens,
    find_positions,
    no_model,
    pretrained_tokenizer,
    torch_dtype,
)
from g2rpo_env.agents.policy.probe import (
    SHORT,
    Scoring,
    Stepping,
    find_scoring,
    find_stepping,
    score_rows,
    try_ways,
)
from g2rpo_env.agents.policy.protocol import LaneDecoder, Policy
from g2rpo_env.agents.policy.sampling import Truncation, check_temperature, draw
from g2rpo_env.agents.policy.scoring import TokenStates, score, score_with_entropy, states
from g2rpo_env.agents.policy.whole_decoder import WholeDecoder
from g2rpo_env.encoding import encode_prompt, encode_template
from g2rpo_env.episode import Episode
from g2rpo_env.errors import BudgetError, ConfigurationError, VocabularyMismatchError
from g2rpo_env.tokenizer import (
    check_tokenizer,
    decode,
    same_vocabulary,
    unused_ids,
    vocabulary_size,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


class CausalLMPolicy:
    """A causal language model that samples tokens and scores given ones.

    Args:
        model: Any transformers causal LM; its vocabulary may be padded beyond the tokenizer's, those logits are masked.
        tokenizer: The fast tokenizer of the environments the policy is used with.
        temperature: Of the sampling distribution, > 0; trained log-probabilities are those of the distribution at this
            temperature, recorded ones those of the sampling distribution, which top_k, top_p and min_p may truncate.
        top_k: Sample among the k likeliest tokens, >= 1; None for all.
        top_p: Sample among the fewest likeliest tokens that hold this share of the probability, in (0, 1].
        min_p: Sample among the tokens at least this many times as likely as the likeliest, in [0, 1].
        own_decoder: Whether rollouts step Qwen3 and Llama models through
            :mod:`~g2rpo_env.agents.policy.fast_decoder`; False steps every model through its own forward.
        compile: Whether that path goes through ``torch.compile``: faster steps, after some seconds at the first use.
        cuda_graphs: Whether that path launches its steps on a GPU as CUDA graphs. The policy keeps them, with the cache
            they read, from one rollout to the next; False frees that memory between rollouts.

    Raises:
        ConfigurationError: ``temperature`` is not above 0, top_k, top_p or min_p out of its range, or ``model`` is no
            model of transformers.
        TokenizerError: the tokenizer cannot be used.
        VocabularyMismatchError: the model has fewer logits than the tokenizer has tokens.
        ConfigurationError: no way of stepping and scoring the model gives its own log-probabilities, see
            :mod:`~g2rpo_env.agents.policy.probe`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        own_decoder: bool = True,
        compile: bool = False,
        cuda_graphs: bool = True,
    ) -> None:
        check_temperature(temperature)
        self.truncation = Truncation(top_k, top_p, min_p)
        check_tokenizer(tokenizer)
        self.model, self.tokenizer, self.temperature = model, tokenizer, float(temperature)
        self.own_decoder, self.compile, self.cuda_graphs = own_decoder, compile, cuda_graphs
        self._kept: FastDecoder | None = None
        self.vocab_size = vocabulary_size(tokenizer)
        self._unused = torch.from_numpy(unused_ids(tokenizer))  # int64 (U,), ids that are no token
        lora.check_adapter(model)
        if missing := [name for name in ("config", "device") if not hasattr(lora.inner(model), name)]:
            raise ConfigurationError(
                f"model={type(lora.inner(model)).__name__} must be a causal language model of transformers, "
                f"or a PreTrainedModel of your own: it has no {missing[0]}"
            )
        if (known := count_logits(lora.inner(model))) < self.vocab_size:
            raise VocabularyMismatchError(
                f"the model has vocab_size={known}, the tokenizer {self.vocab_size} tokens: "
                "the model must have a logit for each of them"
            )
        self.model.eval()  # no dropout: recorded and trained log-probabilities must be those of one function
        self._length = SHORT  # tokens of the longest episode that it was checked for
        try_ways(lora.inner(model), own=reason_against(lora.inner(model)) is None)

    # -- making one -------------------------------------------------------------------------------------------------

    @classmethod
    def tiny(
        cls, envs: Any, seed: int = 0, *, hidden_size: int = 96, layers: int = 3, temperature: float = 1.0
    ) -> CausalLMPolicy:
        """Return a Qwen3-style model of 0.36 M parameters with random weights; needs no download.

        Args:
            envs: Environment whose tokenizer and length the model gets.
            seed: Of the initial weights.
            hidden_size: Width, a multiple of 8.
            layers: Number of layers.
            temperature: See the class.
        """
        from transformers import Qwen3Config, Qwen3ForCausalLM

        task = envs.unwrapped.task
        config = Qwen3Config(
            vocab_size=task.vocab_size,
            hidden_size=hidden_size,
            intermediate_size=hidden_size * 8 // 3,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=hidden_size // 4,
            max_position_embeddings=max(512, task.length),
            tie_word_embeddings=True,
            use_cache=True,
            bos_token_id=None,
            eos_token_id=task.eos_token_id,
            pad_token_id=task.tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not those of GPUs
            model = Qwen3ForCausalLM(config)
        return cls(model, task.tokenizer, temperature=temperature)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, *, device: str = "cpu", dtype: str = "float32", **options: Any
    ) -> CausalLMPolicy:
        """Return the policy of a Hugging Face folder or Hub name.

        Args:
            name: Local folder (nothing is downloaded) or Hub name; or a folder with a LoRA adapter, of
                :meth:`save_pretrained` or another one of ``peft``, which names its model.
            device: Torch device.
            dtype: Name of a floating-point torch dtype, such as ``"bfloat16"``.
            **options: Of the class, such as ``temperature``.

        Raises:
            ConfigurationError: there is no such model, dtype or device.
        """
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        kind = torch_dtype(dtype)
        check_device(device)
        base = lora.base_of(name) if lora.is_adapter(name) else None
        has_tokenizer = (Path(name) / "tokenizer_config.json").is_file()
        tokenizer: Any = pretrained_tokenizer(name if base is None or has_tokenizer else base)
        try:
            model: Any = AutoModelForCausalLM.from_pretrained(str(base or name), dtype=kind)
        except (OSError, ValueError, SafetensorError) as error:
            raise no_model(base or name, error) from None
        if base is not None:
            model = lora.load(model, name)
        return cls(model.to(device), tokenizer, **options)

    def add_lora(self, rank: int = 8, **options: Any) -> CausalLMPolicy:
        """Give the model a LoRA adapter, which alone is then trained, and return the policy.

        Args:
            rank: Of the adapter, >= 1.
            **options: See :func:`g2rpo_env.agents.policy.lora.add_lora`.

        Raises:
            ConfigurationError: an argument breaks its rule, or the model has an adapter already.
            MissingDependencyError: peft is missing.
        """
        self.model = lora.add_lora(self.model, rank, **options)
        return self

    def to(self, device: str | torch.device | None = None, dtype: str | None = None) -> CausalLMPolicy:
        """Move the model in place and return the policy.

        Args:
            device: Torch device; None leaves it where it is.
            dtype: Name of a floating-point torch dtype; None leaves that of its weights.

        Raises:
            ConfigurationError: there is no such dtype.
        """
        given = {"device": device, "dtype": None if dtype is None else torch_dtype(dtype)}
        model: Any = self.model
        model.to(**{name: value for name, value in given.items() if value is not None})
        return self

    def to_config(self) -> dict[str, Any]:
        """Return the arguments with which :meth:`from_pretrained` makes this policy again from its folder."""
        return {
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "temperature": self.temperature,
            **dataclasses.asdict(self.truncation),
            "own_decoder": self.own_decoder,
            "compile": self.compile,
            "cuda_graphs": self.cuda_graphs,
        }

    def save_pretrained(self, folder: str | Path) -> None:
        """Write an ordinary Hugging Face folder: weights, configuration and tokenizer.

        Of a model with a LoRA adapter it is a folder of ``peft``, with the model that the adapter belongs to below it,
        or, in a run folder, the name of the one place in the run where that model lies.
        """
        if lora.has_adapter(self.model):
            lora.save(self.model, folder)
        else:
            self.model.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))

    # -- using one --------------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.device

    @property
    def end_tokens(self) -> frozenset[int]:
        """Tokens that end an answer: those of ``generation_config`` and ``config``, a list or one, that of the
        tokenizer, and the end of turn of its chat template. Rollouts let an environment end answers at each of them.
        """
        return find_end_tokens(self.model, self.tokenizer, self.vocab_size)

    def check_fits(self, envs: Any) -> None:
        """Raise unless policy and environment share their tokens and an episode fits the model's positions.

        Raises:
            VocabularyMismatchError: the tokenizers differ, or the environment takes indices of a reduced vocabulary.
            BudgetError: the model has too few positions.
            ConfigurationError: no way of stepping and scoring the model gives its own log-probabilities, see
                :mod:`~g2rpo_env.agents.policy.probe`.
        """
        task = envs.unwrapped.task
        if not same_vocabulary(self.tokenizer, task.tokenizer):
            raise VocabularyMismatchError(
                f"the policy's tokenizer ({len(self.tokenizer)} tokens, end token {self.tokenizer.eos_token_id}) and "
                f"the environment's ({task.vocab_size} tokens, end token {task.eos_token_id}) must be the same: make "
                "the environment with tokenizer=policy.tokenizer"
            )
        vocabulary = envs.unwrapped.vocabulary
        if vocabulary is not None:
            raise VocabularyMismatchError(
                f"the environment has a reduced vocabulary of {len(vocabulary)} actions, but a language model writes "
                "token ids: make the environment without vocabulary="
            )
        self._check_positions(task.length)
        find_scoring(lora.inner(self.model), task.length)

    def _check_positions(self, length: int) -> None:
        """Raise unless the model can be stepped through so many tokens, and remember how many they are."""
        positions = find_positions(lora.inner(self.model))
        if positions is not None and positions[1] < length:
            raise BudgetError(
                f"an episode of up to {length} tokens is longer than the model's {positions[0]}={positions[1]}; lower "
                "max_new_tokens or max_length"
            )
        self._length = length
        self._stepping()

    def _quiet(self, model: Any = None) -> Any:
        """Return a model, None for the policy's, without the adapter around it and in evaluation mode.

        Whoever has put it in training mode would have its dropout in what is recorded and trained.
        """
        outer = self.model if model is None else model
        found = lora.inner(outer)
        if outer.training or found.training:  # single layers are in training mode while they are checkpointed
            outer.eval()
        return found

    def _stepping(self) -> Stepping:
        """Return how the model is stepped."""
        model = self._quiet()
        own = self.own_decoder and reason_against(model) is None
        return find_stepping(model, self._length, own=own)

    @property
    def takes_padding(self) -> bool:
        """Whether rows of unequal length may go through the model together, the shorter ones with masked padding."""
        return self._stepping() in (Stepping.OWN, Stepping.SHARED)

    def decoder(self, num_lanes: int) -> Decoder | FastDecoder | WholeDecoder:
        """Return the state of a rollout over lanes that hold nothing: the own decode path where it fits.

        Raises:
            ConfigurationError: no way of stepping the model gives its own log-probabilities.
        """
        kept, self._kept = self._kept, None  # whoever uses one has it alone
        if (stepping := self._stepping()) is not Stepping.OWN:
            return stepping.make(self._quiet(), num_lanes)
        way = {"compile": self.compile, "cuda_graphs": self.cuda_graphs}
        if kept is not None and kept.fits(self.model, num_lanes, **way):
            kept.renew()
            return kept
        return FastDecoder(self.model, num_lanes, **way)

    def keep(self, decoder: LaneDecoder) -> None:
        """Keep a decoder that is no longer used for the next rollout, if it has CUDA graphs."""
        if isinstance(decoder, FastDecoder) and decoder.has_cuda_graphs:
            self._kept = decoder

    def __getstate__(self) -> dict[str, Any]:
        """Return the attributes of a copy: all but the decoder that is kept."""
        return {**vars(self), "_kept": None}

    def log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities at the policy's temperature, float32 (..., V), from raw logits (..., >= V).

        This is the distribution that is trained: all tokens have a probability above 0.
        """
        scaled = logits[..., : self.vocab_size].float()
        return torch.log_softmax(scaled if self.temperature == 1 else scaled / self.temperature, dim=-1)

    def sampling_log_probs(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities of the sampling distribution, float32 (..., V): -inf for what top_k, top_p and min_p
        leave out and for ids that are no token, the rest sums to 1. Without such it is :meth:`log_probs`.
        """
        return self.truncation(self.leave_out_unused(self.log_probs(logits)))

    @property
    def samples_as_trained(self) -> bool:
        """Whether tokens are drawn from the distribution that is trained: nothing of it is left out."""
        return not self.truncation and not len(self._unused)

    def leave_out_unused(self, log_probs: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities, (..., V), with -inf for ids that are no token; the rest sums to 1."""
        if not len(self._unused):
            return log_probs
        masked = log_probs.index_fill(-1, self._unused.to(log_probs.device), -torch.inf)
        return torch.log_softmax(masked, dim=-1)

    def token_log_probs(
        self,
        tokens_NT: torch.Tensor,
        mask_NT: torch.Tensor,
        where_NT: torch.Tensor | None = None,
        *,
        model: Any = None,
    ) -> torch.Tensor:
        """Return the log-probability of each token given those before it, (N, T), float32 or the model's wider type.

        Never holds the logits of all tokens, see :mod:`g2rpo_env.agents.policy.scoring`.

        Args:
            tokens_NT: int64, right-padded.
            mask_NT: bool, True where there is a token.
            where_NT: bool, the tokens that are asked for; None for all. The others get 0, and so does the first.
            model: Another model of the same vocabulary, such as a reference; None for the policy's own.
        """
        asked_NT = mask_NT if where_NT is None else where_NT & mask_NT
        inner = self._quiet(model)

        def run(*rows: torch.Tensor) -> tuple[torch.Tensor]:
            return (score(inner, *rows, temperature=self.temperature, vocab_size=self.vocab_size),)

        return score_rows(run, find_scoring(inner, tokens_NT.shape[1]), tokens_NT, mask_NT, asked_NT)[0]

    def token_entropies(self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: torch.Tensor) -> torch.Tensor:
        """Return the entropy of the trained distribution at each token, in nats, (N, T), no gradient.

        Arguments as of :meth:`token_log_probs`; tokens that are not asked for, and the first, get 0.
        """
        with torch.no_grad():
            return self.token_scores(tokens_NT, mask_NT, where_NT)[1]

    def token_scores(
        self, tokens_NT: torch.Tensor, mask_NT: torch.Tensor, where_NT: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log-probabilities and entropies of tokens, (N, T) each, both with gradients.

        Arguments as of :meth:`token_log_probs`; tokens that are not asked for, and the first, get 0.
        """
        inner = self._quiet()

        def run(*rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return score_with_entropy(inner, *rows, temperature=self.temperature, vocab_size=self.vocab_size)

        way = find_scoring(inner, tokens_NT.shape[1])
        log_probs_NT, entropy_NT = score_rows(run, way, tokens_NT, mask_NT, where_NT & mask_NT)
        return log_probs_NT, entropy_NT

    def token_states(
        self, episodes: Sequence[Episode], every_column: bool = False, rows: int | None = None
    ) -> list[TokenStates]:
        """Return how the model came to the sampled tokens of episodes; see :mod:`~g2rpo_env.agents.policy.scoring`.

        Args:
            episodes: Episodes; residuals have a column for each token that any of them sampled.
            every_column: Whether residuals have a column for every token of the vocabulary.
            rows: Most episodes that go through the model together, >= 1; None for all.

        Raises:
            ConfigurationError: the model's logits are not its last hidden states times the weight of its head.
        """
        model = self._quiet()
        padded = find_scoring(model, max(map(len, (e.tokens_T for e in episodes)), default=0)) is Scoring.PADDED
        return states(
            model,
            [episode.tokens_T for episode in episodes],
            [episode.sampled_T for episode in episodes],
            temperature=self.temperature,
            vocab_size=self.vocab_size,
            every_column=every_column,
            rows=rows if padded else 1,
        )

    @torch.inference_mode()
    def complete(
        self,
        prompt: str,
        max_new_tokens: int = 128,
        *,
        greedy: bool = True,
        seed: int = 0,
        begin_tokens: Sequence[int] | None = None,
    ) -> str:
        """Return the continuation of a text, up to one of :attr:`end_tokens` or the budget.

        Args:
            prompt: Any text that is not empty. Special tokens that it names are special tokens, as in
                ``tokenizer(prompt)``, so that it may be a chat that ``apply_chat_template`` has rendered.
            max_new_tokens: Budget, >= 1.
            greedy: Take the likeliest token; otherwise sample.
            seed: Of the sampling, >= 0.
            begin_tokens: Token ids before the text. None takes the special tokens that the tokenizer puts before a
                text, such as ``<bos>``, where the text does not begin with them; () none.

        Raises:
            ConfigurationError: ``prompt`` is empty, ``max_new_tokens`` below 1 or ``seed`` below 0.
            BudgetError: the model has too few positions.
            NonFiniteError: the model's logits are NaN or infinite.
        """
        if not prompt:
            raise ConfigurationError("prompt must not be empty")
        if seed < 0:
            raise ConfigurationError(f"seed={seed} must be at least 0")
        if begin_tokens is None:
            ids = encode_prompt(self.tokenizer, prompt)
        else:
            text_T = encode_template(self.tokenizer, prompt, begins=True)
            ids = np.concatenate([np.array(begin_tokens, np.int32), text_T])
        if max_new_tokens < 1:
            raise ConfigurationError(f"max_new_tokens={max_new_tokens} must be at least 1")
        length = len(ids)
        self._check_positions(length + max_new_tokens)
        tokens = np.zeros((1, length + max_new_tokens), np.int32)  # one lane (1, L)
        tokens[0, :length] = ids
        decoder, lane = self.decoder(1), np.array([0])
        ends = self.end_tokens
        uniforms = np.random.default_rng(seed).random(max_new_tokens)
        for position in range(length, length + max_new_tokens):
            logits = decoder.advance(tokens, np.array([position]), lane)
            u = None if greedy else uniforms[position - len(ids), None]
            token = int(draw(self.sampling_log_probs(logits), u)[0][0])
            if token in ends:
                break
            tokens[0, position] = token
            length = position + 1
        return decode(self.tokenizer, tokens[0, len(ids) : length])


if TYPE_CHECKING:
    _proof: type[Policy] = CausalLMPolicy  # a type checker proves here that the class has all that the protocol asks
