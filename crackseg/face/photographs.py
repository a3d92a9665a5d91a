"""A folder of results becomes the photographs of a face: reports, files, poses and lenses.

A photograph's pose is what the drone wrote: place (GPS with height) and gimbal angles, both, or
none is taken. Its file is looked for where the report says, then by name and content in a folder.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.corrections.earlier import left_behind
from crackseg.errors import DataError, ImageError
from crackseg.exports.survey import copy_rank, judged_crack
from crackseg.exports.tables import marks_sha256
from crackseg.face.cameras import Lens
from crackseg.folders import find_from, read_mark
from crackseg.imagery.camera import focal_px, gimbal_deg, laser_distance_m, upright_to_stored
from crackseg.imagery.files import open_image
from crackseg.imagery.planes import camera_axes
from crackseg.records import Array, ImageInfo, Notice
from crackseg.survey import NAME, Survey, is_of_another_face, read_survey, survey_from
from crackseg.verdict_table import (
    by_photograph,
    crack_numbers,
    judged_before,
    read_json,
    read_verdicts,
)

EARTH_M, FLATTENED = 6378137.0, 0.00669437999  # WGS84: half axis, squared eccentricity
_FOCAL_GUESS, _FOCAL_GUESS_SIGMA = 0.62, 0.3  # of the diagonal: 27 mm, from wide to short tele
_SCHEMAS = ("2",)
_FACTS = ("image", "scale", "judged", "detection", "model")
_LINE_FACTS = ("id", "section", "certainty", "touches_border", "length_px", "length_u_px")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where a camera was and how it looked, by the drone's own instruments."""

    lat_deg: float
    lon_deg: float
    height_m: float
    axes: Array  # (3, 3) rows right, down, forward of the upright picture in east, north, up
    yaw_deg: float
    pitch_deg: float
    sigma_m: float | None = None  # of the place, where the drone states it


@dataclass(frozen=True, slots=True, kw_only=True)
class Photograph:
    """One photograph with its report and what its file says of the camera."""

    name: str
    folder: Path  # of its results
    report: Mapping[str, Any]  # what the map needs of it
    path: Path | None  # of the file, None where it is not at hand
    lens: Lens
    focal_sigma_rel: float
    camera: str
    rank: tuple[bool, bool, str] = (True, True, "")  # of the names of one file the least counts
    pose: Pose | None = None
    distance_m: float | None = None  # by the laser
    notices: tuple[Notice, ...] = ()
    verdicts: Mapping[int, str] = field(default_factory=dict)  # of marks, accept or reject
    raster_m: Array | None = field(default=None, repr=False)  # of an orthomosaic
    small: Path | None = None  # the picture shrunk, as far as a map shows it

    @property
    def mm_per_px(self) -> tuple[float, float] | None:
        """The scale of its report and its relative sigma, or None."""
        scale = self.report["scale"]
        return None if scale is None else (scale["mm_per_px"], scale["sigma_rel"])

    @property
    def judged(self) -> bool:
        """Whether its report says anything of cracks."""
        return bool(self.report.get("judged", True))


def read_photographs(results: Path, pictures: Sequence[Path] = ()) -> list[Photograph]:
    """Return the photographs of a folder of results, in the order of their names.

    Verdicts decide, in ``verdicts.csv`` beside the results or as the service lists them: a rejected
    mark is left out, an accepted one is certain.

    Args:
        results: as ``crackseg analyze`` wrote it.
        pictures: folders or files to look for photographs that were moved.

    Raises:
        DataError: the folder holds no results, or one of an older release, or a verdict is not
            understood or fits none.
    """
    if not results.is_dir():
        raise DataError(f"`{results}` must be a folder of results of `crackseg analyze`.")
    by_name = _by_name(pictures)
    read: list[tuple[Path, dict[str, Any]]] = []
    places: dict[str, list[Path]] = {}  # where each file may lie, by its sha256: it may have moved
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        report = read_report(folder)
        if report is not None:
            image = report["image"]
            found = [*by_name.get(Path(image["path"]).name, ()), find_from(image["path"], folder)]
            places.setdefault(image["sha256"], []).extend(map(Path, found))
            read.append((folder, _compact(report)))
    photographs = [
        _photograph(folder, report, places[report["image"]["sha256"]]) for folder, report in read
    ]
    if not photographs:
        raise DataError(
            f"`{results}` holds no report of a photograph; give the folder that `crackseg analyze` "
            "wrote with `--out`."
        )
    return _judged(photographs, results)


def _judged(photographs: list[Photograph], results: Path) -> list[Photograph]:
    """Return photographs with their marks as inspectors left them."""
    words_of = _verdicts_of(results, {p.folder.name: p.report for p in photographs})
    older = judged_before(results)
    image_of = _images(results)
    return [
        _as_judged(p, words_of[p.folder.name], image_of.get(p.folder.name), older)
        for p in photographs
    ]


