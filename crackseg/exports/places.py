"""Where the pixels of a photograph lie on a drawing: in map units, in metres, or in pixels.

A georeferenced raster keeps its place in the map. Any other photograph with a scale is drawn true
to size in metres, y upwards, its top left corner at 0, 0; one without a scale in pixels, as a GIS
lays out a plain picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import cv2
import numpy as np

from crackseg.metrology import arc
from crackseg.records import Array, Scale

STEP_PX = 10.0  # between two stations with a width
IDLE_PX = 0.1  # a tenth of what a centre line is known to
_FARTHEST_M = 1e4  # a corner beyond it is near the horizon: the frame is drawn round the cracks


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How (N, 2) rows, cols become (N, 2) x, y of a drawing."""

    kind: Literal["map", "metres", "pixels"]
    crs: str | None  # of a map, where it is known
    transform: tuple[float, ...] | None
    scale: Scale | None
    shift: tuple[float, float] = (0.0, 0.0)

    def to_xy(self, points: Array) -> Array:
        """Return x and y of rows and cols, pixel centres at whole numbers."""
        points = np.asarray(points, float).reshape(-1, 2)
        if self.transform is not None:
            a, b, c, d, e, f = self.transform
            cols, rows = points[:, 1] + 0.5, points[:, 0] + 0.5
            xy = np.column_stack([a * cols + b * rows + c, d * cols + e * rows + f])
        elif self.scale is not None:
            corner = self.scale.to_mm(np.array([[-0.5, -0.5]]))
            xy = ((self.scale.to_mm(points) - corner) / 1000)[:, ::-1] * [1, -1]
        else:
            xy = (points[:, ::-1] + 0.5) * [1, -1]
        return np.asarray(xy + np.array(self.shift))

    @property
    def is_metric(self) -> bool:
        """Whether a unit of the drawing is a metre."""
        if self.transform is None or self.scale is None:
            return self.kind == "metres"
        a, b, _, d, e, _ = self.transform
        unit_m = self.scale.mm_per_px / 1000 / float(np.sqrt(abs(a * e - b * d)))
        return abs(unit_m - 1) < 0.01

    def moved(self, x: float, y: float) -> Place:
        """Return the place with everything moved by x, y."""
        return replace(self, shift=(self.shift[0] + x, self.shift[1] + y))


def place_of(report: Mapping[str, Any]) -> Place:
    """Return the place of the photograph of a ``report.json``."""
    image, scale = report["image"], scale_of(report["scale"])
    if image["transform"] is not None:
        return Place(kind="map", crs=image["crs"], transform=tuple(image["transform"]), scale=scale)
    kind: Literal["metres", "pixels"] = "pixels" if scale is None else "metres"
    return Place(kind=kind, crs=None, transform=None, scale=scale)


def scale_of(values: Mapping[str, Any] | None) -> Scale | None:
    """Return the scale that a ``report.json`` holds."""
    if values is None:
        return None
    rows = values.get("homography")
    matrix: Any = None if rows is None else tuple(tuple(row) for row in rows)
    return Scale(**{**values, "homography": matrix})


def frame(report: Mapping[str, Any], place: Place) -> Array:
    """Return (4, 2) x, y of the picture's corners, of the cracks' box where it has no edge."""
    rows, cols = report["image"]["height_px"] - 0.5, report["image"]["width_px"] - 0.5
    corners = place.to_xy(np.array([[-0.5, -0.5], [-0.5, cols], [rows, cols], [rows, -0.5]]))
    far = np.abs(corners - np.array(place.shift)).max() > _FARTHEST_M
    if place.kind != "metres" or not far:
        return corners
    lines = [line for crack in report["cracks"] for line in lines_of(crack, place)]
    points = np.vstack(lines) if lines else np.array([place.shift])
    (left, bottom), (right, top) = points.min(axis=0), points.max(axis=0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def lines_of(crack: Mapping[str, Any], place: Place) -> list[Array]:
    """Return the (N, 2) x, y of each branch of a crack of ``report.json``, without idle points."""
    lines = (np.array(line, float) for line in crack["centre_line"] if len(line) > 1)
    return [place.to_xy(_simplified(line)) for line in lines]


def _simplified(line: Array) -> Array:
    """Return a line without the points that lie within ``IDLE_PX`` of the rest."""
    first = line[0]  # single precision holds what is near it
    near = (line - first).astype(np.float32).reshape(-1, 1, 2)
    fewer = cv2.approxPolyDP(near, IDLE_PX, False).reshape(-1, 2).astype(float) + first
    return np.asarray(fewer if len(fewer) > 1 else line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A place on a centre line where the width was read."""

    x: float
    y: float
    branch: int
    width_px: float
    width_mm: float | None


def stations_of(
    crack: Mapping[str, Any], place: Place, step_px: float = STEP_PX
) -> Iterator[Station]:
    """Yield the stations of a crack of ``report.json`` that have a width, thinned out."""
    branches = zip(crack["centre_line"], crack["width_profile_px"], strict=True)
    for number, (line, widths) in enumerate(branches, start=1):
        if len(line) < 2:
            continue
        points = np.array(line, float)
        at = _thinned(points, widths, step_px)
        wide = np.array([widths[i] for i in at], float)
        xy, mm = place.to_xy(points[at]), _width_mm(points, at, wide, place.scale)
        for i in range(len(at)):
            yield Station(
                x=float(xy[i, 0]), y=float(xy[i, 1]), branch=number, width_px=float(wide[i]),
                width_mm=None if mm is None else float(mm[i]),
            )  # fmt: skip


def _thinned(points: Array, widths: Sequence[float | None], step_px: float) -> list[int]:
    """Return the indices of points with a width that lie ``step_px`` or more apart."""
    along = arc.along(points)
    places: list[int] = []
    for index, width in enumerate(widths):
        if width is not None and (not places or along[index] - along[places[-1]] >= step_px):
            places.append(index)
    return places


def _width_mm(points: Array, at: list[int], width_px: Array, scale: Scale | None) -> Array | None:
    """Return widths in mm between the two edge points of each station, None without a scale."""
    if scale is None or not at:
        return None
    along = np.gradient(points, axis=0)[at]
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    normal /= np.maximum(np.hypot(*normal.T), 1e-9)[:, None]
    half = normal * width_px[:, None] / 2
    ends = scale.to_mm(points[at] + half) - scale.to_mm(points[at] - half)
    return np.asarray(np.hypot(*ends.T))
