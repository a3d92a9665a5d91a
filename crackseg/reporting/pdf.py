"""The report as a PDF, set by ReportLab: no browser, no system library, A4 upright."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reportlab.graphics.shapes import Circle, Drawing, Line, String
from reportlab.lib.colors import HexColor, white
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import Flowable, KeepTogether, Paragraph, Spacer, TableStyle
from reportlab.platypus import Table as Grid

from crackseg.exports.wording import plain_length
from crackseg.reporting import paper
from crackseg.reporting.content import Content, Finding, Table, Worst
from crackseg.reporting.page import legend
from crackseg.reporting.paper import (
    ACCENT,
    BAD,
    BIG,
    COLUMN,
    FAINT,
    FONT,
    HEAD,
    INK,
    LINE,
    SMALL,
    SOFT,
    TEXT,
    TITLE,
    WARN,
    WIDE,
    WIDTH,
    pairs,
    para,
    photo,
    ruled,
    section,
)
from crackseg.reporting.plan import Plan

MOST_CRACKS = 500  # rows in print; the workbook holds them all
MOST_THUMBS = 120
MOST_DOUBTFUL = 100
_MOST_LETTERS = 400  # of a note beside a picture


def write(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``report.pdf``."""
    path = folder / "report.pdf"
    paper.build(path, _story(content), content.title, content.subtitle, content.words)
    return [path]


def _story(content: Content) -> Iterator[Flowable]:
    words = content.words
    yield para(content.title, TITLE)
    if content.subtitle:
        yield para(content.subtitle, ParagraphStyle("sub", TEXT, textColor=SOFT, spaceAfter=4))
    yield _top(content)
    yield Spacer(0, 4)
    yield pairs(content.facts)
    if content.missing:
        yield para(content.missing, FAINT)
    yield para(words("section.summary"), HEAD)
    yield _figures(content.figures)
    if content.worst:
        yield from section(words("section.worst"), 80 * mm)
        for first in range(0, len(content.worst), 2):
            yield _worst_pair(content, content.worst[first : first + 2])
    for group in content.groups:
        yield KeepTogether([para(group.title, HEAD), *_table(group, 100)])
    yield from _map(content)
    yield from section(content.photographs.title, 60 * mm)
    yield from _photographs(content.photographs, content.thumbs)
    for table, most in (
        (content.cracks, MOST_CRACKS),
        (content.doubtful, MOST_DOUBTFUL),
        (content.rejected, MOST_DOUBTFUL),
    ):
        if table.rows:
            yield from section(table.title)
            yield from _table(table, most)
            if len(table.rows) > most:
                yield para(words("general.more", n=len(table.rows) - most), FAINT)
    yield from section(words("section.method"))
    yield from (para(text) for text in content.method)
    yield from section(words("section.record"))
    yield pairs(content.record)


def _top(content: Content) -> Flowable:
    """Return what was seen and what not, beside the worst crack."""
    words = content.words
    left: list[Flowable] = [para(sentence) for sentence in content.lead]
    left.append(Spacer(0, 3))
    left += [
        _finding(finding, content, bad=not number and bool(finding.items))
        for number, finding in enumerate(content.findings)
    ]
    left.append(para(words("detection.title"), ParagraphStyle("d", BIG, fontSize=9, spaceBefore=3)))
    left += [para(sentence) for sentence in content.detection]
    # What many kinds of warnings have to say is higher than a page: the row goes on over the next.
    if not content.worst:
        unpadded = [("LEFTPADDING", (0, 0), (-1, -1), 0)]
        return Grid([[left]], colWidths=[WIDE], style=unpadded, splitInRow=1)
    worst = content.worst[0]
    right: list[Flowable] = [para(words("summary.worst"), FAINT), para(worst.width, WIDTH)]
    if worst.pictures.outlined:
        right.append(photo(worst.pictures.outlined, WIDE * 0.38))
    photograph = f"{worst.crack.photograph.name}, {words('table.crack')} {worst.crack.id}"
    right += [para(worst.facts[2][1]), para(photograph, FAINT)]
    if worst.crack.photograph.may_show_no_wall:
        right.append(para(words("flag.no_wall"), FAINT))
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (0, 0), 0),
            ("LINEBEFORE", (1, 0), (1, 0), 2.5, ACCENT),
        ]
    )
    return Grid([[left, right]], colWidths=[WIDE * 0.58, WIDE * 0.42], style=style, splitInRow=1)


def _finding(finding: Finding, content: Content, *, bad: bool) -> Flowable:
    lines: list[Flowable] = [
        para(finding.sentence, ParagraphStyle("f", TEXT, fontSize=8, leading=10.5))
    ]
    lines += [para(f"– {item}", SMALL) for item in finding.items[:12]]
    more = finding.more + max(len(finding.items) - 12, 0)
    if more:
        lines.append(para(content.words("general.more", n=more), SMALL))
    style = TableStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), BAD if bad else WARN),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return Grid([[lines]], colWidths=[WIDE * 0.55], style=style, spaceAfter=3)


