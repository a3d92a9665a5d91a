"""Where millimetres come from: every source that a picture offers, the most trusted one used.

In order of trust: markers or reference points in the picture (with the plane's homography), the
size that the operator gives, the raster's georeference, the laser distance, the operator's
stand-off distance; the last two with the camera's focal length and, where the face's slope and
direction are given, as a full homography of the sloping face. All sources must agree within their
uncertainty. The height above take-off is never taken for the distance to a wall.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from crackseg.config import ScaleOptions
from crackseg.errors import AbsurdScale, ScaleError
from crackseg.imagery import planes
from crackseg.imagery.candidate import Candidate, oblique, uniform
from crackseg.imagery.references import Read, from_markers, from_reference
from crackseg.imagery.standoff import from_distances, refuse_altitude, warn_of_tilt
from crackseg.imagery.world_files import world_file_notice
from crackseg.names import figures
from crackseg.records import ImageInfo, Notice, Scale

_AGREE_SIGMAS = 3.0
_AGREE_FLOOR = 0.02  # relative; what stays unknown even when both sigmas are small
_GEOTIFF_SIGMA = 0.01  # orthomosaic with control points
_COARSE_MM_PER_PX = 3.0  # a third of it, the thinnest line seen, is the widest class of documents


def find_scale(
    info: ImageInfo, options: ScaleOptions, read: Read | None = None
) -> tuple[Scale | None, tuple[Notice, ...]]:
    """Return the most trusted scale of a picture, or None, and what was not used and why.

    Args:
        info: of the upright picture.
        options: what the operator knows.
        read: returns the pixels of a window; needed to look for markers only.

    Raises:
        ScaleError: two sources contradict each other, or one is absurd.
        ConfigError: the marker dictionary is unknown.
    """
    notices: list[Notice] = []
    candidates = [c for c in _candidates(info, options, read, notices) if c is not None]
    for other in candidates[1:]:
        _check_agreement(candidates[0], other)
    scale = candidates[0].scale if candidates else None
    if scale is None:
        refuse_altitude(info, notices)
        if info.transform is None and options.use_metadata:
            notices.extend(filter(None, [world_file_notice(info)]))
    by_distance = scale is None and _distance_known(info, options)
    if by_distance or (scale and not scale.homography and scale.source in ("lrf", "exif")):
        warn_of_tilt(info, notices)
    _warn_of_coarse(scale, notices)
    _miss_what_was_asked(scale, options, notices)
    _miss_what_has_no_effect(scale, info, options, notices)
    return scale, tuple(notices)


def _distance_known(info: ImageInfo, options: ScaleOptions) -> bool:
    laser = info.metadata.get("lrf_distance_m")
    return options.use_metadata and (options.distance_m is not None or laser is not None)


def _warn_of_coarse(scale: Scale | None, notices: list[Notice]) -> None:
    """Add a notice where one pixel is wider than all that documents call a crack's width."""
    if scale is None or scale.mm_per_px <= _COARSE_MM_PER_PX:
        return
    unseen_mm = figures(scale.mm_per_px / 3, 2)
    text = (
        f"one pixel covers {figures(scale.mm_per_px, 3)} mm: cracks below about "
        f"{unseen_mm} mm cannot be seen, so that finding none means nothing for the "
        "widths that documents limit, and what is marked is a joint or a wide opening."
    )
    notices.append(Notice(code="coarse_scale", message=text))


def _miss_what_was_asked(scale: Scale | None, options: ScaleOptions, notices: list[Notice]) -> None:
    """Add a notice where the operator asked for a source of scale that gave none."""
    options_by_name = {"`marker_mm`": options.marker_mm, "`distance_m`": options.distance_m}
    options_by_name |= {"`geotiff_unit_m`": options.geotiff_unit_m}
    named = [name for name, value in options_by_name.items() if value is not None]
    if scale is None and named:
        text = f"no scale came of {' and '.join(named)}: nothing is given in mm."
    elif scale and options.marker_mm is not None and scale.source != "marker":
        text = f"no scale came of `marker_mm`: mm are by {scale.detail or scale.source} instead."
    else:
        return
    notices.append(Notice(code="scale_not_found", message=text))


def _miss_what_has_no_effect(
    scale: Scale | None, info: ImageInfo, options: ScaleOptions, notices: list[Notice]
) -> None:
    """Add a notice where an option is of another source than the one that gave the scale."""
    if options.geotiff_unit_m is not None and scale is not None and info.transform is None:
        text = "`geotiff_unit_m` is of georeferenced rasters, and this picture is none: not used."
        notices.append(Notice(code="scale_not_found", message=text))
    sloping = options.face_batter is not None or options.face_azimuth_deg is not None
    if sloping and scale is not None and scale.source == "given":
        text = "mm are by `mm_per_px`: the slope of the face is not corrected."
        notices.append(Notice(code="face_plane_incomplete", message=text))


