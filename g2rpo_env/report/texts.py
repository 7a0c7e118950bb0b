"""Texts of tokens: each as it reads in its context, characters of several tokens whole."""

from __future__ import annotations

from typing import Any

import numpy as np

from g2rpo_env.tokenizer import decode

LOST = "\ufffd"
"""What bytes decode to that make no character, or none yet."""

LONGEST = 4
"""Most bytes of a character, and so most tokens that share one."""


class TokenTexts:
    """Decodes contexts token by token; what a token reads as by itself is kept for the next one.

    Args:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._own: dict[tuple[int, bool], str] = {}

    def decode(self, tokens_T: np.ndarray) -> tuple[list[str], list[bool]]:
        """Return the text of each token of a context, and whether it is a part of a character that a later token shows.

        A character stands once, on its last token. Bytes that make no character stand as U+FFFD where they end.

        Args:
            tokens_T: int (T,), token ids.
        """
        tokens = tokens_T.tolist()
        texts = [self._read(tokens, [place]) for place in range(len(tokens))]
        if LOST not in "".join(texts):
            return texts, [False] * len(tokens)
        texts, is_part = [""] * len(tokens), [False] * len(tokens)
        waiting: list[int] = []  # places of the tokens that hold bytes of a character that is not whole yet
        shown = 0  # letters of their text, before that character, that stand already

        for place in range(len(tokens)):
            text = self._read(tokens, [place])
            if LOST not in text:
                if waiting:
                    texts[waiting[-1]] += self._read(tokens, waiting)[shown:]
                texts[place], waiting, shown = text, [], 0
                continue
            text = self._read(tokens, [*waiting, place])
            if len(waiting) == LONGEST - 1 and text.endswith(LOST):
                texts[waiting[0]] += self._read(tokens, waiting[:1])[shown:]  # no beginning of a character after all
                is_part[waiting[0]] = False
                waiting, shown = waiting[1:], 0
                text = self._read(tokens, [*waiting, place])
            whole = text.rstrip(LOST)
            for earlier in waiting:
                is_part[earlier] = True
            if len(whole) > shown:
                texts[place] = whole[shown:]
                waiting = [place] if whole != text else []
                shown = len(self._read(tokens, waiting).rstrip(LOST)) if waiting else 0
            else:
                waiting.append(place)
        if waiting:
            texts[waiting[-1]] += self._read(tokens, waiting)[shown:]
        return texts, is_part

    def read(self, token: int) -> str:
        """Return the text of a token behind others."""
        return self._read([-1, token], [1])

    def _read(self, tokens: list[int], places: list[int]) -> str:
        """Return the text of neighbouring tokens."""
        begins = places[0] == 0
        if len(places) > 1:
            return decode(self.tokenizer, np.array([tokens[place] for place in places]), begins)
        key = tokens[places[0]], begins
        if key not in self._own:
            self._own[key] = decode(self.tokenizer, np.array(key[:1]), begins)
        return self._own[key]
