"""docs/algorithms.md is what the docstrings of the recipes say."""

from __future__ import annotations

import write_algorithms

from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.describe import STAGED


def test_the_committed_page_is_what_the_script_writes() -> None:
    assert write_algorithms.PAGE.read_text(encoding="utf-8") == write_algorithms.write_page(), (
        "run python docs/write_algorithms.py"
    )


def test_every_recipe_has_a_row_and_a_section() -> None:
    page = write_algorithms.write_page()
    for name in [*RECIPES, *STAGED]:
        assert page.count(f"| [`{name}`]") == 1 and page.count(f"\n### {name}\n") == 1
