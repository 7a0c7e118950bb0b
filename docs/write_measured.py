"""Write docs/algorithms-measured.md from docs/results: ``python docs/write_measured.py``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from g2rpo_env.agents.recipes.costs import COSTS, MEMORY
from g2rpo_env.experiments.statistics import Estimate
from g2rpo_env.report.tables import interval_text
from g2rpo_env.study import contest, recipes
from g2rpo_env.study.archive import read_lines
from g2rpo_env.study.claims import format_estimate
from g2rpo_env.study.found import Found
from g2rpo_env.study.grounds import BASE, FORMS
from g2rpo_env.study.rates import RATES
from g2rpo_env.study.report import describe_runs

DOCS = Path(__file__).parent
PAGE = DOCS / "algorithms-measured.md"

INTRODUCTION = f"""# Algorithms, measured

What the recipes of [algorithms.md](algorithms.md) do at a small scale: models of 0.4 M parameters that are warm-started
on sums (Addition) or chains of sums (Chain) until they are sometimes right, an exact verifier, and
{recipes.SAMPLED_TOKENS:,} sampled tokens for each run. Drafts, trees, and groups that are dropped or sampled again
count. A table at this scale says that a recipe runs, and whether it learns or collapses here. It does not rank the
recipes for large models.

All rows of a table start from the same base for each seed and are evaluated on 512 test problems without guidance.
Accuracy is the interquartile mean over the seeds. Its 95 % interval comes from a bootstrap over seeds, and over
problems inside them; differences are paired by seed and problem. Each row has the learning rate that did best on other
seeds, in [rates.py](../g2rpo_env/study/rates.py). This page is written by `python docs/write_measured.py` from the
files in `docs/results`, and a test keeps both equal. The rows are data:

```python
>>> from g2rpo_env.study.contest import list_contest
>>> [entry.label for entry in list_contest()][:4]
['grpo', 'grpo, revealed', 'sft', 'raft, revealed']
```
"""

ABOUT_CONTEST = f"""
## Is a guided recipe better than imitation of its reveals?

Worked solutions are shown here, and a verifier is exact: whoever has both can train on the solutions directly. The rows
are plain GRPO, supervised training on the tokens that guided GRPO reveals (`sft`), RAFT with the revealed tokens in its
loss, guided GRPO, and eight forms of imitation with a comparison of sampled tokens. Five seeds that nobody had looked
at, {contest.SEEDS[0]} to {contest.SEEDS[-1]}; learning rates were chosen on seeds {contest.TRIAL_SEEDS[0]} and
{contest.TRIAL_SEEDS[1]}. `g2rpo-env study contest --data docs/results/contest.jsonl` goes on with the runs.
"""

ABOUT_RECIPES = f"""
## Every recipe

Seeds 0 to 2; learning rates were chosen on seed {recipes.TRIAL_SEED}. `g2rpo-env study recipes --data
docs/results/recipes.jsonl` goes on with the runs. Sampled tokens are thousands of one run. *Signal* is the share of
groups whose members differ in reward, *clipped* the share of tokens whose ratio the loss clips, both the mean over
training. Time and memory of an update are those over `grpo` on the same episodes, from `g2rpo-env bench recipes`.
"""

ABOUT_GUIDED = """
The guided form of every recipe with a loss per token: lengths by `SelfTuning` from the whole solution on, revealed
tokens in the loss (*revealed*), only those of episodes that did better than their group (*positive*), or none
(*masked*). Rows in bold lie entirely above plain GRPO, supervised training and RAFT with the reveals.
"""

TITLES = {
    recipes.ONE: "One gradient step per rollout",
    recipes.FOUR: "Four gradient steps per rollout",
    recipes.GUIDED: "Guided forms",
    recipes.CONTEXT: "Recipes with a context of their own, from bases that know it",
}


def write_page() -> str:
    """Return the page's text."""
    return "\n".join([INTRODUCTION, *write_contest(), *write_recipes()]).rstrip() + "\n"


def read_results(name: str) -> dict[str, dict]:
    """Return key -> result of a file in docs/results; nothing if there is none."""
    path = DOCS / "results" / f"{name}.jsonl"
    return read_lines(path) if path.is_file() else {}


def write_contest() -> Iterator[str]:
    """Yield the lines about the question that a guided recipe has to answer."""
    results = read_results("contest")
    parts = [Found(part, results) for part in contest.make_contest(FORMS["default"])]
    yield ABOUT_CONTEST
    complete = not any(found.missing for found in parts)
    if complete:
        yield f"{describe_answer(parts)} {describe_closest(parts)} {describe_rates(parts)}".rstrip() + "\n"
    yield from describe_missing(parts)
    for found in parts:
        labels = [label for label in found.labels if found.of(label)]
        rivals = [label for label in contest.RIVALS if label in labels]
        yield f"### {found.part.ground.name}\n"
        yield from make_table(
            ("", "rate", "accuracy", "95 % interval", "by seed", *(f"above {rival}" for rival in rivals)),
            [
                [label, format_rate(found, label), *format_accuracy(found, label), list_seeds(found, label)]
                + [format_above(found, label, rival) for rival in rivals]
                for label in labels
            ],
        )


def describe_answer(parts: Sequence[Found]) -> str:
    """Return the answer: which rows are entirely above all rivals on every ground."""
    winners = contest.find_winners(parts)
    if winners:
        return f"**Answer: yes.** Entirely above all three on both families: {', '.join(winners)}."
    return (
        f"**Answer: no.** No row's interval lies entirely above {', '.join(contest.RIVALS[:-1])} and "
        f"{contest.RIVALS[-1]} on both families."
    )


