"""Open-loop guidance: reveal lengths that do not look at the reward."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from g2rpo_env.controller import Controller
from g2rpo_env.errors import ConfigurationError


@dataclass
class Replay(Controller):
    """Plays back a list of lengths, one per update; the last one stays.

    With the lengths and the seed of a guided run, another algorithm sees exactly the tokens that were revealed there:
    how supervised training is compared on the same revealed tokens.

    Args:
        lengths: Reveal length of the first update, the second, and so on; at least one.

    >>> replay = Replay(lengths=(45.0, 44.0, 40.0))
    >>> replay.length, [replay.update(reward=0.5) for _ in range(3)]
    (45.0, [44.0, 40.0, 40.0])
    """

    length: float = 0.0
    lengths: tuple[float, ...] = (0.0,)
    _played: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.lengths:
            raise ConfigurationError("lengths must hold at least one length")
        self.lengths = tuple(float(length) for length in self.lengths)
        wrong = [length for length in self.lengths if not (length >= 0 and math.isfinite(length))]
        if wrong:
            raise ConfigurationError(f"lengths must all be finite and at least 0, got {wrong[0]}")
        self.length = self.lengths[0]
        super().__post_init__()

    def _next(self, reward: float) -> float:
        self._played += 1
        return self.lengths[min(self._played, len(self.lengths) - 1)]

    _next_unseen = _next

    def state_dict(self) -> dict[str, Any]:
        """Return length, history and the position in the list."""
        return {**super().state_dict(), "_played": self._played}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        super().load_state_dict(state)
        self._played = state["_played"]
