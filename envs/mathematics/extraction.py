"""Where the final answer of a completion stands, by named rules in order of trust."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from g2rpo_env.envs.mathematics.normalisation import DISPLAYS, last_statement, without_tags
from g2rpo_env.envs.mathematics.units import canonical, in_units
from g2rpo_env.envs.mathematics.words import DATE, in_digits

TAIL = 4000
"""Characters from the end that are searched: an answer further up is not final."""
WHOLE = 60
"""A completion of at most so many characters without a full word may be the bare answer."""

BOX = re.compile(r"(?<!\\)\\+(?:f?box(?:ed)?|framebox)(?![a-zA-Z])\s*")
_BETWEEN_BOXES = re.compile(
    r"(?:[\s,;$.]|\\q?quad(?![a-z])|\\[,;: ()\[\]\\]|\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b|"
    r"\b[a-zA-Z](?:_\{?\d\}?)?\s*=|\([a-e]\))*"
)
_MINUS_BEFORE = re.compile(r"(?:(?:=|\(|\$|\\\[|\bis)\s*[-\u2212]\s*|^[-\u2212])\Z", re.MULTILINE)
_LABELLED = re.compile(r"\s*(?:\\[a-z]+\s*\{)?\s*\(?[A-Ea-e](?![a-zA-Z])")
_PERCENT_BEHIND = re.compile(r"\s*\\?%")
_LETTER_LAST = re.compile(
    r"(?:^|\n)[\W_]{0,6}(?:the |my )?(?:final |correct )?(?:answer|option|choice)[\W_]{0,5}"
    r"(?:is\W{0,4})?\(?([A-E])\)?[\W_]*\Z",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\\(?:[a-zA-Z]+|[%$°])|\d+(?:,\d{3})*(?:\.\d+)?|\.\d+|[a-zA-Z](?![a-zA-Z]{2})|[%!'°π√∞½²³]")
_FACTORS = frozenset(
    "pi sqrt frac dfrac tfrac cfrac binom circ degree infty text textbf mathrm alpha beta theta".split()
)
"""Commands that go on with what stands in a box without braces."""
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TWO_ARGUMENTS = re.compile(r"\\(?:[dtc]?frac|[dt]?binom)")
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|mbox|math(?:rm|bf|it|sf))\s*\{([^{}]*)\}")
_VERBS = (
    r"(?:(?:should|must|will|would|has to|can only) be|is|are|equals?|becomes|of|lautet|ist|beträgt|est|es|é|è)"
    r"(?![a-zA-Z])|(?:是|为|為|は)：?|(?:comes?|works?) out (?:to|as)(?: be)?\b|:|=|："
)
ANSWER = (
    r"(?<![a-z])(?:answer|ans\.?|antwort|lösung|réponse|respuesta|resposta|risposta|ответ|答案|答え|答)\**"
    rf"(?:(?:\s+is)?\s*(?:{_VERBS})|\s*(?:-|–|→|->|=>)(?=\s))"
)
"""Words that say that the answer follows."""
_PHRASE = re.compile(
    rf"(?:{ANSWER}|(?<![a-z])(?:result|ergebnis|résultat|resultado|risultato|correct (?:option|choice|one))\**"
    rf"\s*(?:{_VERBS}))\s*\**\s*(?::\s*)?"
    r"(?:(?:just|therefore|thus|then|indeed|donc|also|(?:most )?(?-i:[a-z]{2,9}ly))\s+)?|"
    r"故?选\s*[:：]?\s*(?=\(?[A-E])|【(?:正确)?答案】\s*[:：]?\s*|"
    r"solutions?\s*(?:is|are|:)\s*(?::\s*)?(?=[-$\\(0-9])|(?:^|\n)#{0,6} {0,3}\*{0,3}(?:final )?answer\*{0,3} {0,3}\n+",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"[,;(]?\s*\b(?:because|since|as|i\.e|which|where|so|rather than|instead of)\b|"
    r"\s\((?=[a-z]{3,} |[a-z]\s?=|\d+ (?:each|per)\b|\d+ [a-z]{3,} [×*x+])|"
    r"[,;]?\s*\(?\b(?:and |but )?not\b"
)
_SUPPOSED = re.compile(
    r"(?:\b(?:suppose|assume|assuming|if|whether|unless)|(?:\bnot?|n['’]t|\bcannot)\s+\w+\s+(?:that|if|whether))"
    r"(?:\s+(?:that|the|our|my|final|correct)){0,4}\W*\Z",
    re.IGNORECASE,
)
"""What stands before an answer that is only supposed, or that the sentence denies."""
_NOT_BUT = re.compile(r"^not\b.{1,60}?(?:,?\s+but|,\s+so|,\s+it(?: is|['’]s))\s+(?:rather\s+)?", re.IGNORECASE)
_WORD_FOR_IT = re.compile(r"(?<![0-9])([0-9]+)\s\(([a-z]+(?:[ -][a-z]+){0,5})\)")
_CAPITAL = re.compile(r"\(?([A-E])\)?\s*")
_VALUE_BEHIND = re.compile(r"[\s*]*\(?[A-E]\)?[.)]\s+([-$\\\d][^\n]{0,60})(?=\n|\Z)")
_IN_PARENTHESES = re.compile(r"[a-zA-Z -]+\(([$\d][\d.,/ %$]*)\)")
_YES_OR_NO = re.compile(r"(yes|no|true|false)\b(?=[,.:;!])", re.IGNORECASE)
_WHY = re.compile(r"\b(?:because|since|as)\b")
_IN_DIGITS = re.compile(r"-?\d+(?: \d+)?(?:/\d+)?")
_NOTHING = re.compile(
    r"\A[^\d$\\]*\b(?:(does not exist|doesn't exist)|"
    r"(?:has|have|is|are)\s(?:therefore\s)?(no (?:real )?solutions?))[.!]?\s*\Z"
)
_IS_WORD = re.compile(r"\b(?:is|are|was|(?:will|would|must) be)\s+((?:an? |the )?[A-Za-z'-]+)[.!]?\s*$")
_NO_STATEMENT = re.compile(r"[\d$\\]|\b(?:since|because|wrong|incorrect|know|sure)\b")
_BOLD_WORDS = re.compile(r"\*\*[A-Za-z' -]+[.!]?\*\*[.!]?")
_IS_NUMBER = re.compile(r"\b(?:is|are|was)\s+[*$]*\d")
_OTHER_SCRIPT = re.compile(r"(?=[\u0590-\u0dff\u0e00-\u0fff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af])[^\W\d_]")
_BEFORE_NUMBER = re.compile(r"^(?:(?![不非没无除大小于至])[\u3040-\u30ff\u3400-\u9fff]){1,20}(?=[-$\\\d])")
_AFTER_NUMBER = re.compile(r"(?<=[0-9%])\s?[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+$|\s+[:;]-?[)D]$")
LETTER_WORDS = r"\b(?:choose|select|pick|option|choice|correct|right|answer|best|it's|it is)\b"
"""Words without which no letter is stated."""
_LETTER_STATED = re.compile(
    r"\b(?:choose|select|pick|option|choice)\s*:?\s*(?:\*\*)?\(?([A-E])\)?(?!\w)(?!\W{0,3}(?:is|are|would|can|cannot|does|gives)\b(?!\s+(?:the\s+)?"
    r"(?:correct|right|answer|best)))|(?<![\w(])\(?([A-E])\)?\s+is\s+(?:the\s+)?(?:correct|right|answer|best)|"
    r"选项\s*([A-E])\s*(?:是)?正确|\bit(?:'s| is)\s+\(?([A-E])\)?(?=[.!]?\s*$)"
)
_IN_WORDS = re.compile(
    r"\b(?:is|are|equals|gets?|has|have|leaves?|gives|makes|up with|total of)\s+([a-zA-Z -]{3,60})[.!]?\s*$"
)
_NEGATED = re.compile(r"(?:\bnot|\bcannot|n['’]t|\bnever)\s+(?:\w+\s+)?[$€£*\\(]*\Z")
_REFUTED = re.compile(
    r"\W{0,4}\s(?:(?:is|was|would be)\s+(?:wrong|incorrect|not|false|impossible|rejected|extraneous|invalid)\b|"
    r"(?:does|do|did|can|could)(?: not|n['’]t|not)\b|fails\b)"
)
_MIXED = re.compile(r"(?<![\d./])\d{1,9} \d{1,9}/\d{1,9}(?![\d/])")
_STARS = re.compile(r"(?<![\w)])(?:\*\*|__)|(?:\*\*|__)(?![\w(])")
_MATH = re.compile(
    r"\$\$([^$]{1,1500})\$\$|(?<!\\)\$((?:\\[^\n]|[^$\\\n]){1,1500})\$|\\\[(.{1,1500}?)\\\]|\\\((.{1,1500}?)\\\)|"
    rf"\\begin\{{(?:{DISPLAYS})\*?\}}(.{{1,1500}}?)\\end\{{(?:{DISPLAYS})",
    re.DOTALL,
)
_SENTENCE_INSIDE = re.compile(r"[0-9)][.!?]\s+[A-Z]|(?<!\\)\b[a-z]{2,}[,;]? [a-z]{2,}\b(?![^{]*\})")
_BETWEEN_FORMULAS = re.compile(r"\s*(?:,|,?\s*\b(?:and|or)\b)\s*")
_NAMED = re.compile(r"\\?[a-zA-Z]|\\[a-z]+|[a-zA-Z]\s*\\in(?![a-z])(?!\s*\\mathbb).*", re.DOTALL)
"""A variable, or one in an interval."""
_WHERE = re.compile(r"\bwhere\s*$")
_ABOUT = re.compile(r"\b(?:with|in|of|for|to|by|on|variable|all|any|every|each)\s*$")
_CONDITION = re.compile(r"\b(?:since|as|if|when|with|for|where|let|from|because|given|at)\b[^.$]*$", re.IGNORECASE)
_LEAD = re.compile(
    r"^(?:[-*•]\s+(?=\w+\s*=))?(?:(?:so|thus|hence|therefore|then)\b,?\s+)?"
    r"(?:(?:(?:we|I) (?:get|have|find|obtain|choose|pick)|it(?: is|'s)|(?:this|that) is)\s+)?",
    re.IGNORECASE,
)
_ENVIRONMENT = re.compile(
    r"(?:[^\n=]{1,20}=\s*)?\\begin\{((?:[bpvBV]?matrix|cases|array)\*?)\}.{1,1500}\\end\{\1\}", re.DOTALL
)
_BOLD_COMMAND = re.compile(r"\\(?:textbf|emph)\{([A-Za-z' -]{2,40})\}")
_BARE_WORDS = re.compile(r"[A-Za-z'-]+(?: [A-Za-z'-]+){0,2}\.?")
_VALUE = (
    r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?!\d)|\d{1,99})"
    r"(?:\.\d{1,300}|,\d{1,2}(?![\d,]))?"
    r"(?:(?:/| out of )\d{1,300}|(?:(?: : |:)\d{1,3}(?!\d)){1,3})?%?|-?\.\d{1,99}"
)
_NUMBER = re.compile(rf"(?<![0-9A-Za-z_.])(?:[(\[]\s*(?:{_VALUE})(?:,\s*(?:{_VALUE})){{1,5}}\s*[)\]]|{_VALUE})")
_STATED = re.compile(
    r"(?:\b(?:there (?:are|is|were|will be)|is|are|was|equals?|gets?|got|makes?|made|gives?|has|have|"
    r"needs?|needed|earned|(?:should|must|would|will) be|leaves?|costs?|"
    r"(?:takes?|took)(?: (?:him|her|them|us|you|me|it|[A-Z][a-z]+)|(?= [\d.,/ ]{1,9}(?:second|minute|hour|day|week)))|"
    r"pays?|earns?|spends?|becomes?|became|obtain|find|so|thus|hence|therefore|in total,?|i\.e\.,?)\s+"
    r"(?:only |about |exactly |a total of )?|=\s*)"
    rf"(?:\*\*)?\$?(?:-?[√∛]|±[√∛]?)?({_NUMBER.pattern})"
)
_FACTOR = (
    r"(?:\d+(?:[.,]\d+)*|[√∛π]|(?<![a-zA-Z])[b-zπ]{1,2}(?![a-zA-Z])|(?<=[0-9)²³])a(?![a-zA-Z])|"
    r"\([\d\s.,√π+*/^²³n-z-]{1,30}\))(?:[²³⁴]|\^[({]?-?\w{1,3}[)}]?)?"
)
_TERM = rf"[-±]?(?:{_FACTOR})+"
_EXPRESSION = re.compile(rf"(?<![$€£]){_TERM}(?:\s?[-+*·×/]\s?{_TERM})*")
"""A formula in plain text around a number: ``3√2``, ``2 + 5π``, ``2x``."""
_IS_FORMULA = re.compile(r"[√∛π²³⁴^]|\d[b-z](?![a-z])|[-+*·×/]\s?[b-z]\b|\b[b-z]\s?[-+*·×/]")
_TWO_LETTERS = re.compile(r"\d(?!am|pm|st|nd|rd|th)([b-z]{2})(?![a-z])")
_LISTED = re.compile(
    r"(?:\b(?:roots|zeros|values|numbers|answers)\b[^.=\n]{0,30}?\bare |\b(?=([a-z])\s?=))"
    rf"(?P<list>(?:[a-z]\s?=\s?)?(?:{_VALUE})"
    rf"(?:(?:,|,? (?:and|or)) \1\s?=\s?(?:{_VALUE})|(?:, (?:{_VALUE}))*,? (?:and|or) (?:{_VALUE})(?! [a-z])|"
    rf"(?:, (?:{_VALUE}))+(?=\.?\s*\Z))+)"
)
_HALF_OF_DAY = re.compile(r"\s?[ap]\.?m\b| in the (?:morning|afternoon|evening)\b", re.IGNORECASE)
_UNIT_BEHIND = re.compile(
    r"\s?((?:(?:square|cubic) )?(?:[a-zA-Z]{2,}|[mg](?=/))(?:(?: per |/)[a-zA-Z]+)?[²³]?)(?![a-zA-Z/])"
)
_QUANTITIES = re.compile(r"\d{1,9}\s?[a-z]{1,9}(?:,?\s(?:and\s)?\d{1,9}\s?[a-z]{1,9}){1,2}(?![a-zA-Z])")
_RAISED = str.maketrans("²³", "23")
_BOLD_WORD = re.compile(r"\*\*([a-zA-Z -]{3,40})\*\*")
_ASIDE = re.compile(
    r"\b(?:since|because|while|whereas|given that)\b|"
    r"\((?:that is|i\.e\.|since|because|as|or)(?![a-z])|"
    r",\s+(?:attained|achieved|reached|obtained|occurring|when|where|as (?:shown|seen|in))\b"
)
_NEGATIVE = re.compile(r"\bnegative (?=\d)|(?:(?<=\bis )|(?<=\bequals )|\A)minus (?=\d)")
_AFTERWORD = re.compile(
    r"(?:(?:\n|(?<=[.!])\s)\s*(?:(?:please )?let me know|i hope|hope (?:this|that)|feel free|would you like|"
    r"do you (?:want|need)|if you(?:'d| would| have| need| want))|"
    r"\n\s*\W{0,4}(?:note|check|verification|to (?:check|verify))\b(?!.*\b(?:so|thus|hence|therefore)\b))"
    r"[^\n]*\s*$",
    re.IGNORECASE,
)
"""A last line that is no part of the solution."""
_IS_BOLD = re.compile(r"\b(?:is|are|was)\s+\*\*([A-Za-z' -]{2,30})\*\*[.!]?\s*$")
_BOLD_IS = re.compile(r"(?:^|\n)\*\*([A-Z][a-z' -]{1,30})\*\*\s+(?:is|was|has|had|wins|won)\b[^\d\n$\\]*$")
_SO = re.compile(r",?\s+(?:so|thus|hence|therefore|⇒|⟹)\s+(?=\w+\s*=)")
_CHANCE = re.compile(
    r"\b(?:chance|probability|odds|likelihood)\b[^.\n]*\b(?:is|are|of|about)\s+(\w+) in (\w+)[.!]?\s*\Z"
)
_LABEL = re.compile(
    r"(?m)^[#*\s]{0,6}\d{1,2}[.):]\s+(?=\**[A-Za-z])|\b(?:step|figure|equation|problem|question|example)\s\d{1,3}\b",
    re.IGNORECASE,
)
"""Numbers of places in a text."""
_PARENTHESES = re.compile(r"\s?\((?=[^()\n]{0,100}[a-zA-Z]{2})[^()\n]{1,100}\)")
_SUBJECT = re.compile(
    rf"[\s*]*(?:(?:so|thus|hence|therefore)\b,?\s*)?[$*]*({_NUMBER.pattern})[*]*\s(?:is|are)\s(?!not\b|wrong|incorrect)",
    re.IGNORECASE,
)
_TAKEN_OF = re.compile(
    rf"\b(?:over|during|(?:each |out )?of (?:the|all|these|those|his|her|their|our|my|your)|per|every)\s+"
    rf"(?:(?:the|these|those|all) )?{_NUMBER.pattern}|"
    rf"\bout of {_NUMBER.pattern}|, {_NUMBER.pattern} of (?:them|which|whom)\b|"
    rf"\bof {_NUMBER.pattern} and {_NUMBER.pattern}|\bthe \d+(?:st|nd|rd|th)\b"
)
_LARGE = re.compile(r"\s(?:hundred|thousand|million|billion|trillion)\b")
_THAN = re.compile(r"\b(?:greater|more|less|fewer|larger|smaller|higher|lower) than\s+[$*]*\Z")
_HYPOTHESIS = re.compile(r"\W*(?:suppose|assume|assuming|whether)\b[^,;]*\Z|(?P<clause>\W*if\b[^,;]*\Z)", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:(?:\bnot?|n['’]t|\bcannot)\s+\w+\s+(?:that|if)|\bwhether)\b[^,;]*\Z|\bbetween\s+\S{1,20}\s+and\s+[$*]*\Z"
)
_CLAUSE_END = re.compile(r"\W{0,3}\s*(?:,|\bthen\b)")
_QUESTION = re.compile(r"[^.!?\n,]*(?:\.\d[^.!?\n,]*)*\?")
_ASKS = re.compile(r"\W*(?:is|are|was|does|do|can|could|would|should|will|what|how|why)\b", re.IGNORECASE)
_UNABLE = re.compile(
    r"\b(?:can(?:no|['’])t|unable to|not able to|impossible to)\s+(?:be\s+)?"
    r"(?:determined?|answer(?:ed)?|solved?|find|help|tell|provide|say)\b",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(r"\b(?:therefore|thus|hence|so)\b[^$\\]*[0-9]", re.IGNORECASE)
_CORRECTIONS = frozenset({"wait", "actually", "but", "no", "not", "wrong", "instead", "rather", "then", "so", "hence"})
_SENTENCE_END = re.compile(
    r";\s(?=(?:the|and|so|it|this|that|we|but|all|because|since)\b)|(?<!\bi\.e)(?<!\be\.g)\.(?:\s|$)|\n|<\||</?[a-z]+>|。"
)
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
"""What stands behind thinking aloud is the answer; only where it holds none, the thoughts are searched too."""
_UNCLOSED_THOUGHT = re.compile(r"<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
MARKED = ("boxed", "tag", "hashes", "phrase")
"""Rules of answers that are said to be one. Thoughts hold no other: their last number may be any."""
_WORKINGS = re.compile(r"<<[^<>\n]{1,200}>>")
_END_TOKENS = re.compile(r"(?:(?:</s>|<\|[a-z_]{2,30}\|>|<(?:eos|end_of_turn|eot)>)\s*)+\Z")
_PROGRAM = re.compile(r"```(?:python|py|cpp|c\+\+|java|javascript|js|matlab|sympy|bash|sh)\b.*?(?:```|\Z)", re.DOTALL)
_FENCE = re.compile(r"(?m)^[^\S\n]{0,9}```\w*[^\S\n]{0,9}(?:\n|\Z)")
_BROKEN_OFF = re.compile(r"(?:(?<!=)=|(?<=\s)[+×÷/<]|\\(?:times|cdot|approx|div|frac))\s*\$*\s*\Z")
_OBJECT = re.compile(r"(?:\A|[\n`]|json)\s*\{\s*[\"'][\w -]{1,40}[\"']\s*:")
_ANSWER_KEY = re.compile(
    r"[\"'](?:final[_ ]?)?(?:answer|result)[\"']\s*:\s*"
    r"(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|\[([^\[\]]*)\]|\{([^{}]*)\}|([^\s,{}\[\"'][^\s,{}]*))",
    re.IGNORECASE,
)
_BLANKS = re.compile(r"([^\S\n])[^\S\n]{2,}")
_LINES = re.compile(r"\n[^\S\n]?\n(?:[^\S\n]?\n)+")
_SPACES = re.compile(r"\s{8,}")
_WORD = re.compile(r"(?<!\\)\b(?!(?:sqrt|cbrt)\b)[^\W\d_²³]{4,}")
_TEXT_UNIT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{\s*[a-zA-Z/]{1,20}\s*\}")
_STATED_CHOICE = re.compile(r"(?:\([A-E]\)|[A-E][).:])\s+(?!(?:is|was|would|can|cannot)\b)[A-Za-z][A-Za-z ,'-]*\.?")
_ASSIGNED = re.compile(r"([a-zA-Z](?:_\{?\w\}?)?)\s?=[^=\n]+")
_OF_NUMBERS = re.compile(r"[a-zA-Z]\s*\\in\s*\\mathbb\s*(?:\{[A-Z]\}|[A-Z])(?:[\^_]\S{1,5})?")
_QUALIFIES = re.compile(r"\s*,?\s*(?:\b(?:where|for|with)\s+)?(?:\b(?:any|all|some|every|each)\s+)?")


@dataclass(frozen=True)
class Extraction:
    """The final answer and the rule that found it."""

    rule: str
    answer: str


def extract(text: str, rules: Sequence[str]) -> Extraction | None:
    """Return the answer that the first rule that fires finds in the last ``TAIL`` characters, or None.

    >>> extract("first \\\\boxed{1} but wait, actually \\\\boxed{460}", ("boxed",))
    Extraction(rule='boxed', answer='460')
    """
    if len(text) > TAIL:
        text = _SPACES.sub(" ", text[-1000 * TAIL :])  # padding must not push the answer out of sight
    tail = text[-TAIL:]
    has_tags = "<" in tail
    thought = [found.end() for found in _THOUGHT.finditer(tail)] if has_tags else []
    thinks = has_tags and not thought and _UNCLOSED_THOUGHT.search(tail) is not None
    for part in (tail[thought[-1] :], tail) if thought else (tail,):
        part = _END_TOKENS.sub("", part) if has_tags and part.rstrip().endswith(">") else part
        part = _without_padding(without_tags(part))
        is_object = "phrase" in rules and "{" in part and _OBJECT.search(part) is not None
        if is_object and (keyed := answer_key(part)) is not None:
            return Extraction("phrase", _inner("tag", keyed).strip())
        unmarked = "" if thinks or is_object else None
        for rule in rules:
            if rule not in MARKED and unmarked is None:
                unmarked = _without_programs(part)
            answer = RULES[rule](part if rule in MARKED else unmarked or "")
            if answer is not None:
                return Extraction(rule, _inner(rule, answer).strip())
        thinks = True
    return None


def _without_padding(text: str) -> str:
    """Return a text without runs of blanks and of empty lines, which would cost the rules quadratic time."""
    if "   " in text or not text.replace("\n", "").isprintable():  # every blank but the space counts as not printable
        text = _BLANKS.sub(r"\1", text)
    return _LINES.sub("\n\n", text) if "\n" in text else text


def _without_programs(text: str) -> str:
    """Return a text without what is no statement: programs, the workings of GSM8K, a calculation that breaks off."""
    if _BROKEN_OFF.search(text[-40:]):
        return ""
    text = _WORKINGS.sub("", text) if "<<" in text else text
    return _FENCE.sub("", _PROGRAM.sub("", text)) if "```" in text else text


def answer_key(text: str) -> str | None:
    """Return the last value of a key such as "answer" in an object of JSON, complete or cut off; None without one.

    >>> answer_key('{"steps": ["2+2"], "answer": "4 cm"}'), answer_key('{"answer": [1, 2'), answer_key('{"steps": 4}')
    ('4 cm', None, None)
    """
    all_found = list(_ANSWER_KEY.finditer(text))
    if not all_found:
        return None
    found = all_found[-1]
    string, other = found[1] or found[2], found[3] or found[5]
    if string is not None:
        return re.sub(r"\\([\\\"'])", r"\1", string)
    return other if other is not None else " ".join(re.findall(r":\s*[\"']?([^,\"']+)", found[4] or ""))


def _inner(rule: str, answer: str) -> str:
    """Return the answer in a marked place that holds a sentence, as in ``<answer>The answer is 18.</answer>``."""
    if rule not in ("boxed", "tag", "hashes") or not any(map(str.isalpha, answer)):
        return answer
    found = boxed(answer) if rule != "boxed" else None
    if found is None:
        sentence = _TEXT.sub(r" \1 ", answer)  # \\boxed{\\text{The answer is 18}}
        found = phrase(sentence) if _PHRASE.search(sentence) else None
        end = sentence.rpartition(" is ")[2]
        if found is None and end != sentence and re.search(r"\d", end) and _prose(sentence):
            found = end
    return answer if found is None else found


def find_boxes(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and content of the boxes of a text; one within another is a part of its content.

    A box without braces holds what stands next without a space in it, as in ``\\boxed 2`` or ``\\boxed\\frac12``; a
    word makes it none.
    """
    position = 0
    while match := BOX.search(text, position):
        start = position = match.end()
        if text[start : start + 1] == "{":
            closed = closing(text, start + 1)
            position = min(closed + 1, len(text))
            yield match.start(), position, text[start + 1 : closed]
        elif (end := _argument_end(text, start)) > start:
            position = end
            yield match.start(), end, text[start:end]


