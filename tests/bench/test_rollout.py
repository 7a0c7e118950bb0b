"""bench rollout: both sides write the given lengths, compute the same, take turns, and rows name what they measured."""

import numpy as np
import pytest

from g2rpo_env.bench import rollout
from g2rpo_env.bench.benchmarks import BENCHMARKS
from g2rpo_env.bench.rollout import Case, count_fewest_steps, draw_lengths

LENGTHS = np.array([3, 9, 4, 4, 16, 2, 5, 7, 3, 3, 3, 3, 2, 2, 2, 12])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "THREADS", 1)
    monkeypatch.setattr(rollout, "get_compiled_side", lambda case: {})  # compiling takes longer than all tests here


@pytest.fixture(scope="module")
def case() -> Case:
    return Case(LENGTHS, lanes=8)


def test_lengths_are_those_of_the_title() -> None:
    lengths = draw_lengths()
    assert len(lengths) == 256 and lengths.min() == 16 and lengths.max() == 128
    assert 25 < lengths.mean() < 40  # geometric with mean 30, its short ones raised to 16 and its long ones cut


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("refill", [True, False])
def test_every_episode_has_its_length_however_it_is_written(case: Case, own: bool, refill: bool) -> None:
    case.policy.own_decoder = own
    groups = rollout.collect(case.policy, case.envs, seed=0, groups=2, refill=refill)
    written = {(e.group, e.member): int(e.sampled_T.sum()) for e in groups.episodes}
    assert [written[i // 8, i % 8] for i in range(16)] == LENGTHS.tolist()


def test_both_sides_write_as_many_tokens(case: Case) -> None:
    rollout.check_same_computation(case)
    assert case.run_theirs() == LENGTHS.sum()


def test_a_path_with_other_logits_is_found(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    right = rollout.Decoder.advance
    monkeypatch.setattr(rollout.Decoder, "advance", lambda *args: 2 * right(*args))
    with pytest.raises(AssertionError, match="Decoder"):
        rollout.check_same_computation(case)


def test_the_bound_counts_steps_by_hand(case: Case) -> None:
    # Batches of 8: max(3 9 4 4 16 2 5 7) + max(3 3 3 3 2 2 2 12) = 28 steps. Refill, each to the lane that is free
    # first, from 3 9 4 4 16 2 5 7: 2+3 on lane 5, 3+3 on lane 0, 4+3 and 4+3 on lanes 2 and 3, 5+2 on lanes 5 and 6,
    # 6+2 on lane 0, 7+12 on the next: 19 steps.
    waves = int(LENGTHS.reshape(2, 8).max(1).sum())
    assert waves == 28 and count_fewest_steps(case) == 19


def test_rows_hold_ratios_to_generate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "LANES", 8)
    monkeypatch.setattr(rollout, "EQUAL", 4)
    monkeypatch.setattr(rollout, "draw_lengths", lambda: LENGTHS)
    rows = {row.name: row for row in BENCHMARKS["rollout"](1)}
    for title in ("8 lanes, 4 tokens each", "16 episodes on 8 lanes, lengths spread"):
        for path in ("any-model path", "own path"):
            ratio = rows[f"{title}: {path}"].value / rows[f"{title}: generate"].value
            assert rows[f"{title}: {path} / generate"].value == pytest.approx(ratio)
    assert 0 < rows["environment / rollout, own path"].value < 1
