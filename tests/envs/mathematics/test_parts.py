"""Answers taken apart."""

import pytest

from g2rpo_env.envs.mathematics.parts import between, distinct, matrix, split, squeeze


@pytest.mark.parametrize(
    ("text", "kind", "parts"),
    [
        ("(1, 2)", "()", ["1", "2"]),
        (r"\{1,\{2\}\}", "{}", ["1", r"\{2\}"]),
        ("1, 2 and 3", "", ["1", "2", "3"]),
        ("W=1or W=2", "", ["W=1", "W=2"]),
        ("(1,2),(3,4)", "", ["(1,2)", "(3,4)"]),
        ("(1;2)", "()", ["1", "2"]),
        ("floor", "", ["floor"]),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", "2x2", ["1", "2", "3", "4"]),
        ("[[1,2],[3,4]]", "2x2", ["1", "2", "3", "4"]),
        ("", "", []),
    ],
)
def test_split(text: str, kind: str, parts: list[str]) -> None:
    assert split(text) == (kind, parts)


def test_ragged_and_empty_cells_are_no_matrix() -> None:
    assert matrix(r"\begin{pmatrix}1&2\\3\end{pmatrix}") is None and matrix(r"\begin{pmatrix}1&\end{pmatrix}") is None


def test_signs_inside_brackets_do_not_count() -> None:
    assert between("=", r"F=\sum_{k=0}^{n}k") == ["F", r"\sum_{k=0}^{n}k"]


def test_a_space_between_digits_counts() -> None:
    assert squeeze("3 1/2") != squeeze("31/2") and squeeze(" x + 1 ") == "x+1"
    assert distinct(["1", " 1", "2"]) == [" 1", "2"]
