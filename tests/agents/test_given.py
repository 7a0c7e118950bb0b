"""Given: what parts may require, computed once, and refused where nobody provides it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as drawn
from hypothesis import strategies as st

from g2rpo_env.agents import recipes
from g2rpo_env.agents.given import (
    PROVIDED,
    SLOTS,
    Given,
    check_parts,
    check_requirements,
    find_answer,
    get_completion,
    locate_tokens,
)
from g2rpo_env.agents.parts.advantages import GroupCentered, GroupNormalized
from g2rpo_env.agents.parts.losses import ClippedSurrogate
from g2rpo_env.agents.parts.shaping import EnvironmentReward
from g2rpo_env.agents.parts.token_weights import Every, SequenceMean
from g2rpo_env.agents.policy.sampling import Truncation
from g2rpo_env.agents.recipe import Optimizer, Recipe
from g2rpo_env.episode import Group, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.tokenizer import char_tokenizer, encode
from g2rpo_env.verdict import Outcome, Verdict

GUIDED = {"length": 6, "ratio": 0.5}


def requiring(*names: str) -> Any:
    """A part that requires something and cannot be called."""

    @dataclass(frozen=True)
    class Part:
        requires = frozenset(names)

    return Part()


@pytest.fixture
def make_agent(make_envs: Any, make_policy: Any) -> Any:
    def make(name: str = "g2rpo-a", **parts: Any) -> Any:
        envs = make_envs(16, 4, guidance=GUIDED)
        return recipes.make(name, make_policy(envs), envs, **parts)

    return make


@pytest.fixture
def agent(make_agent: Any) -> Any:
    """An agent with a reference that differs from the policy."""
    from g2rpo_env.agents.parts.references import KLToStart

    made = make_agent(reference=KLToStart())
    with torch.no_grad():
        for parameter in made.learner.reference._model.parameters():
            parameter.mul_(1.1)
    return made


@pytest.fixture
def groups(agent: Any) -> Any:
    return agent.recipe.strategy(agent.policy, agent.envs)


@pytest.fixture
def given(agent: Any) -> Given:
    return Given(agent.learner, agent.envs.unwrapped.task)


def forward(model: Any, episode: Any) -> torch.Tensor:
    """Log-probabilities of every next token, (T - 1, V), by the model's own forward."""
    with torch.no_grad():
        logits = model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
    return torch.log_softmax(logits, -1)[:-1]


def test_log_probs_are_those_of_the_models_own_forward(agent: Any, groups: Any, given: Given) -> None:
    part = requiring("log_probs", "reference_log_probs", "entropy")
    for group in groups:
        found = given.for_group(part, group)
        assert set(found) == {"log_prob_GT", "reference_log_prob_GT", "entropy_GT"}
        for row, episode in enumerate(group.episodes):
            asked = np.isin(episode.role_T, (Role.SAMPLED, Role.REVEALED))
            log_p = forward(agent.policy.model, episode)
            reference = forward(agent.learner.reference._model, episode)
            tokens = torch.from_numpy(episode.tokens_T[1:].astype(np.int64))[:, None]
            expected = {
                "log_prob_GT": log_p.gather(1, tokens)[:, 0],
                "reference_log_prob_GT": reference.gather(1, tokens)[:, 0],
                "entropy_GT": -(log_p.exp() * log_p).sum(-1),
            }
            for name, values in expected.items():
                full_T = np.where(asked, np.concatenate([[0.0], values.numpy()]), 0.0)
                assert found[name][row] == pytest.approx(full_T, abs=2e-5), name


def test_a_pass_is_made_once_for_all_who_ask(agent: Any, groups: Any, given: Given) -> None:
    calls: list[int] = []
    score = agent.policy.token_log_probs

    def count(tokens: Any, mask: Any, where: Any) -> Any:
        calls.append(len(tokens))
        return score(tokens, mask, where)

    agent.learner.log_probs = lambda batch: agent.learner._score(count, batch)
    part = requiring("log_probs")
    first = given.for_groups(part, groups)["log_prob_GT"]
    assert sum(calls) == 16
    again = [given.for_group(part, group)["log_prob_GT"] for group in groups]
    assert sum(calls) == 16 and all(a is b for a, b in zip(first, sum(again, []), strict=True))


