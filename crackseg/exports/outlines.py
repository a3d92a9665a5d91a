"""Draw the outline of a crack on a picture, or on a part or a reduced copy of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import cv2
import numpy as np

from crackseg.records import Array, Branch, Crack

_LOOKED_AT_PX = 4096  # side of the part of a crack's mask that is outlined at once
OUTLINE = (255, 70, 40)
DOUBTFUL = (60, 150, 235)  # outline of what is also marked, thin and without a number
BY_HAND = (225, 60, 200)  # outline of what an inspector drew or changed
REJECTED = (140, 146, 150)  # outline of what an inspector rejected, where it is drawn at all
_DASH_PX = 6  # of the line where a crack is hidden


def draw_outline(
    picture: Array,
    crack: Crack,
    factor: float,
    *,
    thickness: int,
    origin: tuple[float, float] = (0, 0),
    colour: tuple[int, int, int] | None = None,
) -> None:
    """Draw a thin line round a crack, just outside it; ``origin`` is the picture's (row, col).

    What is also marked gets the thinnest line, in another colour. Where pieces were joined there
    is no mask to go round: there it is the centre line, broken where something hides the crack.
    """
    main = crack.section == "main"
    thickness = thickness if main else 1
    fixed = 16  # cv2 takes coordinates in sixteenths of a pixel
    plain = OUTLINE if crack.correction is None else BY_HAND
    rejected = crack.verdict is not None and crack.verdict.word == "rejected"
    doubtful = REJECTED if rejected else DOUBTFUL
    colour = colour or (plain if main else doubtful)
    for part, lines in _outlines(picture.shape, crack, factor, thickness, origin):
        corner = np.array([part[1].start, part[0].start])
        scaled = [
            np.rint((((line + 0.5) * factor - 0.5) - corner) * fixed).astype(np.int32)
            for line in lines
        ]
        cv2.polylines(picture[part], scaled, True, colour, thickness, cv2.LINE_AA, 4)
    courses = [branch.centre_line for branch in crack.branches if branch.kind == "joined"]
    courses += [dash for b in crack.branches if b.kind == "hidden" for dash in _dashes(b)]
    lines = [
        np.rint(((course - origin + 0.5) * factor - 0.5)[:, ::-1] * fixed).astype(np.int32)
        for course in courses
    ]
    cv2.polylines(picture, lines, False, colour, thickness, cv2.LINE_AA, 4)


def _outlines(
    shape: tuple[int, ...],
    crack: Crack,
    factor: float,
    thickness: int,
    origin: tuple[float, float],
) -> Iterator[tuple[tuple[slice, slice], list[Array]]]:
    """Yield parts of a picture, and the outlines there: (N, 1, 2) col, row of the image.

    The window of a crack may be as large as a mosaic: then a part of its mask is looked at at a
    time, and the edges that cuts make lie outside of the part that is drawn on.
    """
    corner = np.array([crack.window.row - origin[0], crack.window.col - origin[1]])
    if max(crack.mask.shape) <= _LOOKED_AT_PX:
        lines = _around(np.asarray(crack.mask), thickness)
        yield np.s_[0 : shape[0], 0 : shape[1]], [line + corner[::-1] for line in lines]
        return
    side = max(int(_LOOKED_AT_PX * min(factor, 1.0)), 1)
    beyond = thickness + 2 + math.ceil((thickness + 2) / factor)
    begin = np.maximum(np.floor((corner - beyond) * factor / side), 0).astype(int)
    end = np.ceil((corner + crack.mask.shape + beyond) * factor / side).astype(int)
    end = np.minimum(end, -(-np.array(shape[:2]) // side))
    for row, col in itertools.product(range(begin[0], end[0]), range(begin[1], end[1])):
        first = np.array([row, col]) * side
        low = np.maximum(np.floor(first / factor - corner).astype(int) - beyond, 0)
        high = np.ceil((first + side) / factor - corner).astype(int) + beyond
        high = np.clip(high, low, crack.mask.shape)
        inside = crack.mask[low[0] : high[0], low[1] : high[1]]
        if inside.any():
            part = np.s_[first[0] : first[0] + side, first[1] : first[1] + side]
            yield part, [line + (corner + low)[::-1] for line in _around(inside, thickness)]


def _around(mask: Array, thickness: int) -> list[Array]:
    """Return the (N, 1, 2) col, row outlines of a mask that run just outside it."""
    margin = thickness + 1
    square = np.ones((2 * thickness + 1,) * 2, np.uint8)
    grown = cv2.dilate(np.pad(mask, margin).astype(np.uint8), square)
    lines, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [line - margin for line in lines]


def _dashes(branch: Branch) -> list[Array]:
    """Return every second stretch of a branch's centre line."""
    line = branch.centre_line
    return [line[k : k + _DASH_PX + 1] for k in range(0, len(line) - 1, 2 * _DASH_PX)]
