"""Rates: for parts, rows and learning rates of the tables of recipes."""

from g2rpo_env.study.contest import make_contest_trials
from g2rpo_env.study.grounds import FORMS
from g2rpo_env.study.rates import RATES
from g2rpo_env.study.recipes import make_trial_parts


def test_rates_are_of_rows_that_there_are() -> None:
    parts = [*make_trial_parts(FORMS["default"]), *make_contest_trials(FORMS["default"])]
    tried = {part.ground.name: {(row.series, row.x) for row in part.rows} for part in parts}
    for ground, rates in RATES.items():
        assert set(rates.items()) <= tried[ground]
