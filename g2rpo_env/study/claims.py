"""Claims of the paper, its readers and its reproduction, each with the runs that try it and the checks of results.

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
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.experiments.statistics import Estimate
from g2rpo_env.report.tables import interval_text
from g2rpo_env.reveal.assignment import WholeGroups
from g2rpo_env.study.contest import RIVALS as CONTEST_RIVALS
from g2rpo_env.study.contest import (
    SEEDS,
    TRIAL_SEEDS,
    find_closest,
    find_winners,
    make_contest,
    make_contest_trials,
)
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
    Scale,
    TableRow,
    make_references,
    make_row,
    make_untaught_rows,
)
from g2rpo_env.study.rates import RATES
from g2rpo_env.study.recipes import RIVALS, TRIAL_SEED, choose_rates, make_parts, make_trial_parts
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
        name: Its name on the command line.
        says: The claim, as its source makes it.
        source: Who says so.
        question: The measurement.
        parts: Scale -> parts.
        checks: Results of the parts -> checks.
        plots: Names of the panels of its picture, keys of :data:`g2rpo_env.study.pictures.PANELS`; none: no picture.
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

    def make_runs(self, scale: Scale) -> list[Run]:
        """Return the runs, one seed after the other, so that a study that is cut off has whole seeds."""
        rows = [row for part in self.parts(scale) for row in part.rows]
        most = max((len(row.runs) for row in rows), default=0)
        return [row.runs[number] for number in range(most) for row in rows if number < len(row.runs)]

    def read(self, found: list[Found]) -> tuple[str, list[Check]]:
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


def format_estimate(estimate: Estimate) -> str:
    """Return a difference with its interval."""
    return f"{estimate.value:+.2f} {interval_text(estimate.low, estimate.high)}"


def drop_repeated(rows: Sequence[TableRow]) -> tuple[TableRow, ...]:
    """Return rows of distinct labels, the last one of each label where the first one stood."""
    return tuple({row.label: row for row in rows}.values())


# -- rewards are sparse -----------------------------------------------------------------------------------------------


def make_sparse_parts(scale: Scale) -> list[Part]:
    """The references alone: plain GRPO beside the guided run, from the same bases."""
    return [Part(ground, drop_repeated(make_references(ground, scale.seeds))) for ground in scale.get_grounds()]


def check_sparse(found: list[Found]) -> list[Check]:
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


def make_ratio_row(ground: Ground, seeds: Sequence[int], ratio: float, series: str) -> TableRow:
    """Return the row of a share of guided members, fixed length of 80 %."""
    make = partial(ground.make_guided, rule="fixed", start=RATIO_START, guidance={"ratio": ratio})
    return make_row(make, seeds, f"fixed 80 %, ratio {ratio:g}", series, ratio)


def make_ratio_parts(scale: Scale) -> list[Part]:
    """Fixed guidance of 80 % at every ratio; ratio 0 is plain GRPO."""
    parts = []
    for ground in scale.get_grounds()[:1]:
        rows = [make_ratio_row(ground, scale.seeds, ratio, "fixed 80 %") for ratio in RATIOS]
        parts.append(Part(ground, drop_repeated([*make_references(ground, scale.seeds), *rows])))
    return parts


def check_ratio(found: list[Found]) -> list[Check]:
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
        text = f"{one.part.ground.name}: ratio 1 is {format_estimate(difference)} against {best}, entirely below"
        checks.append(Check(text, difference.below))
    return checks


# -- fixed lengths ----------------------------------------------------------------------------------------------------

FIXED = (*STARTS, 1.0)
OTHER_SIZES = (0.3, 0.8, 1.0)
"""Fixed lengths that the other sizes and families are tried with."""


def get_fixed_label(length: float) -> str:
    """Return the label of a fixed length."""
    return f"fixed {length:.0%}"


def make_fixed_row(ground: Ground, seeds: Sequence[int], length: float) -> TableRow:
    """Return the row of a fixed length."""
    return make_row(
        partial(ground.make_guided, rule="fixed", start=length), seeds, get_fixed_label(length), "fixed", length
    )


def make_fixed_parts(scale: Scale, further: Sequence[Ground] = ()) -> list[Part]:
    """Fixed lengths by size of the model on the main family, and on the other families."""
    main, grounds = scale.get_grounds()[0], [*scale.get_sizes(), *scale.get_grounds()[1:], *further]
    parts = []
    for ground in grounds:
        same = (ground.hidden_size, ground.layers, ground.env) == (main.hidden_size, main.layers, main.env)
        lengths = FIXED if same else OTHER_SIZES
        rows = [make_fixed_row(ground, scale.seeds, length) for length in lengths]
        shown = (
            make_references(ground, scale.seeds)
            if same
            else make_references(ground, scale.seeds, grid=(1.0,), few=True)
        )
        parts.append(Part(ground, drop_repeated([*shown, *rows])))
    return parts


EARLY = np.array([0.25])


def check_fixed(found: list[Found]) -> list[Check]:
    """Early and late differences to GRPO, and whether the best length moves."""
    checks, bests = [], {}
    for one in found:
        rows = [row.label for row in one.series("fixed")]
        best = bests[one.part.ground.name] = one.best(rows)
        early, plain = one.share_curve(best, EARLY)[0], one.share_curve(one.grpo, EARLY)[0]
        difference, name = one.above(best, one.grpo), one.part.ground.name
        text = f"{name}: after a quarter of the budget the best fixed length ({best}) has {early:.2f} on validation "
        checks.append(Check(text + f"problems, above GRPO's {plain:.2f}", bool(early > plain)))
        text = f"{name}: at the end it is {format_estimate(difference)} against GRPO, not above it any more"
        checks.append(Check(text, not difference.above))
    if len(bests) > 1:
        text = "the best fixed length is not the same everywhere: " + ", ".join(f"{n}: {b}" for n, b in bests.items())
        checks.append(Check(text, len(set(bests.values())) > 1))
    return checks


# -- the headline -----------------------------------------------------------------------------------------------------

FIVE = {"fixed": "fixed", "linear": "linear decay", "adaptive": "bounded", "target": "target success",
        "self-tuning": "self-tuning"}  # fmt: skip
"""Rules of the headline -> their names in tables."""
BESIDE = {"raw": "raw rule"}
RULED = {**FIVE, **BESIDE}
MORE = {"cosine": "cosine decay", "official": "official cadence"}
"""Further rules of the full form."""


def get_rule_label(name: str, start: float) -> str:
    """Return the label of a rule from a start."""
    return f"{name} {start:.0%}"


def make_rule_row(ground: Ground, seeds: Sequence[int], rule: str, name: str, start: float) -> TableRow:
    """Return the row of a rule, a key of RULES, from a start."""
    return make_row(
        partial(ground.make_guided, rule=rule, start=start), seeds, get_rule_label(name, start), name, start
    )


def make_adaptive_parts(scale: Scale) -> list[Part]:
    """Every rule from four starts; the whole solution as a fixed length beside them."""
    rules = {**RULED, **(MORE if scale.name == "full" else {})}
    parts = []
    for number, ground in enumerate(scale.get_grounds()):
        few = {"fixed": "fixed", "self-tuning": "self-tuning"}  # those that the checks need, on further families
        mine = rules if number == 0 or scale.name == "full" else few
        order = sorted(mine, key=lambda rule: rule not in few)
        rows = [make_rule_row(ground, scale.seeds, rule, mine[rule], start) for rule in order for start in STARTS]
        rows.append(replace(make_rule_row(ground, scale.seeds, "fixed", "fixed", 1.0), series="", x=None))
        shown = make_references(ground, scale.seeds, few=mine is few)
        parts.append(Part(ground, drop_repeated([*shown, *rows])))
    return parts


def check_adaptive(found: list[Found]) -> list[Check]:
    """Worst start, mean over the starts, time to half, and difference to GRPO."""
    checks = []
    for one in found:
        name = one.part.ground.name
        fixed, ours = ([row.label for row in one.series(series)] for series in ("fixed", "self-tuning"))
        values = {label: one.accuracy(label).value for label in (*fixed, *ours)}
        best = one.best([*fixed, get_rule_label("fixed", 1.0)])
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
        text = f"{name}: over the four starts it is {format_estimate(difference)} against GRPO at its best rate, "
        text += "entirely above"
        checks.append(Check(text, difference.above))
    return checks


# -- size of the model, math and code ---------------------------------------------------------------------------------

SIZE_RATIOS = (0.25, 0.75)


def make_size_parts(scale: Scale) -> list[Part]:
    """Fixed lengths and ratios by size of the model; other families with the lengths alone."""
    parts = make_fixed_parts(scale, scale.get_code_grounds())
    for number, _ in enumerate(scale.get_sizes()):
        ground = parts[number].ground
        rows = [make_ratio_row(ground, scale.seeds, ratio, "fixed 80 %, by ratio") for ratio in SIZE_RATIOS]
        parts[number] = Part(ground, drop_repeated([*parts[number].rows, *rows]))
    return parts


def check_size(found: list[Found]) -> list[Check]:
    """Gain of guidance by size, and the best length and ratio by size."""
    sizes = [one for one in found if one.series("fixed 80 %, by ratio")]
    others = found[len(sizes) :]
    gains, lengths, ratios = [], [], []
    for one in sizes:
        best = one.best([row.label for row in one.series("fixed")])
        gains.append(one.above(best, one.grpo).value)
        lengths.append(one.row(best).x or 0.0)
        half = get_fixed_label(RATIO_START)
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


def make_curriculum_ground(scale: Scale) -> Ground:
    """Return the main ground with sums of two to four digits: hard ones are those of four."""
    ground = scale.get_grounds()[0]
    digits = (1, 2) if scale.small else HARD_DIGITS
    family = ground.family
    name = f"{ground.name}, {digits[0]} to {digits[1]} digits"
    # Solutions differ in length, so that a share of each is revealed and not a number of tokens.
    return ground.with_task(name, {**family.task, "digits": digits}, unit="fraction", longest=1.0, shortest=0.9)


def make_curriculum_parts(scale: Scale) -> list[Part]:
    """Random order against a ramp; training with and without the hard problems. All are measured on all problems."""
    ground = make_curriculum_ground(scale)
    low, high = ground.family.task["digits"]
    all_task = dict(ground.family.task)
    easy = {**all_task, "digits": (low, high - 1)}
    span = {"candidates": 5, "span": 8 * ground.updates}
    rows = []
    makes: dict[str, Callable[..., Run]] = {"g2rpo-a": ground.make_guided, "grpo": ground.make_plain}
    for who, make in makes.items():
        rows.append(make_row(make, scale.seeds, f"{who}, random"))
        rows.append(make_row(partial(make, order=span), scale.seeds, f"{who}, curriculum"))
        rows.append(make_row(partial(make, task=easy, measured=all_task), scale.seeds, f"{who}, no hard ones"))
    return [Part(ground, drop_repeated([*make_references(ground, scale.seeds, grid=(1.0,), few=True), *rows]))]


def check_curriculum(found: list[Found]) -> list[Check]:
    """Order, and hard problems, with guidance and without."""
    (one,) = found
    order = one.above("g2rpo-a, curriculum", "g2rpo-a, random")
    hard = one.above("g2rpo-a, random", "g2rpo-a, no hard ones")
    plain = one.above("grpo, random", "grpo, no hard ones")
    return [
        Check(
            f"with guidance the curriculum is {format_estimate(order)} against random order, entirely above",
            order.above,
        ),
        Check(
            f"with guidance hard problems among those trained on add {format_estimate(hard)}, entirely above 0",
            hard.above,
        ),
        Check(f"without guidance they add less: {format_estimate(plain)}", plain.value < hard.value),
    ]


# -- revealed tokens in the loss --------------------------------------------------------------------------------------


def make_loss_parts(scale: Scale) -> list[Part]:
    """Every controller in both loss modes; the masked one also with other baselines, rates and ratios."""
    ground = scale.get_grounds()[0]

    def row(label: str, **options: Any) -> TableRow:
        return make_row(partial(ground.make_guided, **options), scale.seeds, label)

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
    return [Part(ground, drop_repeated([*make_references(ground, scale.seeds), *rows]))]


def check_loss(found: list[Found]) -> list[Check]:
    """In the loss against masked, per controller, and ways to mend the masked mode."""
    (one,) = found
    checks = []
    for name in RULED.values():
        difference = one.above(f"{name}, in the loss", f"{name}, masked")
        text = f"{name}: in the loss is {format_estimate(difference)} against masked, entirely above"
        checks.append(Check(text, difference.above))
    mended = [label for label in one.labels if label.startswith("self-tuning, masked, ")]
    best = one.best(mended)
    difference = one.above(best, "self-tuning, masked")
    text = (
        f"masked, {best.removeprefix('self-tuning, masked, ')} is {format_estimate(difference)} against masked as it is"
    )
    checks.append(Check(text + ", entirely above", difference.above))
    return checks


# -- imitation --------------------------------------------------------------------------------------------------------


def check_imitation(found: list[Found]) -> list[Check]:
    """Guided GRPO against supervised training and RAFT, and the share of the gain that imitation explains."""
    checks = []
    for one in found:
        name, raft = one.part.ground.name, one.best([RAFT, RAFT_REVEALED])
        for other in (one.grpo, SFT, raft):
            difference = one.above(GUIDED, other)
            text = f"{name}: g2rpo-a is {format_estimate(difference)} against {other}, entirely above"
            checks.append(Check(text, difference.above))
        base = one.accuracy(BASE).value
        share = (one.accuracy(SFT).value - base) / max(one.accuracy(GUIDED).value - base, 1e-9)
        text = f"{name}: imitation of the revealed tokens alone reaches {share:.0%} of its gain over the base"
        checks.append(Check(text + ", less than half", share < 0.5))
    return checks


# -- the raw rule -----------------------------------------------------------------------------------------------------


def make_raw_parts(scale: Scale) -> list[Part]:
    """The raw rule from four starts, our default beside it; in the full form the official cadence too."""
    ground = scale.get_grounds()[0]
    official = {"official": MORE["official"]} if scale.name == "full" else {}
    rules = {**BESIDE, **official, "self-tuning": "self-tuning"}
    rows = [make_rule_row(ground, scale.seeds, rule, name, start) for rule, name in rules.items() for start in STARTS]
    return [Part(ground, drop_repeated([*make_references(ground, scale.seeds), *rows]))]


def check_raw(found: list[Found]) -> list[Check]:
    """The faults in simulation, and where real runs end."""
    from g2rpo_env.study.faults import FAULTS

    checks = [Check(fault.describe(), fault.holds()) for fault in FAULTS]
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


def make_beyond_parts(scale: Scale) -> list[Part]:
    """One part per regime."""
    ground = scale.get_grounds()[0]
    return [Part(regime.get_ground(ground), regime.make_rows(ground, scale.seeds)) for regime in REGIMES]


def check_beyond(found: list[Found]) -> list[Check]:
    """Whether the best guided row is entirely above supervised training and above every imitation, and where.

    Each side is taken at the learning rate that did best on the test problems.
    """
    checks, won = [], 0
    for one in found:
        rivals = [row.label for row in one.part.rows if row.series == "imitation"]
        ours, name = one.best([row.label for row in one.part.rows if row.series == "guided"]), one.part.ground.name
        taught = one.above(ours, one.sft)
        text = f"{name}: {ours} is {format_estimate(taught)} against {one.sft}, supervised training at its best rate, "
        checks.append(Check(text + "entirely above", taught.above))
        differences = {rival: one.above(ours, rival) for rival in rivals}
        hardest = min(differences, key=lambda rival: differences[rival].value)
        difference = differences[hardest]
        holds = all(difference.above for difference in differences.values())
        won += holds
        text = (
            f"{name}: it is {format_estimate(difference)} against {hardest}, the hardest of {len(rivals)} imitations, "
        )
        checks.append(Check(text + f"{difference.standing}; entirely above all of them", holds))
    text = f"regimes in which guided GRPO is entirely above every imitation: {won} of {len(found)}, at least two"
    return [*checks, Check(text, won >= 2)]


# -- the map ----------------------------------------------------------------------------------------------------------


def make_map_parts(scale: Scale) -> list[Part]:
    """One part for all regimes of the map, a few rows each, since they have one base; one for many right answers."""
    main = make_map_part(scale.get_grounds()[0], MAP, scale.seeds)
    return [main, *(make_map_part(ground, MAP[:1], scale.seeds) for ground in scale.get_many_answer_grounds())]


def make_map_part(ground: Ground, regimes: Sequence[Regime], seeds: Sequence[int]) -> Part:
    """Return the part of the map that lies on a ground."""
    rows = make_untaught_rows(ground, seeds)
    for regime in regimes:
        for row in regime.make_rows(ground, seeds):
            if row.series in ("guided", "imitation"):
                label, series = f"{row.label}: {regime.name}", f"{row.series}: {regime.name}"
                rows.append(replace(row, label=label, series=series))
    return Part(ground, tuple(rows))


def check_map(found: list[Found]) -> list[Check]:
    """One check per regime: guided GRPO is above all of its rivals, except where all traces are right."""
    checks = []
    for one in found:
        here = [regime for regime in MAP if one.series(f"guided: {regime.name}")]
        checks += [check_map_regime(one, regime) for regime in here]
    return checks


def check_map_regime(one: Found, regime: Regime) -> Check:
    """Return the check of one regime on one ground."""
    (guided,) = one.series(f"guided: {regime.name}")
    rivals = [row.label for row in one.series(f"imitation: {regime.name}")]
    differences = {rival: one.above(guided.label, rival) for rival in rivals}
    text = f"{one.part.ground.name}, {regime.name}: g2rpo-a is "
    text += ", ".join(
        f"{format_estimate(value)} against {rival.partition(':')[0]}" for rival, value in differences.items()
    )
    above = all(value.above for value in differences.values())
    wanted = bool(regime.task)
    return Check(f"{text}; {'' if wanted else 'not '}entirely above all of them", above == wanted)


def check_rates(found: list[Found]) -> list[Check]:
    """One check per part: every row has a rate, and it is the one that the table of recipes uses."""
    checks = []
    for one in found:
        chosen, used = choose_rates(one), RATES.get(one.part.ground.name, {})
        others = [label for label, rate in chosen.items() if used.get(label) != rate]
        text = (
            f"{one.part.ground.name}: the table uses the best rate of {len(chosen) - len(others)} of {len(chosen)} rows"
        )
        checks.append(Check(text, not others))
    return checks


def check_contest(found: list[Found]) -> list[Check]:
    """One check for the question, and one per ground for the row that came closest."""
    winners = find_winners(found)
    checks = [
        Check(f"entirely above {', '.join(CONTEST_RIVALS)} everywhere: {', '.join(winners) or 'none'}", bool(winners))
    ]
    for one in found:
        label = find_closest(one)
        above = {rival: one.above(label, rival) for rival in CONTEST_RIVALS}
        text = ", ".join(f"{format_estimate(value)} against {rival}" for rival, value in above.items())
        checks.append(Check(f"{one.part.ground.name}: {label} is {text}", all(value.above for value in above.values())))
    return checks


def check_recipes(found: list[Found]) -> list[Check]:
    """One check per part: how many recipes end above the base, and in the guided block how many above all rivals."""
    checks = []
    for one in found:
        labels = [label for label in one.labels if label != BASE]
        better = [label for label in labels if one.above(label, BASE).above]
        text = f"{one.part.ground.name}: {len(better)} of {len(labels)} rows are entirely above the base"
        checks.append(Check(text, bool(better)))
        rivals = [label for label in RIVALS if label in labels]
        if len(rivals) == len(RIVALS):
            rest = [label for label in labels if label not in rivals]
            best = [label for label in rest if all(one.above(label, rival).above for rival in rivals)]
            named = ", ".join(best) or "none"
            checks.append(Check(f"{one.part.ground.name}: entirely above {', '.join(rivals)}: {named}", bool(best)))
    return checks


ARTICLE = "G²RPO-A (arXiv 2508.13023), as a press article gives it"
REPRODUCTION = "notes of an independent reproduction"

CLAIMS: tuple[Claim, ...] = (
    Claim(
        "adaptive",
        "An adaptive reveal length beats fixed and decayed ones",
        ARTICLE,
        "accuracy of every rule from starting lengths of 10, 30, 50 and 80 % of the solution",
        make_adaptive_parts, check_adaptive, ("lines", "reveal_length"), "starting length, share of the solution",
    ),
    Claim(
        "beyond-imitation",
        "Guided GRPO adds to imitation of what it reveals",
        "what the method would have to show to be worth its cost",
        "guided GRPO against supervised training and RAFT on the same reveals, where traces are wrong or few",
        make_beyond_parts, check_beyond, ("bars",),
    ),
    Claim(
        "map",
        "Imitation of the reveals is as good where traces are right and many, and only there",
        "seen in pilots of this library where they are, and untried elsewhere",
        "guided GRPO, RAFT and supervised training on the same reveals, all at one rate, by what the traces are like",
        make_map_parts, check_map, ("bars",),
    ),
    Claim(
        "imitation",
        "Guided GRPO beats supervised fine-tuning and rejection sampling on the same solutions",
        ARTICLE,
        "guided GRPO against supervised training on its very reveals and RAFT in its environment, with one budget",
        make_sparse_parts, check_imitation, ("bars",),
    ),
    Claim(
        "sparse",
        "Rewards are too sparse for small models under plain GRPO",
        ARTICLE,
        "share of groups whose members differ in reward, and which groups those are, with and without guidance",
        make_sparse_parts, check_sparse, ("groups_with_signal", "heat map"),
    ),
    Claim(
        "ratio",
        "Guiding every member does not help: the advantage's standard deviation collapses",
        REPRODUCTION,
        "standard deviation of the advantages and accuracy against the share of guided members, fixed length of 80 %",
        make_ratio_parts, check_ratio, ("lines", "advantage_std"), "share of guided members",
    ),
    Claim(
        "raw-rule",
        "The paper's rule drifts, collapses or sticks at zero",
        "derived from the rule, see docs/guidance.md",
        "its faults in simulation; lengths and accuracy in real runs from four starts",
        make_raw_parts, check_raw, ("lines", "reveal_length"), "starting length, share of the solution",
    ),
    Claim(
        "loss-mode",
        "Whether revealed tokens are in the loss decides",
        f"{REPRODUCTION}; the official code has them in",
        "both loss modes with every controller; what mends the masked one",
        make_loss_parts, check_loss, ("bars",),
    ),
    Claim(
        "fixed",
        "Fixed guidance helps early and then equals GRPO; the best length depends on task and model",
        REPRODUCTION,
        "accuracy against a fixed length, by size of the model",
        make_fixed_parts, check_fixed, ("lines", "accuracy"), "fixed length, share of the solution",
    ),
    Claim(
        "curriculum",
        "Curriculum matters; guidance makes hard problems useful",
        REPRODUCTION,
        "random order against easy first; hard problems in or out of training; all measured on all problems",
        make_curriculum_parts, check_curriculum, ("bars",),
    ),
    Claim(
        "size",
        "Smaller models, and code, need more guidance",
        REPRODUCTION,
        "best ratio, best fixed length and gain over GRPO by size of the model",
        make_size_parts, check_size, ("lines",), "fixed length, share of the solution",
    ),
)  # fmt: skip
"""All claims, the most important first: in this order their runs are done."""


TABLES: tuple[Claim, ...] = (
    Claim(
        "contest-rates",
        "Every contender has a learning rate of its own",
        "the recipes of this library",
        f"accuracy of every row of contest at each rate, on seeds {TRIAL_SEEDS[0]} and {TRIAL_SEEDS[1]}",
        make_contest_trials, check_rates, (),
    ),
    Claim(
        "contest",
        "A guided recipe is better than supervised training and RAFT on the same reveals, and than plain GRPO",
        "what guidance would have to show where worked solutions are right and the verifier is exact",
        f"imitation of right answers with a comparison of sampled tokens, in eight forms, on seeds {SEEDS[0]} to "
        f"{SEEDS[-1]}, at the rates that contest-rates chose",
        make_contest, check_contest, (),
    ),
    Claim(
        "recipe-rates",
        "Every recipe has a learning rate of its own",
        "the recipes of this library",
        f"accuracy of every recipe at each rate that is tried, on seed {TRIAL_SEED}, which is in no other table",
        make_trial_parts, check_rates, (),
    ),
    Claim(
        "recipes",
        "Every recipe runs, and learns or collapses, at this scale",
        "the recipes of this library",
        "accuracy of every recipe at the rate that recipe-rates chose, plain with one and with four gradient steps per "
        "rollout, and every recipe with a loss per token in its three guided forms under an exact verifier",
        make_parts, check_recipes, (),
    ),
)  # fmt: skip
"""Tables that are no claims of a paper; ``all`` leaves them out."""


def find_claims(names: str) -> list[Claim]:
    """Return the claims of a list of names, separated by commas, or ``all``.

    Raises:
        ConfigurationError: there is no claim of one of the names.
    """
    known = {claim.name: claim for claim in (*CLAIMS, *TABLES)}
    if names == "all":
        return list(CLAIMS)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"name={name!r} must be all, list, or one of {', '.join(known)}")
    return [known[name] for name in wanted]
