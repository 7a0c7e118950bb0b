"""Records: groups, problems and episodes as files say them, read from the update and never computed again."""

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest

import g2rpo_env
from g2rpo_env import Episode
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.agents.parts.credits import Regulated
from g2rpo_env.agents.scores import score_episodes
from g2rpo_env.episode import Group, Groups, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.report.reader import read_rollouts
from g2rpo_env.report.records import (
    Recorder,
    Recording,
    find_prompt_reveal,
    group_records,
    rollout_records,
)
from g2rpo_env.report.run_folder import read_lines


def make_agent(name="g2rpo-a", place="answer", **parts):
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=1)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, length=4, ratio=0.5, place=place)
    return recipes.make(name, CausalLMPolicy.tiny(envs, hidden_size=16, layers=1), envs, **parts)


@pytest.fixture
def agent():
    return make_agent()


def test_the_numbers_of_a_recording_keep_their_rules():
    assert [n for n in range(1, 101) if Recording().is_due(n)] == [1, 50, 100]
    assert not any(Recording(every=0).is_due(n) for n in range(1, 101))
    for name in ("every", "top"):
        with pytest.raises(ConfigurationError, match=f"{name}=-1 of a Recording must be at least 0"):
            Recording(**{name: -1})


def test_groups_of_every_update_and_rollouts_of_the_first_the_due_and_the_last_one(agent, tmp_path):
    recorder = Recorder(tmp_path, agent, Recording(every=3))
    for _ in range(5):
        agent.update()
        recorder.record()
    recorder.finish()
    recorder.finish()
    assert [row["update"] for row in read_lines(tmp_path / "groups.jsonl")] == [1, 2, 3, 4, 5]
    names = sorted(path.name for path in (tmp_path / "rollouts").iterdir())
    assert names == ["000001.jsonl", "000003.jsonl", "000005.jsonl"]
    problems = read_lines(tmp_path / "problems.jsonl")
    records = [record for name in names for record in read_rollouts(tmp_path / "rollouts" / name)]
    assert {row["problem_id"] for row in problems} == {record["problem_id"] for record in records}
    assert len({row["problem_id"] for row in problems}) == len(problems)
    problem = agent.envs.unwrapped.task.lookup(problems[0]["problem_id"]).problem
    assert (problems[0]["prompt"], tuple(problems[0]["steps"])) == (problem.prompt, problem.steps)


def test_an_agent_without_a_record_of_its_update_has_no_records(tmp_path):
    recorder = Recorder(tmp_path, object(), Recording())
    recorder.record()
    recorder.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_group_is_told_member_by_member(agent):
    agent.update()
    update = agent.last_update
    (row,) = group_records(update)
    (group,) = update.groups
    assert row["problem_id"] == group.problem_id and row["reward"] == group.reward_G.tolist()
    assert row["guided"] == [e.reveal > 0 for e in group.episodes] and sum(row["guided"]) == 2
    assert row["sampled"] == [int((e.role_T == Role.SAMPLED).sum()) for e in group.episodes]
    assert row["advantage"] == pytest.approx([one.advantage for one in update.examples()], abs=1e-6)
    long = dataclasses.replace(
        group.episodes[0], verdict=dataclasses.replace(group.episodes[0].verdict, answer="9" * 99)
    )
    told = dataclasses.replace(update, groups=Groups([Group((long, *group.episodes[1:]))]))
    assert group_records(told)[0]["answer"][0] == "9" * 80


def test_episodes_left_out_and_those_of_earlier_updates_have_records_too(agent):
    agent.update()
    update = agent.last_update
    (group,) = update.groups
    kept = Groups([Group(group.episodes[:2])], left_out=group.episodes[2:])
    earlier = Group(tuple(dataclasses.replace(e) for e in group.episodes[:1]))
    agent.last_update = dataclasses.replace(
        update,
        groups=kept,
        selected=Groups([earlier, Group(group.episodes[:2]), Group(group.episodes[:1])]),
        rewards=(np.zeros(1), np.zeros(2), np.zeros(1)),
        advantages=(np.array([5.0]), np.array([1.0, 2.0]), np.array([3.0])),
        weights=tuple(update.weights[row] for row in (0, 0, 1, 0)),
    )
    records = list(rollout_records(agent))
    # Member 0 was learnt from twice, member 1 once, 2 and 3 never; then the one of an earlier update.
    assert [(r["member"], r["advantage"]) for r in records] == [
        (0, 1.0),
        (0, 3.0),
        (1, 2.0),
        (2, None),
        (3, None),
        (0, 5.0),
    ]


