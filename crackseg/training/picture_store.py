"""Decoded pictures with their labels: in memory while they fit, else mapped from files.

A photograph of 20 megapixels is 80 MB once it is decoded, and decoding it for every crop would take
longer than learning from it. Where all of them are more than the memory allows, each is decoded
once into plain files, from which a crop reads its own window: the operating system keeps what is
read often and gives the rest up, for all processes together. A crop is the same either way, to the
last bit. The files stay while a run goes on, so that a resumed one need not decode again.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.errors import ConfigError
from crackseg.imagery.files import open_image
from crackseg.records import Array, Sample
from crackseg.training.memory import free_bytes
from crackseg.training.options import TrainOptions

Arrays = tuple[Array, ...]
Read = Callable[[Sample], Arrays]
CACHE = "cache"  # of a run's folder: decoded pictures that do not fit into memory
_HEADER_BYTES = 128  # of a .npy file
_SHARE = 0.5  # of the free memory, where nothing else is asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where decoded pictures go."""

    folder: Path  # of the files, made when it is needed
    memory_bytes: int | None = None  # that all pictures may take; None: half of what is free
    sharers: int = 1  # processes of this machine that hold the pictures, each for itself

    @property
    def allowed_bytes(self) -> float:
        """How much may stay in memory."""
        if self.memory_bytes is not None:
            return self.memory_bytes / self.sharers
        free = free_bytes()
        return float("inf") if free is None else _SHARE * free / self.sharers


def room_for(options: TrainOptions) -> Room:
    """Return where the decoded pictures of a run may go."""
    gigabytes = options.data.memory_gb
    return Room(
        folder=options.data.cache or options.out / CACHE,
        memory_bytes=round(gigabytes * 1e9) if gigabytes else None,
        sharers=options.devices,
    )


def room_left(room: Room, samples: Sequence[Sample], bytes_per_pixel: int) -> Room:
    """Return the room that is left once these samples are stored."""
    if room.memory_bytes is None:
        return room
    needed = sum(map(_pixels, samples)) * bytes_per_pixel
    fits = needed <= room.allowed_bytes
    used = needed * room.sharers if fits else 0
    return replace(room, memory_bytes=room.memory_bytes - used)


def store_pictures(
    samples: Sequence[Sample], read: Read, room: Room | None, *, key: str, bytes_per_pixel: int
) -> Sequence[Arrays]:
    """Return the arrays of every sample, in memory or mapped from files.

    Args:
        samples: to read, in order.
        read: gives the arrays of a sample.
        room: where they may go; None: memory alone.
        key: what the arrays depend on besides the sample's files.
        bytes_per_pixel: that they take together.

    Raises:
        ConfigError: neither memory nor disk has room; says how much is needed.
    """
    if room is None:
        return [read(sample) for sample in samples]
    needed = sum(map(_pixels, samples)) * bytes_per_pixel
    if needed <= room.allowed_bytes:
        return [read(sample) for sample in samples]
    room.folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in samples if not _file(room, s, key, 0).exists()]
    _require_disk(room, sum(map(_pixels, missing)) * bytes_per_pixel, len(samples))
    return MappedArrays([_write(sample, read, room, key) for sample in samples])


class MappedArrays(Sequence[Arrays]):
    """Arrays of samples in files; mapped when they are asked for, and not carried to a process."""

    def __init__(self, files: Sequence[tuple[Path, ...]]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: Any) -> Any:
        """Return the arrays of a sample."""
        return tuple(map(_load, self.files[number]))


def _load(file: Path) -> Array:
    empty = file.stat().st_size <= _HEADER_BYTES  # which cannot be mapped
    array: Array = np.load(file, mmap_mode=None if empty else "r")
    return array


def _write(sample: Sample, read: Read, room: Room, key: str) -> tuple[Path, ...]:
    """Return the files with the arrays of a sample, written where they are not there."""
    last = _file(room, sample, key, 0)  # written last: with it all of them are there
    if not last.exists():
        arrays = read(sample)
        for number, array in reversed(list(enumerate(arrays))):
            file = _file(room, sample, key, number)
            part = file.with_name(f"{file.stem}.{np.random.default_rng().integers(1 << 40)}.npy")
            np.save(part, array)
            part.replace(file)
    files = [last]
    while (following := _file(room, sample, key, len(files))).exists():
        files.append(following)
    return tuple(files)


def _file(room: Room, sample: Sample, key: str, number: int) -> Path:
    parts = [sample.image.resolve(), sample.mask.resolve(), sample.image_sha256]
    parts += [sample.mask_sha256, sample.source, key]
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]
    return room.folder / f"{digest}_{number}.npy"


def _pixels(sample: Sample) -> int:
    with open_image(sample.image) as image:
        return image.info.height_px * image.info.width_px


def _require_disk(room: Room, needed: int, count: int) -> None:
    free = shutil.disk_usage(room.folder).free
    if needed > 0.95 * free:
        raise ConfigError(
            f"the {count} pictures take {needed / 1e9:.1f} GB decoded, more than memory allows, "
            f"and {room.folder} has {free / 1e9:.1f} GB free: name a folder of a larger disk in "
            "`data.cache`, or cut the photographs by `crackseg data tile --empty-share 0.1`."
        )
