"""Scales seen in the picture itself: markers of known side, points with known places."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import cv2
import numpy as np

from crackseg.config import ScaleOptions
from crackseg.errors import ConfigError, ScaleError
from crackseg.imagery import planes
from crackseg.imagery.candidate import Candidate, oblique, uniform
from crackseg.names import nearest
from crackseg.records import Array, ImageInfo, Notice, Window
from crackseg.scales import SIGMA_REL_MAX

Read = Callable[[Window], Array]

_PICK_PX = 0.5  # standard deviation of a reference point picked by hand
_CORNER_PX = 0.1  # of a refined marker corner
_PRINT_SIGMA = 0.002  # printed side of a marker, surveyed distance of reference points
_MARKER_SEARCH_PX = 150_000_000
# of a square's corners 0 to 3, over its side: 01, 02, 03, 12, 13, 23
_SQUARE_SPANS = np.array([1, math.sqrt(2), 1, 1, math.sqrt(2), 1])


def from_reference(info: ImageInfo, options: ScaleOptions) -> Candidate | None:
    """Return the scale of reference points: uniform of two or three, else a plane."""
    points = np.asarray(options.reference_points, dtype=np.float64).reshape(-1, 4)
    if not len(points):
        return None
    pixels, mm = points[:, 1::-1], points[:, :1:-1]
    if len(points) == 1 or not np.isfinite(points).all():
        raise ScaleError(
            "`reference_points` must be two or more lists of row, col, y_mm, x_mm, got "
            f"{options.reference_points}."
        )
    # pixels have their centres at whole numbers: the picture reaches half of one beyond
    inside = (pixels >= -0.5) & (pixels <= [info.width_px - 0.5, info.height_px - 0.5])
    for row, col in points[~inside.all(axis=1), :2]:
        raise ScaleError(
            f"`reference_points` must lie in the picture of {info.height_px} rows and "
            f"{info.width_px} columns, got row {row:g}, col {col:g}; check their order (row, col, "
            "y_mm, x_mm), and that they were read in this picture at its full size."
        )
    detail = f"{len(points)} reference points"
    if len(points) < 4:
        px, true = _spans(pixels), _spans(mm)
        if min(px) < 2 or min(true) <= 0:
            raise ScaleError("`reference_points` must lie apart, in the picture and in mm.")
        ratios = np.divide(true, px)
        sigma = math.hypot(_PICK_PX * math.sqrt(2) / max(px), _PRINT_SIGMA)
        if len(points) == 3:
            sigma = math.hypot(sigma, float(np.log(ratios).std()))
        return uniform(sum(true) / sum(px), sigma, "reference", detail)
    return _plane(info, pixels, mm, detail)


def _plane(info: ImageInfo, pixels: Array, mm: Array, detail: str) -> Candidate:
    matrix = planes.from_points(pixels, mm)
    small, _ = planes.local_scales(matrix, *pixels.mean(axis=0))
    missed = np.linalg.norm(planes.apply(matrix, pixels) - mm, axis=1).max() / small
    if missed > 10 * _PICK_PX:
        raise ScaleError(
            f"{detail} do not lie on one plane: one is {missed:.0f} px away from where the others "
            "put it; check their order (row, col, y_mm, x_mm) and values."
        )
    noise = np.random.default_rng(0).normal(0, _PICK_PX, (16, *pixels.shape))
    fits = [planes.from_points(pixels + n, mm) for n in noise]
    return oblique(info, matrix, _sigma(info, fits), "reference", detail)


def from_markers(
    info: ImageInfo, options: ScaleOptions, read: Read | None, notices: list[Notice]
) -> Candidate | None:
    """Return the plane of the markers in the picture, all of one known side."""
    if options.marker_mm is None:
        return None
    corners = _find_corners(info, options.marker_dictionary, read)
    if not corners:
        text = f"no marker of `{options.marker_dictionary}` was found in the picture."
        notices.append(Notice(code="marker_not_found", message=text))
        return None
    side = options.marker_mm
    matrix = planes.from_markers(corners, side)
    for quad in corners:
        sides = _spans(planes.apply(matrix, quad))
        if max(abs(s / t - 1) for s, t in zip(sides, _SQUARE_SPANS * side, strict=True)) > 0.05:
            raise ScaleError(
                f"the markers do not lie on one plane: one with a side of {side:g} mm measures "
                f"{sides[0]:.1f} mm by the others; measure with one of them, or fix them flat."
            )
    noise = np.random.default_rng(0).normal(0, _CORNER_PX, (16, len(corners), 4, 2))
    fits = [planes.from_markers(list(np.add(corners, n)), side) for n in noise]
    detail = f"{len(corners)} marker(s) of {side:g} mm"
    sigma = _sigma(info, fits)
    if not sigma <= SIGMA_REL_MAX:
        px = max(max(_spans(quad)) for quad in corners) / math.sqrt(2)
        precision = f"±{200 * sigma:.0f} % only" if math.isfinite(sigma) else "no use at all"
        text = (
            f"{detail} of at most {px:.0f} px are too small in the picture: the scale would be "
            f"known to {precision} and is not used; take a larger marker or go nearer."
        )
        notices.append(Notice(code="marker_too_small", message=text))
        return None
    return oblique(info, matrix, sigma, "marker", detail)


def _find_corners(info: ImageInfo, dictionary: str, read: Read | None) -> list[Array]:
    """Return the (4, 2) refined corners (col, row) of every marker."""
    if read is None:
        raise ScaleError("`marker_mm` needs the picture itself; its pixels are not at hand.")
    names = [name for name in dir(cv2.aruco) if name.startswith("DICT_")]
    if dictionary not in names:
        raise ConfigError(
            f"unknown `marker_dictionary` {dictionary}; known: {nearest(dictionary, names)}."
        )
    if info.height_px * info.width_px > _MARKER_SEARCH_PX:
        raise ScaleError(
            f"markers are searched in pictures up to {_MARKER_SEARCH_PX / 1e6:.0f} megapixels; "
            "give `mm_per_px` or reference points."
        )
    whole = Window(row=0, col=0, height=info.height_px, width=info.width_px)
    grey = cv2.cvtColor(np.ascontiguousarray(read(whole)), cv2.COLOR_RGB2GRAY)
    table = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    settings = cv2.aruco.DetectorParameters()
    settings.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
    quads, _, _ = cv2.aruco.ArucoDetector(table, settings).detectMarkers(grey)
    return [quad.reshape(4, 2).astype(np.float64) for quad in quads]


def _sigma(info: ImageInfo, fits: list[Array]) -> float:
    return math.hypot(_PRINT_SIGMA, planes.spread(fits, info.height_px, info.width_px))


def _spans(points: Array) -> list[float]:
    """Return the distances between all pairs of points."""
    return [float(np.linalg.norm(q - p)) for p, q in itertools.combinations(points, 2)]