def test_passes_of_an_update_hold_many_groups(make_agent: Any) -> None:
    @dataclass(frozen=True)
    class Likely:
        """Rewards by likelihood, which each group asks for on its own."""

        requires = frozenset({"log_probs"})

        def __call__(self, group: Any, **given: Any) -> np.ndarray:
            return group.reward_G + [lp_T.sum() for lp_T in given["log_prob_GT"]]

    agent = make_agent(shaping=Likely(), token_weight=SequenceMean(revealed=True, which="entropy"))
    rows: dict[str, list[int]] = {"log_probs": [], "entropies": []}
    for name, called in rows.items():
        score = getattr(agent.learner, name)
        setattr(agent.learner, name, lambda batch, s=score, c=called: (c.append(len(batch)), s(batch))[1])
    agent.update()
    guided = sum(e.guided for e in agent.groups.episodes)
    # One batch each, and entropies of reveals alone.
    assert rows == {"log_probs": [16], "entropies": [guided]}


def test_recorded_log_probs_stand_for_a_forward_pass_where_they_are_the_policys(make_agent: Any) -> None:
    agent = make_agent()
    groups = agent.recipe.strategy(agent.policy, agent.envs)
    task, part = agent.envs.unwrapped.task, requiring("old_log_probs")
    computed = Given(agent.learner, task).for_groups(part, groups)["old_log_prob_GT"]
    recorded = Given(agent.learner, task, recorded=True)
    assert groups.as_trained
    branch = replace(groups[0].episodes[0], parent=(0, 1, 3))  # its first tokens are another episode's
    for episode, got, want in zip(
        groups.episodes, recorded.for_groups(part, groups)["old_log_prob_GT"], computed, strict=True
    ):
        assert got == pytest.approx(want, abs=2e-5) and (got is episode.logprob_T) == (not episode.guided)
    assert recorded.per_token("old_log_probs", [branch])[0] is not branch.logprob_T


def test_a_part_reads_the_episodes_that_it_names(agent: Any, groups: Any, given: Given) -> None:
    @dataclass(frozen=True)
    class OfGuided:
        requires = frozenset({"log_probs"})

        def reads(self, episode: Any) -> bool:
            return episode.guided

    rows: list[int] = []
    score = agent.learner.log_probs
    agent.learner.log_probs = lambda batch: (rows.append(len(batch)), score(batch))[1]
    given.prepare(OfGuided(), groups)
    found = sum((given.for_group(OfGuided(), group)["log_prob_GT"] for group in groups), [])
    assert rows == [sum(e.guided for e in groups.episodes)]
    everything = given.for_groups(requiring("log_probs"), groups)["log_prob_GT"]  # zeros were kept for nobody else
    for episode, got, want in zip(groups.episodes, found, everything, strict=True):
        assert want.any() and got == pytest.approx(want if episode.guided else np.zeros_like(want))


@pytest.mark.parametrize("options", [{"top_k": 3}, {"top_p": 0.5}, {"min_p": 0.1}])
def test_a_truncated_distribution_is_not_the_one_that_is_trained(make_agent: Any, options: dict[str, Any]) -> None:
    agent = make_agent()
    agent.policy.truncation = Truncation(**options)
    assert not agent.recipe.strategy(agent.policy, agent.envs).as_trained


def test_parts_without_requirements_are_given_nothing(groups: Any, given: Given) -> None:
    assert given.for_group(object(), groups[0]) == {} and given.for_groups(object(), groups) == {}
    episodes = groups.episodes
    assert given.for_episodes(object(), episodes, np.zeros(len(episodes))) == [{}] * len(episodes)


def test_texts_problem_task_and_budget(agent: Any, groups: Any, given: Given) -> None:
    part, task = requiring("texts", "problem", "task", "budget"), agent.envs.unwrapped.task
    found = given.for_group(part, groups[1])
    assert found["task"] is task and found["budget"] == 10
    assert found["problem"] == task.source.get(groups[1].problem_id)
    assert given.for_groups(part, groups)["problem"] == [task.source.get(g.problem_id) for g in groups]
    for text, episode in zip(found["completion_G"], groups[1].episodes, strict=True):
        answer_T = episode.tokens_T[episode.role_T != Role.PROMPT]
        if answer_T[-1] == task.eos_token_id:
            answer_T = answer_T[:-1]
        assert text == task.tokenizer.decode(answer_T)


