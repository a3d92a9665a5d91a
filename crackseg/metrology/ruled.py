"""Tell a line drawn by a ruler from a crack: a joint, the seam of a board, the edge of a fitting.

The photograph does show a dark line between a crack and a joint that it runs into, so darkness
does not part the two. A joint keeps to a straight line to a fraction of a pixel over tens of
pixels; a crack does not. The mask is too coarse for that, so the line is traced in the photograph.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from crackseg.metrology import arc
from crackseg.metrology.courses import Course, Photograph, Tip
from crackseg.metrology.sampling import normals, read_profiles
from crackseg.records import Array

_TAIL_PX = 60  # of a piece before its tip
_TELLING_PX = 30  # a shorter piece is straight anyway
# Root mean square distance from a straight line, of a piece and the course beyond its tip: 1 % of
# the labelled cracks keep nearer, 95 % of the drawn joints (data/studies/joins.py).
_RULED_PX = 0.5
# One straight line is as dark on one side of a gap as on the other, and as straight over all as
# its straightest side, up to these.
_EVEN, _ONE, _ONE_PX = 1.5, 1.2, 0.1
# A joint and the crack that runs into it differ: in darkness by more than this, or the crack
# wanders this many times more. Pieces that differ in neither are of one kind, and joined.
_ALIKE, _WANDER = 1.15, 3.0
_SMOOTH_PX = 3.0  # of the way along which is looked
_ALONG_PX = 2.0  # standard deviation of the mean over neighbouring profiles
_REACH_PX, _SIDE_PX = 2.0, 4.0  # searched beyond the mask's half width, and looked at beyond that
_DEEP = 0.35  # of the deepest place: what is less dark is blur or texture
_FAINT = 1e-6


def is_ruled(course: Course, one: Tip, two: Tip, photo: Photograph) -> bool:
    """Say whether a course and a piece at one of its ends make a line as by a ruler.

    Where both pieces and the course make one straight line that is everywhere as dark, or the
    pieces are as dark and as straight as each other, nothing else runs into a joint, and the line
    is not called ruled: its pieces are one, whatever it is.

    Args:
        course: the way between the tips.
        one: the tip it begins at.
        two: the tip it ends at.
        photo: the photograph.
    """
    tails = one.tail[-_TAIL_PX:], two.tail[: -_TAIL_PX - 1 : -1]
    path, first, last = _one_path(tails[0], course.points, tails[1])
    half_px = max(one.radius_px, two.radius_px) + _REACH_PX
    points, dark = _trace(path, half_px, photo)
    pieces = points[:first], points[last:]
    sides = (points[:last], pieces), (points[first:], pieces[::-1])
    straight = [(off_line(side), off_line(b)) for side, (a, b) in sides if len(a) >= _TELLING_PX]
    least, other = min(straight, default=(_RULED_PX, 0.0))
    if least >= _RULED_PX:
        return False
    depth = np.median(dark[:first]), np.median(dark[last:])
    uneven = max(depth) / max(min(depth), _FAINT)
    one_line = uneven <= _EVEN and off_line(points) < min(_RULED_PX, _ONE * least + _ONE_PX)
    return not (one_line or (uneven <= _ALIKE and other <= _WANDER * least))


def off_line(points: Array) -> float:
    """Return the root mean square distance of (N, 2) points from the straight line through them."""
    spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
    return float(spread[1] / np.sqrt(len(points)))


def _one_path(*parts: Array) -> tuple[Array, int, int]:
    """Return parts as one path of points 1 px apart, and where the second begins and ends."""
    path = arc.resample(np.concatenate(parts))
    ends = [len(arc.resample(np.concatenate(parts[: k + 1]))) for k in (0, 1)]
    return path, ends[0], ends[1]


def _trace(path: Array, half_px: float, photo: Photograph) -> tuple[Array, Array]:
    """Return the (N, 2) middle of the dark line along a path, and the (N,) darkness across it.

    Args:
        path: (N, 2) points about 1 px apart.
        half_px: searched to either side.
        photo: the photograph.
    """
    smooth = gaussian_filter1d(path, _SMOOTH_PX, axis=0, mode="nearest")
    normal = normals(smooth)
    half = int(np.ceil(half_px + _SIDE_PX))
    profiles = read_profiles(photo.read, photo.shape, smooth, normal, half)
    profiles = gaussian_filter1d(profiles, _ALONG_PX, axis=0, mode="nearest")
    across = np.arange(-half, half + 1.0)
    left, right = (
        np.median(profiles[:, side * across > half_px], axis=1)[:, None] for side in (-1, 1)
    )
    ground = left + (right - left) * (across + half) / (2 * half)
    dark = np.clip(ground - profiles, 0, None) * (np.abs(across) <= half_px)
    deep = np.clip(dark - _DEEP * dark.max(axis=1, keepdims=True), 0, None)
    offset = deep @ across / np.maximum(deep.sum(axis=1), _FAINT)
    return smooth + offset[:, None] * normal, dark.sum(axis=1)
