"""FastDecoder: an own decode path for the Qwen3 and Llama families, equal to their forward and faster.

Every lane has a row of a static cache and its own position in it. A token is written at its lane's position and the
attention is masked by length, so lanes of unequal prompts and lanes that start again leave no dead columns behind.
Query, key and value are one product, and so are gate and up; nothing is computed that the next token does not need. On
a GPU the steps are launched as CUDA graphs, see :mod:`~g2rpo_env.agents.policy.step_graphs`.

A prefix is computed once: a lane that begins takes the keys and values of the longest prefix that any row of the cache
holds, so the members of a group share their prompt, at the start of a rollout and when a lane is filled again.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from g2rpo_env.agents.policy.step_graphs import StepGraphs

FAMILIES = {
    "transformers.models.qwen3.modeling_qwen3": "Qwen3ForCausalLM",
    "transformers.models.llama.modeling_llama": "LlamaForCausalLM",
}
"""Module -> its class whose forward this file repeats; subclasses and adapters may do otherwise."""

ROPES = ("default", "linear", "llama3", "yarn")
"""Kinds of rotary embedding whose tables do not depend on the length of the sequence."""

ROOM = 64
"""The cache grows by multiples of this many tokens."""

WORTH_WAITING = 32
"""Tokens. Of lanes that begin together, one is computed first. Another lane waits for it, and then copies the prefix
that the two share, if the prefix saves this many tokens or half of those that the other lane lacks.
"""


def reason_against(model: Any) -> str | None:
    """Return why the own decode path would not equal the forward of a model; None where it does."""
    kind = type(model)
    if FAMILIES.get(kind.__module__) != kind.__name__:
        return f"{kind.__name__} is not of the Qwen3 or Llama family"
    config = model.config
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "not all layers have full attention"
    rope = config.rope_parameters["rope_type"]
    if rope not in ROPES:
        return f"rope_type={rope!r} depends on the length of the sequence"
    if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
        return "a module has a forward hook"
    if any("forward" in vars(module) for module in model.modules()):
        return "a module has a forward of its own"  # as libraries give it that move weights between devices
    if (name := _unusual_linear(model)) is not None:
        return f"{name} is an adapter or quantised"
    parameters = list(model.parameters())
    if len({(p.dtype, p.device) for p in parameters}) != 1:
        return "its parameters have more than one dtype or device"
    return None


def _unusual_linear(model: Any) -> str | None:
    for layer in model.model.layers:
        parts = [(layer.self_attn, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
        parts += [(layer.mlp, name) for name in ("gate_proj", "up_proj", "down_proj")]
        for module, name in parts:
            if type(getattr(module, name, None)) is not torch.nn.Linear:
                return name
    return None if type(model.lm_head) is torch.nn.Linear else "lm_head"


@dataclass(frozen=True)
class _Layer:
    """Weights and biases of one layer; the fused ones are copies, the others the model's own."""

    qkv: tuple[torch.Tensor, torch.Tensor | None]  # ((query heads + 2 key heads) * head size, width)
    head_norm: torch.Tensor | None  # (query heads + key heads, head size)
    out: tuple[torch.Tensor, torch.Tensor | None]  # (width, query heads * head size)
    gate_up: tuple[torch.Tensor, torch.Tensor | None]  # (2 * inner width, width)
    down: tuple[torch.Tensor, torch.Tensor | None]  # (width, inner width)
    norm_before: torch.Tensor  # (width,)
    norm_after: torch.Tensor  # (width,)

    @property
    def copies(self) -> tuple[torch.Tensor | None, ...]:
        """The tensors that are copies of the model's weights, always in the same order."""
        return (*self.qkv, self.head_norm, *self.gate_up)


