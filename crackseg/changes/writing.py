"""What changed between two dates is written whole: for people, for programs, for GIS and CAD."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackseg import __version__
from crackseg.changes.cautions import cautions, date_of, models_of, size_mm
from crackseg.changes.comparison import Change, Difference, plane_in
from crackseg.changes.content import compose
from crackseg.changes.crops import write_crops
from crackseg.changes.layers import write_layers
from crackseg.changes.page import write_page
from crackseg.changes.records import Comparison
from crackseg.exports.csv_tables import CsvForm, plain_cell, write_table
from crackseg.face.face_json import rounded
from crackseg.face.writing import refuse_others
from crackseg.folders import clear_leftovers, filling, origin_of, write_json_file
from crackseg.reporting.command import can_write
from crackseg.words import read_words

SCHEMA = Path(__file__).with_name("changes.schema.json")
SCHEMA_VERSION = "1"
COLUMNS = (
    "lasting_id", "kind", "words", "section", "old_ids", "new_ids", "link", "below_limit",
    "width_mm", "longer_by_mm",
    "longer_u_mm", "longer_significant", "wider_by_mm", "wider_u_mm", "wider_significant",
    "station_m", "elevation_m",
)  # fmt: skip


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as ``changes.json`` holds it."""
    registration = comparison.registration
    return {
        "schema_version": SCHEMA_VERSION,
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
        "between": _between(comparison),
        "totals": _totals(comparison.changes),
        "warnings": [
            {"code": n.code, "message": n.message}
            for n in cautions(comparison, read_words("en"))
        ],
        "changes": [row_of(change, comparison) | {"course": _course(change, comparison)}
                    for change in comparison.changes],
    }  # fmt: skip


def _date(values: Mapping[str, Any]) -> dict[str, Any]:
    survey = values["survey"] or {}
    return {
        **{name: survey.get(name) or None for name in ("dam", "owner", "part")},
        "people": list(survey.get("people") or ()),
        "inspected_on": date_of(values),
        "reservoir_level_m": survey.get("reservoir_level_m"),
        "temperature_c": survey.get("temperature_c"),
        "weather": survey.get("weather"),
        "cracks": values["totals"]["cracks"],
        "length_m": values["totals"]["length_m"],
        "photographs": values["totals"]["photographs"],
        "mm_per_px": round(size_mm(values), 4),
        "models": sorted(models_of(values)),
        "package_version": values["package_version"],
    }


def _between(comparison: Comparison) -> dict[str, float | None]:
    """Return by how much level and temperature differ, None where one is not known."""
    differences: dict[str, float | None] = {}
    for name in ("reservoir_level_m", "temperature_c"):
        before, now = ((v["survey"] or {}).get(name) for v in (comparison.old, comparison.new))
        differences[name] = None if before is None or now is None else round(now - before, 3)
    return differences


def _totals(changes: Sequence[Change]) -> dict[str, int]:
    main = [change for change in changes if change.section == "main"]
    names = ("new", "gone", "longer", "shorter", "wider", "narrower", "same", "not shown before",
             "not shown now", "other line before", "other line now")  # fmt: skip
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
        "below_limit": change.below_limit,
        "width_mm": change.width_mm,
    }
    for name, difference in (("longer", change.length), ("wider", change.width)):
        row |= _difference(name, difference)
    return row | {"station_m": round(float(place[0]), 3), "elevation_m": round(float(place[1]), 3)}


def _difference(name: str, difference: Difference | None) -> dict[str, Any]:
    keys = (f"{name}_by_mm", f"{name}_u_mm", f"{name}_significant")
    if difference is None:
        return dict.fromkeys(keys)
    cells = (round(difference.by_mm, 3), round(difference.u_mm, 3), difference.significant)
    return dict(zip(keys, cells, strict=True))


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
    """Write ``changes.*``: JSON, table, workbook, page, PDF, layers for GIS and CAD; and crops.

    PDF and workbook are of the extra ``reports``; without it they are left out, which
    ``reporting.command.left_out`` says.

    Args:
        comparison: of two dates.
        new: folder of the later one.
        out: folder to write; files of an earlier comparison are replaced.
        locale: language, and form of numbers and dates.
        listen: is told of the step and the share of it that is done.

    Raises:
        OutputError: ``out`` holds something else.
        ConfigError: there is no such locale.
        MissingExtra: the locale is not ``en``, and Babel is not installed.
    """
    refuse_others(out, new, "changes.json", "a comparison")
    words, form = read_words(locale), CsvForm.of_locale(locale)
    out.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(out.parent)
    values = comparison_to_dict(comparison)
    with filling(out, origin=origin_of(new)) as fresh:
        write_json_file(fresh / "changes.json", values)
        cells = ([plain_cell(row[name]) for name in COLUMNS] for row in values["changes"])
        write_table(fresh / "changes.csv", COLUMNS, cells, form)
        crops = write_crops(comparison, fresh, listen)
        listen("page, PDF and layers", 0.0)
        content = compose(values, cautions(comparison, words), crops, words)
        write_page(content, fresh)
        if can_write("pdf"):
            from crackseg.changes.pdf import write_pdf

            write_pdf(content, fresh)
        if can_write("xlsx"):
            from crackseg.changes.workbook import write_workbook

            write_workbook(content, fresh)
        write_layers(values, fresh)
