"""Guidance wrappers: the plan they write is executed at every reset, and what they refuse."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import RecordEpisodeStatistics
from gymnasium.wrappers.vector import RecordEpisodeStatistics as RecordVectorStatistics
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import (
    AdaptiveGuidance,
    Controller,
    Feedback,
    FixedGuidance,
    GuidanceWrapper,
    Levels,
    TokenEnv,
    TokenVectorEnv,
    VectorGuidanceWrapper,
    find_guidance,
)
from g2rpo_env.envs.arithmetic import Addition, AdditionSource
from g2rpo_env.errors import ConfigurationError, MissingGuidanceError
from g2rpo_env.guidance import give_feedback
from g2rpo_env.tokenizer import char_tokenizer, decode

EOS = char_tokenizer().eos_token_id
TASK = Addition(digits=2)  # every solution: two steps of 9 tokens, then the final part


def make_guided(length: float = 4, *, num_envs: int = 8, group_size: int = 4, **options: Any) -> VectorGuidanceWrapper:
    return VectorGuidanceWrapper(TokenVectorEnv(TASK, num_envs, group_size=group_size), length, **options)


# -- what is revealed -----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    length=st.floats(0, 1),
    unit=st.sampled_from(["tokens", "steps", "fraction"]),
    cap=st.sampled_from(["final_answer", "before_answer"]),
)
def test_the_context_holds_a_prefix_of_the_steps_and_never_the_final_part(
    seed: int, length: float, unit: str, cap: str
) -> None:
    scale = {"tokens": 40, "steps": 4, "fraction": 1}[unit]
    env = GuidanceWrapper(TokenEnv(TASK), scale * length, unit, reveal_cap=cap)
    observation, info = env.reset(seed=seed)
    context = decode(char_tokenizer(), observation["tokens"][: observation["length"][0]])
    problem = TASK.source.get(info["problem_id"])
    shown = context.removeprefix(problem.prompt)
    assert len(shown) == info["reveal_length"] == (env.unwrapped.roles == 1).sum()
    assert "".join(problem.steps).startswith(shown)


@pytest.mark.parametrize("unit,length,expected", [("tokens", 5, 5), ("steps", 1, 9), ("fraction", 0.5, 9)])
def test_lengths_in_every_unit(unit: str, length: float, expected: int) -> None:
    assert GuidanceWrapper(TokenEnv(TASK), length, unit).reset(seed=0)[1]["reveal_length"] == expected


def test_the_reveal_option_is_in_the_unit_of_the_wrapper_and_in_tokens_without_one() -> None:
    options = {"reveal": 1}
    assert TokenEnv(TASK).reset(seed=0, options=options)[1]["reveal_length"] == 1
    assert GuidanceWrapper(TokenEnv(TASK), 0, "steps").reset(seed=0, options=options)[1]["reveal_length"] == 9
    _, info = make_guided(0, unit="steps").reset(seed=0, options={"reveal": [1] * 8})
    assert info["reveal_length"].tolist() == [9] * 8  # an explicit reveal does not ask for the ratio


def test_a_ratio_guides_the_first_members_of_each_group() -> None:
    _, info = make_guided(4, ratio=0.3).reset(seed=0)  # ceil(0.3 * 4) = 2
    assert info["reveal_length"].tolist() == [4, 4, 0, 0] * 2


def test_groups_of_one_are_guided_by_chance_and_independently_of_their_number() -> None:
    drawn = {}
    for lanes in (1, 4, 20):
        envs = make_guided(4, num_envs=lanes, group_size=1, ratio=0.5)
        rounds = [envs.reset(seed=6 if i == 0 else None)[1]["reveal_length"] for i in range(20 // lanes)]
        drawn[lanes] = np.concatenate(rounds).tolist()
    assert drawn[1] == drawn[4] == drawn[20] and set(drawn[1]) == {0, 4}
    env = GuidanceWrapper(TokenEnv(TASK), 4, ratio=0.5)
    assert [env.reset(seed=6 if i == 0 else None)[1]["reveal_length"] for i in range(20)] == drawn[1]


def test_the_reveal_is_executed_at_an_autoreset() -> None:
    envs = make_guided(3, num_envs=2, group_size=1, ratio=1.0)
    envs.reset(seed=0)
    envs.step(np.full(2, EOS))
    envs.length = 6
    observation, *_, info = envs.step(np.full(2, EOS))
    assert info["reveal_length"].tolist() == [6, 6] and observation["length"].ravel().tolist() == [12, 12]


# -- length ---------------------------------------------------------------------------------------------------------


def test_a_new_length_takes_effect_at_the_next_reset_only() -> None:
    envs = make_guided(4, ratio=1.0)
    observation, _ = envs.reset(seed=0)
    envs.length = 10
    assert envs.length == 10
    later, *_ = envs.step(np.full(8, 20))
    assert later["length"].ravel().tolist() == [11] * 8  # 6 + 4 + 1
    assert envs.reset()[1]["reveal_length"].tolist() == [10] * 8


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_bad_length_is_refused_and_the_old_one_stays(value: float) -> None:
    envs = make_guided(4)
    with pytest.raises(ConfigurationError, match=f"length={value} must be finite and at least 0 tokens"):
        envs.length = value
    assert envs.length == 4


def test_a_length_above_one_is_refused_for_fractions() -> None:
    env = GuidanceWrapper(TokenEnv(TASK), 0.5, "fraction")
    with pytest.raises(ConfigurationError, match=r"length=2.0 must lie in \[0, 1\] for unit='fraction'"):
        env.length = 2
    assert env.length == 0.5


def test_the_longest_length_that_makes_a_difference() -> None:
    # the longest sum of two digits has two steps of 9 characters
    assert [make_guided(0, unit=unit).longest for unit in ("tokens", "steps", "fraction")] == [18, 2, 1]


def test_a_state_brings_the_length_back() -> None:
    envs, other = make_guided(4), make_guided(9)
    other.load_state_dict(envs.state_dict())
    assert other.length == 4


# -- controllers ----------------------------------------------------------------------------------------------------


class PerMember(Controller):
    """A rule that reveals as many tokens as the member's number, and more for some problems."""

    def _next(self, reward: float) -> float:
        return self.length

    def plan(self, problem_ids: Any, members: Any) -> np.ndarray:
        return np.array([m + 2 * p.startswith("5") for p, m in zip(problem_ids, members, strict=True)], float)