def describe_rates(parts: Sequence[Found]) -> str:
    """Return how many rows did best at the highest rate that was tried, nothing where none did."""
    said = []
    for found in parts:
        chosen = RATES.get(found.part.ground.name, {})
        high = [one.label for one in contest.list_contest() if chosen.get(one.label) == max(one.rates)]
        if high:
            ground = found.part.ground.name.partition(",")[0]
            said.append(
                f"On {ground} {len(high)} of {len(contest.list_contest())} rows did best at the highest rate that was "
                f"tried, {', '.join(one for one in contest.RIVALS if one in high) or 'no rival'} among them: a higher "
                "one may be better still."
            )
    return " ".join(said)


def describe_closest(parts: Sequence[Found]) -> str:
    """Return which row came closest on each ground, and by how much it beats every rival."""
    said = []
    for found in parts:
        label = contest.find_closest(found)
        above = [f"{format_above(found, label, rival)} against {rival}" for rival in contest.RIVALS]
        said.append(f"On {found.part.ground.name.partition(',')[0]} the best row is *{label}*: {', '.join(above)}.")
    return " ".join(said)


def write_recipes() -> Iterator[str]:
    """Yield the lines about all recipes."""
    results = read_results("recipes")
    parts = [Found(part, results) for part in recipes.make_parts(FORMS["default"])]
    yield ABOUT_RECIPES
    yield from describe_missing(parts)
    for block, title in TITLES.items():
        here = [found for found in parts if found.part.ground.name.endswith(f", {block}")]
        if all(found.missing == count(found) for found in here):
            continue
        yield f"### {title}\n"
        if block == recipes.GUIDED:
            yield ABOUT_GUIDED.strip() + "\n"
        for found in here:
            ground = found.part.ground.name.partition(",")[0]
            yield from write_guided(found, ground) if block == recipes.GUIDED else write_block(found)


def count(found: Found) -> int:
    """Return the number of runs of a part."""
    return len({run.key for row in found.part.rows for run in row.runs})


def describe_missing(parts: Sequence[Found]) -> Iterator[str]:
    """Yield where the runs were done, and how many are still to do."""
    missing = sum(found.missing for found in parts)
    if missing == sum(map(count, parts)):
        yield f"None of the {missing} runs is done yet.\n"
        return
    text = describe_runs(parts)
    yield text[0].upper() + text[1:] + (f"; {missing} runs are not done yet" if missing else "") + ".\n"


def write_block(found: Found) -> Iterator[str]:
    """Yield the table of a block of plain recipes."""
    plain = next((label for label in found.labels if label.startswith("grpo")), "")
    counts = ("sampled", "updates", "signal", "clipped", "time", "memory")
    names = ("", "rate", "accuracy", "95 % interval", "above grpo", *counts)
    rows = []
    for label in found.labels:
        if not found.of(label):
            continue
        rows.append([
            label, format_rate(found, label), *format_accuracy(found, label), format_above(found, label, plain),
            f"{found.mean(label, 'sampled_tokens') / 1e3:,.0f}", f"{found.mean(label, 'updates'):.0f}",
            format_mean(found, label, "groups_with_signal"), format_mean(found, label, "clip_fraction"),
            *(f"{of[label]:.2f}" if label in of else "" for of in (COSTS, MEMORY)),
        ])  # fmt: skip
    yield from make_table(names, rows)


def write_guided(found: Found, ground: str) -> Iterator[str]:
    """Yield the tables of the guided forms on one ground: the rivals, and a row per recipe with a column per form."""
    yield f"#### {ground}\n"
    rivals = [label for label in recipes.RIVALS if found.of(label)]
    yield from make_table(
        ("", "rate", "accuracy", "95 % interval"),
        [[one, format_rate(found, one), *format_accuracy(found, one)] for one in (BASE, *rivals) if found.of(one)],
    )
    rows: dict[str, dict[str, str]] = {}
    for label in found.labels:
        name, _, form = label.rpartition(", ")
        if form in recipes.FORMS and found.of(label):
            one = found.accuracy(label)
            text = f"{one.value:.3f} {interval_text(one.low, one.high)}"
            others = [rival for rival in recipes.RIVALS if rival != label]
            best = all(found.of(rival) and found.above(label, rival).above for rival in others)
            rows.setdefault(name, {})[form] = f"**{text}**" if best and label not in recipes.RIVALS else text
    cells = [[name, *(forms.get(form, "") for form in recipes.FORMS)] for name, forms in rows.items()]
    yield from make_table(("", *recipes.FORMS), cells)


def format_rate(found: Found, label: str) -> str:
    """Return the learning rate of a row, nothing for the base."""
    rate = RATES.get(found.part.ground.name, {}).get(label)
    return "" if rate is None else f"{rate:g}"


def format_accuracy(found: Found, label: str) -> tuple[str, str]:
    """Return accuracy and interval of a row."""
    one = found.accuracy(label)
    return f"{one.value:.3f}", interval_text(one.low, one.high)


def format_above(found: Found, label: str, other: str) -> str:
    """Return how far a row is above another one, nothing where that is no question."""
    if label == other or label.startswith(BASE) or not found.of(other):
        return ""
    estimate: Estimate = found.above(label, other)
    return "" if math.isnan(estimate.value) else format_estimate(estimate)


def format_mean(found: Found, label: str, name: str) -> str:
    """Return the mean of a curve over training and seeds, nothing where it has none."""
    curve = found.curve(label, name)
    return f"{curve.mean():.2f}" if len(curve) and not math.isnan(curve.mean()) else ""


def list_seeds(found: Found, label: str) -> str:
    """Return the accuracy of each seed."""
    return " ".join(f"{result['accuracy']:.3f}" for result in found.of(label).values())


def make_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table in Markdown and an empty line."""
    yield f"| {' | '.join(names)} |"
    yield "|---|" + "---:|" * (len(names) - 1)
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
