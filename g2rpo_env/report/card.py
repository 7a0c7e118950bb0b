"""Model cards: what a model is, made from the files of its run, for the Hugging Face Hub.

A card never names a path of the machine: of a path its last part is left. Where the run lies beside others from the
same base, as in a folder of ``demo`` or ``compare``, all their rows are in it, the supervised one above all.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2rpo_env._version import __version__
from g2rpo_env.errors import ConfigurationError, DataError
from g2rpo_env.report.run_folder import CONFIG, EVALUATIONS, METRICS, RESULT, RunFolder, read_lines, read_object

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")
CURVES = "curves.png"
SUPERVISED = "sft"
"""Algorithm that imitates what guidance reveals; without its row nobody can tell guidance from imitation."""


@dataclass(frozen=True)
class Row:
    """A measured accuracy.

    Attributes:
        label: What was measured.
        evaluation: The numbers: accuracy, interval, split, mode, problems.
        sampled_tokens: Tokens sampled in training; None where nobody says.
    """

    label: str
    evaluation: Mapping[str, Any]
    sampled_tokens: int | None = None


@dataclass(frozen=True)
class Facts:
    """What a card says of a run.

    Attributes:
        algorithm: Name of the recipe, or of the agent's class.
        env: Id of the environment.
        task: Arguments of its task.
        guidance: Arguments of the guidance wrapper; empty where nothing was revealed.
        base: Name of the model that the training started from; None for a tiny one with random weights.
        seed: Root seed.
        updates: Updates of the training.
        sampled_tokens: Tokens sampled in it.
        command: The command line, or ``""``.
        rows: Accuracies.
        parts: Slot -> part of the recipe.
        versions: Package -> version.
        is_shared: Whether other runs from the same base are among the rows.
        warm_start: What is known of the base's supervised warm start: its ``steps``, the sampled ``success`` after it.
    """

    algorithm: str
    env: str
    task: Mapping[str, Any]
    guidance: Mapping[str, Any]
    base: str | None
    seed: int
    updates: int
    sampled_tokens: int
    command: str
    rows: Sequence[Row]
    parts: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    is_shared: bool = False
    warm_start: Mapping[str, Any] = field(default_factory=dict)


def read_facts(run: Path) -> Facts:
    """Return what the files of a run say.

    Args:
        run: Run folder of any command.

    Raises:
        ConfigurationError: it is no run folder, or the supervised run beside it has no result.
        DataError: a file is damaged.
    """
    config = read_config(run)
    options = config.get("options", {})
    said = config if "options" not in config else options
    metrics = read_lines(run / METRICS)
    siblings = find_siblings(run, config)
    own_label = run.resolve().name if siblings else str(_get_algorithm(config))
    base, warm_start = find_base(run, config)
    facts = {
        "algorithm": str(_get_algorithm(config)),
        "env": str(said.get("env")),
        "task": said.get("task") or {},
        "guidance": {} if config.get("arm", {}).get("guided") is False else said.get("guidance") or {},
        "seed": said.get("seed", 0),
        "command": write_command(run, config),
    }
    return Facts(
        **facts,
        base=base,
        warm_start=warm_start,
        updates=max((row["update"] for row in metrics), default=0),
        sampled_tokens=sum(row.get("sampled_tokens") or 0 for row in metrics),
        rows=[
            *read_base_rows(run, config),
            *(read_result(one, one.name) for one in siblings),
            *read_own(run, own_label),
        ],
        parts=read_parts(run),
        versions=config.get("versions", {}),
        is_shared=bool(siblings),
    )


def read_config(run: Path) -> dict[str, Any]:
    """Return config.json of a run.

    Raises:
        ConfigurationError: the folder holds no run, or several.
        DataError: the file is damaged.
    """
    found = read_object(run / CONFIG, DataError, str(run / CONFIG)) if (run / CONFIG).is_file() else {}
    if _get_algorithm(found) is None:
        below = sorted(one.parent.name for one in run.glob("*/metrics.jsonl")) if run.is_dir() else []
        hint = f"; it holds {', '.join(below)}: name one of them" if below else f", with the {CONFIG} of one in it"
        raise ConfigurationError(f"run={str(run)!r} must be a run folder{hint}")
    return found


def _get_algorithm(config: Mapping[str, Any]) -> Any:
    options = config.get("options")
    return options.get("recipe") if isinstance(options, dict) else config.get("algorithm")


def find_siblings(run: Path, config: Mapping[str, Any]) -> list[Path]:
    """Return the runs beside a run that were trained from the same base on the same task and seed.

    Raises:
        ConfigurationError: one of them is the supervised one, and it has no result.
    """
    if "base" not in config:
        return []
    shared = {name: config.get(name) for name in ("base", "seed", "env", "task")}
    found = []
    for one in sorted(run.resolve().parent.iterdir()):
        if one == run.resolve() or not (one / CONFIG).is_file():
            continue
        other = read_object(one / CONFIG, DataError, str(one / CONFIG))
        if {name: other.get(name) for name in shared} != shared:
            continue
        if (one / RESULT).is_file():
            found.append(one)
        elif str(other.get("algorithm")).startswith(SUPERVISED):
            raise ConfigurationError(
                f"run={str(run)!r}: the supervised run beside it, {one.name}, must have a {RESULT}: a card shows that "
                "row where there is one"
            )
    return found


# -- rows -------------------------------------------------------------------------------------------------------------


def read_base_rows(run: Path, config: Mapping[str, Any]) -> list[Row]:
    """Return the accuracy of the model that the training started from, on the test problems where somebody measured it.

    ``demo`` and ``compare`` do that for all their runs at once; ``train`` measures it on validation problems.
    """
    folder, found = run.resolve().parent, None
    if (folder / "summary.json").is_file():
        found = read_object(folder / "summary.json", DataError, str(folder / "summary.json")).get("base")
    elif "base" in config and (folder.parent / "results.json").is_file():
        found = _find_record(folder.parent / "results.json", config.get("seed"))
    if isinstance(found, dict):
        return [Row("base", check_evaluation(folder, found), 0)]
    rows = [row for row in read_lines(run / EVALUATIONS) if row["update"] == 0]
    return [Row("base", check_evaluation(run / EVALUATIONS, row), 0) for row in rows[:1]]


def _find_record(path: Path, seed: Any) -> Any:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}") from None
    rows = records if isinstance(records, list) else []
    is_base = (
        row for row in rows if isinstance(row, dict) and row.get("algorithm") == "base" and row.get("seed") == seed
    )
    return next(is_base, None)


def read_own(run: Path, label: str) -> list[Row]:
    """Return the last accuracy of a run on validation problems, and the one on test problems, where there are such."""
    last = [row for row in read_lines(run / EVALUATIONS) if row["update"] > 0][-1:]
    rows = [Row(f"{label} (this model)", check_evaluation(run / EVALUATIONS, row)) for row in last]
    return [*rows, *([read_result(run, f"{label} (this model)")] if (run / RESULT).is_file() else [])]


def read_result(run: Path, label: str) -> Row:
    """Return the row of result.json of a run."""
    found = read_object(run / RESULT, DataError, str(run / RESULT))
    tokens = found.get("sampled_tokens")
    return Row(label, check_evaluation(run / RESULT, found), tokens if isinstance(tokens, int) else None)


def check_evaluation(path: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an evaluation; raises DataError where they are none."""
    interval = found.get("interval")
    numbers = [found.get("accuracy"), *(interval if isinstance(interval, list) else [])]
    if len(numbers) != 3 or not all(isinstance(x, int | float) and 0 <= x <= 1 for x in numbers):
        raise DataError(f"{path}: accuracy and interval must be numbers from 0 to 1, got {repr(numbers)[:60]}")
    return {name: found.get(name) for name in ("accuracy", "interval", "split", "mode", "problems")}


