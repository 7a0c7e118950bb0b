"""The command line, run in this process, on tiny settings."""

import pytest
import torch
from arguments import QUIET, TINY

from g2rpo_env.cli.app import main


@pytest.fixture(autouse=True)
def _own_cache_and_threads(tmp_path, monkeypatch):
    monkeypatch.setenv("G2RPO_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def command(capsys):
    """Run ``g2rpo-env ...``; return exit status, standard output and standard error."""

    def run(*argv: object) -> tuple[int, str, str]:
        status = main([str(arg) for arg in argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def trained(tmp_path, command):
    """A run folder of four updates."""
    folder = tmp_path / "trained"
    status, _, _ = command("train", *TINY, *QUIET, "--updates", 4, "--guidance.length", 4, "--out", folder)
    assert status == 0
    return folder