def _join(*parts: torch.nn.Linear) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return weight and bias of one linear layer that computes several: its outputs are theirs, one after the other."""
    weight = torch.cat([part.weight for part in parts])
    return weight, None if parts[0].bias is None else torch.cat([part.bias for part in parts])


def _fuse(layer: Any, query_heads: int, key_heads: int) -> _Layer:
    """Return the weights of a layer of the model, those that are used together in one tensor."""
    attention, mlp = layer.self_attn, layer.mlp
    head_norm = None
    if hasattr(attention, "q_norm"):
        # One norm over queries and keys: a weight per head, each (head size,), so that one product serves both.
        queries = attention.q_norm.weight.expand(query_heads, -1)
        head_norm = torch.cat([queries, attention.k_norm.weight.expand(key_heads, -1)])
    return _Layer(
        qkv=_join(attention.q_proj, attention.k_proj, attention.v_proj),
        head_norm=head_norm,
        out=(attention.o_proj.weight, attention.o_proj.bias),
        gate_up=_join(mlp.gate_proj, mlp.up_proj),
        down=(mlp.down_proj.weight, mlp.down_proj.bias),
        norm_before=layer.input_layernorm.weight,
        norm_after=layer.post_attention_layernorm.weight,
    )


@functools.cache
def compile_pass() -> Any:
    """Return the pass over all layers, compiled for any number of lanes and tokens; say once that this takes time."""
    print("g2rpo-env: compiling the decode path takes some seconds at its first use in a process", file=sys.stderr)
    return torch.compile(FastDecoder._pass)


def _add_linear(hidden: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Return hidden + linear(x), by one kernel where there is no bias."""
    return torch.addmm(hidden if bias is None else hidden + bias, x, weight.T)


