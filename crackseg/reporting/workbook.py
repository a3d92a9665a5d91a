"""The report as an XLSX workbook, by XlsxWriter (extra ``reports``): numbers stay numbers.

A spreadsheet program shows numbers and dates in its own locale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from crackseg.reporting.content import Content
from crackseg.reporting.tables import CRACK_HEADER, PHOTO_HEADER, crack_rows, photograph_rows
from crackseg.words import Words

OPTIONS = {
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "constant_memory": True,
    "remove_timezone": True,
    "nan_inf_to_errors": True,
}
_ROWS_MAX = 1_048_575  # of a sheet, below its heading


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
