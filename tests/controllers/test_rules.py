"""Controllers: the formulas by hand, and the properties they promise under noise, at zero reward and at the floor."""

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest

from g2rpo_env import (
    AdaptiveGuidance,
    Backtracking,
    Controller,
    CosineBinomial,
    CosineDecay,
    Feedback,
    FixedGuidance,
    ItemResponse,
    LinearDecay,
    OfficialCadence,
    PerProblem,
    Replay,
    SelfTuning,
    ShortestPrefix,
    SmallestHint,
    Stages,
    StartStates,
    StepDecay,
    TargetSuccess,
    TokenVectorEnv,
    UniformDraw,
    UniformWindow,
    VectorGuidanceWrapper,
    Withheld,
)
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.errors import ConfigurationError

RULES = [
    FixedGuidance(length=45),
    AdaptiveGuidance(length=45, max_length=120),
    AdaptiveGuidance(length=45, max_factor=None, max_length=120),
    OfficialCadence(length=45),
    TargetSuccess(length=45),
]


def final_lengths(success: float, runs: int = 200, **options: object) -> np.ndarray:
    """Lengths after 200 updates of 64 episodes with a stationary success rate, one per seed."""
    lengths = []
    for seed in range(runs):
        random = np.random.default_rng(seed)
        rule = AdaptiveGuidance(length=45, max_length=120, **options)  # type: ignore[arg-type]
        for _ in range(200):
            rule.update(reward=random.binomial(64, success) / 64)
        lengths.append(rule.length)
    return np.array(lengths)


def keeps_the_promise(lengths: np.ndarray) -> bool:
    """Median within 25 % of the start, 10-90 % range within a factor of 1.5."""
    low, median, high = np.percentile(lengths, [10, 50, 90])
    return bool(abs(median / 45 - 1) <= 0.25 and high / low <= 1.5)


