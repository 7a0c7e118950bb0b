"""Who is guided: the number follows the ratio, the choice the object, and nothing the lane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from g2rpo_env import (
    FirstMembers,
    Levels,
    RandomMembers,
    TokenVectorEnv,
    VectorGuidanceWrapper,
    WholeGroups,
    even_levels,
)
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.reveal.assignment import WHO, Assignment, count_guided, resolve_assignment


def group(who: Assignment, size: int, ratio: float, number: int = 0, root: int = 0) -> list[float]:
    return [who.share(root, number, member, size, ratio) for member in range(size)]


@given(
    name=st.sampled_from(["first", "random"]),
    size=st.integers(2, 12),
    ratio=st.floats(0, 1),
    number=st.integers(0, 1000),
)
def test_the_ratio_says_how_many(name: str, size: int, ratio: float, number: int) -> None:
    shares = group(WHO[name], size, ratio, number)
    assert set(shares) <= {0.0, 1.0} and sum(shares) == count_guided(ratio, size)


def test_the_first_members_are_the_first() -> None:
    assert group(FirstMembers(), 5, 0.5) == [1, 1, 1, 0, 0]  # ceil(2.5)


def test_random_members_differ_between_groups_and_are_all_as_likely() -> None:
    drawn = np.array([group(RandomMembers(), 4, 0.5, number) for number in range(400)])
    assert (drawn == np.array([group(RandomMembers(), 4, 0.5, number) for number in range(400)])).all()
    assert len({tuple(row) for row in drawn.tolist()}) == 6  # all pairs out of four
    assert drawn.mean(axis=0) == pytest.approx([0.5] * 4, abs=0.1)


def test_levels_take_turns_among_the_guided() -> None:
    assert group(Levels((0, 1 / 3, 2 / 3)), 6, 1.0) == [0, 1 / 3, 2 / 3] * 2
    assert group(Levels((1, 0.5)), 8, 0.5) == [1, 0.5, 1, 0.5, 0, 0, 0, 0]
    assert sorted(group(Levels((1, 0.5), random=True), 8, 0.5)) == [0, 0, 0, 0, 0.5, 0.5, 1, 1]


def test_groups_of_one_take_the_levels_in_turn() -> None:
    levels = Levels((1, 0.5))
    assert [levels.share(0, number, 0, 1, 1.0) for number in range(4)] == [1, 0.5, 1, 0.5]
    assert {levels.share(0, number, 0, 1, 0.5) for number in range(40)} == {0, 0.5, 1}


def test_even_levels() -> None:
    assert even_levels(1).shares == (1.0,) and even_levels(2).shares == (1.0, 0.5)
    with pytest.raises(ConfigurationError, match="count=0"):
        even_levels(0)


def test_whole_groups_are_guided_or_not() -> None:
    shares = [group(WholeGroups(), 4, 0.25, number) for number in range(400)]
    assert all(len(set(one)) == 1 for one in shares) and np.mean(shares) == pytest.approx(0.25, abs=0.07)
    assert set(np.ravel([group(WholeGroups(), 4, ratio, n) for ratio in (0.0, 1.0) for n in range(9)])) == {0, 1}
    assert not any(group(WholeGroups(), 4, 0.0, n)[0] for n in range(9))
    drawn = np.array(reveals("groups", 0.5, lanes=60)).reshape(10, 6)
    assert drawn.tolist()[:2] == np.array(reveals("groups", 0.5)).reshape(2, 6).tolist()
    assert {len(set(row)) for row in drawn.tolist()} == {1} and set(drawn.ravel()) == {0, 9}


def test_who_guides_everybody_at_ratio_one() -> None:
    assert WholeGroups().guides_all
    assert FirstMembers().guides_all and RandomMembers().guides_all and Levels((1, 0.5)).guides_all
    assert not Levels((0, 0.5)).guides_all


def test_assignments_are_found_by_name() -> None:
    assert resolve_assignment("random") == RandomMembers() and resolve_assignment(Levels((1,))) == Levels((1,))
    for wrong in ("last", 3):
        with pytest.raises(ConfigurationError, match=f"who={wrong!r} must be one of first, random"):
            resolve_assignment(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("shares", [(), (0, 0), (-0.1, 1), (0.5, 1.1)])
def test_bad_shares_are_named(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigurationError, match="shares="):
        Levels(shares)


# -- through the environment ------------------------------------------------------------------------------------------


def reveals(who: Assignment | str, ratio: float, lanes: int = 12, size: int = 6, length: float = 9) -> list[int]:
    envs = TokenVectorEnv(Addition(digits=2), lanes, group_size=size)
    return VectorGuidanceWrapper(envs, length, ratio=ratio, who=who).reset(seed=0)[1]["reveal_length"].tolist()


def test_the_environment_executes_levels() -> None:
    assert reveals(Levels((0, 1 / 3, 2 / 3)), 1.0) == [0, 3, 6] * 4
    assert reveals(Levels((1, 0.5)), 0.5) == [9, 5, 9, 0, 0, 0] * 2  # 4.5 is rounded half up


def test_the_environment_executes_a_random_choice_whatever_the_number_of_lanes() -> None:
    many = reveals("random", 0.5, lanes=24)
    assert many[:12] == reveals("random", 0.5) and [sum(many[i : i + 6]) for i in (0, 6, 12, 18)] == [27] * 4
    assert many != reveals("first", 0.5, lanes=24)


def test_the_wrapper_remembers_who() -> None:
    envs = VectorGuidanceWrapper(TokenVectorEnv(Addition(digits=2), 4, group_size=4), 3, who="random")
    assert envs.who == RandomMembers() and envs.ratio == 0.25
