"""Claims: what the paper, its readers and its reproduction say, each with the runs that try it and what bears it out.

A claim is data and two functions: its parts (rows of runs on a ground), and its checks, each a sentence that the
results fill with figures and that holds or does not. It replicates if all checks hold, partly if some do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from g2rpo_env.agents.parts.advantages.reveal import RevealBaseline
from g2rpo_env.agents.parts.selection.splits import SplitGuided
from g2rpo_env.experiments.statistics import Estimate
from g2rpo_env.report.tables import interval_text
from g2rpo_env.reveal.assignment import WholeGroups
from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import (
    BASE,
    GUIDED,
    MASKED,
    RAFT,
    RAFT_REVEALED,
    SFT,
    STARTS,
    Ground,
    Row,
    Scale,
    references,
    rows_of,
    untaught,
)
from g2rpo_env.study.regimes import MAP, NO_BLAME, REGIMES, Regime
from g2rpo_env.study.runs import Run


@dataclass(frozen=True)
class Check:
    """One sentence about the results.

    Attributes:
        text: The sentence, with figures.
        holds: Whether the results bear it out.
    """

    text: str
    holds: bool


@dataclass(frozen=True)
class Claim:
    """A claim.

    Attributes:
        name: What the command line calls it.
        says: The claim, as its source makes it.
        source: Who says so.
        question: What is measured.
        parts: Scale -> parts.
        checks: Results of the parts -> checks.
        plots: Names of the panels of its picture, keys of :data:`g2rpo_env.study.pictures.PANELS`.
        x: Meaning of the places on the lines of its plot.
    """

    name: str
    says: str
    source: str
    question: str
    parts: Callable[[Scale], list[Part]]
    checks: Callable[[list[Found]], list[Check]]
    plots: tuple[str, ...] = ("lines",)
    x: str = ""

    def reading(self, found: list[Found]) -> tuple[str, list[Check]]:
        """Return the verdict and the checks.

        The verdict is ``replicates``, ``replicates in part``, ``does not replicate``, ``unfinished``, or ``not tried in
        this form`` where a form of the study leaves nothing to check.
        """
        if any(one.missing for one in found):
            return "unfinished", []
        checks = self.checks(found) if found else []
        if not checks:
            return "not tried in this form", []
        held = sum(check.holds for check in checks)
        if held == len(checks):
            return "replicates", checks
        return ("replicates in part" if held else "does not replicate"), checks


def figures(estimate: Estimate) -> str:
    """Return a difference with its interval."""
    return f"{estimate.value:+.2f} {interval_text(estimate.low, estimate.high)}"


def unique(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows of distinct labels, the last one of each label where the first one stood."""
    return tuple({row.label: row for row in rows}.values())


# -- rewards are sparse -----------------------------------------------------------------------------------------------


def sparse_parts(scale: Scale) -> list[Part]:
    """The references alone: plain GRPO beside the guided run, from the same bases."""
    return [Part(ground, unique(references(ground, scale.seeds))) for ground in scale.grounds()]


