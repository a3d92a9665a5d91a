"""A network and labelled pictures -> what it marks in each at several thresholds, on its device.

The counts are those of ``metrics`` and ``judge`` for the bare threshold: no hysteresis, no specks
dropped, so that nothing but the network is compared. A picture costs milliseconds in place of the
tenths of a second of the product's chain, and a comparison scores hundreds of pictures at dozens of
points of its trainings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F

from crackseg.errors import DataError
from crackseg.metrics import ALARM_SHARE
from crackseg.records import Array, Sample
from crackseg.training.areas import areas_file
from crackseg.training.judge import CLASSES, TOLERANCE_PX, LineCounts, read_truth
from crackseg.training.manifest import photograph_of, read_pair

Tensor = Any
OUTLINE_PX = 2.0  # between outlines, where a tolerance is given
FIELDS = ("marked", "labelled", "hits", "near_marked", "near_labelled", "line", "right", "pixels")
WIDEST_PX = 80  # of a mark that is thinned to a line; a wall marked as a whole takes for ever
FORM = 2  # of the file of truths; another number wherever it, or how lines are made, changes
AT_ONCE = 8  # pictures pushed through a network together


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Pictures of one size with their truth, on a device."""

    numbers: tuple[int, ...]  # of each picture in the list of all
    pictures: Tensor  # (n, 3, H, W) uint8
    labels: Tensor  # (n, H, W) bool
    counts: Tensor  # (n, H, W) bool, False where the labels leave out what is there
    right: Tensor  # (n, H, W) bool, where a marked centre line is right
    width_class: Tensor  # (n, H, W) uint8: class + 1 on the labelled centre line, else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """All pictures of a split."""

    names: tuple[str, ...]
    sources: tuple[str, ...]
    photographs: tuple[str, ...]  # what belongs together
    groups: tuple[Labelled, ...]


def prepare_truths(samples: Sequence[Sample], file: Path) -> None:
    """Write the labelled centre lines of pictures, which take long to measure, into one file."""
    arrays: dict[str, Array] = {}
    for number, sample in enumerate(samples):
        picture, label = read_pair(sample)
        truth = read_truth(sample, picture, label)
        arrays[f"{number}_class"] = truth.width_class.astype(np.uint8)
        counts = np.ones(label.shape, bool) if truth.counts is None else truth.counts
        for name, plane in (("line", truth.line), ("right", truth.right), ("counts", counts)):
            arrays[f"{number}_{name}"] = np.packbits(plane)
    arrays["digest"] = np.array(_digest(samples))
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npz")
    np.savez_compressed(part, **arrays)  # type: ignore[arg-type]
    part.replace(file)


def truths_fit(samples: Sequence[Sample], file: Path) -> bool:
    """Return whether a file of truths is there, whole, of this release and of these pictures.

    Labels that were corrected since, or areas, make other truths of the same names.
    """
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            return "digest" in stored and str(stored["digest"]) == _digest(samples)
    except (OSError, EOFError, ValueError, BadZipFile):
        return False


def read_exam(samples: Sequence[Sample], truths: Path, device: Any) -> Exam:
    """Return pictures and truths on a device.

    Args:
        samples: in the order in which ``truths`` was written.
        truths: file of ``prepare_truths``.
        device: of torch.

    Raises:
        DataError: the file is of other pictures or labels, or of another release.
    """
    if not truths_fit(samples, truths):
        raise DataError(
            f"{truths} does not hold the truths of these pictures and labels as this release "
            "writes them; delete it, and the next run makes it anew."
        )
    rows = []
    with np.load(truths) as stored:
        for number, sample in enumerate(samples):
            picture, label = read_pair(sample)
            line, right, counts = (
                np.unpackbits(stored[f"{number}_{name}"], count=label.size).reshape(label.shape) > 0
                for name in ("line", "right", "counts")
            )
            classes = np.zeros(label.shape, np.uint8)
            classes[line] = stored[f"{number}_class"] + 1
            upright = picture.transpose(2, 0, 1)
            rows.append((number, upright, label & counts, counts, right, classes))
    rows.sort(key=lambda row: row[2].shape)
    groups = []
    for _, of_size in groupby(rows, key=lambda row: row[2].shape):
        numbers, *columns = zip(*of_size, strict=True)
        tensors = [torch.from_numpy(np.stack(column)).to(device) for column in columns]
        groups.append(
            Labelled(
                numbers=tuple(numbers),
                pictures=tensors[0],
                labels=tensors[1],
                counts=tensors[2],
                right=tensors[3],
                width_class=tensors[4],
            )
        )
    return Exam(
        names=tuple(_name(sample) for sample in samples),
        sources=tuple(sample.source for sample in samples),
        photographs=tuple(f"{sample.source}/{photograph_of(sample)}" for sample in samples),
        groups=tuple(groups),
    )


