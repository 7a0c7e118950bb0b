"""Rows become problems: fields, steps, where the final part begins; and rows that cannot."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env import Problem
from g2rpo_env.envs.mathematics.equality import MathVerifier
from g2rpo_env.envs.mathematics.layout import RULES, TAG_RULES, Layout, spellings, states_answer, text_of
from g2rpo_env.errors import ConfigurationError, DataError

ROW = {"question": "Q?", "solution": r"First $x=1$. So $x+1 = \boxed{2}$.", "answer": "2", "level": "Level 3"}


def problem(row: dict[str, Any] | None = None, **fields: Any) -> Problem:
    return Layout(**fields).problem(ROW if row is None else row, "train/0", "rows.jsonl, line 1")


# -- by hand --------------------------------------------------------------------------------------------------------


def test_a_row_becomes_a_problem_whose_last_box_is_the_final_part() -> None:
    expected = Problem("train/0", "Q?\n", ("First $x=1$. ",), r"So $x+1 = \boxed{2}$.", "2", (), 3.0)
    assert problem(level="level") == expected
    assert problem(answer=None, level="level") == expected  # the answer is what stands in the box


def test_the_answer_may_stand_after_a_mark() -> None:
    row = {"question": "Q?", "text": "1+1=2\nThen 2+1=3.\n#### 3 "}
    made = problem(row, solution="text", answer=None, mark="####", steps="lines")
    assert (made.steps, made.final, made.answer) == (("1+1=2\n", "Then 2+1=3.\n"), "#### 3 ", "3")


def test_a_solution_that_does_not_state_its_answer_gets_a_closing() -> None:
    made = problem({**ROW, "solution": "One. Two."})
    assert (made.steps, made.final) == (("One. ", "Two."), "\nSo the final answer is $\\boxed{2}$.")
    made = problem({**ROW, "solution": "One.\n"}, steps="lines", closing="#### {answer}")
    assert (made.steps, made.final) == (("One.\n",), "#### 2")


def test_a_box_without_braces_holds_the_answer() -> None:
    for box, answer in ((r"\boxed 2", "2"), (r"\boxed\frac12", r"\frac12"), (r"\boxed  7", "7"), (r"\fbox 7", "7")):
        made = problem({"question": "Q?", "solution": f"Look. So ${box}$."}, answer=None)
        assert (made.answer, made.steps, made.final) == (answer, ("Look. ",), f"So ${box}$.")


def test_a_box_with_something_else_is_hidden_and_a_closing_follows() -> None:
    made = problem({**ROW, "solution": r"One. \boxed{3} and more"})
    assert made.steps == ("One. ",) and made.final.startswith("\\boxed{3} and more\nSo the")
    assert MathVerifier(RULES)([made], [made.solution])[0].correct


def test_what_states_the_answer_first_is_where_the_final_part_begins() -> None:
    row = {**ROW, "solution": "Look.\nThe answer is 2.\nCheck it.\nThe answer is 5 minus 3.\n"}
    made = problem(row, steps="lines")
    assert made.steps == ("Look.\n",) and made.final.startswith("The answer is 2.\nCheck it.\n")
    row = {**ROW, "solution": "Look.\nAnswer:\n2\n"}
    assert problem(row, steps="lines").steps == ("Look.\n",)  # on two lines


@pytest.mark.parametrize("steps", ["sentences", "lines"])
@pytest.mark.parametrize(
    "last",
    [r"So $x=\boxed 2$.", r"So $x=\boxed  2$.", r"So $x=\fbox{2}$.", r"So $x=\framebox{2}$.", "So $x=\\boxed\n{2}$.",
     "Die Antwort lautet 2.", "My answer: 2", "Ответ: 2"],
)  # fmt: skip
def test_no_step_holds_the_answer_however_it_is_marked(last: str, steps: str) -> None:
    made = problem({**ROW, "solution": f"We halve $4$.\n{last}"}, steps=steps)
    assert made.steps == ("We halve $4$.\n",) and made.final.startswith(last)


def test_without_a_solution_nothing_can_be_revealed() -> None:
    expected = Problem("train/0", "Q?\n", (), "So the final answer is $\\boxed{2}$.", "2")
    assert problem(solution=None) == expected
    for empty in (None, ""):
        assert problem({**ROW, "solution": empty}, may_lack_solution=True) == expected
    assert problem({"question": "Q?", "answer": "2"}, may_lack_solution=True) == expected


def test_an_empty_solution_beside_an_answer_says_that_there_is_none() -> None:
    for empty in (None, "", " ", []):
        assert problem({**ROW, "solution": empty}).steps == ()


def test_public_rows_have_conversations_lists_and_fields_inside_fields() -> None:
    row = {
        "prompt": [{"role": "user", "content": "Q?"}],
        "reward_model": {"ground_truth": "2"},
        "extra_info": '{"solutions": ["One. $\\\\boxed{2}$.", "Other."], "level": 4}',
    }
    fields = {
        "question": "prompt", "answer": "reward_model.ground_truth", "solution": "extra_info.solutions",
        "level": "extra_info.level",
    }  # fmt: skip
    made = problem(row, **fields)
    assert (made.prompt, made.answer, made.solution, made.level) == ("Q?\n", "2", "One. $\\boxed{2}$.", 4.0)


@pytest.mark.parametrize(
    "value,answer",
    [(["2"], "2"), ('["2"]', "2"), ("['2']", "2"), ([2.0], "2"), (Decimal("2.50"), "2.50"), ("[1, 2]", "[1, 2]")],
)
def test_an_answer_may_be_a_list_of_one(value: Any, answer: str) -> None:
    assert problem({**ROW, "answer": value}).answer == answer


def test_the_template_think_puts_tags_around() -> None:
    made = problem(template="think")
    assert made.solution == "<think>\nFirst $x=1$. So $x+1 = \\boxed{2}$.\n</think>\n<answer>2</answer>"
    assert made.steps == ("<think>\nFirst $x=1$. ",)
    assert problem(solution=None, template="think").final.startswith("<think>\nSo the final")
    trace = {**ROW, "solution": "<think>\nHm.\n\nTwo.\n</think>\n\n\\boxed{2}"}
    made = problem(trace, steps="paragraphs", template="think")
    assert made.solution == trace["solution"] + "\n<answer>2</answer>" and made.steps[0] == "<think>\nHm.\n\n"


@pytest.mark.parametrize(
    "value,level", [("Level 5", 5.0), ("Level ?", None), (3, 3.0), (0.25, 0.25), (None, None), (float("nan"), None)]
)
def test_a_level_is_a_number_or_a_text_with_one(value: Any, level: float | None) -> None:
    made = problem({**ROW, "level": value}, level="level")
    assert made.level == level and made.difficulty == (1.0 if level is None else level)


@pytest.mark.parametrize(
    "answer,others",
    [
        ("1,234", ("1234",)),
        ("12", ()),
        (r"\dfrac{1}{2}", (r"\frac{1}{2}", r"\tfrac{1}{2}", "1/2")),
        (r"-\frac{1}{2}", (r"-\dfrac{1}{2}", r"-\tfrac{1}{2}", "-1/2")),
        (r"\frac{x}{2}", (r"\dfrac{x}{2}", r"\tfrac{x}{2}")),
    ],
)
def test_other_spellings(answer: str, others: tuple[str, ...]) -> None:
    assert spellings(answer) == others
    assert problem({**ROW, "answer": answer}).aliases == others


def test_listed_aliases_come_last() -> None:
    assert problem({**ROW, "more": ["5 km", 5]}, aliases="more").aliases == ("5 km", "5")
    assert problem({**ROW, "more": None}, aliases="more").aliases == ()


@pytest.mark.parametrize(
    "value,text", [("a", "a"), (51.0, "51"), (2.5, "2.5"), (-3, "-3"), (0, "0"), (" a\x00 ", " a\x00 ")]
)
def test_fields_are_texts_or_numbers(value: Any, text: str) -> None:
    assert text_of({"a": value}, "a", "here") == text


def test_only_stated_answers_count() -> None:
    assert states_answer(r"so \boxed{\frac12}", "0.5") and states_answer("The answer is 5.", "5")
    assert not states_answer("so it is 5", "5") and not states_answer(r"\boxed{4}", "5")
    assert not states_answer("put it into \\boxed{}", "5")
    # What only algebra could settle is hidden; prose is not.
    assert states_answer(r"so \boxed{x+1}", "1+x") and states_answer("The answer is $1+x$.", "x+1")
    assert not states_answer("The answer is supposed to be whole.", "1+x")


# -- any solution ---------------------------------------------------------------------------------------------------

PARTS = [
    "Add. ", "It is 7.\n", "$a.b$ ", "\\[c\\]\n\n", "The answer is 7. ", "\\boxed{7} ", "\\boxed{1}. ", "\\boxed{x} ",
    "#### 7\n",
]  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    text=st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join),
    steps=st.sampled_from(["lines", "sentences", "paragraphs"]),
    template=st.sampled_from(["plain", "think"]),
)
def test_any_solution_is_whole_grades_right_and_no_reveal_states_the_answer(
    text: str, steps: str, template: str
) -> None:
    made = problem({"question": "Q?", "solution": text, "answer": "7"}, steps=steps, template=template)
    verifier = MathVerifier(TAG_RULES if template == "think" else RULES)
    # Behind a box that is joined to another one, and so holds a list, the closing states the answer.
    assert text.rstrip("\n") in made.solution and made.final
    assert "".join(made.steps).removeprefix("<think>\n") == text[: len("".join(made.steps).removeprefix("<think>\n"))]
    assert verifier([made], [made.solution])[0].correct
    shown = ["".join(made.steps[:count]) for count in range(len(made.steps) + 1)]
    assert not any(verdict.correct for verdict in verifier([made] * len(shown), shown))


# -- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row,fields,words",
    [
        ({"problem": "Q?", "answer": "2"}, {}, "line 1: there is no field 'question'; the fields are 'problem', 'ans"),
        ({}, {}, "there is no field 'question'; the fields are none"),
        ({"question": "Q?", "answer": "2"}, {}, "there is no field 'solution'"),
        ({**ROW, "question": " \n"}, {}, r"field 'question' must be a text that is not empty, got ' \\n'"),
        ({**ROW, "answer": None}, {}, "field 'answer' must be a text that is not empty, got None"),
        ({**ROW, "answer": True}, {}, "field 'answer' .* got True"),
        ({**ROW, "answer": float("nan")}, {}, "field 'answer' .* got nan"),
        ({**ROW, "answer": ["2", "3"]}, {}, "field 'answer'"),
        ({**ROW, "answer": []}, {}, "field 'answer'"),
        ({**ROW, "answer": "proof"}, {}, "field 'answer' must be an answer that can be checked, got 'proof'"),
        ({**ROW, "solution": ""}, {"answer": None}, "field 'solution' must be a text that is not empty"),
        ({**ROW, "solution": []}, {"answer": None}, "field 'solution' must be a text that is not empty"),
        ({**ROW, "answer": {"a": None}}, {"answer": "answer.a"}, "field 'answer.a' must be a text .* got None"),
        ({**ROW, "x": {"a": "S"}}, {"solution": "x.b"}, "there is no field 'x.b'"),
        ({**ROW, "question": "a\ud83d"}, {}, r"field 'question' must be text, but holds the lone surrogate '\\ud83d'"),
        ({**ROW, "solution": "no box"}, {"answer": None}, r"field 'solution' must state its answer in \\boxed\{\}"),
        ({**ROW, "solution": r"\boxed{}"}, {"answer": None}, "must state its answer"),
        ({**ROW, "solution": "####\n"}, {"answer": None, "mark": "####"}, "must state its answer after '####'"),
    ],
)
def test_bad_rows_are_named(row: dict[str, Any], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        problem(row, **fields)


@pytest.mark.parametrize(
    "fields,words",
    [
        ({"steps": "words"}, "steps='words' must be one of lines, sentences, paragraphs"),
        ({"answer": None, "solution": None}, "answer=None must come with a solution"),
        ({"mark": "####"}, "mark='####' must be a text, and answer=None with it"),
        ({"mark": "", "answer": None}, "mark=''"),
        ({"closing": "done"}, r"closing='done' must hold '\{answer\}' exactly once"),
        ({"template": "no"}, r"template='no' must hold '\{question\}' exactly once"),
    ],
)
def test_bad_mappings_are_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Layout(**fields)


ANYTHING = st.text(max_size=40) | st.text(st.characters(), max_size=8) | st.none() | st.integers() | st.floats()
LATEX = st.lists(
    st.sampled_from(
        ["\\boxed{", "}", "{", "$", "\\frac", "####", "<answer>", "</think>", "answer is ", "7", "\n\n", "\ud83d"]
    ),
    max_size=12,
).map("".join)


@settings(deadline=None, max_examples=300)
@given(
    row=st.fixed_dictionaries(
        {}, optional={name: ANYTHING | LATEX for name in ("question", "solution", "answer", "level")}
    ),
    answer=st.sampled_from(["answer", None]),
    steps=st.sampled_from(["lines", "sentences", "paragraphs"]),
    template=st.sampled_from(["plain", "think"]),
)
def test_any_row_becomes_a_problem_or_a_named_error(row: Any, answer: Any, steps: str, template: str) -> None:
    try:
        made = problem(row, answer=answer, steps=steps, template=template, level="level")
    except DataError as error:
        assert str(error).startswith("rows.jsonl, line 1: ")
        return
    assert made.final and made.answer.strip() and made.prompt.strip() and all(step.strip() for step in made.steps)
    made.solution.encode()


@pytest.mark.parametrize("answer", ["9" * 200_000, "9^{9^9}", "{" * 5000, "__import__('os')", "\x00", "\\text{}"])
def test_hostile_answers_become_problems_or_errors_in_time(answer: str) -> None:
    made = problem({**ROW, "answer": answer})
    assert made.answer == answer and made.final.endswith(f"$\\boxed{{{answer}}}$.")


def test_a_hint_is_a_field_that_a_row_may_lack() -> None:
    assert problem({**ROW, "help": "Add one.\n"}, hint="help").hint == "Add one.\n"
    for row in (ROW, {**ROW, "help": ""}, {**ROW, "help": None}):
        assert problem(row, hint="help").hint == ""
    with pytest.raises(DataError, match="field 'help'"):
        problem({**ROW, "help": 3.5j}, hint="help")
