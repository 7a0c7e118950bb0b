"""A task of your own: problems and a verifier are all it takes. Checked, made by id, trained for one update.

python examples/custom_env.py
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import gymnasium as gym

import g2rpo_env
from g2rpo_env import Outcome, Problem, Task, Verdict
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.envs.dataset import RowSource

WORDS = ["".join(letters) for letters in itertools.product("abc", repeat=4)]
SPLITS = {"train": WORDS[::2], "validation": WORDS[1::4], "test": WORDS[3::4]}  # every word is in one split


class Words(RowSource):
    """How many times does the letter a occur? One step per letter: the letter and the count so far."""

    splits = tuple(SPLITS)

    def __init__(self, split: str = "train") -> None:
        super().__init__([self.problem(word) for word in SPLITS[split]], split)

    def problem(self, word: str) -> Problem:
        """Return the problem of a word."""
        steps = tuple(f"{letter}{word[: i + 1].count('a')}\n" for i, letter in enumerate(word))
        answer = str(word.count("a"))
        return Problem(problem_id=word, prompt=f"{word}\n", steps=steps, final=f"#{answer}", answer=answer)

    def with_split(self, split: str) -> Words:
        """Return the words of another split."""
        return Words(split)


class AfterTheMark:
    """Correct if what follows the last # is the answer."""

    def __call__(self, problems: Sequence[Problem], completions: Sequence[str]) -> list[Verdict]:
        """Return one verdict per completion."""
        return [self.grade(p.answer, c) for p, c in zip(problems, completions, strict=True)]

    def grade(self, gold: str, completion: str) -> Verdict:
        """Return the verdict on one completion."""
        _, mark, answer = completion.rpartition("#")
        if not mark:
            return Verdict(Outcome.NO_ANSWER)
        return Verdict(Outcome.CORRECT if answer == gold else Outcome.WRONG, answer)


def count_letters(split: str = "train", tokenizer: str | None = None, max_new_tokens: int = 16) -> Task:
    """Return the task; its arguments are those of the id."""
    return Task(Words(split), AfterTheMark(), tokenizer=tokenizer, max_new_tokens=max_new_tokens)


def main() -> None:
    """Register the task, check it, look at an episode and train for one update."""
    env_id = g2rpo_env.register_task("CountLetters-v0", f"{__name__}:count_letters", namespace="examples")
    env = g2rpo_env.GuidanceWrapper(gym.make(env_id, render_mode="ansi"), length=2, unit="steps")
    g2rpo_env.check_env(env)  # raises at the first rule that is broken, and says what to fix
    env.reset(seed=0)
    print(f"two steps revealed: {env.render()!r}")

    envs = gym.make_vec(env_id, num_envs=16, group_size=4)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=0.5, length=4, unit="steps")
    g2rpo_env.check_vector_env(envs)
    agent = recipes.make("g2rpo-a", CausalLMPolicy.tiny(envs, seed=0), envs, seed=0)
    metrics = agent.update()
    print(f"one update: {metrics['sampled_tokens']:.0f} tokens sampled, mean reward {metrics['reward']:.2f}")


if __name__ == "__main__":
    main()
