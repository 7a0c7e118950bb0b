"""Faults: the raw rule shows all of them, and they are faults of the rule, not of the measurement."""

import pytest

from g2rpo_env.controllers.rules import AdaptiveGuidance
from g2rpo_env.study.faults import (
    FAULTS,
    START,
    WHOLE,
    Fault,
    get_lengths,
    make_default,
    make_raw,
    make_unbounded,
    measure_drift,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_raw_rule_has_the_fault(fault):
    assert fault.holds(), fault.describe()
    assert fault.describe().startswith(f"simulation, {fault.name}: ")


def test_what_has_no_fault_does_not_hold():
    assert not Fault("none", lambda: (1.0, 1.0), "{} {}", FAULTS[0].is_shown).holds()


def test_lengths_by_hand():
    """l * mean(0.2, 0.2) / 0.4 = 20, then 20 * mean(0.2, 0.4) / 0.3 = 20."""
    assert get_lengths(make_raw(), [0.2, 0.2, 0.4, 0.3]) == pytest.approx([40.0, 40.0, 20.0, 20.0])
    assert make_raw().length == make_default().length == START < WHOLE


def test_a_window_of_one_does_not_drift():
    """l r telescopes: the length is the first product over the last success, whatever came between."""
    one = measure_drift(lambda: AdaptiveGuidance(length=START, window=1, max_length=1e9, max_factor=None))
    assert 0.8 < one < 1.25 < measure_drift(make_unbounded(None))
