"""One measurement of a benchmark."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """One measurement.

    Attributes:
        name: The measured quantity.
        value: The figure, of the best repeat where there are several.
        unit: Its unit: something per second, something counted, or ``ratio``.
    """

    name: str
    value: float
    unit: str
