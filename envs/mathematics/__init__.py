"""Math word problems from data sets, and the checker of their answers."""

from g2rpo_env.envs.mathematics.equality import MathVerifier

__all__ = ["MathVerifier"]
