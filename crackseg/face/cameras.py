"""Pixels become places on the face and back: pinhole cameras with radial distortion and a plane.

The plane is z = 0, x to the right as seen from outside, y up the slope, z towards the camera; all
in m. A camera's axes are the rows right, down, forward of a 3 x 3 matrix on these axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crackseg.records import Array

FRONTAL = np.diag([1.0, -1.0, -1.0])  # axes of a camera that looks squarely at the face
_UNDISTORT_STEPS = 8
_EDGE = 1.15  # beyond it, in half diagonals, a fitted distortion is not believed


@dataclass(frozen=True, slots=True, kw_only=True)
class Lens:
    """What a camera's pictures have in common: focal length and distortion at its pixel size."""

    focal_px: float
    height_px: int
    width_px: int
    k1: float = 0.0
    k2: float = 0.0

    @property
    def centre(self) -> Array:
        """Column and row of the principal point, taken as the middle."""
        return np.array([(self.width_px - 1) / 2, (self.height_px - 1) / 2])

    @property
    def optics(self) -> Optics:
        """The same for ``rays`` and ``project``."""
        return Optics(self.focal_px, self.k1, self.k2, self.centre)


class Optics(NamedTuple):
    """Lens values of many points at once: each a number for all, or one a point."""

    focal_px: Array | float  # (N,)
    k1: Array | float  # (N,)
    k2: Array | float  # (N,)
    centre: Array  # (2,) or (N, 2) col, row


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A photograph placed on the face: a camera before its plane, or a raster that lies in it."""

    lens: Lens
    axes: Array  # (3, 3) rows right, down, forward
    position_m: Array  # (3,)
    raster: Array | None = None  # (3, 3) of an orthomosaic: (col, row, 1) to x, y in m

    def to_face(self, points: Array) -> Array:
        """Return (N, 2) x, y in m of (N, 2) pixels (row, col); nan where the plane is not met."""
        points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        if self.raster is not None:
            places: Array = (
                np.column_stack([points[:, ::-1], np.ones(len(points))]) @ self.raster[:2].T
            )
            return places
        return meet_plane(self.axes[None], self.position_m[None], rays(self.lens.optics, points))

    def to_picture(self, places_m: Array) -> Array:
        """Return (N, 2) pixels (row, col) of (N, 2) places; nan behind or far beside the camera."""
        places_m = np.asarray(places_m, dtype=np.float64).reshape(-1, 2)
        if self.raster is not None:
            inverse = np.linalg.inv(self.raster)
            pixels: Array = (np.column_stack([places_m, np.ones(len(places_m))]) @ inverse[:2].T)[
                :, ::-1
            ]
            return pixels
        return project(self.lens.optics, self.axes[None], self.position_m[None], places_m)

    def m_per_px(self, points: Array, directions: Array) -> Array:
        """Return (N,) the m on the face of a step of one pixel from points in given directions.

        Args:
            points: (N, 2) row, col.
            directions: (N, 2) unit vectors in the picture.
        """
        half = 0.5 * np.asarray(directions)
        gap = self.to_face(points + half) - self.to_face(points - half)
        scale: Array = np.hypot(gap[:, 0], gap[:, 1])
        return scale

    def outline_m(self, steps: int = 8) -> Array:
        """Return the (4 * steps, 2) outline of the picture on the face."""
        height, width = self.lens.height_px - 1, self.lens.width_px - 1
        at = np.linspace(0, 1, steps, endpoint=False)
        rows = np.concatenate([0 * at, at, 0 * at + 1, 1 - at]) * height
        cols = np.concatenate([at, 0 * at + 1, 1 - at, 0 * at]) * width
        return self.to_face(np.column_stack([rows, cols]))

    @property
    def centre_m(self) -> Array:
        """(2,) place in the middle of the picture."""
        return np.asarray(self.to_face(self.lens.centre[None, ::-1])[0])

    @property
    def mm_per_px(self) -> float:
        """Size of a pixel in the middle of the picture, mean of both directions."""
        middle = np.repeat(self.lens.centre[None, ::-1], 2, axis=0)
        return float(1000 * self.m_per_px(middle, np.eye(2)).mean())

    @property
    def obliqueness_deg(self) -> float:
        """Angle between the view and the face's normal."""
        if self.raster is not None:
            return 0.0
        return math.degrees(math.acos(min(max(-float(self.axes[2, 2]), -1.0), 1.0)))


def rays(optics: Optics, points: Array) -> Array:
    """Return (N, 2) undistorted right and down of unit depth of pixels (row, col)."""
    bent = (points[:, ::-1] - optics.centre) / np.reshape(optics.focal_px, (-1, 1))
    straight = bent
    if np.any(optics.k1) or np.any(optics.k2):
        for _ in range(_UNDISTORT_STEPS):
            straight = bent / _bend(optics, straight)[:, None]
    return np.asarray(straight)


def _bend(optics: Optics, straight: Array) -> Array:
    r2 = (straight**2).sum(axis=1)
    bend: Array = 1 + optics.k1 * r2 + optics.k2 * r2 * r2
    return bend


def meet_plane(axes: Array, positions_m: Array, straight: Array) -> Array:
    """Return (N, 2) places where rays meet the plane; nan where they do not.

    Args:
        axes: (N or 1, 3, 3) of the camera of each ray.
        positions_m: (N or 1, 3).
        straight: (N, 2) from ``rays``.
    """
    full = np.column_stack([straight, np.ones(len(straight))])
    turned = np.einsum("nk,nkj->nj", full, np.broadcast_to(axes, (len(full), 3, 3)))
    with np.errstate(divide="ignore", invalid="ignore"):
        far = -positions_m[:, 2] / turned[:, 2]
        places: Array = positions_m[:, :2] + far[:, None] * turned[:, :2]
    places[~(far > 0)] = np.nan
    return places


def project(optics: Optics, axes: Array, positions_m: Array, places_m: Array) -> Array:
    """Return (N, 2) pixels (row, col) of places on the plane; nan behind or far beside a camera.

    Args:
        optics: of all or of each.
        axes: (N or 1, 3, 3).
        positions_m: (N or 1, 3).
        places_m: (N, 2).
    """
    space = np.column_stack([places_m, np.zeros(len(places_m))]) - positions_m
    turned = np.einsum("nk,njk->nj", space, np.broadcast_to(axes, (len(space), 3, 3)))
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = turned[:, :2] / turned[:, 2:]
    edge = np.hypot(*np.atleast_2d(optics.centre).T) / optics.focal_px
    with np.errstate(invalid="ignore"):
        outside = ~(turned[:, 2] > 0) | ~((straight**2).sum(axis=1) < (_EDGE * edge) ** 2)
    straight[outside] = np.nan
    bent = straight * _bend(optics, straight)[:, None]
    pixels: Array = (bent * np.reshape(optics.focal_px, (-1, 1)) + optics.centre)[:, ::-1]
    return pixels
