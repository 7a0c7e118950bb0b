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

from g2rpo_env.agents import GRPO, CausalLMPolicy
from g2rpo_env.agents.evaluation import UnreadWatch
from g2rpo_env.agents.grpo import check_recipe
from g2rpo_env.agents.loop import Callback, run_updates
from g2rpo_env.agents.policy import lora
from g2rpo_env.agents.policy.loading import pretrained_tokenizer
from g2rpo_env.agents.policy.sampling import check_temperature
from g2rpo_env.agents.progress import Meter, Progress
from g2rpo_env.agents.rehearsal import rehearse
from g2rpo_env.agents.response import FRACTIONS
from g2rpo_env.agents.warm_start import WarmStart, check_base, find_context, load_or_warm_start
from g2rpo_env.cli.config import expand_config, get_options
from g2rpo_env.cli.interrupt import catch_stop_request
from g2rpo_env.cli.options import (
    DEFAULT_LENGTH,
    EnvOptions,
    RecordingOptions,
    TorchOptions,
    check_torch_options,
    early,
    get_recording,
    guidance_options,
    help_topic,
    nested,
    parse,
    show_topic,
    task_options,
    use_threads,
    values,
)
from g2rpo_env.cli.parts import Named
from g2rpo_env.errors import ConfigurationError, ResumeError
from g2rpo_env.experiments.environments import make_envs, prepare_torch
from g2rpo_env.guidance import find_guidance
from g2rpo_env.report.options_file import OPTIONS, write_options
from g2rpo_env.report.plots import Curves, plot_curves
from g2rpo_env.report.provenance import Origin, describe_run, get_checksums, get_versions, to_plain
from g2rpo_env.report.records import Recorder
from g2rpo_env.report.run_folder import RunFolder
from g2rpo_env.report.tables import has_response, show_accuracy, show_answers, show_response
from g2rpo_env.report.trackers import PROJECT, TENSORBOARD, Trackers
from g2rpo_env.reveal.plan import CAPS
from g2rpo_env.task import Task
from g2rpo_env.tokenizer import encode


@dataclass(kw_only=True)
class TrainOptions(EnvOptions, TorchOptions, RecordingOptions):
    """Train a recipe on an environment and keep everything in a run folder.

    The options of the task depend on --env, those of the parts on --recipe: give both before --help to see them.
    --help shows the common options, --help TOPIC those of a topic.
    """

    recipe: Annotated[
        str,
        tyro.conf.arg(
            help="Name of the recipe, one that `g2rpo-env list recipes` shows; or module:function of one of yours, "
            "which returns a Recipe."
        ),
    ] = "g2rpo-a"
    guided: bool = False
    """Train the guided form of a recipe that is not guided: groups start from revealed tokens of the solution."""
    revealed: Literal["yes", "no", "positive"] = "yes"
    """Whether the guided form trains the revealed tokens too; positive: those of episodes that did better than their
    group."""
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
    response_problems: int | None = None
    """Problems per point of the guidance-response curve, before and after; 0 = no curve. Without it 128, and no curve
    where the two would sample more answers than the training."""
    track: tuple[str, ...] = (TENSORBOARD,)
    """Where the numbers of metrics.jsonl go too: tensorboard, wandb, trackio, mlflow and what else accelerate knows;
    --track alone: nowhere."""
    track_project: str = PROJECT
    """Project of the run, in trackers that have projects."""
    skip_base: bool = False
    """Begin with update 1: measure neither accuracy nor guidance response before it."""
    checkpoint_every: int = 50
    """Updates between checkpoints; one is also taken at the end and when the run is interrupted."""
    warm: WarmStart = field(default_factory=WarmStart)


def main(argv: Sequence[str]) -> None:
    """Train, or go on training."""
    argv = expand_config(argv, make_options_type, "train")
    topic = help_topic(argv)
    if topic is not None:
        show_topic(make_options_type(argv), COMMON, topic, "train")
    given = early(argv, "resume")
    if given["resume"] is not None:
        Training.resume(Path(given["resume"]), argv).run()
    else:
        Training.start(argv).run()