def _argument_end(text: str, start: int) -> int:
    """Return where the argument without braces ends that begins at ``start``."""
    at = start + 1 if text[start : start + 1] in ("-", "+") else start
    end = start
    while at < len(text):
        wanted = 0
        if text[at] in "([":
            closed = text.find(")" if text[at] == "(" else "]", at, at + 200)
            at = closed + 1 if closed > 0 else len(text) + 1
        elif text[at] in "^_/" and end > start:
            at, wanted = at + 1, 1
        elif text[at] == "{" and end > start:
            wanted = 1
        elif (match := _TOKEN.match(text, at)) and (end == start or _goes_on(match[0])):
            at, wanted = match.end(), 2 if _TWO_ARGUMENTS.fullmatch(match[0]) else 0
            if match[0].startswith("\\") and not wanted:
                if text[at : at + 1] == "[":  # the degree of a root
                    at = text.find("]", at, at + 9) + 1 or at
                wanted = 1 if text[at : at + 1] == "{" or match[0] == "\\sqrt" else 0
        else:
            break
        for _ in range(wanted):
            at = _group_end(text, at)
        if at > len(text):
            break
        end = at
    return end


def _goes_on(token: str) -> bool:
    return not token.startswith("\\") or token[1:] in _FACTORS or not token[1:].isalpha()


