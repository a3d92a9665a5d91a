"""Verified samples -> crops for training, whole pictures for validation.

A crop depends on (seed, its number) alone: which picture, where, how it is changed. So a run that
was killed and resumed sees the same crops as one that was not, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from crackseg.errors import DataError
from crackseg.records import Array, Sample
from crackseg.training.augment import augment, random_crop
from crackseg.training.manifest import read_pair
from crackseg.training.options import DataOptions


def split_samples(samples: Sequence[Sample], split: str, sets: Sequence[str]) -> list[Sample]:
    """Return the samples of one split and, when ``sets`` is not empty, of these sets.

    Raises:
        DataError: none is left.
    """
    kept = [s for s in samples if s.split == split and (not sets or s.source in sets)]
    if not kept:
        raise DataError(f"no sample of split {split!r} in the sets {', '.join(sets) or 'given'}.")
    return kept


class Crops(Dataset):
    """Crop number i of a run; pictures are decoded once and kept as uint8."""

    def __init__(self, samples: Sequence[Sample], options: DataOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        self.pairs = [_read(sample) for sample in samples]
        self.shares = _shares(samples, options)

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        """Return (3, h, w) uint8 and (1, h, w) uint8 tensors."""
        rng = np.random.default_rng([self.seed, number])
        picture, mask = self.pairs[int(rng.choice(len(self.pairs), p=self.shares))]
        aim = rng.random() < self.options.aim
        options = self.options.augment
        picture, mask = random_crop(picture, mask, self.options.crop_px, options, rng, aim)
        picture, mask = augment(picture, mask, options, rng)
        image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return image, torch.from_numpy(np.ascontiguousarray(mask[None]))


class EpochNumbers(Sampler):
    """The crop numbers of one epoch: [epoch * length, (epoch + 1) * length)."""

    def __init__(self, length: int) -> None:
        self.length, self.epoch = length, 0

    def set_epoch(self, epoch: int) -> None:
        """Move to an epoch; Lightning calls this, also after a resume."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self.length, (self.epoch + 1) * self.length))

    def __len__(self) -> int:
        return self.length


class WholePictures(Dataset):
    """Validation pictures, uncut: (3, H, W) uint8, (1, H, W) uint8, set name."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Any, Any, str]:
        picture, mask = _read(self.samples[number])
        image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return image, torch.from_numpy(mask[None]), self.samples[number].source


def _read(sample: Sample) -> tuple[Array, Array]:
    picture, mask = read_pair(sample)
    return picture, mask.astype(np.uint8)


def _shares(samples: Sequence[Sample], options: DataOptions) -> Array:
    """Return each sample's chance to be drawn: its set's weight, evenly over the set's pictures."""
    names = [s.source for s in samples]
    unknown = sorted(set(options.weights) - set(names))
    if unknown:
        raise DataError(
            f"`weights` names sets that are not in the manifest: {', '.join(unknown)}; "
            f"there are: {', '.join(sorted(set(names)))}."
        )
    counts = {name: names.count(name) for name in set(names)}
    shares = np.array([options.weights.get(name, 1.0) / counts[name] for name in names])
    normalized: Array = shares / shares.sum()
    return normalized