def make_options_type(argv: Sequence[str]) -> type:
    """Return the options that fit the environment, the recipe and the parts that ``argv`` names."""
    named = Named.from_argv(argv, TrainOptions.recipe)
    groups = [("task", *nested(task_options(early(argv, "env")["env"] or TrainOptions.env), prefix=""))]
    if named.needs_guidance or any(word.startswith("--guidance.") for word in argv):
        wrapper = {"length": named.length or DEFAULT_LENGTH, **named.wrapper}
        groups.append(("guidance", *nested(guidance_options(**wrapper))))
    doc = {"__doc__": TrainOptions.__doc__, "named": named}
    groups += named.option_groups()
    return dataclasses.make_dataclass("Train", groups, bases=(TrainOptions,), namespace=doc, kw_only=True)


def make_environment(options: Any) -> Any:
    """Return the training environment; a policy of the user's brings its own tokenizer unless one is named."""
    task = values(options.task)
    if options.policy is not None and "tokenizer" in task and task["tokenizer"] is None:
        task["tokenizer"] = pretrained_tokenizer(options.policy)
    guidance = values(options.guidance) if hasattr(options, "guidance") else None
    return make_envs(options.env, options.problems, options.group_size, task, guidance)


def find_argv(run: RunFolder) -> list[str]:
    """Return the arguments of train that a run goes on with, whichever command began it.

    Raises:
        ResumeError: its folder does not say, or options of train cannot say what it did.
    """
    config = run.config
    if {"argv", "options"} <= set(config):
        return list(config["argv"])
    if config.get("unsaid"):
        raise ResumeError(f"{run.path} must be a run that g2rpo-env train can repeat: {'; '.join(config['unsaid'])}")
    if "unsaid" not in config or not (run.path / OPTIONS).is_file():
        raise ResumeError(f"{run.path} must be a run with a {OPTIONS}, or one that g2rpo-env train started")
    return expand_config(["--config", str(run.path / OPTIONS)], make_options_type, "train")


def get_run_options(options: Any, threads: int) -> dict[str, Any]:
    """Return the options of a run as a table that repeats it."""
    table = {**get_options(options), "threads": threads}
    if not options.guided:
        del table["revealed"]  # it says what --guided makes of a recipe
    return table


COMMON = (
    "env", "recipe", "guided", "revealed", "updates", "seed", "out", "resume", "policy", "problems", "group_size",
    "task", "device", "dtype", "threads", "skip_base", "config",
)  # fmt: skip
"""Options that ``train --help`` begins with; the others are in topics."""


def is_as_before(now: Any, then: Any) -> bool:
    """Whether options are what they were; those that an earlier version did not have are at their defaults."""
    if isinstance(now, dict) and isinstance(then, dict):
        return all(name in now and is_as_before(now[name], value) for name, value in then.items())
    return now == then


# Options that change nothing of what a run computes.
NOT_COMPARED = ("updates", "out", "resume", "response_problems", "skip_base", "track", "track_project")

RESPONSE_PROBLEMS = 128
"""Problems per point of a guidance-response curve where the user states none."""

PATIENCE = 10
"""Updates without a gradient after which a run says so, and says why."""


