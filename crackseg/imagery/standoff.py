"""Scales from a distance and a focal length, of a face seen squarely or of a sloping face."""

from __future__ import annotations

import math
from collections.abc import Iterator

from crackseg.config import ScaleOptions
from crackseg.errors import AbsurdScale
from crackseg.imagery import planes
from crackseg.imagery.camera import Focal, focal_px, gimbal_deg, laser_distance_m, upright_to_stored
from crackseg.imagery.candidate import Candidate, oblique, uniform
from crackseg.records import ImageInfo, Notice
from crackseg.scales import SIGMA_REL_MAX, ScaleSource

_ANGLE_SIGMA = math.radians(2.0)  # gimbal against true directions, and the face's own
_FRONTAL_SIGMA = 0.02  # a view thought to be square is 10 to 15 deg off
_LASER_M, _LASER_SHARE = 0.1, 0.001  # makers state +-(0.2 m + 0.15 %): about two sigma
_OBLIQUE_DEG = 10.0  # a gimbal pitched further sees a vertical wall obliquely
_NADIR_DEG = 80.0  # one pitched further looks at a floor, a crest or a slab


def from_distances(
    info: ImageInfo, options: ScaleOptions, notices: list[Notice]
) -> Iterator[Candidate | None]:
    """Yield the scales of the laser distance and of the operator's stand-off distance."""
    if not options.use_metadata:
        if options.distance_m is not None:
            text = "`distance_m` needs the focal length, but `use_metadata` is false: not used."
            notices.append(Notice(code="no_focal_length", message=text))
        return
    laser = laser_distance_m(info, notices)
    if laser is None and options.distance_m is None:
        return
    focal = focal_px(info, notices)
    if focal is None:
        text = "the distance is known but no focal length is: it gives no scale."
        notices.append(Notice(code="no_focal_length", message=text))
        return
    if laser is not None:
        sigma = (_LASER_M + _LASER_SHARE * laser) / laser
        try:
            yield _at_distance(info, options, notices, laser, sigma, "lrf", focal)
        except AbsurdScale as error:  # what a drone wrote by itself never stops an analysis
            text = f"{error} The laser distance was not used."
            notices.append(Notice(code="absurd_scale", message=text))
    if options.distance_m is not None:
        yield _at_distance(
            info, options, notices, options.distance_m, options.distance_sigma_rel, "exif", focal
        )


def _at_distance(
    info: ImageInfo,
    options: ScaleOptions,
    notices: list[Notice],
    distance_m: float,
    sigma: float,
    source: ScaleSource,
    focal: Focal,
) -> Candidate | None:
    """Return the scale of a face at a distance: a plane where its angles are known.

    None where the camera was pitched so far that nothing is known of lengths along the tilt.
    """
    px, focal_sigma, focal_text = focal
    name = "laser distance" if source == "lrf" else "`distance_m`"
    detail = f"{name} {distance_m:g} m, {focal_text} {px:.0f} px"
    both = math.hypot(sigma, focal_sigma)
    angles = _face_angles(info, options, notices)
    if angles is None:
        if _tilt_error(info) / 2 >= SIGMA_REL_MAX:
            return None  # ``warn_of_tilt`` says why
        both = math.hypot(both, _FRONTAL_SIGMA, _tilt_error(info) / 2)  # k = 2 covers all of it
        return uniform(1000 * distance_m / px, both, source, detail)
    batter, azimuth, gimbal = angles
    turn, height, width = upright_to_stored(info)
    matrix, tilt_deg = planes.from_face(
        distance_mm=1000 * distance_m,
        focal_px=px,
        centre=((width - 1) / 2, (height - 1) / 2),
        gimbal_deg=gimbal,
        batter=batter,
        azimuth_deg=azimuth,
    )
    both = math.hypot(both, _ANGLE_SIGMA * math.tan(math.radians(tilt_deg)))
    return oblique(info, matrix @ turn, both, "plane", f"{detail}, face seen at {tilt_deg:.0f} deg")


def _face_angles(
    info: ImageInfo, options: ScaleOptions, notices: list[Notice]
) -> tuple[float, float, tuple[float, float, float]] | None:
    """Return batter, azimuth and gimbal angles, or None and, where some are missing, a notice."""
    gimbal, batter, azimuth = gimbal_deg(info), options.face_batter, options.face_azimuth_deg
    if batter is not None and azimuth is not None and gimbal is not None:
        return batter, azimuth, gimbal
    if batter is not None or azimuth is not None:
        missing = {
            "`face_batter`": batter,
            "`face_azimuth_deg`": azimuth,
            "the gimbal angles": gimbal,
        }
        names = " and ".join(name for name, value in missing.items() if value is None)
        text = f"{names} missing: the slope of the face is not corrected."
        _once(notices, Notice(code="face_plane_incomplete", message=text))
    return None


def _tilt_error(info: ImageInfo) -> float:
    """Return by which share lengths on a vertical face are longer than in a view thought square."""
    pitch = info.metadata.get("gimbal_pitch_deg", 0.0)
    if not isinstance(pitch, float):
        return 0.0
    tilt = min(abs(pitch), 180 - abs(pitch))  # beyond the vertical it looks backwards
    if not _OBLIQUE_DEG < tilt < _NADIR_DEG:
        return 0.0
    return 1 / math.cos(math.radians(tilt)) - 1


def warn_of_tilt(info: ImageInfo, notices: list[Notice]) -> None:
    """Add a notice when a vertical wall would be seen obliquely and nothing corrects it."""
    error = _tilt_error(info)
    if not error:
        return
    so = "no scale is taken from the distance" if error / 2 >= SIGMA_REL_MAX else "the ± covers it"
    text = (
        f"the camera was pitched {info.metadata['gimbal_pitch_deg']:.0f} deg: on a vertical face, "
        f"lengths along the tilt are {100 * error:.0f} % longer than measured; {so}. Give "
        "`face_batter` and `face_azimuth_deg`."
    )
    notices.append(Notice(code="oblique_view", message=text))


def refuse_altitude(info: ImageInfo, notices: list[Notice]) -> None:
    """Say why the one distance that a drone always writes is no distance to the face."""
    altitude = info.metadata.get("relative_altitude_m")
    if altitude is None:
        return
    text = (
        f"RelativeAltitude ({altitude:g} m) is the height above take-off, not the distance to the "
        "face: it gives no scale. Give `distance_m`, a marker or `mm_per_px`."
    )
    notices.append(Notice(code="relative_altitude_refused", message=text))


def _once(notices: list[Notice], notice: Notice) -> None:
    if notice not in notices:
        notices.append(notice)