def _as_judged(
    photograph: Photograph, words: Mapping[int, str], image: str | None, older: Collection[str]
) -> Photograph:
    """Return a photograph with verdicts, by what the survey calls it, None: it does not know it."""
    report = photograph.report
    behind = left_behind(
        photograph.folder, report["image"]["sha256"], report["codes"],
        verdicts_are_older=image in older,
    )  # fmt: skip
    row = {
        "image": image or report["image"]["path"],
        "mm_per_px": (photograph.mm_per_px or (None,))[0],
        "warnings": report["codes"],
        "looked_at": bool(words),
    }
    return replace(
        photograph,
        report={**report, "cracks": _as_left(report["cracks"], words)},
        verdicts=words,
        rank=copy_rank(row),
        notices=(*photograph.notices, *(Notice(**notice) for notice in behind)),
    )


def _as_left(marks: Sequence[Mapping[str, Any]], words: Mapping[int, str]) -> list[dict[str, Any]]:
    return [judged_crack(m, words) for m in marks if words.get(m["id"]) != "reject"]


def _verdicts_of(
    results: Path, reports: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[int, str]]:
    """Return by folder which marks inspectors accepted or rejected.

    Args:
        results: as ``crackseg analyze`` wrote it, with its table of verdicts.
        reports: ``_summary`` of all reports by the name of their folder.

    Raises:
        DataError: a verdict is not understood or fits no crack.
    """
    image_of = _images(results)
    names = [str(image_of.get(name) or r["image"]["path"]) for name, r in reports.items()]
    numbers = [report["numbers"] for report in reports.values()]
    spoken = by_photograph(read_verdicts(results, results), names, numbers, results)
    return {
        name: {
            number: one.word
            for number, one in sorted(of.items())
            if one.word != "open" and number in reports[name]["listed"]
        }
        for name, of in zip(reports, spoken, strict=True)
    }


def _images(results: Path) -> dict[str | None, str]:
    """Return what the survey calls the photograph of each folder."""
    rows = read_json(results / "survey.json").get("images") or ()
    return {row.get("folder"): row["image"] for row in rows}


def is_outdated(face: Mapping[str, Any], results: Path) -> bool:
    """Return whether results say otherwise now than when a map of them was made.

    That is other photographs, cracks or verdicts, or another face in what is known of the survey.

    Of photographs whose results are not there nothing is known.

    Args:
        face: a ``face.json``.
        results: where its results would be.

    Raises:
        DataError: a result or a verdict is damaged.
    """
    now = {}
    for photograph in face["photographs"]:
        has_digest = "marks_sha256" in photograph
        report = read_report(results / photograph["folder"]) if has_digest else None
        if report is not None:
            now[photograph["folder"]] = _summary(report)
    if not now:
        return False
    for folder in results.iterdir():  # of those too that are on no map: a verdict may be theirs
        report = None if folder.name in now or not folder.is_dir() else read_report(folder)
        if report is not None:
            now[folder.name] = _summary(report)
    words = _verdicts_of(results, now)
    here = {report["image"]["sha256"] for report in now.values()}
    laid = {photograph["sha256"] for photograph in face["photographs"]}
    if len(laid) + len(face["set_aside"]) < len(here):
        return True
    return is_of_another_face(face["survey"], survey_in(results)) or any(
        now[name]["marks_sha256"] != photograph["marks_sha256"]
        or words[name] != _verdicts_in(photograph)
        for photograph in face["photographs"]
        if "marks_sha256" in photograph and (name := photograph["folder"]) in now
    )


def survey_in(results: Path) -> Survey | None:
    """Return a survey.toml that was put into the results since, else what the analysis knew."""
    if (results / NAME).is_file():
        return read_survey(results / NAME)
    mark = read_mark(results)
    if mark is None or "survey.json" not in mark.files:
        return None
    try:
        facts = json.loads((results / "survey.json").read_text(encoding="utf-8")).get("facts")
    except (OSError, ValueError, AttributeError):
        return None
    return survey_from(facts) if facts else None


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return whose report it is, and its marks: all that ever had a number, and those listed."""
    return {
        "image": report["image"],
        "numbers": crack_numbers(report),
        "listed": {crack["id"] for crack in report["cracks"]},
        "marks_sha256": marks_sha256(report),
    }


def _verdicts_in(photograph: Mapping[str, Any]) -> dict[int, str]:
    """Return the verdicts that a map was made with, of a photograph of its ``face.json``."""
    return {said["crack"]: said["verdict"] for said in photograph.get("verdicts", ())}


def read_report(folder: Path) -> dict[str, Any] | None:
    """Return the report in a folder of this program, or None where it is none.

    Raises:
        DataError: it is damaged or of another release.
    """
    mark = read_mark(folder)
    if mark is None or "report.json" not in mark.files:
        return None
    path = folder / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"`{path}` cannot be read: {error}; analyze that photograph again.") from (
            error
        )
    version = report.get("schema_version") if isinstance(report, dict) else None
    if version not in _SCHEMAS:
        raise DataError(
            f"`{path}` is of schema {version}, expected {' or '.join(_SCHEMAS)}; analyze that "
            "photograph again."
        )
    return dict(report)


def _compact(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a map needs of a report, courses as arrays: lists take ten times the memory."""
    light = {key: report[key] for key in _FACTS if key in report} | _summary(report)
    light["codes"] = {notice["code"] for notice in report.get("warnings") or ()}
    for key in ("cracks", "other_lines"):
        light[key] = [_compact_line(line) for line in report.get(key) or ()]
    return light