@pytest.mark.parametrize("success", [0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_default_holds_its_length_under_stationary_success(success: float) -> None:
    assert keeps_the_promise(final_lengths(success))


@pytest.mark.parametrize("success", [0.05, 0.2])
def test_raw_rule_fails_the_same_test(success: float) -> None:
    assert not keeps_the_promise(final_lengths(success, max_factor=None))


def test_raw_rule_by_hand() -> None:
    # l1 = 40 (first update changes nothing); l2 = 40 * 0.2 / 0.4 = 20; l3 = 20 * mean(0.2, 0.4) / 0.3 = 20;
    # l4 = 20 * mean(0.4, 0.3) / 0.7 = 10
    rule = AdaptiveGuidance(length=40, window=2, max_factor=None, max_length=120)
    assert [rule.update(reward=r) for r in (0.2, 0.4, 0.3, 0.7)] == pytest.approx([40, 20, 20, 10])


def test_raw_rule_at_zero_reward_jumps_to_the_bound_or_does_nothing() -> None:
    rule = AdaptiveGuidance(length=40, max_factor=None, max_length=100)
    assert [rule.update(reward=r) for r in (0.0, 0.0)] == [40, 40]
    assert [rule.update(reward=r) for r in (0.5, 0.0)] == [1, 100]  # mean(0, 0)/0.5 = 0 -> floor; then x/0 -> bound


def test_defaults_are_of_no_task() -> None:
    for rule in (FixedGuidance(), AdaptiveGuidance(), OfficialCadence(), TargetSuccess()):
        assert rule.length == 1 and getattr(rule, "max_length", None) is None


def test_zero_success_changes_nothing_under_the_raw_rule_without_a_bound() -> None:
    rule = AdaptiveGuidance(length=40, max_factor=None)
    assert [rule.update(reward=r) for r in (0.5, 0.0, 0.5)] == [40, 40, 20]  # the mean of 0.5 and 0 against 0.5


def test_first_update_changes_nothing() -> None:
    for reward in (0.0, 0.3, 1.0):
        assert AdaptiveGuidance(length=45, max_length=120).update(reward=reward) == 45


def test_default_grows_at_zero_reward_up_to_its_bound() -> None:
    rule = AdaptiveGuidance(length=5, max_length=120)
    lengths = [rule.update(reward=0.0) for _ in range(30)]
    assert lengths[1] == pytest.approx(5 * 1.25)
    assert all(b > a or b == 120 for a, b in zip(lengths[:-1], lengths[1:], strict=True))
    assert lengths[-1] == 120


@pytest.mark.parametrize("before,after", [(0.2, 0.4), (0.4, 0.2), (0.5, 0.1)])
def test_default_follows_a_lasting_change_inversely(before: float, after: float) -> None:
    rule = AdaptiveGuidance(length=20, max_length=120)
    for _ in range(60):
        rule.update(reward=before)
    assert rule.length == pytest.approx(20)
    for _ in range(100):
        rule.update(reward=after)
    assert rule.length == pytest.approx(20 * before / after, rel=0.1)


def test_default_never_changes_by_more_than_its_factor() -> None:
    random = np.random.default_rng(0)
    rule = AdaptiveGuidance(length=45, max_length=None)
    lengths = [45.0] + [rule.update(reward=float(r)) for r in random.random(300)]
    ratios = np.array(lengths[1:]) / np.array(lengths[:-1])
    assert ratios.max() <= 1.25 + 1e-12 and ratios.min() >= 1 / 1.25 - 1e-12


def test_growth_from_the_floor_is_at_least_one_unit() -> None:
    rule = AdaptiveGuidance(length=1, max_length=120)
    assert [rule.update(reward=0.0) for _ in range(2)] == [1, 2]


def test_official_cadence_by_hand() -> None:
    # third update: int(100 * mean(0.2, 0.4) / 0.6) = 50; sixth holds a zero and is skipped
    rule = OfficialCadence(length=100)
    assert [rule.update(reward=r) for r in (0.2, 0.4, 0.6, 0.5, 0.5, 0.0)] == [100, 100, 50, 50, 50, 50]


def test_target_success_by_hand() -> None:
    # 20 * exp(-0.1 * (0.8 - 0.5)) = 20 * exp(-0.03)
    assert TargetSuccess(length=20).update(reward=0.8) == pytest.approx(20 * math.exp(-0.03))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_state_dict_continues_exactly(rule: object) -> None:
    rewards = np.random.default_rng(1).random(40)
    whole, first = copy.deepcopy(rule), copy.deepcopy(rule)
    for reward in rewards:
        whole.update(reward=float(reward))  # type: ignore[attr-defined]
    for reward in rewards[:17]:
        first.update(reward=float(reward))  # type: ignore[attr-defined]
    second = copy.deepcopy(rule)
    second.load_state_dict(first.state_dict())  # type: ignore[attr-defined]
    for reward in rewards[17:]:
        second.update(reward=float(reward))  # type: ignore[attr-defined]
    assert second.length == whole.length  # type: ignore[attr-defined]
    assert second.history == whole.history  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make,words",
    [
        (lambda: AdaptiveGuidance(length=-1), "length=-1"),
        (lambda: AdaptiveGuidance(window=0), "window=0"),
        (lambda: AdaptiveGuidance(min_length=50, max_length=40), "min_length=50"),
        (lambda: AdaptiveGuidance(length=200, max_length=120), "length=200"),
        (lambda: AdaptiveGuidance(max_factor=1.0), "max_factor=1.0"),
        (lambda: AdaptiveGuidance(source="some"), "source='some'"),
        (lambda: TargetSuccess(target=1.0), "target=1.0"),
        (lambda: AdaptiveGuidance().update(reward=1.5), "reward=1.5"),
        (lambda: AdaptiveGuidance().update(), "must be given feedback or reward="),
    ],
)
def test_bad_arguments_are_named(make: object, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()  # type: ignore[operator]


def test_the_bounded_rule_leaves_zero_by_one_unit_and_fractions_by_a_twentieth() -> None:
    # the first update changes nothing, the second success of zero in a row asks for more
    tokens = AdaptiveGuidance(length=0, min_length=0, max_length=40)
    assert [tokens.update(reward=0) for _ in range(3)] == [0, 1, 1.25]
    fraction = AdaptiveGuidance(length=0, min_length=0, max_length=1)
    assert [fraction.update(reward=0) for _ in range(3)] == [0, 0.05, 0.0625]


def test_the_saved_names_of_classes_hold() -> None:
    import importlib

    import g2rpo_env

    for name in ("AdaptiveGuidance", "OfficialCadence", "TargetSuccess", "FixedGuidance"):
        kind = getattr(importlib.import_module("g2rpo_env.controllers.rules"), name)
        assert kind is getattr(g2rpo_env, name) and kind.__module__ == "g2rpo_env.controllers.rules"


# -- every rule of the library -----------------------------------------------------------------------------------------

EVERY = [
    *RULES,
    LinearDecay(length=6, updates=5),
    CosineDecay(length=6, updates=5),
    StepDecay(length=6, updates=5, every=1),
    CosineBinomial(length=9, updates=5),
    UniformWindow(length=9, updates=5),
    UniformDraw(length=9, updates=5),
    Replay(lengths=(6, 5, 4, 3, 2)),
    PerProblem(length=6, max_length=9, rule=TargetSuccess(gain=0.5)),
    ItemResponse(length=6, max_length=9),
    Stages(max_length=9),
    SmallestHint(max_length=9),
    ShortestPrefix(max_length=9),
    SelfTuning(length=6, max_length=9),
    Backtracking(length=6, max_length=9),
    StartStates(length=9, updates=5),
    Withheld(),
]


def test_every_rule_is_listed_here() -> None:
    import g2rpo_env

    exported = {
        name
        for name, kind in vars(g2rpo_env).items()
        if isinstance(kind, type) and issubclass(kind, Controller) and kind is not Controller
    }
    assert exported == {type(rule).__name__ for rule in EVERY}


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: type(rule).__name__)
def test_every_rule_keeps_its_promises_under_any_feedback(rule: Controller) -> None:
    """Lengths are finite and not negative, plans are pure, an update without valid episodes does no harm."""
    random = np.random.default_rng(0)
    rule = copy.deepcopy(rule)
    for _ in range(30):
        ids = np.repeat(random.choice(list("abcdef"), 4), 4).astype(object)
        members = np.tile(np.arange(4), 4)
        planned = rule.plan(ids.tolist(), members.tolist())
        assert planned.shape == (16,) and np.isfinite(planned).all() and (planned >= 0).all()
        assert (rule.plan(ids.tolist(), members.tolist()) == planned).all()
        guided = (members < 2) & (planned > 0)
        valid = np.full(16, random.random() < 0.8)
        correct = random.random(16) < random.choice([0.0, 0.5, 1.0])
        length = rule.update(Feedback(ids, members, guided, (5 * guided).astype(int), correct, valid))
        assert length == rule.length and math.isfinite(length) and length >= 0
    assert len(rule.history) == 30
    assert json.loads(json.dumps(rule.state_dict())) is not None


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: type(rule).__name__)
def test_every_rule_trains_an_agent_and_is_saved_and_loaded_with_it(rule: Controller, tmp_path: Path) -> None:
    from g2rpo_env.agents import GRPO, CausalLMPolicy, recipes

    def make_envs() -> VectorGuidanceWrapper:
        task = Addition(digits=1, max_new_tokens=12)
        return VectorGuidanceWrapper(TokenVectorEnv(task, 8, group_size=4), rule.length, ratio=0.5)

    policy = CausalLMPolicy.tiny(make_envs(), 0, hidden_size=16, layers=1)
    agent = recipes.make("g2rpo-a", policy, make_envs(), seed=1, controller=rule)
    agent.learn(2)
    agent.save(tmp_path)
    again = GRPO.load(tmp_path, make_envs())
    assert again.recipe == agent.recipe
    agent.learn(2)
    again.learn(2)
    assert again.controller.state_dict() == agent.controller.state_dict()
    assert [e.tokens_T.tolist() for e in again.groups.episodes] == [e.tokens_T.tolist() for e in agent.groups.episodes]
    fitted = recipes.fit_controller(rule, make_envs())
    assert type(fitted) is type(rule)


def test_what_is_withheld_stays_withheld_whatever_the_wrapper_and_the_success() -> None:
    rule = Withheld(length=45, source="unguided")
    assert rule.length == 0 and [rule.update(reward=r) for r in (0.0, 1.0, math.nan)] == [0, 0, 0]
    assert rule.plan(["a", "b"], [0, 1]).tolist() == [0, 0] and [e["reward"] for e in rule.history[:2]] == [0, 1]
