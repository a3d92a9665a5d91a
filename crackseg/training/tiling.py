"""Large photographs with masks -> tiles of one size, still in pairs, photograph by photograph.

Tiles of one photograph share a site, so that a later split keeps them together; where the
photographs have a split, their tiles inherit it. Pixels are copied, never resized.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from crackseg.errors import ConfigError
from crackseg.folders import require_new
from crackseg.imagery.masks import encode_mask
from crackseg.imagery.tiles import plan_axis
from crackseg.records import Sample
from crackseg.training.areas import FOLDER, encode_areas, read_areas
from crackseg.training.manifest import read_pair


def cut_tiles(
    samples: Sequence[Sample],
    out: Path,
    *,
    tile_px: int = 512,
    overlap_px: int = 0,
    empty_share: float = 1.0,
) -> int:
    """Write a set of tiles (images/, masks/, lists, sites.csv) and return their number.

    Args:
        samples: photographs with masks.
        out: set to write.
        tile_px: side of a tile; a side of the photograph that is shorter is kept whole.
        overlap_px: least overlap; tiles are spread evenly, so all have the full size.
        empty_share: share of the tiles without a crack to keep, evenly over the photograph.

    Raises:
        ConfigError: a number is out of range, or two photographs share a stem.
        DataError: a pair is broken.
        OutputError: ``out`` holds something already.
    """
    if tile_px < 1:
        raise ConfigError(f"`tile_px` must be 1 or larger, got {tile_px}; 512 is usual.")
    if not 0 <= empty_share <= 1:
        raise ConfigError(f"`empty_share` must lie between 0 and 1, got {empty_share}.")
    if len({sample.image.stem for sample in samples}) < len(samples):
        raise ConfigError("two photographs share a stem; tile their sets one by one.")
    require_new(out)
    lists: dict[str, list[str]] = defaultdict(list)
    sites: list[tuple[str, str]] = []
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for sample in samples:
        stems = _cut_one(sample, out, tile_px, overlap_px, empty_share)
        lists[sample.split] += stems
        sites += [(stem, sample.site or sample.image.stem) for stem in stems]
    for split, stems in lists.items():
        (out / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    with (out / "sites.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("stem", "site"), *sites])
    return len(sites)


def _cut_one(
    sample: Sample, out: Path, tile_px: int, overlap_px: int, empty_share: float
) -> list[str]:
    """Write the tiles of one photograph and return their stems."""
    picture, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    rows, cols = (_starts(side, tile_px, overlap_px) for side in mask.shape)
    stems, empty = [], 0
    for row in rows:
        for col in cols:
            where = slice(row, row + tile_px), slice(col, col + tile_px)
            if not mask[where].any():
                empty += 1
                if int(empty * empty_share) == int((empty - 1) * empty_share):
                    continue
            stem = f"{sample.image.stem}_r{row:05}_c{col:05}"
            bgr = cv2.cvtColor(np.ascontiguousarray(picture[where]), cv2.COLOR_RGB2BGR)
            data = cv2.imencode(".png", bgr)[1].tobytes()
            (out / "images" / f"{stem}.png").write_bytes(data)
            (out / "masks" / f"{stem}.png").write_bytes(encode_mask(mask[where]))
            if areas is not None:
                (out / FOLDER).mkdir(exist_ok=True)
                (out / FOLDER / f"{stem}.png").write_bytes(encode_areas(areas[where]))
            stems.append(stem)
    return stems


def _starts(side_px: int, tile_px: int, overlap_px: int) -> tuple[int, ...]:
    if side_px <= tile_px:
        return (0,)
    return tuple(plan_axis(side_px, tile_px=tile_px, overlap_px=overlap_px, multiple=1).starts)
