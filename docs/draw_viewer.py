"""The pictures of the viewer in docs/images/viewer/: every page, light and dark, in headless Chromium.

    python docs/draw_viewer.py RUN [RUN2]     needs chromium, playwright and Pillow

The pictures of the page are of two runs of the demo, with 120 updates each:

    g2rpo-env demo --updates 120 --out runs/demo
    python docs/draw_viewer.py runs/demo/g2rpo-a runs/demo/grpo
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from g2rpo_env.report.index import IndexBuilder
from g2rpo_env.report.page import make_page, write_page
from g2rpo_env.report.reader import RunFiles, read_runs

IMAGES = Path(__file__).parent / "images" / "viewer"
SIZE = {"width": 1200, "height": 860}


def choose_group(run: RunFiles) -> tuple[int, int, int]:
    """Return (update, group, member) of a recorded group that has guided members and rewards that differ.

    The member is the first guided one that is right; the latest such group is taken, else the first that is recorded.
    """
    found = None
    for update, path in reversed(run.rollouts):
        groups: dict[int, list[Mapping[str, Any]]] = {}
        for record in run.read(update, path):
            groups.setdefault(record["group"], []).append(record)
        for group, records in groups.items():
            found = found or (records[0]["update"], group, 0)
            rewards = {record["reward"] for record in records}
            right = [m for m, record in enumerate(records) if record["reveal"] and record["reward"] == max(rewards)]
            if len(rewards) > 1 and right:
                return records[0]["update"], group, right[0]
    assert found is not None, "the run must hold recorded tokens"
    return found


def list_views(runs: Sequence[RunFiles]) -> dict[str, str]:
    """Return name of a picture -> fragment of the address."""
    update, group, member = choose_group(runs[0])
    builder = IndexBuilder(runs[0])
    rows = {(g["update"], g["group"]): builder.number_of(g["problem_id"]) for g in runs[0].groups}
    here = f"#/run/0/update/{update}/group/{group}"
    views = {
        "overview": "#/run/0?smooth=5",
        "groups": "#/run/0/groups",
        "group": here,
        "tokens": f"{here}/member/{member}",
        "credit": f"{here}/member/{member}?channel=credit",
        "change": f"{here}/member/{member}?channel=change",
        "problems": "#/run/0/problems?sort=drawn",
        "suspicions": "#/run/0/suspicions",
        "about": "#/run/0/about",
    }
    if len(runs) > 1:
        problem = rows.get((update, group), 0)
        views |= {"compare": "#/compare/0/1", "compare-group": f"#/compare/0/1/update/{update}/problem/{problem}"}
    return views


def shrink(png: bytes) -> bytes:
    """Return a picture as WebP without loss, a third of its size."""
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, "WEBP", lossless=True, quality=100, method=6)
    return out.getvalue()


def draw(paths: Sequence[Path], out: Path = IMAGES) -> list[Path]:
    """Draw every page of the viewer in both colour schemes, and return the files.

    Args:
        paths: One run folder or two.
        out: Folder of the pictures.
    """
    from playwright.sync_api import sync_playwright

    runs = [run for path in paths for run in read_runs(path)]
    out.mkdir(parents=True, exist_ok=True)
    files = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder) / "page.html"
        write_page(make_page(paths).html, file)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport=SIZE, color_scheme=scheme)
            for name, fragment in list_views(runs).items():
                page.goto("about:blank")
                page.goto(file.as_uri() + fragment)
                page.wait_for_selector("html[data-ready]", state="attached")
                page.wait_for_timeout(300)
                files.append(out / f"{name}-{scheme}.webp")
                files[-1].write_bytes(shrink(page.screenshot()))
            page.close()
        browser.close()
    return files


if __name__ == "__main__":
    for drawn in draw([Path(argument) for argument in sys.argv[1:]]):
        print(drawn)
