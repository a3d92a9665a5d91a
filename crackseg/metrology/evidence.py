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
    one, other = (
        _mean(profiles, (side * across >= outer) & (side * across <= outer + SIDE_PX))
        for side in (-1, 1)
    )
    darker, lighter = np.minimum(one, other), np.maximum(np.maximum(one, other), 1.0)
    return np.column_stack([(darker - crack) / lighter, (lighter - darker) / lighter])


def _mean(profiles: Array, chosen: Array) -> Array:
    """Return the (N,) mean of the chosen samples of each profile."""
    mean: Array = (profiles * chosen).sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)
    return mean
