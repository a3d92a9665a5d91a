"""Find where a photograph does not show the wall between two tips: behind a cable, in burnt light.

The stretch between the tips is looked at as a strip of T steps along the way and W columns across
it. What hides the wall crosses the strip from side to side: a band with a sharp edge before and
behind it that is far darker than the concrete, or smoother than it; or pixels without any tone
left. Shadow and sunlight keep the texture of the concrete: they hide nothing.
"""

from __future__ import annotations

import numpy as np

from crackseg.records import Array

_LEAN = np.linspace(-1.0, 1.0, 33)  # rows a column by which an obstacle may cross aslant
_HALF_PX = 24  # columns to either side that an obstacle must cross
_EDGE, _EDGE_PX = 0.15, 2  # least step of an edge, as a share of the concrete, and its half width
_CROSSING = 0.85  # share of the columns that must show the edge
_BLUR_PX = 3  # beside an obstacle its blur and its shadow hide the line as well
_DARK = 0.3  # times the concrete's grey: no shadow is as dark
_SMOOTH = 0.4  # of the concrete's texture, each over its own grey: an obstacle may be smoother
_NO_TONE = (6.0, 245.0)  # grey values
_GONE = 0.6  # share of those columns without tone: a wide crack is black as well, but no wider


def hidden_rows(grey: Array, axis: int, stretch: slice) -> Array:
    """Return the (T,) rows of a strip in which the wall is not to be seen.

    Args:
        grey: (T, W) grey values, 0..255.
        axis: column of the straight way.
        stretch: rows from tip to tip; nothing outside is hidden.
    """
    near = grey[:, axis - _HALF_PX : axis + _HALF_PX + 1]
    blank = (near <= _NO_TONE[0]) | (near >= _NO_TONE[1])
    hidden: Array = blank.mean(axis=1) >= _GONE
    for first, last in _bands(grey, axis, stretch):
        hidden[max(first - _BLUR_PX, 0) : last + _BLUR_PX] = True
    hidden[: stretch.start] = False
    hidden[stretch.stop :] = False
    return hidden


def _bands(grey: Array, axis: int, stretch: slice) -> list[tuple[int, int]]:
    """Return the rows of the obstacle between the tips, from its first edge to its last."""
    level, texture, edge = _upright(grey, axis)
    rows = np.flatnonzero(edge[stretch]) + stretch.start
    if len(rows) < 2:
        return []
    first, last = int(rows[0]), int(rows[-1]) + 1
    before, behind = slice(max(first - 20, 0), max(first - 3, 1)), slice(last + 3, last + 20)
    concrete = [float(np.median(level[part])) for part in (before, behind) if level[part].size]
    if len(concrete) < 2 or last - first < 2 * _EDGE_PX:
        return []
    inside = level[first:last]
    dark = bool(inside.min() <= _DARK * min(concrete))
    inner = texture[first + _EDGE_PX : last - _EDGE_PX]
    rough = min(float(np.median(texture[part])) for part in (before, behind))
    smooth = inner.size > 0 and rough > 0 and float(np.median(inner)) < _SMOOTH * rough
    return [(first, last)] if dark or smooth else []


def _upright(grey: Array, axis: int) -> tuple[Array, Array, Array]:
    """Return (T,) grey, texture over grey, and whether there is an edge, as an obstacle may lean.

    Of the leans that one with the sharpest edges is taken.
    """
    columns = np.arange(axis - _HALF_PX, axis + _HALF_PX + 1)
    best, chosen = -1.0, np.empty(0)
    for lean in _LEAN:
        rows = np.arange(len(grey))[:, None] + np.rint(lean * (columns - axis)).astype(int)
        part = grey[np.clip(rows, 0, len(grey) - 1), columns]
        sharp = float(np.square(np.diff(part.mean(axis=1))).sum())
        if sharp > best:
            best, chosen = sharp, part
    level = np.median(chosen, axis=1)
    texture = np.median(np.abs(np.diff(chosen, axis=1)), axis=1) / np.maximum(level, 1.0)
    step = np.zeros_like(chosen)
    step[_EDGE_PX:-_EDGE_PX] = chosen[2 * _EDGE_PX :] - chosen[: -2 * _EDGE_PX]
    least = _EDGE * float(np.median(level))
    crossing = np.maximum((step > least).mean(axis=1), (step < -least).mean(axis=1))
    return level, texture, crossing >= _CROSSING
