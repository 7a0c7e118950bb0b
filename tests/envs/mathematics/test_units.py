"""Units: what is cut, what is a variable instead, and what is the same."""

import pytest

from g2rpo_env.envs.mathematics.units import canonical, cut_bare, cut_group


@pytest.mark.parametrize(
    ("text", "rest", "unit"),
    [
        (r"9\pi \text{ cm}^2", r"9\pi", "cm^2"),
        (r"5\ \mathrm{m/s^2}", "5", "m/s^2"),
        (r"5\text{ m}/\text{s}", "5", "m/s"),
        (r"100 \text{sq. ft.}", "100", "sq. ft."),
        (r"37^\circ\text{C}", r"37^\circ", "C"),
        (r"\text{Evelyn}", r"\text{Evelyn}", ""),
        (r"2\mathbf{i}", r"2\mathbf{i}", ""),
        (r"1-\mathrm{e}", r"1-\mathrm{e}", ""),
        (r"x \text{ or so}", r"x \text{ or so}", ""),
    ],
)
def test_groups(text: str, rest: str, unit: str) -> None:
    assert cut_group(text) == (rest, unit)


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("100 people", "100", "100"),
        ("12 in", "12", "12"),
        ("5 m/s", "5", "5"),
        ("60 miles per hour", "60", "60"),
        ("3m", "3m", "3"),
        ("2 xy", "2 xy", "2 xy"),
        ("2 x", "2 x", "2 x"),
        ("2 red", "2 red", "2"),
        ("2 m", "2 m", "2"),
        (r"4\sqrt{3} units", r"4\sqrt{3}", r"4\sqrt{3}"),
        ("3 or 4", "3 or 4", "3 or 4"),
        ("v = 180/3 = 60 km/h", "v = 180/3 = 60", "v = 180/3 = 60"),
        ("5 if 1 else 0", "5 if 1 else 0", "5 if 1 else 0"),
    ],
)
def test_words(text: str, strict: str, lenient: str) -> None:
    assert (cut_bare(text, False)[0], cut_bare(text, True)[0]) == (strict, lenient)


def test_one_spelling() -> None:
    for unit in ("square centimetres", "cm^2", "cm2", "sq. cm", "centimeters squared"):
        assert canonical(unit) == "cm^2"
    for unit in ("m s^{-1}", "m/s", "meters per second"):
        assert canonical(unit) == "m/s"
    assert canonical("meters per second squared") == canonical("m/s/s") == "m/s^2" and canonical("cm long") == "cm"
    assert canonical("minutes") == canonical("min") and canonical("cm") != canonical("m")
    assert canonical("mph") == canonical("miles per hour") and canonical("oranges") == ""
