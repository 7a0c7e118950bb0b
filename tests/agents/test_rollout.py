"""Rollout: what an episode records, what its tokens depend on, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from g2rpo_env import TokenEnv
from g2rpo_env.agents import CausalLMPolicy, collect
from g2rpo_env.agents.rollout import make_room, sampling_stream
from g2rpo_env.envs.arithmetic import Addition
from g2rpo_env.episode import Role
from g2rpo_env.errors import BudgetError, ConfigurationError, NonFiniteError
from g2rpo_env.streams import stream


def by_key(groups: Any) -> dict[tuple[int, int], Any]:
    """Episodes by (group, member)."""
    return {(e.group, e.member): e for e in groups.episodes}


def same_tokens(one: dict[tuple[int, int], Any], other: dict[tuple[int, int], Any]) -> bool:
    """Whether the episodes that both hold have equal tokens."""
    shared = one.keys() & other.keys()
    return bool(shared) and all(np.array_equal(one[key].tokens_T, other[key].tokens_T) for key in shared)


def test_every_lane_gives_one_episode_grouped_by_problem_and_ordered_by_member(
    make_envs: Any, make_policy: Any
) -> None:
    envs = make_envs(12, 4)
    groups = collect(make_policy(envs), envs, seed=0)
    assert [[(e.group, e.member) for e in g.episodes] for g in groups] == [[(g, m) for m in range(4)] for g in range(3)]
    assert all(len({e.problem_id for e in g.episodes}) == 1 for g in groups)
    assert groups.sampled_tokens == sum(int((e.role_T == Role.SAMPLED).sum()) for e in groups.episodes)


def test_an_episode_is_its_prompt_its_reveal_and_its_answer(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, guidance={"length": 3, "ratio": 0.5})
    task = envs.unwrapped.task
    for episode in collect(make_policy(envs), envs, seed=0).episodes:
        encoded = task.encode(task.source.get(episode.problem_id))
        start = len(encoded.prompt_T)
        shown = 3 if episode.member < 2 else 0
        assert episode.reveal == shown == int((episode.role_T == Role.REVEALED).sum())
        assert np.array_equal(episode.tokens_T[:start], encoded.prompt_T)
        assert np.array_equal(episode.tokens_T[start : start + shown], encoded.solution_T[:shown])
        assert (episode.role_T[:start] == Role.PROMPT).all() and (episode.role_T[start + shown :] == Role.SAMPLED).all()
        assert (episode.logprob_T[episode.sampled_T] < 0).all() and not episode.logprob_T[~episode.sampled_T].any()


def test_reward_verdict_and_end_are_those_of_the_environment(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(64, 4, stop_strings=("a", "b", "c", "d", "e", "f", "g", "h"))
    episodes = collect(make_policy(envs), envs, seed=0).episodes
    task = envs.unwrapped.task
    assert {e.terminated for e in episodes} == {True, False}
    assert {e.correct for e in episodes} == {True, False}
    for episode in episodes:
        sampled = int(episode.sampled_T.sum())
        assert episode.terminated != episode.truncated
        assert sampled == task.max_new_tokens if episode.truncated else sampled <= task.max_new_tokens
        answer = episode.tokens_T[episode.role_T != Role.PROMPT]
        stopped = episode.terminated and answer[-1] != task.eos_token_id
        completion = task.completion(answer, stopped)
        verdict = task.grade([task.source.get(episode.problem_id)], [completion])[0]
        assert episode.verdict == verdict and episode.reward == verdict.reward


def test_tokens_do_not_depend_on_the_number_of_lanes(make_envs: Any, make_policy: Any) -> None:
    small, large = make_envs(8, 4, digits=(1, 4)), make_envs(16, 4, digits=(1, 4))
    policy = make_policy(large)
    one, two = (by_key(collect(policy, envs, seed=3)) for envs in (small, large))
    assert one.keys() < two.keys() and same_tokens(one, two)


def test_tokens_do_not_depend_on_when_a_group_is_reached(make_envs: Any, make_policy: Any) -> None:
    small, large = make_envs(4, 4), make_envs(16, 4)
    policy = make_policy(large)
    whole = by_key(collect(policy, large, seed=3))
    parts = [by_key(collect(policy, small, seed=3 if i == 0 else None)) for i in range(4)]
    assert whole.keys() == set().union(*parts)
    assert all(same_tokens(whole, part) for part in parts)


def test_tokens_do_not_depend_on_the_order_of_lanes(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, digits=(1, 4))
    policy = make_policy(envs)
    problems, members = ["1+1"] * 4 + ["123+456"] * 4, [0, 1, 2, 3] * 2
    order = [3, 0, 2, 1, 7, 5, 4, 6]
    runs = []
    for lanes in (range(8), order):
        options = {"problem": [problems[i] for i in lanes], "member": [members[i] for i in lanes]}
        runs.append(by_key(collect(policy, envs, seed=3, options=options)))
    assert runs[0].keys() == runs[1].keys() and same_tokens(*runs)


def test_members_and_groups_and_seeds_have_streams_of_their_own(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    policy = make_policy(envs)
    first, again, other = (collect(policy, envs, seed=s).episodes for s in (0, 0, 1))
    texts = {e.tokens_T[e.sampled_T].tobytes() for e in first}
    assert len(texts) == 8
    assert [e.tokens_T.tolist() for e in first] == [e.tokens_T.tolist() for e in again]
    assert not texts & {e.tokens_T[e.sampled_T].tobytes() for e in other}


def test_sampled_tokens_invert_the_distribution_at_the_numbers_of_the_stream(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 4)
    policy = make_policy(envs, scale=2.0)
    for episode in collect(policy, envs, seed=7).episodes:
        uniforms = sampling_stream(7, episode.group, episode.member).random(10)
        with torch.no_grad():
            logits = policy.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits
        probabilities = policy.log_probs(logits[0]).exp().double().numpy()
        for u, position in zip(uniforms, np.flatnonzero(episode.sampled_T), strict=False):
            token = episode.tokens_T[position]
            below = probabilities[position - 1, :token].sum()
            assert below - 1e-5 <= u <= below + probabilities[position - 1, token] + 1e-5


def test_greedy_takes_the_likeliest_token_everywhere(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    policy = make_policy(envs, scale=3.0)
    groups = collect(policy, envs, greedy=True, seed=0)
    for group in groups:
        assert len({e.tokens_T.tobytes() for e in group.episodes}) == 1
        episode = group.episodes[0]
        with torch.no_grad():
            logits = policy.model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        likeliest = logits.argmax(-1).numpy()[np.flatnonzero(episode.sampled_T) - 1]
        assert np.array_equal(likeliest, episode.tokens_T[episode.sampled_T])


def test_temperature_sharpens_the_sampling(make_envs: Any) -> None:
    envs = make_envs(8, 4)
    policies = [CausalLMPolicy.tiny(envs, hidden_size=32, layers=1, temperature=t) for t in (1e-4, 1.0)]
    cold, warm = (collect(policy, envs, seed=0).episodes for policy in policies)
    greedy = collect(policies[1], envs, greedy=True, seed=0).episodes
    assert [e.tokens_T.tolist() for e in cold] == [e.tokens_T.tolist() for e in greedy]
    assert [e.tokens_T.tolist() for e in warm] != [e.tokens_T.tolist() for e in greedy]


def test_ids_of_a_padded_vocabulary_are_never_sampled(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(32, 4)
    policy = make_policy(envs)
    policy.model.resize_token_embeddings(400)
    with torch.no_grad():
        weight = policy.model.get_input_embeddings().weight
        weight[258:] = weight[:142] * 100  # huge logits, of either sign
    policy = CausalLMPolicy(policy.model, policy.tokenizer)
    for greedy in (False, True):
        episodes = collect(policy, envs, greedy=greedy, seed=0).episodes
        assert max(int(e.tokens_T.max()) for e in episodes) < 258


def test_collect_goes_on_in_the_seeded_order_without_a_seed(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    policy = make_policy(envs)
    numbers = [[g.group for g in collect(policy, envs, seed=s)] for s in (0, None, None, 0)]
    assert numbers == [[0, 1], [2, 3], [4, 5], [0, 1]]


@pytest.mark.parametrize("greedy", [False, True])
def test_logits_that_are_not_finite_are_refused(make_envs: Any, make_policy: Any, greedy: bool) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    with torch.no_grad():
        policy.model.model.norm.weight[0] = float("nan")
    words = r"NaN or infinite at step 0 of the episode with problem_id='\d\+\d', group=0, member=0"
    with pytest.raises(NonFiniteError, match=words):
        collect(policy, envs, greedy=greedy, seed=0)


@pytest.mark.parametrize("mode", ["NEXT_STEP", "SAME_STEP"])
def test_lanes_that_restart_by_themselves_are_refused(make_envs: Any, make_policy: Any, mode: str) -> None:
    envs = make_envs(4, 1, autoreset_mode=mode)
    with pytest.raises(ConfigurationError, match=f"autoreset_mode={mode} must be DISABLED"):
        collect(make_policy(envs), envs)


def test_a_single_environment_is_refused(make_envs: Any, make_policy: Any) -> None:
    with pytest.raises(ConfigurationError, match="TokenVectorEnv, got TokenEnv"):
        collect(make_policy(make_envs()), TokenEnv(Addition(1)))


def test_groups_of_one_are_collected_when_their_lanes_wait(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 1)
    groups = collect(make_policy(envs), envs, seed=0)
    assert [len(g) for g in groups] == [1, 1, 1, 1]


def test_collected_log_probs_carry_no_gradient_and_leave_the_policy_as_it_was(
    make_envs: Any, make_policy: Any, weights_of: Any, same_weights: Any
) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    before = weights_of(policy)
    collect(policy, envs, seed=0)
    assert same_weights(before, weights_of(policy))
    assert all(p.grad is None and p.requires_grad for p in policy.model.parameters())


# -- more episodes than lanes -----------------------------------------------------------------------------------------

SPREAD = {"digits": (1, 4), "max_new_tokens": 24, "stop_strings": tuple("0123456789abcd")}
"""Episodes that end at different steps."""


def spread(make_envs: Any, make_policy: Any, num_envs: int, dtype: torch.dtype, **options: Any) -> tuple[Any, Any]:
    """An environment and a policy whose episodes end at different steps."""
    envs = make_envs(num_envs, 4, **SPREAD, **options)
    policy = make_policy(envs, scale=1.5)
    policy.model.to(dtype)
    return policy, envs


@pytest.mark.parametrize("own", [True, False], ids=["own", "any model"])
@pytest.mark.parametrize("guidance", [None, {"length": 5, "ratio": 0.5}], ids=["plain", "guided"])
def test_refill_waves_and_many_lanes_give_the_same_tokens_in_float64(
    make_envs: Any, make_policy: Any, own: bool, guidance: Any
) -> None:
    runs = []
    for lanes, refill in ((8, True), (8, False), (4, True), (48, True)):
        policy, envs = spread(make_envs, make_policy, lanes, torch.float64, guidance=guidance)
        policy.own_decoder = own
        runs.append(collect(policy, envs, seed=3, groups=12, refill=refill))
    policy, envs = spread(make_envs, make_policy, 48, torch.float64, guidance=guidance)
    runs.append(collect(policy, envs, seed=3))  # one episode per lane, drawn by the environment
    for groups in runs:
        assert [[(e.group, e.member) for e in g.episodes] for g in groups] == [
            [(g, m) for m in range(4)] for g in range(12)
        ]
        for mine, first in zip(groups.episodes, runs[0].episodes, strict=True):
            assert mine.problem_id == first.problem_id and mine.reveal == first.reveal
            assert np.array_equal(mine.tokens_T, first.tokens_T)
            assert np.allclose(mine.logprob_T, first.logprob_T, atol=1e-6)
            assert (mine.reward, mine.verdict.outcome, mine.terminated) == (
                first.reward, first.verdict.outcome, first.terminated,
            )  # fmt: skip
    assert len({int(e.sampled_T.sum()) for e in runs[0].episodes}) > 5


def test_refill_leaves_the_distribution_as_it_is_in_float32(make_envs: Any, make_policy: Any) -> None:
    # Rounding may tip a token, rarely: at most 1 % of the episodes. And over other seeds the lengths of 400 episodes
    # with refill and 400 without come from one distribution, as far as a two-sample chi-square test can tell.
    from scipy.stats import chi2_contingency

    policy, envs = spread(make_envs, make_policy, 16, torch.float32)
    one, two = (by_key(collect(policy, envs, seed=5, groups=100, refill=refill)) for refill in (True, False))
    assert sum(np.array_equal(one[key].tokens_T, two[key].tokens_T) for key in one) >= 0.99 * len(one)
    other = collect(policy, envs, seed=6, groups=100, refill=False).episodes
    bins = [0, 1, 2, 4, 8, 16, 24, 25]
    counts = [np.histogram([int(e.sampled_T.sum()) for e in episodes], bins)[0] for episodes in (one.values(), other)]
    table = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    assert chi2_contingency(table).pvalue > 0.01


def watched(policy: Any, lanes: int, monkeypatch: Any, change: Any = None) -> list[int]:
    """Make a policy use one decoder; return the list that gets the number of lanes of each pass."""
    decoder = policy.decoder(lanes)
    advance, taken = decoder.advance, []

    def noted(tokens: Any, length: Any, lanes: Any) -> torch.Tensor:
        taken.append(len(lanes))
        logits = advance(tokens, length, lanes)
        return logits if change is None else change(logits, len(taken))

    monkeypatch.setattr(decoder, "advance", noted)
    monkeypatch.setattr(policy, "decoder", lambda lanes: decoder)
    return taken


def test_refill_takes_fewer_passes_than_waves(make_envs: Any, make_policy: Any, monkeypatch: Any) -> None:
    passes = []
    for refill in (True, False):
        policy, envs = spread(make_envs, make_policy, 8, torch.float32)
        taken = watched(policy, 8, monkeypatch)
        tokens = collect(policy, envs, seed=3, groups=20, refill=refill).sampled_tokens
        passes.append(len(taken))
        assert sum(taken) == tokens
    assert tokens / 8 <= passes[0] < 0.75 * passes[1]  # the bound is that of lanes that are all busy at every step


def test_fewer_members_than_lanes_leave_lanes_idle(make_envs: Any, make_policy: Any) -> None:
    policy, envs = spread(make_envs, make_policy, 16, torch.float32)
    envs.reset(seed=0)  # all lanes run; those that nobody starts are not recorded
    groups = collect(policy, envs, seed=3, groups=2)
    assert [(e.group, e.member) for e in groups.episodes] == [(g, m) for g in range(2) for m in range(4)]


def test_groups_go_on_in_the_seeded_order(make_envs: Any, make_policy: Any) -> None:
    policy, envs = spread(make_envs, make_policy, 8, torch.float32)
    numbers = [[g.group for g in collect(policy, envs, seed=s, groups=n)] for s, n in ((0, 3), (None, 1), (None, 2))]
    assert numbers == [[0, 1, 2], [3], [4, 5]]
    state = envs.unwrapped.state_dict()
    assert [g.group for g in collect(policy, envs)] == [6, 7]
    envs.unwrapped.load_state_dict(state)
    assert [g.group for g in collect(policy, envs, groups=2)] == [6, 7]


def test_a_stage_samples_the_same_groups_with_other_numbers_and_says_so(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4)
    policy = make_policy(envs)
    first = collect(policy, envs, seed=0)
    assert {e.stage for e in first.episodes} == {0}
    numbers = np.repeat([group.group for group in first], 4)
    again = {"group": numbers, "member": np.tile(np.arange(4), 2)}
    same = collect(policy, envs, options=again)
    later = collect(policy, envs, options=again, stage=1)
    twice = collect(policy, envs, options=again, stage=1)
    for one, other in zip(first.episodes, same.episodes, strict=True):
        assert one.tokens_T.tolist() == other.tokens_T.tolist() and other.stage == 0
    assert any(a.tokens_T.tolist() != b.tokens_T.tolist() for a, b in zip(first.episodes, later.episodes, strict=True))
    for one, other in zip(later.episodes, twice.episodes, strict=True):
        assert one.tokens_T.tolist() == other.tokens_T.tolist() and one.stage == 1
    assert [g.problem_id for g in later] == [g.problem_id for g in first]
    # No number of the seeded order was burnt.
    assert [g.group for g in collect(policy, envs)] == [2, 3]


def test_the_stream_of_a_stage_has_it_in_its_key() -> None:
    numbers = [sampling_stream(0, 3, 1, stage).random() for stage in (0, 1, 2)]
    assert len(set(numbers)) == 3 and numbers[0] == stream(0, "sample", 3, 1).random()
    assert numbers[2] == stream(0, "sample", 3, 1, 2).random()


def test_a_stage_below_zero_is_refused(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    with pytest.raises(ConfigurationError, match="stage=-1 must be at least 0"):
        collect(make_policy(envs), envs, seed=0, stage=-1)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"groups": 0}, "groups=0"), ({"groups": 2, "options": {"reveal": 1}}, "options must be None")],
)
def test_bad_groups_are_refused(make_envs: Any, make_policy: Any, options: dict[str, Any], words: str) -> None:
    envs = make_envs()
    with pytest.raises(ConfigurationError, match=words):
        collect(make_policy(envs), envs, **options)


# -- sampling options -------------------------------------------------------------------------------------------------


def test_recorded_log_probs_are_those_of_the_truncated_distribution(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(16, 4)
    model = make_policy(envs, scale=2.0).model
    policy = CausalLMPolicy(model, envs.unwrapped.tokenizer, temperature=0.8, top_k=5, top_p=0.9, min_p=0.05)
    for episode in collect(policy, envs, seed=0).episodes:
        with torch.no_grad():
            logits = model(torch.from_numpy(episode.tokens_T[None].astype(np.int64))).logits[0]
        places = np.flatnonzero(episode.sampled_T)
        rows = policy.sampling_log_probs(logits)[places - 1].numpy()
        assert np.allclose(rows[np.arange(len(places)), episode.tokens_T[places]], episode.logprob_T[places], atol=1e-4)
        assert np.isfinite(episode.logprob_T).all() and np.isfinite(rows).sum(1).max() <= 5


def test_an_error_about_logits_names_the_step_and_the_episode(
    make_envs: Any, make_policy: Any, monkeypatch: Any
) -> None:
    def broken(logits: torch.Tensor, call: int) -> torch.Tensor:
        if call == 4:
            logits[5, 0] = torch.nan
        return logits

    envs = make_envs(8, 4)
    policy = make_policy(envs)
    watched(policy, 8, monkeypatch, broken)
    with pytest.raises(NonFiniteError, match=r"step 3 of the episode with problem_id='.+', group=1, member=1"):
        collect(policy, envs, seed=0)


# -- end tokens of the policy -----------------------------------------------------------------------------------------


def ends_at(policy: Any, tokens: list[int]) -> Any:
    """The policy, whose model names these end tokens."""
    policy.model.generation_config.eos_token_id = tokens
    return policy


@pytest.mark.parametrize("guidance", [None, {"length": 3, "ratio": 0.5}])
def test_an_episode_ends_at_every_end_token_of_the_policy(make_envs: Any, make_policy: Any, guidance: Any) -> None:
    envs = make_envs(16, 4, max_new_tokens=40, guidance=guidance)
    policy = ends_at(make_policy(envs), [1, *range(2, 60)])
    episodes = collect(policy, envs, seed=0).episodes
    assert envs.unwrapped.end_tokens == {1, *range(2, 60)} and any(e.terminated for e in episodes)
    for episode in episodes:
        place_K = np.flatnonzero(episode.sampled_T)
        ended_K = np.isin(episode.tokens_T[place_K], range(1, 60))
        assert not ended_K[:-1].any() and ended_K[-1] == episode.terminated != episode.truncated
        with torch.no_grad():
            logits = policy.model(torch.from_numpy(episode.tokens_T.astype(np.int64))[None]).logits[0]
        own = policy.log_probs(logits)[place_K - 1, episode.tokens_T[place_K]]
        assert np.abs(own.numpy() - episode.logprob_T[place_K]).max() < 1e-4


def test_a_rollout_keeps_to_end_tokens_that_were_chosen(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(8, 4, max_new_tokens=20, end_tokens=[0])
    policy = ends_at(make_policy(envs), [1, *range(2, 60)])
    episodes = collect(policy, envs, seed=0).episodes
    assert envs.unwrapped.end_tokens == {0}
    assert all(e.terminated == (e.tokens_T[-1] == 0) for e in episodes)
    assert any(1 <= token < 60 for e in episodes for token in e.tokens_T[e.sampled_T])


def test_a_policy_without_end_tokens_adds_none(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs(4, 4)
    own = make_policy(envs)

    class Plain:
        """The methods of the protocol and no more."""

        check_fits, decoder, keep, sampling_log_probs = (
            own.check_fits, own.decoder, own.keep, own.sampling_log_probs
        )  # fmt: skip

    collect(Plain(), envs, seed=0)  # type: ignore[arg-type]
    assert envs.unwrapped.end_tokens == {1}


# -- room --------------------------------------------------------------------------------------------------------------


def test_room_is_made_once(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    policy, length = make_policy(envs), envs.unwrapped.task.length
    make_room(policy, envs, 5, "drafts=4")
    task = envs.unwrapped.task
    assert task.length == length + 5
    for less in (0, 3, 5):
        make_room(policy, envs, less, "drafts=4")
        assert envs.unwrapped.task is task


def test_room_that_is_not_there_is_refused_with_its_reason(make_envs: Any, make_policy: Any) -> None:
    envs = make_envs()
    policy = make_policy(envs)
    policy.model.config.max_position_embeddings = envs.unwrapped.task.length + 4
    make_room(policy, envs, 4, "drafts=4")
    rule = "drafts=4 must fit with contexts that are 5 tokens longer: an episode of up to .* is longer than the model's"
    with pytest.raises(BudgetError, match=rule):
        make_room(policy, envs, 5, "drafts=4")
    with pytest.raises(BudgetError, match="drafts=4 must fit with contexts that are 30 tokens longer: problem"):
        make_room(policy, make_envs(max_length=40), 30, "drafts=4")
