"""Turn crack probability into a mask: threshold with hysteresis, without specks and pinholes.

A picture goes by in bands of rows, and only its runs of crack pixels are held: what belongs
together is told by the runs of all bands, so that no seam of a band cuts a crack or a pinhole.

Gaps are not painted over here: the mask stays what the network saw, and ``cracks.measure``
bridges gaps and joins pieces on the centre lines, and reports both lengths apart.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.config import MaskOptions
from crackseg.disk import Plane
from crackseg.errors import ConfigError
from crackseg.metrology.pixels import label_links, label_runs
from crackseg.records import Array
from crackseg.runs import Mask, Runs, bands, touching

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


def without_pinholes(mask: Mask, max_area_px: int) -> Runs:
    """Return an (H, W) mask with enclosed holes of up to ``max_area_px`` pixels filled."""
    runs = Runs.of(mask)
    boxes, rest = _with_holes(runs)
    height, width = runs.shape
    if sum(box.size for _, _, box in boxes) <= min(runs.size // 2, _BOXES_PX):
        parts = [
            Runs.of(fill_pinholes(np.asarray(box), max_area_px)).moved(row, col, runs.shape)
            for row, col, box in boxes
        ]
        return Runs.union([rest, *parts], runs.shape)
    margin, parts = max_area_px + 2, []  # so far does a hole reach, with the pixels around it
    for rows in bands(height, width):
        top, bottom = max(rows.start - margin, 0), min(rows.stop + margin, height)
        filled = fill_pinholes(runs[top:bottom], max_area_px)
        parts.append(Runs.of(filled[rows.start - top : rows.stop - top]))
    return Runs.stack(parts, width)


def _with_holes(runs: Runs) -> tuple[list[tuple[int, int, Runs]], Runs]:
    """Return row, column and mask of each region with a hole in it, and the mask of the others.

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
        boxes.append((top, left, region.moved(-top, -left, (high, wide))))
    return boxes, runs.chosen(~ring[label])


def fill_pinholes(mask: Array, max_area_px: int) -> Array:
    """Return the (H, W) bool mask with enclosed holes of up to ``max_area_px`` pixels filled.

    A pinhole is noise of the network; left open it would become a loop of the centre line.
    """
    filled = np.array(mask, dtype=np.uint8)
    contours, tree = cv2.findContours(filled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if tree is None:
        return filled.view(bool)
    for contour, (_, _, _, parent) in zip(contours, tree[0], strict=True):
        # A hole's contour runs on the crack pixels around it; by Pick's theorem it encloses
        # area - length / 2 + 1 pixels.
        if parent >= 0 and cv2.contourArea(contour) - len(contour) / 2 + 1 <= max_area_px:
            col, row, width, height = cv2.boundingRect(contour)
            patch = np.zeros((height, width), dtype=np.uint8)
            cv2.drawContours(patch, [contour], 0, 1, cv2.FILLED, offset=(-col, -row))
            filled[row : row + height, col : col + width] |= patch
    return filled.view(bool)


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