def test_a_token_weight_gets_values_of_its_episode(agent: Any, groups: Any, given: Given) -> None:
    episodes = groups.episodes
    rows = given.for_episodes(requiring("advantage", "log_probs", "texts"), episodes, np.arange(16.0))
    assert [row["advantage"] for row in rows] == list(range(16))
    assert all(row["log_prob_T"].shape == e.tokens_T.shape for row, e in zip(rows, episodes, strict=True))
    assert all(isinstance(row["completion"], str) for row in rows)
    revealed = given.for_episodes(requiring("entropy"), episodes, np.zeros(16))
    for row, episode in zip(revealed, episodes, strict=True):
        assert ((row["entropy_T"] > 0) == (episode.role_T == Role.REVEALED)).all()


def test_step_ends_are_sampled_tokens_with_a_line_end(make_episode: Any, given: Given) -> None:
    ids, _ = encode(char_tokenizer(), "1\n2\n3\n")
    episode = replace(make_episode("psssrs"), tokens_T=ids)
    (end_T,) = given.for_group(requiring("step_ends"), Group((episode,)))["step_end_GT"]
    assert end_T.tolist() == [False, True, False, True, False, True]  # the token at 4 is no line end, roles p s s s r s


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("so 42.", "42", [3, 4]),
        ("42 or 42", "42", [6, 7]),  # the last occurrence
        ("none", "42", []),
        ("anything", "", []),
        ("ä42é", "42", [2, 3]),  # the two bytes of ä are tokens 0 and 1
        ("x=é", "é", [2, 3]),
    ],
)
def test_answer_spans_by_hand(make_envs: Any, make_episode: Any, text: str, answer: str, expected: list[int]) -> None:
    assert find_span(make_envs(), make_episode, encode(char_tokenizer(), text)[0], answer) == expected


def find_span(envs: Any, make_episode: Any, ids: np.ndarray, answer: str) -> list[int]:
    """The places of an answer among the tokens behind a prompt of one token."""
    tokens_T = np.concatenate([[5], ids]).astype(np.int32)
    episode = replace(make_episode("p" + "s" * len(ids)), tokens_T=tokens_T, verdict=Verdict(Outcome.WRONG, answer))
    return (np.flatnonzero(find_answer(envs.unwrapped.task, episode)) - 1).tolist()


def test_an_answer_does_not_stand_in_what_ends_the_completion(make_envs: Any, make_episode: Any) -> None:
    # The end token's name is <eos>, which has an e, an o and an s; the stop string has an s.
    ids, _ = encode(char_tokenizer(), "so e")
    ended, end = np.append(ids, 1), make_envs()
    assert [find_span(end, make_episode, ended, answer) for answer in ("e", "s", "o", "eos")] == [[3], [0], [1], []]
    stop = make_envs(stop_strings=("is",))
    assert find_span(stop, make_episode, encode(char_tokenizer(), "sois")[0], "s") == [0]


@drawn(st.text(alphabet="ab1é€ \n", max_size=12))
def test_a_byte_stands_where_its_character_does(text: str) -> None:
    ids, _ = encode(char_tokenizer(), text)
    found, start_K, end_K = locate_tokens(char_tokenizer(), ids)
    assert found == text and len(start_K) == len(end_K) == len(ids)
    place_of_byte = [place for place, character in enumerate(text) for _ in character.encode()]
    assert start_K.tolist() == place_of_byte and end_K.tolist() == [place + 1 for place in place_of_byte]


def test_a_stop_string_is_cut_from_a_completion(make_envs: Any, make_episode: Any) -> None:
    task = make_envs(stop_strings=("##",)).unwrapped.task
    ids, _ = encode(char_tokenizer(), "12##")
    episode = replace(make_episode("ssss"), tokens_T=ids, terminated=True)
    assert get_completion(task, episode) == "12"
    assert get_completion(task, replace(episode, terminated=False, truncated=True)) == "12##"


