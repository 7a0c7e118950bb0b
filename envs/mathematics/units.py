"""Units at the end of an answer: which words are one, and which two are the same."""

from __future__ import annotations

import re

_SAME = """
mm millimeter millimetre; cm centimeter centimetre; dm decimeter decimetre; m meter metre; km kilometer kilometre;
in inch; ft foot feet; yd yard; mi mile; g gram gm gr; mg milligram; kg kilogram kilo; lb pound; oz ounce; t tonne ton;
s sec second; min minute; h hr hour; d day; wk week; mo month; yr year;
ml milliliter millilitre; l liter litre; gal gallon;
dollar usd buck; cent penny pence; euro eur; degree deg; mi/h mph; km/h kph; celsius c; fahrenheit f; n newton; j joule;
w watt; v volt; k kelvin; hz hertz; pa pascal; rad radian; a ampere amp; mol mole
"""
_CANONICAL = {
    word: group.split()[0] for group in _SAME.replace("\n", " ").split(";") for word in group.split() if group.split()
}
_LETTERS = frozenset("msghLlNJWVK")
"""Letters that stand for a unit where a text says so; else they are variables."""
_NO_UNIT = frozenset(
    "or and if else for import pi mod is in when where with sin cos tan ln log exp sqrt inf infinity less more "
    "than".split()
)
_WORD = r"[a-zA-Z][a-zA-Z.]*"
_POWER = r"(?:\s*\^\s*\{?\s*-?[0-9]\s*\}?)?"
_GROUP = re.compile(
    r"(?:\s|\\[,;: ]|~|/|\\cdot(?![a-z]))*\\(?:text|mbox|mathrm|textrm|textbf|textit|mathit|mathbf|operatorname)\s*"
    rf"\{{\s*([^{{}}]{{1,40}})\}}{_POWER}[\s.,]*$"
)
_INSIDE = re.compile(rf"[-\s]*{_WORD}(?:[-\s/,]+{_WORD}|\^?[0-9])*\s*")
_BARE = re.compile(
    r"((?:[^=]*=)?\s*[-+]?[0-9][0-9.,/ ]*|.*[})]|.*\\pi|.*\^\{[0-9]+\})\s+"
    rf"({_WORD}(?:[- ]+{_WORD}){{0,5}}(?:\s*/\s*{_WORD})?){_POWER}"
)
_TIGHT = re.compile(
    r"([-+]?[0-9][0-9.,]*)\s*"
    r"(mm|cm|dm|km|kg|mg|ft|in|yd|mi|lbs?|oz|min|hrs?|mph|kph|m[lL]|st|nd|rd|th|km/h|m/s|[msgh])" + _POWER
)
_ORDINARY = re.compile(r"(?=.*[aeiouy])[a-z]{4,}\.?", re.IGNORECASE)


def cut_group(text: str) -> tuple[str, str]:
    """Return LaTeX without the units that stand in ``\\\\text{...}`` at its end, and these.

    >>> cut_group("9\\\\pi\\\\text{ cm}^2"), cut_group("\\\\text{Evelyn}")
    (('9\\\\pi', 'cm'), ('\\\\text{Evelyn}', ''))
    """
    unit = ""
    while match := _GROUP.search(text, max(0, len(text) - 200)):
        head, inside = text[: match.start()], match[1].strip()
        if not head or head[-1] in "=+-*^,({&\\_:" or not _is_group(inside, head):
            break
        divided = "/" in match[0][: match.start(1) - match.start()]
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
        return match[1].strip(), match[2]
    match = _BARE.fullmatch(text)
    if match is None:
        return text, ""
    words = re.split(r"[-\s/]+", match[2])
    if set(word.lower().strip(".") for word in words) & _NO_UNIT:
        return text, ""
    known = all(_ORDINARY.fullmatch(word) or (len(word) > 1 and canonical(word) != "") for word in words[:1])
    loose = lenient and _is_number(match[1]) and (len(words[0]) > 2 or words[0] in _LETTERS)
    return (match[1].strip(), match[2]) if known or loose else (text, "")


def _is_number(text: str) -> bool:
    return re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)) is None


def canonical(unit: str) -> str:
    """Return one spelling of a unit of measure, without its power; ``""`` for all other words.

    >>> canonical("square centimeters"), canonical("miles per hour"), canonical("apples")
    ('cm', 'mi/h', '')
    """
    unit = re.sub(r"\b(?:square|sq|cubic|cu)\b\.?|[.^0-9{}]", " ", unit.lower()).replace(" per ", "/")
    parts = [_canonical(part.strip()) for part in unit.split("/")]
    return "/".join(parts) if all(parts) else ""


def _canonical(word: str) -> str:
    word = word.removeprefix("degrees ").removeprefix("degree ")
    for form in (word, word.removesuffix("s"), word.removesuffix("es")):
        if form in _CANONICAL:
            return _CANONICAL[form]
    return ""
