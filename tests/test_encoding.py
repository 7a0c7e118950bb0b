"""Encoding: the texts that guidance may show, frames, sizes. Steps and answers inside tokens: tests of the plan."""

from typing import Any

import numpy as np
import pytest

from g2rpo_env import Problem, char_tokenizer
from g2rpo_env.encoding import NO_FRAME, TEXTS, add_frame, byte_bounds, encode_problem, measure
from g2rpo_env.tokenizer import decode

PLAIN = Problem("p", "2+2=", ("2+2\n", "=4\n"), "#4", "4")
HINTED = Problem("h", "2+2=", ("4\n",), "#4", "4", hint="Two pairs.\nOf shoes, <eos>.")


def text(ids: np.ndarray) -> str:
    return decode(char_tokenizer(), ids)


def test_a_hint_has_the_form_of_a_problem_whose_steps_are_its_lines() -> None:
    encoded = encode_problem(char_tokenizer(), HINTED)
    hint = encoded.text("hint")
    assert encoded.text("solution") is encoded and set(TEXTS) == {"solution", "hint"}
    assert text(hint.solution_T) == HINTED.hint and hint.step_ends == (11, 27) and hint.revealable == 27
    assert hint.prompt_T is encoded.prompt_T and text(encoded.solution_T) == "4\n#4"
    assert not np.isin(char_tokenizer().eos_token_id, hint.solution_T)  # text is data


def test_without_a_hint_nothing_can_be_shown_of_it() -> None:
    encoded = encode_problem(char_tokenizer(), PLAIN)
    hint = encoded.text("hint")
    assert encoded.hint is None and len(hint.solution_T) == hint.revealable == hint.before_answer == 0


def test_a_frame_stands_around_the_prompt() -> None:
    frame = np.array([7, 8], np.int32), np.array([9], np.int32)
    prompt_T = encode_problem(char_tokenizer(), PLAIN).prompt_T
    assert add_frame(prompt_T, NO_FRAME) is prompt_T
    assert add_frame(prompt_T, frame).tolist() == [7, 8, *prompt_T, 9]
    assert encode_problem(char_tokenizer(), PLAIN, frame).prompt_T.tolist() == [7, 8, *prompt_T, 9]


@pytest.mark.parametrize("merging", [False, True])
def test_sizes_are_those_of_encoded_problems(merging: bool, merging_tokenizer: Any) -> None:
    tokenizer = merging_tokenizer if merging else char_tokenizer()
    crossing = Problem("c", "4+4=", ("8\n",), "#8", "8")  # "=8" is one token of the merging tokenizer
    sizes = measure(tokenizer, [PLAIN, HINTED, crossing])
    for problem, size in sizes:
        encoded = encode_problem(tokenizer, problem)
        assert (size.prompt, size.revealable) == (len(encoded.prompt_T), encoded.revealable)
    assert [size.crossing for _, size in sizes] == [False, False, merging]


def test_no_text_has_more_tokens_than_bytes() -> None:
    assert byte_bounds([PLAIN, Problem("é", "é", ("€",), "#", "1")]) == (4, 7)