def _group_end(text: str, at: int) -> int:
    """Return where one argument of a command ends: a group in braces, a command, or a single sign."""
    while text[at : at + 1] == " ":
        at += 1
    if text[at : at + 1] == "{":
        return closing(text, at + 1) + 1
    match = _TOKEN.match(text, at)
    return match.end() if match and match[0].startswith("\\") else at + 1


def boxed(text: str) -> str | None:
    """Return the content of the last box that is not empty; boxes that commas, "and" or "or" join are a list."""
    if "box" not in text:
        return None
    boxes = [box for box in find_boxes(text) if box[2].strip()]
    if not boxes:
        return None
    group = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[1] : group[0][0]]
        if len(between) > 80 or not (_BETWEEN_BOXES.fullmatch(between) or _enumerates(between)):
            break
        group.insert(0, box)
    answer = ", ".join(_unpack(content) for _, _, content in group)
    if len(group) == 1:
        if _MINUS_BEFORE.search(text, max(0, group[0][0] - 12), group[0][0]):  # -\\boxed{2}
            answer = f"-({answer})" if re.search(r"[-+, ]", answer) else f"-{answer}"
        if _PERCENT_BEHIND.match(text, group[0][1]) and not answer.rstrip().endswith("%"):
            answer += "\\%"
    letter = _LETTER_LAST.search(text, group[-1][1])
    return f"({letter[1]}) {answer}" if letter and not _LABELLED.match(answer) else answer


