"""Tables and lines that several commands print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from g2rpo_env.agents.evaluation import Evaluation, explain_unread
from g2rpo_env.agents.policy.protocol import SamplingPolicy
from g2rpo_env.agents.progress import Meter
from g2rpo_env.agents.response import ResponsePoint, guidance_response
from g2rpo_env.guidance import AnyEnv
from g2rpo_env.render import escape
from g2rpo_env.verdict import Outcome


def interval_text(low: float, high: float) -> str:
    """Return an interval as text, such as ``[0.12, 0.20]``."""
    return f"[{low:.2f}, {high:.2f}]"


def show_accuracy(evaluation: Evaluation) -> None:
    """Print the accuracy of an evaluation with its interval, and pass@k beyond 1."""
    text = f"{evaluation.mode.capitalize()} unguided accuracy on {len(evaluation.problem_ids)} {evaluation.split} "
    text += f"problems: {evaluation.accuracy:.4f}, 95 % interval {interval_text(*evaluation.interval)}"
    print(text)
    for k, value in evaluation.pass_at.items():
        if k > 1:
            print(f"  pass@{k}: {value:.4f}")


def show_answers(evaluation: Evaluation) -> None:
    """Print how many answers have each outcome, what follows if most cannot be graded, and a few answers."""
    counts = ", ".join(f"{count} {outcome}" for outcome, count in evaluation.outcomes.items())
    budget = "" if evaluation.max_new_tokens is None else f" at max_new_tokens={evaluation.max_new_tokens}"
    print(f"Answers: {counts}; {evaluation.truncated} truncated{budget}")
    for answer in evaluation.examples:
        cut = ", truncated" if answer.truncated else ""
        print(f"  {answer.problem_id}: {answer.outcome}{cut}, final answer {answer.answer!r}")
        print("    " + shorten(escape(answer.completion)).replace("\n", "\n    "))
    warn_unread(evaluation)


def warn_unread(evaluation: Evaluation, of: str = "") -> None:
    """Print a warning if most answers of an evaluation cannot be graded; ``of`` says whose, such as ``"base: "``."""
    answers = sum(evaluation.outcomes.values())
    unanswered = evaluation.outcomes.get(Outcome.NO_ANSWER, 0)
    text = explain_unread(unanswered, evaluation.truncated, answers, evaluation.max_new_tokens)
    if text is not None:
        print(f"Warning: {of}{text}.")


def shorten(text: str, longest: int = 240) -> str:
    """Return a text of at most ``longest`` signs: its beginning and its end, where the final answer is.

    >>> shorten("abcdefghijklmno", 9)
    'abc...mno'
    """
    kept = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:kept]}...{text[-kept:]}"


def show_response(policy: SamplingPolicy, envs: AnyEnv, problems: int, when: str, folder: Path | None = None) -> None:
    """Measure and print the guidance-response curve, and add it to response.json of a folder.

    Args:
        policy: The policy.
        envs: Any environment of the task.
        problems: Problems per point.
        when: Name of the curve in the table and the file, such as ``"before"``.
        folder: Where response.json is; None writes none.
    """
    with Meter(f"Guidance response, {when}, {problems} problems per point") as meter:
        points = guidance_response(policy, envs, problems=problems, progress=meter)
    show_points(points, when, "test")
    if folder is not None:
        write_points(points, when, folder)


def show_points(points: Sequence[ResponsePoint], when: str, split: str) -> None:
    """Print a guidance-response curve."""
    table = Table(title=f"Guidance response, {when}: sampled success on {points[0].problems} {split} problems")
    table.add_column("reveal cap", no_wrap=True)
    for column in ("fraction", "success", "95 % interval", "copied", "right + copied"):
        table.add_column(column, justify="right", no_wrap=True)
    for point in points:
        table.add_row(
            point.reveal_cap,
            f"{point.fraction:.2f}",
            f"{point.success:.3f}",
            interval_text(*point.interval),
            f"{point.copied:.3f}",
            f"{point.correct_copied:.3f}",
        )
    Console().print(table)


def has_response(folder: Path, when: str) -> bool:
    """Return whether response.json of a folder has the curve of that name."""
    path = folder / "response.json"
    return path.is_file() and when in json.loads(path.read_text(encoding="utf-8"))


def write_points(points: Sequence[ResponsePoint], when: str, folder: Path) -> None:
    """Add a guidance-response curve to response.json of a folder."""
    path = folder / "response.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**known, when: [asdict(point) for point in points]}, indent=2) + "\n")


ONE_SEED = "This is one seed: the intervals cover the choice of test problems, and seeds differ by more than that."


def count(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> count(1, "seed"), count(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def get_standing(low: float, high: float) -> str:
    """Return where guided GRPO stands, from the interval of its accuracy minus that of imitation alone."""
    if low > 0:
        return "above imitation alone"
    if high < 0:
        return "below imitation alone"
    return "not told apart from imitation alone"
