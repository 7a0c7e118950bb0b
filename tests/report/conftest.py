"""Pages and a browser for the tests of the viewer, made once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Reader, start_browser
from run_folders import make_run_of_sums, write_run

from g2rpo_env.report.page import make_page, write_page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Headless Chromium, for one module: while it is there, nothing else in the process may run an event loop."""
    with start_browser() as browser:
        yield browser


@pytest.fixture(scope="session")
def sums_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs, a and b, on the same problems."""
    folder = tmp_path_factory.mktemp("runs")
    for drift, label in enumerate("ab"):
        records, problems = make_run_of_sums(drift=drift)
        right = [1, 1, 1, 1, 1, 0] * 4 if drift else [1, 0, 0, 0, 0, 0] * 4
        write_run(folder / label, records, problems=problems, right=right, agent=("g2rpo-a", "grpo")[drift])
    return folder


@pytest.fixture(scope="session")
def sums_page(sums_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of both runs."""
    path = tmp_path_factory.mktemp("page") / "sums.html"
    write_page(make_page([sums_folder]).html, path)
    return path


@pytest.fixture
def read(chromium: Any) -> Iterator[Callable[..., Reader]]:
    """A function (page, scheme, width) -> reader; what the page must not do is asserted at the end."""
    readers: list[Reader] = []

    def make(path: Path, scheme: str = "light", width: int = 1280) -> Reader:
        readers.append(Reader(chromium, path, scheme, width))
        return readers[-1]

    yield make
    for reader in readers:
        reader.close()
