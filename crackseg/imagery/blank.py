"""Areas of a picture that show nothing: black, burnt-out or without any texture.

A frame of a lens cap has no crack in it, nor has it a wall: silence about it would read as "no
crack there". The limits were set on photographs of the training lists, darkened and bleached step
by step; see ``data/EXPERIMENTS.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from crackseg.records import Array, Notice, Prediction, Unjudged
from crackseg.runs import Mask

BLOCK_PX = 16
_AROUND = 3  # blocks; an area shows nothing where a square of as many shows nothing
_BLACK_MEAN, _BLACK_MAX = (
    9.0,
    32,
)  # levels of 255, brightest channel: a sixth of the cracks is found
_WHITE_MIN = 250  # level of 255 of the darkest channel: clipped in all three
_FLAT_RANGE = 2  # levels of 255 in each channel: less than any sensor's noise

CODES = ("black", "white", "flat")
_WORDS = {
    "no_data": "holds no data",
    "black": "is black",
    "white": "is burnt out",
    "flat": "shows no texture at all",
    "blurred": "is too blurred to show cracks",
    "too_small": "is smaller than any crack that could be told from texture",
}
LEAST_SIDE_PX = 16  # a crack of the shortest length that is reported fits into no less
_WORTH_A_WORD = 0.01  # share of the picture; less is a shadow in a joint


class BlankCounter:
    """Count what shows nothing while a picture goes by in bands of rows, from top to bottom."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self._size = (height_px, width_px)
        self._rows = 0  # seen so far
        self._heights: list[int] = []
        self._codes: list[Array] = []  # of each row of blocks: 0 = shows something, else 1 + index

    def add(self, row: int, pixels: Array, valid: Array | None) -> None:
        """Count the rows of a band that no band before it had.

        Args:
            row: of the picture where the band begins; at most the end of the band before it.
            pixels: (h, W, 3) uint8.
            valid: (h, W) bool, True = counts; None = every pixel counts.
        """
        fresh = self._rows - row
        for start, height in _steps(fresh, len(pixels)):
            part = slice(start, start + height)
            self._codes.append(_judge(pixels[part], None if valid is None else valid[part]))
            self._heights.append(height)
        self._rows = max(self._rows, row + len(pixels))

    def areas_px2(self) -> dict[str, float]:
        """Return the area of each kind of nothing, of those that there are."""
        if not self._codes:
            return {}
        codes = np.stack(self._codes)
        widths = np.full(codes.shape[1], BLOCK_PX)
        widths[-1] = self._size[1] - BLOCK_PX * (codes.shape[1] - 1)
        area = np.outer(self._heights, widths)
        areas: dict[str, float] = {}
        for index, code in enumerate(CODES, start=1):
            px2 = float(area[_opened(codes == index)].sum())
            if px2:
                areas[code] = px2
        return areas


def find_unjudged(prediction: Prediction) -> tuple[Unjudged, ...]:
    """Return the parts of a picture of which nothing can be said, the largest first."""
    shape, valid = prediction.probability.shape, prediction.valid
    blank_px2, outside_px2 = prediction.blank_px2, prediction.outside_px2
    return unjudged_parts(shape, valid, outside_px2, blank_px2, prediction.spoilt)


def unjudged_parts(
    shape: tuple[int, ...],
    valid: Mask | None,
    outside_px2: float,
    blank_px2: Mapping[str, float],
    spoilt: tuple[Unjudged, ...] = (),
) -> tuple[Unjudged, ...]:
    """Return the parts of a picture of which nothing can be said, the largest first.

    Args:
        shape: (H, W) of the picture.
        valid: (H, W) bool, True = counts; None: every pixel counts.
        outside_px2: area that a region leaves out, which does not count.
        blank_px2: areas that show nothing, by kind.
        spoilt: parts that show too little for a crack.
    """
    if min(shape) < LEAST_SIDE_PX:
        return (Unjudged(code="too_small", share=1.0),)
    size = shape[0] * shape[1]
    missing = 0 if valid is None else size - int(valid.sum())
    areas = {"no_data": missing - outside_px2, "left_out": outside_px2, **blank_px2}
    parts = [Unjudged(code=code, share=min(px2 / size, 1.0)) for code, px2 in areas.items() if px2]
    return tuple(sorted([*parts, *spoilt], key=lambda part: -part.share))


def unjudged_notices(parts: tuple[Unjudged, ...], *, judged: bool) -> list[Notice]:
    """Return what the report says of the parts of which nothing can be said.

    What a region leaves out was asked for: it stands in the totals, and is no warning.
    """
    worth = [p for p in parts if p.share >= _WORTH_A_WORD and p.code != "left_out"]
    if judged and not worth:
        return []
    shares = [f"{100 * p.share:.0f} % of it {_WORDS.get(p.code, p.code)}" for p in worth]
    listed = "; ".join(shares)
    if not judged:
        text = f"This picture cannot be judged: {listed}. That nothing is marked says nothing."
        return [Notice(code="cannot_be_judged", message=text)]
    text = f"A part of this picture was left out: {listed}. Nothing is known of cracks there."
    return [Notice(code="partly_judged", message=text)]


def _steps(start: int, end: int) -> Iterator[tuple[int, int]]:
    for first in range(start, end, BLOCK_PX):
        yield first, min(BLOCK_PX, end - first)


def _judge(pixels: Array, valid: Array | None) -> Array:
    """Return the code of each block of one row of blocks."""
    low, high = (
        _by_block(part, part_of)
        for part, part_of in ((pixels.min(axis=0), np.minimum), (pixels.max(axis=0), np.maximum))
    )
    codes = np.where((high - low).max(axis=1) <= _FLAT_RANGE, 3, 0)
    codes[low.min(axis=1) >= _WHITE_MIN] = 2
    dark = high.max(axis=1) <= _BLACK_MAX
    if dark.any():
        levels = _by_block(pixels.sum(axis=0, dtype=np.int64), np.add).max(axis=1)
        codes[dark & (levels <= _BLACK_MEAN * len(pixels) * BLOCK_PX)] = 1
    if valid is not None:
        counts = _by_block(valid.sum(axis=0, dtype=np.int64)[:, None], np.add)[:, 0]
        codes[counts < 0.5 * len(valid) * BLOCK_PX] = 0
    judged: Array = codes.astype(np.uint8)
    return judged


def _by_block(columns: Array, made: np.ufunc) -> Array:
    """Return what is made of the (W, C) values of each block; the last value is repeated."""
    whole = np.concatenate([columns, np.repeat(columns[-1:], -len(columns) % BLOCK_PX, axis=0)])
    blocks: Array = made.reduceat(whole, np.arange(0, len(whole), BLOCK_PX), axis=0)
    return blocks


def _opened(blocks: Array) -> Array:
    """Return the blocks that lie in a square of such blocks; beyond the picture all are."""
    padded = np.pad(blocks.astype(np.uint8), _AROUND, constant_values=1)
    square = np.ones((_AROUND, _AROUND), np.uint8)
    opened = cv2.morphologyEx(padded, cv2.MORPH_OPEN, square)
    inner: Array = opened[_AROUND:-_AROUND, _AROUND:-_AROUND] > 0
    return inner
