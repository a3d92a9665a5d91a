"""The map of a face as ``face.json`` holds it; ``face.schema.json`` says what each value means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crackseg import __version__
from crackseg.errors import DataError
from crackseg.face.cameras import View
from crackseg.face.cracks import STATISTICS, FaceCrack, interval_to_dict
from crackseg.face.mapping import FaceMap, summary_of
from crackseg.face.other_lines import FaceLine
from crackseg.face.photographs import Photograph
from crackseg.folders import find_from, plain_path
from crackseg.records import Array
from crackseg.survey import survey_to_dict

SCHEMA = Path(__file__).with_name("face.schema.json")
SCHEMA_VERSION = "1"
COORDINATES = "x = station, y = elevation, m; stations and elevations of survey.toml's face"
OWN_COORDINATES = "x = station, y = elevation, m; of this map alone, not of the structure"


def face_to_dict(face: FaceMap) -> dict[str, Any]:
    """Return a map as ``face.json`` holds it."""
    plane, scale = face.plane, face.scale
    return {
        "schema_version": SCHEMA_VERSION,
        "package_version": __version__,
        "coordinate_system": COORDINATES if scale.placed else OWN_COORDINATES,
        "face": {
            "name": plane.name,
            "azimuth_deg": plane.azimuth_deg,
            "batter": plane.batter,
            "origin_gps": None if plane.origin is None else list(plane.origin),
            "station_m": plane.station_m,
            "elevation_m": plane.elevation_m,
            "rightwards": plane.rightwards,
        },
        "scale": {
            "source": scale.source,
            "sigma_rel": _round(scale.sigma_rel, 6),
            "detail": scale.detail,
            "placed": scale.placed,
            "misses_mm": [_round(m, 2) for m in scale.misses_mm],
        },
        "residuals": None
        if face.residuals is None
        else {
            "ties": face.residuals.ties,
            "median_mm": _round(face.residuals.median_mm, 3),
            "p95_mm": _round(face.residuals.p95_mm, 3),
            "median_px": _round(face.residuals.median_px, 3),
        },
        "pose_misses_m": _round(face.pose_misses_m, 4),
        "tolerance_mm": _round(face.tolerance_mm, 3),
        "totals": dict(summary_of(face)),
        "cracks": [crack_to_dict(crack, face) for crack in face.cracks],
        "other_lines": [line_to_dict(line, face) for line in face.other_lines],
        "photographs": [
            _photograph(p, v, tied, face)
            for p, v, tied in zip(face.photographs, face.views, face.tied, strict=True)
        ],
        "set_aside": [{"image": name, "reason": why} for name, why in face.aside],
        "warnings": [{"code": n.code, "message": n.message} for n in face.notices],
        "survey": None if face.survey is None else survey_to_dict(face.survey),
    }


def crack_to_dict(crack: FaceCrack, face: FaceMap) -> dict[str, Any]:
    """Return a crack as ``face.json`` holds it."""
    lines = [face.plane.to_map(line) for line in crack.lines_m]
    points = np.concatenate(lines)
    widths: dict[str, Any] = {}
    for name in STATISTICS:
        widths |= interval_to_dict(f"width_{name}", crack.widths[name])
        widths[f"width_{name}_from"] = crack.width_from[name]
    return {
        "id": crack.id,
        "section": crack.section,
        "certainty": _round(crack.certainty, 3),
        **interval_to_dict("length", crack.length),
        **widths,
        "width_spread_mm": _round(crack.spread_mm, 4),
        "views_agree": crack.agree,
        "photographs": [
            {"image": face.photographs[n].name, "folder": face.photographs[n].folder.name,
             "ids": list(ids)}
            for n, ids in crack.views
        ],
        "marked_in": len(crack.views),
        "could_show": crack.could_show,
        "orientation_deg": _round(crack.orientation_deg, 1),
        "leaves_map": crack.leaves_map,
        "severity_mm2": _round(crack.severity_mm2, 2),
        "station_from_m": _round(points[:, 0].min(), 4),
        "station_to_m": _round(points[:, 0].max(), 4),
        "elevation_from_m": _round(points[:, 1].min(), 4),
        "elevation_to_m": _round(points[:, 1].max(), 4),
        "course": [rounded(line) for line in lines],
        "width_profile_mm": [
            [_round(w, 3) if np.isfinite(w) else None for w in width]
            for width in crack.widths_along_mm
        ],
    }  # fmt: skip


def line_to_dict(line: FaceLine, face: FaceMap) -> dict[str, Any]:
    """Return a line that is taken for no crack as ``face.json`` holds it."""
    return {
        "id": line.id,
        "length_m": _round(line.length_m, 4),
        "width_mean_mm": _round(line.width_mean_mm, 3),
        "photographs": [face.photographs[n].name for n in line.views],
        "goes_on_from": list(line.goes_on_from),
        "course": [rounded(face.plane.to_map(part)) for part in line.lines_m],
    }


def _model(photograph: Photograph) -> str | None:
    model = photograph.report.get("model")
    return None if model is None else f"{model['name']} {model['version']}"


def _photograph(photograph: Photograph, view: View, tied: bool, face: FaceMap) -> dict[str, Any]:
    centre = face.plane.to_map(view.centre_m[None])[0]
    return {
        "image": photograph.name,
        "path": plain_path(photograph.path or ""),
        "folder": photograph.folder.name,
        "sha256": photograph.report["image"]["sha256"],
        "marks_sha256": photograph.report["marks_sha256"],
        "verdicts": [{"crack": n, "verdict": word} for n, word in photograph.verdicts.items()],
        "taken_at": photograph.report["image"]["taken_at"],
        "judged": photograph.judged,
        "width_90_px": (photograph.report.get("detection") or {}).get("width_90_px"),
        "model": _model(photograph),
        "tied": tied,
        "station_m": _round(centre[0], 4),
        "elevation_m": _round(centre[1], 4),
        "distance_m": None if view.raster is not None else _round(view.position_m[2], 4),
        "mm_per_px": _round(view.mm_per_px, 5),
        "obliqueness_deg": _round(view.obliqueness_deg, 2),
        "outline": rounded(face.plane.to_map(view.outline_m(2))),
        "camera": {
            "focal_px": _round(view.lens.focal_px, 4),
            "height_px": view.lens.height_px,
            "width_px": view.lens.width_px,
            "k1": float(view.lens.k1),
            "k2": float(view.lens.k2),
            "axes": view.axes.tolist(),
            "position_m": view.position_m.tolist(),
            "raster": None if view.raster is None else view.raster.tolist(),
        },
    }


def rounded(line: Array) -> list[list[float]]:
    """Return points as JSON holds them: a tenth of a mm."""
    return [[round(float(x), 4), round(float(y), 4)] for x, y in line]


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def read_face(folder: Path) -> dict[str, Any]:
    """Return the ``face.json`` of a folder, paths of photographs as they are reached from here.

    Raises:
        DataError: there is none, it is damaged, or of another release.
    """
    path = folder / "face.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"`{folder}` holds no face.json; make the map first: `crackseg face RESULTS`."
        ) from error
    except ValueError as error:
        raise DataError(f"`{path}` is damaged: {error}; make the map again.") from error
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(f"`{path}` is of schema {version}, expected {SCHEMA_VERSION}.")
    for photograph in values["photographs"]:
        photograph["path"] = plain_path(find_from(photograph["path"], folder))
    return dict(values)


def view_from(photograph: Mapping[str, Any]) -> View:
    """Return the view of a photograph of ``face.json``."""
    from crackseg.face.cameras import Lens

    camera = photograph["camera"]
    names = ("focal_px", "height_px", "width_px", "k1", "k2")
    raster = camera["raster"]
    return View(
        lens=Lens(**{name: camera[name] for name in names}),
        axes=np.array(camera["axes"]),
        position_m=np.array(camera["position_m"]),
        raster=None if raster is None else np.array(raster),
    )
