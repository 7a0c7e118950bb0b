"""Costs: a factor per recipe, for recipes that there are."""

from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.costs import COSTS, MEMORY


def test_costs_are_factors_of_recipes() -> None:
    assert set(COSTS) == set(MEMORY) == set(RECIPES) - {"sft"}
    assert all(cost > 0 for cost in (*COSTS.values(), *MEMORY.values()))