def _compact_line(line: Mapping[str, Any]) -> dict[str, Any]:
    light = {k: v for k, v in line.items() if k in _LINE_FACTS or k.startswith("width_")}
    light["centre_line"] = [np.array(part, np.float32).reshape(-1, 2) for part in
                            line["centre_line"]]  # fmt: skip
    if line.get("width_profile_px"):
        light["width_profile_px"] = [
            np.array([math.nan if w is None else w for w in part], np.float32)
            for part in line["width_profile_px"]
        ]
    return light


def _by_name(pictures: Sequence[Path]) -> dict[str, list[Path]]:
    files: dict[str, list[Path]] = {}
    for place in pictures:
        for path in [place] if place.is_file() else sorted(place.rglob("*")):
            if path.is_file():
                files.setdefault(path.name, []).append(path)
    return files


def _photograph(folder: Path, report: Mapping[str, Any], places: Sequence[Path]) -> Photograph:
    image = report["image"]
    written = Path(image["path"])
    notices: list[Notice] = []
    info = _find_file(places, image["sha256"])
    focal = None if info is None else focal_px(info, notices)
    diagonal = math.hypot(image["height_px"], image["width_px"])
    lens = Lens(
        focal_px=focal[0] if focal else _FOCAL_GUESS * diagonal,
        height_px=image["height_px"],
        width_px=image["width_px"],
    )
    return Photograph(
        name=written.name,
        folder=folder,
        report=report,
        path=None if info is None else info.path,
        lens=lens,
        focal_sigma_rel=focal[1] if focal else _FOCAL_GUESS_SIGMA,
        camera=f"{image['camera'] or 'unknown camera'}",
        pose=None if info is None else read_pose(info),
        distance_m=None if info is None else laser_distance_m(info, notices),
        raster_m=_raster_m(report),
        notices=tuple(notices),
    )


def _find_file(paths: Sequence[Path], sha256: str) -> ImageInfo | None:
    """Return the first of some files whose content is what was analyzed."""
    for path in paths:
        try:
            with open_image(path) as image:
                if image.info.sha256 == sha256:
                    return image.info
        except ImageError:
            continue
    return None


def read_pose(info: ImageInfo) -> Pose | None:
    """Return the pose that a drone wrote into a photograph, or None where a part is missing."""
    angles, gps = gimbal_deg(info), info.gps
    if angles is None or gps is None:
        return None
    height = gps.alt_m
    if height is None:
        written = info.metadata.get("absolute_altitude_m")
        height = written if isinstance(written, float) else None
    if height is None:
        return None
    upright, _, _ = upright_to_stored(info)
    axes = camera_axes(*angles)
    axes[:2] = upright[:2, :2].T @ axes[:2]
    values = [info.metadata.get(f"rtk_sigma_{axis}_m") for axis in ("lon", "lat", "height")]
    sigmas = [value for value in values if isinstance(value, float) and value > 0]
    return Pose(
        lat_deg=gps.lat_deg,
        lon_deg=gps.lon_deg,
        height_m=height,
        axes=axes,
        yaw_deg=angles[0],
        pitch_deg=angles[1],
        sigma_m=max(sigmas) if len(sigmas) == 3 else None,
    )


def east_north_up(pose: Pose, origin: tuple[float, float, float]) -> Array:
    """Return (3,) m from an origin (lat, lon in deg, height in m); flat over some km."""
    lat, lon, height = origin
    radius_north, radius_east = earth_radii_m(lat)
    return np.array(
        [
            math.radians(pose.lon_deg - lon) * radius_east,
            math.radians(pose.lat_deg - lat) * radius_north,
            pose.height_m - height,
        ]
    )


def earth_radii_m(lat_deg: float) -> tuple[float, float]:
    """Return what a radian to the north and one to the east measure at a latitude, m."""
    flat = 1 - FLATTENED * math.sin(math.radians(lat_deg)) ** 2
    to_north = EARTH_M * (1 - FLATTENED) / flat**1.5
    return to_north, EARTH_M / math.sqrt(flat) * math.cos(math.radians(lat_deg))


def _raster_m(report: Mapping[str, Any]) -> Array | None:
    """Return the (3, 3) matrix of an orthomosaic from (col, row, 1) to m, y up, or None."""
    scale, transform = report["scale"], report["image"]["transform"]
    if not transform or scale is None or scale["source"] != "geotiff":
        return None
    a, b, c, d, e, f = transform
    unit = scale["mm_per_px"] / 1000 / math.sqrt(abs(a * e - b * d))  # m of a map unit
    to_corner = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # pixel centres are whole here
    whole: Array = np.array([[a, b, c], [d, e, f], [0, 0, 1 / unit]]) @ to_corner * unit
    return whole
