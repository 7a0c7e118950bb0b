"""One spelling for the many ways to write the same answer: Unicode, LaTeX spacing, thousands, units."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from g2rpo_env.envs.mathematics.exact import rational
from g2rpo_env.envs.mathematics.parts import between
from g2rpo_env.envs.mathematics.units import cut_bare, cut_group, in_units
from g2rpo_env.envs.mathematics.words import day_of_month, in_digits

_SYMBOLS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u2796", "-"),
    "π": r"\pi ", "∞": r"\infty ", "°": r"^\circ ", "≤": r"\le ",
    "≥": r"\ge ", "≠": r"\ne ", "×": r"\cdot ", "⋅": r"\cdot ", "·": r"\cdot ", "÷": "/", "∪": r"\cup ",
    "∩": r"\cap ", "∅": r"\emptyset ", "∈": r"\in ", "ℝ": r"\mathbb{R}", "±": r"\pm ",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "\u2044": "/",
    **dict.fromkeys("⩽≦", r"\le "), **dict.fromkeys("⩾≧", r"\ge "), "∓": r"\mp ", "ℂ": r"\mathbb{C}",
    **dict.fromkeys("∙•✕✖⨯∗", r"\cdot "), **dict.fromkeys("⟨〈", "("), **dict.fromkeys("⟩〉", ")"),
    "∛": r"\sqrt[3]", "∜": r"\sqrt[4]", "∣": "|", "∎": "", "˚": r"^\circ ", "∶": ":", "△": r"\triangle ",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "′": "'", "℃": r"^\circ C", "℉": r"^\circ F",
    "٫": ".", "٬": ",", "。": ".", "、": ",", **dict.fromkeys("⇒⟹➜➡", r"\Rightarrow "), "∴": r"\therefore ",
    "→": r"\to ",
    "∕": "/", "º": r"^\circ ", "…": "...", "∖": r"\setminus ", "∠": r"\angle ",
    **dict.fromkeys("\u201c\u201d\u2018\u2019「」『』«»", ""),
}  # fmt: skip
_SCRIPTS = {
    **{raised: ("^{", digit) for raised, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿˣ", "0123456789-+nx", strict=True)},
    **{lowered: ("_{", digit) for lowered, digit in zip("₀₁₂₃₄₅₆₇₈₉ₙₖᵢⱼₓ", "0123456789nkijx", strict=True)},
}
_DIGIT = r"[0-9]"
_BASES = dict(two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, twelve=12, sixteen=16)
_GREEK = "alpha|beta|gamma|delta|epsilon|theta|lambda|sigma|omega|phi"
_STYLES = "mathrm|operatorname|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|bf|rm|underline|emph|fbox|overrightarrow|vec"
_SIZES = "displaystyle|textstyle|limits|tiny|small|large|Large|LARGE|huge|Huge|bfseries|left|right|[bB]igg?[lr]?"
_ESCAPED = "le|ge|text|d?frac|tfrac|sqrt|left|right|cdot|times|infty|boxed|begin|end|mathbb|mathrm"
_REPLACEMENTS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(rf"(?<!\\)\\\\(?=(?:{_ESCAPED})(?![a-zA-Z]))"), r"\\"),  # escaped twice, as in JSON
    (re.compile(r"\\boxed\s*\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}"), r"\1"),
    (re.compile(r"\\(?:textcolor|color)\{[a-zA-Z]+\}|\\[hv]space\*?\{[^{}]*\}|\\[hv]?phantom\{[^{}]*\}"), ""),
    (re.compile(rf"\\(?:{_SIZES})(?![a-zA-Z])|\\(?:bf|it|rm|sf|tt|em)(?![a-zA-Z])(?!\s*\{{)"), ""),
    (re.compile(r"\\(?:tag|label)\*?\{[^{}]*\}"), ""),
    (re.compile(r"\\overline\s*\{([A-Z]{2})\}"), r"\1"),
    (re.compile(r"(?<!\\)(\\\\)\s*(?:\*|\[\s*-?[0-9.]+\s*(?:pt|e[xm]|[cm]m|in|px|mu|pc|bp)\s*\])"), r"\1 "),
    (re.compile(r"\\(?:[hc]line|(?:top|mid|bottom)rule)(?![a-zA-Z])(?:\{[0-9-]*\})?"), ""),
    (re.compile(r"\\begin\{array\}(?:\{[^{}]*\})?((?:(?!\\\\|&|\\end).)*)(?:\\\\\s*)?\\end\{array\}"), r"\1"),
    (re.compile(r"\\(?:cr|tabularnewline)(?![a-zA-Z])"), r"\\\\ "),
    (re.compile(r"\\(?:[cl]?dots[cbmi]?)(?![a-zA-Z])"), "..."),
    (re.compile(r"\\colon(?![a-zA-Z])"), ":"),
    (re.compile(r",\s*\\!\s*|\\!\s*,\s*(?:\\!)?"), ","),
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<![0-9])(0)\{,\}(?=[0-9])"), r"\1."),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"(?<=[0-9])\{,\}(?=[0-9])"), "."),
    (re.compile(r"(?<!\\)\\[,;: ]|\\q?quad|~"), " "),
    (
        re.compile(r"(?<![0-9A-Za-z_}])[0-9]{1,3}(?:['_][0-9]{3})+(?![0-9_{])"),
        lambda match: re.sub("['_]", "", match[0]),
    ),
    (
        re.compile(r"(?<![0-9.,])([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{1,2}|[0-9]{4,})(?![0-9,.])"),
        lambda match: f"{match[1].replace('.', '')}.{match[2]}",
    ),
    (re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9,.])"), lambda match: match[0].replace(".", "")),
    (re.compile(r"\.[0-9]{3}(?: [0-9]{3})* [0-9]{1,3}(?![0-9/.])"), lambda match: match[0].replace(" ", "")),
    (re.compile(r"\(\+/-\)|\+/-|^\s*\+-(?=\s*[0-9\\a-z])|\bplus(?: or |/)minus\b"), r"\\pm "),
    (re.compile(r"-/\+|\\mp(?![a-z])"), r"\\mp "),
    (re.compile(r"(?<![a-zA-Z])(?:minus|negative)\s+(?=[0-9.\\])"), "-"),
    (re.compile(r"(?<!\\)\\[()\[\]]|\\\$|\$"), ""),
    (re.compile(r"\\l(?:eft)?angle(?![a-z])|\\langle(?![a-z])"), "("),
    (re.compile(r"\\rangle(?![a-z])"), ")"),
    (re.compile(r"\\lbrace(?![a-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-z])"), r"\\}"),
    (re.compile(r"\\[lr]?vert(?![a-z])"), "|"),
    (
        re.compile(
            r"(?:\\\{\s*\\begin\{(?:array|aligned)\}|\\begin\{cases\})(?:\{[^{}]*\})?([^&]*?)"
            r"\\end\{(?:array|aligned|cases)\}\s*\.?"
        ),
        lambda match: match[1].replace("\\\\", ", "),
    ),
    (
        re.compile(
            r"\(?\s*\\begin\{(?:array\}(?:\[[a-z]\])?\{[^{}]*\}|[bp]?(?:small)?matrix(?:\}|\*\}(?:\[[a-z]\])?))"
        ),
        r"\\begin{pmatrix}",
    ),
    (re.compile(r"(?:\\\\)?\s*\\end\{(?:array|[bp]?(?:small)?matrix\*?)\}\s*\)?"), r"\\end{pmatrix}"),
    (re.compile(r"\\mathbb\s*\{?\s*R\s*\}?|(?<=\\in )\s*R(?![a-zA-Z])"), r"\\mathbb R "),
    (
        re.compile(
            r"^\s*\\?\{\s*[a-z]\s*(?:\\in\s*\\mathbb R\s*)?(?::|\\mid(?![a-z])|\|)"
            r"\s*([^{}]*(?:[<>=]|\\(?:le|ge|ne))[^{}]*?)\\?\}\s*$"
        ),
        r"\1",
    ),
    (re.compile(r"\\\{\s*[a-z]\s*(?:\\in\s*\\mathbb R\s*)?(?::|\\mid(?![a-z])|\|)\s*([^{}]*)\\\}"), r"\1"),
    (re.compile(r"(?<=.)[,;]?\s*(?:(?<=[,; ])for\s+)?\(?\b[a-z]\s*\\in\s*\\mathbb R\s*\)?\s*$"), ""),
    (re.compile(r"\\mathbb R "), r"\\mathbb{R}"),
    (re.compile(r"^<([^<>=]*,[^<>=]*)>$"), r"(\1)"),
    (re.compile(r"(?<=[)\]}])\s*U\s*(?=[(\[\\{])"), r"\\cup "),
    (re.compile(r"\\(?:[dtc]|nice|s)frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\(?:wide)?hat\s*\{?\s*\\?([ijk])(?:math)?\s*\}?"), r"\1"),
    (re.compile(r"(?<![a-zA-Z\\])C\(\s*([0-9a-z]{1,9})\s*,\s*([0-9a-z]{1,9})\s*\)"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?:\{\}\s*)?[\^_]\s*\{?([0-9a-z]{1,9})\}?\s*C\s*_\s*\{?([0-9a-z]{1,9})\}?"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<![0-9a-zA-Z])([0-9]+)C([0-9]+)(?![0-9a-zA-Z])"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?<![0-9])([0-9]+) (?:out of|over) ([0-9]+)(?![0-9])"), r"\1/\2"),
    (re.compile(r"(?<![0-9a-z])([0-9]*) ?root ([0-9]+)(?![0-9])"), r"\1\\sqrt{\2}"),
    (re.compile(r"(?<![a-zA-Z\\])log(2|3|5|10)(?=\()"), r"\\log_{\1}"),
    (re.compile(r"^\s*(?:[a-z]\s*:\s*)?[a-z]\s*\\mapsto(?![a-z])"), ""),
    (re.compile(r"^\s*([0-9]{1,2}) o'clock\s*$"), r"\1:00"),
    (re.compile(r"^\s*([0-9]{1,2})\.([0-5][0-9])(?=\s*[aApP]\.?\s?[mM]\.?\s*$)"), r"\1:\2"),
    (re.compile(r"^\s*([0-9]{1,2})\s*([aApP])(?:\.\s?[mM]\.?|[mM])\s*$"), r"\1:00\2"),
    (re.compile(r"(?<=[0-9])(\s*)((?:[mcdk]?m|ft|in|yd|mi))([23])(?=\s*$)"), r"\1\2^\3"),
    (re.compile(r"^\s*\{\s*\}\s*$"), r"\\emptyset"),
    (re.compile(r"\\[dt]binom"), r"\\binom"),
    (re.compile(rf"\\(?:{_STYLES})\s*\{{([^{{}}]*)\}}"), r"\1"),
    (re.compile(r"\\(?:R|mathbb\s*R)(?![a-zA-Z])"), r"\\mathbb{R}"),
    (re.compile(r"(?<=[0-9])\s*\^\s*\{\s*\\text\{(?:st|nd|rd|th)\}\s*\}"), ""),
    (re.compile(r"\\(?:text|textbf|textit|mbox|textrm)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(rf"\\(?:{_STYLES})\s*\{{([^{{}}]*)\}}"), r"\1"),  # once more, around what was inside
    (re.compile(r",?\s*(?:for all|\\forall)\s+(?:real )?(?:numbers? )?[a-z](?:\s*\\in\s*\\mathbb\{R\})?\s*$"), ""),
    (
        re.compile(
            r"^\s*(?:approximately|about|roughly|around|nearly|\\(?:sim|simeq|approx)(?![a-z]))\s*(?=[-0-9\\.])"
        ),
        "",
    ),
    (
        re.compile(
            r"^\s*(?!option|choice|base|lambda)[A-Za-z]{2}[A-Za-z ]{0,40}:\s*(?=[-0-9\\.][^:]*$)", re.IGNORECASE
        ),
        "",
    ),
    (re.compile(r"\s*\(\s*(?:reject(?:ing)?|since|because|discard(?:ing)?|ignor(?:e|ing)|not)\b[^()]*\)\s*$"), ""),
    (re.compile(r"^\s*\(([A-E])\)(?=[0-9\\])"), r"(\1) "),
    (
        re.compile(r"(?<=[0-9])\s*\\frac\s*\{\s*(k?m|k?g)\s*\}\s*\{\s*(s|h|(?:c?m|s)\s*\^\s*\{?[23]\}?)\s*\}\s*$"),
        r" \1/\2",
    ),
    (re.compile(r"(?<=[0-9])\s*\\Omega\s*$"), " ohm"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\s*(?:%|\b(?:per ?cent(?:age(?: points?)?)?|pct)\b)"), "%"),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?\s*|\\degree|\\circ\b"), " degrees "),
    (re.compile(r"\\varnothing|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\leq(?:slant|q)?(?![a-z])|<=(?!>)|(?<!=)=<"), r"\\le "),
    (re.compile(r"\\geq(?:slant|q)?(?![a-z])|>=|(?<=[a-z])\s*=>(?=\s*-?[0-9])"), r"\\ge "),
    (re.compile(r"\b(?:is )?(?:less|smaller) than or equal to\b|\bis at most\b"), r"\\le "),
    (re.compile(r"\b(?:is )?(?:greater|larger) than or equal to\b|\bis at least\b"), r"\\ge "),
    (re.compile(r"\bis (?:strictly )?(?:less|smaller) than\b"), "<"),
    (re.compile(r"\bis (?:strictly )?(?:greater|larger) than\b"), ">"),
    (re.compile(r"\\lt(?![a-z])"), "<"),
    (re.compile(r"\\gt(?![a-z])"), ">"),
    (re.compile(r"\\neq(?![a-z])|!="), r"\\ne "),
    (re.compile(r"\\times(?![a-z])|\\ast(?![a-z])"), r"\\cdot "),
    (re.compile(r"\\div(?![a-z])"), "/"),
    (re.compile(r"(?<=[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?\s*$"), ""),
    (re.compile(r"(?<=[0-9]) in the (?:afternoon|evening)$"), " p.m."),
    (re.compile(r"(?<=[0-9]) in the morning$"), " a.m."),
    (re.compile(r"\\var(?=(?:phi|epsilon|theta)(?![a-zA-Z]))"), r"\\"),
    (re.compile(r"\\backslash(?![a-z])"), r"\\setminus "),
    (
        re.compile(
            r"(?<=[0-9])\s*\bmod\s[0-9a-z]{1,9}\s*$|\(\s*\\?mod\s+[^()]*\)|\\(?:pmod|bmod|mod)\s*(?:\{[^{}]*\}|\w+)"
        ),
        "",
    ),
    (re.compile(r"\\(frac|binom)\s*([0-9])\s*([0-9])"), r"\\\1{\2}{\3}"),
    (re.compile(r"\\frac\s*([0-9])\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\frac\s*(\{[^{}]*\})\s*([0-9a-zA-Z])"), r"\\frac\1{\2}"),
    (re.compile(r"(?<![a-zA-Z\\])(?:cbrt|cube root of)(?![a-zA-Z])\s*"), r"\\sqrt[3]"),
    (re.compile(r"(?<![a-zA-Z\\])(?:the )?(?:sqrt|square root of)(?![a-zA-Z])\s*(?=[0-9])([0-9.]+)"), r"\\sqrt{\1}"),
    (re.compile(r"\\sqrt\s*((?:\[[0-9]+\])?)\s*(?:([0-9a-zA-Z])|\(([^()]*)\))"), r"\\sqrt\1{\2\3}"),
    (re.compile(r"√\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"√\s*([0-9]+|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![a-zA-Z\\])infinity\b|(?<![a-zA-Z\\])inf\b(?!$)|^\s*\+?inf\s*$"), r"\\infty"),
    (re.compile(r"(?<![a-zA-Z\\])pi(?![a-zA-Z])"), r"\\pi"),
    (re.compile(r"(?<![0-9a-zA-Z])([0-9]+(?:\.[0-9]+)?)[eE]([+-]?[0-9]{1,4})(?![0-9a-zA-Z.])"), r"\1\\cdot 10^{\2}"),
    (re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*(?:\^|\*\*))|(?<=[0-9]) [xX] (?=[0-9])"), r"\\cdot "),
    (re.compile(r"(?<![0-9,])([0-9]{1,30}),([0-9]{1,30})(?=\s*(?:\\cdot|\*)\s*10\s*(?:\^|\*\*))"), r"\1.\2"),
    (re.compile(rf"_\s*\{{?\s*({'|'.join(_BASES)})\s*\}}?(?![a-z])"), lambda match: f"_{_BASES[match[1]]}"),
    (re.compile(r"(?<=[0-9a-zA-Z)])\s*_\s*\{\s*\(?([0-9]+)\)?\s*\}(?=\s*$)"), r"_\1"),
    (re.compile(r"^\s*\(([0-9a-fA-F]+)\)_([0-9]+)\s*$"), r"\1_\2"),
    (
        re.compile(rf"^\s*([0-9a-fA-F]+)\s*,?\s*\(?(?:in )?base[- ]([0-9]+|{'|'.join(_BASES)})\)?\s*$", re.IGNORECASE),
        lambda match: f"{match[1]}_{_BASES.get(match[2].lower(), match[2])}",
    ),
    (
        re.compile(r"^\s*0([bxo])([0-9a-fA-F]+)\s*$"),
        lambda match: f"{match[2]}_{ {'b': 2, 'x': 16, 'o': 8}[match[1]] }",
    ),
    (re.compile(r"^\s*([0-9]*\.[0-9]*)\(([0-9]{1,30})\)\s*$"), r"\1\\overline{\2}"),
    (re.compile(rf"(?<![a-zA-Z\\])({_GREEK})(?![a-zA-Z])"), r"\\\1 "),
    (re.compile(r"(?<![0-9:])0?([0-9]{1,2}:[0-5][0-9])(?:\s*([aApP])\.?\s?[mM]\.?(?![a-zA-Z]))?"), r"\1\2"),
    (re.compile(r"^\s*([0-9]+)\s+to\s+([0-9]+)\s*$"), r"\1:\2"),
    (re.compile(rf"(?<={_DIGIT}) (?={_DIGIT}{{3}}(?!{_DIGIT}))"), ""),
]
_BLANKS = re.compile(r"\s{2,}")
_ROUNDED = re.compile(r"(?<=[^\s=])\s?(?:\\approx|≈)\s?[0-9.]{1,20}\s?%$")
_EXACT_FIRST = re.compile(
    r"((?:[^=]*=)?(?:\\(?:sqrt|[dt]?frac|pi|cdot|times|text|mathrm)(?![a-z])|\\[,;: ]|[-+*/^0-9.,()\[\]{}\s√π]|"
    r"(?<=\{)[a-zA-Z/ ]{1,20}(?=\})|(?<=[0-9}] )[a-z/]{1,9}(?= ))*[0-9})π][^=0-9]{0,20}?)"
    r"\s*(?:\\approx(?![a-z])|≈)\s*-?[0-9.,]{1,20}[^=0-9]{0,30}"
)
"""A value with its rounded one behind it: ``3\\sqrt{13} \\text{ cm} \\approx 10.82``."""
_WORDINGS = [
    (re.compile(r"(?:all )?(?:the )?integers|all whole numbers", re.IGNORECASE), r"\mathbb{Z}"),
    (re.compile(r"(?:all )?positive real(?: number)?s", re.IGNORECASE), r"(0,\infty)"),
    (re.compile(r"(?:all )?negative real(?: number)?s", re.IGNORECASE), r"(-\infty,0)"),
    (re.compile(r"(?:all )?non-?negative real(?: number)?s", re.IGNORECASE), r"[0,\infty)"),
    (re.compile(r"(?:12(?::00)? )?noon", re.IGNORECASE), "12:00p"),
    (re.compile(r"(?:12(?::00)? )?midnight", re.IGNORECASE), "12:00a"),
    (re.compile(r"(?:all )?real numbers|all reals?", re.IGNORECASE), r"\mathbb{R}"),
    (
        re.compile(
            r"(?:all )?(?:real numbers|reals) (?:except|but|other than|besides) (?:for )?([^a-z]+)", re.IGNORECASE
        ),
        r"\mathbb{R}\setminus\{#\}",
    ),
    (
        re.compile(
            r"(?:there (?:is|are) )?no (?:real )?(?:solutions?|roots?)(?: exist)?|(?:the )?empty set|none",
            re.IGNORECASE,
        ),
        r"\emptyset",
    ),
    (re.compile(r"dne|does(?: not|n't) exist", re.IGNORECASE), "does not exist"),
]
_QUOTE = re.compile(r"^(?:(?:[#>]+\s|\\Rightarrow(?![a-z]))\s*)+")
_LEADING = re.compile(
    r"^[*_#>\s]*(?:(?:the )?(?:final |correct )?(?:answer|ans|result)\.?[*_\s]*"
    r"(?:is(?![a-z])|[:=]|(?<=ans\.) )[*_:\s]*)?"
    r"(?:\s|=>|->|=(?!=)|\\approx(?![a-z])|≈|\\equiv(?![a-z])|\\(?:Rightarrow|implies|therefore|to)(?![a-z])|"
    r"approximately\b|about\b|roughly\b)*",
    re.IGNORECASE,
)
DISPLAYS = "equation|align(?:ed|at)?|gather(?:ed)?|eqnarray|multline|split"
"""Environments of display equations."""
_DISPLAY = re.compile(rf"\\(?:begin|end)\{{(?:{DISPLAYS})\*?\}}")
_ROW_END = re.compile(rf"\\\\(?!(?:{_ESCAPED})(?![a-zA-Z]))")
_ASSIGNMENT = re.compile(r"\s*([a-zA-Z](?:_\{?[a-z0-9]\}?)?)\s*=")
_MARKUP = re.compile(r"([*_`\"']{1,3})(.+)\1", re.DOTALL)
_TAG = re.compile(
    r"</?(?:b|strong|i|em|u|p|span|mark|code|font|center|div|big|small|ins)(?:\s[^<>]{0,80})?/?>|<br ?/?>", re.I
)
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~")
_SCRIPT_TAG = re.compile(r"<(su[bp])>([^<>]{1,80})</\1>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#[0-9]{1,6});")
_LINE_OVER = re.compile("(?:[0-9][\u0304\u0305\u0307])+")
_CURRENCY = re.compile(r"^(?:USD?|EUR|GBP|CAD|AUD|Rs\.?|US)\s*\$?\s*(?=[0-9])")
_CURRENCIES = {"$": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "inr"}
_MONEY = re.compile(r"(?:^|(?<=[0-9\s\\*]))[$€£¥₹](?=\s?[0-9.]|\W*$)")
_REPEATING = re.compile(r"(?<![0-9])([0-9]*)\.([0-9]*)\\(?:overline|bar|dot)\s*\{?([0-9]+)\}?")
_ENDLESS = re.compile(
    r"(?<![0-9])([0-9]*)\.([0-9]{0,30}?)(?:([0-9]{2,12}?)\3+|([0-9])\4{2,})\s*(?:\.\.\.|\\l?dots(?![a-z]))"
)
_THOUSANDS = re.compile(r"(?<![0-9.,])[1-9][0-9]{0,2}(?:,[0-9]{3})+(?![0-9,])")
_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class Answer(NamedTuple):
    """A normalised answer: its text, the unit that was cut from its end, and whether it is a percentage."""

    text: str
    unit: str = ""
    percent: bool = False


def normalise(text: str, lenient: bool = False) -> Answer:
    """Return the answer in one spelling; any text is taken, at most its last 4000 characters are read.

    Args:
        text: The answer.
        lenient: Whether any word behind a number is a unit; see ``units.cut_bare``.

    >>> normalise("−12{,}000 dollars"), normalise("½").text, normalise("50\\\\%").percent
    (Answer(text='-12000', unit='dollars', percent=False), '\\\\frac{1}{2}', True)
    """
    original = text.strip()[-4000:]
    if _PLAIN.fullmatch(original):
        return Answer(original)
    text = _spell(original)
    text, unit = cut_group(re.sub(r"(?<!\.)\.$", "", _BLANKS.sub(" ", text)))
    for pattern, replacement in _REPLACEMENTS:
        text = pattern.sub(replacement, text)
        if "  " in text:
            text = _BLANKS.sub(" ", text)  # long runs would cost the next patterns quadratic time
    if not re.search(r"[(\[{]\s*[0-9]", text.replace("\\frac{", "").replace("\\sqrt{", "").replace("^{", "")):
        text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), text)
    text = _strip_ends(_ENDLESS.sub(_expand_repeating, _REPEATING.sub(_expand_repeating, " ".join(text.split()))))
    for pattern, replacement in _WORDINGS:
        if match := pattern.fullmatch(text):
            text = replacement.replace("#", match[match.lastindex or 0])
    parts = in_units(f"{text} {unit}".strip())
    whole = day_of_month(text) or " ".join(f"{value} {name}" for value, name in parts)
    if whole:
        return Answer(whole)
    text, bare = cut_bare(in_digits(_CURRENCY.sub("", text)), lenient)
    if text.endswith("%"):
        text = _without_percentage(_ROUNDED.sub("", text))
    percent = text.endswith("%")
    unit = " ".join(f"{bare} {unit}".lower().split())
    if not unit or unit.startswith(("/", "per ")):
        unit = _currency(original) + unit
    return Answer(_strip_ends(text.rstrip("%").strip()), unit, percent)


def _spell(text: str) -> str:
    """Return a text in ASCII, without what only says how it looks or that it is the answer."""
    if _DISPLAY.search(text) and "\\{" not in text:
        text = last_statement(text)
    text = _unicode(without_tags(text))[-4000:].strip()
    text = _LEADING.sub("", _strip_marks(_QUOTE.sub("", text)))
    rounded = _EXACT_FIRST.fullmatch(text) if len(text) <= 200 and ("approx" in text or "≈" in text) else None
    return rounded[1] if rounded else text


def _without_percentage(text: str) -> str:
    """Return ``0.5 = 50%`` without its last side, which repeats the one before."""
    sides = between("=", text)
    values = [rational(side) for side in (*sides[-2:-1], sides[-1].rstrip("%"))]
    if len(values) == 2 and None not in values and values[0] * 100 == values[1]:  # type: ignore[operator]
        return "=".join(sides[:-1])
    return text


def _currency(text: str) -> str:
    """Return the name of the currency whose sign a text has; two dollars are the delimiters of LaTeX."""
    signs = _MONEY.findall(text) if text.count("$") < 2 else []
    return _CURRENCIES[signs[0]] if signs else ""


def without_tags(text: str) -> str:
    """Return a text without the tags of HTML that only say how it looks, its entities as what they stand for.

    >>> without_tags("x<sup>2</sup> &lt; <b>14</b>"), without_tags("a<b")
    ('x^{2} < 14', 'a<b')
    """
    text = _STRUCK.sub("", text) if "~" in text else text
    if "<" in text and "</" in text:
        text = _SCRIPT_TAG.sub(lambda match: f"{'^' if match[1].lower() == 'sup' else '_'}{{{match[2]}}}", text)
        text = _TAG.sub("", text)
    return _ENTITY.sub(lambda match: html.unescape(match[0]), text) if "&" in text else text


def last_statement(text: str) -> str:
    """Return what the rows of a display equation come to: the last one, or all where each names another variable.

    >>> [last_statement(rows) for rows in (r"2x &= 8 \\\\ x &= 4", r"x &= 1 \\\\ y &= 2", r"x &= 3 \\\\ &= 5")]
    ['x = 4', 'x = 1, y = 2', 'x = 3 = 5']
    """
    text = _DISPLAY.sub("", text)
    if "\\\\" not in text or "\\begin" in text:
        return text if "\\begin" in text else text.replace("&", "")
    statements: list[str] = []
    for row in _ROW_END.split(text):
        row = " ".join(row.split())
        if statements and row.startswith(("&", "=")):
            statements[-1] += " " + row.replace("&", "")
        elif row:
            statements.append(row.replace("&", ""))
    names = {match[1] for statement in statements if (match := _ASSIGNMENT.match(statement))}
    return ", ".join(statements) if len(names) == len(statements) else "".join(statements[-1:])


def _strip_marks(text: str) -> str:
    """Return a text without quotes, stars and the like around all of it."""
    match = _MARKUP.fullmatch(text.strip())
    return match[2] if match and match[1] not in match[2] else text


def _expand_repeating(match: re.Match[str]) -> str:
    """Return a repeating decimal as a fraction."""
    whole, fixed, period = match[1], match[2], match[match.lastindex or 3]
    if len(whole + fixed + period) > 100:
        return match[0]
    above = int(whole + fixed + period) - int(whole + fixed or "0")
    return rf"\frac{{{above}}}{{{'9' * len(period)}{'0' * len(fixed)}}}"


def _unicode(text: str) -> str:
    if text.isascii() and "\0" not in text:
        return text
    text = re.sub(r"(?<![0-9])0·(?=[0-9])", "0.", text)  # a decimal point of old
    text = _LINE_OVER.sub(lambda match: rf"\overline{{{match[0][::2]}}}", text)
    parts = []
    for character in text:
        kind = unicodedata.category(character)
        if character in _SYMBOLS:
            parts.append(_SYMBOLS[character])
        elif character in _SCRIPTS:
            parts.append("".join(_SCRIPTS[character]) + "}")
        elif kind == "Nd":
            parts.append(str(unicodedata.digit(character)))
        elif kind in ("Cs", "Cc") and character not in "\n\t":
            parts.append("\ufffd")  # stands for what is no text; never equal to an answer
        elif (
            kind in ("Cf", "Sc") and character != "$"
        ) or "\ufe00" <= character <= "\ufe0f":  # what cannot be seen; currencies
            continue
        elif kind == "So" and "\u2190" <= character and unicodedata.normalize("NFKC", character) == character:
            continue  # ticks and other pictures
        else:
            parts.append(_compatible(character, kind))
    return "".join(parts).replace("}^{", "").replace("}_{", "")  # neighbours are one exponent


def _compatible(character: str, kind: str) -> str:
    plain = unicodedata.normalize("NFKC", character)
    if kind == "No" and "\u2044" in plain:
        above, below = plain.split("\u2044")
        return rf"\frac{{{above}}}{{{below}}}"
    name = unicodedata.name(plain, "") if len(plain) == 1 else ""
    if match := re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)", name):
        letter = match[2].replace("LAMDA", "LAMBDA")
        return f"\\{letter.lower() if match[1] == 'SMALL' else letter.capitalize()} "
    return plain


_EXCLAMATION = re.compile(r"(?<=[a-zA-Z]{3})!+$|(?<=\bno)!+$", re.IGNORECASE)


def _strip_ends(text: str) -> str:
    text = text.strip().rstrip(".,;:\\").strip() if not text.rstrip().endswith("\\\\") else text.strip()
    text = _EXCLAMATION.sub("", text)
    while len(text) > 1 and text[0] == "{" and _closes_at_end(text):
        text = text[1:-1].strip()
        if "," in text and len(between(",", text)) > 1:
            return rf"\{{{text}\}}"  # {1, 2} is a set
    return text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for position, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if not depth:
            return position == len(text) - 1
    return False
