"""Options that repeat arms: those of the demo to the byte, and what they cannot say is named."""

from dataclasses import replace

import pytest

from g2rpo_env.agents import recipes
from g2rpo_env.agents.agent import AGENTS
from g2rpo_env.agents.parts.advantages import Clamped
from g2rpo_env.cli.app import main
from g2rpo_env.experiments.arms import Arm, make_agent
from g2rpo_env.experiments.families import FAMILIES
from g2rpo_env.experiments.repeat import find_repeat
from g2rpo_env.experiments.runner import run_chain

CONTROLLER = FAMILIES["g2rpo_env/Addition-v0"].controller


def repeat(setting, base, arm):
    from g2rpo_env.agents import CausalLMPolicy

    policy = CausalLMPolicy.from_pretrained(base)
    return find_repeat(setting, base, arm, make_agent(setting, policy, arm, None), 1)


def test_arms_are_repeated_to_the_byte(setting, base, tmp_path, monkeypatch):
    """A guided one with a controller of its own, one that replays it, and forms, parts and settings of recipes."""
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    setting = replace(setting, decay=True)
    arms = [
        Arm("guided", "g2rpo-a", 1e-3, controller=replace(CONTROLLER, length=8.0, min_length=7.0, max_length=9.0)),
        Arm("sft", "sft", 1e-3, replays="guided"),
        Arm("form", "dapo@guided-positive", 1e-3),
        Arm("plain", "grpo", 1e-3),  # in the guided environment all the same
        Arm("unguided", "grpo", 1e-3, guided=False, parts={"loss": recipes.get("cispo").loss}),
    ]
    run_chain(setting, base, arms, tmp_path)
    for arm in arms:
        one, two = tmp_path / arm.label, tmp_path / f"again-{arm.label}"
        options = ["--config", one / "config.toml", "--out", two, "--response-problems", 0, "--evaluate-every", 0]
        assert main(["train", *map(str, options)]) == 0
        for name in ("metrics.jsonl", "groups.jsonl"):
            assert (one / name).read_bytes() == (two / name).read_bytes(), arm.label


def test_a_budget_of_tokens_ends_as_the_updates_that_it_took(setting, base, tmp_path):
    run_chain(replace(setting, sampled_tokens=60), base, [Arm("grpo", "grpo")], tmp_path)
    rows = (tmp_path / "grpo/metrics.jsonl").read_text().splitlines()
    assert f"updates = {len(rows)}" in (tmp_path / "grpo/config.toml").read_text().splitlines()


@pytest.mark.parametrize(
    ("changes", "arm", "words"),
    [
        ({}, Arm("ppo", AGENTS["ppo"]), "g2rpo_env.agents.sb3:PPOAgent is an agent and no recipe"),
        ({"order": {"span": 10}}, Arm("grpo", "grpo"), "its problems come in an order of their own"),
        ({"measured": {"digits": 2}}, Arm("grpo", "grpo"), "it is measured on another task than it trains on"),
        (
            {},
            Arm("grpo", "grpo", parts={"advantage": Clamped(recipes.get("grpo").advantage)}),
            "advantage.inner is GroupNormalized",
        ),
        (
            {},
            Arm("a", "g2rpo-a", controller=replace(CONTROLLER, length=8.0, min_length=7.0, max_length=99.0)),
            "controller=AdaptiveGuidance has bounds that do not fit the guidance wrapper",
        ),
    ],
)
def test_what_options_cannot_say_is_named(setting, base, changes, arm, words):
    assert words in repeat(replace(setting, **changes), base, arm).unsaid
