"""The documentation shows the truth: docstrings, docs/*.md and README.md run as written."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

import g2rpo_env  # noqa: F401  registers its ids before any page does
from g2rpo_env.agents import parts, recipes

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def modules() -> list[str]:
    """Return the names of all modules, found as files: in a checkout pkgutil would walk into g2rpo_env.g2rpo_env."""
    names = []
    for folder in ("g2rpo_env", "agents", "envs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if folder == "g2rpo_env" else ("g2rpo_env", *parts))
            names.append(name.removesuffix(".__init__"))
    return [name for name in names if not name.endswith("__main__")]


def test_all_modules_are_found() -> None:
    assert {"g2rpo_env.core", "g2rpo_env.agents.grpo", "g2rpo_env.envs.mathematics.numeric"} <= set(modules())


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def blocks(page: Path) -> list[tuple[int, str]]:
    """Return the python blocks of a page, each with the line it starts after."""
    text = page.read_text(encoding="utf-8")
    return [(text[: match.start(1)].count("\n"), match[1]) for match in BLOCK.finditer(text)]


@pytest.fixture
def registry_restored() -> Iterator[None]:
    """Pages register tasks of their own; other tests must not see them."""
    known = set(gym.registry)
    yield
    for env_id in set(gym.registry) - known:
        del gym.registry[env_id]


@pytest.mark.usefixtures("registry_restored")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks with prompts share one namespace, from the top of the page to its end."""
    monkeypatch.chdir(tmp_path)
    runner, names = doctest.DocTestRunner(), {"__name__": "__main__"}
    parser = doctest.DocTestParser()
    for line, block in blocks(page):
        if ">>>" in block:
            test = parser.get_doctest(block, names, page.name, str(page), line)
            runner.run(test, clear_globs=False)
            names = test.globs
    assert runner.summarize(verbose=False).failed == 0


def test_every_page_of_the_docs_has_examples() -> None:
    for page in PAGES[:-1]:
        assert any(">>>" in block for _, block in blocks(page)), page.name


def test_every_part_and_every_recipe_stands_in_the_page_of_agents() -> None:
    text = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
    assert [
        name for name in (*parts.__all__, *recipes.RECIPES) if not re.search(rf"`{re.escape(name)}[`(]", text)
    ] == []
    assert f"There are {len(recipes.RECIPES)} of them" in text
    assert f"{len(recipes.RECIPES)} algorithms are recipes" in PAGES[-1].read_text(encoding="utf-8")


SCRIPTS = [(page, line, block) for page in PAGES for line, block in blocks(page) if ">>>" not in block]


@pytest.mark.parametrize(("page", "line", "block"), SCRIPTS, ids=[f"{p.name}-{line}" for p, line, _ in SCRIPTS])
def test_scripts_of_a_page(page: Path, line: int, block: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if "SandboxUnavailableError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, f"{page.name}, line {line}:\n{done.stderr}"


def name_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub names them: the second of one name ends in ``-1``."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.M), re.M)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return {name if n == 0 else f"{name}-{n}" for i, name in enumerate(names) for n in [names[:i].count(name)]}


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]:
        for target, _, anchor in re.findall(r"\]\(([^)#]*)(#?)([^)]*)\)", page.read_text(encoding="utf-8")):
            if "://" in target:
                continue
            path = page.parent / target if target else page
            assert path.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in name_anchors(path), f"{page.name} links to {target}#{anchor}"
