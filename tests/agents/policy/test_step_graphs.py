"""StepGraphs: which sizes there are, when a step is captured and replayed; on a GPU, equal to running it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from g2rpo_env.agents import GRPO, CausalLMPolicy, collect
from g2rpo_env.agents.policy import step_graphs
from g2rpo_env.agents.policy.fast_decoder import ROOM, FastDecoder
from g2rpo_env.agents.policy.step_graphs import StepGraphs, widen
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.tokenizer import char_tokenizer

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("number", "unit", "most", "wanted"),
    [(1, 1, 64, 1), (5, 1, 64, 6), (49, 1, 64, 64), (65, 1, 70, 70), (65, 64, 999, 128), (129, 64, 999, 192),
     (200, 64, 999, 256), (260, 64, 300, 300)],
)  # fmt: skip
def test_sizes_by_hand(number: int, unit: int, most: int, wanted: int) -> None:
    assert widen(number, unit, most) == wanted


def test_a_size_is_never_below_the_number_nor_twice_as_large() -> None:
    for number in range(1, 1000):
        assert number <= widen(number, 1, 10**6) < 2 * number or number == 1


# -- with a stand-in for CUDA -----------------------------------------------------------------------------------------


class FakeGraph:
    """Runs on replay what was called while it was captured, and writes the result where that of the capture lies."""

    run: Any
    out: torch.Tensor

    def pool(self) -> tuple[int, int]:
        return (0, 0)

    def replay(self) -> None:
        self.out.copy_(self.run())


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let graphs be captured on the processor; gives the sizes that were captured."""
    captured: list[tuple[int, int]] = []
    step = StepGraphs._step

    @contextlib.contextmanager
    def capture(graph: Any, *_: Any, **__: Any) -> Iterator[None]:
        def record(self: StepGraphs, run: Any, key: tuple[int, int]) -> torch.Tensor:
            graph.run = lambda: step(self, run, key)
            graph.out = graph.run().clone()
            captured.append(key)
            return graph.out

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(StepGraphs, "_step", record)
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    for name in ("device", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(FastDecoder, "_new_graphs", lambda self: StepGraphs(CPU, len(self.consumed), ROOM))
    return captured


def squares(id_K: torch.Tensor, place_K: torch.Tensor, columns: int) -> torch.Tensor:
    """Stand in for a step: logits that say what went in."""
    return torch.stack([id_K, place_K, torch.full_like(id_K, columns)], dim=1).float()


def test_a_size_is_captured_at_its_second_time_and_then_replayed(fake_cuda: list[tuple[int, int]]) -> None:
    graphs = StepGraphs(CPU, 8, 64)
    for time, number in enumerate([5, 5, 6, 6, 3, 5]):
        ids, position = np.arange(number) + time, np.arange(number) + 10 * time
        found = graphs(squares, ids, position, 640)
        assert found[:, 0].tolist() == ids.tolist() and found[:, 1].tolist() == position.tolist()
        assert found[0, 2] == 64 and len(found) == number
    assert fake_cuda == [(6, 64)] and len(graphs) == 1
    graphs(squares, np.arange(3), np.full(3, 64), 100)
    graphs.clear()
    assert len(graphs) == 0
    graphs(squares, np.arange(3), np.full(3, 64), 100)
    graphs(squares, np.arange(3), np.full(3, 64), 100)
    assert fake_cuda == [(6, 64), (3, 100)]


def test_no_more_graphs_than_most(fake_cuda: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_graphs, "MOST", 2)
    graphs = StepGraphs(CPU, 8, 64)
    for number in (1, 2, 3, 4, 1, 2, 3, 4):
        assert graphs(squares, np.arange(number), np.arange(number), 64)[:, 0].tolist() == list(range(number))
    assert fake_cuda == [(1, 64), (2, 64)]


def test_a_capture_that_fails_is_said_once_and_steps_go_on(
    fake_cuda: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    @contextlib.contextmanager
    def refuse(*_: Any, **__: Any) -> Iterator[None]:
        raise RuntimeError("operation not permitted")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    graphs = StepGraphs(CPU, 8, 64)
    for _ in range(4):
        assert graphs(squares, np.arange(3), np.arange(3), 64)[:, 0].tolist() == [0, 1, 2]
    assert graphs.broken and len(graphs) == 0
    assert capfd.readouterr().err.count("no CUDA graphs") == 1


def small_policy(
    dtype: torch.dtype = torch.float32, device: str = "cpu", scale: float = 3.0, **options: Any
) -> CausalLMPolicy:
    """Random weights, scaled up so that a wrong position or mask shows."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model: Any = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(scale).add_(torch.randn_like(parameter) * 0.02)
    return CausalLMPolicy(model.to(device, dtype), char_tokenizer(), temperature=1.3, **options)


def follow(policy: CausalLMPolicy, tolerance: float, decoder: FastDecoder | None = None) -> FastDecoder:
    """Grow six lanes, fewer and fewer, over two rooms of the cache; compare each step with the model's own forward."""
    random = np.random.default_rng(0)
    tokens, length = random.integers(2, 258, (6, 3 * ROOM)), np.array([3, 9, 1, 5, 7, 2])
    decoder = decoder or policy.decoder(6)  # type: ignore[assignment]
    assert isinstance(decoder, FastDecoder)

    def check(*running: int) -> None:
        lanes = np.array(running)
        got = policy.log_probs(decoder.advance(tokens, length, lanes)).double()
        for row, lane in zip(got, lanes, strict=True):
            with torch.no_grad():
                ids = torch.from_numpy(tokens[lane : lane + 1, : length[lane]]).to(policy.device)
                wanted = policy.log_probs(policy.model(ids).logits[0, -1]).double()
            assert float((row - wanted).abs().max()) < tolerance
        length[lanes] += 1

    for _ in range(4):
        check(0, 1, 2, 3, 4, 5)
    length[:] += 60
    for running in ([5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5], [0, 2, 4, 5], [0, 2, 4, 5], [2], [2], [2]):
        check(*running)
    tokens[[1, 3]], length[[1, 3]] = tokens[2], length[2]
    decoder.restart(np.array([1, 3]))
    check(1, 2, 3)
    check(2, 1, 3)
    check(3, 1, 2)
    return decoder


def test_steps_as_graphs_equal_the_forward(fake_cuda: list[tuple[int, int]]) -> None:
    follow(small_policy(torch.float64), 1e-9)
    assert {(6, 64), (6, 128), (4, 128), (1, 128), (3, 128)} <= set(fake_cuda)


def test_graphs_stay_valid_when_weights_are_written_in_place(fake_cuda: list[tuple[int, int]]) -> None:
    policy = small_policy(torch.float64)
    decoder = follow(policy, 1e-9)
    decoder.forget()
    follow(policy, 1e-9, decoder)  # now there is room from the start
    captured = len(fake_cuda)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.01)
    decoder.forget()
    follow(policy, 1e-9, decoder)
    assert len(fake_cuda) == captured  # what graphs read is where it was
    policy.model.to(torch.float32)
    policy.model.to(torch.float64)  # elsewhere now
    decoder.forget()
    follow(policy, 1e-9, decoder)
    assert len(fake_cuda) > captured


def test_a_policy_keeps_a_decoder_with_graphs_for_the_next_rollout(
    make_envs: Any, fake_cuda: list[tuple[int, int]]
) -> None:
    policy = small_policy(torch.float64)
    envs = make_envs(8, 4, max_new_tokens=12)
    episodes = [collect(policy, envs, seed=1).episodes]
    kept, captured = policy._kept, len(fake_cuda)
    assert kept is not None and captured > 0
    policy.model.lm_head.weight.data.mul_(1.0)
    episodes.append(collect(policy, envs, seed=1).episodes)
    assert policy._kept is kept and len(fake_cuda) - captured < captured  # room for all was made before
    first, second = policy.decoder(8), policy.decoder(8)
    assert first is kept and second is not kept
    policy.keep(kept)
    assert policy.decoder(4) is not kept
    policy.cuda_graphs = False
    policy.keep(kept)
    assert policy.decoder(8) is not kept
    policy.own_decoder = False
    episodes.append(collect(policy, envs, seed=1).episodes)
    for found in episodes[1:]:
        for mine, other in zip(episodes[0], found, strict=True):
            assert np.array_equal(mine.tokens_T, other.tokens_T)
            assert float(np.abs(mine.logprob_T - other.logprob_T).max()) < 1e-6


def recorded_and_scored(policy: CausalLMPolicy, episodes: Any) -> float:
    """Return the largest difference between what a rollout recorded of its tokens and what the model gives them now."""
    worst = 0.0
    for episode in episodes:
        tokens = torch.from_numpy(episode.tokens_T.astype(np.int64)).to(policy.device)[None]
        with torch.no_grad():
            logits = policy.model(tokens).logits[0, :-1]
            scored = policy.log_probs(logits).gather(1, tokens[0, 1:, None])[:, 0].cpu().numpy()
        worst = max(worst, float(np.abs(scored - episode.logprob_T[1:])[episode.sampled_T[1:]].max()))
    return worst


@pytest.mark.parametrize("fused", [True, False])
def test_rollouts_with_graphs_follow_an_optimiser(
    make_envs: Any, fake_cuda: list[tuple[int, int]], fused: bool
) -> None:
    """A fused step leaves no trace in the weights' version counters, and the decoder outlives it."""
    policy = small_policy(torch.float64)
    agent = GRPO(policy, make_envs(8, 4), optimizer=Optimizer(learning_rate=1e-2, fused=fused))
    envs = make_envs(8, 4)
    for number in range(3):
        before = policy.model.lm_head.weight.detach().clone()
        agent.update()
        assert float((policy.model.lm_head.weight.detach() - before).abs().max()) > 1e-3
        kept = policy._kept
        assert recorded_and_scored(policy, collect(policy, envs, seed=number).episodes) < 1e-5
        assert policy._kept is kept is not None
    follow(policy, 1e-5, policy.decoder(8))  # type: ignore[arg-type]
    assert len(fake_cuda) > 0


@pytest.mark.parametrize("written", ["fused", "data"])
def test_a_decoder_that_is_kept_reads_weights_written_without_a_trace(
    make_envs: Any, fake_cuda: list[tuple[int, int]], written: str
) -> None:
    policy = small_policy(torch.float64)
    envs = make_envs(8, 4)
    collect(policy, envs, seed=1)
    parameters = list(policy.model.parameters())
    versions = [p._version for p in parameters]
    if written == "data":
        for parameter in parameters:
            parameter.data.mul_(1.01)
    else:
        for parameter in parameters:
            parameter.grad = torch.ones_like(parameter)
        torch.optim.AdamW(parameters, lr=1e-2, fused=True).step()
    if versions != [p._version for p in parameters]:
        pytest.skip("this torch counts that, too")
    assert recorded_and_scored(policy, collect(policy, envs, seed=1).episodes) < 1e-5


def test_a_copy_of_a_policy_does_not_keep_the_decoder(make_envs: Any, fake_cuda: list[tuple[int, int]]) -> None:
    import copy

    policy = small_policy()
    collect(policy, make_envs(8, 4), seed=1)
    assert policy._kept is not None
    assert copy.copy(policy)._kept is None and copy.deepcopy(policy)._kept is None


# -- on a GPU ---------------------------------------------------------------------------------------------------------


@needs_gpu
@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [(torch.float64, 3, 1e-9), (torch.float32, 3, 1e-3), (torch.bfloat16, 1.5, 0.2), (torch.float16, 1.5, 0.05)],
)
@pytest.mark.parametrize("graphs", [True, False])
def test_on_a_gpu_steps_equal_the_forward(dtype: torch.dtype, scale: float, tolerance: float, graphs: bool) -> None:
    decoder = follow(small_policy(dtype, "cuda", scale, cuda_graphs=graphs), tolerance)
    assert decoder.has_cuda_graphs == graphs and (decoder._graphs is None or not decoder._graphs.broken)


