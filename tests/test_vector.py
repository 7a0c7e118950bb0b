"""TokenVectorEnv: each lane is a TokenEnv; groups, partial resets, the autoreset modes, one verifier call."""

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import with_holes

import g2rpo_env.task
from g2rpo_env import Outcome, Task, TokenEnv, TokenVectorEnv, VectorGuidanceWrapper, Verdict
from g2rpo_env.checks import check_vector_env
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.errors import ConfigurationError, InvalidActionError, ResetNeededError, UnknownProblemError
from g2rpo_env.tokenizer import char_tokenizer, encode

EOS = char_tokenizer().eos_token_id
X = 90  # a token that ends nothing


def ids(text: str) -> list[int]:
    return encode(char_tokenizer(), text)[0].tolist()


TASK = Addition(digits=2, max_new_tokens=6)


def vector(num_envs: int = 4, group_size: int = 1, **options: Any) -> TokenVectorEnv:
    return TokenVectorEnv(TASK, num_envs, group_size=group_size, **options)


def ending(envs: TokenVectorEnv, *lanes: int) -> np.ndarray:
    """Actions that end these lanes."""
    actions = np.full(envs.num_envs, X)
    actions[list(lanes)] = EOS
    return actions


def same(one: Any, other: Any) -> None:
    """Assert that two observations, infos or results are equal, types included."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        for a, b in zip(one.flat, other.flat, strict=True):
            same(a, b)
    elif isinstance(one, tuple | list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other


# -- lanes are environments -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(
    problems=st.lists(st.sampled_from(["58+67", "10+20", "99+99", "34+43"]), min_size=3, max_size=3),
    reveals=st.lists(st.integers(0, 30), min_size=3, max_size=3),
    actions=st.lists(st.lists(st.sampled_from([X, 20, 36, EOS]), min_size=3, max_size=3), min_size=8, max_size=8),
)
def test_every_lane_is_a_single_environment_with_its_problem_and_actions(
    problems: list[str], reveals: list[int], actions: list[list[int]]
) -> None:
    envs = vector(3, autoreset_mode="DISABLED")
    observations, infos = envs.reset(seed=0, options={"problem": problems, "reveal": reveals})
    singles = [TokenEnv(TASK) for _ in problems]
    running = [True] * 3
    for lane, env in enumerate(singles):
        observation, info = env.reset(seed=0, options={"problem": problems[lane], "reveal": reveals[lane]})
        same(observation, {key: observations[key][lane] for key in observations})
        same(info, {**{key: plain(infos[key][lane]) for key in info}, "group": 0})
    for row in actions:
        if not any(running):
            break
        observations, rewards, terminated, truncated, infos = envs.step(np.array(row))
        for lane, env in enumerate(singles):
            if running[lane]:
                observation, reward, end, cut, info = env.step(row[lane])
                same(observation, {key: observations[key][lane] for key in observations})
                assert (reward, end, cut) == (rewards[lane], terminated[lane], truncated[lane])
                same(info, {key: plain(infos[key][lane]) for key in info})
                running[lane] = not (end or cut)
                assert envs.roles[lane, : len(env.roles)].tolist() == env.roles.tolist()
        assert envs.active.tolist() == running


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP], ids=lambda mode: mode.name)
def test_equals_gymnasiums_own_vectorisation(mode: AutoresetMode) -> None:
    ours, theirs = (
        one_by_one(TokenVectorEnv(TASK, 3, autoreset_mode=mode)),
        SyncVectorEnv([lambda: StubbornEnv(TASK)] * 3, autoreset_mode=mode),
    )
    random = np.random.default_rng(0)
    same(without_groups(ours.reset(seed=0)), without_groups(theirs.reset(seed=0)))
    ends = 0
    for _ in range(40):
        actions = random.choice([X, 20, EOS], size=3, p=[0.6, 0.2, 0.2])
        mine, yours = ours.step(actions), theirs.step(actions)
        same(without_groups(mine), without_groups(yours))
        ends += int((mine[2] | mine[3]).sum())
    assert ends > 10


PROBLEM = "58+67"


class StubbornEnv(TokenEnv):
    """Starts with one and the same problem, whatever the seed, so that two orders of problems do not differ."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return super().reset(seed=seed, options={"problem": PROBLEM})


def one_by_one(envs: TokenVectorEnv) -> TokenVectorEnv:
    """Make a vector environment draw that problem too."""
    envs.task = copy.copy(envs.task)
    envs.task.source = copy.copy(envs.task.source)
    envs.task.source.draw = lambda seed, index: PROBLEM  # type: ignore[method-assign]
    return envs