class Training:
    """One run: its options, its folder, its environment and its agent."""

    def __init__(self, options: Any, run: RunFolder) -> None:
        self.options, self.folder = options, run
        run.trackers = Trackers(run.path, options.track, options.track_project)
        prepare_torch()
        # A run that goes on adds up its numbers in the order of its beginning, which depends on the threads.
        self.threads = options.threads or run.threads
        self.envs = make_environment(options)
        self.validation = self._has_split("validation")
        check_budget(self.envs.unwrapped.task)
        saved = run.checkpoints()
        if saved:
            self.agent = load_newest(saved, self.envs, options.device)
            use_threads(self.agent.policy, self.threads)
        else:
            recipe = options.named.build(options, find_guidance(self.envs))
            check_recipe(recipe, self.envs)  # here too, and not after a warm start of minutes
            rehearse(recipe, self.envs.unwrapped)
            self.agent = GRPO(self._make_policy(recipe.strategy), self.envs, seed=options.seed, recipe=recipe)
        self.recorder = Recorder(run.path, self.agent, get_recording(options, "train", ()))
        self.without_gradient = 0
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
        threads = torch.get_num_threads()
        facts = {"threads": threads, "versions": get_versions(), "data": get_checksums(values(options.task))}
        run = RunFolder.create(out, {"argv": list(argv), "options": to_plain(options), **facts})
        write_options(out, get_run_options(options, threads))
        run.write_facts(describe_run(training.find_origin(argv), training.agent.policy, training.agent.recipe))
        return training

    @classmethod
    def resume(cls, path: Path, argv: Sequence[str]) -> Training:
        """Go on with a run.

        Raises:
            ResumeError: the folder holds no run, or other options are given, or they mean something else by now.
        """
        run = RunFolder.open(path)
        began = find_argv(run)
        given = early(argv, "resume", "updates")
        if len(argv) != sum(2 - ("=" in a) for a in argv if a.startswith("--")) or any(
            a.startswith("--") and a.split("=")[0] not in ("--resume", "--updates") for a in argv
        ):
            raise ResumeError(f"--resume {path} takes the options of that run; only --updates may be given beside it")
        before = [*began, *(["--updates", given["updates"]] if given["updates"] else [])]
        options = parse(make_options_type(before), before, "train")
        check_options(options)
        now, then = to_plain(options), run.config.get("options", {})
        for key in then:
            if key not in NOT_COMPARED and not is_as_before(now.get(key), then[key]):
                raise ResumeError(f"{key}={now.get(key)!r} must be {then[key]!r}, as when the run {path} was started")
        check_data(run, values(options.task))
        training = cls(options, run)
        run.rewind(training.agent.updates)
        return training

    def find_origin(self, argv: Sequence[str]) -> Origin:
        """Return what run.json says of the run beside its policy."""
        options = self.options
        return Origin(
            command="train",
            argv=tuple(argv),
            label=self.folder.path.name,
            env=options.env,
            task=values(options.task),
            guidance=values(options.guidance) if hasattr(options, "guidance") else None,
            algorithm=options.recipe,
            seed=options.seed,
            updates=options.updates,
            sampled_tokens=None,
            problems=options.problems,
            group_size=options.group_size,
        )

    # -- parts ------------------------------------------------------------------------------------------------------

    def _has_split(self, split: str) -> bool:
        try:
            self.envs.unwrapped.task.with_split(split)
        except ConfigurationError as error:
            print(f"No {split} split: {error}")
            return False
        return True

    def _make_policy(self, strategy: Any) -> CausalLMPolicy:
        """Return the policy to train; its warm start is under the context of the strategy that it will train with."""
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
        context = find_context(strategy)
        under = "" if context is None else f" under the context of {type(strategy).__name__}"
        print(f"Warm start on ground-truth solutions{under}, measured on the {split} split ...")
        policy, result = load_or_warm_start(
            make,
            self.envs,
            options.warm,
            progress=lambda steps, success: print(f"  step {steps}: sampled success {success:.2%}", flush=True),
            context=context,
        )
        check_base(result, options.warm)
        low, high = options.warm.success
        inside = f"{low:.0%} to {high:.0%}"
        reached = f"inside {inside}" if result.reached else f"NOT inside {inside}, because {result.reason}"
        print(f"Base: {result.steps} steps, sampled success {result.success:.2%}, {reached}.")
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
        form = f", guided (revealed: {options.revealed})," if options.guided else ""
        print(f"{options.recipe}{form} on {options.env}: {number} problems in the {source.split} split, ", end="")
        adapter = "" if trained == parameters else f" of which {trained:,} are trained (LoRA)"
        print(f"{parameters:,} parameters{adapter}, run folder {self.folder.path}", flush=True)
        if agent.updates == 0 and not options.skip_base:
            self._measure_base()
        first = agent.updates
        self.progress = Progress(options.updates, agent.updates)  # its clock starts now
        with self.progress, catch_stop_request() as self.is_stopping:
            unread = UnreadWatch(self._warn_unread, self.envs.unwrapped.task.max_new_tokens)
            callbacks: list[Callback] = [self._record, self._measure, self._keep, self._show, self._warn, unread]
            run_updates(agent.update, self._has_more, callbacks)
        if agent.updates >= options.updates:
            self.recorder.finish()
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
        self._finish(agent.updates > first)

    def _has_more(self) -> bool:
        return self.agent.updates < self.options.updates and not self.is_stopping()

    def _record(self, metrics: dict[str, Any], seconds: float) -> None:
        self.folder.record(metrics, seconds)
        self.recorder.record()

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

    def _warn_unread(self, text: str) -> None:
        text += f"; g2rpo-env evaluate {self.folder.path} shows some, and so do {self.folder.path / 'rollouts'}"
        print(f"Warning: {text}", file=sys.stderr, flush=True)

    def _warn(self, metrics: dict[str, Any], seconds: float) -> None:
        """Say so, once, where the first updates or later ones in a row had no gradient at all."""
        self.without_gradient = 0 if metrics["grad_norm"] else self.without_gradient + 1
        if self.without_gradient == PATIENCE:
            print(f"{PATIENCE} updates in a row had no gradient: {explain_no_gradient(metrics)}.", file=sys.stderr)

    def _measure_base(self) -> None:
        """Measure the base, unless an earlier call has done so and was stopped before the first update ended."""
        options = self.options
        if options.evaluate_every or self._response_problems():
            print("Before update 1 the base is measured; --skip-base leaves that out.", flush=True)
        try:
            if not any(row["update"] == 0 for row in self.folder.evaluations()):
                self._evaluate()
            if not has_response(self.folder.path, "before"):
                self._respond("before")
        except KeyboardInterrupt:
            print(f"Stopped before update 1; go on with: g2rpo-env train --resume {self.folder.path}")
            raise

    def _evaluate(self) -> None:
        if self.options.evaluate_every and self.validation:
            problems = self.options.evaluation_problems
            with Meter(f"Accuracy on {problems} validation problems") as meter:
                evaluation = self.agent.evaluate("validation", problems, progress=meter)
            self.folder.record_evaluation(self.agent.updates, evaluation)
            self.progress.accuracy = evaluation.accuracy

    def _response_problems(self) -> int:
        """Return the problems per point of a curve; 0 for no curve."""
        options = self.options
        if options.response_problems is not None:
            return options.response_problems
        curves = 2 * len(CAPS) * len(FRACTIONS) * RESPONSE_PROBLEMS
        return RESPONSE_PROBLEMS if curves <= options.updates * options.problems * options.group_size else 0

    def _respond(self, when: str) -> None:
        problems = self._response_problems()
        if problems and self._has_split("test"):
            show_response(self.agent.policy, self.envs, problems, when, self.folder.path)
        elif self.options.response_problems is None and when == "after":
            print(f"No guidance-response curve of so short a run: --response-problems {RESPONSE_PROBLEMS} measures it.")

    def _finish(self, has_trained: bool) -> None:
        result = self.folder.result()
        if not has_trained and result is not None and result["update"] == self.agent.updates:
            accuracy = f"{result['accuracy']:.4f} on {result['problems']} {result['split']} problems"
            print(f"Nothing to do: the run has {self.agent.updates} updates, and is measured: {accuracy}.")
            return
        self._respond("after")
        rewards = [row["reward_guided"] for row in self.folder.metrics() if row["reward_guided"] is not None]
        if rewards:
            print(f"Success of guided members in training, mean of all updates: {sum(rewards) / len(rewards):.2%}")
        if self.options.evaluate_every and self._has_split("test"):
            problems = self.options.evaluation_problems
            with Meter(f"Accuracy on {problems} test problems") as meter:
                evaluation = self.agent.evaluate("test", problems, progress=meter)
            self.folder.write_result(self.agent.updates, evaluation, sampled_tokens=int(self.agent.sampled_tokens))
            show_accuracy(evaluation)
            show_answers(evaluation)
        print(f"Run folder: {self.folder.path} (curves.png, metrics.jsonl, checkpoints/)")


