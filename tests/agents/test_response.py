"""The guidance-response curve: real reveals, the same problems at every point, copies told from answers."""

import gymnasium as gym
import numpy as np
import pytest

from g2rpo_env import Episode, Outcome, Verdict, char_tokenizer
from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents import response as module
from g2rpo_env.agents.response import guidance_response, is_copied


@pytest.fixture
def envs():
    return gym.make_vec("g2rpo_env/Addition-v0", num_envs=4, group_size=4, digits=2)


def episode(revealed: str, answer: str | None) -> Episode:
    prompt, shown = "1+1=", list(revealed.encode())
    tokens_T = np.array(char_tokenizer().encode("1+1=" + revealed), np.int32)
    role_T = np.array([0] * len(prompt) + [1] * len(shown), np.int8)
    verdict = Verdict(Outcome.WRONG, answer)
    zeros = np.zeros(len(tokens_T), np.float32)
    return Episode(tokens_T, role_T, zeros, "1+1", 0, 0, 0, len(shown), 0.0, verdict)


def test_a_copied_answer_is_a_number_of_the_revealed_text():
    assert is_copied(episode("48 + 1,024 = ", "1024"), char_tokenizer())
    assert is_copied(episode("48 + 24 = ", "$48"), char_tokenizer())
    assert not is_copied(episode("148 + 24 = ", "48"), char_tokenizer())
    assert not is_copied(episode("48 + 24 = ", None), char_tokenizer())
    assert not is_copied(episode("", "48"), char_tokenizer())
    assert not is_copied(episode("Apples cost 48", "A"), char_tokenizer())
    assert is_copied(episode("4*6+0+4=28,282\n", "282"), char_tokenizer())  # the comma separates two numbers
    assert is_copied(episode("4*6+0+4=28,282\n", "28"), char_tokenizer())
    assert not is_copied(episode("4*6+0+4=28,282\n", "8"), char_tokenizer())


def test_a_copied_expression_stands_there_as_it_is():
    assert is_copied(episode("3*5=15\n3*5+7-9=13\n", "3*5+7-9"), char_tokenizer())
    assert not is_copied(episode("3*5=15\n15+7=22\n", "3*5+7-9"), char_tokenizer())
    assert not is_copied(episode("3*5=15\n", ""), char_tokenizer())


def test_every_cap_and_fraction_is_measured_on_the_same_problems(envs, monkeypatch):
    seen = []
    true_answers = module._answers

    def answers(policy, env, ids, *rest):
        found = true_answers(policy, env, ids, *rest)
        seen.append((env.reveal_cap, env.length, [e.problem_id for e in found], [e.reveal for e in found]))
        return found

    monkeypatch.setattr(module, "_answers", answers)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    points = guidance_response(policy, envs, problems=6, fractions=(0.0, 0.5, 1.0))
    assert [(p.reveal_cap, p.fraction) for p in points] == [(cap, length) for cap, length, _, _ in seen]
    assert len(points) == 6 and all(p.problems == 6 for p in points)
    assert len({tuple(ids) for _, _, ids, _ in seen}) == 1
    # two digits: two steps such as "8+7+0=15\\n", nine tokens each, are revealable
    assert [set(reveal) for cap, _, _, reveal in seen if cap == "final_answer"] == [{0}, {9}, {18}]


def test_it_says_the_same_twice_and_leaves_the_training_environment_alone(envs):
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    envs.reset(seed=3)
    before = envs.unwrapped.state_dict()
    first = guidance_response(policy, envs, problems=4, fractions=(0.5,), seed=1)
    assert first == guidance_response(policy, envs, problems=4, fractions=(0.5,), seed=1)
    assert envs.unwrapped.state_dict() == before
    assert all(0 <= p.correct_copied <= min(p.copied, p.success) <= 1 for p in first)


def test_progress_rises_from_nothing_over_the_whole_curve(envs, monkeypatch):
    monkeypatch.setattr(module, "LANES", 4)
    told = []
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    guidance_response(policy, envs, problems=6, fractions=(0.0, 1.0), progress=lambda *one: told.append(one))
    shares = [done / total for done, total in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] <= 1
    # two caps, two fractions, two batches of up to four lanes each
    assert {total for _, total in told} == {8} and {done for done, _ in told} >= set(range(8))
