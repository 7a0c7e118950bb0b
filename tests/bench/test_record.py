"""bench record: its rows, and that the share follows from them."""

import pytest

from g2rpo_env.bench.record import UPDATES, bench_record


def test_the_share_is_that_of_groups_rollouts_and_facts_over_updates() -> None:
    rows = bench_record(1)
    update, groups, rollouts, facts, share = (row.value for row in rows)
    assert [row.unit for row in rows] == ["ms"] * 4 + ["%"]
    assert share == pytest.approx(100 * (UPDATES * groups + 5 * rollouts + facts) / (UPDATES * update))