def without_groups(result: tuple[Any, ...]) -> dict[str, Any]:
    """The result of reset or step as a dict, without the group numbers, which single environments count alone."""
    *rest, info = result
    return {**{str(i): value for i, value in enumerate(rest)}, **{k: v for k, v in info.items() if "group" not in k}}


def test_spaces_are_batched_and_hold_what_is_returned() -> None:
    envs = vector(4, group_size=2)
    observation, _ = envs.reset(seed=0)
    assert envs.observation_space.contains(observation)
    assert envs.single_observation_space == TokenEnv(TASK).observation_space
    observation, rewards, terminated, truncated, _ = envs.step(envs.action_space.sample())
    assert envs.observation_space.contains(observation)
    assert (rewards.dtype, terminated.dtype, truncated.dtype) == (np.float64, np.bool_, np.bool_)


# -- groups ---------------------------------------------------------------------------------------------------------


def test_members_of_a_group_share_a_problem_and_groups_count_up() -> None:
    envs = vector(6, group_size=3)
    _, info = envs.reset(seed=0)
    assert info["group"].tolist() == [0, 0, 0, 1, 1, 1] and info["member"].tolist() == [0, 1, 2] * 2
    assert len(set(info["problem_id"][:3])) == len(set(info["problem_id"][3:])) == 1
    assert envs.reset()[1]["group"].tolist() == [2, 2, 2, 3, 3, 3]


def test_group_g_has_the_problem_that_a_single_environment_meets_g_th() -> None:
    env, envs = TokenEnv(TASK), vector(6, group_size=3)
    singles = [env.reset(seed=7 if i == 0 else None)[1]["problem_id"] for i in range(4)]
    drawn = [*envs.reset(seed=7)[1]["problem_id"][::3], *envs.reset()[1]["problem_id"][::3]]
    assert drawn == singles


@pytest.mark.parametrize("num_envs,rounds", [(2, 6), (4, 3), (12, 1)])
def test_the_order_of_groups_does_not_depend_on_the_number_of_lanes(num_envs: int, rounds: int) -> None:
    envs = vector(num_envs, group_size=2)
    drawn: list[str] = []
    for number in range(rounds):
        drawn += envs.reset(seed=3 if number == 0 else None)[1]["problem_id"][::2].tolist()
    reference = vector(12, group_size=2).reset(seed=3)[1]["problem_id"][::2].tolist()
    assert drawn == reference


@pytest.mark.parametrize("seed", [4, [4, 1]])
@pytest.mark.parametrize("ranks", [{}, {"rank": 1, "world_size": 3}])
def test_problems_drawn_ahead_are_those_of_the_order(seed: Any, ranks: dict[str, int]) -> None:
    envs = vector(3, autoreset_mode="SAME_STEP", **ranks)
    _, info = envs.reset(seed=seed)
    for _ in range(60):
        met = dict(zip(info["group"][info["_group"]], info["problem_id"][info["_group"]], strict=True))
        assert met == {group: TASK.source.draw(seed, int(group)) for group in met}
        *_, info = envs.step(ending(envs, 0, 2))
    again = {"problem_id": envs.reset(seed=seed)[1]["problem_id"].tolist()}
    assert again == {"problem_id": vector(3, **ranks).reset(seed=seed)[1]["problem_id"].tolist()}
    assert vector(3, **ranks).reset(seed=9)[1]["problem_id"].tolist() == envs.reset(seed=9)[1]["problem_id"].tolist()


def test_another_source_or_state_forgets_what_was_drawn_ahead() -> None:
    envs = TokenVectorEnv(copy.copy(TASK), 2)
    states, drawn = [], []
    for number in range(4):
        states.append(envs.state_dict())
        drawn.append(envs.reset(seed=6 if number == 0 else None)[1]["problem_id"].tolist())
    envs.load_state_dict(states[2])
    assert envs.reset()[1]["problem_id"].tolist() == drawn[2]
    envs.task.source = TASK.source.with_split("test")
    assert envs.reset()[1]["problem_id"].tolist() == [envs.task.source.draw(6, index) for index in (6, 7)]


