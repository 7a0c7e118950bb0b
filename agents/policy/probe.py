"""Probe: the ways of stepping and scoring a model that give the model's own log-probabilities, found by trying.

Models come with windows, position biases, recurrent states, rotary factors that depend on the length of the call, and
whatever comes next. A cache that lanes share, or padding, may be wrong for them without any error. So nothing is known
by name here. When a policy is made of a model, a few tokens in three lanes go through the way that would be used:
prompts of unequal length, a lane that takes several tokens at once, one that waits, one that starts again. What comes
out must equal the model's own forward over each lane alone, without a cache. If it does not, the next way is tried,
which is slower; a warning says so.

- What a model gives for a token may depend only on the tokens before it, and not on how many come after it. A model for
  which that does not hold, within the length of an episode, can not be trained at all, and is refused.
- A window, a chunk or the length at which rotary factors change is an integer of the configuration. Where one lies
  within the length of an episode, the probe is made longer than it (:func:`suspects`). The code of somebody else may
  have such a length anywhere: a model with modules from outside of transformers is tried as long as its episodes.
- Results are kept by class, configuration, kinds of modules, dtype and device, for code from elsewhere by the model
  itself, and the weights of the model take part:
  where the order of the tokens hardly changes what it gives, nothing is learnt, and the next use tries again.

A probe leaves random states, modes and gradients as they were, and frees what it took.
"""

from __future__ import annotations

import enum
import json
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from g2rpo_env.agents.policy.decoder import Decoder
from g2rpo_env.agents.policy.fast_decoder import FastDecoder
from g2rpo_env.agents.policy.level_decoder import LevelDecoder
from g2rpo_env.agents.policy.loading import count_logits, find_positions, text_config
from g2rpo_env.agents.policy.scoring import score
from g2rpo_env.agents.policy.whole_decoder import WholeDecoder
from g2rpo_env.errors import ConfigurationError

SHORT = 11
"""Tokens of the longest lane of a short probe."""

FULL, HALF, OF_ORDER = 1e-4, (0.05, 0.3), 0.25
"""Largest difference that is rounding, as a share of the spread of a token's log-probabilities: in 32 bits and more; in
16 its bounds, within which it is this share of what the exchange of two tokens does.
"""

HARMLESS = ("_id", "_ids", "_index", "_size", "_dim", "_rank", "_layers", "_heads", "_theta", "_experts", "vocab")
"""Ends of the names of integers that are no lengths, but for :data:`LENGTHS`."""
LENGTHS = ("window_size", "chunk_size", "block_size")

KNOWN = ("transformers", "torch", "peft")
"""Packages whose modules have their lengths in the configuration."""


class Stepping(enum.Enum):
    """A way to step lanes, the fastest first; the value says what it is."""

    OWN = "the own decode path"
    SHARED = "a cache that lanes share"
    LEVEL = "a cache for each batch of lanes that are equally long"
    WHOLE = "whole contexts, those of equal length together, without a cache"
    ALONE = "whole contexts, one at a time, without a cache"

    def make(self, model: Any, num_lanes: int) -> Any:
        """Return a decoder for lanes that hold nothing."""
        return {
            Stepping.OWN: lambda: FastDecoder(model, num_lanes, cuda_graphs=False),
            Stepping.SHARED: lambda: Decoder(model, num_lanes),
            Stepping.LEVEL: lambda: LevelDecoder(model, num_lanes),
            Stepping.WHOLE: lambda: WholeDecoder(model, num_lanes),
            Stepping.ALONE: lambda: WholeDecoder(model, num_lanes, together=False),
        }[self]()


class Scoring(enum.Enum):
    """A way to put rows of tokens together for scoring, the fastest first; the value says what it is."""

    PADDED = "padded on the right, together"
    EQUAL = "those of equal length together"
    SINGLE = "one at a time"

    def parts(self, length_N: np.ndarray) -> list[np.ndarray]:
        """Return the rows that go through the model together, int64 (n,) each, given the lengths of all."""
        if self is Scoring.EQUAL:
            return [np.flatnonzero(length_N == length) for length in np.unique(length_N)]
        return [np.array([row]) for row in range(len(length_N))]