def sparse_checks(found: list[Found]) -> list[Check]:
    """Early groups with signal, with and without guidance."""
    checks = []
    for one in found:
        early = {label: one.curve(label, "groups_with_signal") for label in (one.grpo, GUIDED)}
        quarter = {label: float(np.nanmean(curve[: max(1, len(curve) // 4)])) for label, curve in early.items()}
        plain, guided = quarter[one.grpo], quarter[GUIDED]
        text = f"{one.part.ground.name}: in the first quarter of the updates {plain:.0%} of the groups of plain GRPO"
        checks.append(Check(f"{text} have signal, fewer than half", plain < 0.5))
        text = f"{one.part.ground.name}: of the guided groups {guided:.0%} have, at least twice as many"
        checks.append(Check(text, guided >= 2 * plain))
    return checks


# -- how many members -------------------------------------------------------------------------------------------------

RATIOS = (0.125, 0.25, 0.5, 0.75, 1.0)
RATIO_START = 0.8


def ratio_row(ground: Ground, seeds: Sequence[int], ratio: float, series: str) -> Row:
    """Return the row of a share of guided members, fixed length of 80 %."""
    make = partial(ground.guided, rule="fixed", start=RATIO_START, guidance={"ratio": ratio})
    return rows_of(make, seeds, f"fixed 80 %, ratio {ratio:g}", series, ratio)


def ratio_parts(scale: Scale) -> list[Part]:
    """Fixed guidance of 80 % at every ratio; ratio 0 is plain GRPO."""
    parts = []
    for ground in scale.grounds()[:1]:
        rows = [ratio_row(ground, scale.seeds, ratio, "fixed 80 %") for ratio in RATIOS]
        parts.append(Part(ground, unique([*references(ground, scale.seeds), *rows])))
    return parts


def ratio_checks(found: list[Found]) -> list[Check]:
    """The advantage's deviation and the accuracy at ratio 1 against smaller ratios."""
    checks = []
    for one in found:
        rows = one.series("fixed 80 %")
        late = {row.label: float(np.nanmean(one.curve(row.label, "advantage_std")[-10:])) for row in rows}
        full, others = rows[-1].label, [row.label for row in rows[:-1]]
        best = one.best(others)
        text = f"{one.part.ground.name}: in the last quarter the advantage's standard deviation is {late[full]:.2f} at "
        text += f"ratio 1, below that of every smaller ratio ({', '.join(f'{late[label]:.2f}' for label in others)})"
        checks.append(Check(text, all(late[full] < late[label] for label in others)))
        difference = one.above(full, best)
        text = f"{one.part.ground.name}: ratio 1 is {figures(difference)} against {best}, entirely below"
        checks.append(Check(text, difference.below))
    return checks


# -- fixed lengths ----------------------------------------------------------------------------------------------------

FIXED = (*STARTS, 1.0)
OTHER_SIZES = (0.3, 0.8, 1.0)
"""Fixed lengths that the other sizes and families are tried with."""


def fixed_label(length: float) -> str:
    """Return the label of a fixed length."""
    return f"fixed {length:.0%}"


def fixed_row(ground: Ground, seeds: Sequence[int], length: float) -> Row:
    """Return the row of a fixed length."""
    return rows_of(partial(ground.guided, rule="fixed", start=length), seeds, fixed_label(length), "fixed", length)


def fixed_parts(scale: Scale, further: Sequence[Ground] = ()) -> list[Part]:
    """Fixed lengths by size of the model on the main family, and on the other families."""
    main, grounds = scale.grounds()[0], [*scale.sizes(), *scale.grounds()[1:], *further]
    parts = []
    for ground in grounds:
        same = (ground.hidden_size, ground.layers, ground.env) == (main.hidden_size, main.layers, main.env)
        lengths = FIXED if same else OTHER_SIZES
        rows = [fixed_row(ground, scale.seeds, length) for length in lengths]
        shown = references(ground, scale.seeds) if same else references(ground, scale.seeds, grid=(1.0,), few=True)
        parts.append(Part(ground, unique([*shown, *rows])))
    return parts


EARLY = np.array([0.25])


def fixed_checks(found: list[Found]) -> list[Check]:
    """Early and late differences to GRPO, and whether the best length moves."""
    checks, bests = [], {}
    for one in found:
        rows = [row.label for row in one.series("fixed")]
        best = bests[one.part.ground.name] = one.best(rows)
        early, plain = one.share_curve(best, EARLY)[0], one.share_curve(one.grpo, EARLY)[0]
        difference, name = one.above(best, one.grpo), one.part.ground.name
        text = f"{name}: after a quarter of the budget the best fixed length ({best}) has {early:.2f} on validation "
        checks.append(Check(text + f"problems, above GRPO's {plain:.2f}", bool(early > plain)))
        text = f"{name}: at the end it is {figures(difference)} against GRPO, not above it any more"
        checks.append(Check(text, not difference.above))
    if len(bests) > 1:
        text = "the best fixed length is not the same everywhere: " + ", ".join(f"{n}: {b}" for n, b in bests.items())
        checks.append(Check(text, len(set(bests.values())) > 1))
    return checks


# -- the headline -----------------------------------------------------------------------------------------------------

FIVE = {"fixed": "fixed", "linear": "linear decay", "adaptive": "bounded", "target": "target success",
        "self-tuning": "self-tuning"}  # fmt: skip
"""Rules of the headline -> what tables call them."""
BESIDE = {"raw": "raw rule"}
RULED = {**FIVE, **BESIDE}
MORE = {"cosine": "cosine decay", "official": "official cadence"}
"""Further rules of the full form."""


def rule_label(name: str, start: float) -> str:
    """Return the label of a rule from a start."""
    return f"{name} {start:.0%}"


def rule_row(ground: Ground, seeds: Sequence[int], rule: str, name: str, start: float) -> Row:
    """Return the row of a rule, a key of RULES, from a start."""
    return rows_of(partial(ground.guided, rule=rule, start=start), seeds, rule_label(name, start), name, start)


def adaptive_parts(scale: Scale) -> list[Part]:
    """Every rule from four starts; the whole solution as a fixed length beside them."""
    rules = {**RULED, **(MORE if scale.name == "full" else {})}
    parts = []
    for number, ground in enumerate(scale.grounds()):
        few = {"fixed": "fixed", "self-tuning": "self-tuning"}  # what the checks need, on further families
        mine = rules if number == 0 or scale.name == "full" else few
        order = sorted(mine, key=lambda rule: rule not in few)
        rows = [rule_row(ground, scale.seeds, rule, mine[rule], start) for rule in order for start in STARTS]
        rows.append(replace(rule_row(ground, scale.seeds, "fixed", "fixed", 1.0), series="", x=None))
        shown = references(ground, scale.seeds, few=mine is few)
        parts.append(Part(ground, unique([*shown, *rows])))
    return parts


def adaptive_checks(found: list[Found]) -> list[Check]:
    """The figures of the issue: worst start, mean over the starts, time to half, above GRPO."""
    checks = []
    for one in found:
        name = one.part.ground.name
        fixed, ours = ([row.label for row in one.series(series)] for series in ("fixed", "self-tuning"))
        values = {label: one.accuracy(label).value for label in (*fixed, *ours)}
        best = one.best([*fixed, rule_label("fixed", 1.0)])
        most = one.accuracy(best).value
        worst = min(ours, key=lambda label: values[label])
        text = f"{name}: the worst start of self-tuning ({worst}) has {values[worst]:.3f}, at least 0.95 of the best "
        text += f"fixed length, those starts and 100 % ({best}, {most:.3f})"
        checks.append(Check(text, values[worst] >= 0.95 * most))
        means = [float(np.mean([values[label] for label in labels])) for labels in (ours, fixed)]
        text = f"{name}: its mean over the four starts is {means[0]:.3f}, at least twice that of fixed, {means[1]:.3f}"
        checks.append(Check(text, means[0] >= 2 * means[1]))
        times = [one.half_time(label) for label in (*ours, best)]
        slowest = max(times[:-1])
        text = f"{name}: to half of its final accuracy it takes {slowest:,.0f} sampled tokens from its slowest start, "
        checks.append(Check(text + f"no more than the {times[-1]:,.0f} of {best}", slowest <= times[-1]))
        difference = one.above(ours, one.grpo)
        text = f"{name}: over the four starts it is {figures(difference)} against GRPO at its best rate, entirely above"
        checks.append(Check(text, difference.above))
    return checks


# -- size of the model, math and code ---------------------------------------------------------------------------------

SIZE_RATIOS = (0.25, 0.75)


def size_parts(scale: Scale) -> list[Part]:
    """Fixed lengths and ratios by size of the model; other families with the lengths alone."""
    parts = fixed_parts(scale, scale.code())
    for number, _ in enumerate(scale.sizes()):
        ground = parts[number].ground
        rows = [ratio_row(ground, scale.seeds, ratio, "fixed 80 %, by ratio") for ratio in SIZE_RATIOS]
        parts[number] = Part(ground, unique([*parts[number].rows, *rows]))
    return parts


def size_checks(found: list[Found]) -> list[Check]:
    """Gain of guidance by size, and the best length and ratio by size."""
    sizes = [one for one in found if one.series("fixed 80 %, by ratio")]
    others = found[len(sizes) :]
    gains, lengths, ratios = [], [], []
    for one in sizes:
        best = one.best([row.label for row in one.series("fixed")])
        gains.append(one.above(best, one.grpo).value)
        lengths.append(one.row(best).x or 0.0)
        half = fixed_label(RATIO_START)
        best_ratio = one.best([half, *(row.label for row in one.series("fixed 80 %, by ratio"))])
        ratios.append(one.part.ground.family.ratio if best_ratio == half else one.row(best_ratio).x or 0.0)
    names = ", ".join(one.part.ground.name for one in sizes)

    def falls(values: Sequence[float]) -> bool:
        return all(a >= b for a, b in pairwise(values)) and values[0] > values[-1]

    checks = []
    if len(sizes) > 1:
        shown = ", ".join(f"{gain:+.2f}" for gain in gains)
        text = f"the gain of the best fixed length over GRPO falls with the size ({names}): {shown}"
        checks.append(Check(text, falls(gains)))
        shown = ", ".join(f"{length:.0%}" for length in lengths)
        checks.append(Check(f"the best fixed length falls with the size: {shown}", falls(lengths)))
        shown = ", ".join(f"{ratio:g}" for ratio in ratios)
        checks.append(Check(f"the best ratio falls with the size: {shown}", falls(ratios)))
    code = [one for one in others if "Python" in one.part.ground.name]
    for one in code:
        length = one.row(one.best([row.label for row in one.series("fixed")])).x or 0.0
        math = lengths[len(lengths) // 2]
        checks.append(Check(f"code wants longer guidance than math: {length:.0%} against {math:.0%}", length > math))
    return checks


# -- order ------------------------------------------------------------------------------------------------------------

HARD_DIGITS, EASY_DIGITS = (2, 4), (2, 3)


def curriculum_ground(scale: Scale) -> Ground:
    """Return the main ground with sums of two to four digits: hard ones are those of four."""
    ground = scale.grounds()[0]
    digits = (1, 2) if scale.small else HARD_DIGITS
    family = ground.family
    name = f"{ground.name}, {digits[0]} to {digits[1]} digits"
    # Solutions differ in length, so that a share of each is revealed and not a number of tokens.
    return ground.on(name, {**family.task, "digits": digits}, unit="fraction", longest=1.0, shortest=0.9)


def curriculum_parts(scale: Scale) -> list[Part]:
    """Random order against a ramp; training with and without the hard problems. All are measured on all problems."""
    ground = curriculum_ground(scale)
    low, high = ground.family.task["digits"]
    all_task = dict(ground.family.task)
    easy = {**all_task, "digits": (low, high - 1)}
    span = {"candidates": 5, "span": 8 * ground.updates}
    rows = []
    makes: dict[str, Callable[..., Run]] = {"g2rpo-a": ground.guided, "grpo": ground.plain}
    for who, make in makes.items():
        rows.append(rows_of(make, scale.seeds, f"{who}, random"))
        rows.append(rows_of(partial(make, order=span), scale.seeds, f"{who}, curriculum"))
        rows.append(rows_of(partial(make, task=easy, measured=all_task), scale.seeds, f"{who}, no hard ones"))
    return [Part(ground, unique([*references(ground, scale.seeds, grid=(1.0,), few=True), *rows]))]


def curriculum_checks(found: list[Found]) -> list[Check]:
    """Order, and hard problems, with guidance and without."""
    (one,) = found
    order = one.above("g2rpo-a, curriculum", "g2rpo-a, random")
    hard = one.above("g2rpo-a, random", "g2rpo-a, no hard ones")
    plain = one.above("grpo, random", "grpo, no hard ones")
    return [
        Check(f"with guidance the curriculum is {figures(order)} against random order, entirely above", order.above),
        Check(f"with guidance hard problems among those trained on add {figures(hard)}, entirely above 0", hard.above),
        Check(f"without guidance they add less: {figures(plain)}", plain.value < hard.value),
    ]


# -- revealed tokens in the loss --------------------------------------------------------------------------------------


def loss_parts(scale: Scale) -> list[Part]:
    """Every controller in both loss modes; the masked one also with other baselines, rates and ratios."""
    ground = scale.grounds()[0]

    def row(label: str, **options: Any) -> Row:
        return rows_of(partial(ground.guided, **options), scale.seeds, label)

    modes = {"in the loss": GUIDED, "masked": MASKED}
    apart = {"selection": SplitGuided()}
    masked: dict[str, dict[str, Any]] = {
        "whole groups": {"guidance": {"who": WholeGroups()}},
        "all members": {"guidance": {"ratio": 1.0}},
        "baseline by reveal": {"parts": {"advantage": RevealBaseline()}},
        "three times the rate": {"rate": 3 * ground.family.rates[MASKED]},
        "ratio 1/4": {"guidance": {"ratio": 0.25}},
    }
    rows = [
        *(row(f"{name}, {word}", rule=rule, recipe=modes[word]) for rule, name in RULED.items() for word in modes),
        *(row(f"self-tuning, {word}, apart", recipe=mode, parts=apart) for word, mode in modes.items()),
        row("self-tuning, in the loss, baseline by reveal", parts={"advantage": RevealBaseline()}),
        row("self-tuning, in the loss, of the better members alone", parts=NO_BLAME),
        *(row(f"self-tuning, masked, {word}", recipe=MASKED, **options) for word, options in masked.items()),
    ]
    return [Part(ground, unique([*references(ground, scale.seeds), *rows]))]


def loss_checks(found: list[Found]) -> list[Check]:
    """In the loss against masked, per controller, and what mends the masked mode."""
    (one,) = found
    checks = []
    for name in RULED.values():
        difference = one.above(f"{name}, in the loss", f"{name}, masked")
        text = f"{name}: in the loss is {figures(difference)} against masked, entirely above"
        checks.append(Check(text, difference.above))
    mended = [label for label in one.labels if label.startswith("self-tuning, masked, ")]
    best = one.best(mended)
    difference = one.above(best, "self-tuning, masked")
    text = f"masked, {best.removeprefix('self-tuning, masked, ')} is {figures(difference)} against masked as it is"
    checks.append(Check(text + ", entirely above", difference.above))
    return checks


# -- imitation --------------------------------------------------------------------------------------------------------


def imitation_checks(found: list[Found]) -> list[Check]:
    """Guided GRPO against supervised training and RAFT, and the share of the gain that imitation explains."""
    checks = []
    for one in found:
        name, raft = one.part.ground.name, one.best([RAFT, RAFT_REVEALED])
        for other in (one.grpo, SFT, raft):
            difference = one.above(GUIDED, other)
            text = f"{name}: g2rpo-a is {figures(difference)} against {other}, entirely above"
            checks.append(Check(text, difference.above))
        base = one.accuracy(BASE).value
        share = (one.accuracy(SFT).value - base) / max(one.accuracy(GUIDED).value - base, 1e-9)
        text = f"{name}: imitation of the revealed tokens alone reaches {share:.0%} of its gain over the base"
        checks.append(Check(text + ", less than half", share < 0.5))
    return checks


# -- the raw rule -----------------------------------------------------------------------------------------------------


def raw_parts(scale: Scale) -> list[Part]:
    """The raw rule from four starts, our default beside it; in the full form the official cadence too."""
    ground = scale.grounds()[0]
    official = {"official": MORE["official"]} if scale.name == "full" else {}
    rules = {**BESIDE, **official, "self-tuning": "self-tuning"}
    rows = [rule_row(ground, scale.seeds, rule, name, start) for rule, name in rules.items() for start in STARTS]
    return [Part(ground, unique([*references(ground, scale.seeds), *rows]))]


def raw_checks(found: list[Found]) -> list[Check]:
    """The faults in simulation, and where real runs end."""
    from g2rpo_env.study.faults import FAULTS

    checks = [Check(fault.says(), fault.holds()) for fault in FAULTS]
    (one,) = found
    whole = one.part.ground.whole
    for name in ("raw rule", "self-tuning"):
        ends = [r["lengths"][-1] / whole for row in one.series(name) for r in one.of(row.label).values()]
        at_bound = sum(end <= 0.03 or end >= 0.999 for end in ends)
        if name == "raw rule":
            text = f"real runs: the raw rule ends at its floor or its cap in {at_bound} of {len(ends)}, more than half"
            checks.append(Check(text, at_bound > len(ends) / 2))
    raw, ours = ([row.label for row in one.series(name)] for name in ("raw rule", "self-tuning"))
    gaps = [float(np.ptp([one.accuracy(label).value for label in labels])) for labels in (raw, ours)]
    text = f"real runs: accuracy depends on the start by {gaps[0]:.2f} under the raw rule, by {gaps[1]:.2f} under "
    return [*checks, Check(text + "self-tuning", gaps[0] > gaps[1])]


# -- beyond imitation -------------------------------------------------------------------------------------------------


def beyond_parts(scale: Scale) -> list[Part]:
    """One part per regime."""
    ground = scale.grounds()[0]
    return [Part(regime.on(ground), regime.rows(ground, scale.seeds)) for regime in REGIMES]


def beyond_checks(found: list[Found]) -> list[Check]:
    """Whether the best guided row is entirely above supervised training and above every imitation, and where.

    Each side is taken at the learning rate that did best on the test problems.
    """
    checks, won = [], 0
    for one in found:
        rivals = [row.label for row in one.part.rows if row.series == "imitation"]
        ours, name = one.best([row.label for row in one.part.rows if row.series == "guided"]), one.part.ground.name
        taught = one.above(ours, one.sft)
        text = f"{name}: {ours} is {figures(taught)} against {one.sft}, supervised training at its best rate, "
        checks.append(Check(text + "entirely above", taught.above))
        differences = {rival: one.above(ours, rival) for rival in rivals}
        hardest = min(differences, key=lambda rival: differences[rival].value)
        difference = differences[hardest]
        holds = all(difference.above for difference in differences.values())
        won += holds
        text = f"{name}: it is {figures(difference)} against {hardest}, the hardest of {len(rivals)} imitations, "
        checks.append(Check(text + f"{difference.standing}; entirely above all of them", holds))
    text = f"regimes in which guided GRPO is entirely above every imitation: {won} of {len(found)}, at least two"
    return [*checks, Check(text, won >= 2)]


# -- the map ----------------------------------------------------------------------------------------------------------


def map_parts(scale: Scale) -> list[Part]:
    """One part for all regimes of the map, a few rows each, since they have one base; one for many right answers."""
    main = map_part(scale.grounds()[0], MAP, scale.seeds)
    return [main, *(map_part(ground, MAP[:1], scale.seeds) for ground in scale.many_answers())]


def map_part(ground: Ground, regimes: Sequence[Regime], seeds: Sequence[int]) -> Part:
    """Return the part of the map that lies on a ground."""
    rows = untaught(ground, seeds)
    for regime in regimes:
        for row in regime.rows(ground, seeds):
            if row.series in ("guided", "imitation"):
                label, series = f"{row.label}: {regime.name}", f"{row.series}: {regime.name}"
                rows.append(replace(row, label=label, series=series))
    return Part(ground, tuple(rows))


def map_checks(found: list[Found]) -> list[Check]:
    """Where the guided run stands against each of its rivals: above them, but where all traces are right."""
    checks = []
    for one in found:
        here = [regime for regime in MAP if one.series(f"guided: {regime.name}")]
        checks += [map_check(one, regime) for regime in here]
    return checks


def map_check(one: Found, regime: Regime) -> Check:
    """Return the check of one regime on one ground."""
    (guided,) = one.series(f"guided: {regime.name}")
    rivals = [row.label for row in one.series(f"imitation: {regime.name}")]
    differences = {rival: one.above(guided.label, rival) for rival in rivals}
    text = f"{one.part.ground.name}, {regime.name}: g2rpo-a is "
    text += ", ".join(f"{figures(value)} against {rival.partition(':')[0]}" for rival, value in differences.items())
    above = all(value.above for value in differences.values())
    wanted = bool(regime.task)
    return Check(f"{text}; {'' if wanted else 'not '}entirely above all of them", above == wanted)


ARTICLE = "G²RPO-A (arXiv 2508.13023), as a press article gives it"
REPRODUCTION = "notes of an independent reproduction"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "adaptive",
        "An adaptive reveal length beats fixed and decayed ones",
        ARTICLE,
        "accuracy of every rule from starting lengths of 10, 30, 50 and 80 % of the solution",
        adaptive_parts, adaptive_checks, ("lines", "reveal_length"), "starting length, share of the solution",
    ),
    Claim(
        "beyond-imitation",
        "Guided GRPO adds to imitation of what it reveals",
        "what the method would have to show to be worth its cost",
        "guided GRPO against supervised training and RAFT on the same reveals, where traces are wrong or few",
        beyond_parts, beyond_checks, ("bars",),
    ),
    Claim(
        "map",
        "Imitation of the reveals is as good where traces are right and many, and only there",
        "what our prototype found where they are, and what it leaves open elsewhere",
        "guided GRPO, RAFT and supervised training on the same reveals, all at one rate, by what the traces are like",
        map_parts, map_checks, ("bars",),
    ),
    Claim(
        "imitation",
        "Guided GRPO beats supervised fine-tuning and rejection sampling on the same solutions",
        ARTICLE,
        "guided GRPO against supervised training on its very reveals and RAFT in its environment, with one budget",
        sparse_parts, imitation_checks, ("bars",),
    ),
    Claim(
        "sparse",
        "Rewards are too sparse for small models under plain GRPO",
        ARTICLE,
        "share of groups whose members differ in reward, and which groups those are, with and without guidance",
        sparse_parts, sparse_checks, ("groups_with_signal", "heat map"),
    ),
    Claim(
        "ratio",
        "Guiding every member does not help: the advantage's standard deviation collapses",
        REPRODUCTION,
        "standard deviation of the advantages and accuracy against the share of guided members, fixed length of 80 %",
        ratio_parts, ratio_checks, ("lines", "advantage_std"), "share of guided members",
    ),
    Claim(
        "raw-rule",
        "The paper's rule drifts, collapses or sticks at zero",
        "derived from the rule, see docs/guidance.md",
        "its faults in simulation; lengths and accuracy in real runs from four starts",
        raw_parts, raw_checks, ("lines", "reveal_length"), "starting length, share of the solution",
    ),
    Claim(
        "loss-mode",
        "Whether revealed tokens are in the loss decides",
        f"{REPRODUCTION}; the official code has them in",
        "both loss modes with every controller; what mends the masked one",
        loss_parts, loss_checks, ("bars",),
    ),
    Claim(
        "fixed",
        "Fixed guidance helps early and then equals GRPO; the best length depends on task and model",
        REPRODUCTION,
        "accuracy against a fixed length, by size of the model",
        fixed_parts, fixed_checks, ("lines", "accuracy"), "fixed length, share of the solution",
    ),
    Claim(
        "curriculum",
        "Curriculum matters; guidance makes hard problems useful",
        REPRODUCTION,
        "random order against easy first; hard problems in or out of training; all measured on all problems",
        curriculum_parts, curriculum_checks, ("bars",),
    ),
    Claim(
        "size",
        "Smaller models, and code, need more guidance",
        REPRODUCTION,
        "best ratio, best fixed length and gain over GRPO by size of the model",
        size_parts, size_checks, ("lines",), "fixed length, share of the solution",
    ),
)  # fmt: skip
"""All claims, the most important first: in this order their runs are done."""
