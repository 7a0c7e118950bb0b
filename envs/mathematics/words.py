"""Numbers and dates in words, as figures."""

from __future__ import annotations

import re

_NAMES = "January February March April May June July August September October November December".split()
_MONTHS = "|".join(rf"{name[:3]}(?:{name[3:]}|\.)?" for name in _NAMES).replace("Sep(?:tember", "Sept?(?:ember")
_ISO = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])-([0-3][0-9])")
_WEEKDAY = re.compile(r"(?:mon|tues?|wed|thu(?:rs?)?|fri|sat|sun)\.?", re.IGNORECASE)
_WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_DAY_FIRST = re.compile(
    rf"(?:the )?([0-9]{{1,2}})(?:st|nd|rd|th)?(?: of)? ({_MONTHS})((?:,? [0-9]{{4}})?)", re.IGNORECASE
)
_DAY_LAST = re.compile(rf"({_MONTHS}) ([0-9]{{1,2}})(?:st|nd|rd|th)?((?:,? [0-9]{{4}})?)", re.IGNORECASE)
DATE = re.compile(rf"{_DAY_FIRST.pattern}|{_DAY_LAST.pattern}|{_ISO.pattern}")
_DOZEN = re.compile(r"(?<![0-9.])([0-9]{1,9}) dozen\b")
_LARGE = re.compile(r"(?<![0-9.])([0-9]{1,15})(?:\.([0-9]{1,15}))?\s+(hundred|thousand|million|billion|trillion)\b")
_ZEROS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_VALUES = {**{word: n for n, word in enumerate(_UNITS)}, **{word: 10 * n for n, word in enumerate(_TENS, 2)}}
_VALUES |= {"a": 1, "fourty": 40, "dozen": 12}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}
_PARTS |= {"seventh": 7, "ninth": 9, "twelfth": 12, "twentieth": 20, "hundredth": 100}
_NUMBER_WORDS = re.compile(
    rf"((?:(?:{'|'.join((*_VALUES, *('hundred', 'thousand', 'million', 'billion', 'and')))})(?:[- ]+|$))+)"
    rf"(?:({'|'.join(_PARTS)})s?(?: |$))?(|(?<=[- ])[a-zA-Z ]{{1,40}})",
    re.IGNORECASE,
)
_HALF = re.compile(r"^(?:a )?half(?=$| an? )", re.IGNORECASE)
_MINUS_WORD = re.compile(r"(?:minus|negative)\s+", re.IGNORECASE)


def in_digits(text: str) -> str:
    """Return a text with the number in words that it begins with in digits, and ``2.5 million`` written out.

    >>> in_digits("twelve"), in_digits("two hundred and five people"), in_digits("two thirds"), in_digits("a circle")
    ('12', '205 people', '2/3', 'a circle')
    """
    text = _DOZEN.sub(lambda match: str(12 * int(match[1])), _read_words(text))
    return _LARGE.sub(_large, text)


def _read_words(text: str) -> str:
    sign = _MINUS_WORD.match(text)
    match = _NUMBER_WORDS.fullmatch(text, sign.end() if sign else 0) if text[:1].isalpha() and len(text) < 120 else None
    if match is None:
        return _HALF.sub("1/2", text)
    words = [word for word in re.split(r"[- ]+", match[1].lower()) if word and word != "and"]
    above = None
    if match[2]:
        above = _value(words[-1:] if " and " in match[1].lower() else words)
        words = words[:-1] if " and " in match[1].lower() else []
    value = _value(words)
    if value is None or (match[2] and above is None) or (words in ([], ["a"]) and not match[2]):
        return text  # several numbers, an article
    number = str(value) if above is None else f"{value or ''} {above}/{_PARTS[match[2].lower()]}".strip()
    return f"{'-' if sign else ''}{number} {match[3].strip()}".strip()


def _value(words: list[str]) -> int | None:
    """Return the number that words state together; None if they state several, as in "one two"."""
    value = total = 0
    for word in words:
        if word == "hundred":
            value = (value or 1) * 100
        elif word in _ZEROS:
            total, value = total + (value or 1) * 10 ** _ZEROS[word], 0
        elif word == "dozen":
            value = (value or 1) * 12
        elif value % 100 == 0 or (value % 100 >= 20 and value % 10 == 0 and _VALUES[word] < 10):
            value += _VALUES[word]
        else:
            return None
    return total + value


def _large(match: re.Match[str]) -> str:
    """Return ``2.5 million`` in digits."""
    zeros, decimals = _ZEROS[match[3]], (match[2] or "").rstrip("0")
    if len(decimals) > zeros:
        return match[0]
    return str(int(match[1] + decimals.ljust(zeros, "0")))


def day_of_month(text: str) -> str:
    """Return a date in one order or a day of the week in full, ``""`` for all else.

    >>> day_of_month("5th of march, 2020"), day_of_month("2020-03-05"), day_of_month("Mar. 5"), day_of_month("Fri")
    ('March 5 2020', 'March 5 2020', 'March 5', 'Friday')
    """
    if iso := _ISO.fullmatch(text):
        text = f"{_NAMES[int(iso[2]) - 1]} {iso[3]} {iso[1]}"
    if date := _DAY_FIRST.fullmatch(text):
        text = f"{date[2]} {date[1]}{date[3]}"
    if date := _DAY_LAST.fullmatch(text):
        return f"{_full(date[1], _NAMES)} {int(date[2])}{date[3].replace(',', '')}"
    return _full(text, _WEEKDAYS) if _WEEKDAY.fullmatch(text) else ""


def _full(word: str, names: list[str]) -> str:
    """Return the name that begins with the first three letters of a word."""
    return next(name for name in names if name[:3].lower() == word[:3].lower())
