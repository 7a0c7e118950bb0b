"""Several tries: a wrong answer gets a message of the environment and another try, in one episode.

python examples/feedback_env.py
"""

from __future__ import annotations

import gymnasium as gym

import g2rpo_env
from g2rpo_env import Problem, Task, Verdict
from g2rpo_env.agents import CausalLMPolicy, collect, recipes
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.tokenizer import encode


def reply(problem: Problem, completion: str, verdict: Verdict) -> str:
    """Return the message of the environment to a wrong answer. It may help, and must not give the answer away."""
    if not (verdict.answer or "").isdecimal():
        return "\nWrite # and a number.\n"
    return "\ntoo small\n" if int(verdict.answer or 0) < int(problem.answer) else "\ntoo big\n"


def guess(split: str = "train", tokenizer: str | None = None, max_new_tokens: int = 12, max_tries: int = 3) -> Task:
    """Return one-digit sums with several tries; ``max_new_tokens`` is the budget of all tries together."""
    return Task(
        AdditionSource(1, split),
        MarkVerifier(),
        tokenizer=tokenizer,
        max_new_tokens=max_new_tokens,
        max_tries=max_tries,
        reply=reply,
        max_reply_tokens=24,
    )


def look_at_an_episode(env_id: str) -> float:
    """Answer 7+8 wrong, read the message, answer right. Returns the reward."""
    env = gym.make(env_id, render_mode="ansi")
    env.reset(seed=0, options={"problem": "7+8"})
    for answer in ("#12", "#15"):
        for token in [*encode(env.unwrapped.tokenizer, answer)[0], env.unwrapped.tokenizer.eos_token_id]:
            observation, reward, terminated, truncated, info = env.step(token)
        # the tokens of the message are in the observation, so read its length: a step may add more than one
        print(f"{answer}: {observation['length'][0]} tokens, reward {reward}, terminated {terminated}, info {info}")
    print(f"{env.render()!r}")  # the message stands in { }
    return float(reward)


def train(env_id: str) -> g2rpo_env.Groups:
    """Look at what a policy samples, and update it once. Returns the groups."""
    envs = gym.make_vec(env_id, num_envs=8, group_size=4)
    policy = CausalLMPolicy.tiny(envs, seed=0)
    groups = collect(policy, envs, seed=0)
    for episode in groups.episodes[:4]:
        roles = "".join("prse"[role] for role in episode.role_T)  # prompt, revealed, sampled, environment
        print(f"    {roles}  {episode.verdict.outcome}")
    metrics = recipes.make("grpo", policy, envs, seed=0).update()  # the message is not in its loss
    print(f"one update: {metrics['sampled_tokens']:.0f} tokens sampled, mean reward {metrics['reward']:.2f}")
    return groups


def main() -> None:
    """Register the task, check it, look at an episode and train for one update."""
    env_id = g2rpo_env.register_task("Guess-v0", f"{__name__}:guess", namespace="examples")
    g2rpo_env.check_env(gym.make(env_id))
    look_at_an_episode(env_id)
    train(env_id)


if __name__ == "__main__":
    main()
