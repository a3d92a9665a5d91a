"""What in the photograph speaks for a marked line being a crack: how dark it is, and on both sides.

A crack is darker than the concrete on either side of it. The edge of a shadow, of a spall or of a
fitting is darker than one side alone, so the darker side counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from crackseg.metrology.centreline import UNMARKED
from crackseg.metrology.sampling import by_size, normals, read_profiles
from crackseg.records import Array, Branch, Crack, Window

SIDE_PX = 5  # of concrete looked at on either side
GAP_PX = 1.5  # between the edge of the crack and that concrete: blur belongs to neither
STATIONS = 300  # of one crack at most: more say nothing new
_PLACES = 24  # elsewhere: of lines that lie anywhere, one set in 25 is the darkest by chance
_FEW = 200  # stations of all lines together, read at each of these places
_STEP = np.array([0.7548776662, 0.5698402910])  # of the R2 sequence: places spread evenly
_ASIDE_PX = 1.0  # by which the middle of a mask may miss that of its line


def darkness(
    cracks: Sequence[Crack], shape: tuple[int, int], image: Callable[[Window], Array]
) -> list[tuple[float | None, float | None]]:
    """Return contrast and step of each crack, as shares of the lighter side's grey.

    Contrast is how much darker the line is than the darker of its two sides: 1 is black on white,
    0 a step or nothing at all, less is a light line. Step is how much the two sides differ: little
    where both are the same concrete, much along the edge of a shadow, a spall or a fitting. Both
    are medians over stations; None where a crack has none.

    Args:
        cracks: with the branches that were measured.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.
    """
    stations = [_stations(crack.branches) for crack in cracks]
    sizes = [len(points) for points, _, _ in stations]
    if not sum(sizes):
        return [(None, None)] * len(cracks)
    points, normal, half_px = (np.concatenate(part) for part in zip(*stations, strict=True))
    shares = np.empty((len(points), 2))
    for chosen, half in by_size(half_px + GAP_PX + SIDE_PX):
        profiles = read_profiles(image, shape, points[chosen], normal[chosen], half)
        shares[chosen] = _shares(profiles, half_px[chosen])
    parts = np.split(shares, np.cumsum(sizes)[:-1])
    return [_medians(part) for part in parts]


def as_dark_elsewhere(
    cracks: Sequence[Crack], shape: tuple[int, int], image: Callable[[Window], Array]
) -> float:
    """Return at which share of other places of the picture the same lines would be as dark.

    Lines that were drawn on this photograph lie darker than the same lines moved anywhere; those of
    another one, or mirrored or shifted ones, lie as dark in many places. At each place the lines
    are read in the same way, from the mask's course and width alone, so that none is favoured.

    Args:
        cracks: with the branches that were measured; 0 where there are none.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.
    """
    lines = [
        (branch.centre_line, 0.5 * crack.mask_area_px2 / max(crack.length.px or 0.0, 1.0))
        for crack in cracks
        for branch in crack.branches
        if branch.kind not in UNMARKED and len(branch.centre_line) > 2
    ]
    if not lines:
        return 0.0
    points = np.concatenate([line for line, _ in lines])
    normal = np.concatenate([normals(line) for line, _ in lines])
    half_px = np.repeat([half for _, half in lines], [len(line) for line, _ in lines])
    step = -(-len(points) // _FEW)
    points, normal, half_px = points[::step], normal[::step], half_px[::step]
    depths = []
    for place in range(_PLACES + 1):
        # By whole pixels, as sharp everywhere; what leaves the picture comes in again.
        moved = (points + np.rint(place * _STEP % 1 * shape)) % shape
        depth = np.empty(len(points))
        for chosen, half in by_size(half_px + _ASIDE_PX + GAP_PX + SIDE_PX):
            profiles = read_profiles(image, shape, moved[chosen], normal[chosen], half)
            depth[chosen] = _depths(profiles, half_px[chosen])
        depths.append(np.median(depth))
    return float(np.mean(np.array(depths[1:]) >= depths[0]))


def _depths(profiles: Array, half_px: Array) -> Array:
    """Return (N,) by how much the darkest sample near the middle is darker than the darker side."""
    across = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    inner = (half_px + _ASIDE_PX)[:, None]
    lowest = np.where(np.abs(across) <= inner, profiles, np.inf).min(axis=1)
    darker = np.minimum(*_sides(profiles, inner + GAP_PX))
    depth: Array = (darker - lowest) / np.maximum(darker, 1.0)
    return depth


def _medians(shares: Array) -> tuple[float | None, float | None]:
    if not len(shares):
        return None, None
    contrast, step = np.median(shares, axis=0)
    return float(contrast), float(step)


def _stations(branches: Sequence[Branch]) -> tuple[Array, Array, Array]:
    """Return (N, 2) points, (N, 2) normals and (N,) half widths of at most ``STATIONS``."""
    marked = [branch for branch in branches if branch.kind not in UNMARKED]
    lines = [branch for branch in marked if len(branch.width_px) > 2]
    if not lines:
        return np.empty((0, 2)), np.empty((0, 2)), np.empty(0)
    middle = [branch.edges.mean(axis=1) for branch in lines]
    line = np.concatenate([branch.centre_line for branch in lines])
    points = np.concatenate(middle)
    points = np.where(np.isfinite(points), points, line)
    normal = np.concatenate([normals(branch.centre_line) for branch in lines])
    width = np.concatenate([branch.width_px for branch in lines])
    finite = width[np.isfinite(width)]
    half = 0.5 * np.where(np.isfinite(width), width, np.median(finite) if len(finite) else 1.0)
    step = -(-len(points) // STATIONS)
    return points[::step], normal[::step], half[::step]


def _shares(profiles: Array, half_px: Array) -> Array:
    """Return (N, 2) contrast and step of profiles (N, K) whose middle sample is the centre."""
    across = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    inner = np.maximum(0.5 * half_px, 0.5)[:, None]
    outer = (half_px + GAP_PX)[:, None]
    crack = _mean(profiles, np.abs(across) <= inner)
    one, other = _sides(profiles, outer)
    darker, lighter = np.minimum(one, other), np.maximum(np.maximum(one, other), 1.0)
    return np.column_stack([(darker - crack) / lighter, (lighter - darker) / lighter])


def _sides(profiles: Array, outer: Array) -> tuple[Array, Array]:
    """Return the (N,) mean grey of either side, from (N, 1) px off the middle on."""
    across = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    one, other = (
        _mean(profiles, (side * across >= outer) & (side * across <= outer + SIDE_PX))
        for side in (-1, 1)
    )
    return one, other


def _mean(profiles: Array, chosen: Array) -> Array:
    """Return the (N,) mean of the chosen samples of each profile."""
    mean: Array = (profiles * chosen).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
    return mean
