"""A comparison as ``changes.pdf``: counts, dates beside each other, the list, and crops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Spacer, TableStyle
from reportlab.platypus import Table as Grid

from crackseg.changes.content import Content, Shown
from crackseg.changes.crops import Pair
from crackseg.reporting import paper
from crackseg.reporting.paper import (
    BIG,
    COLUMN,
    FAINT,
    HEAD,
    SMALL,
    SOFT,
    TEXT,
    TITLE,
    WARN,
    WIDE,
    para,
    photo,
    ruled,
    section,
)

MOST_ROWS = 500  # in print; the workbook holds them all
_WIDTHS = (6.5, 13.5, 11.0, 11.0, 8.0, 8.0, 8.0, 7.0, 7.0)
_TOP_LEFT = TableStyle([("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")])


def write_pdf(content: Content, folder: Path) -> Path:
    """Write ``changes.pdf``."""
    path = folder / "changes.pdf"
    above = content.structure or content.span.rstrip(".")
    paper.build(path, _story(content, folder), content.title, above, content.words)
    return path


def _story(content: Content, folder: Path) -> Iterator[Flowable]:
    words = content.words
    yield para(content.title, TITLE)
    if content.structure:
        yield para(content.structure, TEXT)
    yield para(content.span, ParagraphStyle("span", TEXT, textColor=SOFT, spaceAfter=6))
    for caution in content.cautions:
        yield Grid([[para(caution, SMALL)]], colWidths=[WIDE], spaceAfter=3,
                   style=[("BACKGROUND", (0, 0), (-1, -1), WARN)])  # fmt: skip
    counts = [[para(number, BIG), para(what, FAINT)] for number, what in content.counts]
    for first in range(0, len(counts), 6):
        row = [*counts[first : first + 6], *[""] * 6][:6]
        yield Grid([row], colWidths=[WIDE / 6] * 6, style=_TOP_LEFT)
    yield para(words("changes.dates"), HEAD)
    head, *rows = content.dates
    table = [[para(cell, COLUMN) for cell in head]]
    table += [[para(cell, SMALL) for cell in row] for row in rows]
    yield ruled(table, (2.0, 2.0, 2.0, 1.2))
    yield para(words("changes.breathe"), FAINT)
    yield from section(words("changes.cracks"))
    if content.rows:
        cells = [[para(name, COLUMN) for name in content.heading]]
        cells += [[para(cell, SMALL) for cell in row.cells] for row in content.rows[:MOST_ROWS]]
        yield ruled(cells, _WIDTHS)
    else:
        yield para(words("changes.none"))
    if len(content.rows) > MOST_ROWS:
        yield para(words("changes.more", n=len(content.rows) - MOST_ROWS), FAINT)
    yield from _crops(content, folder)
    yield from section(words("changes.laid"))
    yield from (para(sentence) for sentence in content.laid)


def _crops(content: Content, folder: Path) -> Iterator[Flowable]:
    pairs = [(row, row.pair) for row in content.rows if row.pair is not None]
    if not pairs:
        return
    yield from section(content.words("changes.crops"), 105 * mm)  # with the first pair below it
    for row, pair in pairs:
        yield _crop(row, pair, content, folder)


def _crop(row: Shown, pair: Pair, content: Content, folder: Path) -> Flowable:
    words = content.words
    pictures = [
        para(words("changes.no_photograph"), FAINT)
        if name is None
        else photo((folder / name).read_bytes(), WIDE / 2 - 8, 75 * mm)
        for name in pair.names
    ]
    labels = [para(words(f"changes.{name}"), FAINT) for name in ("before", "now")]
    scale = words("changes.crop_scale", width=words.figures(pair.width_m, 2))
    return KeepTogether(
        [
            para(f"{row.id}: {row.change}", ParagraphStyle("c", BIG, fontSize=9, spaceBefore=4)),
            Grid([labels, pictures], colWidths=[WIDE / 2] * 2, style=_TOP_LEFT),
            para(scale, FAINT),
            Spacer(0, 4),
        ]
    )
