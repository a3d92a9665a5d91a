"""A folder of sets or a manifest -> what is wrong with it, row by row, before a training finds out.

Found: missing partners, unreadable or altered files, sizes that differ, masks that do not tell
what is crack or look inverted, one site on both sides of a split, and pictures that appear on both
sides, also turned, mirrored, scaled or re-compressed. Crops of one photograph that merely overlap
have other fingerprints: only the column ``site`` guards against those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.fft import dctn

from crackseg.errors import CracksegError, ImageError, NoPartner
from crackseg.records import Array, Sample
from crackseg.training.areas import FOLDER as AREAS
from crackseg.training.areas import read_areas
from crackseg.training.manifest import (
    HOLD_OUT,
    by_stem,
    find_sets,
    has_lists,
    index_folder,
    read_manifest,
    read_pair,
    row_numbers,
)

THUMB_PX, FREQUENCIES = 64, 16
# Of 255 bits. Measured on 1838 photographs of concrete, brick and asphalt: pictures of different
# splits differ in 67 or more (best of eight views); copies at JPEG quality 40, at half the size,
# or brightened and mirrored in 3 (median) to 34 (99 of 100).
NEAR_BITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, and where."""

    where: str
    kind: str  # row | pair | unreadable | site | near-duplicate
    message: str


def check_data(
    data: Path,
    *,
    root: Path | None = None,
    near_bits: int = NEAR_BITS,
    hold_out: float = HOLD_OUT,
) -> tuple[tuple[Sample, ...], tuple[Finding, ...]]:
    """Return the sound samples of a folder or manifest, and every finding.

    Args:
        data: a folder of sets, one set, or a manifest.
        root: folder the manifest's paths are relative to.
        near_bits: pictures whose fingerprints differ by at most so many of 255 bits are one.
        hold_out: share of train that a training will judge by, in sets of a folder without a val
            list (``index_folder``): before it is taken away, both sides of the split are one.

    Raises:
        DataError: there is no such data, or ``hold_out`` is no share.
    """
    broken: list[Finding] = []

    def keep(error: CracksegError) -> None:
        if isinstance(error, NoPartner):
            broken.append(Finding(where=error.pair, kind="pair", message=str(error)))
        else:
            broken.append(Finding(where=str(data), kind="row", message=str(error)))

    if data.is_file():
        samples = read_manifest(data, root=root, refuse=keep)
        rows = row_numbers(data, root=root)
        names = [f"row {rows[sample.image]} ({sample.image.name})" for sample in samples]
    else:
        samples = index_folder(data, hold_out=hold_out, hashes=False, refuse=keep)
        names = [f"{sample.source}/{sample.image.stem}" for sample in samples]
        broken += _lonely_areas(data)
    sound, prints = [], []
    for name, sample in zip(names, samples, strict=True):
        try:
            picture, mask = read_pair(sample)
            read_areas(sample, mask.shape)
        except CracksegError as error:
            kind = "unreadable" if isinstance(error, ImageError) else "pair"
            broken.append(Finding(where=name, kind=kind, message=str(error)))
            continue
        sound.append((name, sample))
        prints.append(fingerprints(picture))
    broken += _shared_sites(sound)
    broken += _near_duplicates(sound, prints, near_bits)
    return tuple(sample for _, sample in sound), tuple(broken)


def doubts_of_split(data: Path, *, split: str, sets: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a sentence on sets of a folder that have no lists, none where all have.

    All pictures of such a set are of the split that is asked for, while a training of it has
    learned from most of them.

    Args:
        data: a folder of sets, a set, or a manifest, of which nothing is in doubt.
        split: that ``load_samples`` is asked for.
        sets: names of those that are meant; none: all.
    """
    folders = {} if data.is_file() else find_sets(data)
    bare = [n for n in sorted(folders) if (not sets or n in sets) and not has_lists(folders[n])]
    if not bare:
        return ()
    return (
        f"no list says what is {split} in {', '.join(bare)}, so all pictures there count as "
        f"{split}; if the model has learned from some of them, name the manifest of its training "
        "instead (RUN.csv).",
    )


def fingerprints(picture: Array) -> Array:
    """Return (8, 255) bool: the perceptual hash of a picture, its turns and mirror images.

    A bit says whether one of the 255 lowest frequencies of the 64 x 64 grey thumbnail is above
    their median.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    thumb = cv2.resize(grey, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    turned = [np.rot90(thumb, turns) for turns in range(4)]
    views = np.stack([*turned, *(view[:, ::-1] for view in turned)])
    low = dctn(views, axes=(1, 2))[:, :FREQUENCIES, :FREQUENCIES].reshape(8, -1)[:, 1:]
    bits: Array = low > np.median(low, axis=1, keepdims=True)
    return bits


def _lonely_areas(data: Path) -> Iterator[Finding]:
    for name, folder in find_sets(data).items():
        masks = set(by_stem(folder / "masks"))
        areas = {path.stem for path in (folder / AREAS).glob("*")}
        for stem in sorted(areas - masks):
            text = f"there are `{AREAS}` of this stem, but no mask."
            yield Finding(where=f"{name}/{stem}", kind="pair", message=text)


def _shared_sites(rows: Sequence[tuple[str, Sample]]) -> Iterator[Finding]:
    """Yield every picture whose site is also on another side of the split."""
    first: dict[tuple[str, str], tuple[str, Sample]] = {}
    for name, sample in rows:
        if not sample.site:
            continue
        before = first.setdefault((sample.source, sample.site), (name, sample))
        if before[1].split != sample.split:
            text = (
                f"site `{sample.site}` is in {sample.split} and, with {before[0]}, in "
                f"{before[1].split}."
            )
            yield Finding(where=name, kind="site", message=text)


def _near_duplicates(
    rows: Sequence[tuple[str, Sample]], prints: Sequence[Array], near_bits: int
) -> Iterator[Finding]:
    """Yield every picture that also appears on another side of the split."""
    if not rows:
        return
    signs = np.where(np.stack(prints), 1, -1).astype(np.float32)  # (N, 8, 255)
    sides = np.array([sample.split for _, sample in rows])
    for k, (name, sample) in enumerate(rows[:-1]):
        bits = ((255 - (signs[k + 1 :, 0] @ signs[k].T).max(axis=1)) / 2).round().astype(int)
        for hit in np.flatnonzero((bits <= near_bits) & (sides[k + 1 :] != sides[k])):
            other, twin = rows[k + 1 + int(hit)]
            text = (
                f"the picture ({sample.split}) is also {other} ({twin.split}): "
                f"{bits[hit]} of 255 bits differ. "
                "Keep one, or both on one side: by the lists, or one site in sites.csv."
            )
            yield Finding(where=name, kind="near-duplicate", message=text)
