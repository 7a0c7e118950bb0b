from typing import Any

import gymnasium as gym
import pytest
from hostile import TEXTS
from rich.console import Console
from run_folders import SAMPLED, make_problem, make_record, make_sum

import g2rpo_env
from g2rpo_env.agents import CausalLMPolicy, recipes
from g2rpo_env.episode import Role
from g2rpo_env.errors import ConfigurationError
from g2rpo_env.render import make_visible
from g2rpo_env.report import TokenView, tokens
from g2rpo_env.report.reader import normalize_record
from g2rpo_env.report.token_view import CHANNELS, MOST_TOKENS, get_style


@pytest.fixture(scope="module")
def agent() -> Any:
    """An agent after one update on guided groups."""
    envs = gym.make_vec("g2rpo_env/Addition-v0", num_envs=8, group_size=4, digits=1)
    envs = g2rpo_env.VectorGuidanceWrapper(envs, ratio=0.5, length=4, unit="tokens")
    policy = CausalLMPolicy.tiny(envs, seed=0, hidden_size=16, layers=1)
    agent = recipes.make("g2rpo-a", policy, envs, seed=0)
    agent.update()
    return agent


def print_view(view: TokenView) -> str:
    """Return what a terminal shows."""
    console = Console(width=200, color_system="truecolor", force_terminal=True, highlight=False)
    with console.capture() as capture:
        console.print(view)
    return capture.get()


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_group_has_a_form_for_notebooks_and_one_for_terminals(agent: Any, channel: str) -> None:
    group = agent.last_update.groups[0]
    view = tokens(group, agent.policy.tokenizer, channel=channel, agent=agent)
    html = view._repr_html_()
    assert html.count("token 0, prompt") == 4 and "<script" not in html and channel in html
    assert "1+1" in html or "+" in html
    assert "member 3" in print_view(view)
    values = [view.values(record) for record in view.records]
    if channel in ("probability", "change", "entropy"):
        assert any(v is not None for row in values for v in row)
    if channel == "weight":
        assert view.find_largest() > 0


def test_channels_that_need_an_agent_say_so(agent: Any) -> None:
    group = agent.last_update.groups[0]
    for channel in ("credit", "weight", "entropy", "change"):
        with pytest.raises(ConfigurationError, match=f"channel='{channel}' needs agent"):
            tokens(group, agent.policy.tokenizer, channel=channel)
    with pytest.raises(ConfigurationError, match="channel='x' must be one of role"):
        tokens(group, agent.policy.tokenizer, channel="x")
    with pytest.raises(ConfigurationError, match="channel='x'"):
        TokenView((), "x")
    assert len(tokens(group.episodes[0], agent.policy.tokenizer, channel="role").records) == 1


def test_hostile_texts_are_escaped_in_both_forms() -> None:
    record = normalize_record("", make_record([(SAMPLED, TEXTS)], problem_id=TEXTS[0]), 1)
    record["verdict"]["answer"] = TEXTS[0]
    view = TokenView((record,), "credit", 1.0, title=TEXTS[0])
    html = view._repr_html_()
    assert "<script" not in html and "<img" not in html and "\x1b" not in html and "\u202e" not in html
    assert html.count("<span") == len(TEXTS) + len(Role)
    shown = view.__rich__().plain
    assert all(make_visible(text) in shown for text in TEXTS) and "[/bold]" in shown
    assert "\x1b" not in shown and "\u202e" not in shown


def test_values_have_colours_by_sign_and_roles_have_marks() -> None:
    record = normalize_record("", make_sum(make_problem(12, 34), "46", 9, advantage=-1.0), 1)
    html = TokenView((record,), "credit", 1.0)._repr_html_()
    assert "rgba(230,97,1,0.450)" in html and "dotted" in html
    assert "line-through" in TokenView((record,), "weight")._repr_html_()
    assert get_style(Role.REVEALED, "weight", 0.0, 1.0) == "green underline strike"
    assert get_style(Role.SAMPLED, "credit", -1.0, 1.0) == "black on #ee8a42"
    assert get_style(Role.SAMPLED, "credit", 0.0, 1.0) == "cyan"


def test_a_long_episode_is_cut() -> None:
    record = normalize_record("", make_record([(SAMPLED, "x" * (MOST_TOKENS + 5))]), 1)
    view = TokenView((record,), "role")
    assert "5 more tokens" in view._repr_html_() and "5 more tokens" in view.__rich__().plain
    assert "…" in TokenView((normalize_record("", make_record([(SAMPLED, ["x" * 999])]), 1),))._repr_html_()