@settings(deadline=None, max_examples=30)
@given(
    reveals=st.lists(st.integers(0, 18), min_size=3, max_size=6),
    lengths=st.lists(st.integers(1, 6), min_size=3, max_size=6),
)
def test_a_restarted_lane_shows_nothing_of_the_episode_before(reveals: list[int], lengths: list[int]) -> None:
    envs = vector(2, autoreset_mode="DISABLED")
    for reveal, length in zip(reveals, lengths, strict=False):
        observation, info = envs.reset(seed=0, options={"reset_mask": mask(0, of=2), "reveal": reveal})
        begin = int(info["prompt_length"][0] + info["reveal_length"][0])
        for _ in range(length):
            end = int(observation["length"][0, 0])
            assert not observation["tokens"][0, end:].any() and observation["tokens"][0, :end].all()
            assert envs.roles[0].tolist() == [0] * 6 + [1] * (begin - 6) + [2] * (TASK.length - begin)
            observation, *_ = envs.step(np.full(2, X))


def test_ranks_draw_disjoint_groups_that_together_are_the_order_of_one_process() -> None:
    def draws(rounds: int, **options: int) -> dict[int, str]:
        envs = vector(4, group_size=2, **options)
        out: dict[int, str] = {}
        for number in range(rounds):
            _, info = envs.reset(seed=11 if number == 0 else None)
            out |= dict(zip(info["group"].tolist(), info["problem_id"], strict=True))
        return out

    ranks = [draws(2, rank=rank, world_size=3) for rank in range(3)]
    assert not set(ranks[0]) & set(ranks[1]) and not set(ranks[1]) & set(ranks[2])
    assert ranks[0] | ranks[1] | ranks[2] == draws(6)


def test_results_of_an_episode_do_not_depend_on_its_lane() -> None:
    problems, answers = ["58+67", "10+20", "58+67"], ["#125", "#30", "#1"]
    reference = None
    for order in ([0, 1, 2], [2, 0, 1]):
        envs = vector(3, autoreset_mode="DISABLED")
        envs.reset(seed=0, options={"problem": [problems[i] for i in order]})
        results = {}
        for step in range(5):
            texts = [ids(answers[i]) + [EOS] * 9 for i in order]
            _, rewards, terminated, _, info = envs.step(np.array([text[step] for text in texts]))
            for lane, i in enumerate(order):
                if terminated[lane]:
                    results[i] = (rewards[lane], info["completion"][lane], info["verdict"][lane])
        reference = reference or results
        assert results == reference
    assert {i: result[0] for i, result in results.items()} == {0: 1.0, 1: 1.0, 2: 0.0}


# -- partial resets -------------------------------------------------------------------------------------------------


def mask(*lanes: int, of: int = 4) -> np.ndarray:
    out = np.zeros(of, np.bool_)
    out[list(lanes)] = True
    return out


def test_a_mask_of_a_whole_group_starts_the_next_group_there_and_leaves_the_others_alone() -> None:
    envs = vector(4, group_size=2)
    envs.reset(seed=0)
    before, *_ = envs.step(np.full(4, X))
    observation, info = envs.reset(options={"reset_mask": mask(2, 3)})
    assert info["group"].tolist() == [0, 0, 2, 2] and info["_group"].tolist() == [False, False, True, True]
    assert info["problem_id"][0] is None
    assert np.array_equal(observation["tokens"][:2], before["tokens"][:2])
    assert observation["length"].ravel().tolist() == [7, 7, 6, 6]


def test_a_mask_that_splits_a_group_is_refused_without_a_problem() -> None:
    envs = vector(4, group_size=2)
    envs.reset(seed=0)
    with pytest.raises(ConfigurationError, match=r"splits a group of group_size=2: give options\['problem'\]"):
        envs.reset(options={"reset_mask": mask(1)})
    _, info = envs.reset(options={"reset_mask": mask(1), "problem": "58+67"})
    assert (info["problem_id"][1], info["member"][1], info["group"][1]) == ("58+67", 1, 2)


def test_lanes_reset_one_after_the_other_join_one_group() -> None:
    envs = vector(4, group_size=2)
    envs.reset(seed=0)
    groups = []
    for lane, member in ((3, 0), (0, 1), (1, 1), (2, 0)):
        options = {"reset_mask": mask(lane), "problem": ["58+67"] * 4, "member": [member] * 4}
        _, info = envs.reset(options=options)
        assert info["member"][lane] == member
        groups.append(int(info["group"][lane]))
    assert groups == [2, 2, 3, 3]


def test_lanes_in_any_order_of_members_form_whole_groups() -> None:
    # members 0, 0, 1, 1 of one problem: two groups of two, not three broken ones
    envs = vector(4, group_size=2)
    _, info = envs.reset(seed=0, options={"problem": "58+67", "member": [0, 0, 1, 1]})
    assert info["group"].tolist() == [0, 1, 1, 0]  # the newest group that lacks the member comes first


