"""Tokens of a group for notebooks, pages and terminals: who wrote each, and what one channel says of it.

    from g2rpo_env.report import tokens
    tokens(group, tokenizer, channel="credit", agent=agent)

The HTML has inline styles and no script, because notebooks and GitHub strip scripts; every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from g2rpo_env.episode import Episode, Group, Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.render import COLORS, PALETTE, make_visible
from g2rpo_env.report.records import describe_example, mask
from g2rpo_env.report.texts import TokenTexts
from g2rpo_env.verdict import Outcome

if TYPE_CHECKING:
    from rich.text import Text

    from g2rpo_env.agents.scores import Scores
    from g2rpo_env.agents.update import Update

LONGEST_TOKEN = 200
MOST_TOKENS = 2000
"""Tokens of an episode that are shown; the rest is counted."""

MARKS = {
    Outcome.CORRECT: "✓ right",
    Outcome.WRONG: "✗ wrong",
    Outcome.NO_ANSWER: "∅ no answer",
    Outcome.ERROR: "! not graded",
}

Value = Callable[[Mapping[str, Any], int, float], float | None]
"""Takes a record, a place and the sum of all weights of the update."""


def _probability(record: Mapping[str, Any], t: int, total: float) -> float | None:
    name = {Role.SAMPLED: "logprobs", Role.REVEALED: "logprobs_after"}.get(Role(record["roles"][t]))
    value = record[name][t] if name and record[name] else None
    return None if value is None else math.exp(value)


def _entropy(record: Mapping[str, Any], t: int, total: float) -> float | None:
    return record["entropies_after"][t] if record["entropies_after"] else None


def _credit(record: Mapping[str, Any], t: int, total: float) -> float | None:
    credit = record["credits"][t] if record["credits"] else record["advantage"]
    return None if credit is None or not total else credit * record["weights"][t] / total


def _weight(record: Mapping[str, Any], t: int, total: float) -> float | None:
    return record["weights"][t]


def _change(record: Mapping[str, Any], t: int, total: float) -> float | None:
    name = "logprobs" if record["roles"][t] == Role.SAMPLED else "logprobs_before"
    before, after = record[name], record["logprobs_after"]
    if not before or not after or before[t] is None or after[t] is None:
        return None
    return after[t] - before[t]


CHANNELS: dict[str, tuple[Value, bool, str]] = {
    "role": (lambda record, t, total: None, False, "who wrote each token"),
    "probability": (_probability, False, "probability when sampled; of revealed tokens that after the update"),
    "entropy": (_entropy, False, "entropy of the policy there, in nats"),
    "credit": (_credit, True, "advantage times weight, over the sum of all weights: blue pushed up, orange down"),
    "weight": (_weight, False, "weight in the loss; struck tokens are not in the loss"),
    "change": (_change, True, "log-probability after the update minus before: blue likelier, orange less likely"),
}
"""Channel -> value of a token, whether it has two signs, and what it means."""


@dataclass(frozen=True)
class TokenView:
    """Episodes as coloured text, in HTML (``_repr_html_``) and in a terminal (``__rich__``).

    Attributes:
        records: Records of the episodes, normalized (:func:`g2rpo_env.report.reader.normalize_record`).
        channel: A key of :data:`CHANNELS`.
        total: Sum of all weights of the update, which credit is a share of.
        title: A line above.
    """

    records: tuple[Mapping[str, Any], ...]
    channel: str = "role"
    total: float = 0.0
    title: str = ""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            raise ConfigurationError(f"channel={self.channel!r} must be one of {', '.join(CHANNELS)}")

    def values(self, record: Mapping[str, Any]) -> list[float | None]:
        """Return the value of each token that is shown."""
        value = CHANNELS[self.channel][0]
        return [value(record, t, self.total) for t in range(min(len(record["tokens"]), MOST_TOKENS))]

    def find_largest(self) -> float:
        """Return the largest magnitude of a value, 0 where no token has one."""
        return max((abs(v) for record in self.records for v in self.values(record) if v is not None), default=0.0)

    def _repr_html_(self) -> str:
        """Return HTML without scripts, readable on light and dark paper."""
        from markupsafe import Markup

        largest = self.find_largest()
        head = Markup('<div style="font-weight:600">{}</div>').format(make_visible(self.title)) if self.title else ""
        rows = Markup("").join(self._row_html(record, largest) for record in self.records)
        note = CHANNELS[self.channel][2]
        legend = Markup("").join(
            Markup('<span style="{}">{}</span> ').format(get_css(role, self.channel, None, 0.0), role.name.lower())
            for role in Role
        )
        scale = f" largest: {largest:.3g}" if largest else ""
        return str(
            Markup(
                '<div style="font-size:0.9em">{}{}<div style="margin-top:0.6em;opacity:0.8">{} {}: {}.{}</div></div>'
            ).format(head, rows, legend, self.channel, note, scale)
        )

    def _row_html(self, record: Mapping[str, Any], largest: float) -> Any:
        from markupsafe import Markup

        spans = []
        for t, value in enumerate(self.values(record)):
            role, text = Role(record["roles"][t]), get_shown(record, t)
            style = get_css(role, self.channel, value, largest)
            tip = f"token {t}, {role.name.lower()}, id {record['tokens'][t]}"
            tip += "" if value is None else f", {self.channel} {value:.4g}"
            line = Markup("<br>") if "\n" in record["texts"][t] else ""
            spans.append(Markup('<span style="{}" title="{}">{}</span>{}').format(style, tip, text, line))
        return Markup(
            '<div style="margin-top:0.8em"><div>{}</div><div style="font-family:monospace;white-space:pre-wrap;'
            'line-height:1.7">{}{}</div></div>'
        ).format(describe(record), Markup("").join(spans), _get_rest(record))

    def __rich__(self) -> Text:
        """Return the episodes as text of rich; markup in the texts has no meaning."""
        from rich.text import Text

        largest, out = self.find_largest(), Text()
        if self.title:
            out.append(make_visible(self.title) + "\n", "bold")
        for record in self.records:
            out.append(describe(record) + "\n", "bold")
            for t, value in enumerate(self.values(record)):
                shown = get_shown(record, t)
                out.append(shown, get_style(Role(record["roles"][t]), self.channel, value, largest))
                if "\n" in record["texts"][t]:
                    out.append("\n")
            out.append(_get_rest(record) + "\n\n")
        for role in Role:
            out.append(role.name.lower(), get_style(role, "role", None, 0.0))
            out.append("  ")
        scale = f" Largest: {largest:.3g}." if largest else ""
        out.append(f"{self.channel}: {CHANNELS[self.channel][2]}.{scale}")
        return out


def get_shown(record: Mapping[str, Any], t: int) -> str:
    """Return what stands for a token: its text with everything invisible written out, or a mark where it has none."""
    text = record["texts"][t]
    if not text:
        return "·" if t in record["parts"] else "∅"
    return make_visible(text[:LONGEST_TOKEN]) + ("…" if len(text) > LONGEST_TOKEN else "")


def _get_rest(record: Mapping[str, Any]) -> str:
    left = len(record["tokens"]) - MOST_TOKENS
    return f" ... {left:,} more tokens" if left > 0 else ""


def describe(record: Mapping[str, Any]) -> str:
    """Return member, verdict, help, reward and advantage of an episode in one line."""
    verdict, answer = record["verdict"], record["verdict"]["answer"]
    words = [f"member {record['member']}", MARKS[Outcome(verdict["outcome"])]]
    words.append(f"{record['reveal']} tokens shown" if record["reveal"] else "plain")
    words += [] if answer is None else [f"answer {make_visible(answer[:80])}"]
    words.append(f"reward {record['reward']:.3g}")
    words += [] if record["advantage"] is None else [f"advantage {record['advantage']:+.2f}"]
    return ", ".join(words)


def get_css(role: Role, channel: str, value: float | None, largest: float) -> str:
    """Return the inline style of a token."""
    name = role.name.lower()
    red, green, blue = PALETTE[name].light
    style = "unicode-bidi:isolate;"
    if role is Role.PROMPT:
        style += "opacity:0.75;"
    elif role is Role.REVEALED:
        style += f"border-bottom:2px dotted rgb({red},{green},{blue});"
    elif role is Role.ENVIRONMENT:
        style += f"border-left:3px solid rgb({red},{green},{blue});"
    if channel == "role" and role is not Role.PROMPT:
        return style + f"background:rgba({red},{green},{blue},0.18)"
    if channel == "weight" and value is not None and value <= 0:
        return style + "text-decoration:line-through"
    if value is None or not largest:
        return style
    ink = PALETTE["more" if not CHANNELS[channel][1] else "down" if value < 0 else "up"].light
    return style + f"background:rgba({ink[0]},{ink[1]},{ink[2]},{0.45 * min(1.0, abs(value) / largest):.3f})"


STEPS = {"more": ("", "on #cfe0f0", "on #8fb9dc", "on #4f8fc4"), "up": ("", "on #cfe0f0", "on #8fb9dc", "on #4f8fc4")}
STEPS["down"] = ("", "on #fbdcc2", "on #f5b27e", "on #ee8a42")


def get_style(role: Role, channel: str, value: float | None, largest: float) -> str:
    """Return the style of a token for rich: the colour of its role, or black on the colour of its value."""
    base = f"{COLORS[role].name} underline" if role is Role.REVEALED else COLORS[role].name
    if channel == "weight" and value is not None and value <= 0:
        return f"{base} strike"
    if channel == "role" or value is None or not largest:
        return base
    name = "more" if not CHANNELS[channel][1] else "down" if value < 0 else "up"
    shade = STEPS[name][math.ceil(3 * min(1.0, abs(value) / largest) - 1e-9)]
    underline = " underline" if role is Role.REVEALED else ""
    return f"black {shade}{underline}" if shade else base


# -- from episodes ----------------------------------------------------------------------------------------------------


def tokens(
    group: Group | Sequence[Episode] | Episode, tokenizer: Any, channel: str = "credit", agent: Any = None
) -> TokenView:
    """Return the tokens of a group for a notebook or a terminal.

    Args:
        group: A group, episodes, or one episode.
        tokenizer: Decodes the tokens.
        channel: ``role``, ``probability``, ``entropy``, ``credit``, ``weight`` or ``change``.
        agent: The agent whose last update learnt from the group. ``credit`` and ``weight`` need its record of that
            update, ``entropy`` and ``change`` its policy, which scores the episodes once.

    Raises:
        ConfigurationError: there is no such channel, or it needs an agent.
    """
    if channel not in CHANNELS:
        raise ConfigurationError(f"channel={channel!r} must be one of {', '.join(CHANNELS)}")
    if agent is None and channel in ("credit", "weight", "entropy", "change"):
        raise ConfigurationError(f"channel={channel!r} needs agent=..., the agent whose last update learnt from them")
    episodes = [group] if isinstance(group, Episode) else list(group.episodes if isinstance(group, Group) else group)
    update = getattr(agent, "last_update", None)
    total = float(sum(example.weight_T.sum() for example in update.examples())) if update is not None else 0.0
    scores: Sequence[Scores | None] = [None] * len(episodes)
    if agent is not None and channel in ("entropy", "change", "probability"):
        from g2rpo_env.agents.scores import score_episodes  # it needs torch

        scores = score_episodes(agent.policy, episodes)
    before = agent.learner.find_scored() if hasattr(agent, "learner") else {}
    texts = TokenTexts(tokenizer)
    return TokenView(
        tuple(make_record(e, texts, update, one, before) for e, one in zip(episodes, scores, strict=True)),
        channel,
        total,
    )


def make_record(
    episode: Episode,
    texts: TokenTexts,
    update: Update | None = None,
    score: Scores | None = None,
    before: Mapping[tuple[int, int], np.ndarray] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return an episode as a normalized record.

    Args:
        episode: The episode.
        texts: Decodes its tokens.
        update: Record of the update that learnt from it; None for none.
        score: Scores of its tokens after the update; None for none.
        before: (group, member) -> log-probabilities that the update computed before its first gradient step.
    """
    found = [] if update is None else update.find_examples(episode)
    shown, is_part = texts.decode(episode.tokens_T)
    example, known = found[0] if found else None, before.get((episode.group, episode.member))
    return {
        **episode.to_record(),
        "texts": shown,
        "parts": [place for place, part in enumerate(is_part) if part],
        "logprobs_after": None if score is None else mask(score.log_prob_T, score.written_T),
        "entropies_after": None if score is None else mask(score.entropy_T, score.written_T),
        **describe_example(episode, example, known, update is not None and update.credits is not None),
    }
