"""Draw cracks of known course and width, to hold every measure against the truth.

A stroke is a centre line with a width at each point. Each pixel's coverage is the exact area of
the pixel inside the strip (for a straight strip), so widths far below one pixel are true; then
come darkness, an uneven light, the blur of the lens and noise, in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.records import Array

_COURSE_STEP_PX = 0.5  # spacing of the points a drawn course is looked up by


@dataclass(frozen=True, slots=True, kw_only=True)
class Stroke:
    """A crack to draw: ends are cut square."""

    points: Array  # (N, 2) float (row, col)
    width_px: Array  # (N,) float

    @property
    def length_px(self) -> float:
        """Length of the course."""
        return arc.length(self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a phantom is photographed.

    ``contrast`` is the darkness of a crack's interior (1 = black); the default is what the field
    profiles show.
    """

    background: float = 150.0  # grey of the concrete, 0..255
    contrast: float = 0.93
    blur_px: float = 0.7  # standard deviation of the lens blur
    noise: float = 0.03  # standard deviation, as a share of the background
    gradient: float = 0.0  # relative change of the light from left to right


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A drawn photograph with what is true of it."""

    picture: Array  # (H, W, 3) uint8
    mask: Array  # (H, W) bool: half covered, or on the line of a crack thinner than a pixel
    coverage: Array  # (H, W) float32, share of the pixel that is crack
    strokes: tuple[Stroke, ...]


def straight(
    centre: tuple[float, float], angle_deg: float, length_px: float, width_px: float
) -> Stroke:
    """Return a straight stroke; ``angle_deg`` is 0 along a row and counter-clockwise.

    Example:
        >>> round(straight((50, 50), 30, 80, 2).length_px)
        80
    """
    along = np.linspace(-0.5 * length_px, 0.5 * length_px, max(2, int(length_px) + 1))
    angle = np.radians(angle_deg)
    direction = np.array([-np.sin(angle), np.cos(angle)])
    points = np.asarray(centre, dtype=np.float64) + along[:, None] * direction
    return Stroke(points=points, width_px=np.full(len(points), float(width_px)))


def wandering(
    start: tuple[float, float],
    angle_deg: float,
    length_px: float,
    width_px: float | tuple[float, float],
    rng: np.random.Generator,
    *,
    bend_deg: float = 25.0,
    wave_px: float = 40.0,
) -> Stroke:
    """Return a stroke whose direction wanders about ``angle_deg``.

    Args:
        start: (row, col) of the first point.
        angle_deg: mean direction, 0 along a row, counter-clockwise.
        length_px: length along the course.
        width_px: width, or widths at start and end for a tapering crack.
        rng: seeded generator.
        bend_deg: standard deviation of the direction.
        wave_px: length over which the direction changes.
    """
    count = int(np.ceil(length_px)) + 1
    sigma = wave_px / 4
    noise = rng.normal(size=count + int(8 * sigma))
    turn = gaussian_filter(noise, sigma, mode="nearest")[int(4 * sigma) :][:count]
    angle = np.radians(angle_deg + bend_deg * turn * np.sqrt(2 * np.sqrt(np.pi) * sigma))
    steps = np.column_stack([-np.sin(angle), np.cos(angle)])[:-1] * (length_px / (count - 1))
    points = np.asarray(start, dtype=np.float64) + np.vstack([[0.0, 0.0], np.cumsum(steps, axis=0)])
    first, last = (width_px, width_px) if isinstance(width_px, int | float) else width_px
    return Stroke(points=points, width_px=np.linspace(first, last, count))


def draw(
    shape: tuple[int, int], strokes: Sequence[Stroke], look: Look, rng: np.random.Generator
) -> Phantom:
    """Return the photograph of cracks on plain concrete, with its true mask.

    Args:
        shape: (H, W) in px.
        strokes: the cracks and branches; where two overlap the darker one counts.
        look: contrast, light, blur and noise.
        rng: seeded generator of the noise.
    """
    coverage = np.zeros(shape, dtype=np.float32)
    mask = np.zeros(shape, dtype=bool)
    for stroke in strokes:
        rows, cols, share, core = _cover(shape, stroke)
        np.maximum.at(coverage, (rows, cols), share)
        mask[rows[core], cols[core]] = True
    light = 1 + look.gradient * (np.arange(shape[1], dtype=np.float32) / shape[1] - 0.5)
    grey = look.background * light * (1 - look.contrast * coverage)
    if look.blur_px > 0:
        grey = gaussian_filter(grey, look.blur_px, mode="nearest")
    grey = grey + look.noise * look.background * rng.standard_normal(shape, dtype=np.float32)
    plane = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return Phantom(
        picture=np.repeat(plane[..., None], 3, axis=2),
        mask=mask,
        coverage=coverage,
        strokes=tuple(strokes),
    )


def _cover(shape: tuple[int, int], stroke: Stroke) -> tuple[Array, Array, Array, Array]:
    """Return rows, cols, covered share and mask membership of the pixels near a stroke."""
    points, width = _dense(stroke)
    reach = float(width.max()) / 2 + 2
    canvas = np.zeros(shape, dtype=np.uint8)
    path = np.rint(points[:, ::-1]).astype(np.int32)
    cv2.polylines(canvas, [path], False, 1, thickness=int(np.ceil(2 * reach)) + 2)
    rows, cols = np.nonzero(canvas)
    places = np.column_stack([rows, cols]).astype(np.float64)
    nearest = cKDTree(points).query(places)[1]
    tangent = np.gradient(points, axis=0)
    tangent /= np.hypot(tangent[:, 0], tangent[:, 1])[:, None]
    along_vector = tangent[nearest]
    offset = places - points[nearest]
    across = offset[:, 1] * along_vector[:, 0] - offset[:, 0] * along_vector[:, 1]
    along = (offset * along_vector).sum(axis=1)
    sides = np.sort(np.abs(along_vector), axis=1)  # the pixel's shadow: two boxes of these lengths
    half = width[nearest] / 2
    share = _shadow(half - across, sides) - _shadow(-half - across, sides)
    at = arc.along(points)
    to_end = np.minimum(at[nearest] + along, at[-1] - at[nearest] - along)
    share *= _shadow(to_end, sides)
    line = (np.abs(across) <= 0.5 * sides[:, 1]) & (to_end >= 0)
    return rows, cols, share.astype(np.float32), (share >= 0.5) | line


def _dense(stroke: Stroke) -> tuple[Array, Array]:
    """Return points and widths of a stroke at close, even spacing."""
    at = arc.along(stroke.points)
    new = np.linspace(0, at[-1], max(2, int(np.ceil(at[-1] / _COURSE_STEP_PX)) + 1))
    return arc.at(stroke.points, new), np.interp(new, at, stroke.width_px)


def _shadow(distance: Array, sides: Array) -> Array:
    """Return the share of a unit pixel below a straight edge ``distance`` beyond its centre.

    Args:
        distance: (N,) px, positive where the centre is inside.
        sides: (N, 2) |sine| and |cosine| of the edge's direction, the smaller first.
    """
    small, large = np.maximum(sides[:, 0], 1e-3), sides[:, 1]

    def square(t: Array) -> Array:
        positive: Array = np.maximum(t, 0) ** 2
        return positive

    outer, inner = 0.5 * (large + small), 0.5 * (large - small)
    total = square(distance + outer) - square(distance + inner)
    total -= square(distance - inner) - square(distance - outer)
    share: Array = np.clip(total / (2 * small * large), 0, 1)
    return share
