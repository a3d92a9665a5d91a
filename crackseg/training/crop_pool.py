"""The crops of a seed, written once as plain arrays, for every run that sees the same pixels.

Cutting, turning and altering a crop takes a CPU longer than a GPU takes to learn from it, and the
networks of a comparison all learn from the same ones. A pool is a folder of chunks, each the crops
of some steps: (n, 4, h, w) uint8, picture and labels. What is read is mapped from the disk, so a
pool may be larger than the memory. Its name holds a digest of all that the crops depend on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crackseg.config import to_plain
from crackseg.records import Array, Sample
from crackseg.training.dataset import Crops
from crackseg.training.options import DataOptions

STEPS_PER_CHUNK = 100
_BESIDE_THE_CROPS = ("manifest", "root", "val_sets", "workers", "memory_gb", "cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The crops of one seed."""

    folder: Path
    batch: int

    def chunk(self, number: int) -> Path:
        """Return the file of the crops of steps ``number`` x ``STEPS_PER_CHUNK`` and on."""
        return self.folder / f"{number:04d}.npy"

    def read(self, step: int) -> tuple[Any, Any]:
        """Return (n, 3, h, w) and (n, 1, h, w) uint8 tensors: pictures and labels of one step."""
        number, place = divmod(step, STEPS_PER_CHUNK)
        mapped = np.load(self.chunk(number), mmap_mode="r")
        crops = np.array(mapped[place * self.batch : (place + 1) * self.batch])
        return torch.from_numpy(crops[:, :3]), torch.from_numpy(crops[:, 3:])


def name_pool(cache: Path, samples: Sequence[Sample], options: DataOptions, seed: int) -> Pool:
    """Return the pool of a seed; its folder need not exist."""
    values = {k: v for k, v in to_plain(options).items() if k not in _BESIDE_THE_CROPS}
    hashes = [(s.source, s.image.name, s.image_sha256, s.mask_sha256) for s in samples]
    key = json.dumps([values, hashes, seed], sort_keys=True, default=str)
    digest = hashlib.sha256(key.encode()).hexdigest()[:12]
    return Pool(folder=cache / f"crops-seed{seed}-{digest}", batch=options.batch)


def write_chunk(pool: Pool, crops: Crops, number: int) -> None:
    """Write one chunk of a pool, unless it is there."""
    file = pool.chunk(number)
    if file.exists():
        return
    first = number * STEPS_PER_CHUNK * pool.batch
    rows = [_row(*crops[first + k]) for k in range(STEPS_PER_CHUNK * pool.batch)]
    pool.folder.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npy")
    np.save(part, np.stack(rows))
    part.replace(file)


def _row(image: Any, labels: Any) -> Array:
    row: Array = torch.cat([image, labels]).numpy()
    return row
