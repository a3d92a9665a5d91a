"""Drawn cracks on a face that is seen at an angle, with a marker that gives its scale.

For studies and tests; a phantom itself is drawn by ``crackseg.metrology.phantoms``.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.metrology.phantoms import Look, Stroke
from crackseg.records import Array
from crackseg.scales import Matrix3


def oblique_homography(
    shape: tuple[int, int], mm_per_px: float, tilt_deg: float, focal_px: float = 1500.0
) -> Matrix3:
    """Return the matrix from (col, row, 1) to mm on a face turned by ``tilt_deg`` about a column.

    The camera looks at the face's origin through the middle of the picture, where a pixel is
    ``mm_per_px`` along a column.
    """
    tilt, distance = np.radians(tilt_deg), mm_per_px * focal_px
    middle_row, middle_col = (shape[0] - 1) / 2, (shape[1] - 1) / 2
    # A point (x, y) of the face is at (x cos, y, distance + x sin) before the camera.
    to_picture = np.array(
        [
            [focal_px * np.cos(tilt) + middle_col * np.sin(tilt), 0, middle_col * distance],
            [middle_row * np.sin(tilt), focal_px, middle_row * distance],
            [np.sin(tilt), 0, distance],
        ]
    )
    matrix = np.linalg.inv(to_picture)
    matrix /= matrix[2, 2]
    return tuple(tuple(float(v) for v in row) for row in matrix)  # type: ignore[return-value]


def seen_through(face: Stroke, homography: Matrix3) -> Stroke:
    """Return a stroke given in mm on the face ((y, x), width in mm) as the picture shows it."""
    matrix = np.linalg.inv(np.asarray(homography))

    def project(points: Array) -> Array:
        xyw = np.column_stack([points[:, 1], points[:, 0], np.ones(len(points))]) @ matrix.T
        return np.column_stack([xyw[:, 1] / xyw[:, 2], xyw[:, 0] / xyw[:, 2]])

    along = np.gradient(face.points, axis=0)
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    side = 0.5 * face.width_px[:, None] * np.column_stack([-along[:, 1], along[:, 0]])
    points = project(face.points)
    opening = project(face.points + side) - project(face.points - side)
    course = np.gradient(points, axis=0)
    course /= np.hypot(course[:, 0], course[:, 1])[:, None]
    width = np.abs(opening[:, 0] * course[:, 1] - opening[:, 1] * course[:, 0])
    return Stroke(points=points, width_px=width)


def put_marker(
    picture: Array, homography: Matrix3, at_mm: tuple[float, float], side_mm: float
) -> Array:
    """Return the photograph with an ArUco marker (DICT_4X4_50, number 7) on the face.

    Args:
        picture: (H, W, 3) uint8.
        homography: from (col, row, 1) to mm on the face.
        at_mm: (x, y) of its corner with the smallest coordinates.
        side_mm: length of its black square; a white rim of 15 % lies around it.
    """
    side, rim, fine = 400, 60, 4  # px of the print; drawn four times finer and averaged
    table = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    marker = np.full((side + 2 * rim, side + 2 * rim), 240, np.float32)
    marker[rim:-rim, rim:-rim] = cv2.aruco.generateImageMarker(table, 7, side)
    step = side_mm / side
    left, top = (v + (0.5 - rim) * step for v in at_mm)  # the middle of a pixel is half a step in
    to_mm = np.array([[step, 0, left], [0, step, top], [0, 0, 1]])
    finer = np.array([[fine, 0, (fine - 1) / 2], [0, fine, (fine - 1) / 2], [0, 0, 1]])
    view = finer @ np.linalg.inv(np.asarray(homography)) @ to_mm
    size = (picture.shape[1], picture.shape[0])

    def projected(print_: Array) -> Array:
        large = cv2.warpPerspective(print_, view, (fine * size[0], fine * size[1]))
        small = cv2.resize(large, size, interpolation=cv2.INTER_AREA)
        blurred: Array = cv2.GaussianBlur(small, (0, 0), Look().blur_px)[..., None]
        return blurred

    share = projected(np.ones_like(marker))
    marked: Array = np.clip(picture * (1 - share) + projected(marker), 0, 255).astype(np.uint8)
    return marked