def test_a_reset_of_all_lanes_forgets_groups_that_were_never_filled() -> None:
    envs = vector(2, group_size=2)
    envs.reset(seed=0)
    envs.reset(options={"reset_mask": mask(0, of=2), "problem": "58+67"})  # member 0 of group 1
    envs.reset()  # group 2
    _, info = envs.reset(options={"reset_mask": mask(1, of=2), "problem": "58+67"})
    assert info["group"][1] == 3


def test_members_of_groups_taken_out_of_the_order_start_in_any_lane() -> None:
    envs = vector(4, 2)
    groups = envs.take_groups(3, seed=5)
    assert groups == [0, 1, 2] == vector(4, 2).take_groups(3, seed=5)
    problems = [TASK.source.draw(5, group) for group in groups]
    _, info = envs.reset(options={"group": [2, 0, 0, 1], "member": [1, 0, 1, 0]})
    assert info["group"].tolist() == [2, 0, 0, 1] and info["member"].tolist() == [1, 0, 1, 0]
    assert info["problem_id"].tolist() == [problems[group] for group in (2, 0, 0, 1)]
    mask = np.array([False, True, False, False])
    _, info = envs.reset(options={"reset_mask": mask, "group": [0, 1, 0, 0], "member": 1})
    assert (info["group"][1], info["member"][1], info["problem_id"][1]) == (1, 1, problems[1])
    assert envs.active.all()
    _, info = envs.reset()  # whoever draws next gets the groups after them
    assert info["group"].tolist() == [3, 3, 4, 4]


def test_the_problems_of_groups_are_known_before_they_are_reset() -> None:
    envs = vector(4, 2)
    numbers = envs.take_groups(3, seed=5)
    problems = envs.problems(numbers)
    assert problems == [TASK.source.draw(5, number) for number in numbers] and not envs.active.any()
    assert envs.problems(numbers[1:] + numbers[:1]) == problems[1:] + problems[:1]
    _, info = envs.reset(options={"group": [0, 0, 2, 2], "member": [0, 1, 0, 1]})
    assert info["problem_id"].tolist() == [problems[0]] * 2 + [problems[2]] * 2
    with pytest.raises(ConfigurationError, match="numbers=3 must be a number that take_groups"):
        envs.problems([0, 3])


def test_ranks_take_groups_of_their_own() -> None:
    parts = [vector(2, 2, rank=rank, world_size=2).take_groups(3, seed=1) for rank in range(2)]
    assert parts == [[0, 2, 4], [1, 3, 5]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 3, "member": 0}, r"options\['group'\]=3 must be a number that take_groups"),
        ({"group": -1, "member": 0}, "=-1 must"),
        ({"group": 0, "member": 2}, r"options\['member'\]=2"),
        ({"group": 0, "problem": "1+1"}, "without options"),
        ({"group": [0]}, "one entry per lane"),
    ],
)
def test_bad_group_options_change_nothing(options: dict[str, Any], words: str) -> None:
    envs = vector(4, 2)
    envs.take_groups(3, seed=0)
    before = envs.state_dict()
    with pytest.raises(ConfigurationError, match=words):
        envs.reset(options=options)
    assert envs.state_dict() == before and not envs.active.any()


def test_taking_no_groups_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="count=0"):
        vector(4, 2).take_groups(0)


def test_per_lane_reveals_leave_the_plan_to_the_lanes_without_one() -> None:
    envs = VectorGuidanceWrapper(vector(4, group_size=2), length=3, ratio=0.5)
    _, info = envs.reset(seed=0, options={"reveal": [np.nan, 5, None, 0]})
    assert info["reveal_length"].tolist() == [3, 5, 3, 0]


def test_prefixes_are_taken_per_lane() -> None:
    envs = vector(2)
    prefix = ids("58+67=1")
    observation, info = envs.reset(
        seed=0, options={"problem": "58+67", "prefix": [None, prefix], "prefix_roles": [None, [0] * 6 + [2]]}
    )
    assert observation["length"].ravel().tolist() == [6, 7] and info["reveal_length"].tolist() == [0, 0]
    assert envs.episode_tokens(1)[1].tolist() == [0] * 6 + [2]