def score_rows(
    run: Callable[..., tuple[torch.Tensor, ...]],
    way: Scoring,
    tokens_NT: torch.Tensor,
    mask_NT: torch.Tensor,
    where_NT: torch.Tensor,
) -> tuple[torch.Tensor, ...]:
    """Return what ``run(tokens, mask, where)`` gives, (N, T) each, with rows put together in a way.

    Args:
        run: A function of right-padded rows as of :func:`~g2rpo_env.agents.policy.scoring.score`, (n, t) each.
        way: How rows are put together.
        tokens_NT: int64, right-padded.
        mask_NT: bool, True where there is a token.
        where_NT: bool, the tokens that are asked for.
    """
    if way is Scoring.PADDED:
        return run(tokens_NT, mask_NT, where_NT)
    length_N = mask_NT.sum(1).cpu().numpy()
    parts = way.parts(length_N)
    found = []
    for part in parts:
        rows, width = torch.from_numpy(part).to(tokens_NT.device), max(1, int(length_N[part[0]]))
        given = (values[rows, :width] for values in (tokens_NT, mask_NT, where_NT))
        missing = tokens_NT.shape[1] - width
        found.append([torch.nn.functional.pad(values, (0, missing)) for values in run(*given)])
    order = torch.from_numpy(np.argsort(np.concatenate(parts))).to(tokens_NT.device)
    return tuple(torch.cat(values)[order] for values in zip(*found, strict=True))


def find_stepping(model: Any, length: int, *, own: bool) -> Stepping:
    """Return the fastest way to step a model through episodes of up to ``length`` tokens that is right.

    Args:
        model: A transformers causal LM, with an adapter or without.
        length: Tokens of the longest episode.
        own: Whether the own decode path may be used.

    Raises:
        ConfigurationError: no way is.
    """
    ways = tuple(way for way in Stepping if own or way is not Stepping.OWN)
    return _find(model, length, ways, _step_differences)


def find_scoring(model: Any, length: int) -> Scoring:
    """Return the fastest way to score rows of up to ``length`` tokens that is right; as :func:`find_stepping`."""
    return _find(model, length, tuple(Scoring), _score_differences)


def try_ways(model: Any, *, own: bool) -> None:
    """Try a model whose weights are there in a short probe, so that its use finds results and no surprise.

    Both with the own decode path and without it, if it may be used. A longer probe comes with longer episodes.

    Raises:
        ConfigurationError: there is no way of stepping or scoring it.
    """
    if getattr(getattr(model, "device", None), "type", "meta") == "meta":
        return
    for path in {own, False}:
        find_stepping(model, SHORT, own=path)
    find_scoring(model, SHORT)


