"""Tree: where it goes on, what the records of continued answers hold, and that one iteration is a rollout."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env.agents.parts.strategies import tree as module
from g2rpo_env.agents.parts.strategies.rollout import Rollout
from g2rpo_env.agents.parts.strategies.tree import SearchTree, Tree, continue_from, join
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError

SIZE = 4
END = 7
"""The token that ends a step in hand-made answers."""


@pytest.fixture
def many_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of all tokens end a step, so that random answers have steps."""
    monkeypatch.setattr(module, "find_line_ends", lambda tokenizer: np.arange(258) % 4 == 2)


def collect_from(strategy: Any, make_policy: Any, envs: Any, seed: int = 3) -> Any:
    """The groups of one update from the beginning of the order."""
    envs.unwrapped.load_state_dict({"root": seed, "counter": 0, "open": {}})
    return strategy(make_policy(envs), envs)


def records(episodes: Sequence[Any]) -> list[Any]:
    """Episodes as plain data with their exact log-probabilities."""
    return [(e.to_record(), e.logprob_T.tolist()) for e in episodes]


def test_one_iteration_is_a_rollout_to_the_bit(make_envs: Any, make_policy: Any) -> None:
    one = collect_from(Tree(iterations=1), make_policy, make_envs(8, SIZE))
    two = collect_from(Rollout(), make_policy, make_envs(8, SIZE))
    assert records(one.episodes) == records(two.episodes) and one.metrics == {}


def test_the_first_iteration_is_a_rollout(make_envs: Any, make_policy: Any) -> None:
    groups = collect_from(Tree(), make_policy, make_envs(8, SIZE))
    first = [e for e in groups.episodes if e.stage == 0]
    assert records(first) == records(collect_from(Rollout(), make_policy, make_envs(8, SIZE)).episodes)


@pytest.mark.usefixtures("many_ends")
@pytest.mark.parametrize("guidance", [None, {"length": 5, "ratio": 0.5}], ids=["plain", "guided"])
def test_continued_answers_begin_as_the_answers_that_they_branched_from(
    make_envs: Any, make_policy: Any, guidance: Any
) -> None:
    groups = collect_from(Tree(), make_policy, make_envs(12, SIZE, guidance=guidance))
    branched = 0
    for group in groups:
        assert [e.member for e in group.episodes] == list(range(4 * SIZE))
        assert [e.stage for e in group.episodes] == [stage for stage in range(4) for _ in range(SIZE)]
        places = {}
        for e in group.episodes:
            assert e.reveal == int((e.role_T == Role.REVEALED).sum())
            assert ((e.logprob_T < 0) == e.sampled_T).all()  # no token that was sampled is recorded with 0
            if e.parent is not None:
                number, member, position = e.parent
                parent = group.episodes[member]
                assert number == group.group and parent.stage < e.stage and 0 < position < len(parent.tokens_T)
                for name in ("tokens_T", "role_T", "logprob_T"):
                    assert np.array_equal(getattr(e, name)[:position], getattr(parent, name)[:position])
                assert parent.sampled_T[position - 1] and int(parent.tokens_T[position - 1]) % 4 == 2
                places.setdefault(e.stage, set()).add((member, position))
                branched += 1
        assert all(len(found) == 1 for found in places.values())  # all members go on from one place
        answers = {tuple(e.tokens_T.tolist()) for e in group.episodes}
        assert len(answers) > 3 * SIZE  # every stage has numbers of its own
    assert branched >= 2 * SIZE * len(groups)


@pytest.mark.usefixtures("many_ends")
@pytest.mark.parametrize("guidance", [None, {"length": 5, "ratio": 0.5}], ids=["plain", "guided"])
def test_log_probabilities_equal_those_of_a_full_pass(make_envs: Any, make_policy: Any, guidance: Any) -> None:
    envs = make_envs(8, SIZE, guidance=guidance)
    groups = collect_from(Tree(), make_policy, envs)
    policy = make_policy(envs)
    for e in groups.episodes:
        tokens = torch.from_numpy(e.tokens_T.astype(np.int64))[None]
        with torch.no_grad():
            full_T = policy.token_log_probs(tokens, torch.ones_like(tokens, dtype=torch.bool))[0].numpy()
        assert np.allclose(full_T[e.sampled_T], e.logprob_T[e.sampled_T], atol=1e-5)


