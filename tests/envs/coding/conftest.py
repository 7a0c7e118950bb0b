"""Sandboxes at each level that this machine has; tests skip with the reason where it has none."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from opening import opened

from g2rpo_env.envs.coding import Sandbox


@pytest.fixture(scope="session", params=[True, False], ids=["namespaces", "fallback"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox with one worker, with namespaces (if this machine has them) and without."""
    with opened(namespaces=request.param, timeout=3.0) as box:
        yield box


@pytest.fixture(scope="session")
def hostile() -> Path:
    """The folder of hostile programs: what G2RPO_HOSTILE names, or ``hostile`` beside the data."""
    data = os.environ.get("G2RPO_DATA")
    folder = os.environ.get("G2RPO_HOSTILE") or (Path(data).parent / "hostile/hostile" if data else None)
    if folder is None or not (Path(folder) / "index.json").is_file():
        pytest.skip("G2RPO_HOSTILE is not set: it names the folder with the hostile programs")
    return Path(folder)
