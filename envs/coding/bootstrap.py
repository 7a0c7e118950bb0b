"""Starts a process of the sandbox on bare Python: without site-packages, numpy or gymnasium, in tens of milliseconds.

    python -I -S bootstrap.py worker|jail ...

The sandbox's modules import each other by their full names, whose packages would import gymnasium and numpy; so empty
packages with the same names and places stand in for them here.
"""

import importlib
import sys
import types
from pathlib import Path

CODING = Path(__file__).resolve().parent
PLACES = {"g2rpo_env": (), "g2rpo_env.envs": (CODING.parent,), "g2rpo_env.envs.coding": (CODING,)}


def main() -> None:
    """Import the module that the first argument names and call its ``main`` with the others."""
    for name, folders in PLACES.items():
        package = types.ModuleType(name)
        package.__path__ = [str(folder) for folder in folders]
        sys.modules[name] = package
    importlib.import_module(f"g2rpo_env.envs.coding.{sys.argv[1]}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
