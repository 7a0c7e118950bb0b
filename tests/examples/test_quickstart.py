"""The quickstart runs and shows what its lines promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_quickstart_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "reward 0.0" in lines[0] and "\\n" in lines[0]  # nine revealed characters are one column and its line break
    assert lines[1].startswith("accuracy 0.") and lines[1].endswith("after 2 updates")
    assert lines[2].startswith("group 0, problem ") and lines[7].startswith("group 1, problem ")
    members = [line.split(maxsplit=2) for line in lines if line.startswith("    member")]
    # Prompts of one-digit sums have four characters; half of each group of four is guided with four, in brackets.
    revealed = [re.match(r"'\d\+\d=(\[\d\+\d\+\])?", text)[1] is not None for _, _, text in members]
    assert revealed == [True, True, False, False] * 2
    assert lines[-1].endswith("16 revealed")