def _candidates(
    info: ImageInfo, options: ScaleOptions, read: Read | None, notices: list[Notice]
) -> Iterator[Candidate | None]:
    """Yield every source's scale in order of trust, None where it has nothing."""
    yield from_markers(info, options, read, notices)
    yield from_reference(info, options)
    yield _from_given(options)
    yield _from_geotiff(info, options, notices)
    yield from from_distances(info, options, notices)


def _check_agreement(first: Candidate, second: Candidate) -> None:
    """Raise when two sources differ by more than their uncertainty.

    A uniform scale may have been taken in any direction of an oblique plane, so it agrees with all
    values between across and along the tilt.
    """
    gap = max(first.across / second.along, second.across / first.along, 1.0)
    sigma = math.hypot(first.scale.sigma_rel, second.scale.sigma_rel)
    if math.log(gap) > _AGREE_SIGMAS * sigma + _AGREE_FLOOR:
        raise ScaleError(
            f"two sources of scale contradict each other: {first.text}, but {second.text}; take "
            "the wrong one away (`use_metadata = false` ignores what the camera wrote)."
        )


def _from_given(options: ScaleOptions) -> Candidate | None:
    if options.mm_per_px is None:
        return None
    return uniform(options.mm_per_px, options.mm_per_px_sigma_rel, "given", "`mm_per_px`")


def _from_geotiff(
    info: ImageInfo, options: ScaleOptions, notices: list[Notice]
) -> Candidate | None:
    """Return the scale of a georeferenced raster whose map unit is a length on the structure."""
    if info.transform is None or not options.use_metadata:
        return None
    unit_m = _map_unit_m(info, options, notices)
    if unit_m is None:
        return None
    stretch = float(info.metadata.get("map_stretch", 1.0))
    a, b, _, d, e, _ = (1000 * unit_m / stretch * value for value in info.transform)
    matrix = np.array([[a, b, 0.0], [d, e, 0.0], [0.0, 0.0, 1.0]])
    if a * e - b * d < 0:
        matrix[1] *= -1  # northing grows upwards, y downwards
    small, large = planes.local_scales(matrix, 0.0, 0.0)
    drawn = f", drawn {stretch:.4f} times the ground" if stretch != 1 else ""
    detail = f"GeoTIFF transform ({info.crs or 'no CRS'}, unit {unit_m:g} m{drawn})"
    if small <= 0:
        notices.append(Notice(code="absurd_transform", message=f"{detail} is flat: not used."))
        return None
    try:
        if large / small < 1.001:
            return uniform(math.sqrt(small * large), _GEOTIFF_SIGMA, "geotiff", detail)
        return oblique(info, matrix, _GEOTIFF_SIGMA, "geotiff", detail)
    except AbsurdScale as error:  # what the file says by itself never stops an analysis
        notices.append(Notice(code="absurd_scale", message=f"{error} It was not used."))
        return None


def _map_unit_m(info: ImageInfo, options: ScaleOptions, notices: list[Notice]) -> float | None:
    """Return the metres of a map unit, or None and a sentence why the raster has no scale."""
    kind, written = info.metadata.get("crs_kind"), info.metadata.get("map_unit_m")
    if kind == "geographic":
        text = (
            f"the raster's CRS ({info.crs}) is geographic: degrees are not lengths; reproject it "
            "to a metric CRS."
        )
        notices.append(Notice(code="geographic_crs", message=text))
        return None
    if kind == "mercator":
        text = (
            f"the raster's CRS ({info.crs}) is one of a large part of the world (a world "
            "Mercator, or its like), whose metre is not the ground's; reproject it to UTM or a "
            "local CRS."
        )
        notices.append(Notice(code="mercator_crs", message=text))
        return None
    if not isinstance(written, float):
        if options.geotiff_unit_m is None:
            text = (
                "the raster is georeferenced but its map unit is not written; give "
                "`geotiff_unit_m` (1 for metres, 0.3048 for feet)."
            )
            notices.append(Notice(code="no_map_unit", message=text))
        return options.geotiff_unit_m
    if options.geotiff_unit_m not in (None, written):
        raise ScaleError(
            f"`geotiff_unit_m` is {options.geotiff_unit_m:g}, but the raster's CRS ({info.crs}) "
            f"says {written:g} m; leave the option out."
        )
    return written