# -- what it was made with ---------------------------------------------------------------------------------------------


def find_base(run: Path, config: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the name of the model that a training started from, and the facts of its warm start if it had one.

    The name is None for a tiny model that this library made. Its folder is looked for beside the run too, so that a
    folder of ``demo`` can be moved.
    """
    options = config.get("options", {})
    base = config.get("base", options.get("policy"))
    if base is None:
        return None, {"steps": None} if options.get("warm_start") in ("auto", "always") else {}
    for folder in (Path(str(base)), run.resolve().parent / Path(str(base)).name):
        facts = folder / "warm_start.json"
        if facts.is_file():
            return None, read_object(facts, DataError, str(facts))
    return hide_paths(str(base)), {}


def is_hub_name(name: str) -> bool:
    """Return whether a name may be one of the Hub: of a user or an organisation, and not that of a folder here."""
    return name.count("/") == 1 and name[0] not in "./~" and not Path(name).exists()


def read_parts(run: Path) -> dict[str, str]:
    """Return slot -> part as it is written, with the options that are not null, of the newest checkpoint.

    Where the agent has stages, a slot is named with its stage.
    """
    saved = RunFolder(run).checkpoints()
    paths = [saved[-1] / name for name in ("agent.json", "stages.json")] if saved else []
    found: dict[str, Any] = {}
    for path in paths:
        found |= read_object(path, DataError, str(path)) if path.is_file() else {}
    stages = found.get("stages")
    recipes = [one.get("recipe") for one in stages if isinstance(one, dict)] if isinstance(stages, list) else []
    named = {f"stage {number}, ": recipe for number, recipe in enumerate(recipes)} or {"": found.get("recipe")}
    return {
        f"{before}{slot}": write_part(part)
        for before, recipe in named.items()
        for slot, part in (recipe.items() if isinstance(recipe, dict) else ())
        if part
    }


def write_part(part: Any) -> str:
    """Return a part of plain data as a call.

    >>> write_part({"class": "ClippedSurrogate", "options": {"clip_low": 0.2, "cap": None}})
    'ClippedSurrogate(clip_low=0.2)'
    """
    if not (isinstance(part, dict) and set(part) == {"class", "options"} and isinstance(part["options"], dict)):
        return repr(part)
    options = [f"{name}={write_part(value)}" for name, value in part["options"].items() if value is not None]
    return f"{part['class']}({', '.join(options)})"


def write_command(run: Path, config: Mapping[str, Any]) -> str:
    """Return the command line of a run; empty where its files do not say it."""
    path = run / "run.json"
    said = read_object(path, DataError, str(path)) if path.is_file() else {}
    argv = said.get("argv", config.get("argv"))
    if not isinstance(argv, list):
        return ""
    words = [hide_paths(str(word)) for word in argv]
    return f"g2rpo-env {said.get('command', 'train')} {shlex.join(words)}".strip()


def hide_paths(text: str) -> str:
    """Return an argument in which of an absolute path its last part is left.

    >>> hide_paths("/data/gsm8k"), hide_paths("--out=~/runs/a"), hide_paths("runs/a")
    ('gsm8k', '--out=a', 'runs/a')
    """
    name, equals, value = text.partition("=")
    path, before = (value, name + equals) if name.startswith("--") and equals else (text, "")
    is_path = path.startswith(("/", "~")) or Path(path).is_absolute()
    return before + Path(path).name if is_path else text


# -- the card ----------------------------------------------------------------------------------------------------------


def make_card(run: Path, repo: str, licence: str | None = None) -> ModelCard:
    """Return the model card of a run.

    Args:
        run: Run folder of any command.
        repo: Name of the model on the Hub.
        licence: Its licence, by the Hub's names; None: MIT for a model that this library made from nothing, that of the
            base for others.

    Raises:
        ConfigurationError: it is no run folder, or the supervised run beside it has no result.
        DataError: a file is damaged.
    """
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    facts = read_facts(run)
    base = facts.base if facts.base is not None and is_hub_name(facts.base) else None
    own = [row for row in facts.rows if row.label.endswith("(this model)")]
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=facts.env,
            dataset_name=facts.env,
            dataset_split=row.evaluation["split"],
            metric_type="accuracy",
            metric_name=f"accuracy without guidance, {row.evaluation['mode']}",
            metric_value=row.evaluation["accuracy"],
        )
        for row in own[-1:]
    ]
    name, short = ("mit", None) if facts.base is None else ("other", "that-of-the-base-model")
    data = ModelCardData(
        base_model=base,
        library_name="transformers",
        pipeline_tag="text-generation",
        license=licence or name,
        license_name=None if licence else short,
        tags=["g2rpo-env", "reinforcement-learning", "grpo"],
        model_name=repo,
        eval_results=results or None,
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=escape(repo.rpartition("/")[2]),
        repo=repo,
        label=f"recipe {code(facts.algorithm)}" if facts.parts else f"agent {code(facts.algorithm)}",
        version=escape(facts.versions.get("g2rpo_env", __version__)),
        env=code(facts.env)[1:-1],
        facts=list(list_facts(facts)),
        command=facts.command.replace("`", "'"),
        rows=[write_row(row) for row in facts.rows],
        is_shared=facts.is_shared,
        has_supervised=any(row.label.startswith(SUPERVISED) for row in facts.rows) and facts.is_shared,
        has_curves=(run / CURVES).is_file(),
        limits=[escape(limit) for limit in list_limits(facts)],
        parts=[(escape(slot), code(part)) for slot, part in facts.parts.items()],
        licence=write_licence(facts, licence),
        versions="Made with " + ", ".join(f"{escape(k)} {escape(v)}" for k, v in facts.versions.items()) + ".",
    )


def list_facts(facts: Facts) -> Iterable[tuple[str, str]]:
    """Yield what the first table of a card says, by name."""
    yield "base", write_base(facts) if facts.base is None else code(facts.base)
    yield "environment", code(facts.env)
    yield "task", write_options(facts.task)
    if facts.guidance:
        yield "guidance in training", write_options(facts.guidance)
    yield "seed", escape(facts.seed)
    yield "training", f"{facts.updates:,} updates, {facts.sampled_tokens:,} sampled tokens"


def write_base(facts: Facts) -> str:
    """Return what a base is that this library made."""
    text, warm = "a tiny model with random weights, made by this library", facts.warm_start
    if not warm:
        return text
    text += ", after a supervised warm start on worked solutions"
    steps, success = warm.get("steps"), warm.get("success")
    if isinstance(steps, int) and isinstance(success, int | float):
        text += f": {steps:,} steps, sampled success {success:.2%}"
    return text


def list_limits(facts: Facts) -> list[str]:
    """Return what nobody should read into the model or its accuracy."""
    data = facts.task.get("data")
    problems = "generated problems" if data is None else f"problems of {hide_paths(str(data))}"
    limits = [
        f"Trained on {problems} of {facts.env}; not a general model.",
        "It answers in the form that the verifier of this task reads; other prompts are outside of its training.",
        "One seed: another one, or another machine, gives other figures.",
    ]
    if facts.base is None:
        limits.append("Its base knows nothing but this task: outside of it the text is noise.")
    if not facts.is_shared:
        limits.append(
            "There is no supervised row from the same base, so that nobody can tell what guidance added to imitation."
        )
    return limits


def write_row(row: Row) -> dict[str, str]:
    """Return the cells of a row."""
    low, high = row.evaluation["interval"]
    return {
        "label": escape(row.label),
        "split": escape(row.evaluation["split"]),
        "problems": escape(row.evaluation["problems"]),
        "mode": escape(row.evaluation["mode"]),
        "accuracy": f"{row.evaluation['accuracy']:.3f}",
        "interval": f"{low:.3f} to {high:.3f}",
        "tokens": "" if row.sampled_tokens is None else f"{row.sampled_tokens:,}",
    }


def write_licence(facts: Facts, licence: str | None) -> str:
    """Return the sentence about the licence."""
    if licence is not None:
        return f"Licence: {escape(licence)}."
    return "MIT." if facts.base is None else f"The licence is that of the base model, {code(facts.base)}."


def write_options(options: Mapping[str, Any]) -> str:
    """Return the options that are not null, as code."""
    shown = [(name, value) for name, value in options.items() if value not in (None, [], {})]
    return ", ".join(code(f"{name}={hide_paths(str(value))}") for name, value in shown) or "the defaults"


MARKS = str.maketrans({char: f"&#{ord(char)};" for char in "|<>[]`*\\&"})


def escape(text: Any) -> str:
    """Return a text in which no character means anything to Markdown or HTML, on one line.

    >>> escape("a|b\\n<c>")
    'a&#124;b &#60;c&#62;'
    """
    return " ".join(str(text).split()).translate(MARKS)


def code(text: Any) -> str:
    r"""Return a text as code that a cell of a table can hold.

    >>> code("a|b`c")
    "`a\\|b'c`"
    """
    inner = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{inner}`"