def test_states_come_group_by_group(agent: Any, groups: Any, given: Given) -> None:
    states_of = given.for_groups(requiring("states"), groups)["states_of"]
    for group in groups:
        for episode, state in zip(group.episodes, states_of(group), strict=True):
            assert state.position_M.tolist() == np.flatnonzero(episode.sampled_T).tolist()
            assert state.residual_MV.shape == (len(state.position_M), len(state.column_V))


@pytest.mark.parametrize("microbatch", [None, 1, 3])
def test_states_with_every_column_are_the_same_in_any_passes(make_agent: Any, microbatch: Any) -> None:
    agent = make_agent(optimizer=Optimizer(microbatch=microbatch))
    (group, *_) = agent.recipe.strategy(agent.policy, agent.envs)
    given = Given(agent.learner, agent.envs.unwrapped.task)
    states_of = given.for_groups(requiring("states"), [group])["states_of"]
    expected = agent.policy.token_states(group.episodes, every_column=True)
    for state, wanted in zip(states_of(group, every_column=True), expected, strict=True):
        assert len(state.column_V) == agent.policy.vocab_size
        assert torch.allclose(state.hidden_MD, wanted.hidden_MD, atol=1e-5)
        assert torch.allclose(state.residual_MV, wanted.residual_MV, atol=1e-6)


@pytest.mark.parametrize("slot", [name for name in SLOTS if name not in ("controller", "optimizer")])
def test_an_unknown_requirement_is_refused_when_the_agent_is_made(make_agent: Any, slot: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{slot}=Part requires 'entropies', but this slot may require"):
        make_agent(**{slot: requiring("entropies")})


def test_the_nearest_known_requirement_is_named() -> None:
    with pytest.raises(ConfigurationError, match="shaping=Part requires 'log_prob', .*; did you mean 'log_probs'?"):
        check_requirements(Recipe(shaping=requiring("log_prob")))
    check_requirements(Recipe(shaping=requiring(*PROVIDED)))
    for name in recipes.RECIPES:
        check_requirements(recipes.get(name))


@pytest.mark.parametrize(
    ("slot", "part", "message"),
    [
        ("loss", ClippedSurrogate, "loss=<class .*ClippedSurrogate'> must be an object that is called with"),
        ("loss", GroupNormalized(), r"loss=GroupNormalized must be .* called with \(log_probs_NT, batch\); too many"),
        ("token_weight", 3, r"token_weight=3 must be an object that is called with \(episode\)"),
        ("loss", None, "loss=None must be an object"),
        ("advantage", EnvironmentReward, "advantage=<class"),
        ("controller", Optimizer(), "controller=Optimizer.* must be an object of a class derived from Controller"),
        ("optimizer", None, "optimizer=None must be an object of a class derived from Optimizer"),
    ],
)
def test_an_object_that_does_not_fit_its_slot_is_refused(make_agent: Any, slot: str, part: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_agent("grpo", **{slot: part})


def test_a_part_that_does_not_take_what_it_requires_is_refused(make_agent: Any) -> None:
    class Deaf:
        requires = frozenset({"log_probs"})

        def __call__(self, group: Any) -> Any:
            raise AssertionError

    with pytest.raises(ConfigurationError, match=r"shaping=Deaf .* \(group, log_prob_GT\); got an unexpected keyword"):
        make_agent(shaping=Deaf())


def test_what_one_slot_may_require_another_may_not() -> None:
    with pytest.raises(ConfigurationError, match="advantage=Part requires 'log_probs', .* may require one of groups"):
        check_requirements(Recipe(advantage=requiring("log_probs")))


@dataclasses.dataclass
class Trained:
    """A loss with an optimiser that does not say what is to be saved."""

    def optimizer(self) -> None:
        """Return nothing; it is never asked."""

    def __call__(self, log_probs_NT: Any, batch: Any) -> None:
        """Return nothing; it is never called."""


@pytest.mark.parametrize(
    "parts,words",
    [
        ({"loss": Trained()}, "loss=Trained has optimizer() and must have state_dict() and load_state_dict(state) too"),
        (
            {"token_weight": Every()},
            "token_weight=Every chooses revealed tokens: TokenMean(revealed=True, which=Every())",
        ),
        ({"advantage": GroupCentered}, "; make one: GroupCentered()"),
    ],
)
def test_parts_that_would_do_nothing_or_something_else_are_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        check_parts(Recipe(**parts))
