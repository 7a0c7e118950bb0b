"""docs/algorithms.md is what the docstrings of the recipes say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.describe import STAGED

SCRIPT = Path(__file__).parents[2] / "docs" / "write_algorithms.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_what_the_script_writes(script: ModuleType) -> None:
    assert script.PAGE.read_text(encoding="utf-8") == script.write_page(), "run python docs/write_algorithms.py"


def test_every_recipe_has_a_row_and_a_section(script: ModuleType) -> None:
    page = script.write_page()
    for name in [*RECIPES, *STAGED]:
        assert page.count(f"| [`{name}`]") == 1 and page.count(f"\n### {name}\n") == 1
