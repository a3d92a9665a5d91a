"""What changed between two dates is written whole: JSON, table, GeoJSON, page with crops."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg import __version__
from crackseg.changes.comparison import Change, Difference, plane_in
from crackseg.changes.registration import Registration, photographs_of
from crackseg.errors import ImageError
from crackseg.exports.overlay import to_jpeg
from crackseg.exports.page import templates
from crackseg.exports.tables import CsvForm, write_table
from crackseg.face.cameras import View
from crackseg.face.cracks import shown
from crackseg.face.face_json import rounded
from crackseg.face.writing import refuse_others
from crackseg.folders import clear_leftovers, filling, origin_of
from crackseg.imagery.files import open_image
from crackseg.records import Array

MOST_CROPS = 40
_CROP_PX = 420  # shorter sides are widened to it
_LARGEST_CROP_PX = 900
_COLUMNS = (
    "lasting_id", "kind", "words", "section", "old_ids", "new_ids", "link", "longer_by_mm",
    "longer_u_mm", "longer_significant", "wider_by_mm", "wider_u_mm", "wider_significant",
    "station_m", "elevation_m",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two dates of a face."""

    old: Mapping[str, Any]  # face.json
    new: Mapping[str, Any]
    registration: Registration
    changes: Sequence[Change]


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as ``changes.json`` holds it."""
    registration = comparison.registration
    return {
        "schema_version": "1",
        "package_version": __version__,
        "registration": {
            "source": registration.source,
            "points": registration.points,
            "sigma_mm": round(1000 * registration.sigma_m, 3),
            "scale_sigma_rel": round(registration.scale_sigma_rel, 7),
            "factor": [registration.factor.real, registration.factor.imag],
            "shift_m": [registration.shift.real, registration.shift.imag],
        },
        "old": _date(comparison.old),
        "new": _date(comparison.new),
        "totals": _totals(comparison.changes),
        "changes": [row_of(change, comparison) | {"course": _course(change, comparison)}
                    for change in comparison.changes],
    }  # fmt: skip


def _date(values: Mapping[str, Any]) -> dict[str, Any]:
    survey = values["survey"] or {}
    taken = sorted(p["taken_at"] for p in values["photographs"] if p["taken_at"])
    return {
        "inspected_on": survey.get("inspected_on") or (taken[0][:10] if taken else None),
        "reservoir_level_m": survey.get("reservoir_level_m"),
        "temperature_c": survey.get("temperature_c"),
        "weather": survey.get("weather"),
        "cracks": values["totals"]["cracks"],
        "length_m": values["totals"]["length_m"],
        "photographs": values["totals"]["photographs"],
    }


def _totals(changes: Sequence[Change]) -> dict[str, int]:
    main = [change for change in changes if change.section == "main"]
    names = ("new", "gone", "longer", "shorter", "wider", "narrower", "same", "not shown before",
             "not shown now")  # fmt: skip
    totals = {n.replace(" ", "_"): sum(n in change.words for change in main) for n in names}
    return totals | {"doubtful": len(changes) - len(main)}


def row_of(change: Change, comparison: Comparison) -> dict[str, Any]:
    """Return a change as a row of the table."""
    place = plane_in(comparison.new).to_map(np.concatenate(change.lines_m)).mean(axis=0)
    row: dict[str, Any] = {
        "lasting_id": change.lasting_id,
        "kind": change.kind,
        "words": change.words,
        "section": change.section,
        "old_ids": list(change.old_ids),
        "new_ids": list(change.new_ids),
        "link": change.link,
    }
    for name, difference in (("longer", change.length), ("wider", change.width)):
        row |= _difference(name, difference)
    return row | {"station_m": round(float(place[0]), 3), "elevation_m": round(float(place[1]), 3)}


def _difference(name: str, difference: Difference | None) -> dict[str, Any]:
    known = difference is not None
    return {
        f"{name}_by_mm": round(difference.by_mm, 3) if difference is not None else None,
        f"{name}_u_mm": round(difference.u_mm, 3) if difference is not None else None,
        f"{name}_significant": difference.significant if difference is not None and known else None,
    }


def _course(change: Change, comparison: Comparison) -> list[list[list[float]]]:
    plane = plane_in(comparison.new)
    return [rounded(plane.to_map(line)) for line in change.lines_m]


def write_changes(
    comparison: Comparison,
    new: Path,
    out: Path,
    *,
    locale: str = "en",
    listen: Callable[[str, float], None] = lambda step, share: None,
) -> None:
    """Write ``changes.json``, ``changes.csv``, ``changes.geojson``, ``changes.html`` and crops.

    Raises:
        OutputError: ``out`` holds something else.
    """
    refuse_others(out, new, "changes.json", "a comparison")
    form = CsvForm.of_locale(locale)
    out.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(out.parent)
    values = comparison_to_dict(comparison)
    with filling(out, origin=origin_of(new)) as fresh:
        _write_json(fresh / "changes.json", values)
        rows = [row_of(change, comparison) for change in comparison.changes]
        cells = ([_cell(row[name]) for name in _COLUMNS] for row in rows)
        write_table(fresh / "changes.csv", _COLUMNS, cells, form)
        _write_json(fresh / "changes.geojson", _geojson(values))
        crops = _write_crops(comparison, fresh, listen)
        page = templates().get_template("changes.html.j2")
        html = page.render(about=values, rows=rows, crops=crops)
        (fresh / "changes.html").write_text(html, encoding="utf-8", errors="replace")


def _write_json(path: Path, values: Any) -> None:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="replace")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " ".join(map(str, value)) if isinstance(value, list) else value


def _geojson(values: Mapping[str, Any]) -> dict[str, Any]:
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "MultiLineString", "coordinates": change["course"]},
            "properties": {k: v for k, v in change.items() if k != "course"},
        }
        for change in values["changes"]
    ]
    note = "x = station, y = elevation of the later map, m; not WGS84"
    return {"type": "FeatureCollection", "coordinate_system": note, "features": features}


def _write_crops(
    comparison: Comparison, folder: Path, listen: Callable[[str, float], None]
) -> dict[int, list[str | None]]:
    """Write crops of both dates at one scale for what changed; return their names by lasting id."""
    sets = [photographs_of(values) for values in (comparison.old, comparison.new)]
    told = [c for c in comparison.changes if c.kind in ("new", "gone", "changed")][:MOST_CROPS]
    names: dict[int, list[str | None]] = {}
    for number, change in enumerate(told):
        listen("crops", number / len(told))
        names[change.lasting_id] = []
        for date, photographs in zip(("before", "after"), sets, strict=True):
            registration = comparison.registration if date == "before" else None
            crop = _crop(change, photographs, registration, comparison)
            name = None if crop is None else f"crop_{change.lasting_id}_{date}.jpg"
            if crop is not None and name is not None:
                (folder / name).write_bytes(to_jpeg(crop, 86))
            names[change.lasting_id].append(name)
    return names


def _crop(
    change: Change,
    photographs: Sequence[tuple[Path, View]],
    registration: Registration | None,
    comparison: Comparison,
) -> Array | None:
    """Return the surroundings of a crack as the photograph that shows them best has them."""
    points = np.concatenate(change.lines_m)
    size = float(np.median([p["mm_per_px"] for p in comparison.new["photographs"]])) / 1000
    low, high = points.min(axis=0) - 40 * size, points.max(axis=0) + 40 * size
    middle = (low + high) / 2
    half = np.maximum((high - low) / 2, _CROP_PX / 2 * size)
    step = max(size, float(half.max()) * 2 / _LARGEST_CROP_PX)
    height, width = (max(round(2 * v / step), 1) for v in half[::-1])
    rows, cols = np.mgrid[:height, :width].astype(float)
    places = np.column_stack(
        [
            middle[0] - half[0] + (cols.ravel() + 0.5) * step,
            middle[1] + half[1] - (rows.ravel() + 0.5) * step,
        ]
    )
    if registration is not None:
        z = (places @ [1, 1j] - registration.shift) / registration.factor
        places = np.column_stack([z.real, z.imag])
    shares = [shown(view, places[:: max(len(places) // 500, 1)]).mean() for _, view in photographs]
    if not shares or max(shares) < 0.3:
        return None
    path, view = photographs[int(np.argmax(shares))]
    try:
        with open_image(path) as image:
            picture = image.read()
    except ImageError:
        return None
    at = view.to_picture(places).reshape(height, width, 2)
    maps = np.nan_to_num(at, nan=-9).astype(np.float32)
    cropped: Array = cv2.remap(
        picture, maps[..., 1], maps[..., 0], cv2.INTER_LINEAR, borderValue=(240, 240, 240)
    )
    return cropped
