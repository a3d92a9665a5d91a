"""A comparison as ``changes.xlsx``: the dates beside each other, and a row of numbers per crack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import xlsxwriter

from crackseg.changes.content import Content
from crackseg.reporting.workbook import OPTIONS, forms_of, write_grid, write_pairs
from crackseg.words import Words

HEADER = (
    "lasting_id", "change", "kind", "section", "old_ids", "new_ids", "link", "below_limit",
    "width_mm", "longer_by_mm", "longer_u_mm", "longer_significant", "wider_by_mm", "wider_u_mm",
    "wider_significant", "station_m", "elevation_m",
)  # fmt: skip


def write_workbook(content: Content, folder: Path) -> Path:
    """Write ``changes.xlsx``."""
    path, words = folder / "changes.xlsx", content.words
    with xlsxwriter.Workbook(str(path), OPTIONS) as book:
        book.set_properties({"title": content.title, "subject": content.span})
        forms = forms_of(book)
        write_pairs(book.add_worksheet(words("sheet.summary")[:31]), _summary(content), forms)
        rows = (_row(row, words) for row in content.values["changes"])
        write_grid(book.add_worksheet(words("sheet.cracks")[:31]), HEADER, rows, forms)
    return path


def _summary(content: Content) -> Iterator[tuple[str, ...]]:
    words = content.words
    yield (content.title,)
    yield "", ". ".join(filter(None, (content.structure, content.span)))
    yield from (("", caution) for caution in content.cautions)
    yield from ((what, number) for number, what in content.counts)
    yield (words("changes.dates"),)
    yield from content.dates
    yield "", words("changes.breathe")
    yield (words("changes.laid"),)
    yield from (("", sentence) for sentence in content.laid)


def _row(row: Mapping[str, Any], words: Words) -> list[Any]:
    change = ", ".join(words(f"change.{name.replace(' ', '_')}") for name in row["words"])
    kind = "same" if row["kind"] == "changed" else row["kind"]
    texts = {
        "change": change,
        "kind": words(f"change.{kind}") if row["kind"] != "changed" else change,
        "old_ids": ", ".join(map(str, row["old_ids"])),
        "new_ids": ", ".join(map(str, row["new_ids"])),
        "link": words(f"change.{row['link']}") if row["link"] else None,
    }
    return [texts.get(name, row.get(name)) for name in HEADER]