def _unpack(content: str) -> str:
    """Return the content of a box within a box."""
    inner = [box for box in find_boxes(content) if box[2].strip()] if "box" in content else []
    return inner[-1][2] if inner else content


def _enumerates(between: str) -> bool:
    """Whether text between two boxes joins them: it says "and", and nothing that takes the first one back."""
    words = set(re.findall(r"[a-z]+", between.lower()))
    return "and" in words and not words & _CORRECTIONS and not re.search(r"[.!?;]", between)


def closing(text: str, start: int) -> int:
    """Return where the brace closes that opened before ``start``; the end of the text if it never does."""
    depth = 1
    for found in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if not depth:
            return found.start()
    return len(text)


def tag(text: str) -> str | None:
    """Return the content of the last ``<answer>``."""
    start = text.rfind("<answer>")
    return None if start < 0 else text[start + 8 :].split("</answer>", 1)[0]


def hashes(text: str) -> str | None:
    """Return the rest of the line after the last ``####``."""
    _, mark, rest = text.rpartition("####")
    return rest.split("\n", 1)[0] if mark else None


def phrase(text: str) -> str | None:
    """Return the text behind the last "answer is" or "answer:" up to the end of the sentence."""
    found = None
    for match in _PHRASE.finditer(text):
        if not _SUPPOSED.search(text, max(0, match.start() - 80), match.start()):
            found = match
    if found is None:
        letters = [next(filter(None, match.groups())) for match in _LETTER_STATED.finditer(text)]
        return letters[-1] if letters else None
    rest = text[found.end() :]
    behind = rest.lstrip("} \t\r\n")  # \\text{Answer: } 21
    rest = behind.removeprefix("- ") if "\n" in text[found.start() : len(text) - len(behind)] else behind
    formulas = ""
    end = 0
    for formula in _formulas(rest):
        sign = _joins(rest[end : formula.start()], _inside(formula)) if end else ""
        if formula.start() != 0 and not sign:
            break
        formulas, end = formulas + sign + _inside(formula), formula.end()
    if formulas:
        return formulas
    sentence = _NOT_BUT.sub("", _SENTENCE_END.split(rest, maxsplit=1)[0])
    statement = (_REASON.split(sentence, maxsplit=1)[0].strip() or sentence).strip("* \"'")
    behind = sentence[len(statement) :]
    sentence = _BEFORE_NUMBER.sub("", _AFTER_NUMBER.sub("", _STARS.sub("", statement)))
    sentence = _WORD_FOR_IT.sub(lambda found: found[1] if in_digits(found[2]) == found[1] else found[0], sentence)
    if choice := _choice(sentence, behind, rest):
        return choice
    if repeated := _IN_PARENTHESES.fullmatch(sentence):  # "forty-two (42)"
        return repeated[1]
    if _prose(_MATH.sub("", sentence)) and " is " in sentence:  # "the volume of $ABC$ is 120"
        sentence = sentence.rpartition(" is ")[2]
    return sentence or None


