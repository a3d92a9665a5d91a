"""Which photographs are of the face, and which of them are neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from crackseg.face.matching import Features, Match, match_pairs, vote_for_pairs
from crackseg.face.photographs import Photograph, Pose
from crackseg.face.plane import STEEP_PITCH_DEG, FacePlane, placed_by_drone
from crackseg.records import Array

AROUND_M = 1.0  # what a drone's place may be off before any tie is known
_STEEPEST_DEG = 80.0  # from the normal; beyond it a pixel covers six times what it seems to
_TURNED_DEG = 50.0  # a camera turned further from the others looks at another face


def each_once(photographs: Sequence[Photograph], aside: list[tuple[str, str]]) -> list[Photograph]:
    """Return the photographs without those that are one file under a second name."""
    first: dict[str, Photograph] = {}
    for photograph in photographs:
        twin = first.setdefault(photograph.report["image"]["sha256"], photograph)
        if twin is not photograph:
            aside.append((photograph.name, f"it is the very file of {twin.name}, which counts."))
    return list(first.values())


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
    features: Sequence[Features],
    plane: FacePlane,
    azimuth: float | None,
    listen: Callable[[str, float], None],
) -> list[Match]:
    """Return the matches of neighbours: by place where poses are known, by looks elsewhere."""
    pairs = vote_for_pairs(
        features, [n for n, p in enumerate(photographs) if p.pose is None or azimuth is None]
    )
    if azimuth is not None:
        pairs |= _near_pairs(photographs, plane, azimuth)
    diagonals = [float(np.hypot(p.lens.height_px, p.lens.width_px)) for p in photographs]
    matches: list[Match] = []
    for number, pair in enumerate(sorted(pairs)):
        listen("matching", number / len(pairs))
        matches += match_pairs(features, [pair], diagonals)
    return matches


def _near_pairs(
    photographs: Sequence[Photograph], plane: FacePlane, azimuth: float
) -> set[tuple[int, int]]:
    """Return pairs whose middles lie nearer to each other than the pictures reach."""
    axes, positions = placed_by_drone(photographs, plane, azimuth)
    placed = [int(n) for n in np.flatnonzero(np.isfinite(positions).all(axis=1))]
    pairs: set[tuple[int, int]] = set()
    far = {n: distance_m(photographs[n], positions[n], plane) for n in placed}
    aim = {n: positions[n, :2] + far[n] * axes[n, 2, :2] / max(-axes[n, 2, 2], 0.2) for n in placed}
    size = {
        n: far[n] * np.hypot(photographs[n].lens.height_px, photographs[n].lens.width_px)
        / photographs[n].lens.focal_px
        for n in placed
    }  # fmt: skip
    for place_, n in enumerate(placed):
        for m in placed[place_ + 1 :]:
            apart = float(np.linalg.norm(aim[n] - aim[m])) - 2 * AROUND_M
            if apart < 0.5 * (size[n] + size[m]) * 0.85:
                pairs.add((n, m))
    return pairs


def distance_m(photograph: Photograph, position: Array, plane: FacePlane) -> float:
    """Return the distance to the face along the view, as well as it is known before any tie."""
    if plane.origin is not None and position[2] > 0.3:
        return float(position[2])
    if photograph.distance_m is not None:
        return photograph.distance_m
    if photograph.mm_per_px is not None:
        return photograph.mm_per_px[0] * photograph.lens.focal_px / 1000
    return 6.0
