"""Turn crack probability into a mask: threshold with hysteresis, without specks and pinholes.

A picture goes by in bands of rows, and only its runs of crack pixels are held: what belongs
together is told by the runs of all bands, so that no seam of a band cuts a crack or a pinhole.

Gaps are not painted over here: the mask stays what the network saw, and ``cracks.measure``
bridges gaps and joins pieces on the centre lines, and reports both lengths apart.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from crackseg.config import MaskOptions
from crackseg.disk import Plane
from crackseg.errors import ConfigError
from crackseg.metrology.pixels import label_links, label_runs
from crackseg.metrology.sampling import to_grey
from crackseg.records import Array, Window
from crackseg.runs import Mask, Runs, bands, touching

_HOLE_PX = 96  # a hole is at most so long
_HOLE_NARROW, _HOLE_LONG = 0.4, 1.5  # by the width of the crack around it: how wide, how long
_CONCRETE_PX = 8  # about a crack, in which there is concrete
_BOXES_PX = 30_000_000  # of regions with holes; more of them are looked at band by band


def probability_to_mask(
    probability: Plane,
    *,
    threshold: float,
    threshold_low: float,
    options: MaskOptions,
    valid: Mask | None = None,
) -> Array:
    """Return the (H, W) bool crack mask of a probability map; see ``mark``."""
    return np.asarray(
        mark(
            probability,
            threshold=threshold,
            threshold_low=threshold_low,
            options=options,
            valid=valid,
        )
    )


def mark(
    probability: Plane,
    *,
    threshold: float,
    threshold_low: float,
    options: MaskOptions,
    valid: Mask | None = None,
) -> Runs:
    """Return the (H, W) crack mask of a probability map.

    A pixel counts when its probability is at least ``threshold``, or at least ``threshold_low``
    in a connected region that holds one at ``threshold``. Regions smaller than
    ``options.min_area_px`` are dropped.

    Args:
        probability: (H, W) uint8, 255 = 1.0.
        threshold: 0..1, seeds a crack.
        threshold_low: 0..``threshold``, lets it go on.
        options: speck size; what else it holds is not read.
        valid: (H, W) bool, True = counts; None = every pixel counts.

    Raises:
        ConfigError: the map is not uint8 in two dimensions, or the thresholds are out of order.
    """
    _check(probability, threshold, threshold_low)
    parts, seeds = [], []
    for rows in bands(*probability.shape):
        values = probability[rows]
        mask = values >= np.uint8(min(255, np.ceil(threshold_low * 255)))
        if valid is not None:
            mask &= valid[rows]
        part = Runs.of(mask)
        parts.append(part)
        places = part.pixels()
        seeded = places[values.reshape(-1)[places] >= np.uint8(min(255, np.ceil(threshold * 255)))]
        seeds.append(np.diff(np.searchsorted(seeded, np.r_[part.start, mask.size])) > 0)
    runs = Runs.stack(parts, probability.shape[1])
    if not runs.any():
        return runs
    count, label = label_runs(runs)
    keep = np.bincount(label, weights=np.concatenate(seeds), minlength=count) > 0
    keep &= _areas(runs, count, label) >= options.min_area_px
    return runs.chosen(keep[label])


def without_specks(mask: Mask, least_px: int) -> Runs:
    """Return an (H, W) mask without regions of less than ``least_px`` pixels."""
    runs = Runs.of(mask)
    if not runs.any():
        return runs
    count, label = label_runs(runs)
    return runs.chosen((_areas(runs, count, label) >= least_px)[label])


def _areas(runs: Runs, count: int, label: Array) -> Array:
    return np.bincount(label, weights=runs.stop - runs.start, minlength=count)


def without_pinholes(
    mask: Mask, max_area_px: int, image: Callable[[Window], Array] | None = None
) -> Runs:
    """Return an (H, W) mask with its pinholes filled; see ``fill_pinholes``."""
    runs = Runs.of(mask)
    boxes, rest = _with_holes(runs)
    height, width = runs.shape
    if sum(box.size for _, _, box in boxes) <= min(runs.size // 2, _BOXES_PX):
        parts = [
            Runs.of(fill_pinholes(np.asarray(box), max_area_px, image, (row, col))).moved(
                row, col, runs.shape
            )
            for row, col, box in boxes
        ]
        return Runs.union([rest, *parts], runs.shape)
    margin, parts = max(max_area_px, 3 * _HOLE_PX) + 2, []  # with what tells the crack's width
    for rows in bands(height, width):
        top, bottom = max(rows.start - margin, 0), min(rows.stop + margin, height)
        filled = fill_pinholes(runs[top:bottom], max_area_px, image, (top, 0))
        parts.append(Runs.of(filled[rows.start - top : rows.stop - top]))
    return Runs.stack(parts, width)


def _with_holes(runs: Runs) -> tuple[list[tuple[int, int, Runs]], Runs]:
    """Return row, column and mask of each region with a hole in it, and the mask of the others.

    About each there is some concrete.

    Where the runs of a region touch in a ring, they go round a hole.
    """
    if not runs.any():
        return [], runs
    one, other = touching(runs)
    count, label = label_links(one, other, len(runs.start))
    links = np.bincount(label[one], minlength=count)
    ring = links > np.bincount(label, minlength=count) - 1
    order = np.argsort(label, kind="stable")
    first = np.append(0, np.cumsum(np.bincount(label, minlength=count)))
    boxes = []
    for name in np.flatnonzero(ring):
        region = runs.chosen(order[first[name] : first[name + 1]])
        top, left, high, wide = region.extent()
        bottom = min(top + high + _CONCRETE_PX, runs.shape[0])
        right = min(left + wide + _CONCRETE_PX, runs.shape[1])
        top, left = max(top - _CONCRETE_PX, 0), max(left - _CONCRETE_PX, 0)
        boxes.append((top, left, region.moved(-top, -left, (bottom - top, right - left))))
    return boxes, runs.chosen(~ring[label])


def fill_pinholes(
    mask: Array,
    max_area_px: int,
    image: Callable[[Window], Array] | None = None,
    origin: tuple[int, int] = (0, 0),
) -> Array:
    """Return the (H, W) bool mask with its pinholes filled, the smallest first.

    A pinhole is noise of the network, or a grain that hangs in the crack; left open it would become
    a loop of the centre line, and both of its sides count as length. It is an enclosed hole of up
    to ``max_area_px`` pixels, or one that is about as narrow as the mask on either side of it and
    not much longer than the crack is wide; a longer one parts two cracks side by side. Where there
    is a photograph, such a hole must be as dark as the crack: round a flake of concrete there are
    two.

    Args:
        mask: (H, W) bool.
        max_area_px: largest hole that is filled whatever its shape.
        image: reads a window of the photograph as (h, w, 3) uint8 RGB; None: shape alone decides.
        origin: row and column of the photograph where the mask begins.
    """
    filled = np.array(mask, dtype=np.uint8)
    contours, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return filled.view(bool)
    # A hole's contour runs on the crack pixels around it; by Pick's theorem it encloses
    # area - length / 2 + 1 pixels.
    holes = [
        (cv2.contourArea(contour) - len(contour) / 2 + 1, contour)
        for contour, (_, _, _, parent) in zip(contours, tree[0], strict=True)
        if parent >= 0
    ]
    for area, contour in sorted(holes, key=lambda hole: hole[0]):
        col, row, width, height = cv2.boundingRect(contour)
        if area > max_area_px and max(width, height) > _HOLE_PX:
            continue
        hole = np.zeros((height, width), dtype=np.uint8)
        cv2.drawContours(hole, [contour], 0, 1, cv2.FILLED, offset=(-col, -row))
        empty = np.pad(hole, 1)
        cv2.drawContours(empty, [contour], 0, 0, 1, offset=(1 - col, 1 - row))
        if area <= max_area_px or (
            _is_narrow(empty, hole, filled, row, col)
            and (image is None or _is_dark(empty, filled, row, col, image, origin))
        ):
            filled[row : row + height, col : col + width] |= hole
    return filled.view(bool)


def _is_narrow(empty: Array, hole: Array, mask: Array, row: int, col: int) -> bool:
    """Say whether a hole is so narrow and so short that it is no part of a crack's course.

    Args:
        empty: (h + 2, w + 2) uint8, the hole.
        hole: (h, w) uint8, with the pixels of the mask around it.
        mask: (H, W) uint8.
        row: of the mask where ``hole`` begins.
        col: of the mask where it begins.
    """
    long = max(hole.shape)
    top, left = max(row - 2 * _HOLE_PX, 0), max(col - 2 * _HOLE_PX, 0)
    down, right = row - top, col - left
    inside = np.s_[down : down + hole.shape[0], right : right + hole.shape[1]]
    beside = np.s_[
        max(down - long, 0) : down + hole.shape[0] + long,
        max(right - long, 0) : right + hole.shape[1] + long,
    ]
    around = mask[
        top : row + hole.shape[0] + 2 * _HOLE_PX, left : col + hole.shape[1] + 2 * _HOLE_PX
    ].copy()
    around[inside] |= hole
    region = cv2.connectedComponents(around)[1]
    around[region != region[inside][hole > 0][0]] = 0  # another crack beside it tells nothing
    depth = cv2.distanceTransform(np.pad(around, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    wide = 2 * depth[beside].max()
    narrow = 2 * cv2.distanceTransform(empty, cv2.DIST_L2, 5).max()
    return bool(narrow <= _HOLE_NARROW * wide and long - 2 <= _HOLE_LONG * wide)


def _is_dark(
    empty: Array,
    mask: Array,
    row: int,
    col: int,
    image: Callable[[Window], Array],
    origin: tuple[int, int],
) -> bool:
    """Say whether a hole is rather as dark as the crack around it than as light as the concrete.

    Args:
        empty: (h + 2, w + 2) uint8, the hole.
        mask: (H, W) uint8.
        row: of the mask where the hole with the pixels around it begins.
        col: of the mask where it begins.
        image: reads a window of the photograph.
        origin: row and column of the photograph where the mask begins.
    """
    height, width = empty.shape[0] - 2, empty.shape[1] - 2
    margin = max(height, width) + _CONCRETE_PX
    top, left = max(row - margin, 0), max(col - margin, 0)
    part = mask[top : row + height + margin, left : col + width + margin] > 0
    high, wide = part.shape
    window = Window(row=origin[0] + top, col=origin[1] + left, height=high, width=wide)
    grey = to_grey(image(window))
    hole = np.zeros(part.shape, bool)
    hole[row - top : row - top + height, col - left : col - left + width] = empty[1:-1, 1:-1]
    concrete = grey[~part & ~hole]
    if not len(concrete):
        return True
    crack, light = float(np.median(grey[part])), float(np.median(concrete))
    return bool(np.median(grey[hole]) <= 0.5 * (crack + light))


def _check(probability: Plane, threshold: float, threshold_low: float) -> None:
    if probability.ndim != 2 or probability.dtype != np.uint8:
        raise ConfigError(
            f"`probability` must be (H, W) uint8, got {probability.dtype} of shape "
            f"{probability.shape}; multiply a 0..1 map by 255."
        )
    if not 0 < threshold_low <= threshold <= 1:
        raise ConfigError(
            f"`threshold_low` must lie between 0 and `threshold`, got {threshold_low} and "
            f"{threshold}; use the same value for both to switch hysteresis off."
        )
