"""One spelling for the many ways to write the same answer: Unicode, LaTeX spacing, thousands, units."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_SYMBOLS = {
    "\u2212": "-", "\u2013": "-", "\u2012": "-", "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ",
    "≥": r"\ge ", "≠": r"\ne ", "×": r"\cdot ", "⋅": r"\cdot ", "·": r"\cdot ", "÷": "/", "∪": r"\cup ",
    "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "ℝ": r"\mathbb{R}", "±": r"\pm ", "€": "", "£": "",
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_DIGIT = r"[0-9]"
_REPLACEMENTS = [
    (re.compile(r"\\boxed\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"), r"\1"),
    (re.compile(r"\\textcolor\{[a-zA-Z]+\}|\\color\{[a-zA-Z]+\}|\\displaystyle|\\limits"), ""),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])"), ""),
    (re.compile(r",\s*\\!\s*"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(rf"(?<={_DIGIT})\{{,\}}(?={_DIGIT}{{3}})"), ","),
    (re.compile(r"(?<!\\)\\[,;: ]|\\q?quad|~"), " "),
    (re.compile(r"(?<!\\)\\[()\[\]]|\\\$|\$"), ""),
    (re.compile(r"\(?\s*\\begin\{(?:array\}\{[^{}]*|[bp]?matrix)\}"), r"\\begin{pmatrix}"),
    (re.compile(r"(?:\\\\)?\s*\\end\{(?:array|[bp]?matrix)\}\s*\)?"), r"\\end{pmatrix}"),
    (re.compile(r"\\\{\s*[a-z]\s*(?::|\\mid|\|)\s*([^{}]*)\\\}"), r"\1"),
    (re.compile(r"\\[dtc]frac"), r"\\frac"),
    (re.compile(r"\\(?:mathrm|operatorname|mathbf|mathit|boldsymbol|bf|rm)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\(?:text|textbf|textit|mbox|textrm)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\s*(?:%|\b(?:percent(?:age)?|pct)\b)"), "%"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|\\circ\b"), " degrees"),
    (re.compile(r"\\varnothing|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\leq(?![a-z])|<="), r"\\le "),
    (re.compile(r"\\geq(?![a-z])|>="), r"\\ge "),
    (re.compile(r"\\neq(?![a-z])|!="), r"\\ne "),
    (re.compile(r"\\times(?![a-z])|\\ast(?![a-z])"), r"\\cdot "),
    (re.compile(r"\\frac\s*([0-9])\s*([0-9])"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*([0-9])\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\sqrt\s*([0-9a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"√\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"√\s*([0-9]+|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![a-zA-Z\\])infinity\b|(?<![a-zA-Z\\])inf\b(?!$)"), r"\\infty"),
    (re.compile(r"(?<=[0-9])pi\b"), r"\\pi"),
    (re.compile(r"(?<![0-9a-zA-Z])([0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]{1,4})(?![0-9a-zA-Z.])"), r"\1\\cdot 10^{\2}"),
    (re.compile(rf"(?<={_DIGIT}) (?={_DIGIT}{{3}}(?!{_DIGIT}))"), ""),
]
_THOUSANDS = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_UNIT = re.compile(r"([-+]?[0-9][0-9.,/ ]*|.*\})\s+([a-zA-Z][a-zA-Z ]{0,38}?)(?:\s*\^\s*\{?[23]\}?)?")
_SHORT_UNIT = re.compile(r"([-+]?[0-9][0-9.,]*)\s*(cm|mm|km|m|kg|g|ft|in|mph|s|h)(?:\s*\^\s*\{?[23]\}?)?")
_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_NO_UNIT = frozenset({"or", "and", "if", "else", "for", "import", "pi", "mod", "is", "in"})


@dataclass(frozen=True)
class Answer:
    """A normalised answer: its text, the unit that was cut from its end, and whether it is a percentage."""

    text: str
    unit: str = ""
    percent: bool = False


def normalise(text: str) -> Answer:
    """Return the answer in one spelling; any text is taken, at most its last 4000 characters are read.

    >>> normalise("−12{,}000 dollars"), normalise("½").text, normalise("50\\\\%").percent
    (Answer(text='-12000', unit='dollars', percent=False), '\\\\frac{1}{2}', True)
    """
    text = text.strip()[-4000:]
    if _PLAIN.fullmatch(text):
        return Answer(text)
    text = _unicode(text)
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
    if not re.search(r"[(\[{]\s*[0-9]", text.replace("\\frac{", "").replace("\\sqrt{", "").replace("^{", "")):
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _strip_ends(" ".join(text.split()))
    text, unit = _unit(text)
    percent = text.endswith("%")
    return Answer(_strip_ends(text.rstrip("%").strip()), unit, percent)


def _unicode(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    parts = []
    for character in text:
        if character in _SYMBOLS:
            parts.append(_SYMBOLS[character])
        elif character in "⁰¹²³⁴⁵⁶⁷⁸⁹⁻":
            parts.append("^{" + character.translate(_SUPERSCRIPTS) + "}")
        elif unicodedata.category(character) == "Nd":
            parts.append(str(unicodedata.digit(character)))
        elif unicodedata.category(character) in ("Cs", "Cc") and character not in "\n\t":
            parts.append("\ufffd")  # stands for what is no text; never equal to an answer
        elif unicodedata.category(character) == "No" and "\u2044" in unicodedata.normalize("NFKC", character):
            above, below = unicodedata.normalize("NFKC", character).split("\u2044")
            parts.append(rf"\frac{{{above}}}{{{below}}}")
        else:
            parts.append(unicodedata.normalize("NFKC", character))
    return "".join(parts).replace("}^{", "")  # neighbouring superscripts are one exponent


def _strip_ends(text: str) -> str:
    text = text.strip().rstrip(".,;:").strip()
    while len(text) > 1 and text[0] == "{" and _closes_at_end(text):
        text = text[1:-1].strip()
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return position == len(text) - 1
    return False


def _unit(text: str) -> tuple[str, str]:
    match = _SHORT_UNIT.fullmatch(text) or (_UNIT.fullmatch(text) if len(text) < 200 else None)
    if match is None or _NO_UNIT & set(match[2].lower().split()):
        return text, ""
    return match[1].strip(), " ".join(text[match.end(1) :].lower().split())
