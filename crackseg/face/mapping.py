"""A folder of results becomes the map of a face: placed, scaled, merged, counted.

``make_map`` is the one chain; ``face_command`` in ``commands`` and the comparison of two dates call
it. Pictures of an orthomosaic lie on the face as they are; photographs are placed by their block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.errors import DataError
from crackseg.face.block import Placed, place, tie_gaps_mm
from crackseg.face.cameras import FRONTAL, View
from crackseg.face.cracks import FaceCrack, cracks_of
from crackseg.face.lines import marks_of
from crackseg.face.merging import merge
from crackseg.face.neighbours import each_once
from crackseg.face.other_lines import FaceLine, lines_of, notice_of
from crackseg.face.photographs import Photograph, read_photographs, survey_in
from crackseg.face.plane import FacePlane, plane_of
from crackseg.face.scaling import FaceScale, References, put_scale, views_of
from crackseg.face.space import notice_of_space
from crackseg.names import count
from crackseg.records import Array, Notice
from crackseg.survey import Survey

TOLERANCE_PX = 3.0  # how far centre lines of one crack lie apart in two views, at least
_TOLERANCE_RESIDUALS = 3.0  # or so many times what the ties miss
_POSE_SIGMAS = 3.0
_POSE_ANGLE_RAD = 0.026  # of a gimbal, where no neighbour tells better
_POSE_ALONE_M = 0.3  # where too few have a pose to see how far they are off
_AREA_CELLS = 2_000_000

Listen = Callable[[str, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residuals:
    """How well the block holds together: distances between the two places of each tie, mm."""

    ties: int
    median_mm: float
    p95_mm: float
    median_px: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceMap:
    """The map of a face."""

    photographs: tuple[Photograph, ...]
    views: tuple[View, ...]
    tied: tuple[bool, ...]
    cracks: tuple[FaceCrack, ...]
    other_lines: tuple[FaceLine, ...]  # joints, cables, edges: in no total
    plane: FacePlane
    scale: FaceScale
    residuals: Residuals | None  # None of one photograph, or of rasters
    pose_misses_m: float | None
    tolerance_mm: float  # within which two courses are one
    aside: tuple[tuple[str, str], ...]
    notices: tuple[Notice, ...]
    survey: Survey | None
    area_m2: float  # that photographs that can be judged show, once
    unjudged_m2: float  # shown by others alone
    photographed_m2: float  # all of them added up
    marks: int  # cracks of the main lists of all photographs, added up
    marks_length_m: float

    @property
    def main(self) -> list[FaceCrack]:
        """The cracks that totals are of."""
        return [crack for crack in self.cracks if crack.section == "main"]

    @property
    def length_m(self) -> float:
        """Total length of the main list."""
        return sum(crack.length.value_mm or 0.0 for crack in self.main) / 1000


def make_map(
    results: Path,
    *,
    pictures: Sequence[Path] = (),
    references: References | None = None,
    survey: Survey | None = None,
    use_poses: bool = True,
    listen: Listen = lambda step, share: None,
    small: Path | None = None,
) -> FaceMap:
    """Return the map of the face that a folder of results is of.

    Args:
        results: as ``crackseg analyze`` wrote it.
        pictures: where to look for photographs that were moved.
        references: what was measured on the face.
        survey: None: ``survey.toml`` in the results, else what the analysis knew.
        use_poses: False: place by what neighbours show alone.
        listen: is told of the step and the share of it that is done.
        small: folder that is there until the map is written, for photographs of a large survey
            that are shrunk once; None: the mosaic reads them again.

    Raises:
        DataError: the photographs cannot be placed, or contradict each other.
        ScaleError: nothing gives a scale.
        ConfigError: a reference or the survey's face does not fit.
    """
    survey = survey or survey_in(results)
    plane = plane_of(survey.face if survey else None)
    photographs = read_photographs(results, pictures)
    if not use_poses:
        photographs = [replace(p, pose=None) for p in photographs]
    rasters = [p for p in photographs if p.raster_m is not None]
    if rasters:
        return _map_of_rasters(photographs, rasters, plane, survey)
    placed = place(photographs, plane, listen, small)
    listen("merging", 0.0)
    block, scale = put_scale(placed, references or References(), plane)
    views = views_of(block)
    gaps = tie_gaps_mm(placed) * (views[0].position_m[2] / placed.block.positions_m[0, 2])
    tolerance = _tolerances_m(views, placed, gaps)
    return _assemble(placed, views, scale, plane, survey, tolerance, gaps)


def _tolerances_m(views: Sequence[View], placed: Placed, gaps_mm: Array) -> Array:
    """Return (V, V) within which one place may lie in two photographs."""
    sizes = np.array([view.mm_per_px for view in views])
    block = _TOLERANCE_RESIDUALS * float(np.quantile(gaps_mm, 0.9)) if len(gaps_mm) else 0.0
    tolerance = np.maximum(TOLERANCE_PX * np.maximum(sizes[:, None], sizes[None, :]), block) / 1000
    alone = ~placed.tied
    if alone.any():
        miss = placed.pose_misses_m or _POSE_ALONE_M
        far = np.array([abs(v.position_m[2]) for v in views])
        own = alone * _POSE_SIGMAS * np.hypot(miss, _POSE_ANGLE_RAD * far)
        tolerance = np.maximum(tolerance, np.hypot(own[:, None], own[None, :]))
    return np.asarray(tolerance)


def _assemble(
    placed: Placed,
    views: Sequence[View],
    scale: FaceScale,
    plane: FacePlane,
    survey: Survey | None,
    tolerance_m: Array,
    gaps_mm: Array,
) -> FaceMap:
    marks = marks_of(placed.photographs, views)
    groups = merge(marks, tolerance_m)
    main = [m for m in marks if m.crack.get("section", "main") == "main"]
    residuals = None
    if len(gaps_mm):
        residuals = Residuals(
            ties=len(gaps_mm),
            median_mm=float(np.median(gaps_mm)),
            p95_mm=float(np.quantile(gaps_mm, 0.95)),
            median_px=placed.median_px or 0.0,
        )
    area, unjudged = _areas_m2(placed.photographs, views)
    cracks = cracks_of(groups, placed.photographs, views, scale.sigma_rel)
    others = lines_of(placed.photographs, views, cracks, tolerance_m)
    notices = [*placed.notices, *scale.notices, *notice_of(others), *_notices(placed, scale)]
    if scale.placed:
        notices += notice_of_space(plane, survey.face.crs if survey else "")
    return FaceMap(
        photographs=placed.photographs,
        views=tuple(views),
        tied=tuple(bool(t) for t in placed.tied),
        cracks=tuple(cracks),
        other_lines=tuple(others),
        plane=plane,
        scale=scale,
        residuals=residuals,
        pose_misses_m=placed.pose_misses_m,
        tolerance_mm=float(1000 * np.median(tolerance_m)),
        aside=placed.aside,
        notices=tuple(notices),
        survey=survey,
        area_m2=area,
        unjudged_m2=unjudged,
        photographed_m2=sum(_area_m2(view) for view in views),
        marks=len(main),
        marks_length_m=sum(mark.length_m for mark in main),
    )


def _notices(placed: Placed, scale: FaceScale) -> list[Notice]:
    notices = []
    if placed.aside:
        many = len(placed.aside)
        are = "is" if many == 1 else "are"
        text = f"{count(many, 'photograph')} {are} not on the map: what is on none is not counted."
        notices.append(Notice(code="photographs_set_aside", message=text))
    if len(placed.photographs) == 1 and scale.source != "orthomosaic":
        text = "one photograph alone: its place is by its pose and scale, nothing confirms it."
        notices.append(Notice(code="one_photograph", message=text))
    if not scale.placed:
        text = (
            "stations and elevations are the map's own: nothing says where the face's origin lies; "
            "give `face.origin_gps` in survey.toml or two points in `--references`."
        )
        notices.append(Notice(code="place_not_known", message=text))
    said = [word for p in placed.photographs for word in p.verdicts.values()]
    rejected = said.count("reject")
    if rejected:
        are = "is" if rejected == 1 else "are"
        text = (
            f"{count(rejected, 'mark')} that inspectors rejected {are} on no map and in no figure."
        )
        notices.append(Notice(code="rejected_left_out", message=text))
    for code in ("edits_left_behind", "verdicts_are_older"):
        every = [(p.name, notice) for p in placed.photographs for notice in p.notices]
        told = [(name, notice.message) for name, notice in every if notice.code == code]
        if told:
            some = ", ".join(name for name, _ in told[:3]) + ", ..." * (len(told) > 3)
            notices.append(Notice(code=code, message=f"{some}: {told[0][1]}"))
    blind = [p.name for p in placed.photographs if not p.judged]
    if blind:
        text = (
            f"{count(len(blind), 'photograph')} cannot be judged: that no crack lies there is not "
            "known."
        )
        notices.append(Notice(code="not_judged", message=text))
    return notices


def _map_of_rasters(
    photographs: Sequence[Photograph],
    rasters: Sequence[Photograph],
    plane: FacePlane,
    survey: Survey | None,
) -> FaceMap:
    """Return the map of orthomosaics, which lie on the face by their own coordinates."""
    if len(rasters) < len(photographs):
        names = ", ".join(p.name for p in photographs if p.raster_m is None)
        raise DataError(
            f"the results hold orthomosaics and photographs ({names}) together; analyze each kind "
            "into a folder of its own."
        )
    aside: list[tuple[str, str]] = []
    rasters = each_once(rasters, aside)
    number = len(rasters)
    views = [
        View(lens=p.lens, axes=FRONTAL, position_m=np.array([0.0, 0.0, 1.0]), raster=p.raster_m)
        for p in rasters
    ]
    sigma = max((p.mm_per_px or (0, 0))[1] for p in rasters)
    scale = FaceScale(
        source="orthomosaic", sigma_rel=sigma, detail="the raster's georeference", placed=True
    )
    sizes = np.array([view.mm_per_px for view in views])
    tolerance = TOLERANCE_PX * np.maximum(sizes[:, None], sizes[None, :]) / 1000
    from crackseg.face.adjustment import Block, Ties

    none = np.zeros(0)
    placed = Placed(
        photographs=tuple(rasters),
        block=Block(
            axes=np.repeat(FRONTAL[None], number, axis=0),
            positions_m=np.zeros((number, 3)),
            lenses=(),
            lens_of=np.zeros(number, int),
            frame=np.zeros(4),
        ),
        ties=Ties(first=none, second=none, first_px=none, second_px=none, sigma_px=none),
        tied=np.ones(number, bool),
        aside=tuple(aside),
        notices=(),
        pose_misses_m=None,
        posed=0,
        median_px=None,
    )
    own = FacePlane(name=plane.name)  # a raster's coordinates are the map's, as they are
    return _assemble(placed, views, scale, own, survey, tolerance, none)


def _area_m2(view: View) -> float:
    outline = view.outline_m()
    if not np.isfinite(outline).all():
        return 0.0
    x, y = outline.T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


def extent_m(views: Sequence[View]) -> tuple[Array, Array]:
    """Return the least and the largest x, y that photographs show."""
    outlines = np.concatenate([view.outline_m() for view in views])
    outlines = outlines[np.isfinite(outlines).all(axis=1)]
    if not len(outlines):
        raise DataError("no photograph shows the face; check the face's azimuth and batter.")
    return outlines.min(axis=0), outlines.max(axis=0)


def _areas_m2(photographs: Sequence[Photograph], views: Sequence[View]) -> tuple[float, float]:
    """Return the area that photographs that can be judged show, and that shown by others alone."""
    low, high = extent_m(views)
    size = high - low
    cell = float(np.sqrt(size.prod() / _AREA_CELLS))
    shape = tuple(np.maximum(np.ceil(size / cell).astype(int) + 1, 1)[::-1])
    grids = {True: np.zeros(shape, np.uint8), False: np.zeros(shape, np.uint8)}
    for photograph, view in zip(photographs, views, strict=True):
        outline = view.outline_m()
        if np.isfinite(outline).all():
            corners = np.rint((outline - low) / cell).astype(np.int32)
            cv2.fillPoly(grids[photograph.judged], [corners], 1)
    unjudged = (grids[False] > 0) & (grids[True] == 0)
    return float(grids[True].sum()) * cell**2, float(unjudged.sum()) * cell**2


def summary_of(face: FaceMap) -> Mapping[str, Any]:
    """Return the totals of a map as ``face.json`` holds them."""
    also = [crack for crack in face.cracks if crack.section != "main"]
    widest = max(
        (c.widths["max"].value_mm for c in face.main if c.widths["max"].value_mm), default=None
    )
    return {
        "cracks": len(face.main),
        "length_m": round(face.length_m, 4),
        "width_max_mm": None if widest is None else round(widest, 3),
        "also_marked": len(also),
        "also_marked_length_m": round(sum(c.length.value_mm or 0 for c in also) / 1000, 4),
        "other_lines": len(face.other_lines),
        "other_lines_length_m": round(sum(line.length_m for line in face.other_lines), 4),
        "marks": face.marks,
        "marks_length_m": round(face.marks_length_m, 4),
        "area_m2": round(face.area_m2, 3),
        "unjudged_m2": round(face.unjudged_m2, 3),
        "photographed_m2": round(face.photographed_m2, 3),
        "density_m_per_m2": round(face.length_m / face.area_m2, 5) if face.area_m2 else None,
        "photographs": len(face.photographs),
        "set_aside": len(face.aside),
    }