def test_per_episode_lengths_come_from_the_plan_of_a_controller() -> None:
    envs = make_guided(4, ratio=0.75)  # 3 of 4 members
    envs.follow(PerMember(length=7))
    assert envs.length == 7
    options = {"problem": ["58+67"] * 4 + ["10+20"] * 4}
    assert envs.reset(seed=0, options=options)[1]["reveal_length"].tolist() == [2, 3, 4, 0, 0, 1, 2, 0]


def test_setting_a_length_ends_the_following() -> None:
    envs = make_guided(4, ratio=1.0)
    envs.follow(PerMember(length=7))
    envs.length = 5
    assert envs.reset(seed=0)[1]["reveal_length"].tolist() == [5] * 8


def test_following_shows_the_current_length_and_uses_the_controllers_next_one() -> None:
    envs, controller = make_guided(1, ratio=1.0), AdaptiveGuidance(length=4)
    envs.follow(controller)
    assert envs.reset(seed=0)[1]["reveal_length"].tolist() == [4] * 8
    controller.update(reward=0.0), controller.update(reward=0.0)  # 4 * 1.25 = 5
    assert envs.reset()[1]["reveal_length"].tolist() == [5] * 8 and envs.length == 4
    envs.follow(controller)
    assert envs.length == 5


def test_a_controller_whose_length_breaks_the_unit_is_refused_and_not_followed() -> None:
    env = GuidanceWrapper(TokenEnv(TASK), 0.5, "fraction")
    with pytest.raises(ConfigurationError, match="length=45.0"):
        env.follow(FixedGuidance(length=45))
    assert env.reset(seed=0)[1]["reveal_length"] == 9


# -- feedback -------------------------------------------------------------------------------------------------------


class Learner(AdditionSource):
    """A source that keeps what it is given."""

    set_aside = ["58+67", "10+20"]

    def __init__(self) -> None:
        super().__init__(2)
        self.calls: list[Any] = []

    def learn(self, feedback: Feedback) -> None:
        """Keep the episodes."""
        self.calls.append(feedback)

    def take_plan(self, tokens: Any) -> None:
        """Keep the plan."""
        self.calls.append(tokens)


def test_feedback_reaches_the_controller_then_the_wrapper_then_the_source() -> None:
    task = Addition(digits=2)
    task.source = source = Learner()
    envs, controller = VectorGuidanceWrapper(TokenVectorEnv(task, 4, group_size=2), 4), AdaptiveGuidance(length=4)
    failed, ones = np.zeros(2, bool), np.ones(2, bool)
    feedback = Feedback(np.array(["58+67"] * 2, object), np.arange(2), failed, failed * 1, failed, ones)
    for _ in range(2):  # the rule changes nothing at first, then 4 * 1.25
        give_feedback(RecordVectorStatistics(envs), feedback, controller)
    assert len(controller.history) == 2 and envs.length == controller.length == 5
    assert source.calls == [feedback, {"58+67": 4, "10+20": 4}, feedback, {"58+67": 5, "10+20": 5}]
    give_feedback(envs.unwrapped, feedback, None)
    assert source.calls[4:] == [feedback, {}]
    give_feedback(make_guided(4), feedback, None)  # nobody learns


def test_a_controller_needs_a_wrapper_and_is_not_updated_without_one() -> None:
    controller = AdaptiveGuidance(length=4)
    with pytest.raises(MissingGuidanceError, match="controller=AdaptiveGuidance needs a guidance wrapper around envs"):
        give_feedback(TokenVectorEnv(TASK, 2), Feedback.from_episodes([]), controller)
    assert controller.history == []


