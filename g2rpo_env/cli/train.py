"""``g2rpo-env train``: one recipe on one environment, everything kept in a run folder."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from g2rpo_env.agents import GRPO, CausalLMPolicy, recipes
from g2rpo_env.agents.evaluation import UnreadWatch
from g2rpo_env.agents.loop import Callback, run_updates
from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.loading import pretrained_tokenizer
from g2rpo_env.agents.policy.sampling import check_temperature
from g2rpo_env.agents.progress import Progress
from g2rpo_env.agents.recipe import Recipe
from g2rpo_env.agents.recipes import fit_controller
from g2rpo_env.agents.warm_start import WarmStart, load_or_warm_start
from g2rpo_env.cli.interrupt import catch_stop_request
from g2rpo_env.cli.options import (
    DEFAULT_LENGTH,
    EnvOptions,
    TorchOptions,
    check_torch_options,
    early,
    guidance_options,
    nested,
    options_type,
    parse,
    task_options,
    use_threads,
    values,
)
from g2rpo_env.errors import ConfigurationError, ResumeError
from g2rpo_env.experiments.environments import make_envs, prepare_torch
from g2rpo_env.guidance import find_guidance
from g2rpo_env.report.plots import Curves, plot_curves
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.report.tables import show_accuracy, show_answers, show_response

PARTS = tuple(f.name for f in dataclasses.fields(Recipe))


@dataclass(kw_only=True)
class TrainOptions(EnvOptions, TorchOptions):
    """Train a recipe on an environment and keep everything in a run folder.

    The options of the task depend on --env, those of the parts on --recipe: give both before --help to see them.
    """

    recipe: str = "g2rpo-a"
    """Name of the recipe: grpo, reinforce, guided-grpo, g2rpo-a, g2rpo-a-masked, sft or raft."""
    updates: int = 200
    """Updates of the whole run, those before a resume included."""
    seed: int = 0
    """Root seed of the initial weights, the problems and all sampling."""
    out: Path | None = None
    """Run folder; must be new or empty. Without it runs/RECIPE-TASK-SEED."""
    resume: Path | None = None
    """Go on with the run of this folder, with its own options; only --updates may be given beside it."""
    policy: Annotated[str | None, tyro.conf.arg(aliases=["--model"])] = None
    """Folder or Hub name of a causal LM to train, or a LoRA folder; without it a tiny model with random weights."""
    lora: int | None = None
    """Rank of a LoRA adapter, >= 1, that is added to the model and trained in place of its weights; None trains
    those."""
    warm_start: Literal["auto", "always", "never"] = "auto"
    """Supervised warm start on ground-truth solutions; auto = for the tiny model only."""
    temperature: float = 1.0
    """Sampling temperature."""
    dtype: str = "float32"
    """Torch dtype of the weights."""
    evaluate_every: int = 50
    """Updates between evaluations on the validation split; 0 = none at all."""
    evaluation_problems: int = 256
    """Problems per evaluation."""
    response_problems: int = 128
    """Problems per point of the guidance-response curve, before and after; 0 = no curve."""
    checkpoint_every: int = 50
    """Updates between checkpoints; one is also taken at the end and when the run is interrupted."""
    rollouts_every: int = 50
    """Updates between saved rollouts; 0 = none."""
    warm: WarmStart = field(default_factory=WarmStart)


def main(argv: Sequence[str]) -> None:
    """Train, or go on training."""
    given = early(argv, "resume")
    if given["resume"] is not None:
        Training.resume(Path(given["resume"]), argv).run()
    else:
        Training.start(argv).run()


def make_options_type(argv: Sequence[str]) -> type:
    """Return the options that fit the environment and the recipe that ``argv`` names."""
    named = early(argv, "env", "recipe")
    recipe = recipes.get(named["recipe"] or TrainOptions.recipe)
    groups = [("task", *nested(task_options(named["env"] or TrainOptions.env), prefix=""))]
    if recipe.needs_guidance:
        length = DEFAULT_LENGTH if recipe.controller is None else recipe.controller.length
        groups.append(("guidance", *nested(guidance_options(length))))
    for name in PARTS:
        part = getattr(recipe, name)
        if part is None:
            continue
        # A controller starts from the length of the guidance wrapper, which is an option of its own already.
        kind = options_type(name, type(part), skip=("length",), defaults=values(part))
        if dataclasses.fields(kind):
            groups.append((name, *nested(kind)))
    doc = {"__doc__": TrainOptions.__doc__}
    return dataclasses.make_dataclass("Train", groups, bases=(TrainOptions,), namespace=doc, kw_only=True)


def make_environment(options: Any) -> Any:
    """Return the training environment; a policy of the user's brings its own tokenizer unless one is named."""
    task = values(options.task)
    if options.policy is not None and "tokenizer" in task and task["tokenizer"] is None:
        task["tokenizer"] = pretrained_tokenizer(options.policy)
    guidance = values(options.guidance) if hasattr(options, "guidance") else None
    return make_envs(options.env, options.problems, options.group_size, task, guidance)


