"""Staged: that stages hand over what they must and nothing else, that a stop changes nothing, what is refused."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents import GRPO, Recipe, recipes
from g2rpo_env.agents.agent import Agent
from g2rpo_env.agents.parts.references.terms import KLToStart
from g2rpo_env.agents.parts.strategies.reroll import Reroll
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.parts.strategies.stored import Stored
from g2rpo_env.agents.parts.token_weights.means import TokenMean
from g2rpo_env.agents.recipe import Optimizer
from g2rpo_env.agents.staged import STAGES_FILE, STORE_FILE, Stage, Staged, make_records, read_store
from g2rpo_env.controllers.rules import FixedGuidance, TargetSuccess
from g2rpo_env.curriculum import Without
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.envs.generated import MarkVerifier
from g2rpo_env.episode import Group, Groups
from g2rpo_env.errors import BudgetError, ConfigurationError, MissingGuidanceError, ResumeError
from g2rpo_env.problem import WrappedSource
from g2rpo_env.verdict import Outcome, Verdict

FAST = Optimizer(learning_rate=1e-2)
PLAIN = Recipe(optimizer=FAST)
NEAR = Recipe(optimizer=FAST, reference=KLToStart(0.1))
AGAIN = Recipe(strategy=Stored(size=2), optimizer=FAST, token_weight=TokenMean())


@pytest.fixture
def make_staged(make_envs: Any, make_policy: Any) -> Any:
    """(stages, ...) -> an agent of stages on 16 lanes whose random policy is right half of the time."""

    def make(*stages: Stage, guidance: Any = None, seed: int = 3, verifier: Any = None, **options: Any) -> Staged:
        envs = make_envs(16, 4, guidance=guidance, verifier=verifier)
        return Staged(make_policy(envs), envs, seed=seed, stages=stages, **options)

    return make


def run(agent: Any, updates: int) -> list[dict[str, Any]]:
    return [agent.update() for _ in range(updates)]


# -- one stage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [Stage(NEAR, 2), Stage(NEAR, 9, keep=3, drop=0.5)])
def test_one_stage_is_its_recipe_bit_for_bit_and_goes_on_for_as_long_as_it_is_asked(
    make_staged: Any, make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any, stage: Stage
) -> None:
    envs = make_envs(16, 4)
    plain, staged = GRPO(make_policy(envs), envs, seed=3, recipe=NEAR), make_staged(stage)
    assert run(staged, 4) == run(plain, 4)
    assert same_weights(weights_of(staged.policy), weights_of(plain.policy))
    assert (staged.updates, staged.sampled_tokens, staged.number) == (4, plain.sampled_tokens, 0)
    assert [g.group for g in staged.groups] == [g.group for g in plain.groups]
    assert staged.last_update.number == 4 and staged.evaluate(problems=4).accuracy >= 0


@pytest.mark.parametrize("method", ["learn", "evaluate", "save", "load"])
def test_it_takes_what_the_agent_protocol_says_with_the_same_defaults(method: str) -> None:
    promised = inspect.signature(getattr(Agent, method)).parameters
    offered = inspect.signature(getattr(Staged, method)).parameters
    assert list(offered)[: len(promised)] == list(promised)
    assert [offered[name].default for name in promised] == [promised[name].default for name in promised]


# -- handing over ------------------------------------------------------------------------------------------------------


def test_the_order_of_problems_and_the_counts_go_on(make_staged: Any) -> None:
    agent = make_staged(
        Stage(PLAIN, 2), Stage(dataclasses.replace(PLAIN, token_weight=TokenMean()), 1), Stage(PLAIN, 1)
    )
    numbers: list[int] = []
    tokens, lines = 0, []
    for _ in range(5):
        lines.append(agent.update())
        tokens += lines[-1]["sampled_tokens"]
        numbers += [group.group for group in agent.groups]
        assert agent.sampled_tokens == tokens
    assert numbers == list(range(20)) and [line["stage"] for line in lines] == [0, 0, 1, 2, 2]
    assert [line["update"] for line in lines] == [1, 2, 3, 4, 5] and (agent.number, agent.done) == (2, 2)


def test_a_stage_sees_the_problems_that_one_agent_would_have_seen(
    make_staged: Any, make_envs: Any, make_policy: Any
) -> None:
    envs = make_envs(16, 4)
    plain, staged = GRPO(make_policy(envs), envs, seed=3, recipe=PLAIN), make_staged(Stage(PLAIN, 1), Stage(PLAIN, 1))
    for _ in range(3):
        plain.update(), staged.update()
        assert [g.problem_id for g in staged.groups] == [g.problem_id for g in plain.groups]


def test_the_reference_of_a_stage_is_the_policy_as_it_is_when_it_begins(
    make_staged: Any, weights_of: Any, same_weights: Any
) -> None:
    agent = make_staged(Stage(PLAIN, 2), Stage(NEAR, 2))
    start = weights_of(agent.policy)
    agent.learn(2)
    boundary = weights_of(agent.policy)
    agent.learn(2)
    with agent.agent.learner.reference.model() as model:
        kept = {name: value.clone() for name, value in model.state_dict().items()}
    assert same_weights(kept, boundary) and not same_weights(kept, start)
    assert not same_weights(kept, weights_of(agent.policy))


def test_each_stage_has_an_optimiser_of_its_own_and_rates_by_all_updates(make_staged: Any) -> None:
    rates: list[float] = []
    slow = Recipe(optimizer=Optimizer(learning_rate=1e-2, decay=4))
    agent = make_staged(Stage(slow, 1), Stage(slow, 1))
    for _ in range(3):
        agent.update()
        rates.append(agent.agent.learner.optimizer.param_groups[0]["lr"])
        steps = {int(state["step"]) for state in agent.agent.learner.optimizer.state.values()}
        assert steps == {agent.done}
    assert rates == pytest.approx([0.75e-2, 0.5e-2, 0.25e-2])


def test_the_wrapper_is_as_it_was_when_a_stage_begins(make_staged: Any) -> None:
    moved = dataclasses.replace(PLAIN, controller=TargetSuccess(length=6, gain=1.0, target=0.99))
    agent = make_staged(Stage(moved, 2), Stage(PLAIN, 1), Stage(moved, 1), guidance={"length": 6, "ratio": 0.5})
    lengths = [agent.update()["reveal_length"] for _ in range(4)]
    assert lengths[0] == lengths[2] == lengths[3] == 6 != lengths[1]
    assert agent.envs.plan.rule is not None and agent.agent.controller.history[-1]["length"] == agent.envs.length
    agent = make_staged(Stage(moved, 2), Stage(PLAIN, 2), guidance={"length": 6, "ratio": 0.5})
    agent.learn(3)
    assert agent.envs.plan.rule is None  # nobody follows the controller of a stage that is over


def test_kept_groups_are_handed_out_and_neither_counted_nor_drawn_again(make_staged: Any) -> None:
    agent = make_staged(Stage(PLAIN, 3, keep=2), Stage(AGAIN, 2), Stage(PLAIN, 2))
    kept: list[Group] = []
    for _ in range(3):
        agent.update()
        kept += agent.groups
    tokens, kept = agent.sampled_tokens, kept[-8:]
    assert [len(groups) for groups in agent.store] == [4, 4] and [*agent.store[0], *agent.store[1]] == kept
    seen = []
    for _ in range(2):
        line = agent.update()
        assert line["sampled_tokens"] == 0 and line["stage"] == 1 and line["loss"] is not None
        seen += agent.groups
    assert agent.sampled_tokens == tokens and len(seen) == len({id(group) for group in seen}) == 4
    assert all(any(group is one for one in kept) for group in seen)
    agent.update()
    assert [group.group for group in agent.groups] == [12, 13, 14, 15] and agent.sampled_tokens > tokens
    assert len(agent.store) == 2  # until a stage keeps others


def test_a_stage_that_keeps_begins_with_an_empty_store(make_staged: Any) -> None:
    agent = make_staged(Stage(PLAIN, 3, keep=3), Stage(AGAIN, 1), Stage(PLAIN, 2, keep=3), Stage(AGAIN, 1))
    agent.learn(7)
    assert [[g.group for g in groups] for groups in agent.store] == [[12, 13, 14, 15], [16, 17, 18, 19]]
    assert all(group.group >= 12 for group in agent.groups)


# -- dropping ----------------------------------------------------------------------------------------------------------


class FewProblems(WrappedSource):
    """Twelve problems in turn."""

    num_problems = 12

    def draw(self, seed: Any, index: int) -> str:
        offset = 5 if isinstance(seed, list) else 0
        return f"{(index * 7 + offset) % 12 % 10}+{(index * 7 + offset) % 12 // 10}"

    def with_split(self, split: str) -> Any:
        return self.source.with_split(split)


class SmallSums:
    """Right on the sums of a small first number, whatever is written."""

    def __call__(self, problems: Any, completions: Any) -> list[Verdict]:
        return [Verdict(Outcome.CORRECT if int(p.problem_id[0]) < 6 else Outcome.WRONG) for p in problems]


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_a_share_of_the_solved_problems_is_not_drawn_any_more(make_staged: Any, share: float, count: int) -> None:
    # first numbers 0..9 and 0, 1 again: of the twelve problems 0+0..5+0, 0+1 and 1+1 are solved, eight
    agent = make_staged(Stage(PLAIN, 3, drop=share), Stage(PLAIN, 9), verifier=SmallSums())
    base = agent.envs.unwrapped
    task = base.task
    task.source = FewProblems(AdditionSource(1))
    agent._source = task.source
    agent.learn(4)
    solved = {"0+0", "1+0", "2+0", "3+0", "4+0", "5+0", "0+1", "1+1"}
    assert len(agent.dropped) == count and agent.dropped <= solved
    seen = set()
    for _ in range(8):
        agent.update()
        seen |= {group.problem_id for group in agent.groups}
    assert not seen & agent.dropped and len(seen) == 12 - count
    assert isinstance(base.task.source, Without) == (count > 0) and isinstance(task.source, FewProblems)


def test_what_was_solved_with_guidance_or_only_once_is_not_dropped(make_episode: Any) -> None:
    from g2rpo_env.agents.staged import _is_solved

    right, helped, wrong = make_episode("pss"), make_episode("prs"), make_episode("pss", correct=False)
    failed = make_episode("pss", correct=False, valid=False)
    assert _is_solved(Group((right, right))) and _is_solved(Group((right, failed)))
    assert not any(_is_solved(Group(one)) for one in ((right, helped), (right, wrong), (failed,)))


# -- saving and continuing ---------------------------------------------------------------------------------------------

GUIDED = dataclasses.replace(NEAR, controller=TargetSuccess(length=6, gain=0.5))
SCHEDULE = (Stage(GUIDED, 3, keep=2, drop=0.5), Stage(AGAIN, 3), Stage(GUIDED, 2, keep=1), Stage(AGAIN, 2))


@pytest.mark.parametrize("stop", [0, 1, 2, 3, 4, 6, 7, 9])
def test_a_stop_anywhere_changes_nothing(
    make_staged: Any, make_envs: Any, tmp_path: Path, weights_of: Any, same_weights: Any, stop: int
) -> None:
    guidance = {"length": 6, "ratio": 0.5}
    whole, stopped = (make_staged(*SCHEDULE, guidance=guidance) for _ in range(2))
    lines, first = run(whole, 11), run(stopped, stop)
    stopped.save(tmp_path)
    state = json.dumps(make_records(stopped.store))
    stopped.learn(1)  # what happens to the saved agent afterwards is nobody's business
    resumed = Staged.load(tmp_path, make_envs(16, 4, guidance=guidance))
    assert (
        resumed.stages == whole.stages and resumed.updates == stop and json.dumps(make_records(resumed.store)) == state
    )
    assert first + run(resumed, 11 - stop) == lines
    assert same_weights(weights_of(whole.policy), weights_of(resumed.policy))
    assert resumed.dropped == whole.dropped and resumed.sampled_tokens == whole.sampled_tokens
    assert resumed.envs.unwrapped.state_dict() == whole.envs.unwrapped.state_dict()


def test_dropped_and_solved_problems_are_saved(make_staged: Any, make_envs: Any, tmp_path: Path) -> None:
    stages = (Stage(PLAIN, 2, drop=1.0), Stage(PLAIN, 2, drop=1.0), Stage(PLAIN, 1))
    whole, stopped = (make_staged(*stages, verifier=SmallSums()) for _ in range(2))
    lines, first = run(whole, 6), run(stopped, 3)
    assert stopped.dropped and whole.dropped > stopped.dropped
    stopped.save(tmp_path)
    resumed = Staged.load(tmp_path, make_envs(16, 4, verifier=SmallSums()))
    assert resumed.dropped == stopped.dropped and first + run(resumed, 3) == lines and resumed.dropped == whole.dropped


def test_the_store_keeps_its_numbers_in_full(make_episode: Any, tmp_path: Path) -> None:
    one = make_episode(
        "prss", [0, 0, -1 / 3, -2 / 7], parent=(1, 2, 3), train_prefix=np.array([4, 5], np.int32), stage=2
    )
    store = [Groups([Group((one,)), Group((one, one))]), Groups([Group((one,))])]
    file = tmp_path / STORE_FILE
    file.write_text("".join(json.dumps(record) + "\n" for record in make_records(store)))
    again = read_store(file)
    assert [[len(group) for group in groups] for groups in again] == [[1, 2], [1]]
    read = again[0][0].episodes[0]
    assert np.array_equal(read.logprob_T, one.logprob_T) and read.logprob_T.dtype == np.float32
    for name in ("tokens_T", "role_T", "train_prefix"):
        assert np.array_equal(getattr(read, name), getattr(one, name))
    assert (read.parent, read.stage, read.verdict.outcome) == (one.parent, one.stage, one.verdict.outcome)


@dataclasses.dataclass(frozen=True)
class Rarely:
    """No groups in the first two of three updates, those of a rollout in the third, by the number in the order."""

    def __call__(self, policy: Any, envs: Any) -> Groups:
        groups = Rollout()(policy, envs)
        return groups if groups[0].group // len(groups) % 3 == 2 else Groups(left_out=groups.episodes)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_updates_without_groups_keep_their_place_in_the_store(
    make_staged: Any, make_envs: Any, tmp_path: Path, stop: int
) -> None:
    rare = dataclasses.replace(PLAIN, strategy=Rarely())
    stages = (Stage(rare, 5, keep=2), Stage(AGAIN, 2), Stage(rare, 1))
    whole, stopped = (make_staged(*stages) for _ in range(2))
    lines, first = run(whole, 8), run(stopped, stop)
    assert lines[5]["loss"] is None  # the third update is not among the last two of five
    stopped.save(tmp_path)
    resumed = Staged.load(tmp_path, make_envs(16, 4))
    assert [len(groups) for groups in resumed.store] == [len(groups) for groups in stopped.store]
    assert first + run(resumed, 8 - stop) == lines


def test_a_store_of_an_earlier_version_has_the_updates_of_its_lines(make_episode: Any, tmp_path: Path) -> None:
    group, file = Group((make_episode("ps"),)), tmp_path / STORE_FILE
    file.write_text("".join(json.dumps(r) + "\n" for r in make_records([Groups(), Groups([group]), Groups()])))
    assert [len(groups) for groups in read_store(file)] == [1]
    assert [len(groups) for groups in read_store(file, 3)] == [0, 1, 0]
    with pytest.raises(ResumeError, match="kept=1 of stages.json must be above update=1"):
        read_store(file, 1)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / STAGES_FILE).unlink(), "must hold stages.json, written by Staged.save"),
        (lambda folder: (folder / STAGES_FILE).write_text("{"), "stages.json is damaged"),
        (lambda folder: (folder / STAGES_FILE).write_text("{}"), "stages.json is damaged"),
        (lambda folder: (folder / STORE_FILE).unlink(), "store.jsonl' is damaged"),
        (lambda folder: (folder / STORE_FILE).write_text("{}\n"), "store.jsonl' is damaged"),
        (lambda folder: (folder / "training_state.pt").write_bytes(b"no"), "training_state.pt is damaged"),
    ],
)
def test_a_damaged_checkpoint_is_named(
    make_staged: Any, make_envs: Any, tmp_path: Path, damage: Any, words: str
) -> None:
    agent = make_staged(Stage(PLAIN, 1, keep=1), Stage(AGAIN, 1))
    agent.learn(1)
    agent.save(tmp_path)
    damage(tmp_path)
    with pytest.raises(ResumeError, match=words):
        Staged.load(tmp_path, make_envs(16, 4))


# -- learning and refusals ---------------------------------------------------------------------------------------------


def test_learning_tells_its_callback_and_stops_when_that_says_so(make_staged: Any) -> None:
    agent, seen = make_staged(Stage(PLAIN, 1), Stage(PLAIN, 1)), []

    def note(one: Any, metrics: dict[str, Any]) -> bool:
        seen.append((one is agent, metrics["stage"]))
        return len(seen) < 3

    assert agent.learn(9, note) is agent and seen == [(True, 0), (True, 1), (True, 1)] and agent.updates == 3
    with pytest.raises(ConfigurationError, match="updates=-1 must be at least 0"):
        agent.learn(-1)


def test_answers_that_cannot_be_graded_are_warned_of_once_in_all_stages(make_staged: Any) -> None:
    agent = make_staged(Stage(PLAIN, 1), Stage(PLAIN, 2), verifier=MarkVerifier())
    with pytest.warns(UserWarning, match="^Update ") as found:
        agent.learn(3)
    assert [str(one.message)[:9] for one in found if str(one.message).startswith("Update")] == ["Update 1:"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Stage(PLAIN, 0), "updates=0 of a stage must be at least 1"),
        (lambda: Stage(PLAIN, float("nan")), "updates=nan must be a whole number"),  # type: ignore[arg-type]
        (lambda: Stage(PLAIN, 1, keep=-1), "keep=-1 of a stage must be at least 0"),
        (lambda: Stage(PLAIN, 1, drop=1.5), r"drop=1.5 of a stage must lie in \[0, 1\]"),
        (lambda: Stage("grpo", 1), "recipe='grpo' of a stage must be a Recipe"),
        (lambda: Stage(AGAIN, 1, keep=2), "keep=2 of a stage must be 0 where its strategy, Stored, hands out"),
        (lambda: Stage.from_config({"recipe": {}, "update": 1}), "'update' must be a field of a stage"),
    ],
)
def test_arguments_of_a_stage_are_named(make: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_schedules_that_cannot_work_are_refused_before_the_first_rollout(make_staged: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"stages=\(\) must be a list of one Stage or more"):
        make_staged()
    with pytest.raises(ConfigurationError, match=r"stages\[1\]: strategy=Stored hands out groups that were kept"):
        make_staged(Stage(PLAIN, 1), Stage(AGAIN, 1))
    helped = dataclasses.replace(PLAIN, controller=FixedGuidance(4.0))
    with pytest.raises(MissingGuidanceError, match=r"stages\[1\]: controller=FixedGuidance needs a guidance wrapper"):
        make_staged(Stage(PLAIN, 1), Stage(helped, 1))
    placed = dataclasses.replace(PLAIN, strategy=Reroll(places=("prompt",)))
    with pytest.raises(
        ConfigurationError, match=r"stages\[1\]: place='answer' of the guidance wrapper must be 'prompt'"
    ):
        make_staged(Stage(PLAIN, 1), Stage(placed, 1), guidance={"length": 4, "ratio": 0.5})

    class Raises:
        def __call__(self, reward_G: Any) -> Any:
            raise ZeroDivisionError

    broken = dataclasses.replace(PLAIN, advantage=Raises())
    with pytest.raises(ConfigurationError, match=r"stages\[1\]: advantage=Raises raises ZeroDivisionError"):
        make_staged(Stage(PLAIN, 1), Stage(broken, 1))


def test_what_a_later_stage_needs_of_the_environment_is_looked_for_before_the_first_rollout(
    make_envs: Any, make_policy: Any
) -> None:
    def stages(name: str) -> list[Stage]:
        return [Stage(recipes.get("raft"), 1), Stage(recipes.get(name), 1)]

    for size, name, words in [
        (1, "dpo", "group_size=1: groups must have two members or more"),
        (2, "igrpo", "drafts=4 must be at most group_size=2"),
    ]:
        envs = make_envs(4, size)
        with pytest.raises(ConfigurationError, match=rf"^stages\[1\]: {words}"):
            Staged(make_policy(envs), envs, stages=stages(name))
    envs = make_envs(8, 4)
    policy = make_policy(envs)
    policy.model.config.max_position_embeddings = envs.unwrapped.task.length
    with pytest.raises(BudgetError, match=r"^stages\[1\]: levels=.* must fit with contexts that are 3 tokens longer"):
        Staged(policy, envs, stages=stages("gac"))


def test_a_part_that_cannot_be_saved_leaves_no_folder(make_staged: Any, tmp_path: Path) -> None:
    class Plain:
        def __call__(self, reward_G: Any) -> Any:
            return reward_G

    agent = make_staged(Stage(PLAIN, 1), Stage(dataclasses.replace(PLAIN, advantage=Plain()), 1))
    with pytest.raises(ConfigurationError, match="advantage=Plain must be a dataclass to be saved"):
        agent.save(tmp_path / "new")
    assert not (tmp_path / "new").exists() and isinstance(agent.policy.device, torch.device)
