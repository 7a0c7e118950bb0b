"""Packages built from the checkout hold everything, work without it, and have right types."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from check_types import FOLDERS, check_types

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")

TEXTS = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md")
BESIDE = (*TEXTS, ".pre-commit-config.yaml", "Makefile", "constraints.txt", "pyproject.toml", "setup.cfg")
GRAFTED = (".github", "docs", "examples", "tests")


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Run a command outside this process and return what it prints; fail with its errors."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**clean, "OMP_NUM_THREADS": "1", **env},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_under(folder: Path) -> set[str]:
    """Return the files of a folder of the checkout, relative to it, without what Python and npm leave behind."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    made = {"__pycache__", "node_modules"}
    return {path.as_posix() for path in found if not made & set(path.parts) and path.suffix != ".pyc"}


def installed_files() -> set[str]:
    """Return the files that an installation must hold, as the checkout has them."""
    return {f"{there}/{name}" for there, here in FOLDERS.items() for name in files_under(ROOT / here)}


@pytest.fixture(scope="session")
def checkout_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing behind in it."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*BESIDE, "MANIFEST.in"):
        shutil.copy(ROOT / name, copy)
    for name in {*FOLDERS.values(), *GRAFTED}:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    return copy


def build(source: Path, kind: str, out: Path) -> Path:
    """Build one distribution offline, with the setuptools that is installed, and return its file."""
    call = f"import setuptools.build_meta as b; print(b.build_{kind}({str(out)!r}))"
    return out / run(sys.executable, "-c", call, cwd=source).splitlines()[-1]


