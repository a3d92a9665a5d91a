"""Shapes of annotation tools -> pixels of one picture's mask.

A polygon takes the pixels whose centre lies inside (tools count from the corner of the first pixel,
pixels from its centre). One thinner than a pixel would take few or none, so that a hair crack would
be taught as background: it becomes a line of one pixel along its middle. One that runs along the
edges of pixels is their outline and holds just them. One that runs over itself holds all that it
goes round; one that crosses itself like a bow tie is refused: its corners are out of order, or two
shapes are drawn as one. Shapes are laid on one another in their order; a label that cuts takes away
what lies below it. A shape that gives no pixel inside the picture is refused.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.polygons import turns_round
from crackseg.metrology import arc
from crackseg.raster_tools import polygon2mask
from crackseg.records import Array
from crackseg.training.areas import LEFT_OUT, OTHER_LINE

BACKGROUND = "background"  # CVAT's way to draw a hole: a polygon of this label on top
_THIN_PX = 1.0  # mean width below which pixel centres are missed
_STEP_PX = 0.2  # of points along a thin line
_FARTHEST_PX = 1e7  # no picture is as wide; a shape may leave it, but not like this
_SLIP_PX = 5  # the sides of a crack drawn by hand cross each other where it is thin, not like this
_BOTH_WAYS = 0.01  # of what an outline goes round, as of regions
_ROUNDED_PX = 0.05  # what is left of a corner of a pixel in shares of a picture, with four digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One annotated thing: rings, a line, pixels, or what cannot be drawn and why."""

    label: str
    where: str  # "annotation 7", as its tool counts
    rings: tuple[Array, ...] = ()  # closed, each (N, 2) x, y from the corner of the first pixel
    line: Array | None = None  # open, (N, 2) x, y
    line_px: float | None = None  # the line's own width
    pixels: Callable[[], Array] | None = None  # (h, w) bool
    corner: tuple[int, int] = (0, 0)  # row, col of the first of these pixels
    boxed: bool = False  # drawn as a box: all of it counts
    in_shares: bool = False  # places of rings are shares of the picture's width and height
    whole: bool = False  # all that is crack in the picture: none of it is a crack-free picture
    trouble: str = ""  # why it cannot be drawn

    def __post_init__(self) -> None:
        for points in (*self.rings, *(() if self.line is None else (self.line,))):
            if not (np.abs(points) <= _FARTHEST_PX).all():  # nor nan, which is no place either
                raise DataError(
                    f"{self.where}: its places must be pixels, numbers up to {_FARTHEST_PX:g}, got "
                    f"{points[~(np.abs(points) <= _FARTHEST_PX)][0]:g}."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class FillOptions:
    """What is crack, what cuts, and how lines become areas."""

    labels: frozenset[str]
    cutting: frozenset[str] = frozenset()  # labels that take away what lies below
    line_px: float | None = None  # width of lines that have none of their own
    left_out: frozenset[str] = frozenset()  # labels of what counts for nothing
    others: frozenset[str] = frozenset()  # labels of other lines: joints, cables
    holes: bool = False  # a ring inside another of its shape is a hole

    def __post_init__(self) -> None:
        if self.line_px is not None and not 0 < self.line_px < math.inf:
            raise DataError(f"`line_px` must be a positive number of pixels, got {self.line_px}.")
        roles = (self.labels, self.cutting, self.left_out, self.others)
        twice = sorted(name for one, two in itertools.combinations(roles, 2) for name in one & two)
        if twice:
            raise DataError(
                "a label must have one meaning (crack, cut out, unsure or other line); "
                f"`{twice[0]}` was given two."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What a person should know of a filled mask."""

    empty: bool
    shapes: int = 0  # of crack
    thin: int = 0  # of these thinner than a pixel
    boxes: int = 0  # of these boxes
    share: float = 0.0  # of the picture that is crack
    covered: tuple[tuple[str, int], ...] = ()  # other label that lies on crack, pixels


def fill(
    shapes: Sequence[Shape], size: tuple[int, int], where: str, options: FillOptions
) -> tuple[Array, Filled]:
    """Return the (H, W) bool mask of the shapes of one picture, and how it came about.

    Args:
        shapes: in order, the last on top.
        size: rows, columns.
        where: file and picture, for messages.
        options: labels and widths.

    Raises:
        DataError: a shape of a crack cannot be drawn, or gives no pixel inside the picture.
    """
    mask = np.zeros(size, dtype=bool)
    thin = boxes = 0
    covered: dict[str, int] = {}
    cracks = [shape for shape in shapes if shape.label in options.labels]
    for shape in shapes:
        if shape.label in options.labels:
            drawn, was_thin = _draw(shape, size, where, options)
            mask |= drawn
            thin += was_thin
            boxes += shape.boxed
        elif shape.label in options.cutting or shape.label.casefold() == BACKGROUND:
            mask &= ~_draw(shape, size, where, options)[0]
        elif shape.label in options.left_out | options.others:
            continue  # where it lies on crack the crack stands
        elif mask.any() and not shape.trouble and shape.line is None:
            on_crack = int(
                np.count_nonzero(mask & _draw(shape, size, where, options, check=False)[0])
            )
            covered[shape.label] = covered.get(shape.label, 0) + on_crack
    if not mask.any() and not all(shape.whole for shape in cracks):
        raise DataError(
            f"{where}: {cracks[0].where} of crack is cut away by what lies on top of it."
        )
    return mask, Filled(
        empty=not mask.any(),
        shapes=len(cracks),
        thin=thin,
        boxes=boxes,
        covered=tuple((label, count) for label, count in covered.items() if count),
    )


def fill_areas(
    shapes: Sequence[Shape], mask: Array, where: str, options: FillOptions
) -> Array | None:
    """Return the (H, W) uint8 areas beside a mask, see ``areas``; None where no shape makes any.

    Args:
        shapes: in order, the last on top.
        mask: (H, W) bool, of ``fill``.
        where: file and picture, for messages.
        options: labels and widths.
    """
    filled = [s for s in shapes if s.label in options.left_out | options.others]
    if not filled:
        return None
    areas = np.zeros(mask.shape, np.uint8)
    for shape in sorted(filled, key=lambda one: one.label in options.left_out):  # these on top
        drawn, _ = _draw(shape, mask.shape, where, options)
        left_out = shape.label in options.left_out
        areas[drawn & ~mask] = LEFT_OUT if left_out else OTHER_LINE
    return areas


def _draw(
    shape: Shape, size: tuple[int, int], where: str, options: FillOptions, check: bool = True
) -> tuple[Array, bool]:
    """Return the (H, W) bool pixels of a shape, and whether it was thinner than a pixel."""
    name = f"{where}: {shape.where} (`{shape.label}`)"
    if shape.in_shares:
        rings = tuple(ring * [size[1], size[0]] for ring in shape.rings)
        shape = replace(shape, rings=rings, in_shares=False)
    elif _lies_in_one_pixel(shape):
        raise DataError(
            f"{name}: all its places lie in the first pixel, as shares of a picture's width and "
            "height do; give them in pixels."
        )
    trouble = shape.trouble or _without_area(shape, size)
    if trouble and (check or shape.trouble):
        raise DataError(f"{name} {trouble}.")
    thin = False
    if shape.pixels is not None:
        try:
            drawn = _place(shape.pixels(), shape.corner, size, name)
        except DataError as error:
            raise DataError(str(error) if where in str(error) else f"{name}: {error}") from error
    elif shape.line is not None:
        drawn = _draw_line(shape, size, name, options.line_px)
    else:
        drawn, thin = _draw_rings(shape, size, name, options.holes, check)
    if check and not drawn.any() and not shape.whole:
        raise DataError(f"{name} gives no pixel inside the picture of {size[0]} x {size[1]} px.")
    return drawn, thin


def _without_area(shape: Shape, size: tuple[int, int]) -> str:
    """Return why a shape of rings or a line cannot give a pixel, empty where it can."""
    parts = [*shape.rings, *([] if shape.line is None else [shape.line])]
    parts = [part for part in parts if len(part)]
    if shape.pixels is not None or not parts:
        return ""
    low, high = np.vstack(parts).min(axis=0), np.vstack(parts).max(axis=0)
    if (low == high).all():
        where = f"x = {low[0]:g}, y = {low[1]:g}"
        return f"gives no pixel: all of its points lie at one place, {where}; draw it again"
    if shape.boxed and any((np.ptp(part, axis=0) == 0).any() for part in parts):
        wide, tall = high - low
        return f"gives no pixel: it is a box {wide:g} px wide and {tall:g} px high; draw it again"
    if (high <= 0).any() or (low >= [size[1], size[0]]).any():
        return (
            f"gives no pixel inside the picture of {size[0]} x {size[1]} px: it runs from x = "
            f"{low[0]:g} to {high[0]:g} and from y = {low[1]:g} to {high[1]:g}, and may be of "
            "another picture, or of one that was resized since"
        )
    return ""


def _lies_in_one_pixel(shape: Shape) -> bool:
    parts = [*shape.rings, *([] if shape.line is None else [shape.line])]
    return any(map(len, parts)) and all(((part >= 0) & (part <= 1)).all() for part in parts)


def _place(pixels: Array, corner: tuple[int, int], size: tuple[int, int], name: str) -> Array:
    (row, col), (height, width) = corner, pixels.shape
    if row < 0 or col < 0 or row + height > size[0] or col + width > size[1]:
        raise DataError(f"{name} is a mask that leaves the picture of {size[0]} x {size[1]} px.")
    drawn = np.zeros(size, dtype=bool)
    drawn[row : row + height, col : col + width] = pixels
    return drawn


def _draw_rings(
    shape: Shape, size: tuple[int, int], name: str, holes: bool, check: bool
) -> tuple[Array, bool]:
    """Return the union of the rings of a shape; of one inside another only the caller can tell."""
    rings = [ring for ring in _distinct(shape.rings) if len(ring)]
    drawn = [_draw_ring(ring, size, name if check else "") for ring in rings]
    if len(drawn) == 1:
        return drawn[0]
    mask, thin = np.zeros(size, dtype=bool), False
    layers = np.zeros(size, dtype=np.uint16)
    for pixels, was_thin in drawn:
        layers += pixels
        mask, thin = mask | pixels, thin or was_thin
    if holes:
        return layers % 2 == 1, thin
    inside = [k for k, (pixels, _) in enumerate(drawn) if pixels.any() and layers[pixels].min() > 1]
    if inside and check:
        raise DataError(
            f"{name}: ring {inside[0] + 1} lies inside of another, and whether it is a hole cannot "
            "be told; export the shape as a mask, or give `--holes`."
        )
    return mask, thin


def _distinct(rings: Sequence[Array]) -> list[Array]:
    distinct: list[Array] = []
    for ring in rings:
        if not any(np.array_equal(ring, other) for other in distinct):
            distinct.append(ring)
    return distinct


def _draw_ring(ring: Array, size: tuple[int, int], name: str) -> tuple[Array, bool]:
    """Return the pixels of a closed ring; of a thin one also those along its middle.

    Raises:
        DataError: it crosses itself like a bow tie, and ``name`` is not empty.
    """
    drawn: Array = polygon2mask(size, ring[:, ::-1] - 0.5)
    if _runs_along_pixels(ring):
        return drawn, False
    drawn = _gone_round(ring, drawn, name)
    sides = np.linalg.norm(np.roll(ring, -1, axis=0) - ring, axis=1)
    x, y = ring.T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    if area >= _THIN_PX * sides.sum() / 2 and drawn.any():
        return drawn, False
    return drawn | _touched(_middle(ring), size), True


def _gone_round(ring: Array, drawn: Array, name: str) -> Array:
    """Return the (H, W) bool pixels ``drawn`` of a ring, with those that it goes round twice."""
    low = np.clip(np.floor(ring.min(axis=0)), 0, drawn.shape[::-1]).astype(int)
    high = np.clip(np.ceil(ring.max(axis=0)), 0, drawn.shape[::-1]).astype(int)
    window = slice(low[1], high[1]), slice(low[0], high[0])
    if not drawn[window].size:
        return drawn
    turns = turns_round(ring - 0.5 - low, drawn[window].shape)
    drawn[window] |= np.abs(turns) > 1  # which ``polygon2mask`` takes for a hole
    lesser = min(turns > 0, turns < 0, key=np.count_nonzero)
    crossed_px = int(np.count_nonzero(lesser))
    wide = cv2.erode(lesser.astype(np.uint8), np.ones((_SLIP_PX, _SLIP_PX)), borderValue=0)
    both_ways = wide.any() and crossed_px > _BOTH_WAYS * np.count_nonzero(turns)
    if name and both_ways and _crosses_itself(ring):
        raise DataError(
            f"{name} crosses itself like a bow tie: it goes round {crossed_px} px the other way "
            "than round the rest, so that which area is meant would be a guess; put its corners in "
            "order, or draw its parts as shapes of their own."
        )
    return drawn


def _crosses_itself(ring: Array) -> bool:
    """Return whether two edges cross; parts that programs join by a line there and back do not."""
    start, run = ring, np.roll(ring, -1, axis=0) - ring
    for at, way in zip(start, run, strict=True):
        before = way[0] * (start - at)[:, 1] - way[1] * (start - at)[:, 0]
        behind = before + way[0] * run[:, 1] - way[1] * run[:, 0]
        own = run[:, 0] * (at - start)[:, 1] - run[:, 1] * (at - start)[:, 0]
        own_end = own + run[:, 0] * way[1] - run[:, 1] * way[0]
        if ((before * behind < 0) & (own * own_end < 0)).any():
            return True
    return False


def _runs_along_pixels(ring: Array) -> bool:
    """Return whether a ring is the outline of pixels: it holds those and no other, however thin."""
    on_corners = bool((np.abs(ring - np.rint(ring)) <= _ROUNDED_PX).all())
    sides = np.abs(np.roll(ring, -1, axis=0) - ring)
    return on_corners and bool((sides.min(axis=1) <= 2 * _ROUNDED_PX).all())


def _middle(ring: Array) -> Array:
    """Return the (N, 2) line midway between the two sides of a thin ring.

    The sides part at the two points farthest from each other. Where their middle leaves the ring,
    as in one that branches, the ring itself is the line.
    """
    some = ring[:: max(1, len(ring) // 1000)]
    far = np.linalg.norm(some[:, None] - some[None], axis=2)
    first, last = np.unravel_index(far.argmax(), far.shape)
    step = max(1, len(ring) // 1000)
    turned = np.roll(ring, -int(first) * step, axis=0)
    cut = (int(last) - int(first)) * step % len(ring)
    one = turned[: cut + 1]
    other = np.vstack([turned[cut:], turned[:1]])[::-1]
    share = np.linspace(0, 1, 2 + int(arc.length(one) / _STEP_PX))
    middle = (_along(one, share) + _along(other, share)) / 2
    outline = ring.astype(np.float32)[:, None]
    away = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in middle]
    if min(away) < -_THIN_PX:
        return np.vstack([ring, ring[:1]])
    ends = int(_THIN_PX / _STEP_PX)  # there it runs out to a corner of the ring
    return middle[ends:-ends] if len(middle) > 4 * ends else middle


def _along(line: Array, share: Array) -> Array:
    """Return the points of a line at these shares of its length."""
    return arc.at(line, share * arc.length(line))


def _touched(line: Array, size: tuple[int, int]) -> Array:
    """Return the (H, W) bool pixels that a line of x, y goes through."""
    points = _along(line, np.linspace(0, 1, 2 + int(arc.length(line) / _STEP_PX)))
    cols, rows = np.floor(points).astype(int).T
    inside = (rows >= 0) & (cols >= 0) & (rows < size[0]) & (cols < size[1])
    drawn = np.zeros(size, dtype=bool)
    drawn[rows[inside], cols[inside]] = True
    return drawn


def _draw_line(shape: Shape, size: tuple[int, int], name: str, line_px: float | None) -> Array:
    """Return the (H, W) bool pixels whose centre is within half of its width of a line."""
    width = shape.line_px or line_px
    if width is None:
        raise DataError(f"{name} is a line without a width; give `line_px`, its width in pixels.")
    if width > min(size):
        raise DataError(
            f"{name} is a line {width:g} px wide in a picture of {size[0]} x {size[1]} px."
        )
    drawn = np.zeros(size, dtype=bool)
    limits = np.array(size)
    points = np.asarray(shape.line)
    for start, end in itertools.pairwise(points[:, ::-1] - 0.5):
        low = np.clip(np.floor(np.minimum(start, end) - width), 0, limits).astype(int)
        high = np.clip(np.ceil(np.maximum(start, end) + width) + 1, 0, limits).astype(int)
        rows, cols = np.mgrid[low[0] : high[0], low[1] : high[1]]
        place = np.stack([rows, cols], axis=-1) - start
        along = end - start
        share = np.clip(place @ along / max(float(along @ along), 1e-9), 0, 1)
        far = np.linalg.norm(place - share[..., None] * along, axis=-1)
        drawn[low[0] : high[0], low[1] : high[1]] |= far <= width / 2
    return drawn | _touched(points, size) if width < 2 * _THIN_PX else drawn
