"""Units at the end of an answer: which words are one, and which two are the same."""

from __future__ import annotations

import re
from fractions import Fraction

_SAME = """
mm millimeter millimetre; cm centimeter centimetre; dm decimeter decimetre; m meter metre; km kilometer kilometre;
in inch; ft foot feet; yd yard; mi mile; g gram gm gr; mg milligram; kg kilogram kilo; lb pound gbp; oz ounce;
t tonne ton; s sec second; min minute; h hr hour; d day; wk week; mo month; yr year;
ml milliliter millilitre; l liter litre; gal gallon;
dollar usd buck; cent penny pence; euro eur; yen jpy; inr rupee; degree deg;
mi/h mph; mi/gal mpg; km/h kph kmh kmph; m/s mps; celsius c; fahrenheit f; n newton; j joule;
w watt; v volt; k kelvin; hz hertz; pa pascal; rad radian; a ampere amp; mol mole;
au; ev electronvolt; ms millisecond; kw kilowatt; kj kilojoule; kn kilonewton; kpa kilopascal; khz kilohertz; ohm
"""
_CANONICAL = {
    word: group.split()[0] for group in _SAME.replace("\n", " ").split(";") for word in group.split() if group.split()
}
_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "squared": 2, "cubed": 3}
_POWER_WORD = re.compile(r"\b(square|sq|cubic|cu)\b\.? ?([a-z]+)")
_POWERED = re.compile(r" (squared|cubed)\b")
_FACTOR = re.compile(r"([a-z]+)\.?(?:\s*\^\s*\{?\s*|(?=[23](?![0-9])))?(-?[0-9])?")
_AROUND = frozenset(
    "degree degrees long wide tall high deep away apart old of a an in total each altogether more".split()
)
"""Words beside a unit that say nothing about it."""
_NUMBER_AND_UNIT = r"([0-9]{1,9})\s*([a-zA-Z]{1,9})\.?"
_IN_UNITS = re.compile(rf"{_NUMBER_AND_UNIT}(?:,?\s*(?:and\s+)?{_NUMBER_AND_UNIT}){{1,2}}")
_EACH = re.compile(_NUMBER_AND_UNIT)
_SCALES = """
mm 1/1000 m; cm 1/100 m; dm 1/10 m; km 1000 m; in 1/12 ft; yd 3 ft; mi 5280 ft; mg 1/1000 g; kg 1000 g; oz 1/16 lb;
min 60 s; h 3600 s; d 86400 s; wk 604800 s; yr 12 mo; cent 1/100 dollar;
ms 1/1000 s; kw 1000 w; kj 1000 j; kn 1000 n; kpa 1000 pa; khz 1000 hz
"""
_SCALE = {unit: (Fraction(factor), base) for unit, factor, base in map(str.split, _SCALES.split(";"))}
_SCALE |= {"l": (Fraction(1, 1000), "m^3"), "ml": (Fraction(1, 10**6), "m^3")}
_LETTERS = frozenset("msghLlNJWVK")
"""Letters that stand for a unit where a text says so; else they are variables."""
_NO_UNIT = frozenset(
    "am pm or and if else for import pi mod is in when where with sin cos tan ln log exp sqrt inf infinity less more "
    "than".split()
)
_WORD = r"[a-zA-Z][a-zA-Z.]*"
_POWER = r"((?:\s*\^\s*\{?\s*-?[0-9]\s*\}?)?)"
_GROUP = re.compile(
    r"(?:\s|\\[,;: ]|~|/|\\cdot(?![a-z]))*\\(?:text|mbox|mathrm|textrm|textbf|textit|mathit|mathbf|operatorname)\s*"
    rf"\{{\s*([^{{}}]{{1,40}})\}}{_POWER}[\s.,]*$"
)
_INSIDE = re.compile(rf"[-\s]*{_WORD}(?:[-\s/,]+{_WORD}|\^?[0-9])*\s*")
_BARE = re.compile(
    r"((?:[^=]*=){0,3}\s*[-+]?[0-9][0-9.,/ ]*|.*[})]|.*\\pi(?:\s*/[0-9]+)?|.*10\s*\^\s*-?[0-9]+)"
    rf"(?:\s+|(?<=[0-9])(?=/[a-z]{{3}}))((?:{_WORD}(?:[- ]+{_WORD}){{0,5}}|(?=/))(?:\s*/\s*{_WORD})?){_POWER}"
)
_TIGHT = re.compile(
    r"([-+]?[0-9][0-9.,]*)\s*"
    r"(mm|cm|dm|km|kg|mg|ft|in|yd|mi|lbs?|oz|min|hrs?|mph|kph|m[lL]|st|nd|rd|th|km/hr?|m/s|[msgh])" + _POWER
)
_ORDINARY = re.compile(r"(?=.*[aeiouy])[a-z]{4,}\.?", re.IGNORECASE)


def cut_group(text: str) -> tuple[str, str]:
    """Return LaTeX without the units that stand in ``\\\\text{...}`` at its end, and these.

    >>> cut_group("9\\\\pi\\\\text{ cm}^2"), cut_group("\\\\text{Evelyn}")
    (('9\\\\pi', 'cm^2'), ('\\\\text{Evelyn}', ''))
    """
    unit = ""
    while match := _GROUP.search(text, max(0, len(text) - 200)):
        head, inside = text[: match.start()], " ".join(match[1].replace("\\cdot", " ").split())
        inside = inside[1:-1] if inside[:1] == "(" and inside[-1:] == ")" else inside
        if not head or head[-1] in "=+-*^,({&\\_:" or not _is_group(inside, head):
            break
        divided, inside = "/" in match[0][: match.start(1) - match.start()], inside + "".join(match[2].split())
        text, unit = head, f"{inside} {unit}" if unit and not unit.startswith("/") else inside + unit
        unit = "/" + unit if divided else unit
    return text, unit.strip()


