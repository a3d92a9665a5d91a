"""How many processors this process may use: what it is bound to, and a container's quota."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_INFO = Path("/proc/cpuinfo")
_OWN_GROUP = Path("/proc/self/cgroup")


def cpu_count() -> int:
    """Return the processors that this process may use, at least 1.

    The smallest of: those it is bound to, the quota of its control group (of version 1 or 2,
    rounded up), and ``OMP_NUM_THREADS`` where that is set.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    counts = [bound or 1, *(math.ceil(quota) for quota in _quotas())]
    threads = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if threads.isdecimal() and int(threads) > 0:
        counts.append(int(threads))
    return max(min(counts), 1)


def has_byte_products() -> bool:
    """Return whether the processor sums products of bytes at once: VNNI, AMX or ARM's dot product.

    Where the system does not tell, it has not.
    """
    if platform.system() == "Darwin":
        return platform.machine() == "arm64"
    flags = {word for line in _lines("flags", "Features") for word in line.split()}
    return bool(flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})


def processor_name() -> str:
    """Return what the processor calls itself, or its kind."""
    return next(_lines("model name"), platform.processor() or platform.machine())


def _lines(*names: str) -> Iterator[str]:
    """Yield what /proc/cpuinfo says under one of several names."""
    for line in _read(_INFO).splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            yield value.strip()


def _quotas() -> Iterator[float]:
    """Yield every quota that binds, in processors; groups above bind as well."""
    for folder in _folders():
        limit = _read(folder / "cpu.max").split()
        if len(limit) == 2:
            yield from _ratio(*limit)
        period = _read(folder / "cpu.cfs_period_us")
        if period:
            yield from _ratio(_read(folder / "cpu.cfs_quota_us"), period)


def _folders() -> Iterator[Path]:
    """Yield the folders of this process's groups and of all above them."""
    for line in _read(_OWN_GROUP).splitlines() or ["0::/"]:
        controllers, _, group = line.partition(":")[2].partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        # a container may see its own group at the root while its name is the host's
        roots = [_GROUPS / name for name in (controllers, "cpu")] if controllers else [_GROUPS]
        parts = [part for part in group.split("/") if part]
        for root in roots:
            for depth in range(len(parts), -1, -1):
                yield root.joinpath(*parts[:depth])
    yield _GROUPS / "cpu"  # version 1 whose list of groups is hidden


def _ratio(quota: str, period: str) -> Iterator[float]:
    try:
        share = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no quota
        return
    if share > 0:  # -1: no quota
        yield share


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
