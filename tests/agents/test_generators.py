"""The generators under their short address are the parts of that name."""

from g2rpo_env.agents import generators
from g2rpo_env.agents.parts import strategies


def test_they_are_the_parts_themselves() -> None:
    assert [getattr(strategies, name) for name in generators.__all__] == [generators.HuggingFace, generators.VLLMServer]
