"""Who imports whom: no file circles, no import of a room above one's own.

    python docs/import_graph.py     prints modules, circles and upward imports; exit status 1 if there are any

Every import counts: those inside functions and those for type checkers too. What is imported by its name as text (entry
points of environment ids, subcommands, saved parts) is not seen here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("g2rpo_env", "agents", "envs")


@dataclass(frozen=True)
class Room:
    """Modules that belong together.

    Attributes:
        name: What the picture calls it.
        group: ``core``, ``envs``, ``agents`` or ``tools``.
        modules: Names without ``g2rpo_env.``; ``folder.*`` is a folder with everything in it that no other room names.
    """

    name: str
    group: str
    modules: tuple[str, ...]


GROUND = (
    "errors",
    "streams",
    "naming",
    "problem",
    "verdict",
    "chat",
    "tokenizer",
    "encoding",
    "episode",
    "estimators",
    "machine",
    "render",
)
ROOMS = (
    Room("ground", "core", (*GROUND, "_version")),
    Room("reveal", "core", ("reveal.*",)),
    Room("controllers", "core", ("controllers.*",)),
    Room("sources", "core", ("curriculum", "hints", "traces", "grading")),
    Room("environments", "core", ("*",)),
    Room("checks", "core", ("checks.*",)),
    Room("public names", "core", ("g2rpo_env",)),
    Room("tasks", "envs", ("envs.*",)),
    Room("policy", "agents", ("agents.policy.*",)),
    Room("rollouts", "agents", ("agents.rollout", "agents.batch", "agents.update")),
    Room("parts", "agents", ("agents.parts.*",)),
    Room("training", "agents", ("agents.*",)),
    Room("recipes", "agents", ("agents.recipes.*",)),
    Room("adapters", "agents", ("agents.sb3", "agents.trl")),
    Room("public names of agents", "agents", ("agents",)),
    Room("report", "tools", ("report.*",)),
    Room("experiments", "tools", ("experiments.*",)),
    Room("bench", "tools", ("bench.*",)),
    Room("study", "tools", ("study.*",)),
    Room("cli", "tools", ("cli.*", "__main__")),
)
"""From the ground up: a module may import its own room and those before it, within :data:`MAY_IMPORT`."""

MAY_IMPORT = {
    "core": {"core"},
    "envs": {"core", "envs"},
    "agents": {"core", "agents"},
    "tools": {"core", "envs", "agents", "tools"},
}
"""The groups that a module of a group may import."""


# -- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported module; ``when`` is ``at_once``, ``lazily`` (inside a function) or ``for_types``."""

    module: str
    names: tuple[str, ...]
    when: str


def read_imports(node: ast.AST, when: str = "at_once") -> Iterator[Import]:
    """Yield the imports below a node of a syntax tree.

    Raises:
        ValueError: an import is relative.
    """
    for child in ast.iter_child_nodes(node):
        inner = when
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                raise ValueError(f"line {child.lineno}: {ast.unparse(child)}: imports are absolute")
            yield Import(str(child.module), tuple(alias.name for alias in child.names), when)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = "lazily"
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            inner = "for_types"
        yield from read_imports(child, inner)


def get_module(path: Path) -> str:
    """Return the import name of a source file: agents/ and envs/ lie inside g2rpo_env once they are installed."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "g2rpo_env" else ("g2rpo_env", *parts)
    return ".".join(parts).removesuffix(".__init__")


def read_sources() -> dict[str, str]:
    """Return the text of every source file by the name of its module."""
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {get_module(path): path.read_text(encoding="utf-8") for path in paths}


def find_targets(text: str, modules: Mapping[str, object]) -> set[str]:
    """Return which of the modules a source text imports.

    ``from a import b`` imports the module ``a.b`` where there is one, and ``a`` where ``b`` is a name inside it.
    """
    targets = set()
    for found in read_imports(ast.parse(text)):
        names = [f"{found.module}.{name}" for name in found.names] or [found.module]
        for name in names:
            while name and name not in modules:
                name = name.rpartition(".")[0]
            targets.add(name)
    return targets - {""}


def build_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the modules that each module imports, from their texts."""
    return {module: find_targets(text, sources) for module, text in sources.items()}


# -- judging ----------------------------------------------------------------------------------------------------------


def find_reachable(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return for each node all nodes that arrows lead to from it, itself only through a circle."""
    reachable = {}
    for start in graph:
        seen: set[str] = set()
        ahead = list(graph[start])
        while ahead:
            node = ahead.pop()
            if node not in seen:
                seen.add(node)
                ahead += graph[node]
        reachable[start] = seen
    return reachable


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the circles: each a sorted list of modules that all lead to each other."""
    reachable = find_reachable(graph)
    circles = {
        tuple(sorted(other for other in reachable[node] if node in reachable[other]))
        for node in graph
        if node in reachable[node]
    }
    return sorted(list(circle) for circle in circles)


def get_room(module: str) -> Room:
    """Return the room of a module: the one that names it, else the one that names the nearest folder around it."""
    name = module.removeprefix("g2rpo_env.")
    matches = [
        (name == pattern, len(pattern), room)
        for room in ROOMS
        for pattern in room.modules
        if name == pattern or fnmatchcase(f"{name}.", pattern)
    ]
    return max(matches, key=lambda match: match[:2])[2]


def is_upward(source: str, target: str) -> bool:
    """Return whether an import of ``target`` by ``source`` leads to a room above, or to a group it must not know."""
    here, there = get_room(source), get_room(target)
    return ROOMS.index(there) > ROOMS.index(here) or there.group not in MAY_IMPORT[here.group]


def find_upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Return a line for each import that leads upwards."""
    return [
        f"{source} ({get_room(source).name}) imports {target} ({get_room(target).name})"
        for source, targets in sorted(graph.items())
        for target in sorted(targets)
        if is_upward(source, target)
    ]


def main() -> int:
    """Print what the code's own imports look like; return 1 if a rule is broken."""
    graph = build_graph(read_sources())
    circles, upward = find_circles(graph), find_upward(graph)
    print(f"modules: {len(graph)}, imports among them: {sum(map(len, graph.values()))}")
    print(f"circles of files: {len(circles)}")
    for circle in circles:
        print("  " + ", ".join(circle))
        for module in circle:
            print(f"    {module} -> {', '.join(sorted(graph[module] & set(circle)))}")
    print(f"upward imports between rooms: {len(upward)}")
    print("".join(f"  {line}\n" for line in upward), end="")
    return int(bool(circles or upward))


if __name__ == "__main__":
    sys.exit(main())
