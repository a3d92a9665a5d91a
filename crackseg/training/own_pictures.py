"""A few labelled photographs of one site -> what a fine-tuning draws its crops from.

Photographs are held out whole. From the others, tiles are cut that show something somebody decided,
and half as many that show nothing: a photograph of 20 megapixels is mostly wall, and would fill the
memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt

from crackseg.errors import DataError
from crackseg.imagery.masks import encode_mask
from crackseg.imagery.tiles import plan_axis
from crackseg.records import Array, Sample
from crackseg.training.areas import FOLDER as AREAS
from crackseg.training.areas import (
    LEFT_OUT,
    NO_CRACK,
    OTHER_LINE,
    encode_areas,
    read_areas,
)
from crackseg.training.augment import hair_crack
from crackseg.training.labels import CRACK
from crackseg.training.manifest import index_folder, photograph_of, read_manifest, read_pair

LEAST_PHOTOGRAPHS = 4  # one of them is held out
LEAST_MARKS = 10  # cracks and things that are none, in those learned from
TILE_PX = 320  # little more than a crop: what is decided is in nearly each
_LEAST_PX = 20  # a smaller patch of a label is no mark
DRAWN_PX = 512
DRAWN_MOST_PX = 6.0  # width
_DRAWN = 36
_DRAWN_SEED = 20
_NEAR_PX, _BESIDE_PX = 24.0, 4.0  # from a drawn crack: judged; never left out
_BLANK_SHARE = 0.5  # a tile of which more is left out teaches next to nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """Labelled photographs, parted by photograph."""

    train: tuple[Sample, ...]
    held_out: tuple[Sample, ...]

    @property
    def every(self) -> tuple[Sample, ...]:
        """All of them."""
        return (*self.train, *self.held_out)


def part_photographs(data: Path, root: Path | None, share: float) -> Own:
    """Return the photographs to learn from and those held out.

    Lists (train.txt, val.txt) or the splits of a manifest decide; without a val list the last in
    the order of names are held out, as a flight's neighbours often show the same spot.

    Args:
        data: a set, a folder of sets or a manifest.
        root: folder that a manifest's paths are relative to.
        share: of the photographs to hold out.

    Raises:
        DataError: there are too few, or too little is decided on them; says how many.
    """
    samples = read_manifest(data, root=root) if data.is_file() else index_folder(data)
    usable = [sample for sample in samples if sample.split in ("train", "val")]
    if len({sample.site for sample in usable}) < LEAST_PHOTOGRAPHS:  # whole structures, or none
        usable = [replace(sample, site="") for sample in usable]
    names = sorted({photograph_of(sample) for sample in usable})
    if len(names) < LEAST_PHOTOGRAPHS:
        raise DataError(
            f"`{data}` has {len(names)} photographs to learn from; expected at least "
            f"{LEAST_PHOTOGRAPHS}, of which one is held out, and twelve are a good beginning."
        )
    if any(sample.split == "val" for sample in usable):
        held_out = {photograph_of(sample) for sample in usable if sample.split == "val"}
    else:
        held_out = set(names[-max(1, round(share * len(names))) :])
    own = Own(
        train=tuple(s for s in usable if photograph_of(s) not in held_out),
        held_out=tuple(replace(s, split="val") for s in usable if photograph_of(s) in held_out),
    )
    _require_enough(own, data)
    return own


def _require_enough(own: Own, data: Path) -> None:
    marks = sum(count_marks(sample) for sample in own.train)
    if marks < LEAST_MARKS or not own.train:
        raise DataError(
            f"`{data}` has {marks} marks that somebody decided, cracks or none, on the "
            f"{len(own.train)} photographs to learn from; expected at least {LEAST_MARKS}: accept "
            "or reject more."
        )
    if not any(count_marks(sample) for sample in own.held_out):
        names = ", ".join(sample.image.name for sample in own.held_out[:3])
        raise DataError(
            f"nothing is decided on the photographs held out ({names}), so that nothing could be "
            "judged by them; accept or reject marks there, or name others in val.txt."
        )


def count_marks(sample: Sample) -> int:
    """Return how many patches of crack, of no crack and of other lines a photograph shows."""
    _, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    layers = [mask] if areas is None else [mask, (areas == NO_CRACK) | (areas == OTHER_LINE)]
    count = 0
    for pixels in layers:
        _, _, stats, _ = cv2.connectedComponentsWithStats(pixels.astype(np.uint8))
        count += int((stats[1:, cv2.CC_STAT_AREA] >= _LEAST_PX).sum())
    return count


def cut_own(own: Own, folder: Path) -> tuple[Sample, ...]:
    """Write the tiles of the photographs to learn from below ``folder`` and return them."""
    tiles: list[Sample] = []
    for number, sample in enumerate(own.train):
        tiles += _cut(sample, folder / sample.source, f"p{number:04}")
    return tuple(tiles)


def draw_on_held_out(own: Own, folder: Path) -> tuple[Sample, ...]:
    """Write parts of the photographs held out, each with a crack drawn into it, and return them.

    Verdicts name few real cracks, often none on what is held out; these say whether a crack is
    still found before this site's background. All but the surroundings of the crack is left out.
    """
    samples: list[Sample] = []
    rng = np.random.default_rng(_DRAWN_SEED)
    for number in range(_DRAWN):
        sample = own.held_out[number % len(own.held_out)]
        picture, mask = read_pair(sample)
        decided = read_areas(sample, mask.shape)
        side = min(DRAWN_PX, *mask.shape)
        window = tuple(slice(k := int(rng.integers(n - side + 1)), k + side) for n in mask.shape)
        part = np.ascontiguousarray(picture[window])
        cracked, labels = hair_crack(
            part, np.zeros(mask[window].shape, np.uint8), rng, DRAWN_MOST_PX
        )
        crack = labels == CRACK
        away_px = distance_transform_edt(~crack)
        areas = np.where(away_px > _NEAR_PX, LEFT_OUT, 0).astype(np.uint8)
        if decided is not None:
            areas[(decided[window] == LEFT_OUT) | (decided[window] == NO_CRACK)] = LEFT_OUT
        areas[mask[window]] = LEFT_OUT
        areas[away_px <= _BESIDE_PX] = 0
        if crack.any():
            samples.append(_write(sample, folder, f"d{number:03}", cracked, crack, areas))
    return tuple(replace(sample, source=folder.name) for sample in samples)


def _cut(sample: Sample, folder: Path, stem: str) -> list[Sample]:
    """Write the tiles of a photograph that show marks, and half as many that show none."""
    picture, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    areas = np.zeros(mask.shape, np.uint8) if areas is None else areas
    marked: list[tuple[slice, slice]] = []
    bare: list[tuple[slice, slice]] = []
    for window in _windows(mask.shape):
        if (areas[window] == LEFT_OUT).mean() <= _BLANK_SHARE:
            shows = mask[window].any() or np.isin(areas[window], (NO_CRACK, OTHER_LINE)).any()
            (marked if shows else bare).append(window)
    count = max(len(marked) // 2, 1)
    some = bare[:: max(1, len(bare) // count)][:count]
    return [
        _write(sample, folder, f"{stem}_{k:03}", picture[window], mask[window], areas[window])
        for k, window in enumerate([*marked, *some])
    ]


def _windows(shape: tuple[int, int]) -> Iterable[tuple[slice, slice]]:
    rows, cols = (
        plan_axis(side, tile_px=TILE_PX, overlap_px=64, multiple=1).starts for side in shape
    )
    return [np.s_[row : row + TILE_PX, col : col + TILE_PX] for row in rows for col in cols]


def _write(
    sample: Sample, folder: Path, stem: str, picture: Array, mask: Array, areas: Array
) -> Sample:
    for name in ("images", "masks", AREAS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    tile = replace(
        sample,
        image=folder / "images" / f"{stem}.png",
        mask=folder / "masks" / f"{stem}.png",
        site=photograph_of(sample),
        image_sha256="",
        mask_sha256="",
    )
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    tile.image.write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
    tile.mask.write_bytes(encode_mask(mask))
    (folder / AREAS / f"{stem}.png").write_bytes(encode_areas(areas))
    return tile
