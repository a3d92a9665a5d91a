"""What a mask cannot say of a picture: where nobody decided, what is no crack but another line.

A set may bring ``areas`` beside ``masks``: an 8-bit grey PNG of the picture's size, named like the
mask, whose values are those of ``VALUES``. A mask tells crack from the rest; the rest is no crack,
unless an area says that it counts for nothing, neither in training nor in any score.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.files import open_image
from crackseg.records import Array, Sample

FOLDER = "areas"
AS_MASKED = 0
NO_CRACK = 85  # somebody looked and it is none; perhaps a joint, a cable, another line
OTHER_LINE = 170  # a joint, a cable, an edge of formwork, a scratch
LEFT_OUT = 255  # counts for nothing: undecided, out of the structure, without data
VALUES = {
    AS_MASKED: "as the mask says",
    NO_CRACK: "no crack, perhaps another line",
    OTHER_LINE: "another line",
    LEFT_OUT: "left out",
}


def areas_file(sample: Sample) -> Path:
    """Return where the areas of a sample are, if it has any."""
    return sample.mask.parent.parent / FOLDER / f"{sample.mask.stem}.png"


def read_areas(sample: Sample, shape: tuple[int, int]) -> Array | None:
    """Return the (H, W) uint8 areas of a sample, None where it has none.

    Args:
        sample: names the mask that they lie beside.
        shape: (H, W) of the upright picture.

    Raises:
        DataError: the file is of another size or kind, or holds a value that means nothing.
        ImageError: it cannot be read.
    """
    path = areas_file(sample)
    if not path.is_file():
        return None
    with open_image(path, is_mask=True) as image:
        pixels = image.read()
    values: Array = np.ascontiguousarray(pixels[..., 0])
    if (pixels != values[..., None]).any():
        raise DataError(f"{path}: areas must be grey in 8 bits, got colours.")
    if values.shape != shape:
        raise DataError(
            f"{path}: areas are {values.shape[0]} x {values.shape[1]} px, the upright picture "
            f"{sample.image.name} {shape[0]} x {shape[1]} px (rows x columns)."
        )
    strange = sorted(set(np.unique(values).tolist()) - set(VALUES))
    if strange:
        meanings = ", ".join(f"{value} ({meaning})" for value, meaning in VALUES.items())
        raise DataError(f"{path}: areas must hold {meanings}; got {strange[0]}.")
    return values


def counted(areas: Array | None) -> Array | None:
    """Return the (H, W) bool pixels that count, None where all do."""
    return None if areas is None or not (areas == LEFT_OUT).any() else areas != LEFT_OUT


def encode_areas(areas: Array) -> bytes:
    """Return (H, W) uint8 areas as PNG."""
    data: bytes = cv2.imencode(".png", areas)[1].tobytes()
    return data
