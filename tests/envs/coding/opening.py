"""A sandbox for a test, or the reason why there is none."""

import pytest

from g2rpo_env.envs.coding import Sandbox
from g2rpo_env.errors import SandboxUnavailableError


def opened(**options: object) -> Sandbox:
    """Return a sandbox that runs, or skip."""
    box = Sandbox(**options)  # type: ignore[arg-type]
    try:
        assert box.level
    except SandboxUnavailableError as error:
        pytest.skip(str(error))
    return box
