"""Numbers and dates in words: what is read, and what stays as it is."""

import pytest

from g2rpo_env.envs.mathematics.words import day_of_month, in_digits


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("forty-two", "42"), ("Twelve", "12"), ("two hundred and five people", "205 people"), ("a dozen", "12"),
        ("three dozen eggs", "36 eggs"), ("3 dozen", "36"), ("ninety-nine thousand one hundred", "99100"),
        ("2.5 million", "2500000"), ("one half", "1/2"), ("half", "1/2"), ("two-thirds", "2/3"),
        ("one and one half", "1 1/2"),
        ("two and a half hours", "2 1/2 hours"), ("minus three", "-3"), ("negative one half", "-1/2"),
    ],
)  # fmt: skip
def test_numbers(text: str, digits: str) -> None:
    assert in_digits(text) == digits


@pytest.mark.parametrize(
    "text", ["a circle", "one two", "one and two", "tenth", "and b", "none", "a", "", "bone", "x=two"]
)
def test_what_is_no_number_stays(text: str) -> None:
    assert in_digits(text) == text


def test_many_words_cost_no_time() -> None:
    assert in_digits("million " * 10_000) == "million " * 10_000


def test_dates() -> None:
    assert day_of_month("5 May") == day_of_month("May 5th") == day_of_month("the 5th of may") == "May 5"
    assert day_of_month("May 5, 2020") == day_of_month("5 May 2020") != day_of_month("5 May 2021")
    assert day_of_month("5 of 7") == ""
