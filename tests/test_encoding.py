"""Encoding: step boundaries, where the answer first stands, texts that may be shown, frames, sizes in a batch."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_families import FAMILIES, USED
from tokenizers import AddedToken

from g2rpo_env import Problem
from g2rpo_env.encoding import (
    NO_FRAME,
    TEXTS,
    Frame,
    byte_bounds,
    encode_problem,
    encode_prompt,
    encode_prompts,
    first_occurrence,
    measure,
    template_frame,
)
from g2rpo_env.envs.arithmetic import AdditionSource
from g2rpo_env.errors import TokenizerError
from g2rpo_env.tokenizer import beginning, char_tokenizer, decode, encode

SUM = AdditionSource(2).get("58+67")  # "8+7+0=15\n" "5+6+1=12\n" "#125"
WRITTEN = st.text(st.sampled_from("58+=\n#é🙂 <eos>ab"), max_size=12)
PROBLEMS = st.builds(
    Problem, st.just("p"), WRITTEN, st.lists(WRITTEN.filter(bool), max_size=4).map(tuple), WRITTEN, st.just("5")
)


def test_step_boundaries_with_one_token_per_character() -> None:
    problem = encode_problem(char_tokenizer(), SUM)
    assert problem.step_ends == (9, 18) and problem.revealable == 18 and len(problem.solution_T) == 22


def test_a_boundary_inside_a_token_moves_to_the_start_of_that_token(merging_tokenizer: Any) -> None:
    # "8+" "7" "+" "0" "=" "1" "5" | "\n5" spans the first boundary: the step shows 7 tokens, "8+7+0=15"
    # "+" "6" "+" "1" "=" "1" "2" | "\n#" spans the second: 15 tokens
    problem = encode_problem(merging_tokenizer, SUM)
    assert merging_tokenizer.convert_ids_to_tokens(problem.solution_T)[:8] == ["8+", *"7+0=15", "Ċ5"]
    assert problem.step_ends == (7, 15)
    assert decode(merging_tokenizer, problem.solution_T[:7]) == "8+7+0=15"
    assert decode(merging_tokenizer, problem.solution_T[:15]) == "8+7+0=15\n5+6+1=12"


def test_a_character_of_several_tokens_is_never_cut_by_a_boundary() -> None:
    problem = encode_problem(char_tokenizer(), Problem("p", "", ("a£", "é\n"), "#", ""))
    assert problem.step_ends == (3, 6)


@pytest.mark.parametrize(
    "answer,text,expected",
    [
        ("72", "48+24=72 clips", 6),
        ("72", "172 and 720", 11),  # neither is 72
        ("1234", "are 1,234 of", 4),
        ("1234", "11,234 1234", 7),
        ("5", "= 5.00 each", 2),
        ("5", "1.5 to 05", 7),  # the 5 of 1.5 is none, the leading zero counts
        ("7", "3+4+0=07", 6),
        ("4.5", "4.50 left", 0),
        ("4.5", "4.51 14.5 4.5", 10),
        ("-3", "3 less is -3", 10),
        ("0.5", "0.5", 0),
        ("1000000", "1,000,000", 0),
        ("B", "AB or B", 6),
        (r"\frac{1}{2}", r"x=\frac{1}{2}", 2),
        ("", "anything", 8),
        ("9", "none", 4),
    ],
)
def test_first_occurrences_by_hand(answer: str, text: str, expected: int) -> None:
    assert first_occurrence(answer, text) == expected


@settings(deadline=None, max_examples=150)
@given(problem=PROBLEMS, merging=st.booleans())
def test_sizes_measured_in_a_batch_are_those_of_single_problems(
    problem: Problem, merging: bool, merging_tokenizer: Any
) -> None:
    tokenizer = merging_tokenizer if merging else char_tokenizer()
    ((_, size),) = measure(tokenizer, [problem])
    encoded = encode_problem(tokenizer, problem)
    joined, _ = encode(tokenizer, problem.prompt + problem.solution)
    assert (size.prompt, size.revealable) == (len(encoded.prompt_T), encoded.revealable)
    assert size.crossing == (joined.tolist() != [*encoded.prompt_T, *encoded.solution_T])


@settings(deadline=None, max_examples=50)
@given(problem=PROBLEMS)
def test_prompt_and_solution_tokens_decode_to_their_texts(problem: Problem) -> None:
    encoded = encode_problem(char_tokenizer(), problem)
    assert decode(char_tokenizer(), encoded.prompt_T) == problem.prompt
    assert decode(char_tokenizer(), encoded.solution_T) == problem.solution
    assert list(encoded.step_ends) == sorted(encoded.step_ends) and len(encoded.step_ends) == len(problem.steps)


PLAIN = Problem("p", "2+2=", ("2+2\n", "=4\n"), "#4", "4")
HINTED = Problem("h", "2+2=", ("4\n",), "#4", "4", hint="Two pairs.\nOf shoes, <eos>.")


def text_of(ids: np.ndarray) -> str:
    return decode(char_tokenizer(), ids)


def test_a_hint_has_the_form_of_a_problem_whose_steps_are_its_lines() -> None:
    encoded = encode_problem(char_tokenizer(), HINTED)
    hint = encoded.text("hint")
    assert encoded.text("solution") is encoded and set(TEXTS) == {"solution", "hint"}
    assert text_of(hint.solution_T) == HINTED.hint and hint.step_ends == (11, 27) and hint.revealable == 27
    assert hint.prompt_T is encoded.prompt_T and text_of(encoded.solution_T) == "4\n#4"
    assert not np.isin(char_tokenizer().eos_token_id, hint.solution_T)  # text is data


def test_without_a_hint_nothing_can_be_shown_of_it() -> None:
    encoded = encode_problem(char_tokenizer(), PLAIN)
    hint = encoded.text("hint")
    assert encoded.hint is None and len(hint.solution_T) == hint.revealable == hint.before_answer == 0


def test_a_frame_stands_around_the_prompt() -> None:
    frame = Frame(np.array([7, 8], np.int32), np.array([9], np.int32))
    prompt_T = encode_problem(char_tokenizer(), PLAIN).prompt_T
    assert NO_FRAME.around(prompt_T) is prompt_T
    assert frame.around(prompt_T).tolist() == [7, 8, *prompt_T, 9]
    assert encode_problem(char_tokenizer(), PLAIN, frame).prompt_T.tolist() == [7, 8, *prompt_T, 9]


@pytest.mark.parametrize("merging", [False, True])
def test_sizes_are_those_of_encoded_problems_by_hand(merging: bool, merging_tokenizer: Any) -> None:
    tokenizer = merging_tokenizer if merging else char_tokenizer()
    crossing = Problem("c", "4+4=", ("8\n",), "#8", "8")  # "=8" is one token of the merging tokenizer
    sizes = measure(tokenizer, [PLAIN, HINTED, crossing])
    for problem, size in sizes:
        encoded = encode_problem(tokenizer, problem)
        assert (size.prompt, size.revealable) == (len(encoded.prompt_T), encoded.revealable)
    assert [size.crossing for _, size in sizes] == [False, False, merging]


def test_no_text_has_more_tokens_than_bytes() -> None:
    assert byte_bounds([PLAIN, Problem("é", "é", ("€",), "#", "1")]) == (4, 7)


@pytest.mark.parametrize("name", USED)
def test_a_context_is_read_as_the_tokenizer_reads_it_and_begins_once(name: str) -> None:
    tokenizer = FAMILIES[name].tokenizer
    begin = beginning(tokenizer).tolist()
    for text in ("What is 1?", "def add(a, b):\n", f"a{tokenizer.eos_token}b"):
        found = encode_prompt(tokenizer, text).tolist()
        whole = tokenizer(text)["input_ids"]
        assert begin == found[: len(begin)] and found == whole[: len(found)]
        assert found.count(tokenizer.eos_token_id) == text.count(tokenizer.eos_token) + begin.count(
            tokenizer.eos_token_id
        )
    if FAMILIES[name].template:  # a chat that was rendered as text, with the beginning in it or without
        messages = [{"role": "user", "content": "What is 1?"}]
        given = {"add_generation_prompt": True, "return_dict": False}
        whole = tokenizer.apply_chat_template(messages, **given)
        found = encode_prompt(tokenizer, tokenizer.apply_chat_template(messages, tokenize=False, **given)).tolist()
        assert found == (whole if whole[: len(begin)] == begin else begin + whole)


def test_half_a_character_begins_no_context() -> None:
    with pytest.raises(TokenizerError, match="must be valid Unicode"):
        encode_prompt(char_tokenizer(), "a\ud800")


@pytest.mark.parametrize("takes", [(False, False), (True, False), (False, True), (True, True)])
def test_special_tokens_beside_a_prompt_may_take_its_white_space(takes: tuple[bool, bool]) -> None:
    tokenizer = copy.deepcopy(char_tokenizer())
    left, right = takes
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [AddedToken("<u>", rstrip=left), AddedToken("</u>", lstrip=right)]}
    )
    frame = template_frame(tokenizer, [("<u>", True), None, ("</u>", True)])
    assert frame.takes == takes
    for prompt in ("a", " a\n\n", "\t", ""):
        assert encode_prompts(tokenizer, [prompt], frame)[0].tolist() == tokenizer(f"<u>{prompt}</u>")["input_ids"]
    assert template_frame(tokenizer, [("<u>user ", True), None, (" .</u>", True)]).takes == (False, False)
