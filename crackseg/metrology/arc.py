"""Length along a course of points: one place for steps, sums and even spacing."""

from __future__ import annotations

import numpy as np

from crackseg.records import Array


def steps(points: Array) -> Array:
    """Return the (N - 1,) distance from each of (N, 2) points to the next, in their unit."""
    size: Array = np.hypot(*np.diff(points, axis=0).T)
    return size


def length(points: Array) -> float:
    """Return the length of a course of (N, 2) points, in their unit."""
    return float(steps(points).sum())


def along(points: Array) -> Array:
    """Return the (N,) length from the first of (N, 2) points to each, in their unit."""
    return np.append(0.0, np.cumsum(steps(points)))


def at(points: Array, place: Array) -> Array:
    """Return the (K, 2) points at lengths (K,) along a course of (N, 2) points."""
    lengths = along(points)
    return np.column_stack([np.interp(place, lengths, points[:, k]) for k in (0, 1)])


def resample(points: Array) -> Array:
    """Return points evenly spaced by about 1 along a course of (N, 2) points; its ends stay."""
    whole = along(points)[-1]
    return at(points, np.linspace(0.0, whole, max(2, round(whole) + 1)))
