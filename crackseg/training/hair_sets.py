"""Pictures of a validation list -> pictures with hair cracks, to judge by; never to train on.

Two ways to get cracks of 1 to 3 px whose course is known: photographs shrunk by area until their
cracks are that thin, labelled along the centre line, and cracks of 0.7 to 3 px drawn on real
photographs of sound surfaces, as faint as the surface's roughness allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.metrology.cracks import measure
from crackseg.records import Array, Sample, Window
from crackseg.training.areas import counted, read_areas
from crackseg.training.augment import hair_crack
from crackseg.training.labels import CRACK, label_map, turned
from crackseg.training.manifest import read_pair

SHRUNK, DRAWN = "hair_shrunk", "hair_drawn"
WIDTH_PX = 2.0  # median over a shrunk picture's cracks
_LEAST_SHRINK = 0.85  # a picture that needs less is judged as it is, in its own set
_LEAST_PX = 64  # a smaller picture shows nothing
_CUT_PX = 384  # side of a picture with a drawn crack
_DRAWN_EACH = 2


def make_hair_sets(samples: Sequence[Sample], folder: Path, seed: int = 0) -> dict[str, int]:
    """Write the sets ``hair_shrunk`` and ``hair_drawn`` and return their numbers of pictures.

    Args:
        samples: labelled pictures; those without a crack get drawn ones, the others are shrunk.
        folder: gets a folder for each set.
        seed: of what is drawn.

    Raises:
        DataError: a picture and its mask are no pair.
        ImageError: a file is unreadable.
    """
    written = {SHRUNK: 0, DRAWN: 0}
    for number, sample in enumerate(samples):
        picture, mask = read_pair(sample)
        if counted(read_areas(sample, mask.shape)) is not None:
            continue  # what is left out may be a crack, and these sets have no place to say so
        stem = f"{sample.source}_{sample.image.stem}"
        if mask.any():
            pair = shrink(picture, mask)
            if pair is not None:
                written[SHRUNK] += _write(folder / SHRUNK, stem, *pair)
            continue
        rng = np.random.default_rng([seed, number])
        for copy in range(_DRAWN_EACH):
            drawn = draw(picture, rng)
            written[DRAWN] += _write(folder / DRAWN, f"{stem}-{copy}", *drawn)  # one photograph
    return written


def shrink(picture: Array, mask: Array) -> tuple[Array, Array] | None:
    """Return the pair so much smaller that its cracks are ``WIDTH_PX`` wide.

    None where they are about that already, or where too little would be left. The width is the
    median over the stations of the cracks, as the photograph shows it.
    """
    cracks, _ = measure(
        mask,
        image=partial(_window, picture),
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    widths = [branch.width_px for crack in cracks for branch in crack.branches]
    every = np.concatenate(widths) if widths else np.zeros(0)
    if not np.isfinite(every).any():
        return None
    scale = WIDTH_PX / float(np.nanmedian(every))
    height, width = (round(side * scale) for side in mask.shape)
    if scale > _LEAST_SHRINK or min(height, width) < _LEAST_PX:
        return None
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    side = max(height, width)
    matrix = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5]])
    labels = turned(label_map(picture, mask), matrix, scale, side)[:height, :width]
    return small, labels == CRACK


def draw(picture: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return a square part of a picture of a sound surface with one hair crack, and its mask."""
    side = min(_CUT_PX, *picture.shape[:2])
    row, col = (int(rng.integers(size - side + 1)) for size in picture.shape[:2])
    part = np.ascontiguousarray(picture[row : row + side, col : col + side])
    cracked, labels = hair_crack(part, np.zeros(part.shape[:2], np.uint8), rng)
    return cracked, labels == CRACK


def _window(picture: Array, window: Window) -> Array:
    cut: Array = picture[window.slices]
    return cut


def _write(folder: Path, stem: str, picture: Array, mask: Array) -> int:
    """Write a pair and list it under val; return 1, or 0 without any labelled pixel."""
    if not mask.any():
        return 0
    for kind, pixels in (("images", picture), ("masks", mask.astype(np.uint8) * 255)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / kind / f"{stem}.png")
    with (folder / "val.txt").open("a", encoding="utf-8") as stream:
        stream.write(stem + "\n")
    return 1
