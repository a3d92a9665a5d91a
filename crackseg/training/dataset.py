"""Verified samples -> crops for training, whole pictures for validation.

A crop depends on (seed, its number) alone: which picture, where, how it is changed. So a run that
was killed and resumed sees the same crops as one that was not, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from crackseg.errors import DataError
from crackseg.records import Array, Sample
from crackseg.training.areas import read_areas
from crackseg.training.augment import augment, crack_places, random_crop
from crackseg.training.judge import Truth, read_truth
from crackseg.training.labels import CRACK, OUTLINED, label_map
from crackseg.training.manifest import read_manifest, read_pair, refuse_unknown_sets
from crackseg.training.options import DataOptions
from crackseg.training.picture_store import Room, store_pictures

CROPS_BYTES = 4  # of a pixel with its label
_TRUTH_BYTES = 6  # of a pixel with what it is judged by


def read_samples(options: DataOptions) -> tuple[Sample, ...]:
    """Return all samples of the manifest.

    Raises:
        DataError: the manifest is broken, or an option names a set that it does not have.
    """
    samples = read_manifest(options.manifest, root=options.root)
    for name in ("sets", "val_sets", "joints", "outlines"):
        refuse_unknown_sets(getattr(options, name), samples, f"data.{name}")
    return samples


def split_samples(samples: Sequence[Sample], split: str, sets: Sequence[str]) -> list[Sample]:
    """Return the samples of one split and, when ``sets`` is not empty, of these sets.

    Raises:
        DataError: none is left.
    """
    part = [s for s in samples if s.split == split and (not sets or s.source in sets)]
    if not part:
        if not samples:
            raise DataError("the manifest has no row; `crackseg data index` writes one a picture.")
        there = sorted({s.split for s in samples})
        hint = "; index the data again with `--hold-out 0.15`" if split == "val" else ""
        raise DataError(
            f"no sample of split {split!r} in the sets {', '.join(sets) or 'given'}, which have "
            f"{', '.join(there)}{hint}, or list stems in {split}.txt."
        )
    return part


class Crops(Dataset):
    """Crop number i of a run; pictures are decoded once and kept as uint8.

    Args:
        samples: to draw from.
        options: how.
        seed: of the run.
        lines: tell other dark lines from the rest; see ``label_map``.
        room: where decoded pictures may go; None: all stay in memory.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        options: DataOptions,
        seed: int,
        *,
        lines: bool = True,
        room: Room | None = None,
    ) -> None:
        self.options, self.seed = options, seed
        self.pairs = store_pictures(
            samples,
            lambda sample: _read_labels(sample, options, lines),
            room,
            key=f"crops, lines {lines}, joints {','.join(options.joints)}",
            bytes_per_pixel=CROPS_BYTES,
        )
        self.shares = _shares(samples, options)
        self.outlined = [sample.source in options.outlines for sample in samples]

    def __getitem__(self, number: int) -> tuple[Any, Any]:
        """Return (3, h, w) uint8 and (1, h, w) uint8 tensors: picture and labels."""
        rng = np.random.default_rng([self.seed, number])
        chosen = int(rng.choice(len(self.pairs), p=self.shares))
        picture, labels, places = self.pairs[chosen]
        targets = places if rng.random() < self.options.aim else places[:0]
        options = self.options.augment
        picture, labels = random_crop(picture, labels, self.options.crop_px, options, rng, targets)
        picture, labels = augment(picture, labels, options, rng)
        if self.outlined[chosen]:
            labels = np.where(labels == CRACK, OUTLINED, labels).astype(np.uint8)
        image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return image, torch.from_numpy(np.ascontiguousarray(labels[None]))


class StepNumbers(Sampler):
    """The crop numbers of the next ``steps`` optimizer steps, counted from the start of the run.

    They follow from the step the run has reached, not from a count of epochs, so that a resumed
    run draws the crops an undisturbed one draws.

    Args:
        steps: steps until the iterator ends (an epoch).
        crops_per_step: crops that go into one optimizer step, over all devices.
        reached: gives the optimizer steps done so far.
        rank: number of this device.
        devices: how many share a step.
    """

    def __init__(
        self,
        steps: int,
        crops_per_step: int,
        reached: Callable[[], int],
        rank: int = 0,
        devices: int = 1,
    ) -> None:
        self.steps, self.crops_per_step, self.reached = steps, crops_per_step, reached
        self.rank, self.devices = rank, devices

    def __iter__(self) -> Iterator[int]:
        first = self.reached() * self.crops_per_step + self.rank
        return iter(range(first, first + self.steps * self.crops_per_step, self.devices))

    def __len__(self) -> int:
        return self.steps * self.crops_per_step // self.devices


class WholePictures(Dataset):
    """Validation pictures, uncut: (3, H, W) uint8, number of the picture, set name.

    Args:
        samples: to validate on.
        room: where decoded pictures may go; None: all stay in memory.
    """

    def __init__(self, samples: Sequence[Sample], room: Room | None = None) -> None:
        self.samples = list(samples)
        self.arrays = store_pictures(
            samples, _read_truth, room, key="truths", bytes_per_pixel=_TRUTH_BYTES
        )

    def truth(self, number: int) -> Truth:
        """Return the labelled centre line of a picture."""
        line, width_class, right, picture, *counts = self.arrays[number]
        return Truth(
            line=line,
            width_class=width_class,
            right=right,
            picture=picture,
            counts=counts[0] if counts else None,
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> tuple[Any, int, str]:
        picture = self.arrays[number][3]
        image = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))
        return image, number, self.samples[number].source


def _read_labels(sample: Sample, options: DataOptions, lines: bool) -> tuple[Array, Array, Array]:
    """Return picture, labels, and the (n, 2) places that a crop may be laid on."""
    picture, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    joints = sample.source in options.joints
    labels = label_map(picture, mask, joints=joints, areas=areas, lines=lines)
    return picture, labels, crack_places(labels)


def _read_truth(sample: Sample) -> tuple[Array, ...]:
    truth = read_truth(sample, *read_pair(sample))
    arrays = truth.line, truth.width_class, truth.right, truth.picture
    return arrays if truth.counts is None else (*arrays, truth.counts)


def _shares(samples: Sequence[Sample], options: DataOptions) -> Array:
    """Return each sample's chance to be drawn: its set's weight, evenly over the set's pictures."""
    refuse_unknown_sets(options.weights, samples, "weights")
    names = [s.source for s in samples]
    counts = {name: names.count(name) for name in set(names)}
    # the largest is taken off first: the sum of weights near the end of floats is endless, or 0
    largest = max(options.weights.get(name, 1.0) for name in names) or 1.0
    shares = np.array([options.weights.get(name, 1.0) / largest / counts[name] for name in names])
    if not shares.any():
        raise DataError("`weights` must leave one set to draw from, got 0 for each.")
    normalized: Array = shares / shares.sum()
    return normalized