def build_recipe(options: Any, guidance: Any) -> Recipe:
    """Return the recipe of some options; its controller is fitted to the guidance wrapper."""
    recipe = recipes.get(options.recipe)
    changed = {
        name: dataclasses.replace(getattr(recipe, name), **values(getattr(options, name)))
        for name in PARTS
        if hasattr(options, name)
    }
    recipe = dataclasses.replace(recipe, **changed)
    if recipe.controller is None:
        return recipe
    return dataclasses.replace(recipe, controller=fit_controller(recipe.controller, guidance))


def to_plain(options: Any) -> dict[str, Any]:
    """Return options as data for config.json."""

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: convert(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return [convert(v) for v in value]
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    return convert(dataclasses.asdict(options))


# Options that change nothing of what a run computes.
NOT_COMPARED = ("updates", "out", "resume")


class Training:
    """One run: its options, its folder, its environment and its agent."""

    def __init__(self, options: Any, run: RunFolder) -> None:
        self.options, self.folder = options, run
        prepare_torch()
        # A run that goes on adds up its numbers in the order of its beginning, which depends on the threads.
        self.threads = options.threads or run.threads
        self.envs = make_environment(options)
        self.validation = self._has_split("validation")
        saved = run.checkpoints()
        if saved:
            self.agent = GRPO.load(saved[-1], self.envs, device=options.device)
            use_threads(self.agent.policy, self.threads)
        else:
            recipe = build_recipe(options, find_guidance(self.envs))
            self.agent = GRPO(self._make_policy(), self.envs, seed=options.seed, recipe=recipe)
        self.progress = Progress(options.updates, self.agent.updates)
        self.is_stopping: Callable[[], bool] = lambda: False

    @classmethod
    def start(cls, argv: Sequence[str]) -> Training:
        """Start a run: parse, make everything, then the folder, so that a mistake in the options leaves none behind."""
        options = parse(make_options_type(argv), argv, "train")
        check_options(options)
        name = f"{options.recipe}-{options.env.rpartition('/')[2]}-{options.seed}"
        out = options.out or Path("runs") / name
        RunFolder.check_free(out)
        training = cls(options, RunFolder(out))
        config = {"argv": list(argv), "options": to_plain(options), "threads": torch.get_num_threads()}
        RunFolder.create(out, config)
        return training

    @classmethod
    def resume(cls, path: Path, argv: Sequence[str]) -> Training:
        """Go on with a run.

        Raises:
            ResumeError: the folder holds no run, or other options are given, or they mean something else by now.
        """
        run = RunFolder.open(path)
        given = early(argv, "resume", "updates")
        if len(argv) != sum(2 - ("=" in a) for a in argv if a.startswith("--")) or any(
            a.startswith("--") and a.split("=")[0] not in ("--resume", "--updates") for a in argv
        ):
            raise ResumeError(f"--resume {path} takes the options of that run; only --updates may be given beside it")
        before = [*run.config["argv"], *(["--updates", given["updates"]] if given["updates"] else [])]
        options = parse(make_options_type(before), before, "train")
        check_options(options)
        now, then = to_plain(options), run.config["options"]
        for key in then:
            if key not in NOT_COMPARED and now.get(key) != then[key]:
                raise ResumeError(f"{key}={now.get(key)!r} must be {then[key]!r}, as when the run {path} was started")
        training = cls(options, run)
        run.rewind(training.agent.updates)
        return training

    # -- parts ------------------------------------------------------------------------------------------------------

    def _has_split(self, split: str) -> bool:
        try:
            self.envs.unwrapped.task.with_split(split)
        except ConfigurationError as error:
            print(f"No {split} split: {error}")
            return False
        return True

    def _make_policy(self) -> CausalLMPolicy:
        options = self.options

        def make() -> CausalLMPolicy:
            if options.policy is None:
                policy = CausalLMPolicy.tiny(self.envs, seed=options.seed, temperature=options.temperature)
                policy.to(options.device, options.dtype)
            else:
                policy = CausalLMPolicy.from_pretrained(
                    options.policy, temperature=options.temperature, device=options.device, dtype=options.dtype
                )
            use_threads(policy, self.threads)
            return policy

        if options.warm_start == "never" or (options.warm_start == "auto" and options.policy is not None):
            return self._add_adapter(make())
        split = "validation" if self.validation else self.envs.unwrapped.task.source.split
        print(f"Warm start on ground-truth solutions, measured on the {split} split ...")
        policy, result = load_or_warm_start(
            make,
            self.envs,
            options.warm,
            progress=lambda steps, success: print(f"  step {steps}: sampled success {success:.2%}", flush=True),
        )
        low, high = options.warm.success
        reached = "inside" if result.reached else "NOT inside"
        print(f"Base: {result.steps} steps, sampled success {result.success:.2%}, {reached} {low:.0%} to {high:.0%}.")
        return self._add_adapter(policy)

    def _add_adapter(self, policy: CausalLMPolicy) -> CausalLMPolicy:
        rank = self.options.lora
        return policy if rank is None else policy.add_lora(rank, seed=self.options.seed)

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train up to the number of updates, evaluate, plot, and say where everything is."""
        options, agent = self.options, self.agent
        source = self.envs.unwrapped.task.source
        number = "unlimited generated" if source.num_problems is None else f"{source.num_problems:,}"
        parameters = sum(p.numel() for p in agent.policy.model.parameters())
        trained = sum(p.numel() for p in agent.policy.model.parameters() if p.requires_grad)
        print(f"{options.recipe} on {options.env}: {number} problems in the {source.split} split, ", end="")
        adapter = "" if trained == parameters else f" of which {trained:,} are trained (LoRA)"
        print(f"{parameters:,} parameters{adapter}, run folder {self.folder.path}", flush=True)
        if agent.updates == 0:
            self._respond("before")
        self.progress = Progress(options.updates, agent.updates)  # its clock starts now
        with self.progress, catch_stop_request() as self.is_stopping:
            if agent.updates == 0:
                self._evaluate()
            unread = UnreadWatch(self._warn, self.envs.unwrapped.task.max_new_tokens)
            callbacks: list[Callback] = [self._record, self._measure, self._keep, self._show, unread]
            run_updates(agent.update, self._has_more, callbacks)
        self.folder.close()
        self.folder.checkpoint(agent, agent.updates)
        plot_curves(
            {options.recipe: Curves(self.folder.metrics(), self.folder.evaluations())},
            self.folder.path / "curves.png",
            f"{options.recipe} on {options.env}, seed {options.seed}",
        )
        if self.is_stopping() and agent.updates < options.updates:
            print(f"Stopped after update {agent.updates}; go on with: g2rpo-env train --resume {self.folder.path}")
            raise KeyboardInterrupt
        self._finish()

    def _has_more(self) -> bool:
        return self.agent.updates < self.options.updates and not self.is_stopping()

    def _record(self, metrics: dict[str, Any], seconds: float) -> None:
        self.folder.record(metrics, seconds)
        if self.options.rollouts_every and self.agent.updates % self.options.rollouts_every == 0:
            self.folder.save_rollouts(self.agent)

    def _measure(self, metrics: dict[str, Any], seconds: float) -> None:
        done, every = self.agent.updates, self.options.evaluate_every
        if every and (done % every == 0 or done == self.options.updates):
            self._evaluate()

    def _keep(self, metrics: dict[str, Any], seconds: float) -> None:
        done = self.agent.updates
        if done % self.options.checkpoint_every == 0 and done < self.options.updates:
            self.folder.checkpoint(self.agent, done)

    def _show(self, metrics: dict[str, Any], seconds: float) -> None:
        self.progress.update(metrics)

    def _warn(self, text: str) -> None:
        text += f"; g2rpo-env evaluate {self.folder.path} shows some, and so do {self.folder.path / 'rollouts'}"
        print(f"Warning: {text}", file=sys.stderr, flush=True)

    def _evaluate(self) -> None:
        if self.options.evaluate_every and self.validation:
            evaluation = self.agent.evaluate("validation", self.options.evaluation_problems)
            self.folder.record_evaluation(self.agent.updates, evaluation)
            self.progress.accuracy = evaluation.accuracy

    def _respond(self, when: str) -> None:
        if self.options.response_problems and self._has_split("test"):
            show_response(self.agent.policy, self.envs, self.options.response_problems, when, self.folder.path)

    def _finish(self) -> None:
        self._respond("after")
        rewards = [row["reward_guided"] for row in self.folder.metrics() if row["reward_guided"] is not None]
        if rewards:
            print(f"Success of guided members in training, mean of all updates: {sum(rewards) / len(rewards):.2%}")
        if self.options.evaluate_every and self._has_split("test"):
            evaluation = self.agent.evaluate("test", self.options.evaluation_problems)
            show_accuracy(evaluation)
            show_answers(evaluation)
        print(f"Run folder: {self.folder.path} (curves.png, metrics.jsonl, checkpoints/)")


def check_options(options: Any) -> None:
    """Raise ConfigurationError for values that would only fail after the warm start, or in the middle of the run."""
    for name in ("updates", "seed", "evaluate_every", "rollouts_every", "response_problems"):
        if getattr(options, name) < 0:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 0")
    for name in ("checkpoint_every", "evaluation_problems", "lora"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{name}={value} must be at least 1")
    if options.lora is not None:
        lora.require_peft()
    check_temperature(options.temperature)
    check_torch_options(options)
