"""Numbers of system calls against the headers of this machine, where it has them."""

import re
from pathlib import Path

import pytest

from g2rpo_env.envs.coding.syscalls import DENIED, FILTERED, FIRST_UNKNOWN, USED, number

HEADERS = {
    "x86_64": [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm/unistd_64.h")],
    "aarch64": [Path("/usr/include/asm-generic/unistd.h")],
}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_headers(machine: str) -> None:
    header = next((path for path in HEADERS[machine] if path.is_file()), None)
    if header is None:
        pytest.skip(f"no kernel headers for {machine}")
    lines = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text())
    known = {name: int(value) for name, value in lines}
    for table in (DENIED, FILTERED, USED):
        for name in table:
            assert known.get(name, number(table, name, machine)) == number(table, name, machine), name


def test_tables_do_not_overlap_and_lie_below_the_bound() -> None:
    assert not set(DENIED) & set(FILTERED)
    for machine in HEADERS:
        calls = [number(table, name, machine) for table in (DENIED, FILTERED) for name in table]
        numbers = [call for call in calls if call is not None]
        assert len(numbers) == len(set(numbers)) and max(numbers) < FIRST_UNKNOWN


def test_another_machine_is_refused() -> None:
    with pytest.raises(OSError, match="machine='riscv64' must be one of"):
        number(DENIED, "ptrace", "riscv64")
