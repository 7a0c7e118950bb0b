"""Processes of the sandbox start on bare Python and import neither numpy nor gymnasium."""

import subprocess
import sys
from pathlib import Path

from g2rpo_env.envs.coding import bootstrap


def test_the_workers_modules_import_the_standard_library_alone() -> None:
    script = Path(bootstrap.__file__).read_text().replace("__file__", repr(bootstrap.__file__)).replace(
        ".main(sys.argv[2:])", ""
    )  # fmt: skip
    call = script + "\nprint(sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))\n"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", call, "worker"], capture_output=True, text=True)
    assert done.stdout == "['__main__', 'g2rpo_env']\n", done.stderr