def _figures(figures: Sequence[tuple[str, str]]) -> Flowable:
    rows: list[list[Any]] = [
        [[para(value, BIG), para(label, FAINT)] for value, label in figures[first : first + 4]]
        for first in range(0, len(figures), 4)
    ]
    rows = [[*row, *[""] * (4 - len(row))] for row in rows]
    style = TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
    return Grid(rows, colWidths=[WIDE / 4] * 4, style=style)


def _worst_pair(content: Content, pair: Sequence[Worst]) -> Flowable:
    cells = [_worst(content, worst) for worst in pair]
    row = [*cells, *[""] * (2 - len(cells))]
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BOX", (0, 0), (0, 0), 0.5, LINE),
            ("BOX", (1, 0), (1, 0), 0.5, LINE if len(cells) > 1 else white),
        ]
    )
    return Grid([row], colWidths=[WIDE / 2] * 2, style=style, spaceAfter=4)


def _worst(content: Content, worst: Worst) -> list[Flowable]:
    heading = ParagraphStyle("w", BIG, textColor=ACCENT)
    lines: list[Flowable] = [para(f"{worst.number}: {worst.width}", heading)]
    jpegs = [jpeg for jpeg in (worst.pictures.plain, worst.pictures.outlined) if jpeg]
    wide = WIDE / 2 - 12
    if jpegs:
        pictures = [photo(jpeg, wide / len(jpegs) - 2, 38 * mm) for jpeg in jpegs]
        lines.append(Grid([pictures], colWidths=[wide / len(jpegs)] * len(jpegs),
                          style=[("LEFTPADDING", (0, 0), (-1, -1), 0)]))  # fmt: skip
    else:
        lines.append(para(content.words("closeup.missing"), FAINT))
    rows = [[para(label, SMALL), para(_begun(value), SMALL)] for label, value in worst.facts]
    style = [("TOPPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
             ("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]  # fmt: skip
    lines.append(Grid(rows, colWidths=[wide * 0.3, wide * 0.7], style=style))
    return lines


def _begun(text: str) -> str:
    """Return a text, of a long one the beginning: the table of cracks has the whole."""
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} …"


def _table(table: Table, most: int) -> Iterator[Flowable]:
    heading = [para(name, COLUMN) for name in table.heading]
    rows = [[para(cell, SMALL) for cell in row] for row in table.rows[:most]]
    yield ruled([heading, *rows], table.weights)
    if table.note:
        yield para(table.note, FAINT)


def _photographs(table: Table, thumbs: Mapping[int, bytes]) -> Iterator[Flowable]:
    heading = [para(name, COLUMN) for name in table.heading]
    rows: list[list[Any]] = [heading]
    thumbs_left = MOST_THUMBS
    for row in table.rows:
        cells: list[Any] = [para(cell, SMALL) for cell in row]
        jpeg = thumbs.get(int(row[0]))
        if jpeg and thumbs_left:
            cells[1] = [photo(jpeg, 24 * mm, 16 * mm), cells[1]]
            thumbs_left -= 1
        rows.append(cells)
    yield ruled(rows, table.weights)


def _map(content: Content) -> Iterator[Flowable]:
    words = content.words
    parts: list[Flowable] = [para(words("section.map"), HEAD)]
    if content.plan is not None:
        parts.append(_drawing(content.plan))
        key = legend(content.gathered.survey.widths, words)
        dots = "   ".join(
            f'<font color="{colour}" size="13">•</font> {escape(name)}' for name, colour in key
        )
        parts.append(Paragraph(dots, ParagraphStyle("key", FAINT, leading=14)))
    parts += [para(sentence, FAINT) for sentence in content.plan_notes]
    yield KeepTogether(parts)


def _drawing(plan: Plan) -> Drawing:
    """Return the map as vectors."""
    width, most = WIDE, 110 * mm
    factor = min(width / (plan.right_m - plan.left_m), most / max(plan.top_m - plan.bottom_m, 1e-6))
    height = max((plan.top_m - plan.bottom_m) * factor, 10 * mm)
    drawing = Drawing(width, height + 16)
    radius = max(min(6.0, 0.4 * width / len(plan.spots) ** 0.5), 1.5)
    for spot in plan.spots:
        x, y = (spot.x_m - plan.left_m) * factor, (spot.y_m - plan.bottom_m) * factor + 16
        colour = HexColor(spot.colour)
        drawing.add(Circle(x, y, radius, fillColor=colour, strokeColor=None))
        if radius >= 4:
            drawing.add(String(x, y - 2, str(spot.number), fontName=FONT, fontSize=5,
                               fillColor=white, textAnchor="middle"))  # fmt: skip
    drawing.add(Line(4, 4, 4 + plan.bar_m * factor, 4, strokeColor=INK, strokeWidth=2))
    label = plain_length(1000 * plan.bar_m)
    drawing.add(String(4, 7, label, fontName=FONT, fontSize=6.5, fillColor=INK))
    return drawing
