"""The demo: five rows from one weak base on column addition.

base, grpo, sft, g2rpo-a and g2rpo-a-masked. sft is supervised training on exactly the tokens that the g2rpo-a run
revealed: it says how much of a gain is imitation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2rpo_env.experiments.arms import Arm
from g2rpo_env.experiments.comparison import BASE, Comparison
from g2rpo_env.experiments.families import FAMILIES

ENV = "g2rpo_env/Addition-v0"
FAMILY = FAMILIES[ENV]
RATES = FAMILY.rates
GRPO = Arm("grpo", "grpo", RATES["grpo@unguided"], guided=False)
GUIDED = Arm("g2rpo-a", "g2rpo-a", RATES["g2rpo-a"], controller=FAMILY.controller)
IMITATION = Arm("sft", "sft", RATES["sft"], replays="g2rpo-a")
MASKED = Arm("g2rpo-a-masked", "g2rpo-a-masked", RATES["g2rpo-a-masked"], controller=FAMILY.controller)
DEMO_ARMS = (GUIDED, IMITATION, MASKED, GRPO)
"""The arms, those that take longest first."""
ROWS = (BASE, "grpo", "sft", "g2rpo-a", "g2rpo-a-masked")


@dataclass(frozen=True)
class Outcome:
    """The results of a demo of one seed.

    Attributes:
        seed: Root seed.
        success: The base's sampled success on validation problems.
        comparison: Results of this seed, and perhaps of others.
    """

    seed: int
    success: float
    comparison: Comparison

    def summarise(self) -> dict[str, Any]:
        """Return the rows of the table as plain data."""
        results = self.comparison.get_results(self.seed)
        rows: dict[str, Any] = {}
        for label in ROWS:
            rows[label] = self.comparison.get_evaluation(self.seed, label).to_config()
            if label != BASE:
                difference, interval = self.comparison.get_difference(self.seed, label, "grpo")
                result = results[label]
                rows[label] |= {
                    "above_grpo": difference,
                    "above_grpo_interval": list(interval),
                    "learning_rate": result.arm.learning_rate,
                    "sampled_tokens": result.sampled_tokens,
                    "seconds": round(result.seconds, 1),
                }
        rows[BASE]["sampled_success"] = self.success
        difference, interval = self.comparison.get_difference(self.seed, "g2rpo-a", "sft")
        rows["g2rpo-a"] |= {"above_sft": difference, "above_sft_interval": list(interval)}
        return rows


def make_outcome(seed: int, base: Path, comparison: Comparison) -> Outcome:
    """Return the outcome of one seed of a comparison of :data:`DEMO_ARMS`.

    Args:
        seed: Root seed.
        base: Folder of the base of that seed, as :func:`~g2rpo_env.experiments.bases.make_base` wrote it.
        comparison: Results.
    """
    success = json.loads((base / "warm_start.json").read_text())["success"]
    return Outcome(seed, success, comparison)
