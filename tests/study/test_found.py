"""Found: rows, pairs, curves and times, computed by hand from made results."""

from functools import partial

import numpy as np
import pytest
from made import PROBLEMS, result, results

from g2rpo_env.study.found import Found, Part
from g2rpo_env.study.grounds import make_references, make_row

ACCURACY = {"base": 0.125, "g2rpo-a": 0.75, "sft": 0.5, "grpo 2e-05": 0.25, "grpo 5e-05": 0.375, "grpo 0.0001": 0.0}


@pytest.fixture
def part(tiny):
    rows = make_references(tiny, (0, 1))
    starts = (0.8, 0.1)
    line = [make_row(partial(tiny.make_guided, start=x), (0, 1), f"from {x}", "line", x) for x in starts]
    return Part(tiny, (*rows, *line))


@pytest.fixture
def found(part):
    return Found(part, results([part], lambda label: ACCURACY.get(label, 0.25)))


def test_values_and_the_best_rate_of_grpo(found):
    assert found.accuracy("base").value == pytest.approx(0.125 + 0.5 / PROBLEMS)  # the mean of both seeds
    assert found.grpo == "grpo 5e-05" and found.missing == 0
    assert found.above("g2rpo-a", "sft").value == pytest.approx(0.25) and found.above("g2rpo-a", "sft").above
    assert found.above("sft", "g2rpo-a").below
    both = found.above(["g2rpo-a", "sft"], "base")
    # four pairs, 0.625 0.625 0.375 0.375: the middle half is 0.625 and 0.375
    assert both.value == pytest.approx(0.5)


def test_a_part_without_references_has_nothing_to_compare_with(tiny, found):
    alone = Found(Part(tiny, found.part.rows[:1]), found.results)
    assert alone.grpo == "grpo 2e-05" and alone.sft == "sft" and alone.of("sft") == alone.of(alone.grpo) == {}
    assert alone.accuracy("base").value > 0


def test_a_line_is_in_the_order_of_its_places(found):
    assert [row.label for row in found.series("line")] == ["from 0.1", "from 0.8"]
    assert found.best(["base", "sft", "g2rpo-a"]) == "g2rpo-a"


def test_curves_and_half_times(found):
    assert (found.curve("sft", "reward") == 0.25).all() and np.isnan(found.curve("base", "nothing")).all()
    # The curve is (0, a/2, a, a): the last three points put the final accuracy at 5/6 a, half of it comes before a/2.
    budget = found.part.ground.budget
    assert found.share_curve("g2rpo-a", np.array([0.25, 0.5]))[1] == pytest.approx(0.75 + 0.5 / PROBLEMS)
    assert 0 < found.half_time("g2rpo-a") < budget / 4
    assert found.half_time("g2rpo-a") == pytest.approx(budget // 4 * 5 / 6, rel=0.01)


def test_what_is_missing_is_counted_and_left_out(part):
    made = results([part], lambda label: ACCURACY.get(label, 0.25))
    del made[part.rows[0].runs[0].key], made[part.rows[1].runs[1].key]
    found = Found(part, made)
    assert found.missing == 2 and list(found.of("base")) == [1] and list(found.of("g2rpo-a")) == [0]
    assert np.isnan(found.above("g2rpo-a", "base").value)  # no seed has both
    assert found.above("sft", "g2rpo-a").value == pytest.approx(-0.25)
    assert np.isnan(Found(part, {}).accuracy("base").value) and Found(part, {}).grpo.startswith("grpo")


def test_means_of_numbers(found, part):
    run = part.rows[0].runs[0]
    found.results[run.key] = result(run, 0.5, updates=0)
    assert found.mean("base", "updates") == 20
    assert np.isnan(found.mean("base", "no such number"))


def test_supervised_training_at_the_rate_that_did_best(tiny):
    rows = [make_row(partial(tiny.make_run), (0, 1), "base"), *make_references(tiny, (0, 1))]
    assert Found(Part(tiny, tuple(rows)), {}).sft == "sft"
    rows = [make_row(partial(tiny.make_plain, multiple=x), (0, 1), f"sft {x:g}") for x in (0.1, 0.2)]
    part = Part(tiny, tuple(rows))
    assert Found(part, results([part], lambda label: float(label[4:]))).sft == "sft 0.2"
