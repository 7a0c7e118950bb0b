"""The machine: cores by affinity and by the quota of control groups, idle ones by the kernel's clock."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from g2rpo_env import machine
from g2rpo_env.machine import available_cores, count_idle, idle_cores, read_quota


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_quota_bounds_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_affinity", lambda: set(range(8)))
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)
    monkeypatch.setattr(machine, "read_quota", lambda *_: math.inf)
    assert available_cores() == 8
    for quota, cores in ((2.0, 2), (2.5, 3), (0.1, 1), (64.0, 8)):
        monkeypatch.setattr(machine, "read_quota", lambda *_, quota=quota: quota)
        assert available_cores() == cores


def test_the_least_quota_of_a_group_and_those_above_it_holds(tmp_path: Path) -> None:
    own = write(tmp_path / "own", "0::/pod/container\n")
    root = tmp_path / "root"
    assert read_quota(root, own) == math.inf and read_quota(root, tmp_path / "missing") == math.inf
    write(root / "pod/container/cpu.max", "max 100000\n")
    assert read_quota(root, own) == math.inf
    write(root / "pod/cpu.max", "350000 100000\n")
    assert read_quota(root, own) == 3.5
    write(root / "cpu.max", "150000 100000\n")  # as a container sees its own group, which is its root
    assert read_quota(root, own) == 1.5


def test_groups_of_version_1(tmp_path: Path) -> None:
    own = write(tmp_path / "own", "4:memory:/a\n3:cpu,cpuacct:/docker/x\n")
    root = tmp_path / "root"
    write(root / "cpu/cpu.cfs_quota_us", "-1\n")
    write(root / "cpu/cpu.cfs_period_us", "100000\n")
    assert read_quota(root, own) == math.inf
    write(root / "cpu,cpuacct/docker/x/cpu.cfs_quota_us", "200000\n")
    write(root / "cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n")
    assert read_quota(root, own) == 2.0


BEFORE = "cpu 0 0\ncpu0 100 0 0 100 0 0 0 0 50 0\ncpu1 100 0 0 100 0\ncpu2 0 0 0 0 0\nintr 5\n"


def test_idle_cores_of_those_this_process_may_use() -> None:
    # core 0: 15 of 20 ticks idle, 5 of them waiting for a disk; core 1: none of 10; core 2: no tick has passed
    after = "cpu0 105 0 0 110 5 0 0 0 60 0\ncpu1 110 0 0 100 0\ncpu2 0 0 0 0 0\n"
    assert count_idle(BEFORE, after, {0, 1, 2}) == 0.75
    assert count_idle(BEFORE, after, {1}) == 0.0
    assert count_idle(BEFORE, after, {2}) is None and count_idle("", "", {0}) is None


def test_without_the_kernels_clock_the_load_is_taken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "STAT", tmp_path / "missing")
    monkeypatch.setattr(machine, "available_cores", lambda: 4)
    for load, idle in ((0.0, 4.0), (2.5, 1.5), (9.0, 0.0)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert idle_cores() == idle


def test_this_machine_says_something_possible() -> None:
    assert 0 <= idle_cores(0.05) <= available_cores() and available_cores() >= 1
