"""Descriptions: every recipe has all sections, and parts are written as they would be typed."""

from __future__ import annotations

import pytest

from g2rpo_env.agents.parts import KLToStart, OfPositive, TokenMean
from g2rpo_env.agents.recipes import RECIPES
from g2rpo_env.agents.recipes.describe import CONFIDENCE, STAGED, describe, describe_all, list_options, write_part
from g2rpo_env.errors import ConfigurationError


@pytest.mark.parametrize("name", [*RECIPES, *STAGED])
def test_every_recipe_says_all_that_is_asked_of_it(name: str) -> None:
    one = describe(name)
    assert one.name == name and one.title and one.sentence
    assert one.formula and one.source and one.needs
    assert one.confidence.startswith(CONFIDENCE)
    assert not any(text.startswith(str(number)) for number, text in enumerate(one.deviations, 1))


def test_sections_are_read_from_the_docstring() -> None:
    one = describe("reinforce")
    assert one.title == "reinforce" and not one.sentence.endswith(".")
    assert one.parts == {"advantage": "GroupCentered()", "token_weight": "TokenMean()", "loss": "LogLikelihood()"}


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="recipe='zzz' must be one of"):
        describe("zzz")


def test_a_docstring_without_a_section_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def bare() -> None:
        """Bare: nothing more."""

    monkeypatch.setitem(RECIPES, "bare", bare)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="docstring of the recipe 'bare' must have the section Formula"):
        describe("bare")


def test_parts_are_written_with_what_differs_from_their_defaults() -> None:
    assert write_part(TokenMean(revealed=True, which=OfPositive())) == "TokenMean(revealed=True, which=OfPositive())"
    assert write_part(KLToStart()) == "KLToStart()"
    assert list_options(TokenMean())[:2] == [("sampled", "True"), ("revealed", "False")]


def test_all_are_described_in_their_order() -> None:
    assert [one.name for one in describe_all(["raft", "grpo"])] == ["raft", "grpo"]


def test_an_agent_of_stages_is_described_by_its_function_and_its_stages() -> None:
    one = describe("veripo")
    assert one.title == "VerIPO" and len(one.deviations) == 5 and one.deviations[-1].endswith("mean reward was 1.")
    assert [stage.updates for stage in one.stages] == [100, 20, 100, 20, 100]
    assert one.parts["loss"] == "Preference()" and one.parts["strategy"] == "Stored()"
    assert describe("grpo").stages == () and describe_all()[-1] == one