@needs_gpu
def test_on_a_gpu_graphs_and_single_kernels_write_the_same_episodes(make_envs: Any) -> None:
    envs = make_envs(16, 4, digits=(1, 4), max_new_tokens=24)
    found = []
    for device, options in (
        ("cuda", {}), ("cuda", {"cuda_graphs": False}), ("cuda", {"own_decoder": False}), ("cpu", {}),
    ):  # fmt: skip
        policy = small_policy(torch.float64, device, **options)
        found.append(collect(policy, envs, seed=1, groups=8).episodes)
        found.append(collect(policy, envs, seed=1, groups=8).episodes)
    assert len({int(e.sampled_T.sum()) for e in found[0]}) > 1  # some end before others
    for episodes in found[1:]:
        for mine, other in zip(found[0], episodes, strict=True):
            assert np.array_equal(mine.tokens_T, other.tokens_T)
            assert float(np.abs(mine.logprob_T - other.logprob_T).max()) < 1e-4


@needs_gpu
@pytest.mark.parametrize("fused", [True, False])
def test_on_a_gpu_rollouts_follow_an_optimiser(make_envs: Any, fused: bool) -> None:
    policy = small_policy(torch.float64, "cuda")
    agent = GRPO(policy, make_envs(8, 4), optimizer=Optimizer(learning_rate=1e-2, fused=fused))
    for number in range(3):
        before = policy.model.lm_head.weight.detach().clone()
        agent.update()
        assert float((policy.model.lm_head.weight.detach() - before).abs().max()) > 1e-3
        kept = policy._kept
        assert kept is not None and kept.has_cuda_graphs
        assert recorded_and_scored(policy, collect(policy, make_envs(8, 4), seed=number).episodes) < 1e-5
        assert policy._kept is kept
    follow(policy, 1e-5, policy.decoder(8))  # type: ignore[arg-type]


@needs_gpu
def test_on_a_gpu_a_capture_that_fails_leaves_a_working_process() -> None:
    call = (
        "import numpy as np, torch\n"
        "from g2rpo_env.agents.policy.step_graphs import StepGraphs\n"
        "graphs = StepGraphs(torch.device('cuda'), 4, 64)\n"
        "def run(ids, places, columns):\n"
        "    return ids[:, None] * float(ids.max().item() >= 0)\n"  # a transfer cannot be captured
        "for _ in range(3):\n"
        "    print(graphs(run, np.arange(3), np.arange(3), 64)[:, 0].tolist())\n"
        "print(graphs.broken, float((torch.ones(9, 9, device='cuda') @ torch.ones(9, 9, device='cuda')).sum()))\n"
        "print(torch.cuda.current_stream() == torch.cuda.default_stream())\n"
    )
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True)
    assert done.stdout.split("\n")[:5] == ["[0.0, 1.0, 2.0]"] * 3 + ["True 729.0", "True"], done.stdout + done.stderr
    assert done.stderr.count("no CUDA graphs") == 1
