"""How a tie's miss changes with the poses and lenses of its two photographs.

Each tie has 18 derivatives: turn (3) and place (3) and lens (log of the focal length, k1, k2) of
the photograph that gives the place, then the same of the one that it is projected into. They are
written out, not taken by differences: a block of 2,000 photographs has a million ties.

Source: the chain rule over ``cameras.rays``, ``meet_plane`` and ``project``; held against
differences in tests/face/test_adjustment.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from crackseg.face.cameras import Optics, meet_plane, project, rays
from crackseg.records import Array


class Side(NamedTuple):
    """The photographs of one side of ties: (N, 3, 3) axes, (N, 3) positions, lens values."""

    axes: Array
    positions_m: Array
    optics: Optics


def misses(first: Side, second: Side, first_px: Array, second_px: Array) -> Array:
    """Return (N, 2) row, col by which ties are missed in the second photograph; nan if unseen."""
    places = meet_plane(first.axes, first.positions_m, rays(first.optics, first_px))
    return project(second.optics, second.axes, second.positions_m, places) - second_px


def slopes(first: Side, second: Side, first_px: Array) -> Array:
    """Return (N, 2, 18) derivatives of ``misses``; nan where a tie is unseen."""
    places, of_first = _place_slopes(first, first_px)
    by_place, of_second = _pixel_slopes(second, places)
    return np.concatenate([by_place @ of_first, of_second], axis=2)


def _place_slopes(side: Side, points_px: Array) -> tuple[Array, Array]:
    """Return (N, 2) places on the plane and their (N, 2, 9) derivatives."""
    straight = rays(side.optics, points_px)
    right, down, forward = side.axes.swapaxes(0, 1)
    ray = straight[:, :1] * right + straight[:, 1:] * down + forward
    with np.errstate(divide="ignore", invalid="ignore"):
        far = -side.positions_m[:, 2] / ray[:, 2]
        aside = ray[:, :2] / ray[:, 2:]
    places = side.positions_m[:, :2] + far[:, None] * ray[:, :2]

    def moved(change: Array) -> Array:  # of the place, by a change of the ray
        shift: Array = far[:, None] * (change[:, :2] - aside * change[:, 2:])
        return shift

    slope = np.zeros((len(places), 2, 9))
    for axis in range(3):
        slope[:, :, axis] = moved(-np.cross(np.eye(3)[axis], ray))
    slope[:, 0, 3] = slope[:, 1, 4] = 1.0
    slope[:, :, 5] = -aside
    outward = straight[:, :1] * right + straight[:, 1:] * down
    r2, bend, steep = _bends(side.optics, straight)
    radial = bend + 2 * r2 * steep
    for column, change in ((6, -bend), (7, -r2), (8, -r2 * r2)):
        slope[:, :, column] = moved((change / radial)[:, None] * outward)
    return places, slope


def _pixel_slopes(side: Side, places: Array) -> tuple[Array, Array]:
    """Return derivatives of row, col: (N, 2, 2) by the place, (N, 2, 9) by the photograph."""
    space = np.column_stack([places, np.zeros(len(places))]) - side.positions_m
    turned = np.einsum("nkj,nj->nk", side.axes, space)
    with np.errstate(divide="ignore", invalid="ignore"):
        straight = turned[:, :2] / turned[:, 2:]
        by_turned = np.zeros((len(places), 2, 3))
        by_turned[:, 0, 0] = by_turned[:, 1, 1] = 1 / turned[:, 2]
        by_turned[:, :, 2] = -straight / turned[:, 2:]
    r2, bend, steep = _bends(side.optics, straight)
    focal = np.broadcast_to(np.asarray(side.optics.focal_px, float), (len(places),))
    by_straight = 2 * steep[:, None, None] * straight[:, :, None] * straight[:, None, :]
    by_straight[:, 0, 0] += bend
    by_straight[:, 1, 1] += bend
    by_camera = focal[:, None, None] * (by_straight @ by_turned)
    by_space = by_camera @ side.axes
    slope = np.empty((len(places), 2, 9))
    for axis in range(3):
        slope[:, :, axis] = np.einsum("nij,nj->ni", by_space, np.cross(np.eye(3)[axis], space))
    slope[:, :, 3:6] = -by_space
    for column, factor in ((6, bend), (7, r2), (8, r2 * r2)):
        slope[:, :, column] = (focal * factor)[:, None] * straight
    return by_space[:, ::-1, :2], slope[:, ::-1]  # right, down become row, col


def _bends(optics: Optics, straight: Array) -> tuple[Array, Array, Array]:
    """Return r squared, the bend and its derivative by r squared."""
    r2 = (straight**2).sum(axis=1)
    k1, k2 = np.asarray(optics.k1), np.asarray(optics.k2)
    return r2, 1 + k1 * r2 + k2 * r2 * r2, k1 + 2 * k2 * r2
