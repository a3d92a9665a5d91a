"""The report as CSV tables: a row per crack and per photograph, columns have units.

They are written in the locale of the report, with a semicolon where the comma is the decimal sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from crackseg.exports.csv_tables import CsvForm, write_table
from crackseg.exports.survey import COLUMNS, NO_RESULT, without_counts
from crackseg.exports.tables import CRACK_COLUMNS
from crackseg.reporting import cells, sums
from crackseg.reporting.content import Content
from crackseg.reporting.gather import COPY, NOT_JUDGED, Gathered, Photograph, SurveyCrack
from crackseg.words import Words

_FIRST = [
    "number",
    "photograph",
    "crack",
    "width_bin",
    "direction",
    "verdict",
    "verdict_by",
    "note",
]
CRACK_HEADER = [*_FIRST, *(name for name in CRACK_COLUMNS if name not in ("id", *_FIRST))]
_PHOTO = ["number", "photograph", "status", "lat_deg", "lon_deg", "alt_m", "height_px", "width_px",
          "mm_per_px_sigma_rel", "analyzed_m2", "judged_share", "unjudged", "other_lines",
          "other_lines_length_px", "other_lines_length_mm", "sha256"]  # fmt: skip
PHOTO_HEADER = [*_PHOTO, *(name for name in COLUMNS if name not in ("judged", *_PHOTO))]
_OTHERS = ("count", "length_px", "length_mm")  # of ``gather.OtherLines``, as in ``_PHOTO``


def crack_rows(
    cracks: Sequence[SurveyCrack], gathered: Gathered, words: Words
) -> Iterator[list[Any]]:
    """Yield the rows of cracks as numbers and texts, in the order of ``CRACK_HEADER``."""
    bins = gathered.survey.widths
    for number, crack in enumerate(cracks, start=1):
        width_bin = cells.bin_name(sums.bin_of(crack, bins), bins, words)
        direction = words(f"direction.{sums.direction(crack.facts['orientation_deg'])}")
        spoken = words.code("verdict", crack.verdict) if crack.verdict else None
        first = [number, crack.photograph.name, crack.id, width_bin, direction, spoken,
                 crack.verdict_by or None, crack.note or None]  # fmt: skip
        yield [*first, *(crack.facts.get(name) for name in CRACK_HEADER[len(_FIRST) :])]


def photograph_rows(photographs: Iterable[Photograph], words: Words) -> Iterator[list[Any]]:
    """Yield the rows of photographs in the order of ``PHOTO_HEADER``."""
    for photograph in photographs:
        gps = photograph.image.get("gps") or {}
        is_copy = photograph.status == COPY  # its figures are those of another row
        scale, area = photograph.scale or {}, None if is_copy else photograph.analyzed_mm2
        others = None if is_copy else photograph.others
        nothing = photograph.folder is None or photograph.status == NOT_JUDGED
        share = 0.0 if nothing else 1 - sum(part for _, part in photograph.unjudged)
        first = [
            photograph.number, photograph.name, _status(photograph, words),
            gps.get("lat_deg"), gps.get("lon_deg"), gps.get("alt_m"),
            photograph.image.get("height_px"), photograph.image.get("width_px"),
            scale.get("sigma_rel"), None if area is None else area / 1e6, round(share, 4),
            cells.unjudged(photograph, words) or None,
            *(getattr(others, name, None) for name in _OTHERS),
            photograph.image.get("sha256"),
        ]  # fmt: skip
        row = {**NO_RESULT, **photograph.row, "copy_of": photograph.copy_of or None}
        row = without_counts(row) if is_copy else row
        yield [*first, *(row[name] for name in PHOTO_HEADER[len(_PHOTO) :])]


def _status(photograph: Photograph, words: Words) -> str:
    return words(f"status.{photograph.status}", name=photograph.copy_of)


def write(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``cracks.csv`` and ``photographs.csv`` in the locale of the report."""
    gathered, words = content.gathered, content.words
    form = CsvForm.of_locale(words.locale.name)
    everything = (*gathered.cracks, *gathered.doubtful, *gathered.rejected)
    paths = [folder / "cracks.csv", folder / "photographs.csv"]
    write_table(paths[0], CRACK_HEADER, crack_rows(everything, gathered, words), form)
    rows = map(_with_spaced_time, photograph_rows(gathered.photographs, words))
    write_table(paths[1], PHOTO_HEADER, rows, form)
    return paths


def _with_spaced_time(row: list[Any]) -> list[Any]:
    """Return a row whose time spreadsheets take for one: they do not know ISO 8601's T."""
    at = PHOTO_HEADER.index("taken_at")
    row[at] = row[at] and row[at].replace("T", " ")
    return row