@pytest.mark.parametrize(
    "options,error,words",
    [
        ({"reset_mask": np.zeros(4, np.bool_)}, ConfigurationError, "at least one True"),
        ({"reset_mask": np.ones(3, np.bool_)}, ConfigurationError, r"shape \(4,\)"),
        ({"reset_mask": np.ones(4)}, ConfigurationError, "bool array"),
        ({"mask": None}, ConfigurationError, "'mask' is unknown"),
        ({"problem": ["58+67"]}, ConfigurationError, r"options\['problem'\] must have one entry per lane, 4, got 1"),
        ({"problem": ["58+67", "58+67", None, "58+67"]}, ConfigurationError, "None for lane 2"),
        ({"problem": "58*67"}, UnknownProblemError, "58.67"),
        ({"problem": "58+67", "member": 2}, ConfigurationError, r"member'\]=2 must lie in \[0, group_size=2\)"),
        ({"member": [0, 1, 0, 1]}, ConfigurationError, r"options\['member'\] must come with options\['problem'\]"),
        ({"reveal": [1, 2, -3, 4]}, ConfigurationError, "reveal=-3.0"),
    ],
)
def test_bad_options_are_named_and_change_nothing(options: dict[str, Any], error: type, words: str) -> None:
    envs, twin = vector(4, group_size=2), vector(4, group_size=2)
    envs.reset(seed=0), twin.reset(seed=0)
    given = copy.deepcopy(options)
    with pytest.raises(error, match=words):
        envs.reset(options=options)
    same(given, options)
    assert envs.active.all() and envs.state_dict() == twin.state_dict()
    same(envs.reset(), twin.reset())


def test_options_are_not_mutated() -> None:
    envs = vector(4, group_size=2)
    envs.reset(seed=0)
    options = {"reset_mask": mask(0, 3), "problem": np.array(["58+67"] * 4, object), "member": np.zeros(4, int)}
    given = copy.deepcopy(options)
    envs.reset(options=options)
    same(given, options)


# -- autoreset modes ------------------------------------------------------------------------------------------------


def test_disabled_shows_the_end_once_and_then_the_lane_waits() -> None:
    envs = vector(2, group_size=2)
    envs.reset(seed=0)
    last, _, terminated, truncated, info = envs.step(ending(envs, 0))
    assert terminated.tolist() == [True, False] and not truncated.any()
    assert info["_completion"].tolist() == [True, False] and envs.active.tolist() == [False, True]
    for junk in (X, 99999, -7):  # the actions of a waiting lane are ignored
        observation, rewards, terminated, truncated, info = envs.step(np.array([junk, X]))
        assert np.array_equal(observation["tokens"][0], last["tokens"][0]) and observation["length"][0] == 7
        assert not rewards.any() and not terminated.any() and not truncated.any() and info == {}


def test_next_step_restarts_one_step_later_and_ignores_that_action() -> None:
    envs = vector(2)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs.reset(seed=0)
    observation, _, terminated, _, info = envs.step(ending(envs, 1))
    assert observation["tokens"][1, 6] == EOS and terminated[1] and "problem_id" not in info
    observation, rewards, terminated, truncated, info = envs.step(np.array([X, -5]))
    assert observation["length"].ravel().tolist() == [8, 6]
    assert not (rewards.any() or terminated.any() or truncated.any())
    assert info["_problem_id"].tolist() == [False, True] and info["group"][1] == 2 and "completion" not in info


def test_next_step_gives_the_end_of_one_lane_and_the_start_of_another_in_one_info() -> None:
    envs = vector(2)
    envs.reset(seed=0)
    envs.step(ending(envs, 0))
    *_, info = envs.step(ending(envs, 1))
    assert info["_problem_id"].tolist() == [True, False] and info["_completion"].tolist() == [False, True]


def test_same_step_restarts_at_once_and_keeps_the_end() -> None:
    envs = vector(2, autoreset_mode="SAME_STEP")
    envs.reset(seed=0)
    observation, _, terminated, _, info = envs.step(ending(envs, 1))
    assert terminated.tolist() == [False, True] and observation["length"].ravel().tolist() == [7, 6]
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [False, True]
    final = info["final_obs"][1]
    assert info["final_obs"][0] is None and final["length"] == 7 and final["tokens"][6] == EOS
    assert info["final_info"]["verdict"][1].outcome is Outcome.NO_ANSWER
    assert info["_problem_id"].tolist() == [False, True]
    envs.step(np.full(2, X))
    assert final["tokens"][6] == EOS  # the final observation is a copy


def test_the_reveal_is_executed_at_every_autoreset() -> None:
    envs = VectorGuidanceWrapper(vector(2, autoreset_mode="SAME_STEP"), length=4, ratio=1.0)
    envs.reset(seed=0)
    envs.length = 2
    *_, info = envs.step(np.full(2, EOS))
    assert info["reveal_length"].tolist() == [2, 2]


