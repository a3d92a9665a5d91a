"""The focal length in pixels and the laser distance, from what a camera wrote into its file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from crackseg.imagery.files import ORIENTATIONS
from crackseg.imagery.frame import Frame, find_frame, sensor_px_per_mm
from crackseg.records import Array, ImageInfo, Notice

DIAGONAL_35MM = 43.27  # mm: sqrt(36^2 + 24^2), to which 35-mm equivalents refer
# relative standard uncertainties of a focal length
_SIGMA_CALIBRATED = 0.005  # single camera calibrated by its maker
_SIGMA_35MM = 0.025  # written as a whole number, and makers differ in diagonal or width
_SIGMA_FOCAL_PLANE = 0.02  # sensor pitch rounded
_DISAGREE = 0.12  # log; three sigmas of a 35-mm equivalent, and 4 % of what makers refer it to

# Makers whose 35-mm equivalent has the digital zoom in it already; with others it has to be added.
# Source: an iPhone SE writes 28 mm, and 55 mm with a DigitalZoomRatio of 1.951 (hugin, bug 2064625)
_ZOOM_IN_35MM = ("Apple",)

Focal = tuple[float, float, str]  # px of this picture, relative sigma, where it comes from


def focal_px(info: ImageInfo, notices: list[Notice]) -> Focal | None:
    """Return the focal length in pixels of the picture as it is, digital zoom counted, or None.

    In order: the maker's calibration, the 35-mm equivalent by the picture's diagonal, the focal
    length with the sensor's resolution.
    """
    values = _numbers(info.metadata)
    frame = find_frame(info, values, notices)
    if frame is None:
        return None
    zoom = _zoom(values, notices)
    if "focal_length_35mm" in values and (info.camera or "").startswith(_ZOOM_IN_35MM):
        values["focal_length_35mm"] /= zoom
    choices = _choices(values, frame)
    sane = [c for c in choices if 0.2 * frame.diagonal_px <= c[0] <= 100 * frame.diagonal_px]
    for focal, _, what in choices:
        if (focal, _, what) not in sane:
            text = (
                f"{what} gives {focal:.0f} px for a frame of {frame.diagonal_px:.0f} px: ignored."
            )
            notices.append(Notice(code="absurd_focal_length", message=text))
    if not sane:
        return None
    focal, sigma, what = sane[0]
    gap, other = max(((abs(math.log(c[0] / focal)), c) for c in sane), key=lambda pair: pair[0])
    if gap > _DISAGREE:
        text = f"{what} gives {focal:.0f} px, {other[2]} {other[0]:.0f} px: not used."
        notices.append(Notice(code="focal_lengths_disagree", message=text))
        return None
    sigma = math.hypot(sigma, gap / 2, frame.sigma_rel)
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


def _choices(values: Mapping[str, float], frame: Frame) -> list[Focal]:
    """Return every focal length that the metadata gives, the best first."""
    choices: list[Focal] = []
    calibrated = values.get("calibrated_focal_length_px") or values.get("dewarp_fx_px")
    if calibrated:
        choices.append((calibrated * frame.resized, _SIGMA_CALIBRATED, "calibrated focal length"))
    equivalent = values.get("focal_length_35mm")
    if equivalent:
        choices.append(
            (equivalent / DIAGONAL_35MM * frame.diagonal_px, _SIGMA_35MM, "35-mm equivalent")
        )
    per_mm = sensor_px_per_mm(values)
    if per_mm and values.get("focal_length_mm"):
        focal = values["focal_length_mm"] * per_mm * frame.resized
        choices.append((focal, _SIGMA_FOCAL_PLANE, "focal length and sensor resolution"))
    return choices


def _zoom(values: Mapping[str, float], notices: list[Notice]) -> float:
    zoom = values.get("digital_zoom", 1.0)
    if zoom >= 1:
        return zoom
    text = f"a digital zoom of {zoom:g} means that none was used."
    notices.append(Notice(code="absurd_metadata", message=text))
    return 1.0


def _numbers(metadata: Mapping[str, float | str]) -> dict[str, float]:
    return {name: value for name, value in metadata.items() if isinstance(value, float)}