def _choice(statement: str, behind: str, line: str) -> str:
    """Return a letter with the value that stands beside it, as "(C) 42", ``""`` if only one of them is stated."""
    if (letter := _LETTER_STATED.search(behind)) and letter[1] and re.match(r"[-$\\\d]", statement):
        return f"({letter[1]}) {statement}"  # "42, which is option C"
    value = _IN_PARENTHESES.fullmatch(statement)  # "C (42)"
    if value is None and _CAPITAL.fullmatch(statement):
        value = _VALUE_BEHIND.match(line)  # "C. 42"
    capital = _CAPITAL.fullmatch(statement.partition(" ")[0])
    return f"({capital[1]}) {value[1]}" if capital and value else ""


def whole(text: str) -> str | None:
    """Return a short text without words as it is, and one of at most three words."""
    text = _NOT_BUT.sub("", _LEAD.sub("", text.strip()))
    text = _BOLD_COMMAND.sub(r"**\1**", text) if "\\textbf" in text or "\\emph" in text else text
    text = _last_row(text)
    if text and len(text) <= WHOLE and _IN_DIGITS.fullmatch(in_digits(text.rstrip("."))):  # one hundred and twenty-one
        return text
    bare = _STARS.sub("", text)
    if (len(bare) <= 30 and _BARE_WORDS.fullmatch(bare)) or (len(bare) <= WHOLE and _STATED_CHOICE.fullmatch(bare)):
        return bare
    if bold := _IS_BOLD.search(text) or _BOLD_IS.search(text):
        return bold[1]
    if _ENVIRONMENT.fullmatch(text):
        return text
    last = text.rpartition("\n")[2].strip()
    if last != text and len(last) <= WHOLE and _BOLD_WORDS.fullmatch(last):
        return last
    if text and len(text) <= WHOLE and not _prose(_TEXT_UNIT.sub("", text)) and not _MATH.search(text):
        return _SO.split(text)[-1]
    if len(text) <= 200 and (nothing := _NOTHING.search(text)):
        return next(filter(None, nothing.groups()))
    if len(text) <= 200 and (opening := _YES_OR_NO.match(bare)) and not re.search(r"\d", _WHY.split(bare)[0]):
        return opening[1]
    if len(text) <= 200 and (stated := _IS_WORD.search(text)) and not _NO_STATEMENT.search(text):
        return stated[1]
    return None


