"""Two maps are laid on each other: by what photographs of both dates show alike, or by coordinates.

A map is exact in itself but for one shift, turn and size; those four are found from points that an
old and a new photograph show. Where the photographs are not at hand or show nothing alike, the
coordinates of both maps are taken, which are as sure as each map's place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from crackseg.errors import DataError, ImageError
from crackseg.face.cameras import View
from crackseg.face.face_json import view_from
from crackseg.face.matching import Features, find_features, match_along, vote_for_pairs
from crackseg.folders import sha256_of
from crackseg.records import Array

_LEAST = 40  # points that agree, for a registration by features
_APART_M = 0.5  # least distance of two points that a first guess is made of
_APART_SHARE = 0.5  # of how far the points spread, where that is less: a map of a close-up is small
_AGREE_M = 0.05  # of one place by both maps, in the first guess of the robust fit
_ROUNDS = 300
_BY_COORDINATES_M = 0.15  # standard deviation of a map's place by a drone, without control points
_BY_POINTS_M = 0.02  # the same with reference points


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How places of the old map lie on the new one: x + iy -> factor (x + iy) + shift."""

    factor: complex
    shift: complex
    source: str  # features | coordinates
    points: int
    sigma_m: float  # of a place of the old map on the new one
    scale_sigma_rel: float  # of old lengths against new ones

    def to_new(self, places_m: Array) -> Array:
        """Return (N, 2) places on the new map of (N, 2) places of the old one."""
        z = self.factor * (places_m[:, 0] + 1j * places_m[:, 1]) + self.shift
        return np.column_stack([z.real, z.imag])


def register(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    listen: Callable[[str, float], None] = lambda step, share: None,
) -> Registration:
    """Return the registration of two maps.

    Args:
        old: a ``face.json``.
        new: another one.
        listen: is told of the step and the share of it that is done.

    Raises:
        DataError: nothing says how the maps lie on each other.
    """
    pairs = _places_alike(old, new, listen)
    alignment = None if pairs is None else _fit(*pairs)
    if alignment is not None:
        return alignment
    if not (old["scale"]["placed"] and new["scale"]["placed"]):
        raise DataError(
            "the two maps cannot be laid on each other: their photographs show nothing alike, or "
            "are not at hand, and a map has no place of its own; give both maps reference points."
        )
    parts = [_place_sigma_m(values) for values in (old, new)]
    lengths = [values["scale"]["sigma_rel"] for values in (old, new)]
    return Registration(
        factor=1 + 0j,
        shift=_between_origins(old, new),
        source="coordinates",
        points=0,
        sigma_m=math.hypot(*parts),
        scale_sigma_rel=math.hypot(*lengths),
    )


def _place_sigma_m(values: Mapping[str, Any]) -> float:
    points = values["scale"]["source"] in ("reference_points", "orthomosaic")
    return _BY_POINTS_M if points else values["pose_misses_m"] or _BY_COORDINATES_M


def _between_origins(old: Mapping[str, Any], new: Mapping[str, Any]) -> complex:
    """Return the shift of two maps whose faces name different origins by station and elevation."""
    one, other = old["face"], new["face"]
    sign = 1 if other["rightwards"] else -1
    rise = 1 / math.hypot(1, other["batter"])
    station = sign * (one["station_m"] - other["station_m"])
    return complex(station, (one["elevation_m"] - other["elevation_m"]) / rise)


def photographs_of(values: Mapping[str, Any]) -> list[tuple[Path, View]]:
    """Return the photographs of a map whose files are at hand, with their views.

    A file of that name with other content is not the photograph.
    """
    return [(Path(p["path"]), view_from(p)) for p in values["photographs"] if _is_at_hand(p)]


def _is_at_hand(photograph: Mapping[str, Any]) -> bool:
    path = Path(photograph["path"])
    if not photograph["path"] or not path.is_file():
        return False
    return sha256_of(path) == str(photograph["sha256"])


