"""Tables: every number of the curve is printed, and the file keeps both curves."""

import json

import gymnasium as gym
import numpy as np

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.evaluation import summarise
from g2rpo_env.report.tables import get_standing, interval_text, show_accuracy, show_response


def test_an_interval_has_two_decimals():
    assert interval_text(0.123, 0.987) == "[0.12, 0.99]"


def test_a_standing_needs_all_of_the_interval():
    assert get_standing(0.01, 0.2) == "above imitation alone"
    assert get_standing(-0.2, -0.01) == "below imitation alone"
    assert get_standing(-0.1, 0.1) == "not told apart from imitation alone"


def test_accuracy_and_pass_at_k_are_printed(capsys):
    # one of two problems solved in 1 of 2 samples: pass@1 = (1/2 + 0) / 2 = 0.25, pass@2 = (1 + 0) / 2 = 0.5
    correct = np.array([[True, False], [False, False]])
    show_accuracy(summarise(correct, np.ones((2, 2), bool), (1, 2), "test", "sampled", ("a", "b")))
    text = capsys.readouterr().out
    assert "Sampled unguided accuracy on 2 test problems: 0.2500" in text
    assert "pass@2: 0.5000" in text and "pass@1" not in text


def test_the_response_is_printed_and_added_to_the_file(capsys, tmp_path):
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, group_size=2, digits=1)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    show_response(policy, envs, 2, "before", tmp_path)
    show_response(policy, envs, 2, "after", tmp_path)
    known = json.loads((tmp_path / "response.json").read_text())
    assert known["before"] == known["after"] and len(known["before"]) == 10
    assert capsys.readouterr().out.count("before_answer") == 10