# -- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"num_envs": 0}, "num_envs=0 must be at least 1"),
        ({"num_envs": 4, "group_size": 3}, "group_size=3 must divide num_envs=4"),
        ({"num_envs": 4, "group_size": 0}, "group_size=0"),
        ({"group_size": 2, "autoreset_mode": "NEXT_STEP"}, "autoreset_mode=NEXT_STEP must be DISABLED for group"),
        ({"group_size": 2, "autoreset_mode": AutoresetMode.SAME_STEP}, "must be DISABLED"),
        ({"autoreset_mode": "NEVER"}, "autoreset_mode='NEVER' must be one of NEXT_STEP, SAME_STEP, DISABLED"),
        ({"rank": 2, "world_size": 2}, r"rank=2 must lie in \[0, world_size=2\)"),
        ({"render_mode": "human"}, "render_mode='human' must be None or one of 'ansi', 'rgb_array'"),
        ({"digits": 3}, r"options \['digits'\] must be given to the task itself"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        TokenVectorEnv(TASK, **{"num_envs": 4, **options})


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="seed=-1 must be at least 0"):
        vector().reset(seed=-1)


def test_autoreset_modes_are_taken_by_name_value_and_member() -> None:
    for mode in ("SAME_STEP", "SameStep", AutoresetMode.SAME_STEP):
        assert vector(autoreset_mode=mode).autoreset_mode is AutoresetMode.SAME_STEP
    assert vector(group_size=2).autoreset_mode is AutoresetMode.DISABLED


