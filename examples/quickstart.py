"""Ten lines for each of three kinds of users. Needs no download and takes seconds.

python examples/quickstart.py
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

import g2rpo_env
from g2rpo_env.agents import CausalLMPolicy, collect, recipes
from g2rpo_env.render import marked_text


def bring_your_own_algorithm() -> float:
    """Step the guided environment with any policy of your own. Returns the reward."""
    env = gym.make("g2rpo_env/Addition-v0", digits=2)
    env = g2rpo_env.GuidanceWrapper(env, length=9, unit="tokens")  # the first 9 tokens of the solution are given
    observation, info = env.reset(seed=0)
    random = np.random.default_rng(0)
    ended = False
    while not ended:
        context = observation["tokens"][: observation["length"][0]]  # all tokens so far: what a policy decides from
        action = random.choice(context)  # your policy here; this one repeats what it has seen
        observation, reward, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    print(f"{info['completion']!a}: {info['verdict'].outcome}, reward {reward}")
    return float(reward)


def benchmark_an_agent() -> float:
    """Train for two updates and measure unguided accuracy with its interval. Returns the accuracy."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=8, group_size=4, digits=2)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=0.25, length=9, unit="tokens")
    policy = CausalLMPolicy.tiny(envs, seed=0)  # or CausalLMPolicy.from_pretrained(folder_or_hub_name)
    agent = recipes.make("g2rpo-a", policy, envs, seed=0)
    agent.learn(updates=2)
    found = agent.evaluate(split="test", problems=64, mode="greedy")
    low, high = found.interval
    print(f"accuracy {found.accuracy:.2f}, 95 % interval {low:.2f} to {high:.2f}, after {agent.updates} updates")
    return found.accuracy


def look_inside() -> g2rpo_env.Groups:
    """Sample groups and look at who wrote which token and what it was worth. Returns the groups."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=8, group_size=4, digits=1)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=0.5, length=4, unit="tokens")
    groups = collect(CausalLMPolicy.tiny(envs, seed=0), envs, seed=0)
    for group in groups:
        print(f"group {group.group}, problem {group.problem_id}, rewards {group.reward_G}")
        for episode in group.episodes:
            text = marked_text(envs.unwrapped.task.tokenizer, episode.tokens_T, episode.role_T)  # revealed in brackets
            print(f"    member {episode.member}  {text!a}  {episode.verdict.outcome}")
    print(f"{groups.sampled_tokens} tokens sampled, {groups.revealed_tokens} revealed")
    return groups


if __name__ == "__main__":
    bring_your_own_algorithm()
    benchmark_an_agent()
    look_inside()