def predict_exam(exam: Exam, predict: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """Return the (n, H, W) uint8 probabilities of each group of pictures.

    Args:
        exam: the pictures.
        predict: (n, 3, H, W) uint8 -> (n, 1, H, W) logits.
    """
    maps = []
    with torch.inference_mode():
        for group in exam.groups:
            parts = [
                (torch.sigmoid(predict(some).float())[:, 0] * 255).round().to(torch.uint8)
                for some in group.pictures.split(AT_ONCE)
            ]
            maps.append(torch.cat(parts))
    return maps


def count_exam(exam: Exam, maps: Sequence[Tensor], levels: Sequence[int]) -> Array:
    """Return (pictures, levels, fields) int64 counts.

    The fields are ``FIELDS``, then the labelled centre line by width class, then what is found.

    Args:
        exam: the pictures.
        maps: of ``predict_exam``.
        levels: thresholds, in %.
    """
    counts = np.zeros((len(exam.names), len(levels), len(FIELDS) + 2 * len(CLASSES)), np.int64)
    with torch.inference_mode():
        for group, probability in zip(exam.groups, maps, strict=True):
            for column, level in enumerate(levels):
                marked = probability >= int(np.ceil(level / 100 * 255))
                counts[list(group.numbers), column] = _count(marked, group).cpu().numpy()
    return counts


def line_counts(counts: Array) -> LineCounts:
    """Return the counts of one picture at one level for ``judge``.

    A crack-free picture is "listed" where more than ``ALARM_SHARE`` of its pixels are marked.
    """
    values = dict(zip(FIELDS, counts[: len(FIELDS)].tolist(), strict=True))
    labelled, hits = counts[len(FIELDS) :].reshape(2, len(CLASSES)).tolist()
    free = not values["labelled"]
    return LineCounts(
        marked_px=values["line"],
        right_px=values["right"],
        labelled_px=tuple(labelled),
        found_px=tuple(hits),
        pixels=values["pixels"],
        free=int(free),
        listed=int(free and values["marked"] > ALARM_SHARE * values["pixels"]),
    )


def thin(mask: Tensor) -> Tensor:
    """Return the centre lines of (n, H, W) bool masks, one pixel wide.

    What is wider than ``WIDEST_PX`` is no crack, and stays as broad as it is then.

    Source: Guo and Hall, Parallel Thinning with Two-Subiteration Algorithms, 1989, algorithm A1.
    Labels are thinned by ``skeletonize``; the two lines lie within a pixel or two of each other.
    """
    passes = [torch.from_numpy(table).to(mask.device) for table in _removable()]
    wide = F.pad(mask, (1, 1, 1, 1))  # with a border, so that every pixel has eight neighbours
    rest = wide.flatten()
    left = rest.nonzero()[:, 0]  # cracks are few: only their pixels are looked at
    steps = [row * wide.shape[-1] + col for row, col in _CLOCKWISE]
    around = torch.tensor(steps, device=mask.device)
    for _ in range(WIDEST_PX // 2):
        before = len(left)
        for table in passes:
            drop = table[_neighbours(rest, left, around)]
            rest.index_fill_(0, left[drop], False)
            left = left[~drop]
        if len(left) == before:
            break
    return wide[:, 1:-1, 1:-1]


def grow(mask: Tensor, radius_px: float) -> Tensor:
    """Return the (n, H, W) bool mask of pixels within ``radius_px`` of one that is True."""
    reach = int(radius_px)
    height, width = mask.shape[-2:]
    wide = F.pad(mask, (reach,) * 4)
    grown = mask.clone()
    for row in range(-reach, reach + 1):
        for col in range(-reach, reach + 1):
            if 0 < row * row + col * col <= radius_px * radius_px:
                down, right = reach + row, reach + col
                grown |= wide[:, down : down + height, right : right + width]
    return grown


def _count(marked: Tensor, group: Labelled) -> Tensor:
    """Return (n, fields) counts of masks of one size."""
    labels, classes = group.labels, group.width_class
    line = thin(marked) & group.counts
    marked = marked & group.counts
    hits = classes * grow(line, TOLERANCE_PX)
    columns = [
        marked,
        labels,
        marked & labels,
        marked & grow(labels, OUTLINE_PX),
        labels & grow(marked, OUTLINE_PX),
        line,
        line & group.right,
        group.counts,
        *(classes == number + 1 for number in range(len(CLASSES))),
        *(hits == number + 1 for number in range(len(CLASSES))),
    ]
    # row by row in 32 bits: at once, in 64, a CPU takes three times as long
    return torch.stack([column.sum(2, dtype=torch.int32).sum(1) for column in columns], 1)


def _neighbours(mask: Tensor, places: Tensor, steps: Tensor) -> Tensor:
    """Return the eight neighbours of some pixels of a flat mask as bits, clockwise from above."""
    there = mask[places[:, None] + steps].to(torch.uint8)
    return (there << torch.arange(8, dtype=torch.uint8, device=mask.device)).sum(1)


_CLOCKWISE = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def _removable() -> Iterable[Array]:
    """Return for both passes the (256,) bool table of neighbourhoods whose middle is dropped."""
    bits = ((np.arange(256)[:, None] >> np.arange(8)) & 1).astype(bool)
    north, north_east, east, south_east, south, south_west, west, north_west = bits.T
    corners = np.roll(bits, -1, axis=1) | np.roll(bits, -2, axis=1)
    parts = (~bits & corners)[:, ::2].sum(1)  # pieces that the middle holds together
    pairs = bits | np.roll(bits, -1, axis=1)
    neighbours = np.minimum(pairs[:, ::2].sum(1), pairs[:, 1::2].sum(1))
    free = (parts == 1) & (neighbours >= 2) & (neighbours <= 3)
    yield free & ~((south | south_west | ~north_west) & west)
    yield free & ~((north | north_east | ~south_east) & east)


def _digest(samples: Sequence[Sample]) -> str:
    """Return the sha256 of all that truths are made of, and of the form in which they are kept."""
    digest = hashlib.sha256(str(FORM).encode())
    for sample in samples:
        digest.update(_name(sample).encode())
        for file in (sample.image, sample.mask, areas_file(sample)):
            content = file.read_bytes() if file.is_file() else b""
            digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _name(sample: Sample) -> str:
    return f"{sample.source}/{sample.image.stem}"