@pytest.mark.usefixtures("many_ends")
def test_guidance_in_the_prompt_stays_there_and_is_not_forgotten(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, SIZE, guidance={"length": 5, "ratio": 1.0, "place": "prompt"})
    groups = collect_from(Tree(), make_policy, envs)
    assert any(e.parent for e in groups.episodes) and {e.reveal for e in groups.episodes} == {5}
    for group in groups:
        assert len({tuple(e.tokens_T[e.role_T == Role.PROMPT].tolist()) for e in group.episodes}) == 1


@pytest.mark.usefixtures("many_ends")
def test_what_answers_share_was_sampled_once(make_envs: Any, make_policy: Any) -> None:
    groups = collect_from(Tree(), make_policy, make_envs(8, SIZE))
    before = sum(int(e.sampled_T[: e.parent[2]].sum()) for e in groups.episodes if e.parent)
    assert before > 0
    assert groups.sampled_tokens == sum(int(e.sampled_T.sum()) for e in groups.episodes) - before


@pytest.mark.usefixtures("many_ends")
@pytest.mark.parametrize("lanes", [4, 8])
def test_answers_do_not_depend_on_the_lanes(make_envs: Any, make_policy: Any, lanes: int) -> None:
    together = collect_from(Tree(), make_policy, make_envs(16, SIZE))
    envs = make_envs(lanes, SIZE)
    envs.unwrapped.load_state_dict({"root": 3, "counter": 0, "open": {}})
    policy = make_policy(envs)
    parts = [Tree()(policy, envs) for _ in range(16 // lanes)]
    one = [(e.group, e.member, e.stage, e.parent, e.tokens_T.tolist()) for e in together.episodes]
    two = [(e.group, e.member, e.stage, e.parent, e.tokens_T.tolist()) for part in parts for e in part.episodes]
    assert one == two


def test_answers_without_line_ends_are_never_continued(
    make_envs: Any, make_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_line_ends", lambda tokenizer: np.zeros(258, np.bool_))
    groups = collect_from(Tree(iterations=3), make_policy, make_envs(8, SIZE))
    assert all(e.parent is None for e in groups.episodes) and {len(group) for group in groups} == {3 * SIZE}
    assert len({tuple(e.tokens_T.tolist()) for e in groups[0].episodes}) > 2 * SIZE


# -- the walk ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def write(make_episode: Any) -> Any:
    """(tokens behind a prompt of two, reward, ...) -> an answer whose tokens each have log-probability -0.5."""

    def make(tokens: Sequence[int], reward: float, **fields: Any) -> Any:
        roles = fields.pop("roles", "pp" + "s" * len(tokens))
        log_probs = [-0.5 if role == "s" else 0.0 for role in roles]
        episode = make_episode(roles, log_probs, reward=reward, **fields)
        return dataclasses.replace(episode, tokens_T=np.array([5, 6, *tokens], np.int32))

    return make


def make_tree() -> SearchTree:
    return SearchTree(np.arange(20) == END)


def test_the_first_steps_of_answers_are_the_children_of_the_root(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 9], 1.0), write([1, END, 8], 0.0), write([2, 3], 1.0), write([END, 4], 0.0)])
    one, whole, short = tree.root.children.values()
    assert (tree.root.visits, tree.root.total) == (4, 2.0)
    assert [(node.end, node.visits, node.total, node.ended) for node in (one, whole, short)] == [
        (4, 2, 1.0, False),
        (4, 1, 1.0, True),  # without a line end the step is the whole answer
        (3, 1, 0.0, False),
    ]
    # priors: two tokens of -1/2, exp(-1 / 2^1.25); one token: exp(-1/2)
    assert one.prior == pytest.approx(math.exp(-1 / 2**1.25)) and short.prior == pytest.approx(math.exp(-0.5))