def _is_group(inside: str, head: str) -> bool:
    words = set(inside.lower().replace(".", "").split())
    if not _INSIDE.fullmatch(inside) or words & _NO_UNIT:
        return False
    return len(inside) > 1 or inside in _LETTERS or (inside in "CF" and head.rstrip("} ").endswith("circ"))


def cut_bare(text: str, lenient: bool) -> tuple[str, str]:
    """Return a normalised answer without the words at its end that are a unit, and these.

    Args:
        text: The answer; ``2 xy`` and ``3m`` are products, unless
        lenient: any word of three letters behind a number is a unit, as where a number is asked for.

    >>> cut_bare("100000 people", False), cut_bare("2 red", False), cut_bare("2 red", True)
    (('100000', 'people'), ('2 red', ''), ('2', 'red'))
    """
    if len(text) > 200:
        return text, ""
    match = _TIGHT.fullmatch(text)
    if match and (lenient or len(match[2]) > 1):
        return match[1].strip(), match[2] + match[3]
    match = _BARE.fullmatch(text)
    if match is None:
        return text, ""
    words = re.split(r"[-\s/]+", match[2])
    if set(word.lower().strip(".") for word in words) & _NO_UNIT:
        return text, ""
    unit = match[2] + "".join(match[3].split())
    first = (words[0] or words[1]).rstrip(".")
    known = _ORDINARY.fullmatch(first) or first in _POWERS
    known = known or ((len(first) > 1 or "^-" in unit or "^{-" in unit) and canonical(unit) != "")
    scientific = "10^" in match[1].replace(" ", "") and words[0] in _LETTERS | {"C", "A", "F", "T"}
    loose = lenient and _is_number(match[1].rpartition("=")[2]) and (len(words[0]) > 2 or words[0] in _LETTERS)
    return (match[1].strip(), unit) if known or scientific or loose else (text, "")


def _is_number(text: str) -> bool:
    return re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)) is None


def in_units(text: str) -> list[tuple[int, str]]:
    """Return the numbers and units of a quantity in two or three units of one kind, ``[]`` for all else.

    >>> in_units("2 hours and 30 minutes"), in_units("5 ft 3 in"), in_units("2 hours"), in_units("2 hours 30 cents")
    ([(2, 'h'), (30, 'min')], [(5, 'ft'), (3, 'in')], [], [])
    """
    parts = _EACH.findall(text) if _IN_UNITS.fullmatch(text) else []
    found = [(int(number), canonical(unit)) for number, unit in parts]
    return found if len({scale(unit)[1] for _, unit in found} - {""}) == 1 and all(unit for _, unit in found) else []


def scale(unit: str) -> tuple[Fraction, str]:
    """Return a unit as a multiple of another one that all units of its kind share; ``(1, "")`` for other words.

    >>> scale("cm^2"), scale("km/h"), scale("minutes"), scale("apples")
    ((Fraction(1, 10000), 'm^2'), (Fraction(5, 18), 'm/s'), (Fraction(60, 1), 's'), (Fraction(1, 1), ''))
    """
    factor, powers = Fraction(1), dict[str, int]()
    for name, power in (_powers(unit) or {}).items():
        multiple, base = _SCALE.get(name, (Fraction(1), name))
        base, _, cube = base.partition("^")
        factor *= multiple**power
        powers[base] = powers.get(base, 0) + power * int(cube or 1)
    return factor, _written(powers)


def canonical(unit: str) -> str:
    """Return one spelling of a unit of measure; ``""`` for all other words.

    >>> canonical("square centimeters"), canonical("miles per hour"), canonical("m s^{-1}"), canonical("apples")
    ('cm^2', 'mi/h', 'm/s', '')
    """
    return _written(_powers(unit) or {})


def _powers(unit: str) -> dict[str, int] | None:
    """Return the units that words stand for together, and the power of each; None if one of them is no unit."""
    powers: dict[str, int] = {}
    text = _POWER_WORD.sub(lambda match: f"{match[2]}^{_POWERS[match[1]]} ", unit.lower())
    text = _POWERED.sub(lambda match: f"^{_POWERS[match[1]]}", text)
    for number, part in enumerate(re.split(r"\s*/\s*|\bper\b", text)):
        factors = _FACTOR.findall(part)
        if len(factors) == 1 and factors[0][0] == "ms" and factors[0][1].startswith("-"):  # m s^{-1}
            factors = [("m", ""), ("s", factors[0][1])]
        for word, power in factors:
            if word in _AROUND and len(factors) > 1:
                continue
            known = _known(word)
            if not known:
                return None
            for name, own in known:
                powers[name] = powers.get(name, 0) + own * int(power or 1) * (-1 if number else 1)
    return powers


def _written(powers: dict[str, int]) -> str:
    above, below = ([(name, abs(n)) for name, n in sorted(powers.items()) if n * sign > 0] for sign in (1, -1))
    written = ["*".join(name if n == 1 else f"{name}^{n}" for name, n in part) for part in (above, below)]
    return written[0] if not below else "/".join(written)


def _known(word: str) -> list[tuple[str, int]]:
    """Return the units that a word stands for, with their powers: ``mph`` is a mile by an hour."""
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _CANONICAL:
            above, _, below = _CANONICAL[form].partition("/")
            return [(above, 1), (below, -1)] if below else [(above, 1)]
    return []
