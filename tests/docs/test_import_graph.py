"""The import graph: what counts as an import, circles of files, imports upwards, and the real tree."""

import subprocess
import sys
from pathlib import Path

import import_graph
import pytest
from import_graph import build_graph, find_circles, find_upward, get_module, get_room, read_sources

ROOT = Path(__file__).parent.parent.parent


def test_a_name_inside_a_module_and_a_module_inside_a_package_are_told_apart() -> None:
    sources = {
        "g2rpo_env.a": "from g2rpo_env.b import c, Name\nimport g2rpo_env.b.d as d",
        "g2rpo_env.b": "",
        "g2rpo_env.b.c": "import numpy",
        "g2rpo_env.b.d": "import g2rpo_env.b.c.inner",
    }
    assert build_graph(sources) == {
        "g2rpo_env.a": {"g2rpo_env.b", "g2rpo_env.b.c", "g2rpo_env.b.d"},
        "g2rpo_env.b": set(),
        "g2rpo_env.b.c": set(),
        "g2rpo_env.b.d": {"g2rpo_env.b.c"},
    }


@pytest.mark.parametrize(
    "back",
    [
        "from g2rpo_env import core",
        "import g2rpo_env.core",
        "from g2rpo_env.core import TokenEnv",
        "def f():\n    from g2rpo_env.core import TokenEnv",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from g2rpo_env.core import TokenEnv",
    ],
)
def test_a_circle_is_found_however_it_is_closed(back: str) -> None:
    sources = {
        "g2rpo_env.core": "from g2rpo_env import task\nfrom g2rpo_env import errors",
        "g2rpo_env.task": "import g2rpo_env.vector",
        "g2rpo_env.vector": back,
        "g2rpo_env.errors": "",
    }
    assert find_circles(build_graph(sources)) == [["g2rpo_env.core", "g2rpo_env.task", "g2rpo_env.vector"]]


def test_two_circles_are_two_and_a_module_that_imports_itself_is_one() -> None:
    graph = {"a": {"b"}, "b": {"a", "c"}, "c": {"d"}, "d": {"c"}, "e": {"e", "a"}, "f": {"a"}}
    assert find_circles(graph) == [["a", "b"], ["c", "d"], ["e"]]


def test_relative_imports_are_refused() -> None:
    with pytest.raises(ValueError, match="line 2: from . import core: imports are absolute"):
        build_graph({"g2rpo_env.task": "\nfrom . import core"})


@pytest.mark.parametrize(
    ("module", "room"),
    [
        ("g2rpo_env", "public names"),
        ("g2rpo_env.errors", "ground"),
        ("g2rpo_env.core", "environments"),
        ("g2rpo_env.a_file_that_no_room_names", "environments"),
        ("g2rpo_env.reveal", "reveal"),
        ("g2rpo_env.reveal.plan", "reveal"),
        ("g2rpo_env.agents", "public names of agents"),
        ("g2rpo_env.agents.rollout", "rollouts"),
        ("g2rpo_env.agents.grpo", "training"),
        ("g2rpo_env.agents.parts.losses.surrogate", "parts"),
        ("g2rpo_env.envs.coding.sandbox", "tasks"),
        ("g2rpo_env.__main__", "cli"),
    ],
)
def test_a_module_is_in_the_nearest_room_that_names_it(module: str, room: str) -> None:
    assert get_room(module).name == room


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("g2rpo_env.core", "g2rpo_env.envs.arithmetic"),
        ("g2rpo_env.core", "g2rpo_env.agents.grpo"),
        ("g2rpo_env.core", "g2rpo_env"),
        ("g2rpo_env.reveal.placement", "g2rpo_env.task"),
        ("g2rpo_env.controllers.base", "g2rpo_env.guidance"),
        ("g2rpo_env.vector", "g2rpo_env.checks.lanes"),
        ("g2rpo_env.envs.arithmetic", "g2rpo_env.agents.grpo"),
        ("g2rpo_env.agents.grpo", "g2rpo_env.envs.arithmetic"),
        ("g2rpo_env.agents.policy.causal_lm", "g2rpo_env.agents.parts.losses.surrogate"),
        ("g2rpo_env.agents.parts.losses.surrogate", "g2rpo_env.agents.grpo"),
        ("g2rpo_env.agents.grpo", "g2rpo_env.agents.recipes"),
        ("g2rpo_env.agents.recipes.plain", "g2rpo_env.agents.trl"),
        ("g2rpo_env.agents.grpo", "g2rpo_env.report.run_folder"),
        ("g2rpo_env.report.plots", "g2rpo_env.experiments.arms"),
        ("g2rpo_env.experiments.arms", "g2rpo_env.bench.rollout"),
        ("g2rpo_env.bench.rollout", "g2rpo_env.study.runs"),
        ("g2rpo_env.study.runs", "g2rpo_env.cli.train"),
    ],
)
def test_an_import_upwards_is_found_and_its_reverse_is_none(source: str, target: str) -> None:
    assert len(find_upward({source: {target}, target: set()})) == 1
    side_by_side = {get_room(source).group, get_room(target).group} == {"agents", "envs"}
    assert len(find_upward({source: set(), target: {source}})) == side_by_side


def test_the_command_lists_what_breaks_the_rules(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    broken = {
        "g2rpo_env.core": "import g2rpo_env.vector",
        "g2rpo_env.vector": "import g2rpo_env.core\nimport g2rpo_env.cli.app",
        "g2rpo_env.cli.app": "",
    }
    monkeypatch.setattr(import_graph, "read_sources", lambda: broken)
    assert import_graph.main() == 1
    assert capsys.readouterr().out.splitlines() == [
        "modules: 3, imports among them: 3",
        "circles of files: 1",
        "  g2rpo_env.core, g2rpo_env.vector",
        "    g2rpo_env.core -> g2rpo_env.vector",
        "    g2rpo_env.vector -> g2rpo_env.core",
        "upward imports between rooms: 1",
        "  g2rpo_env.vector (environments) imports g2rpo_env.cli.app (cli)",
    ]


def test_every_file_is_a_module_of_the_graph() -> None:
    assert get_module(ROOT / "agents" / "parts" / "__init__.py") == "g2rpo_env.agents.parts"
    folders = ("g2rpo_env", "agents", "envs")
    assert len(read_sources()) == sum(1 for folder in folders for _ in (ROOT / folder).rglob("*.py"))


def test_the_library_has_no_circles_and_imports_nothing_upwards() -> None:
    done = subprocess.run([sys.executable, "docs/import_graph.py"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1:] == ["circles of files: 0", "upward imports between rooms: 0"]