def _last_row(text: str) -> str:
    """Return what short rows of equations come to: the last one, or all where each names another variable."""
    lines = list(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    if len(lines) < 2:
        return lines[0] if lines else ""
    names = {match[1] for line in lines if (match := _ASSIGNED.fullmatch(line))}
    if len(text) > WHOLE or not names or not all("=" in line for line in lines):
        return text
    return ", ".join(lines) if len(names) == len(lines) else lines[-1]


def _prose(text: str) -> bool:
    return (
        _IS_NUMBER.search(text) is not None
        or _WORD.search(text) is not None
        or _OTHER_SCRIPT.search(text) is not None
        and re.search(r"\d", text) is not None
        or len(re.findall(r"(?<!\\)\b(?:[^\W\d_]|'){2,}", text)) > 3
    )


def formula(text: str) -> str | None:
    """Return the last formula between dollars or display brackets, unless a conclusion after it gives a number."""
    text = _AFTERWORD.sub("", text)
    found = list(_formulas(text))
    if found and _NEGATED.search(text, max(0, found[-1].start() - 30), found[-1].start()):
        return None
    while len(found) > 1:
        start, last = found[-1].start(), _inside(found[-1]).strip()
        explains = _WHERE.search(text, max(0, start - 12), start) and not _OF_NUMBERS.fullmatch(last)
        if not explains and not (_NAMED.fullmatch(last) and _ABOUT.search(text, max(0, start - 12), start)):
            break
        found.pop()  # "it is $2x$, so it grows with $x$"
    if not found or _CONCLUSION.search(text, found[-1].end()):
        return None
    answer, start = _inside(found[-1]), found[-1].start()
    for match in reversed(found[:-1]):
        sign = _joins(text[match.end() : start], answer)
        if not sign or _CONDITION.search(text, max(0, match.start() - 60), match.start()):
            break
        answer, start = _inside(match) + sign + answer, match.start()
    return answer


def _formulas(text: str) -> Iterator[re.Match[str]]:
    """Yield the formulas of a text; between the dollars of two amounts of money stands none."""
    position = 0
    while match := _MATH.search(text, position):
        money = match[2] is not None and match[2][0].isdigit() and text[match.end() : match.end() + 1].isdigit()
        if money or (match[2] is not None and _SENTENCE_INSIDE.search(match[2])):
            position = match.start() + 1
        else:
            yield match
            position = match.end()


def _inside(match: re.Match[str]) -> str:
    return last_statement(next(part for part in match.groups() if part is not None))


def _joins(between: str, behind: str) -> str:
    """Return the sign that joins two formulas with this text between them, ``""`` if it does not.

    >>> _joins(" and ", "x=2"), _joins(", where ", r"k \\in \\mathbb{Z}"), _joins(" so ", "x=2")
    (' and ', ', ', '')
    """
    if _OF_NUMBERS.fullmatch(behind.strip()) and _QUALIFIES.fullmatch(between):
        return ", "
    if not _BETWEEN_FORMULAS.fullmatch(between):
        return ""
    return next((f" {word} " for word in ("or", "and") if word in between), ", ")


def number(text: str) -> str | None:
    """Return the number that the last sentence with one states, as in "there are 42 ways", else its last number."""
    text = text.replace("\u2212", "-").replace("{,}", ",")
    text = _NEGATIVE.sub("-", _LABEL.sub("", _AFTERWORD.sub("", text)))
    text = _without_aside(text)
    found = list(_NUMBER.finditer(text))
    if chance := _CHANCE.search(text[-200:]):
        numbers = [in_digits(word) for word in chance.groups()]
        if all(map(str.isdigit, numbers)):
            return "/".join(numbers)
    if not found:
        words = _IN_WORDS.search(text[-100:]) or next(_BOLD_WORD.finditer(text), None)
        return words[1] if words and in_digits(words[1]) != words[1] else None
    begins = [match.end() for match in _SENTENCE_END.finditer(text, 0, found[-1].start())]
    begin = begins[-1] if begins else 0
    starts = [match.start(1) for match in _STATED.finditer(text, begin)]
    if starts and (aside := _ASIDE.search(text, starts[0])):  # "it is 1/6, since the complement has 5/6"
        starts = [start for start in starts if start < aside.start()]
    found = [one for one in found if one.start() >= begin and not _is_denied(text, one)]
    if not found:
        return None
    stated = [one for one in found if one.start() in starts]
    chosen = stated[-1] if stated else _last_free(text, begin, found)
    if _is_open(text, begin, chosen):
        return None
    return None if not starts and _UNABLE.search(text, begin) else _around(text, chosen)


def _without_aside(text: str) -> str:
    """Return a text whose last sentence has lost what it says in parentheses, where it has numbers besides."""
    asides = list(_PARENTHESES.finditer(text, max(0, len(text) - 300)))
    if not asides or _SENTENCE_END.search(text.rstrip(" .!*\n"), asides[-1].end()):
        return text
    begins = [match.end() for match in _SENTENCE_END.finditer(text, 0, asides[-1].start())]
    rest = text[begins[-1] if begins else 0 : asides[-1].start()] + " " + text[asides[-1].end() :]
    if not rest.strip(" .!*\n"):  # a sentence of its own
        rest = text[: asides[-1].start()]
    return text[: asides[-1].start()] + text[asides[-1].end() :] if _NUMBER.search(rest) else text


def _last_free(text: str, begin: int, found: list[re.Match[str]]) -> re.Match[str]:
    """Return the number that a sentence without a statement is about: one that it begins with, or the last one.

    What the others are taken of does not count: "over the 3 days", "of 24 and 36".
    """
    if subject := _SUBJECT.match(text, begin):
        return next((match for match in found if match.start() == subject.start(1)), found[-1])
    taken = [(match.start(), match.end()) for match in _TAKEN_OF.finditer(text, begin)]
    free = [match for match in found if not any(low <= match.start() < high for low, high in taken)]
    return (free or found)[-1]


def _is_denied(text: str, number: re.Match[str]) -> bool:
    before = _NEGATED.search(text, max(0, number.start() - 30), number.start())
    return before is not None or _REFUTED.match(text, number.end()) is not None


def _is_open(text: str, begin: int, chosen: re.Match[str]) -> bool:
    """Whether a sentence denies a number, asks for it, supposes it, or states that something is greater or less."""
    start, end = chosen.span()
    sentence = text[max(begin, start - 200) : start]
    supposed = _HYPOTHESIS.fullmatch(sentence)
    return bool(
        _THAN.search(sentence)
        or _DENIED.search(sentence)
        or (_QUESTION.match(text, end) and (_ASKS.match(sentence) or not sentence.rstrip(" $*").endswith("=")))
        or (supposed and (not supposed["clause"] or _CLAUSE_END.match(text, end)))
    )


def _around(text: str, chosen: re.Match[str]) -> str:
    """Return a number with what belongs to it: the others of a list, the formula it is a part of, its unit.

    Without them ``5π`` would be 5, "x = 1 and x = 5" be 5, and "45 hours" the same as 45 minutes.
    """
    start, end = chosen.span()
    low, high = max(text.rfind("\n", 0, start) + 1, start - 60), end + 60
    for pattern, holds in ((_LISTED, bool), (DATE, bool), (_EXPRESSION, _is_formula), (_QUANTITIES, in_units)):
        for match in pattern.finditer(text, low, high):
            if match.start() <= start and end <= match.end() and holds(match[0]):
                return match["list"] if pattern is _LISTED else match[0]
    for mixed in _MIXED.finditer(text, low, high):
        if mixed.start() <= start < mixed.end():
            start, end = mixed.span()
    if ":" in chosen[0] and (half := _HALF_OF_DAY.match(text, end)):
        return text[start : half.end()]
    if large := _LARGE.match(text, end):
        end = large.end()
    unit = _UNIT_BEHIND.match(text, end)
    known = unit is not None and unit[1] != "in" and canonical(unit[1].translate(_RAISED))
    return text[start : unit.end() if unit and known else end]


def _is_formula(text: str) -> bool:
    """Whether what stands around a number makes it another value; a unit does not."""
    return bool(_IS_FORMULA.search(text)) or any(not canonical(letters) for letters in _TWO_LETTERS.findall(text))


RULES = {
    "boxed": boxed,
    "tag": tag,
    "hashes": hashes,
    "phrase": phrase,
    "whole": whole,
    "formula": formula,
    "number": number,
}
