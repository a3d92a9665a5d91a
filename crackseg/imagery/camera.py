"""The focal length in pixels and the laser distance, from what a camera wrote into its file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from crackseg.imagery.files import ORIENTATIONS
from crackseg.records import Array, ImageInfo, Notice

DIAGONAL_35MM = 43.27  # mm: sqrt(36^2 + 24^2), to which 35-mm equivalents refer
# relative standard uncertainties of a focal length
_SIGMA_CALIBRATED = 0.005  # single camera calibrated by its maker
_SIGMA_35MM = 0.025  # written as a whole number, and makers differ in diagonal or width
_SIGMA_FOCAL_PLANE = 0.02  # sensor pitch rounded
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF FocalPlaneResolutionUnit

Focal = tuple[float, float, str]  # px of this picture, relative sigma, where it comes from


def focal_px(info: ImageInfo, notices: list[Notice]) -> Focal | None:
    """Return the focal length in pixels of the picture as it is, digital zoom counted, or None.

    In order: the maker's calibration, the 35-mm equivalent by the picture's diagonal, the focal
    length with the sensor's resolution.
    """
    values = _numbers(info.metadata)
    resized = _resized(info, values, notices)
    if resized is None:
        return None
    diagonal = math.hypot(info.height_px, info.width_px)
    choices = _choices(values, diagonal, resized)
    sane = [c for c in choices if 0.2 * diagonal <= c[0] <= 100 * diagonal]
    for focal, _, what in choices:
        if (focal, _, what) not in sane:
            text = f"{what} gives {focal:.0f} px for a picture of {diagonal:.0f} px: ignored."
            notices.append(Notice(code="absurd_focal_length", message=text))
    if len(sane) > 1 and abs(math.log(sane[0][0] / sane[1][0])) > 0.25:
        text = (
            f"{sane[0][2]} gives {sane[0][0]:.0f} px, {sane[1][2]} {sane[1][0]:.0f} px: not used."
        )
        notices.append(Notice(code="focal_lengths_disagree", message=text))
        return None
    if not sane:
        return None
    zoom = _zoom(values, notices)
    focal, sigma, what = sane[0]
    return focal * zoom, sigma, what if zoom == 1 else f"{what}, digital zoom {zoom:g}"


def laser_distance_m(info: ImageInfo, notices: list[Notice]) -> float | None:
    """Return the laser range finder's distance where its status allows, else None and a notice."""
    distance = info.metadata.get("lrf_distance_m")
    if not isinstance(distance, float):
        return None
    status = str(info.metadata.get("lrf_status", "Normal"))
    if status.lower() != "normal":
        text = f"the laser distance {distance:g} m has status {status!r}, not Normal: not used."
        notices.append(Notice(code="laser_not_normal", message=text))
        return None
    if distance <= 0:
        text = f"the laser distance is {distance:g} m: not used."
        notices.append(Notice(code="laser_not_normal", message=text))
        return None
    return distance


def gimbal_deg(info: ImageInfo) -> tuple[float, float, float] | None:
    """Return yaw, pitch and roll of the camera, or None where one of the first two is missing."""
    values = _numbers(info.metadata)
    if "gimbal_yaw_deg" not in values or "gimbal_pitch_deg" not in values:
        return None
    roll = values.get("gimbal_roll_deg", 0.0)
    return values["gimbal_yaw_deg"], values["gimbal_pitch_deg"], roll


def upright_to_stored(info: ImageInfo) -> tuple[Array, int, int]:
    """Return the 3 x 3 matrix from upright to stored (col, row, 1), and the stored size.

    Camera angles speak of the picture as the sensor wrote it.
    """
    orientation = info.metadata.get("orientation", 1.0)
    transpose, flip_rows, flip_cols = ORIENTATIONS[int(float(orientation))]
    height, width = info.height_px, info.width_px
    flips = np.array(
        [
            [-1.0 if flip_cols else 1.0, 0.0, width - 1.0 if flip_cols else 0.0],
            [0.0, -1.0 if flip_rows else 1.0, height - 1.0 if flip_rows else 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    return (flips[[1, 0, 2]], width, height) if transpose else (flips, height, width)


def _choices(values: Mapping[str, float], diagonal: float, resized: float) -> list[Focal]:
    """Return every focal length that the metadata gives, the best first."""
    found: list[Focal] = []
    calibrated = values.get("calibrated_focal_length_px") or values.get("dewarp_fx_px")
    if calibrated:
        found.append((calibrated * resized, _SIGMA_CALIBRATED, "calibrated focal length"))
    equivalent = values.get("focal_length_35mm")
    if equivalent:
        found.append((equivalent / DIAGONAL_35MM * diagonal, _SIGMA_35MM, "35-mm equivalent"))
    per_mm = _sensor_px_per_mm(values)
    if per_mm and values.get("focal_length_mm"):
        focal = values["focal_length_mm"] * per_mm * resized
        found.append((focal, _SIGMA_FOCAL_PLANE, "focal length and sensor resolution"))
    return found


def _sensor_px_per_mm(values: Mapping[str, float]) -> float | None:
    unit = _MM_PER_UNIT.get(int(values.get("focal_plane_resolution_unit", 2)))
    resolution = values.get("focal_plane_x_resolution")
    return resolution / unit if resolution and unit else None


def _resized(info: ImageInfo, values: Mapping[str, float], notices: list[Notice]) -> float | None:
    """Return by how much the picture was resized since it was taken; None when it was cropped."""
    taken = sorted([values.get("exif_width_px", 0.0), values.get("exif_height_px", 0.0)])
    if taken[0] <= 0:
        return 1.0
    now = sorted([info.width_px, info.height_px])
    ratios = now[0] / taken[0], now[1] / taken[1]
    size = f"{taken[1]:.0f} x {taken[0]:.0f} px when taken and {now[1]} x {now[0]} px now"
    if abs(ratios[0] / ratios[1] - 1) > 0.01:
        text = f"the picture had {size}: it was cropped, so its focal length is not used."
        notices.append(Notice(code="cropped_picture", message=text))
        return None
    if abs(ratios[1] - 1) > 0.001:
        text = f"the picture had {size}: taken as resized whole."
        notices.append(Notice(code="resized_picture", message=text))
    return ratios[1]


def _zoom(values: Mapping[str, float], notices: list[Notice]) -> float:
    zoom = values.get("digital_zoom", 1.0)
    if zoom >= 1:
        return zoom
    text = f"a digital zoom of {zoom:g} means that none was used."
    notices.append(Notice(code="absurd_metadata", message=text))
    return 1.0


def _numbers(metadata: Mapping[str, float | str]) -> dict[str, float]:
    return {name: value for name, value in metadata.items() if isinstance(value, float)}
