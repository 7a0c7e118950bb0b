"""Measure the budgets of the viewer: size, building, first view, an episode after a click, elements, requests.

python tests/report/measure_viewer.py [episodes]     prints a table; needs chromium, and an otherwise idle machine
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from browser import Reader, start_browser
from run_folders import make_many

FIRST_VIEW = """
new Promise((done) => {
  const look = () => document.documentElement.dataset.ready && document.querySelector('h1')
    ? requestAnimationFrame(() => done(performance.now())) : setTimeout(look, 2);
  look();
})
"""
OPEN = """
new Promise((done) => {
  const start = performance.now();
  location.hash = %r;
  const look = () => document.querySelector(%r)
    ? requestAnimationFrame(() => done(performance.now() - start)) : setTimeout(look, 1);
  look();
})
"""


def build(run: Path, out: Path) -> tuple[float, float]:
    """Build the page in a process of its own; return seconds and megabytes at the peak."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "g2rpo_env", "report", str(run), "--out", str(out)])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def main() -> None:
    """Make a run, build its page, open it, and print what that cost."""
    episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        for top in (False, True):
            run, out = Path(folder) / f"run-{top}", Path(folder) / f"{top}.html"
            # In a process of its own: a child's peak counts the memory of the process that it was forked from.
            subprocess.run([sys.executable, __file__, "make", str(run), str(episodes), str(int(top))], check=True)
            seconds, peak = build(run, out)
            print(f"{episodes:,} episodes of 67 tokens, alternatives: {top}")
            print(f"  page {out.stat().st_size / 1e6:.2f} MB, built in {seconds:.1f} s, peak {peak:.0f} MB")
            measure_page(out)


def measure_page(out: Path) -> None:
    """Print what it takes to open a page and its parts."""
    with start_browser() as browser:
        reader = Reader(browser, out)
        views = []
        for _ in range(3):
            reader.page.goto("about:blank")
            reader.page.goto(out.as_uri(), wait_until="commit")
            views.append(reader.look(FIRST_VIEW))
        print(f"  first view {', '.join(f'{view:.0f}' for view in views)} ms, {reader.count()} elements")
        shots = []
        for update in (1, 5, 9, 2):
            group = 32 * (update - 1) + 3
            fragment = f"#/run/0/update/{update}/group/{group}/member/1"
            shots.append(reader.look(OPEN % (fragment, f".strip .tok, [data-none='{update}']")))
            assert reader.look("location.hash") == fragment
            reader.go("#/run/0")
        print(f"  an episode {', '.join(f'{shot:.0f}' for shot in shots)} ms (chunk decoded, tokens shown)")
        for name in ("groups", "problems", "suspicions", "about"):
            reader.go(f"#/run/0/{name}")
            print(f"  {name}: {reader.count()} elements")
        heap = reader.look("performance.memory.usedJSHeapSize / 1e6")
        print(f"  heap {heap:.0f} MB; faults and requests: {reader.faults or 'none'}")
        reader.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["make"]:
        make_many(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1")
    else:
        main()
