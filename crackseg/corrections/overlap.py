"""A line that is put on the list must not count what is counted already.

A drawn line takes the place of the cracks that lie on it whole: somebody drew the crack of which
they are pieces. One that itself lies mostly on a longer crack adds nothing, and is refused.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from crackseg.corrections.edits import Edit
from crackseg.corrections.shapes import Shape
from crackseg.corrections.work import Entry, Work, keep_measured
from crackseg.errors import DataError
from crackseg.records import Array, Crack

_BESIDE_PX = 4.0  # beyond a crack's half width: courses of one crack differ by so much
_WHOLE = 0.9  # of a crack that lies on the line: only its tips may stand out
_MOST = 0.5


def take_place(work: Work, shape: Shape, edit: Edit, but: int | None = None) -> None:
    """Take the cracks off the list that lie whole on a line which comes onto it.

    Args:
        work: the list.
        shape: of the line.
        edit: that draws it.
        but: number of the crack that the line is to be.

    Raises:
        DataError: the line lies mostly on cracks that it does not replace.
    """
    shares = _shares(work, shape, but)
    whole = [entry for entry, _, covered in shares if covered >= _WHOLE]
    rest = [share for share in shares if share[2] < _WHOLE]
    if work.is_new:
        _refuse_twice(len(shape.points), rest)
    for entry in whole:
        keep_measured(work, entry, edit)
        del work.listed[entry.id]


def refuse_listed(work: Work, shape: Shape) -> None:
    """Refuse a line that lies on cracks of the list.

    Raises:
        DataError: it does.
    """
    if work.is_new:
        _refuse_twice(len(shape.points), _shares(work, shape, None))


def _refuse_twice(count: int, shares: list[tuple[Entry, Array, float]]) -> None:
    on = np.zeros(count, bool)
    for _, near, _ in shares:
        on |= near
    if on.mean() <= _MOST and all(covered <= _MOST for *_, covered in shares):
        return
    numbers = [str(entry.id) for entry, near, _ in sorted(shares, key=lambda s: s[0].id)]
    cracks = f"crack {numbers[0]}" if len(numbers) == 1 else f"cracks {', '.join(numbers)}"
    raise DataError(
        f"the line lies on {cracks} of the list for {on.mean():.0%} of its length, which would "
        "count twice; draw only what is missing and join it, or take the crack off the list first."
    )


def _shares(work: Work, shape: Shape, but: int | None) -> list[tuple[Entry, Array, float]]:
    """Return the cracks that a line touches, where it lies on each, and how much of it they have.

    Returns:
        The crack, (N,) bool of the points of the line, and the share of the crack on the line.
    """
    points, shares = shape.points, []
    low, high = points.min(axis=0), points.max(axis=0)
    for entry in work.listed.values():
        if entry.id == but:
            continue
        own = _points(entry)
        reach = _BESIDE_PX + _half_width_px(entry)
        if (own.max(axis=0) < low - reach).any() or (own.min(axis=0) > high + reach).any():
            continue
        near = cKDTree(own).query(points)[0] <= reach
        if near.any():
            shares.append((entry, near, _covered(own, points, reach)))
    return shares


def _covered(own: Array, points: Array, reach: float) -> float:
    """Return the share of a crack that runs along a line; one that crosses it has next to none."""
    distance, nearest = cKDTree(points).query(own)
    beside = distance <= reach
    along = len(np.unique(nearest[beside])) / len(own)
    return float(beside.mean()) if along > _MOST else along


def _points(entry: Entry) -> Array:
    form = entry.form
    if isinstance(form, Crack):
        return np.concatenate([branch.centre_line for branch in form.branches])
    return form.points


def _half_width_px(entry: Entry) -> float:
    return max(line.radius_px for line in entry.as_shape().lines)
