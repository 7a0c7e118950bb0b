"""On a GPU: the numbers of the processor in float64, finite ones in 16 bits, other random streams untouched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, collect, evaluate, recipes
from g2rpo_env.agents.grpo import CONFIG_FILE
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.strategies.generators import HuggingFace
from g2rpo_env.agents.policy.scoring import head_log_probs
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.warm_start import WarmStart, warm_start

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
GUIDANCE = {"length": 4, "ratio": 0.5}


def make_agent(make_envs: Any, make_policy: Any, device: str, dtype: str = "float64", **parts: Any) -> GRPO:
    envs = make_envs(16, 4, digits=(1, 3), guidance=GUIDANCE, max_new_tokens=16)
    policy = make_policy(envs, scale=3.0)
    if parts.pop("lora", False):
        policy.add_lora(rank=2)
    return recipes.make("g2rpo-a", policy, envs, seed=3, device=device, dtype=dtype, **parts)


PARTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "two epochs of minibatches": {"optimizer": Optimizer(epochs=2, minibatch=6, learning_rate=1e-3)},
    "checkpointed parts": {"optimizer": Optimizer(microbatch_tokens=100, checkpointing=True)},
    "kl to start": {"reference": KLToStart(beta=0.1)},
    "adapter": {"lora": True, "reference": KLToStart(beta=0.1)},
}


@pytest.mark.parametrize("name", list(PARTS))
def test_updates_equal_those_of_the_processor_in_float64(make_envs: Any, make_policy: Any, name: str) -> None:
    if "lora" in PARTS[name]:
        pytest.importorskip("peft")
    agents = [make_agent(make_envs, make_policy, device, **PARTS[name]) for device in ("cuda", "cpu")]
    start = [p.detach().cpu().clone() for p in agents[0].policy.model.parameters()]
    for _ in range(3):
        mine, other = (agent.update() for agent in agents)
        assert mine.keys() == other.keys()
        for key, value in mine.items():
            assert value == pytest.approx(other[key], rel=1e-3, abs=1e-5), key
        for one, two in zip(agents[0].groups.episodes, agents[1].groups.episodes, strict=True):
            assert np.array_equal(one.tokens_T, two.tokens_T)
    assert all(p.is_cuda and p.dtype == torch.float64 for p in agents[0].policy.model.parameters())
    ends = [torch.cat([p.detach().cpu().flatten() for p in agent.policy.model.parameters()]) for agent in agents]
    moved = ends[0] - torch.cat([p.flatten() for p in start])
    assert float((ends[0] - ends[1]).norm()) < 1e-2 * float(moved.norm())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_updates_in_fewer_bits_are_finite_and_change_the_weights(make_envs: Any, make_policy: Any, dtype: str) -> None:
    agent = make_agent(make_envs, make_policy, "cuda", dtype, optimizer=Optimizer(learning_rate=1e-2))
    before = [p.detach().clone() for p in agent.policy.model.parameters()]
    rows = [agent.update() for _ in range(4)]
    assert all(np.isfinite(row["loss"]) for row in rows if row["loss"] is not None)
    assert any(row["grad_norm"] for row in rows if row["grad_norm"] is not None)
    assert not all(torch.equal(a, b) for a, b in zip(before, agent.policy.model.parameters(), strict=True))
    assert 0 <= agent.evaluate(problems=16).accuracy <= 1


def test_the_generator_of_the_gpu_is_left_as_it_was(make_envs: Any, make_policy: Any) -> None:
    before = torch.cuda.get_rng_state()
    agent = make_agent(make_envs, make_policy, "cuda", "float32")
    agent.update()
    evaluate(agent.policy, agent.envs, problems=8, mode="sampled")
    HuggingFace(tolerance=0.01)(agent.policy, agent.envs)
    agent.policy.complete("1+1=", 4, greedy=False)
    assert torch.equal(before, torch.cuda.get_rng_state())


def test_an_agent_saved_on_one_device_goes_on_on_the_other(make_envs: Any, make_policy: Any, tmp_path: Path) -> None:
    devices = "cuda", "cpu"
    after = {}
    for device in devices:
        agent = make_agent(make_envs, make_policy, device, reference=KLToStart(beta=0.1))
        agent.update()
        agent.save(tmp_path / device)
        assert json.loads((tmp_path / device / CONFIG_FILE).read_text())["policy"]["dtype"] == "float64"
        after[device] = agent.update()
    for saved, device in (devices, devices[::-1]):
        envs = make_envs(16, 4, digits=(1, 3), guidance=GUIDANCE, max_new_tokens=16)
        agent = GRPO.load(tmp_path / saved, envs, device=device)
        assert agent.policy.device.type == device
        for key, value in agent.update().items():
            assert value == pytest.approx(after[saved][key], rel=1e-3, abs=1e-5), key


def test_other_ways_to_write_and_train(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, max_new_tokens=12)
    policy = make_policy(envs).to("cuda", "bfloat16")
    assert len(HuggingFace()(policy, envs).episodes) == 8
    assert isinstance(policy.complete("1+2=", 4), str)
    options = WarmStart(max_steps=2, check_every=1, samples=8, batch_size=8, success=(0.98, 1.0))
    assert warm_start(policy, envs, options).steps == 2
    policy.own_decoder = False
    assert len(collect(policy, envs, groups=5).episodes) == 20


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_log_probs_of_a_large_head_in_parts_and_at_once(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(300, 32, dtype=torch.float64)
    weight, target = torch.randn(5000, 32, dtype=torch.float64) / 6, torch.randint(0, 4000, (300,))
    found = []
    for chunk in (None, 70):
        leaves = [t.to("cuda", dtype).requires_grad_() for t in (hidden, weight)]
        picked = head_log_probs(*leaves, target.cuda(), 1.3, 4000, chunk)
        picked.double().square().sum().backward()
        found.append([picked, *(leaf.grad for leaf in leaves)])
    leaves = [t.requires_grad_() for t in (hidden, weight)]
    wanted = torch.log_softmax(leaves[0] @ leaves[1][:4000].T / 1.3, -1).gather(1, target[:, None])[:, 0]
    wanted.square().sum().backward()
    for parts in found:
        for mine, other in zip(parts, [wanted, *(leaf.grad for leaf in leaves)], strict=True):
            assert mine is not None and other is not None
            assert float((mine.detach().double().cpu() - other).norm() / other.norm()) < tolerance
