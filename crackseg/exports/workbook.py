"""A report becomes ``cracks.xlsx``, written by XlsxWriter (extra ``reports``)."""

from __future__ import annotations

from pathlib import Path

import xlsxwriter

from crackseg.exports.tables import crack_table
from crackseg.folders import plain_path
from crackseg.imagery.files import OpenImage
from crackseg.records import Report


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.xlsx``: the rows of ``cracks.csv`` with numbers as numbers."""
    header, rows = crack_table(report, plain_path(report.image.path.name))
    path = folder / "cracks.xlsx"
    options = {"strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        sheet, bold = book.add_worksheet("cracks"), book.add_format({"bold": True})
        sheet.write_row(0, 0, header, bold)
        for number, row in enumerate(rows, start=1):
            sheet.write_row(number, 0, row)
        sheet.freeze_panes(1, 1)
        sheet.autofilter(0, 0, max(len(report.cracks), 1), len(header) - 1)
    return [path]
