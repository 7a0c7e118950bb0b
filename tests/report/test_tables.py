"""Tables: every number of the curve is printed, and the file keeps both curves."""

import json
from dataclasses import replace

import gymnasium as gym
import numpy as np

from g2rpo_env.agents import CausalLMPolicy
from g2rpo_env.agents.evaluation import Answer, summarise
from g2rpo_env.report.tables import get_standing, interval_text, shorten, show_accuracy, show_answers, show_response
from g2rpo_env.verdict import Outcome


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


def test_answers_are_counted_and_shown_and_most_without_an_answer_are_a_warning(capsys):
    found = summarise(np.array([[True], [False]]), np.ones((2, 1), bool), (1,), "test", "greedy", ("a", "b"))
    answer = Answer("b", "one\ntwo\x1b[2J", None, Outcome.NO_ANSWER, True)
    outcomes = {Outcome.CORRECT: 1, Outcome.NO_ANSWER: 1}
    found = replace(found, outcomes=outcomes, truncated=1, max_new_tokens=7, examples=(answer,))
    show_answers(found)
    text = capsys.readouterr().out
    assert text.startswith("Answers: 1 correct, 1 no_answer; 1 truncated at max_new_tokens=7\n")
    assert "  b: no_answer, truncated, final answer None\n    one\n    two\\x1b[2J\n" in text
    assert "Warning" not in text  # one of two is not most
    show_answers(replace(found, outcomes={Outcome.NO_ANSWER: 2}))
    text = capsys.readouterr().out
    assert "Warning: 2 of 2 answers hold no final answer that the verifier can read" in text
    assert shorten("x" * 300) == "x" * 118 + "..." + "x" * 118


def test_the_response_is_printed_and_added_to_the_file(capsys, tmp_path):
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=2, group_size=2, digits=1)
    policy = CausalLMPolicy.tiny(envs, hidden_size=16, layers=1)
    show_response(policy, envs, 2, "before", tmp_path)
    show_response(policy, envs, 2, "after", tmp_path)
    known = json.loads((tmp_path / "response.json").read_text())
    assert known["before"] == known["after"] and len(known["before"]) == 10
    assert capsys.readouterr().out.count("before_answer") == 10
