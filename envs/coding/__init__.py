"""Code: untrusted programs executed in isolation, and tasks whose answers are programs."""

from g2rpo_env.envs.coding.checks import CodeCheck, CodeOutcome, CodeVerdict
from g2rpo_env.envs.coding.sandbox import Sandbox, shared_sandbox

__all__ = ["CodeCheck", "CodeOutcome", "CodeVerdict", "Sandbox", "shared_sandbox"]
