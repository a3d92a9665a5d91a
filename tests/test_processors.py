"""The processors counted are those that a container's quota leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crackseg import processors


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file tree in place of the control groups, on a machine of 16 processors."""
    monkeypatch.setattr(processors, "_GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(processors, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path


def write(group: Path, **files: str) -> None:
    for name, text in files.items():
        path = group / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


def test_without_groups_the_bound_processors_count(group: Path) -> None:
    assert processors.cpu_count() == 16


@pytest.mark.parametrize(
    ("limit", "count"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16),
     ("9900000 100000", 16), ("nonsense", 16), ("1 0", 16)],
)  # fmt: skip
def test_version_2(limit: str, count: int, group: Path) -> None:
    write(group, own="0::/", cgroup__cpu_dot_max=limit)
    assert processors.cpu_count() == count


def test_groups_above_bind_too(group: Path) -> None:
    write(group, own="0::/system.slice/work", cgroup__cpu_dot_max="max 100000")
    (group / "cgroup" / "system.slice" / "work").mkdir(parents=True)
    (group / "cgroup" / "system.slice" / "cpu.max").write_text("300000 100000\n")
    (group / "cgroup" / "system.slice" / "work" / "cpu.max").write_text("500000 100000\n")
    assert processors.cpu_count() == 3


@pytest.mark.parametrize("folder", ["cpu,cpuacct", "cpu", "cpu/docker/1f", "cpu,cpuacct/docker/1f"])
def test_version_1(folder: str, group: Path) -> None:
    (group / "own").write_text("5:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n")
    here = group / "cgroup" / folder
    here.mkdir(parents=True)
    (here / "cpu.cfs_quota_us").write_text("400000\n")
    (here / "cpu.cfs_period_us").write_text("100000\n")
    assert processors.cpu_count() == 4
    (here / "cpu.cfs_quota_us").write_text("-1\n")
    assert processors.cpu_count() == 16


@pytest.mark.parametrize(
    ("value", "count"), [("3", 3), ("3,2", 3), ("64", 16), ("0", 16), ("x", 16)]
)
def test_threads_of_the_environment(
    value: str, count: int, group: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert processors.cpu_count() == count
