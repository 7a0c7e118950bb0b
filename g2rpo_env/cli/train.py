"""``g2rpo-env train``: one recipe on one environment, everything kept in a run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from g2rpo_env.agents import GRPO, CausalLMPolicy
from g2rpo_env.agents.loop import run_updates
from g2rpo_env.agents.policy.loading import check_device, pretrained_tokenizer
from g2rpo_env.agents.policy.sampling import check_temperature
from g2rpo_env.agents.progress import Progress
from g2rpo_env.agents.rehearsal import rehearse
from g2rpo_env.agents.warm_start import WarmStart, load_or_warm_start
from g2rpo_env.cli.interrupt import catch_stop_request
from g2rpo_env.cli.options import (
    DEFAULT_LENGTH,
    EnvOptions,
    early,
    guidance_options,
    nested,
    parse,
    task_options,
    values,
)
from g2rpo_env.cli.parts import Named
from g2rpo_env.errors import ConfigurationError, ResumeError
from g2rpo_env.experiments.environments import make_envs, prepare_torch
from g2rpo_env.guidance import find_guidance
from g2rpo_env.report.plots import Curves, plot_curves
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.report.tables import show_accuracy, show_response


@dataclass
class TrainOptions(EnvOptions):
    """Train a recipe on an environment and keep everything in a run folder.

    The options of the task depend on --env, those of the parts on --recipe: give both before --help to see them.
    """

    recipe: str = "g2rpo-a"
    """Name of the recipe: grpo, reinforce, guided-grpo, g2rpo-a, g2rpo-a-masked, sft or raft; or module:function of
    one of yours, which returns a Recipe."""
    updates: int = 200
    """Updates of the whole run, those before a resume included."""
    seed: int = 0
    """Root seed of the initial weights, the problems and all sampling."""
    out: Path | None = None
    """Run folder; must be new or empty. Without it runs/RECIPE-TASK-SEED."""
    resume: Path | None = None
    """Go on with the run of this folder, with its own options; only --updates may be given beside it."""
    policy: str | None = None
    """Folder or Hub name of a causal LM to train; without it a tiny model with random weights."""
    warm_start: Literal["auto", "always", "never"] = "auto"
    """Supervised warm start on ground-truth solutions; auto = for the tiny model only."""
    temperature: float = 1.0
    """Sampling temperature."""
    device: str = "cpu"
    """Torch device."""
    dtype: str = "float32"
    """Torch dtype of the weights."""
    threads: int | None = None
    """Torch threads; without it all cores this process may use."""
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
    """Return the options that fit the environment, the recipe and the parts that ``argv`` names."""
    named = Named.from_argv(argv, TrainOptions.recipe)
    groups = [("task", *nested(task_options(early(argv, "env")["env"] or TrainOptions.env), prefix=""))]
    if named.needs_guidance:
        controller = None if "controller" in named.parts else named.recipe.controller
        groups.append(("guidance", *nested(guidance_options(controller.length if controller else DEFAULT_LENGTH))))
    doc = {"__doc__": TrainOptions.__doc__, "named": named}
    return dataclasses.make_dataclass("Train", [*groups, *named.option_groups()], bases=(TrainOptions,), namespace=doc)


def make_environment(options: Any) -> Any:
    """Return the training environment; a policy of the user's brings its own tokenizer unless one is named."""
    task = values(options.task)
    if options.policy is not None and "tokenizer" in task and task["tokenizer"] is None:
        task["tokenizer"] = pretrained_tokenizer(options.policy)
    guidance = values(options.guidance) if hasattr(options, "guidance") else None
    return make_envs(options.env, options.problems, options.group_size, task, guidance)


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
        prepare_torch(options.threads)
        self.envs = make_environment(options)
        self.validation = self._has_split("validation")
        saved = run.checkpoints()
        if saved:
            self.agent = GRPO.load(saved[-1], self.envs, device=options.device)
        else:
            recipe = options.named.build(options, find_guidance(self.envs))
            rehearse(recipe, self.envs.unwrapped)  # here too, and not after a warm start of minutes
            self.agent = GRPO(self._make_policy(), self.envs, seed=options.seed, recipe=recipe)
        self.progress = Progress(options.updates, self.agent.updates)
        self.is_stopping: Callable[[], bool] = lambda: False

    @classmethod
    def start(cls, argv: Sequence[str]) -> Training:
        """Start a run: parse, make everything, then the folder, so that a mistake in the options leaves none behind."""
        options = parse(make_options_type(argv), argv, "train")
        check_options(options)
        name = f"{options.recipe.rpartition(':')[2]}-{options.env.rpartition('/')[2]}-{options.seed}"
        out = options.out or Path("runs") / name
        RunFolder.check_free(out)
        training = cls(options, RunFolder(out))
        RunFolder.create(out, {"argv": list(argv), "options": to_plain(options)})
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
                return policy.to(options.device, options.dtype)
            return CausalLMPolicy.from_pretrained(
                options.policy, temperature=options.temperature, device=options.device, dtype=options.dtype
            )

        if options.warm_start == "never" or (options.warm_start == "auto" and options.policy is not None):
            return make()
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
        return policy

    # -- the run ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train up to the number of updates, evaluate, plot, and say where everything is."""
        options, agent = self.options, self.agent
        source = self.envs.unwrapped.task.source
        number = "unlimited generated" if source.num_problems is None else f"{source.num_problems:,}"
        parameters = sum(p.numel() for p in agent.policy.model.parameters())
        print(f"{options.recipe} on {options.env}: {number} problems in the {source.split} split, ", end="")
        print(f"{parameters:,} parameters, run folder {self.folder.path}", flush=True)
        if agent.updates == 0:
            self._respond("before")
        self.progress = Progress(options.updates, agent.updates)  # its clock starts now
        with self.progress, catch_stop_request() as self.is_stopping:
            if agent.updates == 0:
                self._evaluate()
            run_updates(agent.update, self._has_more, [self._record, self._measure, self._keep, self._show])
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
            show_accuracy(self.agent.evaluate("test", self.options.evaluation_problems))
        print(f"Run folder: {self.folder.path} (curves.png, metrics.jsonl, checkpoints/)")


def check_options(options: Any) -> None:
    """Raise ConfigurationError for values that would only fail after the warm start, or in the middle of the run."""
    for name in ("updates", "seed", "evaluate_every", "rollouts_every", "response_problems"):
        if getattr(options, name) < 0:
            raise ConfigurationError(f"{name}={getattr(options, name)} must be at least 0")
    for name in ("checkpoint_every", "evaluation_problems", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{name}={value} must be at least 1")
    check_temperature(options.temperature)
    check_device(options.device)
