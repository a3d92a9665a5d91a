"""The report as an XLSX workbook and as CSV tables: numbers stay numbers, columns have units.

A spreadsheet program shows the workbook's numbers and dates in its own locale; the CSV files are
written in the locale of the report, with a semicolon where the comma is the decimal sign.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

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
OPTIONS = {
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "constant_memory": True,
    "remove_timezone": True,
    "nan_inf_to_errors": True,
}
_OTHERS = ("count", "length_px", "length_mm")  # of ``gather.OtherLines``, as in ``_PHOTO``
_ROWS_MAX = 1_048_575  # of a sheet, below its heading


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


def write_tables(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``cracks.csv`` and ``photographs.csv`` in the locale of the report."""
    gathered, words = content.gathered, content.words
    form = CsvForm.of_locale(str(words.locale))
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


def write(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``report.xlsx``."""
    path = folder / "report.xlsx"
    with xlsxwriter.Workbook(str(path), OPTIONS) as book:
        book.set_properties({"title": content.title, "subject": content.subtitle})
        forms = forms_of(book)
        words = content.words
        gathered = content.gathered
        write_pairs(book.add_worksheet(_name(words, "summary")), _summary(content), forms)
        for name, part in (
            ("cracks", gathered.cracks),
            ("doubtful", gathered.doubtful),
            ("rejected", gathered.rejected),
        ):
            if part or name == "cracks":
                sheet = book.add_worksheet(_name(words, name))
                write_grid(sheet, CRACK_HEADER, crack_rows(part, gathered, words), forms)
        sheet = book.add_worksheet(_name(words, "photographs"))
        write_grid(sheet, PHOTO_HEADER, photograph_rows(gathered.photographs, words), forms)
        write_pairs(book.add_worksheet(_name(words, "record")), content.record, forms)
    return [path]


def forms_of(book: xlsxwriter.Workbook) -> dict[str, Format]:
    """Return the forms that sheets are written in."""
    return {
        "head": book.add_format({"bold": True, "bg_color": "#EEF1F4", "bottom": 1}),
        "title": book.add_format({"bold": True, "font_size": 16}),
        "section": book.add_format({"bold": True, "font_size": 12}),
        "wrap": book.add_format({"text_wrap": True, "valign": "top", "align": "left"}),
        "time": book.add_format({"num_format": 22}),  # date and time as the program's locale
    }


def _name(words: Words, key: str) -> str:
    return words(f"sheet.{key}")[:31]


def _summary(content: Content) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the first sheet; a row of one cell is a heading."""
    words = content.words
    yield (content.title,)
    yield from content.facts
    yield (words("section.brief"),)
    yield from (("", sentence) for sentence in content.lead)
    yield (words("section.not_judged"),)
    for finding in content.findings:
        yield "", finding.sentence
        yield from (("", f"  {item}") for item in finding.items)
    yield (words("detection.title"),)
    yield from (("", sentence) for sentence in content.detection)
    yield (words("section.summary"),)
    yield from ((label, value) for value, label in content.figures)
    for group in content.groups:
        yield (group.title,)
        yield group.heading
        yield from group.rows


def write_pairs(sheet: Worksheet, rows: Iterable[Sequence[str]], forms: dict[str, Format]) -> None:
    """Write rows of texts, counts as numbers; a row of one is a heading."""
    sheet.set_column(0, 0, 34)
    sheet.set_column(1, 1, 70)
    sheet.set_column(2, 3, 20)
    for number, row in enumerate(rows):
        if len(row) == 1:
            sheet.write_string(number, 0, row[0], forms["section" if number else "title"])
            continue
        for column, value in enumerate(row):
            if column and value.isdecimal() and str(int(value)) == value:
                sheet.write_number(number, column, int(value), forms["wrap"])
            else:
                sheet.write_string(number, column, value, forms["wrap"])


def write_grid(
    sheet: Worksheet, header: Sequence[str], rows: Iterable[Sequence[Any]], forms: dict[str, Format]
) -> None:
    """Write a table with a frozen heading and a filter."""
    sheet.freeze_panes(1, 2)
    sheet.set_column(0, 0, 6)
    sheet.set_column(1, 1, 28)
    sheet.set_column(2, len(header) - 1, 14)
    for column, name in enumerate(header):
        sheet.write_string(0, column, name, forms["head"])
    number = 0
    for number, row in enumerate(rows, start=1):
        if number > _ROWS_MAX:
            break
        for column, value in enumerate(row):
            _write(sheet, number, column, value, is_time=header[column] == "taken_at", forms=forms)
    sheet.autofilter(0, 0, min(number, _ROWS_MAX), len(header) - 1)


def _write(
    sheet: Worksheet, row: int, column: int, value: Any, *, is_time: bool, forms: dict[str, Format]
) -> None:
    if value is None:
        return
    if is_time and value:
        sheet.write_datetime(row, column, datetime.fromisoformat(value), forms["time"])
    elif isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float):
        sheet.write_number(row, column, value)
    else:
        sheet.write_string(row, column, " ".join(value) if isinstance(value, list) else str(value))
