"""TRL's GRPOTrainer on our tasks: a data set of prompts, reward functions, and a guided rollout.

Nothing here imports TRL: it calls these objects, and they read a few attributes of its trainer (tested with TRL 1.16)::

    dataset = problem_dataset(envs.unwrapped.task, problems=512)
    trainer = GRPOTrainer(model, environment_reward, args, train_dataset=dataset, processing_class=tokenizer,
                          rollout_func=GuidedRollout(envs, dataset))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import VectorEnv

from g2rpo_env.agents.policy.causal_lm import CausalLMPolicy
from g2rpo_env.agents.rollout import collect, token_vector_env
from g2rpo_env.controllers.base import Controller, Feedback
from g2rpo_env.episode import Episode, Role
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError
from g2rpo_env.guidance import find_guidance, give_feedback
from g2rpo_env.problem import distinct_ids
from g2rpo_env.streams import Seed
from g2rpo_env.task import Task
from g2rpo_env.vector import TokenVectorEnv

if TYPE_CHECKING:
    from datasets import Dataset


def problem_dataset(task: Task, problems: int, seed: Seed = 0) -> Dataset:
    """Return distinct problems of a task as TRL wants them: columns ``prompt`` and ``problem_id``.

    Args:
        task: The task; its split is the one that is drawn from.
        problems: Number of problems, >= 1; fewer if the split holds fewer.
        seed: Of the order.

    Raises:
        ConfigurationError: ``problems`` is below 1.
    """
    from datasets import Dataset

    if problems < 1:
        raise ConfigurationError(f"problems={problems} must be at least 1")
    ids = distinct_ids(task.source, problems, seed)
    return Dataset.from_dict({"prompt": [task.source.get(i).prompt for i in ids], "problem_id": ids})


def verifier_reward(task: Task) -> Callable[..., list[float | None]]:
    """Return a reward function that grades what TRL itself has generated, without an environment.

    It needs the column ``problem_id`` of :func:`problem_dataset`. Where the verifier fails it gives None, which TRL
    leaves out of the group.

    Raises:
        ConfigurationError: the task has stop strings or several tries, of which TRL's generation knows nothing.
    """
    if task.stop_strings or task.max_tries > 1:
        raise ConfigurationError(
            f"stop_strings={task.stop_strings} and max_tries={task.max_tries} mean nothing to TRL's own generation: "
            "use GuidedRollout and environment_reward"
        )

    def accuracy(completion_ids: Sequence[Sequence[int]], problem_id: Sequence[str], **_: Any) -> list[float | None]:
        problems = [task.lookup(i).problem for i in problem_id]
        texts = [task.completion(_up_to_end(task, ids), stopped=False) for ids in completion_ids]
        return [verdict.reward if verdict.valid else None for verdict in task.grade(problems, texts)]

    return accuracy


def _up_to_end(task: Task, ids: Sequence[int]) -> np.ndarray:
    """Return the tokens of a completion up to its first end token, int32 (T,): TRL may know fewer of them."""
    tokens_T = np.array(ids, np.int32)
    ends = np.flatnonzero(np.isin(tokens_T, list(task.end_tokens)))
    return tokens_T[: ends[0] + 1] if len(ends) else tokens_T


def environment_reward(reward: Sequence[float | None], **_: Any) -> list[float | None]:
    """Return the rewards that the environment gave to the episodes of a :class:`GuidedRollout`; None without a verdict.

    TRL leaves an episode out only where every reward function gives None: one of yours beside it must do so too.
    """
    return list(reward)


class GuidedRollout:
    """TRL's ``rollout_func``: every completion is an episode of the (guided) environment.

    A completion is what was revealed and then what was sampled. ``env_mask`` keeps the revealed tokens and those of the
    environment out of TRL's loss, so that they are seen but not trained; that is ``g2rpo-a-masked``. Evaluations of the
    trainer are unguided. The trainer's generation options but ``temperature`` are not used; the budget is that of the
    environment.

    Args:
        envs: Built on a TokenVectorEnv, as many lanes as completions in a generation batch of one process
            (``per_device_train_batch_size * steps_per_generation``), ``group_size`` = ``num_generations``.
        dataset: Result of :func:`problem_dataset`, perhaps with more columns; prompts must differ. With evaluation
            problems of another split, ``datasets.concatenate_datasets([training, evaluation])``.
        controller: Moves the reveal length after each generation batch; None keeps that of the wrapper.
        revealed_in_loss: Train the revealed tokens too, as the recipe ``g2rpo-a`` and the official G²RPO-A code do.

    Raises:
        ConfigurationError: lanes restart by themselves, two problems have one prompt, or a prompt is no text.
        MissingGuidanceError: a controller without a guidance wrapper.
    """

    def __init__(
        self,
        envs: VectorEnv[Any, Any, Any],
        dataset: Dataset,
        controller: Controller | None = None,
        revealed_in_loss: bool = False,
    ) -> None:
        self.base = token_vector_env(envs)  # raises unless its lanes wait
        self.envs, self.controller, self.revealed_in_loss = envs, controller, revealed_in_loss
        if not all(isinstance(prompt, str) for prompt in dataset["prompt"]):
            raise ConfigurationError("dataset must have texts as prompts: lists of messages are not supported")
        self.problem_ids = dict(zip(dataset["prompt"], dataset["problem_id"], strict=True))
        if len(self.problem_ids) < len(dataset):
            raise ConfigurationError("dataset must not hold one prompt twice: a prompt has to name its problem")
        self.guidance = find_guidance(envs)
        if controller is not None:
            if self.guidance is None:
                raise MissingGuidanceError(
                    f"controller={type(controller).__name__} needs a guidance wrapper around envs: "
                    "envs = g2rpo_env.VectorGuidanceWrapper(envs, ...)"
                )
            controller.set_trains_revealed(revealed_in_loss)
            self.guidance.follow(controller)

    def __call__(self, prompts: Sequence[str], trainer: Any) -> dict[str, Any]:
        """Return the episodes of a generation batch: token ids, mask, log-probabilities and rewards.

        Raises:
            ConfigurationError: lanes or group size are not those of the trainer, a prompt is none of the data set, or
                the trainer has several processes, which would sample the same answers.
            VocabularyMismatchError, BudgetError: model and environment do not fit.
        """
        processes = trainer.accelerator.num_processes
        if processes > 1:
            raise ConfigurationError(f"num_processes={processes} must be 1: processes would sample the same answers")
        unknown = [prompt for prompt in prompts if prompt not in self.problem_ids]
        if unknown:
            raise ConfigurationError(f"prompt={unknown[0]!r:.80} must be one of the data set")
        training = trainer.model.training
        model = trainer.accelerator.unwrap_model(trainer.model)
        policy = CausalLMPolicy(model, self.base.tokenizer, temperature=trainer.temperature)
        envs = self._training_lanes(len(prompts), trainer) if training else self._evaluation_lanes(len(prompts))
        seed = trainer.args.seed if token_vector_env(envs).root_seed is None else None
        try:
            groups = collect(policy, envs, seed=seed, options={"problem": [self.problem_ids[p] for p in prompts]})
        finally:
            model.train(training)  # a policy is in evaluation mode
        if training:
            give_feedback(self.envs, Feedback.from_groups(groups), self.controller)
        return trl_batch(groups.episodes, self.revealed_in_loss)

    def _training_lanes(self, completions: int, trainer: Any) -> VectorEnv[Any, Any, Any]:
        base = self.base
        if base.num_envs != completions or base.group_size != trainer.num_generations:
            raise ConfigurationError(
                f"envs must have num_envs={completions} and group_size={trainer.num_generations}, the generation "
                f"batch and num_generations of the trainer, got {base.num_envs} and {base.group_size}"
            )
        return self.envs

    def _evaluation_lanes(self, completions: int) -> TokenVectorEnv:
        return TokenVectorEnv(self.base.task, completions, autoreset_mode="DISABLED", copy=False)


def trl_batch(episodes: Sequence[Episode], revealed_in_loss: bool = False) -> dict[str, Any]:
    """Return episodes as the fields that TRL takes from a ``rollout_func``.

    Args:
        episodes: In the order of the prompts.
        revealed_in_loss: Whether revealed tokens count in the loss.
    """
    trained = (Role.SAMPLED, Role.REVEALED) if revealed_in_loss else (Role.SAMPLED,)
    prompts = [int((episode.role_T == Role.PROMPT).sum()) for episode in episodes]
    parts = list(zip(episodes, prompts, strict=True))
    return {
        "prompt_ids": [e.tokens_T[:prompt].tolist() for e, prompt in parts],
        "completion_ids": [e.tokens_T[prompt:].tolist() for e, prompt in parts],
        "logprobs": [e.logprob_T[prompt:].tolist() for e, prompt in parts],
        "env_mask": [np.isin(e.role_T[prompt:], trained).astype(int).tolist() for e, prompt in parts],
        "reward": [e.reward if e.valid else None for e in episodes],
        "reveal_length": [e.reveal for e in episodes],
        "correct": [bool(e.correct) for e in episodes],
    }