def load_newest(checkpoints: Sequence[Path], envs: Any, device: str) -> GRPO:
    """Return the agent of the newest checkpoint that is whole, and say which ones are damaged.

    Raises:
        ResumeError: none is whole.
    """
    for path in reversed(checkpoints):
        try:
            agent = GRPO.load(path, envs, device=device)
        except ResumeError as error:
            damaged = error
            print(f"Checkpoint {path} can not be used: {error}", file=sys.stderr)
            continue
        if path != checkpoints[-1]:
            print(f"Going on from the checkpoint before it, {path}.", file=sys.stderr)
        return agent
    raise ResumeError(f"no checkpoint in {checkpoints[-1].parent} is whole; the newest one: {damaged}")


def check_data(run: RunFolder, task: dict[str, Any]) -> None:
    """Raise ResumeError where the data of a task is not what the run began with."""
    then, now = run.config.get("data", {}), get_checksums(task)
    changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
    if changed and then:
        raise ResumeError(
            f"data={str(task['data'])!r} has changed since the run {run.path} was started ({', '.join(changed)}): "
            "bring the files back, or start a new run"
        )


LOOKED_AT = 64
"""Problems whose answers and solutions are held against the budget of tokens."""


def check_budget(task: Task) -> None:
    """Say so where no solution fits into ``max_new_tokens``.

    Raises:
        ConfigurationError: not even the bare final answer fits, for any problem that is looked at.
    """
    ids = [task.source.draw(0, index) for index in range(LOOKED_AT)]
    budget = task.max_new_tokens
    answers = [len(encode(task.tokenizer, task.source.get(one).answer or "")[0]) for one in ids]
    if min(answers) > budget:
        raise ConfigurationError(
            f"max_new_tokens={budget} must be at least {min(answers)}: no final answer of {LOOKED_AT} problems fits, "
            "so that no sampled answer could be right"
        )
    solutions = [len(task.lookup(one).solution_T) for one in ids]
    if 0 < min(solutions) and min(solutions) >= budget:
        print(
            f"None of {LOOKED_AT} solutions and its end token fits into max_new_tokens={budget}; the shortest one "
            f"takes {min(solutions) + 1}. Answers must be briefer than these, or are cut."
        )


def explain_no_gradient(metrics: dict[str, Any]) -> str:
    """Return why an update had no gradient, as far as its metrics tell."""
    if not metrics["episodes"]:
        return "nothing was sampled"
    if metrics["reward"] == 0 and (metrics["truncated"] or 0) > 0.7:
        return "no answer is right, and most are cut at max_new_tokens; raise it, or see why answers do not end"
    if metrics["reward"] == 0:
        return "no answer is right; reveal more, take easier problems, or start from a better base"
    if metrics["groups_with_signal"] == 0:
        return "the members of each group have equal rewards; take other problems, more members or a higher temperature"
    return "no token that was learnt from has a weight"


def check_options(options: Any) -> None:
    """Raise ConfigurationError for values that would only fail after the warm start, or in the middle of the run."""
    for name in ("updates", "seed", "evaluate_every", "response_problems"):
        value = getattr(options, name)
        if value is not None and value < 0:
            raise ConfigurationError(f"{name}={value} must be at least 0")
    for name in ("checkpoint_every", "evaluation_problems", "lora"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{name}={value} must be at least 1")
    if options.lora is not None:
        lora.require_peft()
    get_recording(options, "train", ())
    check_temperature(options.temperature)
    check_torch_options(options)