@pytest.mark.parametrize(
    "actions,words",
    [
        (np.full(3, X), r"shape \(4,\), got \(3,\)"),
        (np.full((4, 1), X), r"shape \(4,\)"),
        (np.full(4, 2.5), "integers, got dtype float64"),
        (np.array([X, X, 258, X]), r"action=258 of lane 2 must be a token id in \[0, 258\)"),
        (np.array([X, -1, X, X]), "action=-1 of lane 1"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(actions: np.ndarray, words: str) -> None:
    envs = vector()
    envs.reset(seed=0)
    with pytest.raises(InvalidActionError, match=words):
        envs.step(actions)
    assert envs.step(np.full(4, X))[0]["length"].ravel().tolist() == [7] * 4


def test_a_step_needs_a_reset() -> None:
    with pytest.raises(ResetNeededError, match=r"call reset\(\) first"):
        vector().step(np.full(4, X))


# -- memory ---------------------------------------------------------------------------------------------------------


def test_copies_stay_as_they_were_and_views_follow() -> None:
    for copied in (True, False):
        envs = vector(copy=copied)
        observation, _ = envs.reset(seed=0)
        later, *_ = envs.step(np.full(4, X))
        assert (observation["length"][0] == 6) == copied
        assert np.shares_memory(observation["tokens"], later["tokens"]) != copied


def test_views_and_copies_show_the_same() -> None:
    one, other = vector(copy=True), vector(copy=False)
    same(one.reset(seed=0), other.reset(seed=0))
    random = np.random.default_rng(0)
    for _ in range(20):
        actions = random.choice([X, EOS], size=4, p=[0.8, 0.2])
        same(one.step(actions), other.step(actions))


# -- verification ---------------------------------------------------------------------------------------------------


class Counting:
    """A verifier that notes the size of each call and fails on a text."""

    def __init__(self, fails_on: str | None = None) -> None:
        self.calls: list[int] = []
        self.fails_on = fails_on

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        self.calls.append(len(completions))
        if self.fails_on in completions:
            raise TimeoutError("too slow")
        return [Verdict(Outcome.CORRECT, score=float(len(completion))) for completion in completions]


def counting(fails_on: str | None = None, **options: Any) -> tuple[TokenVectorEnv, Counting]:
    task = copy.copy(TASK)
    task.verifier = Counting(fails_on)
    return TokenVectorEnv(task, 4, group_size=2, **options), task.verifier


def test_lanes_that_finish_together_are_graded_in_one_call() -> None:
    envs, verifier = counting()
    envs.reset(seed=0)
    envs.step(ending(envs, 0, 2, 3))
    assert verifier.calls == [3]
    envs.step(ending(envs, 1))
    assert verifier.calls == [3, 1]


def test_nothing_is_decoded_before_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    original = g2rpo_env.task.decode
    monkeypatch.setattr(g2rpo_env.task, "decode", lambda tokenizer, T: decoded.append(len(T)) or original(tokenizer, T))
    envs = vector()
    envs.reset(seed=0)
    for _ in range(5):
        envs.step(np.full(4, X))
    assert decoded == []
    envs.step(np.full(4, X))
    assert decoded == [6] * 4


def test_a_verifier_that_fails_on_one_answer_spoils_no_other() -> None:
    envs, _ = counting(fails_on="!!")
    envs.reset(seed=0)
    texts = ["!!", "ab", "!", "abc"]
    results: dict[int, Any] = {}
    for step in range(4):
        row = [(ids(text) + [EOS] * 4)[step] for text in texts]
        _, rewards, terminated, _, info = envs.step(np.array(row))
        for lane in np.flatnonzero(terminated):
            results[int(lane)] = (rewards[lane], bool(info["valid"][lane]), info["verdict"][lane].outcome)
    good = Outcome.CORRECT
    assert results == {0: (0, False, Outcome.ERROR), 1: (2, True, good), 2: (1, True, good), 3: (3, True, good)}


def test_a_verifier_with_the_wrong_number_of_verdicts_is_a_mistake_and_no_error_verdict() -> None:
    task = copy.copy(TASK)
    task.verifier = lambda problems, completions: [Verdict(Outcome.CORRECT)]
    envs = TokenVectorEnv(task, 2)
    envs.reset(seed=0)
    with pytest.raises(ConfigurationError, match="1 verdicts for 2 completions"):
        envs.step(np.full(2, EOS))


# -- state, copies, making ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [5, [5, 6]])
def test_a_state_continues_the_order_and_the_open_groups(seed: Any) -> None:
    envs, other = vector(4, group_size=2), vector(4, group_size=2)
    envs.reset(seed=seed)
    envs.reset(options={"reset_mask": mask(0), "problem": "58+67"})
    other.load_state_dict(envs.state_dict())
    assert not other.active.any()
    options = {"reset_mask": mask(3), "problem": "58+67"}
    _, info = other.reset(options=options)
    assert info["group"][3] == 2  # joins the group that lane 0 opened
    envs.reset(options=options)
    same(envs.reset(), other.reset())
    assert envs.root_seed == other.root_seed == seed


def test_the_state_is_plain_data_that_json_keeps() -> None:
    import json

    envs = vector(4, group_size=2)
    envs.reset(seed=1, options={"problem": "58+67", "member": [0, 0, 0, 1]})
    state = envs.state_dict()
    assert json.loads(json.dumps(state)) == state


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_a_copy_in_mid_episode_continues_alike(clone: Any) -> None:
    envs = VectorGuidanceWrapper(vector(4, group_size=2), length=3)
    envs.reset(seed=0)
    envs.step(ending(envs, 1))
    twin = clone(envs)
    for _ in range(6):
        same(envs.step(np.full(4, X)), twin.step(np.full(4, X)))
    same(envs.reset(), twin.reset())


def test_gymnasium_makes_it_with_plain_arguments() -> None:
    envs = gym.make_vec(
        "g2rpo_env/Addition-v0", num_envs=4, group_size=2, copy=False, autoreset_mode="DISABLED", digits=(1, 2)
    )
    assert isinstance(envs.unwrapped, TokenVectorEnv)
    assert (envs.num_envs, envs.unwrapped.group_size, envs.unwrapped.copy) == (4, 2, False)


def test_ansi_shows_every_lane() -> None:
    envs = vector(2, render_mode="ansi")
    envs.reset(options={"problem": "58+67", "reveal": [0, 2]})
    assert envs.render() == ("58+67=", "58+67=[8+]")
    assert vector(2).render() is None


def test_rgb_array_gives_a_frame_for_every_lane() -> None:
    pytest.importorskip("PIL", reason="Pillow is missing: pip install 'g2rpo-env[video]'")
    envs = vector(2, render_mode="rgb_array")
    envs.reset(options={"problem": "58+67", "reveal": [0, 2]})
    one, other = envs.render()
    assert one.shape == other.shape and one.dtype == np.uint8 and not np.array_equal(one, other)


def test_the_seed_also_seeds_the_generator_that_gymnasium_promises() -> None:
    one, other = vector(), vector()
    one.reset(seed=4), other.reset(seed=4)
    assert one.np_random_seed == 4 and one.np_random.random() == other.np_random.random()


# -- replies, reduced vocabulary, masks --------------------------------------------------------------------------------


def replying(num_envs: int, **options: Any) -> TokenVectorEnv:
    """Lanes with two tries, a reply of one character and a budget of 6."""
    source, verifier = AdditionSource(1), MarkVerifier()
    task = Task(source, verifier, max_new_tokens=6, max_tries=2, reply=lambda *_: "?!", max_reply_tokens=1)
    return TokenVectorEnv(task, num_envs, autoreset_mode="DISABLED", **options)


def test_a_wrong_try_is_answered_and_the_lane_goes_on() -> None:
    """Lanes: right at once; wrong, then right; wrong twice; never ends. Budget 6, "3+4=" is 4 tokens, reply 1."""
    envs = replying(4)
    assert envs.single_observation_space["tokens"].shape[0] == len("3+4=") + len("3+4+0=07\n") + 6 + 1
    envs.reset(seed=0, options={"problem": "3+4"})
    eos = envs.tokenizer.eos_token_id
    right, wrong = [*ids("#7"), eos], [*ids("#8"), eos]
    tries = [right + [5] * 3, wrong + right, wrong + wrong, ids("#7") + [5] * 4]
    seen = []
    for actions in np.array(tries).T:
        _, reward, terminated, truncated, info = envs.step(actions)
        seen.append([part.tolist() for part in (reward, terminated, truncated)])
    nobody, none = [0.0] * 4, [False] * 4
    assert [s[0] for s in seen] == [nobody, nobody, [1.0, 0, 0, 0], nobody, nobody, [0, 1.0, 0, 0]]
    assert [s[1] for s in seen] == [none, none, [True, False, False, False], none, none, [False, True, True, False]]
    assert [s[2] for s in seen] == [none] * 5 + [[False, False, False, True]]
    assert info["completion"].tolist()[1:3] == ["#7", "#8"]  # the last try alone
    tokens_T, role_T = envs.episode_tokens(1)
    assert role_T.tolist() == [0] * 4 + [2] * 3 + [3] + [2] * 3
    assert tokens_T[7] == ids("?")[0]  # cut to max_reply_tokens


def test_a_prefix_with_a_reply_in_it_is_the_second_try() -> None:
    envs = replying(1)
    eos = envs.tokenizer.eos_token_id
    prefix = [*ids("3+4=#8"), eos, *ids("?")]
    envs.reset(seed=0, options={"problem": "3+4", "prefix": [prefix], "prefix_roles": [[0] * 4 + [2] * 3 + [3]]})
    for action in (*ids("#6"), eos):
        _, reward, terminated, _, info = envs.step(np.array([action]))
    assert terminated.tolist() == [True] and reward.tolist() == [0.0] and info["completion"][0] == "#6"


def test_actions_of_a_reduced_vocabulary_are_indices_into_it() -> None:
    whole, small = vector(2), vector(2, vocabulary=[*ids("0123456789#"), 1])
    for envs in (whole, small):
        envs.reset(seed=0, options={"problem": "12+34"})
    for index in (10, 4, 6, 11):
        token = int(small.vocabulary[index])
        same(whole.step(np.full(2, token)), small.step(np.full(2, index)))
    assert small.single_action_space.n == 12
    small.reset(seed=0)
    with pytest.raises(InvalidActionError, match=r"action=12 of lane 0 must be an index into the reduced vocabulary"):
        small.step(np.full(2, 12))


def test_masks_leave_out_special_tokens_but_the_end_token() -> None:
    envs = vector(3)
    masks = envs.action_masks()
    pad = envs.tokenizer.pad_token_id
    assert masks.shape == (3, 258) and masks.sum() == 3 * 257 and not masks[:, pad].any()
    masks[:] = False
    assert envs.action_masks().any()  # a copy
    assert vector(2, vocabulary="01").action_masks().all()


# -- several end tokens, and ids without a token ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["DISABLED", "SAME_STEP", "NEXT_STEP"])
def test_lanes_end_at_every_end_token_that_was_added(mode: str) -> None:
    envs = vector(3, autoreset_mode=mode)
    envs.reset(seed=0)
    assert not envs.step([0, X, X])[2].any()
    envs.add_end_tokens([0])  # in the middle of the episodes
    _, _, terminated, truncated, info = envs.step([0, EOS, X])
    assert terminated.tolist() == [True, True, False] and not truncated.any()
    final = info["final_info"] if mode == "SAME_STEP" else info
    assert final["completion"][:2].tolist() == ["<pad>", "y"]
    assert envs.end_tokens == {0, EOS} and envs.action_masks()[:, 0].all()
    again = pickle.loads(pickle.dumps(envs))
    again.reset(seed=1)
    assert again.step([0, 0, 0])[2].all()


def test_lanes_of_a_vocabulary_with_holes_keep_the_rules() -> None:
    check_vector_env(TokenVectorEnv(Addition(digits=1, tokenizer=with_holes()), 4, group_size=2))
