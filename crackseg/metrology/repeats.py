"""Look whether what is marked stands a second time in the photograph.

No two cracks are alike. What people fix to a wall or build it of does repeat: the clamps of a
pipe, brackets, bolts, the joints of bricks, letters. The surroundings of a mark's line are held
against every other place near it, coarsely, and the most alike of these again in more detail:
coarsely, a short crack is like many a thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.metrology.centreline import UNMARKED
from crackseg.metrology.sampling import to_grey
from crackseg.records import Array, Crack, Window

_CELL_PX = 2048  # a mark is looked for in its cell and half a cell around it
_HELD_PX = 25_000_000  # of a photograph up to so large the cells, which overlap, are read at once
_SEARCHED_PX2 = 1_000_000  # size to which the searched part is made smaller
_COARSE_PX, _FINE_PX = 48, 96  # sides of a square as large as the mark's window, at either look
_BESIDE_PX = 10.0  # beside a mark's edges, what is compared
_FINER = 1.2  # times as fine: else there is nothing more to be seen
_LEAST_PX = 5  # side of a window: a smaller one is like everything
_CANDIDATES = 3  # places looked at in detail
_EVEN_PX, _NOISE = 8.0, 6.0  # light is evened out over such a distance; grey values that are noise
# Extent of a mark: no fitting was longer, and long straight cracks run side by side.
LONGEST_PX = 260.0
# Of a longer mark only the surroundings of its widest place, to either side of it; a crack that
# opens there is wider by so much than it mostly is.
_AROUND_PX, _WIDER, _WIDER_PX = 90.0, 2.0, 3.0
REPEATS = 0.6  # from here on the reader is told: one in a hundred real cracks reaches it
_COPY = 0.985  # from here on it is the same picture once more, as in a mosaic of repeated tiles
_FLAT = 0.25  # times the mark's variance: even places are like nothing


@dataclass(frozen=True, slots=True)
class _Mark:
    window: Window  # with what is compared beside the mark
    lines: tuple[Array, ...]  # (N, 2) float (row, col)
    beside_px: float  # of the centre line


@dataclass(frozen=True, slots=True)
class _Cell:
    """A part of the photograph that is searched, as large as several marks of it ask for."""

    window: Window
    grey: Array  # (H, W) float32
    made: dict[float, Array]  # what it was evened to, by factor

    def evened(self, factor: float) -> Array:
        """Return its grey values as ``_evened`` makes them; most marks ask for one size."""
        if factor not in self.made:
            self.made.clear()
            self.made[factor] = _evened(self.grey, factor)
        return self.made[factor]


def repetitions(
    cracks: Sequence[Crack], shape: tuple[int, int], image: Callable[[Window], Array]
) -> list[float | None]:
    """Return how alike another place of the photograph is to each mark: a correlation, up to 1.

    None where a mark is too small or too long for another place to be compared, and where the
    photograph itself was copied there.

    Args:
        cracks: with the branches that were measured.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.
    """
    result: list[float | None] = [None] * len(cracks)
    marks = {
        number: _mark(crack, shape)
        for number, crack in enumerate(cracks)
        if float(np.hypot(crack.window.height, crack.window.width)) <= LONGEST_PX
    }
    for number, alike in _all_repetitions(marks, shape, image).items():
        result[number] = None if alike is not None and alike >= _COPY else alike
    return result


def repeated_parts(
    cracks: Sequence[Crack], shape: tuple[int, int], image: Callable[[Window], Array]
) -> dict[int, tuple[Window, float]]:
    """Return where what stands a second time makes the largest width of a longer mark.

    Args:
        cracks: with the branches that were measured.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.

    Returns:
        Number in ``cracks`` -> window of the fitting that its mask runs into, how alike another is.
    """
    widest = (_widest_part(crack, shape) for crack in cracks)
    marks = {number: mark for number, mark in enumerate(widest) if mark is not None}
    alike = _all_repetitions(marks, shape, image)
    return {
        number: (mark.window, value)
        for number, mark in marks.items()
        if (value := alike[number]) is not None and REPEATS <= value < _COPY
    }


def _all_repetitions(
    marks: Mapping[int, _Mark], shape: tuple[int, int], image: Callable[[Window], Array]
) -> dict[int, float | None]:
    """Return the likeness of the most alike place of each mark; each cell is made grey once."""
    cells = {number: _cell(mark.window, shape) for number, mark in marks.items()}
    result = {}
    grey_of = _grey_reader(list(dict.fromkeys(cells.values())), image)
    for window in dict.fromkeys(cells.values()):
        cell = _Cell(window, grey_of(window), {})
        for number, mark in marks.items():
            if cells[number] == window:
                result[number] = _repetition(mark, cell, shape, image)
    return result


def _grey_reader(
    cells: Sequence[Window], image: Callable[[Window], Array]
) -> Callable[[Window], Array]:
    """Return what gives the grey values of cells, which overlap: those of all, if they are few."""
    top, left = (min((getattr(c, k) for c in cells), default=0) for k in ("row", "col"))
    bottom = max((cell.row + cell.height for cell in cells), default=0)
    right = max((cell.col + cell.width for cell in cells), default=0)
    if not cells or (bottom - top) * (right - left) > _HELD_PX:
        return lambda cell: to_grey(image(cell))
    whole = to_grey(image(Window(row=top, col=left, height=bottom - top, width=right - left)))
    return lambda cell: whole[
        cell.row - top : cell.row - top + cell.height,
        cell.col - left : cell.col - left + cell.width,
    ]


def _widest_part(crack: Crack, shape: tuple[int, int]) -> _Mark | None:
    """Return the mark around the widest place of a long crack, None where it is not wide there."""
    usual, widest = crack.width_median.px, crack.width_max.px
    extent = float(np.hypot(crack.window.height, crack.window.width))
    if extent <= LONGEST_PX or crack.width_max_at is None or widest is None:
        return None
    if widest < _WIDER * (usual or 0.0) + _WIDER_PX:
        return None
    lines = [branch.centre_line for branch in crack.branches if branch.kind not in UNMARKED]
    off = [np.hypot(*(line - crack.width_max_at).T) <= _AROUND_PX for line in lines]
    near = [line[there] for line, there in zip(lines, off, strict=True) if there.sum() > 1]
    return _mark_along(tuple(near), crack, shape) if near else None


def _mark(crack: Crack, shape: tuple[int, int]) -> _Mark:
    marked = [branch for branch in crack.branches if branch.kind not in UNMARKED]
    return _mark_along(tuple(branch.centre_line for branch in marked), crack, shape)


def _mark_along(lines: tuple[Array, ...], crack: Crack, shape: tuple[int, int]) -> _Mark:
    beside = _BESIDE_PX + 0.5 * crack.paper_width_px
    points = np.concatenate(lines)
    low, high = points.min(axis=0) - beside, points.max(axis=0) + beside + 1
    return _Mark(_inside(low, high, shape), lines, beside)


def _cell(window: Window, shape: tuple[int, int]) -> Window:
    middle = np.array([window.row + window.height // 2, window.col + window.width // 2])
    first = middle // _CELL_PX * _CELL_PX - _CELL_PX // 2
    return _inside(first, first + 2 * _CELL_PX, shape)


def _holds(cell: Window, window: Window) -> bool:
    rows = cell.row <= window.row and window.row + window.height <= cell.row + cell.height
    return rows and cell.col <= window.col and window.col + window.width <= cell.col + cell.width


def _inside(low: Array, high: Array, shape: tuple[int, int]) -> Window:
    top, left = (int(v) for v in np.maximum(np.floor(low), 0))
    bottom, right = (int(v) for v in np.minimum(np.ceil(high), shape))
    return Window(row=top, col=left, height=max(bottom - top, 1), width=max(right - left, 1))


def _repetition(
    mark: _Mark, cell: _Cell, shape: tuple[int, int], image: Callable[[Window], Array]
) -> float | None:
    """Return the likeness of the most alike place in a cell."""
    side = float(np.sqrt(mark.window.height * mark.window.width))
    factor = min(1.0, _COARSE_PX / side, float(np.sqrt(_SEARCHED_PX2 / cell.grey.size)))
    finer = min(1.0, _FINE_PX / side)
    alike = _coarsely(mark, cell, factor) if _holds(cell.window, mark.window) else None
    if alike is None or alike.max() <= -1.0:
        return None
    if finer < _FINER * factor:
        return float(alike.max())
    own = _evened(to_grey(image(mark.window)), finer)
    weight = _weight(mark, own.shape, finer)
    return max(
        _finely(own, weight, _evened(to_grey(image(window)), finer))
        for window in _places(alike, mark.window, cell.window, factor, shape)
    )


def _coarsely(mark: _Mark, cell: _Cell, factor: float) -> Array | None:
    """Return how alike each place of a cell is, -1 where it would overlap the mark's own."""
    whole = cell.evened(factor)
    row, col = (
        round((a - b) * factor)
        for a, b in (
            (mark.window.row, cell.window.row),
            (mark.window.col, cell.window.col),
        )
    )
    height, width = (round(v * factor) for v in (mark.window.height, mark.window.width))
    own = whole[row : row + height, col : col + width]
    if min(own.shape) < _LEAST_PX:
        return None
    alike = _alike(whole, own, _weight(mark, own.shape, factor))
    top, left = max(row - own.shape[0] + 1, 0), max(col - own.shape[1] + 1, 0)
    alike[top : row + own.shape[0], left : col + own.shape[1]] = -1.0
    return alike


