"""Steps: by hand, and for any text joined they are the text and no formula is cut."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g2rpo_env.envs.mathematics.steps import MAX_INLINE, SPLITTERS, lines, paragraphs, sentences

# -- by hand --------------------------------------------------------------------------------------------------------


def test_lines_keep_their_breaks_and_blank_lines_go_to_the_line_before() -> None:
    assert lines("a\nb") == ("a\n", "b")
    assert lines("a\r\n \n\nb\n\n") == ("a\r\n \n\n", "b\n\n")
    assert lines("\n\na\n") == ("\n\na\n",)
    assert lines("") == () and lines(" \n") == (" \n",)


def test_paragraphs_end_at_blank_lines() -> None:
    assert paragraphs("a\nb\n\n\nc\n \nd") == ("a\nb\n\n\n", "c\n \n", "d")
    assert paragraphs("\n\na") == ("\n\na",)


@pytest.mark.parametrize(
    "text,steps",
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("It is 3.5 m. Then 4.", ["It is 3.5 m. ", "Then 4."]),
        ("Primes, e.g. 2 and 3, i.e. few. So.", ["Primes, e.g. 2 and 3, i.e. few. ", "So."]),
        ("(So it is.) Next.", ["(So it is.) ", "Next."]),
        (r"If $x. y$ holds. Then.", [r"If $x. y$ holds. ", "Then."]),
        (r"If \(a. b\) holds. Then.", [r"If \(a. b\) holds. ", "Then."]),
        ("We get $$a. b$$, so c. D.", ["We get ", "$$a. b$$, ", "so c. ", "D."]),
        ("We get\n\\[a.\n\nb\\].\nSo.", ["We get\n", "\\[a.\n\nb\\].\n", "So."]),
        (
            r"As \begin{align*} a. b \\ c. d \end{align*} E. F",
            ["As ", r"\begin{align*} a. b \\ c. d \end{align*} ", "E. ", "F"],
        ),
        (r"\begin{x}a. \begin{x}b. c\end{x} d. e\end{x} F", [r"\begin{x}a. \begin{x}b. c\end{x} d. e\end{x} ", "F"]),
        (
            r"In $\begin{pmatrix} 1. 2 \end{pmatrix}$ it is. So",
            [r"In $\begin{pmatrix} 1. 2 \end{pmatrix}$ it is. ", "So"],
        ),
        (r"$x \text{ if $y. z$ or} w. v$ A. B", [r"$x \text{ if $y. z$ or} w. v$ A. ", "B"]),
        ("Costs \\$5. Then \\$6. End", ["Costs \\$5. ", "Then \\$6. ", "End"]),
        ("A pen costs $5. Then. End", ["A pen costs $5. ", "Then. ", "End"]),  # no end, no formula
        ("Line one\n\nline two", ["Line one\n\n", "line two"]),
        (r"\begin{asy} draw. me", [r"\begin{asy} draw. me"]),  # an environment without an end takes the rest
        (r"a\\[2pt] b. c", [r"a\\[2pt] b. ", "c"]),  # a line break with a distance is no display equation
        ("Thus $\\{1. 2$ x. y", ["Thus $\\{1. 2$ x. ", "y"]),
        ("${1. 2$ x. y", ["${1. 2$ x. ", "y"]),  # braces that do not close say nothing
    ],
)
def test_sentences_and_display_equations(text: str, steps: list[str]) -> None:
    assert list(sentences(text)) == steps


def test_a_dollar_far_from_the_next_one_is_a_currency_sign() -> None:
    text = "$" + "a. " * MAX_INLINE + "$"
    assert len(sentences(text)) > 1000


# -- any text -------------------------------------------------------------------------------------------------------

PIECES = [
    "a", "B", " ", "\n", "\n\n", ". ", "! ", "3.5", "$", "$$", "\\$", "\\(", "\\)", "\\[", "\\]", "\\\\", "{", "}",
    "\\begin{align}", "\\end{align}", "\\begin{x}", "\\end{x}", "\\text{", "e.g. ", "\r\n", "é", "\u2028", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("name", SPLITTERS)
@settings(deadline=None, max_examples=300)
@given(text=st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
def test_steps_joined_are_the_text_and_none_is_blank(name: str, text: str) -> None:
    steps = SPLITTERS[name](text)
    assert "".join(steps) == text
    assert all(step.strip() for step in steps) or len(steps) == 1


@st.composite
def solutions(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """A LaTeX text of sentences and formulas, and where the formulas stand."""
    parts = st.sampled_from(["x", ". ", "\n", "1.5. ", "\\{", "\\frac{a. b}{c}", "! Z"])
    inner = st.lists(parts, max_size=5).map("".join)
    kinds = [("$y", "$"), ("$$y", "$$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\begin{align}", "\\end{align}")]
    text, spans = "", []
    for _ in range(draw(st.integers(1, 6))):
        text += draw(st.sampled_from(["We see that ", "So. ", "Done!\n", "e.g. ", "it is 2.5.\n\nNow "]))
        opening, ending = draw(st.sampled_from(kinds))
        content = draw(inner)
        # TeX allows no blank line between dollars
        content = re.sub(r"\n\s*\n", "\n", content)
        spans.append((len(text), len(text) + len(opening + content + ending)))
        text += opening + content + ending + draw(st.sampled_from([" ", ". ", "\n"]))
    return text, spans


@settings(deadline=None, max_examples=300)
@given(solution=solutions())
def test_no_cut_falls_into_a_formula(solution: tuple[str, list[tuple[int, int]]]) -> None:
    text, spans = solution
    end = 0
    for step in sentences(text):
        end += len(step)
        assert not any(start < end < stop for start, stop in spans), (text, step)


@pytest.mark.parametrize("unit", ["${", "\\(", "\\[", "$$ ", "\\begin{a}", "$ \n\n", ". ", "\\", "\n", "}$"])
def test_any_repetition_takes_little_time(unit: str) -> None:
    text = unit * (20_000 // len(unit))
    for split in SPLITTERS.values():
        assert "".join(split(text)) == text