class FastDecoder:
    """Next-token logits for the lanes of a vector environment, as :class:`~g2rpo_env.agents.policy.decoder.Decoder`.

    Weights are those of the live model: when one of them has changed, the fused copies are made anew and the cache is
    emptied. A fused optimiser of torch, or a write through ``.data``, leaves the version counters of the weights as
    they were. Only :meth:`renew` notices such a write, so a rollout begins with it.

    Args:
        model: A transformers causal LM for which :func:`reason_against` is None.
        num_lanes: Number of lanes N.
        compile: Whether steps go through ``torch.compile``.
        cuda_graphs: Whether steps on a GPU are launched as CUDA graphs.
    """

    def __init__(self, model: Any, num_lanes: int, *, compile: bool = False, cuda_graphs: bool = True) -> None:
        config, body = model.config, model.model
        self.consumed = np.zeros(num_lanes, np.int64)
        """int64 (N,), how many tokens of each lane are in the cache."""
        self.computed = 0
        """Tokens that went through the layers; less than what lanes consumed where a prefix was shared."""
        self._model, self._compile, self._cuda_graphs = model, compile, cuda_graphs
        self._query_heads, self._heads = config.num_attention_heads, config.num_key_value_heads
        self._size = body.layers[0].self_attn.head_dim
        self._eps, self._activation = config.rms_norm_eps, body.layers[0].mlp.act_fn
        self._scale = body.layers[0].self_attn.scaling
        # Weights, as the model has them, and how they were when they were last read.
        self._parameters: list[torch.nn.Parameter] = list(model.parameters())
        self._versions: list[int] = []
        self._places: list[int] = []
        self._layers: list[_Layer] = []
        self._embedding, self._last_norm = body.embed_tokens.weight, body.norm.weight  # (V, width), (width,)
        self._head = model.lm_head.weight  # (V, width)
        self._graphs: StepGraphs | None = None
        # The cache: N rows that lanes take, and a spare one; `_reserve` gives it its room of C columns.
        self._lanes = np.zeros(0, np.int64)  # lane of each row in use
        self._row = np.full(num_lanes, -1)  # (N,), row of each lane, -1 for none
        self._held = np.zeros(num_lanes, np.int64)  # (N,), by row: tokens whose keys and values it holds
        self._tokens = np.zeros((num_lanes, 0), np.int64)  # (N, C), by row: these tokens
        self._room = 0  # C
        self._cells: list[torch.Tensor] = []  # per layer two of ((N + 1) * key heads * C, head size)
        self._cos = self._sin = self._head.new_zeros(0)  # (C, 1, head size), of the rotary embedding
        self._columns = torch.zeros(0, dtype=torch.int64, device=self._head.device)  # (C,), 0, 1, 2, ...
        self._first = self._columns.view(0, self._heads)  # (N + 1, key heads), cell of the first column of each

    # -- weights and cache ------------------------------------------------------------------------------------------

    def _follow_model(self) -> None:
        """Fuse the weights again if one of them was written since, and forget what the old ones computed."""
        versions, places = [p._version for p in self._parameters], [p.data_ptr() for p in self._parameters]
        if versions == self._versions and places == self._places:
            return
        body = self._model.model
        if places == self._places:
            # Written in place, as an optimiser does: so are the copies, for graphs read them where they are.
            for old, layer in zip(self._layers, body.layers, strict=True):
                for copy, fused in zip(old.copies, _fuse(layer, self._query_heads, self._heads).copies, strict=True):
                    if copy is not None and fused is not None:
                        copy.copy_(fused)
        else:
            self._layers = [_fuse(layer, self._query_heads, self._heads) for layer in body.layers]
            self._embedding, self._last_norm = body.embed_tokens.weight, body.norm.weight
            self._head = self._model.lm_head.weight
            # Another device or dtype, perhaps: the cache is allocated anew too.
            self._room, self._tokens = 0, np.zeros((len(self.consumed), 0), np.int64)  # (N, 0 columns)
            self._graphs = self._new_graphs()
        self._versions, self._places = versions, places
        self.forget()

    def fits(self, model: Any, num_lanes: int, *, compile: bool, cuda_graphs: bool) -> bool:
        """Whether a decoder made with these arguments would do what this one does."""
        same = self._model is model and len(self.consumed) == num_lanes
        return same and (self._compile, self._cuda_graphs) == (compile, cuda_graphs)

    @property
    def has_cuda_graphs(self) -> bool:
        """Whether it holds CUDA graphs, which take long to make again."""
        return self._graphs is not None and len(self._graphs) > 0

    def _new_graphs(self) -> StepGraphs | None:
        device = self._head.device
        if device.type != "cuda" or not self._cuda_graphs:
            return None
        return StepGraphs(device, len(self.consumed), ROOM)

    def renew(self) -> None:
        """Begin as if just made: forget all tokens, and read the weights again, whether they seem to differ or not."""
        self._parameters = list(self._model.parameters())
        self._versions = []
        self.forget()

    def forget(self) -> None:
        """Forget the tokens of all lanes and what their rows hold, as if no lane had been fed."""
        self.consumed[:] = 0
        self._held[:] = 0
        self._row[:] = -1
        self._lanes = np.zeros(0, np.int64)

    def _reserve(self, length: int) -> None:
        """Make room for contexts of ``length`` tokens."""
        if length <= self._room:
            return
        old, held = self._room, int(self._held.max(initial=0))
        # Half as much again at least, so that a token is copied about twice in all however far the cache grows.
        room = -(-max(length, old * 3 // 2) // ROOM) * ROOM
        lanes, layers = len(self.consumed), len(self._layers)
        # Layer l has its keys at 2l and its values at 2l+1; the last row takes what padding writes.
        before = [self._rows(part) for part in range(2 * layers)] if held else []
        self._room = room
        # One cell per (row, key head, column), so that one index_copy_ writes the tokens of all lanes. Zeros and not
        # empty memory: a masked column has weight 0, and 0 times what happens to lie there could be NaN.
        shape = ((lanes + 1) * self._heads * room, self._size)
        self._cells = [self._head.new_zeros(shape) for _ in range(2 * layers)]
        for part, full in enumerate(before):
            self._rows(part)[:, :, :held] = full[:, :, :held]
        self._tokens = np.pad(self._tokens, ((0, 0), (0, room - old)))  # (N, C)
        positions = torch.arange(room, device=self._head.device)  # (C,)
        cos, sin = self._model.model.rotary_emb(self._cells[0][None], positions[None])  # (1, C, head size) each
        half = self._size // 2
        self._cos = cos[0][:, None]
        # rotate_half(x) * sin, written as the halves of x exchanged, times sin with its first half negated
        self._sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=-1)[:, None]
        self._columns = positions
        self._first = (torch.arange((lanes + 1) * self._heads, device=positions.device) * room).view(-1, self._heads)
        if self._graphs is not None:
            self._graphs.clear()  # they read the cells of before

    def _arrange(self, lanes: np.ndarray) -> None:
        """Give these lanes the first rows: the last rows move into the gaps that other lanes leave.

        A step then works on a slice of the cache. Lanes finish one by one, so few rows move at a time.
        """
        keep = np.zeros(len(self.consumed), np.bool_)  # (N,)
        keep[lanes] = True
        gone = self._lanes[~keep[self._lanes]]  # lanes that have a row and are not fed now
        if len(gone):
            self.consumed[gone] = 0
            rows, count = self._row[gone], len(self._lanes) - len(gone)
            self._row[gone] = -1
            gaps = rows[rows < count]
            tail = np.arange(count, len(self._lanes))
            movers = tail[~np.isin(tail, rows)]
            self._copy(movers, gaps)
            self._lanes[gaps] = self._lanes[movers]
            self._lanes = self._lanes[:count]
            self._row[self._lanes] = np.arange(count)
        new = lanes[self._row[lanes] < 0]
        if len(new):
            self._row[new] = np.arange(len(self._lanes), len(self._lanes) + len(new))
            self._held[self._row[new]] = 0
            self.consumed[new] = 0
            self._lanes = np.concatenate([self._lanes, new])

    def _copy(self, sources: np.ndarray, targets: np.ndarray, length: int | None = None) -> None:
        """Copy what rows hold, or its first ``length`` tokens, into other rows."""
        if not len(sources):
            return
        end = int(self._held[sources].max()) if length is None else length
        source, target = (torch.from_numpy(rows).to(self._head.device) for rows in (sources, targets))
        for part in range(len(self._cells)):
            rows = self._rows(part)
            rows[target, :, :end] = rows[source, :, :end]
        self._tokens[targets] = self._tokens[sources]
        self._held[targets] = self._held[sources]

    # -- what callers use -------------------------------------------------------------------------------------------

    def restart(self, lanes: np.ndarray) -> None:
        """Forget the tokens of lanes that have begun another episode."""
        self.consumed[lanes] = 0  # what their rows hold stays, for whoever begins with the same tokens

    @torch.inference_mode()
    def advance(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> torch.Tensor:
        """Feed the new tokens of some lanes and return the logits after each one's last token.

        Args:
            tokens_NL: int, contexts of all lanes.
            length_N: int (N,), their lengths.
            lanes: int (K,), the lanes to feed, each with at least one new token.

        Returns:
            Raw logits (K, model vocabulary), in the order of ``lanes``; the next call may overwrite them.
        """
        lanes = np.asarray(lanes)
        self._follow_model()
        self._arrange(lanes)
        # Another size would compile another pass, so then there is room for the longest episode at once.
        self._reserve(tokens_NL.shape[1] if self._compile else int(length_N[lanes].max()))
        # All but the last token of each lane goes ahead and needs no logits; then all lanes take one token together.
        behind = lanes[length_N[lanes] - self.consumed[lanes] > 1]
        if len(behind):
            self._catch_up(tokens_NL, length_N, behind)
        # The rows in use are the first ones, so the pass is over a slice of the cache, whatever the order of lanes.
        position = length_N[self._lanes] - 1  # (K,), by row
        ids = tokens_NL[self._lanes, position].astype(np.int64)  # (K,), by row
        logits = self._step(ids, position)  # (K, V), by row
        rows = self._row[lanes]
        self._tokens[np.arange(len(ids)), position] = ids
        self.consumed[lanes] = length_N[lanes]
        self._held[: len(ids)] = position + 1
        # Without a gather where lanes come in the order of their rows, as they do in most steps.
        return logits if (rows == np.arange(len(rows))).all() else logits[torch.from_numpy(rows).to(logits.device)]

    # -- prefixes ---------------------------------------------------------------------------------------------------

    def _catch_up(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> None:
        """Fill the cache of lanes up to their last token: shared prefixes are copied, the rest is computed."""
        self._take_prefixes(tokens_NL, length_N, lanes[self.consumed[lanes] == 0])
        waiting = lanes[length_N[lanes] - self.consumed[lanes] > 1]
        while len(waiting):
            leads = self._leads(tokens_NL, length_N, waiting)
            self._prefill(tokens_NL, length_N, waiting[leads])
            waiting = waiting[~leads]
            self._take_prefixes(tokens_NL, length_N, waiting)
            waiting = waiting[length_N[waiting] - self.consumed[waiting] > 1]

    def _take_prefixes(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> None:
        """Give lanes the longest prefix of their context, without its last token, that a row of the cache holds."""
        if not len(lanes):
            return
        used = len(self._lanes)
        rows = self._row[lanes]
        sources = np.zeros(len(lanes), np.int64)  # (K,), the row that each lane copies from
        shared = np.zeros(len(lanes), np.int64)  # (K,), how many tokens it copies
        for i, lane in enumerate(lanes):
            end = int(length_N[lane]) - 1
            equal = self._tokens[:used, :end] == tokens_NL[lane, :end]  # (rows in use, end)
            common = np.where(equal.all(1), end, equal.argmin(1)) if end else np.zeros(used, np.int64)
            common = np.minimum(common, self._held[:used])
            own, best = common[rows[i]], int(common.argmax())  # its own row if no other holds more: nothing to copy
            sources[i] = rows[i] if own == common[best] else best
            shared[i] = common[best]
        moved = sources != rows
        # Held lengths change together at the end: a row may be the source of one lane and the target of another.
        self._copy(sources[moved], rows[moved], int(shared.max()))
        self._held[rows] = self.consumed[lanes] = shared

    def _leads(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> np.ndarray:
        """Return which lanes are computed now, bool (K,): one of those that share much of what they lack.

        In the order of their contexts, lanes that share a prefix are neighbours: each is compared with the last leader.
        """
        contexts = [tokens_NL[lane, : length_N[lane] - 1] for lane in lanes]
        leads = np.zeros(len(lanes), np.bool_)  # (K,)
        leader = np.zeros(0, np.int64)  # the context of the last lane that leads
        for i in sorted(range(len(lanes)), key=lambda i: contexts[i].tolist()):
            end = min(len(leader), len(contexts[i]))
            differs = np.flatnonzero(leader[:end] != contexts[i][:end])
            done = int(self.consumed[lanes[i]])
            # Tokens that the lane would not have to compute if it waited for the leader.
            gain = (int(differs[0]) if len(differs) else end) - done
            if gain <= 0 or gain < min(WORTH_WAITING, (len(contexts[i]) - done) / 2):
                leads[i], leader = True, contexts[i]
        return leads

    def _prefill(self, tokens_NL: np.ndarray, length_N: np.ndarray, lanes: np.ndarray) -> None:
        """Compute the tokens of lanes from what they hold up to their last one, which is left out."""
        begin, end = self.consumed[lanes], length_N[lanes] - 1  # (K,) each
        offset = np.arange(int((end - begin).max()))  # (W,)
        position = begin[:, None] + offset  # (K, W)
        real = position < end[:, None]
        # Padding repeats the last token: a place that exists, whose result is thrown away.
        position = np.where(real, position, end[:, None] - 1)
        rows = self._row[lanes]
        ids = np.take_along_axis(tokens_NL[lanes], position, axis=1).astype(np.int64)
        self._fill(rows, ids, position, real)
        for row, lane, stop in zip(rows, lanes, end, strict=True):
            self._tokens[row, :stop] = tokens_NL[lane, :stop]
        self._held[rows] = self.consumed[lanes] = end

    # -- the model --------------------------------------------------------------------------------------------------

    def _step(self, ids: np.ndarray, position: np.ndarray) -> torch.Tensor:
        """Take one token in each of the first K rows and return the logits, (K, vocabulary)."""
        self.computed += len(ids)
        if self._graphs is not None:
            return self._graphs(self._logits, ids, position, self._room)
        id_K, place_K = torch.from_numpy(np.stack([ids, position])).to(self._head.device)
        columns = int(position.max()) + 1
        # Where all places are equal, as in one group on its own, every lane sees all columns: no mask to make.
        return self._logits(id_K, place_K, columns, masked=int(position.min()) + 1 < columns)

    def _logits(self, id_K: torch.Tensor, place_K: torch.Tensor, columns: int, masked: bool = True) -> torch.Tensor:
        """Return the logits after one token in each of the first rows, compiled or as it is."""
        # A size of 1 is a case of its own to the compiler, and not worth it.
        if not self._compile or min(len(id_K), columns) == 1:
            return self._pass(id_K, place_K, self._columns[:columns], masked)
        sizes = id_K, place_K, self._columns[:columns]
        for tensor in sizes:
            torch._dynamo.mark_dynamic(tensor, 0)  # one compilation for all sizes, not one for each
        return compile_pass()(self, *sizes, masked=True)

    def _pass(self, id_K: torch.Tensor, place_K: torch.Tensor, columns: torch.Tensor, masked: bool) -> torch.Tensor:
        """Return the logits after one token in each of the first rows, (K, vocabulary).

        Args:
            id_K: int64, the tokens.
            place_K: int64, their places.
            columns: int64, 0, 1, ... up to the largest place.
            masked: Whether the places differ.
        """
        count, seen = len(id_K), len(columns)
        hidden = functional.embedding(id_K, self._embedding)  # (K, width)
        cos, sin = self._cos[place_K], self._sin[place_K]  # (K, 1, head size)
        cells = (self._first[:count] + place_K[:, None]).view(-1)  # (K * key heads,), where keys and values are written
        mask = self._mask(place_K, columns, hidden.dtype) if masked else None
        for number, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, cos, sin)
            self._cells[2 * number].index_copy_(0, cells, key.reshape(-1, self._size))
            self._cells[2 * number + 1].index_copy_(0, cells, value.reshape(-1, self._size))
            # (K * key heads, columns, head size): views, for rows of the cache lie one after the other
            keys = self._rows(2 * number)[:count, :, :seen].flatten(0, 1)
            values = self._rows(2 * number + 1)[:count, :, :seen].flatten(0, 1)
            # The queries that share a key head stand where a sequence of queries would.
            query = query.reshape(count * self._heads, -1, self._size) * self._scale
            weights = torch.bmm(query, keys.mT) if mask is None else torch.baddbmm(mask, query, keys.mT)
            mixed = torch.bmm(self._softmax(weights), values).view(count, -1)  # (K, query heads * head size)
            hidden = self._finish(layer, hidden, mixed)
        return functional.linear(self._norm(hidden, self._last_norm), self._head)

    def _rows(self, part: int) -> torch.Tensor:
        """Return the keys or values of a layer by row, (rows + 1, key heads, room, head size)."""
        return self._cells[part].view(-1, self._heads, self._room, self._size)

    def _mask(self, place_K: torch.Tensor, columns: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Return 0 for what the token at each place may see and -inf for the rest, (K * key heads, 1, columns)."""
        mask = torch.zeros((len(place_K), len(columns)), dtype=dtype, device=place_K.device)  # (K, columns)
        mask = mask.masked_fill(columns > place_K[:, None], float("-inf"))
        return mask[:, None, None].expand(-1, self._heads, -1, -1).reshape(-1, 1, len(columns))

    def _fill(self, rows: np.ndarray, ids: np.ndarray, position: np.ndarray, real: np.ndarray) -> None:
        """Take several tokens, ids (K, W), in some rows; padding is written to the spare row."""
        device, (count, width), heads = self._head.device, ids.shape, self._heads
        self.computed += int(real.sum())
        place = torch.from_numpy(position).to(device)  # (K, W)
        where = torch.from_numpy(rows).to(device)  # (K,)
        columns = int(position.max()) + 1
        # Tokens of all rows one after the other, (K * W, width): the layers know no rows, only attention does.
        hidden = functional.embedding(torch.from_numpy(ids).to(device), self._embedding).view(count * width, -1)
        cos, sin = self._cos[place.view(-1)], self._sin[place.view(-1)]  # (K * W, 1, head size)
        into = where[:, None].masked_fill(~torch.from_numpy(real).to(device), len(self.consumed))  # (K, W), spare row
        cells = (self._first[into] + place[:, :, None]).view(-1)  # (K * W * key heads,)
        seen = (self._columns[:columns] <= place[:, :, None])[:, None]  # (K, 1, W, columns), what each token may see
        for number, layer in enumerate(self._layers):
            query, key, value = self._project(layer, hidden, cos, sin)
            self._cells[2 * number].index_copy_(0, cells, key.reshape(-1, self._size))
            self._cells[2 * number + 1].index_copy_(0, cells, value.reshape(-1, self._size))
            if number == len(self._layers) - 1:
                return  # later layers would only serve logits that nobody reads
            keys = self._rows(2 * number)[where, :, :columns]  # (K, key heads, columns, head size), and so the values
            values = self._rows(2 * number + 1)[where, :, :columns]
            query = query.view(count, width, self._query_heads, self._size).transpose(1, 2)
            grouped = self._query_heads != heads
            mixed = functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=seen, scale=self._scale, enable_gqa=grouped
            )
            hidden = self._finish(layer, hidden, mixed.transpose(1, 2).reshape(count * width, -1))

    def _project(
        self, layer: _Layer, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return queries, keys and values of tokens (T, width), each (T, heads, head size), rotated to their places."""
        fused = functional.linear(self._norm(hidden, layer.norm_before), *layer.qkv)
        fused = fused.view(len(hidden), -1, self._size)  # (T, query heads + 2 key heads, head size)
        turned, value = fused.split((self._query_heads + self._heads, self._heads), dim=1)
        if layer.head_norm is not None:
            turned = self._norm(turned, layer.head_norm)
        swapped = torch.roll(turned, self._size // 2, -1)
        turned = torch.addcmul(turned * cos, swapped, sin)
        query, key = turned.split((self._query_heads, self._heads), dim=1)
        return query, key, value

    def _finish(self, layer: _Layer, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """Return the hidden states after a layer, given the values that its attention has mixed."""
        hidden = _add_linear(hidden, mixed, *layer.out)
        both = functional.linear(self._norm(hidden, layer.norm_after), *layer.gate_up)
        gate, up = both.chunk(2, dim=-1)
        return _add_linear(hidden, self._activation(gate) * up, *layer.down)

    def _norm(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float64:
            # torch's kernel computes in float32, as the model's own forward does.
            return functional.rms_norm(x, x.shape[-1:], eps=self._eps) * weight
        wide = x.float()  # for float64 that forward goes through float32, too
        return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self._eps)).to(x.dtype)

    def _softmax(self, weights: torch.Tensor) -> torch.Tensor:
        if weights.dtype in (torch.float16, torch.bfloat16):  # as the model's own forward does
            return torch.softmax(weights, dim=-1, dtype=torch.float32).to(weights.dtype)
        return torch.softmax(weights, dim=-1)
