"""Which photographs are of the face, and which of them are neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial import cKDTree

from crackseg.face.matching import Features, Match, match_along, vote_for_pairs
from crackseg.face.photographs import Photograph, Pose
from crackseg.face.plane import STEEP_PITCH_DEG, FacePlane, placed_by_drone
from crackseg.records import Array

AROUND_M = 1.0  # what a drone's place may be off before any tie is known
_STEEPEST_DEG = 80.0  # from the normal; beyond it a pixel covers six times what it seems to
_PLAIN = 50  # features; a photograph with fewer shows no texture
_DIRECTIONS = 8  # in which neighbours are taken
_TURNED_DEG = 50.0  # a camera turned further from the others looks at another face


def each_once(photographs: Sequence[Photograph], aside: list[tuple[str, str]]) -> list[Photograph]:
    """Return the photographs without those that are one file under a second name.

    The same name counts as in the report of the survey.
    """
    first: dict[str, Photograph] = {}
    for photograph in sorted(photographs, key=lambda p: p.rank):
        first.setdefault(photograph.report["image"]["sha256"], photograph)
    once = []
    for photograph in photographs:
        twin = first[photograph.report["image"]["sha256"]]
        if twin is photograph:
            once.append(photograph)
        else:
            which = twin.name if twin.name != photograph.name else f"that in `{twin.folder.name}`"
            aside.append((photograph.name, f"it is the very file of {which}, which counts."))
    return once


def with_files(photographs: Sequence[Photograph], aside: list[tuple[str, str]]) -> list[Photograph]:
    """Return those whose files are at hand."""
    usable = []
    for photograph in photographs:
        if photograph.path is None:
            text = "its file is not where it was analyzed; give its folder with `--photographs`."
            aside.append((photograph.name, text))
        else:
            usable.append(photograph)
    return usable


def of_this_face(
    photographs: Sequence[Photograph],
    plane: FacePlane,
    azimuth: float | None,
    aside: list[tuple[str, str]],
) -> list[Photograph]:
    """Return those that look at the face, or of which it is not known."""
    usable = []
    for photograph in photographs:
        pose = photograph.pose
        text = "" if pose is None or azimuth is None else _looks_elsewhere(pose, plane, azimuth)
        if text:
            aside.append((photograph.name, text))
        else:
            usable.append(photograph)
    return usable


def _looks_elsewhere(pose: Pose, plane: FacePlane, azimuth: float) -> str:
    """Return a sentence where a camera looks at another face, or along this one; else nothing."""
    turn = abs((pose.yaw_deg - azimuth) % 360 - 180)
    if turn > _TURNED_DEG and abs(pose.pitch_deg) < STEEP_PITCH_DEG:
        return f"it looks {turn:.0f} deg away from the face: another face; map that by itself."
    cosine = -float((pose.axes @ plane.frame(azimuth).T)[2, 2])
    angle = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    if angle > _STEEPEST_DEG:
        return (
            f"it looks along the face, at {angle:.0f} deg from its normal (pitch "
            f"{pose.pitch_deg:.0f} deg): ground, crest or another face; for a face that lies flat "
            "give its `batter` in survey.toml, or place without poses (`--ignore-poses`)."
        )
    return ""


def match_all(
    photographs: Sequence[Photograph],
    find: Callable[[int], Features],
    plane: FacePlane,
    azimuth: float | None,
    listen: Callable[[str, float], None],
) -> tuple[list[Match], int]:
    """Return the matches of neighbours: by place where poses are known, by looks elsewhere.

    Where all have a pose, the features of those alone are held that are matched at the time.

    Args:
        photographs: with files.
        find: gives the features of a photograph of a number.
        plane: what is known of the face.
        azimuth: that it looks to.
        listen: is told of the step and the share of it that is done.

    Returns:
        matches, and the number of photographs without texture among those that looks must place.
    """
    everyone = range(len(photographs))
    bare = [n for n in everyone if photographs[n].pose is None or azimuth is None]
    pairs, along = set[tuple[int, int]](), np.zeros(len(photographs))
    plain, step = 0, "features and matches"
    if azimuth is not None:
        pairs, along = _near_pairs(photographs, plane, azimuth)
    if bare:
        features = {}
        for n in everyone:
            listen("features", n / len(photographs))
            features[n] = find(n)
        pairs |= vote_for_pairs([features[n] for n in everyone], bare)
        plain = sum(len(f.looks) < _PLAIN for f in features.values())
        find, step = features.pop, "matching"
    diagonals = [float(np.hypot(p.lens.height_px, p.lens.width_px)) for p in photographs]
    matches = match_along(find, pairs, along, diagonals, lambda share: listen(step, share))
    return sorted(matches, key=lambda match: (match.first, match.second)), plain


def _near_pairs(
    photographs: Sequence[Photograph], plane: FacePlane, azimuth: float
) -> tuple[set[tuple[int, int]], Array]:
    """Return pairs of neighbours by pose, and the place of all along the line they spread over.

    Neighbours are those whose middles lie nearer to each other than the pictures reach. Of many,
    two of each camera in each direction are taken: the nearest, and the one nearest to half a
    picture away, so that rows of photographs that overlap by nine tenths are still tied to the
    rows beside them, and wide pictures to wide ones where a zoom took each place too.
    """
    axes, positions = placed_by_drone(photographs, plane, azimuth)
    posed = [int(n) for n in np.flatnonzero(np.isfinite(positions).all(axis=1))]
    along = np.zeros(len(photographs))
    if not len(posed):
        return set(), along
    lenses = [photographs[n].lens for n in posed]
    far = np.array([distance_m(photographs[n], positions[n], plane) for n in posed])
    ahead = axes[posed, 2, :2] / np.maximum(-axes[posed, 2, 2:], 0.2)
    aims = positions[posed, :2] + far[:, None] * ahead
    diagonals = np.array([math.hypot(x.height_px, x.width_px) / x.focal_px for x in lenses])
    reach = 0.5 * 0.85 * far * diagonals + AROUND_M
    along[posed] = aims[:, int(np.argmax(np.ptp(aims, axis=0)))]
    names = [(photographs[n].camera, round(photographs[n].lens.focal_px)) for n in posed]
    camera = np.unique([f"{name} {focal}" for name, focal in names], return_inverse=True)[1]
    tree = cKDTree(aims)
    pairs = set[tuple[int, int]]()
    for one, n in enumerate(posed):
        near = np.array(tree.query_ball_point(aims[one], reach[one] + reach.max()), int)
        apart = aims[near] - aims[one]
        gap = np.hypot(apart[:, 0], apart[:, 1])
        inside = (near != one) & (gap < reach[one] + reach[near])
        near, apart, gap = near[inside], apart[inside], gap[inside]
        wished_m = 0.35 * far[one] * diagonals[one]
        chosen = _in_each_direction(apart, gap, camera[near], wished_m)
        others = [posed[other] for other in near[chosen]]
        pairs |= {(min(n, m), max(n, m)) for m in others}
    return pairs, along


def _in_each_direction(apart: Array, gap: Array, camera: Array, wished_m: float) -> list[int]:
    """Return the numbers of the nearest in each direction, and of those nearest to a distance."""
    turn = np.arctan2(apart[:, 1], apart[:, 0]) / (2 * np.pi)
    sector = np.floor(turn * _DIRECTIONS) + 2 * _DIRECTIONS * camera
    chosen: list[int] = []
    for number in np.unique(sector):
        own = np.flatnonzero(sector == number)
        chosen += [int(own[np.argmin(off[own])]) for off in (gap, np.abs(gap - wished_m))]
    return chosen


def distance_m(photograph: Photograph, position: Array, plane: FacePlane) -> float:
    """Return the distance to the face along the view, as well as it is known before any tie."""
    if plane.origin is not None and position[2] > 0.3:
        return float(position[2])
    if photograph.distance_m is not None:
        return photograph.distance_m
    if photograph.mm_per_px is not None:
        return photograph.mm_per_px[0] * photograph.lens.focal_px / 1000
    return 6.0
