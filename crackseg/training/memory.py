"""How much memory there is for a training, and how much a step of it needs.

A crop keeps the values between the layers until its gradient is known: they are what fills a
memory. They are counted by following one crop through the network, so that a batch that cannot fit
is refused before any picture is read.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch

from crackseg.errors import ConfigError
from crackseg.training.options import TrainOptions
from crackseg.training.sharing import processes

_GROUP = Path("/sys/fs/cgroup")
_INFO = Path("/proc/meminfo")
_COPIES = 5  # of the weights: themselves, gradient, two moments of Adam, running mean


def total_bytes(device: Any = None) -> int | None:
    """Return the memory that a process may have; None where the system does not tell.

    Args:
        device: a torch device of a GPU; None: the machine, or what its container may have.
    """
    if device is not None:
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [size for size in (_of_group("memory.max"), _of_system("MemTotal")) if size]
    return min(limits, default=_pages())


def free_bytes() -> int | None:
    """Return the memory that is free for a process of this machine; None where nobody tells."""
    free = [_of_system("MemAvailable")]
    limit, used = _of_group("memory.max"), _of_group("memory.current")
    if limit and used is not None:
        free.append(limit - used)
    return min((size for size in free if size is not None), default=None)


def gpu_of(options: TrainOptions) -> Any:
    """Return the first GPU where a run would use one, else None."""
    on_gpu = options.accelerator in ("auto", "gpu", "cuda")
    return torch.device("cuda", 0) if on_gpu and torch.cuda.is_available() else None


def require_room(network: Any, options: TrainOptions, device: Any = None) -> None:
    """Refuse a batch that cannot fit, and say when it will be close.

    Args:
        network: of the run.
        options: of the run.
        device: a torch device of a GPU; None: the CPU.

    Raises:
        ConfigError: names what is needed, what there is, and what would fit.
    """
    total = total_bytes(device)
    if total is None:
        return
    per_crop = bytes_per_crop(network, options.data.crop_px)
    if options.precision != "32-true":
        per_crop = per_crop * 2 // 3  # about half of the layers keep half of the bytes
    weights = _COPIES * sum(p.numel() * p.element_size() for p in network.parameters())
    sharers = 1 if device is None else processes(options)  # CPU processes share one memory
    batch = -(-options.data.batch // sharers)
    needed = weights + batch * per_crop
    where = "this GPU" if device is not None else "this machine"
    if needed > total:
        fits = sharers * max((total - weights) * 4 // 5 // per_crop, 0)
        raise ConfigError(
            f"`data.batch` of {options.data.batch} crops of {options.data.crop_px} px needs about "
            f"{_gb(needed)} with `{options.network}`, and {where} has {_gb(total)}: {_advice(fits)}"
        )
    free = free_bytes() if device is None else int(torch.cuda.mem_get_info(device)[0])
    if free is not None and needed > free:
        print(
            f"a step needs about {_gb(needed)} and {_gb(free)} of {where} are free: close other "
            "programs, or take a smaller `data.batch`",
            file=sys.stderr,
        )


def bytes_per_crop(network: Any, crop_px: int) -> int:
    """Return what one crop keeps for its gradient, and the crop itself, in bytes.

    Followed in inference mode, so that no running statistic moves; training keeps the same values.
    """
    sizes: dict[int, int] = {}

    def count(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    own = {p.untyped_storage().data_ptr() for p in [*network.parameters(), *network.buffers()]}
    training = network.training
    device = next(network.parameters()).device
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        try:
            answer = network.eval()(torch.zeros(1, 3, crop_px, crop_px, device=device))
        finally:
            network.train(training)
    del answer
    values = sum(size for place, size in sizes.items() if place not in own)
    return values + 4 * crop_px * crop_px * 4


def _advice(fits: int) -> str:
    if fits == 0:
        return "not even one fits; take a smaller `data.crop_px` or a narrower network."
    return (
        f"about {fits} fit; take a smaller `data.batch`, and `fit.accumulate` to keep as many "
        "crops in a step."
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count < 1e12 else f"{count / 1e12:,.1f} TB"


def _of_system(name: str) -> int | None:
    """Return a line of /proc/meminfo in bytes."""
    for line in _read(_INFO).splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0]) * 1024
    return None


def _of_group(name: str) -> int | None:
    """Return a number of this process's control group; None where there is no limit."""
    text = _read(_GROUP / name)
    return int(text) if text.isdecimal() else None


def _pages() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has none of them
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