def test_a_rollout_record_holds_the_episode_its_texts_and_what_the_loss_saw(agent):
    agent.update()
    records = [json.loads(json.dumps(record)) for record in rollout_records(agent)]
    assert len(records) == 4
    for record, episode in zip(records, agent.groups.episodes, strict=True):
        again = Episode.from_record({k: v for k, v in record.items()})
        assert again.tokens_T.tolist() == episode.tokens_T.tolist()
        assert len(record["texts"]) == len(record["tokens"]) == len(record["loss_mask"])
        assert record["advantage"] == agent.last_update.find_examples(episode)[0].advantage
        # g2rpo-a counts revealed and sampled tokens, never the prompt
        assert record["loss_mask"] == [int(role in (1, 2)) for role in record["roles"]]
        assert sum(record["weights"]) == pytest.approx(1, abs=1e-3)


def test_tokens_are_scored_after_the_update_and_revealed_ones_before_it_too(agent):
    policy = agent.policy
    agent.update()
    after = {name: value.clone() for name, value in policy.model.state_dict().items()}
    records = list(rollout_records(agent, top=3))
    again = list(rollout_records(agent))
    assert all(bool((value == after[name]).all()) for name, value in policy.model.state_dict().items())
    assert "top" not in again[0] and again[0]["logprobs_after"] == records[0]["logprobs_after"]
    guided = [r for r in records if r["reveal"]]
    assert len(guided) == 2
    for record in records:
        for place, role in enumerate(record["roles"]):
            written, sampled = role in (1, 2), role == 2
            assert (record["logprobs"][place] is not None) == sampled == (record["top"][place] is not None)
            for name in ("logprobs_after", "entropies_after"):
                assert (record[name][place] is not None) == written
            if sampled:
                ids, texts, values = zip(*record["top"][place], strict=True)
                assert len(set(ids)) == 3 and list(values) == sorted(values, reverse=True)
                if record["tokens"][place] in ids:
                    found = values[ids.index(record["tokens"][place])]
                    assert found == pytest.approx(record["logprobs_after"][place], abs=1e-4)


@pytest.mark.parametrize("epochs", [1, 2])
def test_revealed_tokens_have_the_log_probabilities_that_the_update_computed(epochs):
    """One gradient step, whose forward pass computed them, and two, which need them as the old policy."""
    optimizer = dataclasses.replace(recipes.get("uft").optimizer, learning_rate=1e-2, epochs=epochs)
    agent = make_agent("sft", optimizer=optimizer)
    before, true = {}, agent.parts.strategy

    def keep(policy, envs):
        groups = true(policy, envs)
        for episode, score in zip(groups.episodes, score_episodes(policy, groups.episodes), strict=True):
            before[episode.group, episode.member] = score.log_prob_T
        return groups

    agent.parts = dataclasses.replace(agent.parts, strategy=keep)
    compared = []
    for _ in range(2):
        agent.update()
        for record in rollout_records(agent):
            known_T = before[record["group"], record["member"]]
            told = [
                (known_T[place], value) for place, value in enumerate(record["logprobs_before"]) if value is not None
            ]
            assert len(told) == sum(w > 0 for w, r in zip(record["weights"], record["roles"], strict=True) if r == 1)
            compared += told
    assert len(compared) > 8 and [known for known, _ in compared] == pytest.approx([v for _, v in compared], abs=1e-4)


def test_credits_stand_there_where_a_part_made_them_vary():
    agent = make_agent("grpo", credit=Regulated())
    agent.update()
    for record, example in zip(rollout_records(agent), agent.last_update.examples(), strict=True):
        wanted = [c if w > 0 else None for c, w in zip(example.credit_T.tolist(), example.weight_T, strict=True)]
        assert record["credits"] == pytest.approx(wanted, abs=1e-5)


def test_a_reveal_in_the_prompt_is_found_by_what_the_prompt_has_more():
    agent = make_agent(place="prompt")
    agent.update()
    found = 0
    for record, episode in zip(rollout_records(agent), agent.groups.episodes, strict=True):
        span = find_prompt_reveal(episode, agent.envs.unwrapped.task)
        assert record["prompt_reveal"] == span
        if record["reveal"]:
            assert "".join(record["texts"][span[0] : span[1]]).startswith("Hint: ")
            found += 1
        else:
            assert span is None
    assert found == 2


def test_records_change_nothing_of_what_comes_next(tmp_path):
    def run(recording):
        one = make_agent("g2rpo-a", optimizer=dataclasses.replace(recipes.get("g2rpo-a").optimizer, learning_rate=1e-2))
        recorder = Recorder(tmp_path, one, recording)
        rows = []
        for _ in range(4):
            rows.append(one.update())
            recorder.record()
        return json.dumps(rows)

    assert run(Recording(every=0, groups=False)) == run(Recording(every=1, top=2))


# -- reading ----------------------------------------------------------------------------------------------------------
