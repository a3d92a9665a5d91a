"""Widths at stations about 1 px apart along the centre lines, from the photograph or the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from crackseg.metrology.centreline import Line
from crackseg.metrology.sampling import mask_edges, normals, read_profiles
from crackseg.metrology.width import widths_from_profiles
from crackseg.records import Array, Window

_BACKGROUND_PX = 12  # of concrete on either side of the crack in each profile
_AVERAGE = 5  # neighbouring profiles averaged: noise falls, a bend of 5 px is still straight
_CHUNK = 50_000  # stations sampled at a time: bounds memory on gigapixel pictures
_MASK_U_PX = 0.4  # standard uncertainty of one mask-orthogonal width: two edges at 1 / sqrt(12)


@dataclass(frozen=True, slots=True)
class Stations:
    """Widths along one line."""

    normal: Array  # (N, 2) unit vectors
    mask_px: Array  # (N,) width across the mask, nan where it has none
    width_px: Array  # (N,) best width
    u_px: Array  # (N,) standard uncertainty
    from_image: Array  # (N,) bool
    edges: Array  # (N, 2, 2) edge points (row, col)


def measure_stations(
    lines: list[Line], mask: Array, image: Callable[[Window], Array] | None
) -> list[Stations]:
    """Return the stations of every line.

    Args:
        lines: centre lines; bridges get no width.
        mask: (H, W) bool.
        image: reads a window of the photograph, or None.
    """
    result: dict[int, Stations] = {}
    for chunk in _chunks(lines):
        points = np.concatenate([lines[k].points for k in chunk])
        normal = np.concatenate([normals(lines[k].points) for k in chunk])
        sizes = np.array([len(lines[k].points) for k in chunk])
        radius = np.repeat([lines[k].radius_px for k in chunk], sizes)
        distance = mask_edges(mask, points, normal, 2 * radius + 4)
        width = distance.sum(axis=1)
        best, u = width.copy(), np.where(np.isnan(width), np.nan, _MASK_U_PX)
        from_image = np.zeros(len(width), dtype=bool)
        middle = np.where(np.isnan(width), 0.0, 0.5 * (distance[:, 1] - distance[:, 0]))
        if image is not None:
            half = int(np.ceil(2 * radius.max() + _BACKGROUND_PX))
            profiles = read_profiles(image, mask.shape, points, normal, half)
            profiles = _average(profiles, sizes)
            guess = np.where(np.isnan(width), 2 * radius, width)
            found = widths_from_profiles(profiles, guess)
            from_image = found.dark
            best = np.where(from_image, found.width_px, best)
            u = np.where(from_image, found.u_px, u)
            middle = np.where(from_image, found.centre_px, middle)
        side = middle[:, None] + 0.5 * best[:, None] * np.array([-1.0, 1.0])
        edges = points[:, None, :] + side[:, :, None] * normal[:, None, :]
        for k, part in zip(chunk, _parts(sizes), strict=True):
            result[k] = Stations(
                normal[part], width[part], best[part], u[part], from_image[part], edges[part]
            )
    return [result[k] for k in range(len(lines))]


def _chunks(lines: list[Line]) -> Iterator[list[int]]:
    """Yield line numbers in groups of similar width and of bounded size."""
    order = np.argsort([line.radius_px for line in lines], kind="stable")
    chunk: list[int] = []
    size = 0
    for k in order:
        line = lines[k]
        wide = chunk and line.radius_px > 1.5 * lines[chunk[0]].radius_px + 2
        if chunk and (wide or size + len(line.points) > _CHUNK):
            yield chunk
            chunk, size = [], 0
        chunk.append(int(k))
        size += len(line.points)
    if chunk:
        yield chunk


def _parts(sizes: Array) -> list[slice]:
    stop = np.cumsum(sizes)
    return [slice(int(b - n), int(b)) for n, b in zip(sizes, stop, strict=True)]


def _average(profiles: Array, sizes: Array) -> Array:
    """Return each profile averaged with its neighbours on the same line."""
    stop = np.repeat(np.cumsum(sizes), sizes)
    start = stop - np.repeat(sizes, sizes)
    at = np.arange(len(profiles))
    low, high = np.maximum(start, at - _AVERAGE // 2), np.minimum(stop, at + _AVERAGE // 2 + 1)
    total = np.zeros((len(profiles) + 1, profiles.shape[1]))
    np.cumsum(profiles, axis=0, out=total[1:])
    mean: Array = (total[high] - total[low]) / (high - low)[:, None]
    return mean
