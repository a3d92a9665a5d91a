"""Polygons in pixels -> (H, W) uint8; those whose corners are out of order are refused."""

from __future__ import annotations

import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.outside import area_outside
from crackseg.records import Array, ImageInfo

_BOTH_WAYS = 0.01  # of an outline's area: less is a slip of the hand, more is what nobody meant
_BAND_ROWS = 256  # of the picture at a time: an orthophoto's windings would not fit into memory


def fill_polygons(
    polygons: list[tuple[str, list[Array]]], info: ImageInfo
) -> tuple[Array, list[tuple[str, float]]]:
    """Return (H, W) uint8 with 1 where the centre of a pixel lies inside; further rings are holes.

    The second value says of each polygon which share of it lies outside of the picture.

    An outline holds the pixels it runs through, a hole does not. One that crosses itself holds all
    that it goes round, as one drawn by hand may; but it must go round all of it the same way.

    Raises:
        DataError: one goes round a part clockwise and another against the clock.
    """
    canvas = np.zeros((info.height_px, info.width_px), np.uint8)
    outside = []
    for where, (outline, *holes) in polygons:
        ways = np.zeros((1 + len(holes), 2), np.int64)
        ends = outline[:, 1].min(), outline[:, 1].max() + 1
        first, last = np.clip(np.ceil(ends), 0, info.height_px).astype(int).tolist()
        for top in range(first, last, _BAND_ROWS):
            rows = slice(top, min(top + _BAND_ROWS, last))
            inside, both = _inside(outline, rows, info.width_px, rim=True)
            ways[0] += both
            for k, hole in enumerate(holes, start=1):
                cut, both = _inside(hole, rows, info.width_px, rim=False)
                ways[k] += both
                inside &= ~cut
            canvas[rows] |= inside
        _refuse_bow_tie(ways, where)
        outside.append((where, area_outside(outline, float(ways[0].sum()), info)))
    return canvas, outside


def _refuse_bow_tie(ways: Array, where: str) -> None:
    """Raise where a ring goes round parts of the picture both ways: its corners are out of order.

    Args:
        ways: (N, 2) pixels that each ring goes round one way and the other.
        where: which geometry it is.

    Raises:
        DataError: names the geometry.
    """
    share = (ways.min(axis=1) / np.maximum(ways.sum(axis=1), 1)).max()
    if share > _BOTH_WAYS:
        raise DataError(
            f"{where} crosses itself like a bow tie: it goes round {100 * share:.0f} % of its area "
            "the other way than round the rest, so that which area is meant would be a guess; put "
            "its corners in order, or draw the parts as polygons of their own."
        )


def _inside(ring: Array, rows: slice, width_px: int, *, rim: bool) -> tuple[Array, tuple[int, int]]:
    """Return (h, W) bool of some rows: where an (N, 2) ring of x, y goes round the pixel's centre.

    The second value counts the centres that it goes round one way and the other. Centres that lie
    on an edge are as ``rim`` says.
    """
    turns, crossings = _turns(ring, rows, width_px)
    both = int((turns > 0).sum()), int((turns < 0).sum())
    inside: Array = turns != 0
    on = np.concatenate([crossings, ring])
    on = on[(on == np.rint(on)).all(axis=1) & (on[:, 0] >= 0) & (on[:, 0] < width_px)]
    on = on[(on[:, 1] >= rows.start) & (on[:, 1] < rows.stop)].astype(int)
    inside[on[:, 1] - rows.start, on[:, 0]] = rim
    start, end = ring, np.roll(ring, -1, axis=0)
    low, high = (pick(start[:, 1], end[:, 1]) for pick in (np.minimum, np.maximum))
    flat = (low == high) & (low == np.rint(low)) & (low >= rows.start) & (low < rows.stop)
    for (one, y), (other, _) in zip(start[flat], end[flat], strict=True):
        left, right = sorted((one, other))
        run_px = slice(max(int(np.ceil(left)), 0), max(int(np.floor(right)) + 1, 0))
        inside[int(y) - rows.start, run_px] = rim
    return inside, both


def turns_round(ring: Array, size: tuple[int, int]) -> Array:
    """Return (H, W) int32: how often an (N, 2) ring of x, y goes round the centre of each pixel.

    One way counts up and the other down; 0 is outside.
    """
    return _turns(ring, slice(0, size[0]), size[1])[0]


def _turns(ring: Array, rows: slice, width_px: int) -> tuple[Array, Array]:
    """Return the (h, W) turns of ``turns_round`` in some rows, and where edges cross them, x, y.

    Each edge turns what lies right of it by one, up or down.
    """
    start, end = ring, np.roll(ring, -1, axis=0)
    low, high = (pick(start[:, 1], end[:, 1]) for pick in (np.minimum, np.maximum))
    first, last = (np.ceil(np.clip(y, rows.start, rows.stop)).astype(int) for y in (low, high))
    count = last - first
    edge = np.repeat(np.arange(len(ring)), count)
    row = first[edge] + np.arange(len(edge)) - (np.cumsum(count) - count)[edge]
    run = (end - start)[edge]
    x = start[edge, 0] + (row - start[edge, 1]) * run[:, 0] / run[:, 1]
    steps = np.zeros((rows.stop - rows.start, width_px + 1), np.int32)
    at = np.ceil(np.clip(x, 0, width_px)).astype(int)
    np.add.at(steps, (row - rows.start, at), np.sign(run[:, 1]).astype(np.int32))
    turns = np.cumsum(steps, axis=1, dtype=np.int32)[:, :-1]
    return turns, np.column_stack([x, row])
