"""Homographies from pixels to mm on a plane: reference points, markers, or camera and face angles.

All matrices map (col, row, 1) of the upright picture to (x_mm, y_mm, w), with w > 0 in front of the
camera, so that a scale varies over an oblique view as it does on the structure.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from crackseg.errors import ScaleError
from crackseg.records import Array
from crackseg.scales import Matrix3

_STEEPEST_DEG = 80.0  # beyond it one pixel covers six times more than it seems to


def from_points(pixels: Array, mm: Array) -> Array:
    """Return the 3 x 3 homography that takes points to their places on the plane (least squares).

    Args:
        pixels: (N, 2) col, row of at least four points, no three of four on one line.
        mm: (N, 2) x, y.

    Raises:
        ScaleError: the points do not fix a plane.
    """
    # centred and scaled so that pixels, metres and tenths of mm are equally well conditioned
    source, target = _normaliser(pixels), _normaliser(mm)
    matrix, _ = cv2.findHomography(apply(source, pixels), apply(target, mm), method=0)
    if matrix is None or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-6:
        raise ScaleError(
            "the reference points do not fix a plane; give four or more, no three on one line."
        )
    whole = np.linalg.inv(target) @ matrix @ source
    scaled: Array = whole / (whole[2] @ [*pixels.mean(axis=0), 1.0])
    return scaled


def from_markers(corners: list[Array], side_mm: float) -> Array:
    """Return the homography in which every marker of a plane is a square of the given side.

    The largest marker starts; then all are placed as rigid squares and fitted together, which
    fixes the perspective far better than one marker can.

    Args:
        corners: (4, 2) col, row of each marker, clockwise from its top left.
        side_mm: of the black square.
    """
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float64) * side_mm
    ordered = sorted(corners, key=lambda c: -abs(cv2.contourArea(c.astype(np.float32))))
    matrix = from_points(ordered[0], square)
    for _ in range(20 if len(ordered) > 1 else 0):
        targets = [_place_rigidly(square, apply(matrix, c)) for c in ordered]
        matrix = from_points(np.concatenate(ordered), np.concatenate(targets))
    return matrix


def from_face(
    *,
    distance_mm: float,
    focal_px: float,
    centre: tuple[float, float],
    gimbal_deg: tuple[float, float, float],
    batter: float,
    azimuth_deg: float,
) -> tuple[Array, float]:
    """Return the homography of a sloping face seen by a camera of known angles, and the view angle.

    World axes are east, north, up. The plane's x runs to the right along the face as seen from
    outside, its y down the slope.

    Args:
        distance_mm: from the camera to the face along the optical axis.
        focal_px: focal length.
        centre: col, row of the principal point.
        gimbal_deg: yaw (compass), pitch (up positive, -90 = straight down), roll (right side down).
        batter: horizontal over vertical run; 0 is a vertical face, positive leans back.
        azimuth_deg: compass direction that the face looks to.

    Returns:
        3 x 3 homography of the stored picture, and the angle between view and face normal in deg.

    Raises:
        ScaleError: the camera looks at the back of the face, or along it.
    """
    axes = camera_axes(*gimbal_deg)  # rows: right, down, forward
    elevation, azimuth = math.atan(batter), math.radians(azimuth_deg)
    outward = np.array([math.sin(azimuth), math.cos(azimuth), 0.0])
    normal = math.cos(elevation) * outward + np.array([0.0, 0.0, math.sin(elevation)])
    along = np.array([-math.cos(azimuth), math.sin(azimuth), 0.0])
    down = np.cross(-normal, along)
    cosine = float(-normal @ axes[2])
    angle = math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    if angle > _STEEPEST_DEG:
        raise ScaleError(
            f"the camera (yaw {gimbal_deg[0]:g}, pitch {gimbal_deg[1]:g} deg) sees a face of "
            f"`face_azimuth_deg` {azimuth_deg:g} and `face_batter` {batter:g} at {angle:.0f} deg "
            f"from its normal, more than {_STEEPEST_DEG:g}; check both angles of the face."
        )
    rays = axes.T @ np.array(
        [
            [1 / focal_px, 0, -centre[0] / focal_px],
            [0, 1 / focal_px, -centre[1] / focal_px],
            [0, 0, 1],
        ]
    )
    return np.stack([distance_mm * along, distance_mm * down, -normal / cosine]) @ rays, angle


def apply(matrix: Array, points: Array) -> Array:
    """Return (N, 2) points mapped by a 3 x 3 homography."""
    mapped = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    result: Array = mapped[:, :2] / mapped[:, 2:]
    return result


def local_scales(matrix: Array, col: float, row: float) -> tuple[float, float]:
    """Return the smallest and the largest mm per px at a point, across and along the tilt."""
    x, y, w = matrix @ [col, row, 1.0]
    jacobian = (matrix[:2, :2] - np.outer([x / w, y / w], matrix[2, :2])) / w
    large, small = np.linalg.svd(jacobian, compute_uv=False)
    return float(small), float(large)


def check_horizon(matrix: Array, height_px: int, width_px: int) -> None:
    """Raise when the plane's horizon lies in the picture: beyond it nothing can be measured."""
    corners = [(c, r, 1.0) for c in (0, width_px - 1) for r in (0, height_px - 1)]
    depth = np.array(corners) @ matrix[2]
    centre = matrix[2] @ [(width_px - 1) / 2, (height_px - 1) / 2, 1.0]
    if (depth / centre).min() < 0.02:
        raise ScaleError(
            "the plane of the scale runs to its horizon within the picture; check the reference "
            "points or angles, or take a picture that looks more squarely at the face."
        )


def spread(fits: list[Array], height_px: int, width_px: int) -> float:
    """Return the relative standard deviation of mm per px over the picture among several fits."""
    grid = [(c * width_px, r * height_px) for c in (0.2, 0.5, 0.8) for r in (0.2, 0.5, 0.8)]
    values = [[math.sqrt(math.prod(local_scales(m, *p))) for p in grid] for m in fits]
    return float(np.sqrt((np.log(values).std(axis=0) ** 2).mean()))


def to_matrix3(matrix: Array) -> Matrix3:
    """Return a 3 x 3 array as the nested tuples of a ``Scale``."""
    a, b, c = ((float(row[0]), float(row[1]), float(row[2])) for row in matrix)
    return (a, b, c)


def camera_axes(yaw_deg: float, pitch_deg: float, roll_deg: float) -> Array:
    """Return the rows right, down, forward of a camera in east, north, up."""
    yaw, pitch, roll = (math.radians(a) for a in (yaw_deg, pitch_deg, roll_deg))
    level = np.array([math.sin(yaw), math.cos(yaw), 0.0])
    forward = math.cos(pitch) * level + np.array([0.0, 0.0, math.sin(pitch)])
    right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    down = np.cross(forward, right)
    turned_right = math.cos(roll) * right + math.sin(roll) * down
    turned_down = math.cos(roll) * down - math.sin(roll) * right
    return np.stack([turned_right, turned_down, forward])


def _place_rigidly(square: Array, target: Array) -> Array:
    """Return the square, turned and moved but not stretched, as near as possible to ``target``."""
    middle, there = square.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((square - middle).T @ (target - there))
    turn = u @ np.diag([1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    placed: Array = (square - middle) @ turn + there
    return placed


def _normaliser(points: Array) -> Array:
    """Return the similarity that brings points to mean 0 and mean distance 1."""
    middle = points.mean(axis=0)
    size = float(np.linalg.norm(points - middle, axis=1).mean()) or 1.0
    return np.array([[1, 0, -middle[0]], [0, 1, -middle[1]], [0, 0, size]]) / size