# -- wrapping -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options,words",
    [
        ({"ratio": 1.5}, r"ratio=1.5 must lie in \[0, 1\]"),
        ({"ratio": -0.5}, r"ratio=-0.5 must lie in \[0, 1\]"),
        ({"unit": "words"}, "unit='words' must be one of tokens, steps, fraction"),
        ({"reveal_cap": "none"}, "reveal_cap='none' must be one of final_answer, before_answer"),
        ({"length": -1}, "length=-1.0"),
    ],
)
def test_bad_arguments_are_named_and_leave_the_environment_unguided(options: dict[str, Any], words: str) -> None:
    envs, env = TokenVectorEnv(TASK, 2), TokenEnv(TASK)
    for make in (lambda: VectorGuidanceWrapper(envs, **options), lambda: GuidanceWrapper(env, **options)):
        with pytest.raises(ConfigurationError, match=words):
            make()
    assert envs.reveal_plan is None and env.reveal_plan is None
    GuidanceWrapper(env), VectorGuidanceWrapper(envs)


def test_a_second_wrapper_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="already has a guidance wrapper"):
        VectorGuidanceWrapper(RecordVectorStatistics(make_guided()))
    with pytest.raises(ConfigurationError, match="already has a guidance wrapper"):
        GuidanceWrapper(RecordEpisodeStatistics(GuidanceWrapper(TokenEnv(TASK))))


def test_other_environments_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be built on a TokenEnv to be guided, got CartPoleEnv"):
        GuidanceWrapper(gym.make("CartPole-v1"))
    with pytest.raises(ConfigurationError, match="must be built on a TokenVectorEnv to be guided"):
        VectorGuidanceWrapper(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="vector_entry_point"))


def test_what_is_asked_of_an_environment_can_be_asked_of_its_wrapper() -> None:
    env = GuidanceWrapper(gym.make("g2rpo_env/Addition-v0", digits=2, vocabulary="0123456789+=#\n"), length=2)
    assert np.array_equal(env.action_masks(), env.unwrapped.action_masks()) and env.action_masks().shape == (15,)
    envs = VectorGuidanceWrapper(TokenVectorEnv(Addition(digits=2), 4, group_size=2), length=2)
    assert envs.active.tolist() == [False] * 4
    envs.reset(seed=0)
    end = envs.unwrapped.task.eos_token_id
    envs.step(np.array([end, 90, 90, end]))
    assert envs.active.tolist() == [False, True, True, False] and envs.action_masks().shape == (4, 258)


def test_guidance_is_found_through_other_wrappers() -> None:
    env = GuidanceWrapper(gym.make("g2rpo_env/Addition-v0"), length=2)
    assert find_guidance(RecordEpisodeStatistics(env)) is env
    envs = make_guided()
    assert find_guidance(RecordVectorStatistics(envs)) is envs
    assert find_guidance(RecordVectorStatistics(TokenVectorEnv(TASK, 2))) is None
    assert find_guidance(None) is None


def test_the_wrapper_records_its_arguments_and_is_made_again_from_the_spec() -> None:
    env = GuidanceWrapper(gym.make("g2rpo_env/Addition-v0", digits=2), length=1, unit="steps", ratio=1.0)
    again = gym.make(env.spec)
    assert isinstance(again, GuidanceWrapper)
    assert (again.length, again.unit, again.ratio, again.reveal_cap) == (1, "steps", 1.0, "final_answer")
    assert again.reset(seed=0)[1] == env.reset(seed=0)[1]


# -- options that contradict each other -------------------------------------------------------------------------------


def test_a_rule_that_looks_at_plain_members_needs_some() -> None:
    envs = make_guided(4, ratio=1.0)
    with pytest.raises(ConfigurationError, match="source='unguided', but ratio=1 leaves no member"):
        envs.follow(AdaptiveGuidance(10, source="unguided"))
    assert envs.length == 4 and envs.plan.rule is None
    make_guided(4, ratio=0.5).follow(AdaptiveGuidance(10, source="unguided"))
    make_guided(4, ratio=1.0, who=Levels((0, 1))).follow(AdaptiveGuidance(10, source="unguided"))  # share 0 is plain


class WithoutSteps(Addition):
    """Sums whose solutions are the final part alone."""

    def __init__(self) -> None:
        super().__init__(digits=1)
        self.max_steps = 0  # what a task finds out about its problems


def test_lengths_in_steps_need_problems_with_steps() -> None:
    with pytest.raises(ConfigurationError, match="unit='steps' needs problems with steps"):
        GuidanceWrapper(TokenEnv(WithoutSteps()), 1, "steps")
    with pytest.raises(ConfigurationError, match="unit='steps' needs problems with steps"):
        VectorGuidanceWrapper(TokenVectorEnv(WithoutSteps(), 4), 1, "steps")
    GuidanceWrapper(TokenEnv(WithoutSteps()), 1, "tokens")