def test_the_walk_goes_to_the_child_with_the_highest_score(write: Any) -> None:
    # Children of the root after four answers: x = (1 END), N 2, Q 1/2, p exp(-1 / 2^1.25) = .6567;
    # y = (END), N 1, Q 0, p exp(-1/2) = .6065; the whole answer (2 3) has ended.
    # U = Q + c p sqrt(4) / (1 + N): x 1/2 + .4378 c, y .6065 c: equal at c = .5 / .1687 = 2.963.
    def start(c: float) -> Any:
        tree = make_tree()
        answers = [write([1, END, 9], 1.0), write([1, END, 8], 0.0), write([2, 3], 1.0), write([END, 4], 0.0)]
        tree.add([tree.root], answers)
        return [node.end for node in tree.walk(3, c)]

    assert start(0.0) == start(1.0) == start(2.9) == [0, 4]  # and stops there: x has no child
    assert start(3.0) == [0, 3]  # y has one visit


def test_visits_and_rewards_are_added_along_the_path_and_depth_ends_it(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 9], 1.0), write([1, END, 8], 1.0)])
    path = tree.walk(3, 1.0)
    tree.add(path, [write([1, END, 2, END, 3], 1.0), write([1, END, 2, END, 4], 0.0)])
    root, first = tree.root, path[1]
    (second,) = first.children.values()
    assert [(n.visits, n.total) for n in (root, first, second)] == [(4, 3.0), (4, 3.0), (2, 1.0)]
    assert second.end == 6  # of a prompt of two tokens and two steps of two
    assert second.prior == pytest.approx(math.exp(-1 / 2**1.25))  # of its own step alone
    assert tree.walk(3, 1.0) == [root, first, second] and tree.walk(2, 1.0) == [root, first, second]
    assert tree.walk(1, 1.0) == [root, first]


def test_where_everything_has_ended_the_root_is_tried_again(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, 2], 1.0), write([3, END], 1.0)])  # a line end at the very end ends the answer too
    assert all(node.ended for node in tree.root.children.values())
    assert tree.walk(3, 1.0) == [tree.root]


def test_a_root_of_one_visit_is_not_left(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 2], 1.0)])
    assert tree.walk(3, 1.0) == [tree.root]


def test_answers_that_nobody_could_grade_are_kept_and_say_nothing(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 2], 0.0, valid=False), write([3, END, 2], 1.0)])
    assert len(tree.episodes) == 2 and (tree.root.visits, len(tree.root.children)) == (1, 1)


def test_a_revealed_beginning_is_part_of_the_first_step_but_not_of_its_prior(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([END, 1, END, 2], 1.0, roles="pprsss")])
    (node,) = tree.root.children.values()
    assert node.end == 5 and node.prior == pytest.approx(math.exp(-1 / 2**1.25))


def test_the_options_of_a_reset_repeat_the_place_for_every_member(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 2], 1.0), write([1, END, 3], 1.0)])
    options = continue_from([tree.root, tree.walk(3, 1.0)[-1]], [4, 9], 2)
    assert options["group"].tolist() == [4, 4, 9, 9] and options["member"].tolist() == [0, 1, 0, 1]
    assert options["prefix"][:2] == options["prefix_roles"][:2] == [None, None]
    assert options["prefix"][2].tolist() == options["prefix"][3].tolist() == [5, 6, 1, END]
    assert options["prefix_roles"][3].tolist() == [0, 0, 2, 2]


def test_a_continued_answer_takes_over_what_is_known_of_its_beginning(write: Any) -> None:
    tree = make_tree()
    tree.add([tree.root], [write([1, END, 2], 1.0, member=3, reveal=0), write([1, END, 3], 1.0, member=4)])
    joined = join(tree.walk(3, 1.0)[-1], write([1, END, 8, 9], 0.0), 11)
    assert (joined.member, joined.parent, joined.reveal) == (11, (0, 3, 4), 0)
    assert joined.logprob_T.tolist() == [0, 0, -0.5, -0.5, -0.5, -0.5]


# -- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"iterations": 0}, "iterations=0 must be at least 1"),
        ({"depth": 0}, "depth=0 must be at least 1"),
        ({"exploration": -0.1}, "exploration=-0.1 must be finite and at least 0"),
        ({"exploration": math.inf}, "exploration=inf must be finite"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Tree(**arguments)


def test_it_needs_steps_where_it_continues_answers() -> None:
    assert Tree().needs == {"steps"} and Tree(iterations=1).needs == frozenset()
