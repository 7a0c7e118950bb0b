"""The bundle of the viewer: what its sources may not say, and that it is what its sources make."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from g2rpo_env.report.page import VIEWER

HERE = Path(__file__).parent
SOURCES = sorted((VIEWER / "src").iterdir())

FORBIDDEN = (
    "innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "document.write", "DOMParser", "srcdoc",
    "createContextualFragment", "setHTML", "eval(", "new Function", "fetch(", "XMLHttpRequest", "WebSocket",
    "sendBeacon", "EventSource", "import(", "http:", "https:", "localStorage", "document.cookie",
)  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_sources_use_text_nodes_and_no_network(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [word for word in FORBIDDEN if word in text] == []


def test_the_lock_file_names_versions_and_no_registry() -> None:
    lock = json.loads((VIEWER / "package-lock.json").read_text())
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all("integrity" in entry and "resolved" not in entry for entry in packages.values())
    wanted = json.loads((VIEWER / "package.json").read_text())
    for name, version in {**wanted["dependencies"], **wanted["devDependencies"]}.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    assert (VIEWER / ".npmrc").read_text() == "omit-lockfile-registry-resolved=true\n"


def test_licences_of_all_packages_are_kept() -> None:
    text = (VIEWER / "dist" / "LICENSES.txt").read_text(encoding="utf-8")
    for name in ("@observablehq/plot", "@tanstack/virtual-core", "diff", "preact", "d3-scale"):
        assert re.search(rf"^{re.escape(name)} \d", text, re.MULTILINE), name
    assert "(no licence file)" not in text


def test_pure_functions_in_node() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    done = subprocess.run([node, "--test", str(HERE / "viewer")], capture_output=True, text=True)
    if "bad option" in done.stderr:
        pytest.skip("this node is older than its test runner")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


OFFLINE = re.compile("ENOTFOUND|ECONNREFUSED|EAI_AGAIN|ETIMEDOUT|ECONNRESET|ENETUNREACH|E40[13]")


@pytest.mark.long
def test_the_bundle_is_what_its_sources_make(tmp_path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    copy = tmp_path / "viewer"
    shutil.copytree(VIEWER, copy, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (copy / "dist").mkdir()
    done = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=copy, capture_output=True, text=True)
    if done.returncode and OFFLINE.search(done.stderr):
        pytest.skip("npm finds no registry")
    assert done.returncode == 0, done.stderr
    subprocess.run([npm, "run", "build"], cwd=copy, check=True, capture_output=True)
    for path in sorted((VIEWER / "dist").iterdir()):
        assert (copy / "dist" / path.name).read_bytes() == path.read_bytes(), f"{path.name}: npm ci && npm run build"