@pytest.fixture(scope="session")
def wheel(checkout_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout."""
    return build(checkout_copy, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def sdist(checkout_copy: Path, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution of the checkout; after the wheel, because both write into the copy."""
    return build(checkout_copy, "sdist", tmp_path_factory.mktemp("sdist"))


def wheel_contents(path: Path) -> dict[str, bytes]:
    """Return the files of a wheel, without those that describe it."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def test_every_package_folder_is_listed() -> None:
    listed = SETUP["options"]["packages"].split()
    folders = {
        Path(there, *Path(name).parent.parts).as_posix().replace("/", ".")
        for there, here in FOLDERS.items()
        for name in files_under(ROOT / here)
        if name.endswith(".py")
    }
    assert sorted(listed) == sorted(folders)
    for package in folders:
        parts = package.split(".")
        there = next(t for t in sorted(FOLDERS, key=len, reverse=True) if "/".join(parts).startswith(t))
        folder = ROOT / FOLDERS[there] / "/".join(parts)[len(there) :].lstrip("/")
        assert (folder / "__init__.py").is_file(), f"{folder} has modules but no __init__.py"


def test_version_has_one_source() -> None:
    text = (ROOT / "g2rpo_env/_version.py").read_text()
    version = re.fullmatch(r'__version__ = "(\d+\.\d+\.\d+\S*)"\n', text)
    assert version, text
    assert SETUP["metadata"]["version"] == "attr: g2rpo_env._version.__version__"
    assert "version" not in (ROOT / "pyproject.toml").read_text().replace("target-version", "")
    assert f"## {version[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_name_every_requirement() -> None:
    extras = SETUP["options.extras_require"]
    lines = [SETUP["options"]["install_requires"], extras["dev"], extras["benchmark"]]  # what the Makefile installs
    names = {re.split(r"[>=<]", line)[0] for text in lines for line in text.strip().splitlines()}
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#")
    assert names <= set(pinned)


def test_every_imported_package_is_a_requirement() -> None:
    extras = SETUP["options.extras_require"]
    lines = [*SETUP["options"]["install_requires"].split()]
    lines += [line for extra in ("dev", "video", "benchmark", "track") for line in extras[extra].split()]
    declared = {re.split(r"[>=<]", line)[0] for line in lines}
    imported = set()
    for folder in ("g2rpo_env", "agents", "envs", "docs", "examples", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name.split(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    imported.add(str(node.module).split(".")[0])
    ours = {"g2rpo_env", "envs", "agents"}
    ours |= {path.stem for folder in ("docs", "tests") for path in (ROOT / folder).rglob("*.py")}
    renamed = {"PIL": "pillow", "markdown_it": "markdown-it-py"}
    names = {renamed.get(name, name.replace("_", "-")) for name in imported - sys.stdlib_module_names - ours}
    assert sorted(names - declared) == ["ray"]  # it demands an older Gymnasium: docs/interop.md


def test_wheel_holds_everything(wheel: Path) -> None:
    contents = wheel_contents(wheel)
    assert set(contents) == installed_files()
    assert "g2rpo_env/py.typed" in contents
    with zipfile.ZipFile(wheel) as archive:
        top = next(name for name in archive.namelist() if name.endswith("top_level.txt"))
        assert archive.read(top).split() == [b"g2rpo_env"]


def test_sdist_holds_everything(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for folder in (*FOLDERS.values(), *GRAFTED):
        assert {f"{folder}/{name}" for name in files_under(ROOT / folder)} <= names
    assert set(BESIDE) <= names
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    out = tmp_path / "wheel"
    out.mkdir()
    assert wheel_contents(build(source, "wheel", out)) == wheel_contents(wheel)


@pytest.fixture(scope="session")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the wheel is installed into, without what it depends on."""
    target = tmp_path_factory.mktemp("installation")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    run(*pip, "--target", target, wheel, cwd=target)
    return target


OUTSIDE = """
import importlib.util, pathlib, sys
import gymnasium as gym
import g2rpo_env
where = pathlib.Path(g2rpo_env.__file__).resolve().parent
assert where == pathlib.Path(sys.argv[1]).resolve() / "g2rpo_env", where
assert len(g2rpo_env.__path__) == 1, list(g2rpo_env.__path__)
env = gym.make("g2rpo_env/Addition-v0", digits=2)
observation, info = env.reset(seed=0)
observation, reward, terminated, truncated, info = env.step(5)
assert observation["length"][0] == 7 and not terminated and not truncated, observation
assert "torch" not in sys.modules
for name in ("agents", "envs", "tests", "examples"):
    assert importlib.util.find_spec(name) is None, name
    assert importlib.util.find_spec(f"g2rpo_env.{name}") is None or name in ("agents", "envs"), name
"""


def test_installed_wheel_works_outside_the_checkout(installation: Path, tmp_path: Path) -> None:
    run(sys.executable, "-P", "-c", OUTSIDE, installation, cwd=tmp_path, PYTHONPATH=str(installation))


def test_installed_agents_work_outside_the_checkout(installation: Path, tmp_path: Path) -> None:
    call = (
        "import gymnasium as gym, g2rpo_env\n"
        "from g2rpo_env.agents import CausalLMPolicy, collect\n"
        "envs = gym.make_vec('g2rpo_env/Addition-v0', num_envs=2, group_size=2, digits=1)\n"
        "print(len(collect(CausalLMPolicy.tiny(envs, layers=1, hidden_size=16), envs, seed=0).episodes))\n"
    )
    assert run(sys.executable, "-P", "-c", call, cwd=tmp_path, PYTHONPATH=str(installation)).split() == ["2"]


def test_checkout_has_the_same_import_names(tmp_path: Path) -> None:
    call = "import g2rpo_env.envs.arithmetic as a; print(a.__name__); import envs"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    assert done.stdout.split() == ["g2rpo_env.envs.arithmetic"]
    assert "ImportError: import g2rpo_env.envs, not envs" in done.stderr


def test_console_script_starts(installation: Path, tmp_path: Path) -> None:
    (entry,) = SETUP["options.entry_points"]["console_scripts"].split("\n")[1:]
    name, _, target = (part.strip() for part in entry.partition("="))
    assert name == "g2rpo-env" and target == "g2rpo_env.__main__:main"
    out = run(sys.executable, "-P", "-m", "g2rpo_env", "list", cwd=tmp_path, PYTHONPATH=str(installation))
    assert "g2rpo_env/Addition-v0" in out


@pytest.mark.long
def test_types_are_right() -> None:
    done = check_types()
    assert done.returncode == 0 and "Success" in done.stdout, done.stdout + done.stderr


def test_lint_checks_rules_format_and_types() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    commands = ["ruff check .", "ruff format --check .", "python tests/check_types.py"]
    lines = [line.strip().removeprefix("$(PY) ").removeprefix("-m ") for line in recipe.splitlines()[1:]]
    assert [f"python {line}" if line.startswith("tests/") else line for line in lines] == commands


def test_hooks_and_workflow_run_what_lint_and_test_run() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"entry: (.*)", hooks) == [".venv/bin/ruff check --fix", ".venv/bin/ruff format"]
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    assert re.findall(r"run: (make .*)", workflow) == ["make lint", "make test"]
    assert SETUP["options"]["python_requires"].removeprefix(">=") in workflow
