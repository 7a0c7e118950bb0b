"""mypy on a copy laid out as installed: in the checkout it understands neither import hook nor mapping.

    python tests/check_types.py

``make lint`` and tests/test_packaging.py run it. mypy keeps what it learnt in .mypy_cache, so the next run is short.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Where the packages of an installation lie in the checkout: package_dir of setup.cfg.
FOLDERS = {"g2rpo_env": "g2rpo_env", "g2rpo_env/agents": "agents", "g2rpo_env/envs": "envs"}


def check_types() -> subprocess.CompletedProcess[str]:
    """Run mypy on a copy of the checkout; return how it ended and what it printed."""
    with tempfile.TemporaryDirectory() as copy:
        for there, here in FOLDERS.items():
            shutil.copytree(ROOT / here, Path(copy) / there, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "setup.cfg", copy)
        command = [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", "--cache-dir", str(ROOT / ".mypy_cache")]
        return subprocess.run([*command, "-p", "g2rpo_env"], cwd=copy, text=True, capture_output=True)


if __name__ == "__main__":
    done = check_types()
    print(done.stdout + done.stderr, end="")
    sys.exit(done.returncode)