def _finely(own: Array, weight: Array, other: Array) -> float:
    """Return the likeness of the best place in ``other``; -1 where it is cut by the picture."""
    if any(a < b for a, b in zip(other.shape, own.shape, strict=True)):
        return -1.0
    return float(_alike(other, own, weight).max())


def _places(
    alike: Array, window: Window, cell: Window, factor: float, shape: tuple[int, int]
) -> list[Window]:
    """Return where in the photograph the most alike places are, each with some slack around it."""
    rest, places = alike.copy(), []
    size, slack = np.array([window.height, window.width]), np.ceil(2 / factor)
    for _ in range(_CANDIDATES):
        row, col = np.unravel_index(int(rest.argmax()), rest.shape)
        if rest[row, col] <= -1.0:  # its own place, or one that was looked at
            break
        low = np.array([cell.row, cell.col]) + np.array([row, col]) / factor
        places.append(_inside(low - slack, low + size + slack, shape))
        rest[max(row - 3, 0) : row + 4, max(col - 3, 0) : col + 4] = -1.0
    return places


def _evened(grey: Array, factor: float) -> Array:
    """Return (h, w) float32 grey values made smaller, over their unevenness, without slow light."""
    grey = np.asarray(grey, np.float32)
    if factor < 1:
        size = tuple(max(round(v * factor), 1) for v in grey.shape[::-1])
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    rest = grey - cv2.GaussianBlur(grey, (0, 0), _EVEN_PX)
    evened: Array = rest / (np.sqrt(cv2.GaussianBlur(rest * rest, (0, 0), _EVEN_PX)) + _NOISE)
    return evened


def _weight(mark: _Mark, shape: tuple[int, ...], factor: float) -> Array:
    """Return the (h, w) float32 pixels of a mark's window that are compared, 1 or 0."""
    drawn = np.zeros(shape, np.uint8)
    origin = np.array([mark.window.row, mark.window.col])
    for line in mark.lines:
        points = np.rint((line - origin)[:, ::-1] * factor).astype(np.int32)
        cv2.polylines(drawn, [points], False, 1, max(round(2 * mark.beside_px * factor), 3))
    weight: Array = drawn.astype(np.float32)
    return weight


def _alike(whole: Array, own: Array, weight: Array) -> Array:
    """Return the weighted correlation of ``own`` with every place of ``whole``."""
    count = float(weight.sum())
    part = (own - float((own * weight).sum()) / count) * weight
    variance = float((part**2).sum()) / count
    mean, square = (
        cv2.matchTemplate(values, weight, cv2.TM_CCORR) / count for values in (whole, whole**2)
    )
    spread = np.maximum(square - mean**2, _FLAT * variance)
    product = cv2.matchTemplate(whole, part, cv2.TM_CCORR) / count
    alike: Array = product / np.sqrt(np.maximum(spread * variance, 1e-9))
    return alike