def suspects(config: Any) -> dict[str, int]:
    """Return the integers of a configuration that may be lengths at which a model changes, by name.

    All are, but for those whose name says something else.
    """
    found: dict[str, int] = {}

    def look(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, given in value.items():
                look(str(inner), given)
        elif isinstance(value, list | tuple):
            for given in value:
                look(name, given)
        elif isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1 and value >= SHORT:
            named = name.endswith(LENGTHS) or not (name.endswith(HARMLESS) or name.startswith("num_"))
            if named and (name not in found or found[name] < value):
                found[name] = int(value)

    values = config.to_dict() if hasattr(config, "to_dict") else vars(config)
    for name, value in values.items():
        look(name, value)
    return found


# -- what is remembered -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kind:
    """What results are kept by, what the configuration says about lengths, and whether there may be others."""

    key: tuple[Any, ...]
    suspects: dict[str, int] = field(compare=False, hash=False)
    foreign: bool = field(compare=False)


_KINDS: weakref.WeakKeyDictionary[Any, _Kind] = weakref.WeakKeyDictionary()
_FOUND: dict[tuple[Any, ...], Any] = {}
_SAID: set[str] = set()


def _kind(model: Any) -> _Kind:
    kind = _KINDS.get(model)
    count = sum(1 for _ in model.modules())  # an adapter adds some in place
    if kind is None or kind.key[0] != count:
        values = {k: v for k, v in model.config.to_dict().items() if k not in ("_name_or_path", "transformers_version")}
        modules = frozenset(type(module) for module in model.modules())
        foreign = any(kind.__module__.partition(".")[0] not in KNOWN for kind in modules)
        itself = object() if foreign else None  # attributes of such modules may differ between models
        key = count, type(model), json.dumps(values, default=str, sort_keys=True), modules, itself
        kind = _KINDS[model] = _Kind(key, suspects(text_config(model)), foreign)
    return kind


def _find(model: Any, length: int, ways: Sequence[Any], differences: Callable[..., list[float]]) -> Any:
    """Return the first of some ways that is right for a model, in a short probe and in as long a one as it takes."""
    if getattr(model, "config", None) is None or not hasattr(model, "device"):
        return ways[0]  # not a model of transformers: nobody can say what is right but its author
    kind = _kind(model)
    width = _probe_length(model, kind, length)
    state = str(model.dtype), model.device.type, getattr(model.config, "_attn_implementation", None)
    if kind.foreign:  # what is right for more tokens is right for fewer
        longer = (key[-1] for key, found in _FOUND.items() if key[:-1] == (kind.key, state, ways) and found in ways)
        width = min((known for known in longer if known > width), default=width)
    key = kind.key, state, ways, width
    if key not in _FOUND:
        if width > SHORT:
            ways = ways[ways.index(_find(model, min(length, SHORT), ways, differences)) :]
        found, certain = _try(model, width, ways, differences, kind)
        if certain:
            _FOUND[key] = found
    else:
        found = _FOUND[key]
    if isinstance(found, str):
        raise ConfigurationError(found)
    if found is not ways[0]:
        _say(
            f"{type(model).__name__}: "
            + (
                f"lanes are stepped by {found.value}"
                if isinstance(found, Stepping)
                else f"rows are scored {found.value}"
            )
            + f", which is slower, for {ways[0].value} would not give the model's own log-probabilities"
        )
    return found


def _say(message: str) -> None:
    """Warn once in a process."""
    if message not in _SAID:
        _SAID.add(message)
        warnings.warn(message, stacklevel=2)


def _probe_length(model: Any, kind: _Kind, length: int) -> int:
    """Return how many tokens the longest lane of a probe has."""
    _, positions = find_positions(model) or ("", None)
    # The last positions are suspects, too: of RoBERTa's 514, two cannot be used.
    within = [value for value in (*kind.suspects.values(), positions or 0) if SHORT <= value < length + 8]
    longest = max(SHORT, min(length, max(within) + 8)) if within else SHORT
    longest = max(longest, length) if kind.foreign else longest
    return longest if positions is None else min(longest, positions)


# -- one probe --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lanes:
    """Tokens of a probe: a long lane, two short episodes of another one, and a third lane, and the model alone on them.

    Attributes:
        tokens: int64 (n,), (8,), (6,) and (8,).
        places: int64, per episode where logits are known.
        logits: float64 (places, V), per episode.
    """

    tokens: list[np.ndarray]
    places: list[np.ndarray]
    logits: list[torch.Tensor]


def _try(
    model: Any, width: int, ways: Sequence[Any], differences: Callable[..., list[float]], kind: _Kind
) -> tuple[Any, bool]:
    """Return the first way that is right, or why the model is refused, and whether that can be relied on."""
    name = type(model).__name__
    if width < SHORT:
        return ways[0], True  # fewer positions than a probe has tokens
    with _untouched(model):
        tokens = _tokens(model, width)
        try:
            lanes, prefixes, order = _own_forward(model, tokens)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            return f"model={name} must read tokens alone, one after the other; it gave {_line(error)}", False
        limit, rounding = _limits(model, order)
        certain = order > (10 * FULL if rounding == 0 else HALF[0] / OF_ORDER)
        if not all(torch.isfinite(logits).any() for logits in lanes.logits) or np.isnan(order):
            return ways[0], False  # broken weights: a rollout says which
        if not _agree(prefixes, limit, rounding):
            lengths = ", ".join(f"{k}={v}" for k, v in kind.suspects.items() if v < width)
            return (
                f"model={name} gives a token another probability when more tokens follow, seen in {width} tokens"
                f"{f' (its configuration has {lengths})' if lengths else ''}: recorded and trained log-probabilities "
                "would differ; only a model that reads from left to right can be trained, and one whose rotary factors "
                "depend on the length only with episodes that stay below the length at which they change: lower "
                "max_new_tokens or max_length"
            ), certain
        reasons = []
        for way in ways:
            try:
                found = differences(model, lanes, way)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:
                reasons.append(f"{way.value}: {_line(error)}")
                continue
            if _agree(found, limit, rounding):
                return way, certain
            reasons.append(f"{way.value}: off by {max(found):.1g}")
    return f"model={name} can be used in no way that gives its own log-probabilities ({'; '.join(reasons)})", True


def _line(error: Exception) -> str:
    """Return an error as one short line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


@contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Within, the model is in evaluation mode without gradients; afterwards all is as it was."""
    training = [module for module in model.modules() if module.training]
    on_gpu = model.device.type == "cuda"
    try:
        with (
            torch.random.fork_rng(devices=[model.device] if on_gpu else []),
            torch.inference_mode(False),  # what a model keeps of a call must be fit for training
            torch.no_grad(),
        ):
            for module in training:
                module.training = False
            yield
    finally:
        for module in training:
            module.training = True
        if on_gpu:
            torch.cuda.empty_cache()


def _tokens(model: Any, width: int) -> list[np.ndarray]:
    """Return tokens for the episodes; those that the configuration calls special are left out, but for padding."""
    special: set[int] = set()

    def look(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for inner, given in value.items():
                look(str(inner), given)
        elif name.endswith(("_token_id", "_token_index")) or name == "token_id":
            special.update(v for v in (value if isinstance(value, list) else [value]) if isinstance(v, int))

    look("", model.config.to_dict())
    most = min(count_logits(model), 50_000)
    ordinary = np.array([token for token in range(most) if token not in special], np.int64)
    random = np.random.default_rng(0)
    tokens = [random.choice(ordinary, length) for length in (width, 8, 6, 8)]
    padding = getattr(text_config(model), "pad_token_id", None)
    if isinstance(padding, int) and 0 <= padding < most:
        for ids in tokens:
            ids[2] = padding  # a policy may sample it, and some models give it no position
    return tokens


def _own_forward(model: Any, tokens: list[np.ndarray]) -> tuple[_Lanes, list[float], float]:
    """Return the logits of the model alone, how far those of shorter calls are off, and how much order matters."""
    width = len(tokens[0])
    places = [np.array([5, *range(width - 5, width)]), np.arange(8), np.arange(6), np.arange(8)]
    logits = [_logits_at(model, ids, at) for ids, at in zip(tokens, places, strict=True)]
    prefixes = []
    for number in (0, 3):  # place 5, and the last but two
        at = int(places[0][number])
        alone = _logits_at(model, tokens[0][: at + 1], np.array([at]))
        prefixes.append(_difference(alone[0], logits[0][number]))
    turned = tokens[1].copy()
    turned[5:7] = turned[[6, 5]]
    order = _difference(_logits_at(model, turned, np.array([7]))[0], logits[1][7])
    return _Lanes(tokens, places, logits), prefixes, order


def _logits_at(model: Any, ids_T: np.ndarray, place_P: np.ndarray) -> torch.Tensor:
    """Return the logits at some places of a context, float64 (P, V), by the model's own forward."""
    ids = torch.from_numpy(ids_T)[None].to(model.device)  # (1, T)
    places = torch.from_numpy(place_P).to(model.device)
    if len(ids_T) > 4 * SHORT:  # elsewhere all logits are cheap
        try:
            logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]
            if len(logits) == len(places):
                return logits.double()
        except (TypeError, ValueError):
            pass  # this one knows no places, and gives all
    return model(input_ids=ids, use_cache=False).logits[0, places].double()


def _limits(model: Any, order: float) -> tuple[float, int]:
    """Return the largest difference that is rounding, and how many numbers may be further off.

    In 16 bits a token may take another way through a mixture of experts, which is no mistake of the cache.
    """
    return (float(np.clip(OF_ORDER * order, *HALF)), 2) if model.dtype.itemsize < 4 else (FULL, 0)


def _agree(differences: list[float], limit: float, rounding: int) -> bool:
    beyond = sum(not value <= limit for value in differences)
    return beyond <= (rounding if len(differences) > 2 * rounding else 0)


def _difference(got_V: torch.Tensor, want_V: torch.Tensor) -> float:
    """Return the root mean square difference of log-probabilities as a share of the spread of the wanted ones.

    Tokens that are as good as impossible, such as those that a model masks, take no part.
    """
    got, want = torch.log_softmax(got_V.double(), -1), torch.log_softmax(want_V.double(), -1)
    likely = want > want.max() - 40
    spread = float(want[likely].std(correction=0))
    error = float((got[likely] - want[likely]).square().mean().sqrt())
    return error / spread if spread else error


def _step_differences(model: Any, lanes: _Lanes, way: Stepping) -> list[float]:
    """Return how far the logits of a rollout over three lanes are off."""
    width = len(lanes.tokens[0])
    tokens, length = np.zeros((3, width), np.int64), np.zeros(3, np.int64)
    episodes = [0, 1, 3]  # of each lane
    decoder = way.make(model, 3)
    found = []

    def feed(*lengths: int) -> None:
        """Feed the lanes up to these lengths, 0 for one that waits."""
        fed = np.flatnonzero(lengths)
        for lane in fed:
            length[lane] = lengths[lane]
            ids = lanes.tokens[episodes[lane]]
            tokens[lane, : len(ids)] = ids
        got = decoder.advance(tokens, length, fed).double()
        for lane, row in zip(fed, got, strict=True):
            which, place = episodes[lane], length[lane] - 1
            found.append(_difference(row, lanes.logits[which][int(np.flatnonzero(lanes.places[which] == place)[0])]))

    feed(width - 4, 4, 4)  # two that are equally long
    feed(width - 3, 8, 5)  # one takes several tokens at once
    feed(width - 2, 0, 6)  # and waits
    tokens[1], length[1], episodes[1] = 0, 0, 2
    decoder.restart(np.array([1]))
    feed(width - 1, 5, 7)
    feed(width, 6, 8)
    return found


def _score_differences(model: Any, lanes: _Lanes, way: Scoring) -> list[float]:
    """Return how far the log-probabilities of tokens in rows of unequal length are off, each a share of the spread."""
    width = len(lanes.tokens[0])
    tokens = torch.zeros((len(lanes.tokens), width), dtype=torch.int64)
    mask, where = torch.zeros_like(tokens, dtype=torch.bool), torch.zeros_like(tokens, dtype=torch.bool)
    for row, (ids, places) in enumerate(zip(lanes.tokens, lanes.places, strict=True)):
        tokens[row, : len(ids)], mask[row, : len(ids)] = torch.from_numpy(ids), True
        where[row, places[:-1] + 1] = True  # what stands after the places

    def run(*rows: torch.Tensor) -> tuple[torch.Tensor]:
        return (score(model, *rows, temperature=1.0, vocab_size=count_logits(model)),)

    given = (values.to(model.device) for values in (tokens, mask, where))
    [log_prob] = score_rows(run, way, *given)
    found = []
    for row, (places, logits) in enumerate(zip(lanes.places, lanes.logits, strict=True)):
        log_probs = torch.log_softmax(logits, -1)
        for number, place in enumerate(places[:-1]):
            want, got = log_probs[number, tokens[row, place + 1]], log_prob[row, place + 1]
            likely = log_probs[number][log_probs[number] > log_probs[number].max() - 40]
            found.append(float((got - want).abs()) / max(1.0, float(likely.std(correction=0))) / 3)
    return found