def _places_alike(
    old: Mapping[str, Any], new: Mapping[str, Any], listen: Callable[[str, float], None]
) -> tuple[Array, Array] | None:
    """Return (N,) places as x + iy of points on the old and on the new map, or None."""
    sets = [photographs_of(values) for values in (old, new)]
    if not all(sets):
        return None
    everyone = [*sets[0], *sets[1]]
    views, count = [view for _, view in everyone], len(sets[0])
    find: Callable[[int], Features] = lambda n: _features(everyone[n][0])  # noqa: E731
    along = np.zeros(len(views))
    if old["scale"]["placed"] and new["scale"]["placed"]:
        pairs, along = _near_pairs(views, count, _between_origins(old, new))
    else:
        features = {}
        for number in range(len(views)):
            listen("features of both dates", number / len(views))
            features[number] = find(number)
        voted = vote_for_pairs(list(features.values()), range(len(views)))
        pairs, find = {(a, b) for a, b in voted if a < count <= b}, features.pop
    diagonals = [math.hypot(v.lens.height_px, v.lens.width_px) for v in views]
    one, other = [], []
    for match in match_along(find, pairs, along, diagonals, partial(listen, "matching both dates")):
        a = views[match.first].to_face(match.first_px[match.agrees])
        b = views[match.second].to_face(match.second_px[match.agrees])
        good = np.isfinite(a).all(axis=1) & np.isfinite(b).all(axis=1)
        one.append(a[good] @ [1, 1j])
        other.append(b[good] @ [1, 1j])
    return (np.concatenate(one), np.concatenate(other)) if one else None


def _features(path: Path) -> Features:
    """Return the features of a photograph, none of a damaged one."""
    try:
        return find_features(path)
    except ImageError:
        empty = np.zeros((0, 128), np.uint8)
        return Features(points_px=np.zeros((0, 2)), looks=empty, factor=1.0)


def _near_pairs(
    views: Sequence[View], count: int, shift: complex
) -> tuple[set[tuple[int, int]], Array]:
    """Return pairs of an old and a new photograph of about one place, and the place of all along
    the line that they spread over."""
    middles = np.nan_to_num([view.centre_m for view in views], nan=1e12)
    middles[:count] += [shift.real, shift.imag]
    reach = np.array([np.ptp(view.outline_m(1), axis=0).max() / 2 for view in views])
    tree = cKDTree(middles[count:])
    pairs = set()
    for a in range(count):
        near = np.array(tree.query_ball_point(middles[a], 0.8 * reach.max()), int) + count
        gap = np.hypot(*(middles[near] - middles[a]).T)
        pairs |= {(a, int(b)) for b in near[gap < 0.8 * np.maximum(reach[a], reach[near])]}
    return pairs, middles[:, int(np.argmax(np.ptp(middles, axis=0)))]


def _fit(old: Array, new: Array) -> Registration | None:
    """Return the similarity that most points agree with, or None where too few do."""
    rng = np.random.default_rng(0)
    spread_m = float(np.abs(old - old.mean()).mean()) if len(old) else 0.0
    small = min(1.0, _APART_SHARE * spread_m / _APART_M)
    best, most = np.zeros(len(old), bool), 0
    for _ in range(_ROUNDS if len(old) >= _LEAST else 0):
        i, j = rng.integers(0, len(old), 2)
        if abs(old[i] - old[j]) < small * _APART_M:
            continue
        factor = (new[i] - new[j]) / (old[i] - old[j])
        if not 0.8 < abs(factor) < 1.25:
            continue
        close = np.abs(factor * old + new[i] - factor * old[i] - new) < small * _AGREE_M
        if close.sum() > most:
            best, most = close, int(close.sum())
    if most < max(_LEAST, 0.3 * len(old)):
        return None
    for _ in range(5):
        a, b = old[best], new[best]
        factor = np.vdot(a - a.mean(), b - b.mean()) / np.vdot(a - a.mean(), a - a.mean())
        shift = b.mean() - factor * a.mean()
        miss = np.abs(factor * old + shift - new)
        best = miss < max(4 * float(np.median(miss[best])), 1e-4)
    sigma = float(np.sqrt((miss[best] ** 2).mean() / 2))
    spread = float(np.abs(old[best] - old[best].mean()).mean())
    return Registration(
        factor=complex(factor),
        shift=complex(shift),
        source="features",
        points=int(best.sum()),
        sigma_m=sigma,
        scale_sigma_rel=sigma / max(spread, 1e-9),
    )
