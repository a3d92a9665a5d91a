"""Widths at stations about 1 px apart along the centre lines, from the photograph or the mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from crackseg.metrology.centreline import Line
from crackseg.metrology.interior import fit_interior
from crackseg.metrology.sampling import mask_edges, normals, read_profiles
from crackseg.metrology.width import Widths, widths_from_profiles
from crackseg.records import Array, Window

AVERAGE = 5  # neighbouring profiles averaged: noise falls, a bend of 5 px is still straight
_BACKGROUND_PX = 11  # of concrete on either side of the crack in each profile
_CHUNK = 50_000  # stations sampled at a time: bounds memory on gigapixel pictures
# Stations, and share of a line, that must show the interior before the rest is taken as dark.
_SHOWING, _SHOWING_SHARE = 5, 0.15
_WIDE_SHARE = 0.5  # of a line's stations, the widest, whose mean profile is fitted
# Standard uncertainty of a mask-orthogonal width: two edges on the pixel grid, and what masks are
# too fat or too lean by (mean error 0.73 px on real cracks, Ong et al. 2022).
_MASK_NOISE_U_PX, _MASK_MODEL_U_PX = 0.4, 0.75


@dataclass(frozen=True, slots=True)
class Stations:
    """Widths along one line; a bridge has none."""

    width_px: Array  # (N,) best width, nan where there is none
    noise_u_px: Array  # (N,) standard uncertainty that falls when stations are averaged
    model_u_px: Array  # (N,) standard uncertainty that neighbouring stations share
    from_image: Array  # (N,) bool
    edges: Array  # (N, 2, 2) edge points (row, col)


def measure_stations(
    lines: list[Line], mask: Array, image: Callable[[Window], Array] | None
) -> list[Stations]:
    """Return the stations of every line.

    Args:
        lines: centre lines.
        mask: (H, W) bool.
        image: reads a window of the photograph, or None.
    """
    result: dict[int, Stations] = {}
    for chunk in _chunks(lines):
        sizes = np.array([len(lines[k].points) for k in chunk])
        points = np.concatenate([lines[k].points for k in chunk])
        normal = np.concatenate([normals(lines[k].points) for k in chunk])
        radius = np.repeat([lines[k].radius_px for k in chunk], sizes)
        reach = np.repeat([1.2 * lines[k].radius_max_px + 3 for k in chunk], sizes)
        stations = _from_mask(mask, points, normal, reach)
        if image is not None:
            half = int(np.ceil(reach.max())) + _BACKGROUND_PX
            profiles = _average(read_profiles(image, mask.shape, points, normal, half), sizes)
            stations = _from_image(stations, profiles, points, normal, radius, sizes)
        for k, part in zip(chunk, _parts(sizes), strict=True):
            whole = _part(stations, part, lines[k].kind == "bridge")
            width = _without_cut(whole.width_px, lines[k].points, normal[part], mask.shape)
            result[k] = replace(whole, width_px=width)
    return [result[k] for k in range(len(lines))]


def _without_cut(width: Array, points: Array, normal: Array, shape: tuple[int, ...]) -> Array:
    """Return the widths, nan where the section across the crack leaves the picture.

    There one edge is not to be seen. A line that runs along the border keeps what it has.
    """
    half = (0.5 * np.nan_to_num(width) + 1)[:, None] * np.abs(normal)
    inside = (points - half >= -0.5) & (points + half <= np.array(shape) - 0.5)
    kept = inside.all(axis=1)
    return np.where(kept, width, np.nan) if kept.any() else width


def _from_mask(mask: Array, points: Array, normal: Array, reach: Array) -> Stations:
    """Return the widths across the mask."""
    distance = mask_edges(mask, points, normal, reach)
    width = distance.sum(axis=1)
    return Stations(
        width_px=width,
        noise_u_px=np.full(len(width), _MASK_NOISE_U_PX),
        model_u_px=np.full(len(width), _MASK_MODEL_U_PX),
        from_image=np.zeros(len(width), dtype=bool),
        edges=points[:, None, :]
        + np.stack([-distance[:, :1] * normal, distance[:, 1:] * normal], axis=1),
    )


def _from_image(
    stations: Stations,
    profiles: Array,
    points: Array,
    normal: Array,
    radius: Array,
    sizes: Array,
) -> Stations:
    """Return the widths of the profiles where they show a dark line, else those of the mask."""
    guess = np.where(np.isnan(stations.width_px), 2 * radius, stations.width_px)
    found = widths_from_profiles(profiles, guess)
    interior = _known_interior(found, profiles, sizes)
    again = np.flatnonzero(np.isfinite(interior) & (found.shown < 1))
    if len(again):
        better = widths_from_profiles(profiles[again], guess[again], interior[again])
        for name in ("width_px", "noise_u_px", "model_u_px", "centre_px"):
            getattr(found, name)[again] = getattr(better, name)
    sides = found.centre_px[:, None] + 0.5 * found.width_px[:, None] * np.array([-1.0, 1.0])
    edges = points[:, None, :] + sides[:, :, None] * normal[:, None, :]
    return Stations(
        width_px=np.where(found.dark, found.width_px, stations.width_px),
        noise_u_px=np.where(found.dark, found.noise_u_px, stations.noise_u_px),
        model_u_px=np.where(found.dark, found.model_u_px, stations.model_u_px),
        from_image=found.dark,
        edges=np.where(found.dark[:, None, None], edges, stations.edges),
    )


def _known_interior(found: Widths, profiles: Array, sizes: Array) -> Array:
    """Return the (N,) darkness of the interior by line, nan where a line does not tell it.

    Stations that show a plateau tell it; else the shape of the mean profile where the line is
    widest.
    """
    known = np.full(len(found.shown), np.nan)
    for part in _parts(sizes):
        width = np.where(found.dark[part], found.width_px[part], np.nan)
        if np.isfinite(width).sum() < _SHOWING:
            continue
        showing = np.flatnonzero((found.shown[part] >= 0.9) & found.dark[part])
        if len(showing) >= max(_SHOWING, _SHOWING_SHARE * len(width)):
            known[part] = np.median(found.interior[part][showing])
        else:
            wide = part.start + np.flatnonzero(width >= np.nanquantile(width, 1 - _WIDE_SHARE))
            guess = float(np.median(found.width_px[wide]))
            known[part] = fit_interior(profiles[wide], found.centre_px[wide], guess)
    return known


def _part(stations: Stations, part: slice, bridge: bool) -> Stations:
    """Return the stations of one line."""
    width = stations.width_px[part]
    return Stations(
        width_px=np.full(len(width), np.nan) if bridge else width,
        noise_u_px=stations.noise_u_px[part],
        model_u_px=stations.model_u_px[part],
        from_image=stations.from_image[part],
        edges=stations.edges[part],
    )


def _chunks(lines: list[Line]) -> Iterator[list[int]]:
    """Yield line numbers in groups of similar width and of bounded size."""
    order = np.argsort([line.radius_max_px for line in lines], kind="stable")
    chunk: list[int] = []
    size = 0
    for k in order:
        line = lines[k]
        wide = chunk and line.radius_max_px > 1.5 * lines[chunk[0]].radius_max_px + 2
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
    low, high = np.maximum(start, at - AVERAGE // 2), np.minimum(stop, at + AVERAGE // 2 + 1)
    total = np.zeros((len(profiles) + 1, profiles.shape[1]))
    np.cumsum(profiles, axis=0, out=total[1:])
    mean: Array = (total[high] - total[low]) / (high - low)[:, None]
    return mean
