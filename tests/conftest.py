"""Shared fixtures: torch on one thread, real data when there is some, long tests only when CI is set."""

import os
from pathlib import Path

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip tests marked long unless CI is set."""
    if os.environ.get("CI"):
        return
    skip = pytest.mark.skip(reason="long: runs when CI=1")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets that G2RPO_DATA names."""
    folder = os.environ.get("G2RPO_DATA")
    if not folder:
        pytest.skip("G2RPO_DATA is not set: it names the folder with the real data sets")
    return Path(folder)
