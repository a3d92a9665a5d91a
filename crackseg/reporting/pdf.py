"""The report as a PDF, set by ReportLab: no browser, no system library, A4 upright.

ReportLab's own Vera is embedded; it holds the letters of western languages. Letters that it lacks,
such as those of Chinese file names, are set in a font of the system where one is found, else in one
that most PDF viewers bring along.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from reportlab.graphics.shapes import Circle, Drawing, Line, String
from reportlab.lib.colors import HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    CondPageBreak,
    Flowable,
    Image,
    KeepTogether,
    LongTable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Table as Grid

from crackseg.exports.wording import plain_length
from crackseg.reporting.content import Content, Finding, Table, Worst
from crackseg.reporting.page import legend
from crackseg.reporting.plan import Plan

MOST_CRACKS = 500  # rows in print; the workbook holds them all
MOST_THUMBS = 120
MOST_DOUBTFUL = 100
_FONT, _BOLD, _VIEWERS = "Vera", "VeraBd", "STSong-Light"
_SYSTEM = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf",
           "Arial Unicode.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc", "simsun.ttc",
           "msgothic.ttc", "malgun.ttf")  # fmt: skip  # those with outlines that can be embedded
_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/truetype/liberation",
            "/usr/share/fonts/truetype/wqy", "/usr/share/fonts/dejavu-sans-fonts",
            "C:/Windows/Fonts", "/Library/Fonts", "/System/Library/Fonts/Supplemental",
            "~/.local/share/fonts", "~/.fonts")  # fmt: skip
_INK, _SOFT, _LINE = HexColor("#1d2126"), HexColor("#5c6670"), HexColor("#d5dbe1")
_ACCENT, _WARN, _BAD = HexColor("#b3321b"), HexColor("#fff4d6"), HexColor("#fde8e4")
_MARGIN = 15 * mm
_PAD = 6  # of ReportLab's frame
_WIDE = A4[0] - 2 * _MARGIN
_TEXT = ParagraphStyle("text", fontName=_FONT, fontSize=9, leading=12.5, textColor=_INK)
_SMALL = ParagraphStyle("small", _TEXT, fontSize=6.6, leading=8.4)
_FAINT = ParagraphStyle("faint", _TEXT, fontSize=7.5, leading=10, textColor=_SOFT)
_HEAD = ParagraphStyle("head", _TEXT, fontName=_BOLD, fontSize=12, leading=15, spaceBefore=10)
_TITLE = ParagraphStyle("title", _TEXT, fontName=_BOLD, fontSize=18, leading=22)
_COLUMN = ParagraphStyle("column", _SMALL, fontName=_BOLD, textColor=_SOFT)
_BIG = ParagraphStyle("big", _TEXT, fontName=_BOLD, fontSize=12, leading=14)
_WIDTH = ParagraphStyle("width", _BIG, fontSize=16, leading=20, textColor=_ACCENT)


def write(content: Content, folder: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``report.pdf``."""
    path = folder / "report.pdf"
    _fonts()
    words = content.words
    document = SimpleDocTemplate(
        str(path), pagesize=A4, title=content.title, subject=content.subtitle, author="crackseg",
        lang=words.language, leftMargin=_MARGIN - _PAD, rightMargin=_MARGIN - _PAD,
        topMargin=16 * mm, bottomMargin=16 * mm,
    )  # fmt: skip
    head = ", ".join(filter(None, (content.subtitle, content.title)))

    def numbered(*args: Any, **more: Any) -> _Numbered:
        canvas = _Numbered(*args, **more)
        canvas.name_pages(head, lambda page, pages: words("general.page", page=page, pages=pages))
        return canvas

    document.build(list(_story(content)), canvasmaker=numbered)
    return [path]


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Register the fonts and return the names of those to try for a letter, in order."""
    for name in (_FONT, _BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFont(UnicodeCIDFont(_VIEWERS))
    return (_FONT, *_system_fonts(), _VIEWERS)


def _system_fonts() -> Iterator[str]:
    for number, file in enumerate(_SYSTEM):
        for folder in _FOLDERS:
            path = Path(folder).expanduser() / file
            if path.is_file():
                with suppress(TTFError, OSError):
                    pdfmetrics.registerFont(TTFont(f"System{number}", str(path)))
                    yield f"System{number}"
                break


class _Numbered(Canvas):  # type: ignore[misc]
    """A canvas that knows its last page before it draws the foot of the first."""

    def name_pages(self, head: str, foot: Any) -> None:
        """Set what stands above each page, and the function of what stands below it."""
        self._head, self._foot = head, foot
        self._states: list[dict[str, Any]] = []

    def showPage(self) -> None:  # ReportLab's name
        """Keep the page until all are counted."""
        self._states.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Draw head and foot of every page and write the file."""
        for number, state in enumerate(self._states, start=1):
            self.__dict__.update(state)
            self.setFillColor(_SOFT)
            if number > 1:
                line = self.beginText(_MARGIN, A4[1] - 10 * mm)
                for name, run in _runs(self._head):
                    line.setFont(name, 7)
                    line.textOut(run)
                self.drawText(line)
            self.setFont(_FONT, 7)
            foot = self._foot(number, len(self._states))
            self.drawRightString(A4[0] - _MARGIN, 9 * mm, foot)
            Canvas.showPage(self)
        Canvas.save(self)


@functools.cache
def _font_of(letter: str) -> str:
    """Return the first font that has a letter; the viewers' one is believed to."""
    for name in _fonts()[:-1]:
        if ord(letter) in pdfmetrics.getFont(name).face.charToGlyph:
            return name
    return _VIEWERS


def _runs(text: str) -> Iterator[tuple[str, str]]:
    """Yield font and letters of the stretches of a text that one font can show."""
    for name, letters in itertools.groupby(text, lambda c: _FONT if c in "\n\t" else _font_of(c)):
        yield name, "".join(letters)


def _p(text: str, style: ParagraphStyle = _TEXT) -> Paragraph:
    """Return a paragraph of plain text; letters that Vera lacks get another font."""
    marked = (
        escape(run) if name == _FONT else f'<font name="{name}">{escape(run)}</font>'
        for name, run in _runs(text)
    )  # fmt: skip
    return Paragraph("".join(marked), style)


def _story(content: Content) -> Iterator[Flowable]:
    words = content.words
    yield _p(content.title, _TITLE)
    if content.subtitle:
        yield _p(content.subtitle, ParagraphStyle("sub", _TEXT, textColor=_SOFT, spaceAfter=4))
    yield _top(content)
    yield Spacer(0, 4)
    yield _facts(content.facts)
    if content.missing:
        yield _p(content.missing, _FAINT)
    yield _p(words("section.summary"), _HEAD)
    yield _figures(content.figures)
    if content.worst:
        yield from _heading(words("section.worst"), 80 * mm)
        for first in range(0, len(content.worst), 2):
            yield _worst_pair(content, content.worst[first : first + 2])
    for group in content.groups:
        yield KeepTogether([_p(group.title, _HEAD), *_table(group, 100)])
    yield from _map(content)
    yield from _heading(content.photographs.title, 60 * mm)
    yield from _photographs(content.photographs, content.thumbs)
    for shown, most in (
        (content.cracks, MOST_CRACKS),
        (content.doubtful, MOST_DOUBTFUL),
        (content.rejected, MOST_DOUBTFUL),
    ):
        if shown.rows:
            yield from _heading(shown.title)
            yield from _table(shown, most)
            if len(shown.rows) > most:
                yield _p(words("general.more", n=len(shown.rows) - most), _FAINT)
    yield from _heading(words("section.method"))
    yield from (_p(text) for text in content.method)
    yield from _heading(words("section.record"))
    yield _facts(content.record)


def _heading(title: str, room: float = 40 * mm) -> Iterator[Flowable]:
    """Yield a heading on the page that has room for the beginning of what it heads."""
    yield CondPageBreak(room)
    yield _p(title, _HEAD)


def _top(content: Content) -> Flowable:
    """Return what was seen and what not, beside the worst crack."""
    words = content.words
    left: list[Flowable] = [_p(sentence) for sentence in content.lead]
    left.append(Spacer(0, 3))
    left += [
        _finding(finding, content, bad=not number and bool(finding.items))
        for number, finding in enumerate(content.findings)
    ]
    left.append(_p(words("detection.title"), ParagraphStyle("d", _BIG, fontSize=9, spaceBefore=3)))
    left += [_p(sentence) for sentence in content.detection]
    if not content.worst:
        return Grid([[left]], colWidths=[_WIDE], style=[("LEFTPADDING", (0, 0), (-1, -1), 0)])
    worst = content.worst[0]
    right: list[Flowable] = [_p(words("summary.worst"), _FAINT), _p(worst.width, _WIDTH)]
    if worst.pictures.outlined:
        right.append(_picture(worst.pictures.outlined, _WIDE * 0.38))
    photograph = f"{worst.crack.photograph.name}, {words('table.crack')} {worst.crack.id}"
    right += [_p(worst.facts[2][1]), _p(photograph, _FAINT)]
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (0, 0), 0),
            ("LINEBEFORE", (1, 0), (1, 0), 2.5, _ACCENT),
        ]
    )
    return Grid([[left, right]], colWidths=[_WIDE * 0.58, _WIDE * 0.42], style=style)


def _finding(finding: Finding, content: Content, *, bad: bool) -> Flowable:
    lines: list[Flowable] = [
        _p(finding.sentence, ParagraphStyle("f", _TEXT, fontSize=8, leading=10.5))
    ]
    lines += [_p(f"– {item}".replace("`", ""), _SMALL) for item in finding.items[:12]]
    more = finding.more + max(len(finding.items) - 12, 0)
    if more:
        lines.append(_p(content.words("general.more", n=more), _SMALL))
    style = TableStyle(
        [
            ("BACKGROUND", (0, 0), (-1, -1), _BAD if bad else _WARN),
            ("TOPPADDING", (0, 0), (-1, -1), 2),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return Grid([[lines]], colWidths=[_WIDE * 0.55], style=style, spaceAfter=3)


def _facts(facts: Sequence[tuple[str, str]]) -> Flowable:
    if not facts:
        return Spacer(0, 0)
    rows = [[_p(label, _FAINT), _p(value, ParagraphStyle("v", _FAINT, textColor=_INK))]
            for label, value in facts]  # fmt: skip
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ("BOX", (0, 0), (-1, -1), 0.5, _LINE),
        ]
    )
    return Grid(rows, colWidths=[_WIDE * 0.24, _WIDE * 0.76], style=style)


def _figures(figures: Sequence[tuple[str, str]]) -> Flowable:
    rows: list[list[Any]] = [
        [[_p(value, _BIG), _p(label, _FAINT)] for value, label in figures[first : first + 4]]
        for first in range(0, len(figures), 4)
    ]
    rows = [[*row, *[""] * (4 - len(row))] for row in rows]
    style = TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"), ("LEFTPADDING", (0, 0), (-1, -1), 0)])
    return Grid(rows, colWidths=[_WIDE / 4] * 4, style=style)


def _picture(jpeg: bytes, width: float, most: float = 60 * mm) -> Image:
    picture = Image(io.BytesIO(jpeg))
    factor = min(width / picture.imageWidth, most / picture.imageHeight)
    picture.drawWidth, picture.drawHeight = (
        picture.imageWidth * factor,
        picture.imageHeight * factor,
    )
    return picture


def _worst_pair(content: Content, pair: Sequence[Worst]) -> Flowable:
    cells = [_worst(content, worst) for worst in pair]
    row = [*cells, *[""] * (2 - len(cells))]
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("BOX", (0, 0), (0, 0), 0.5, _LINE),
            ("BOX", (1, 0), (1, 0), 0.5, _LINE if len(cells) > 1 else white),
        ]
    )
    return Grid([row], colWidths=[_WIDE / 2] * 2, style=style, spaceAfter=4)


def _worst(content: Content, worst: Worst) -> list[Flowable]:
    heading = ParagraphStyle("w", _BIG, textColor=_ACCENT)
    lines: list[Flowable] = [_p(f"{worst.number}: {worst.width}", heading)]
    shown = [jpeg for jpeg in (worst.pictures.plain, worst.pictures.outlined) if jpeg]
    wide = _WIDE / 2 - 12
    if shown:
        pictures = [_picture(jpeg, wide / len(shown) - 2, 38 * mm) for jpeg in shown]
        lines.append(Grid([pictures], colWidths=[wide / len(shown)] * len(shown),
                          style=[("LEFTPADDING", (0, 0), (-1, -1), 0)]))  # fmt: skip
    else:
        lines.append(_p(content.words("closeup.missing"), _FAINT))
    rows = [[_p(label, _SMALL), _p(value, _SMALL)] for label, value in worst.facts]
    style = [("TOPPADDING", (0, 0), (-1, -1), 0), ("BOTTOMPADDING", (0, 0), (-1, -1), 0.5),
             ("LEFTPADDING", (0, 0), (-1, -1), 0), ("VALIGN", (0, 0), (-1, -1), "TOP")]  # fmt: skip
    lines.append(Grid(rows, colWidths=[wide * 0.3, wide * 0.7], style=style))
    return lines


def _table(shown: Table, most: int) -> Iterator[Flowable]:
    heading = [_p(name, _COLUMN) for name in shown.heading]
    rows = [[_p(cell, _SMALL) for cell in row] for row in shown.rows[:most]]
    yield _grid([heading, *rows], shown.weights)
    if shown.note:
        yield _p(shown.note, _FAINT)


def _photographs(shown: Table, thumbs: Mapping[int, bytes]) -> Iterator[Flowable]:
    heading = [_p(name, _COLUMN) for name in shown.heading]
    rows: list[list[Any]] = [heading]
    left = MOST_THUMBS
    for row in shown.rows:
        cells: list[Any] = [_p(cell, _SMALL) for cell in row]
        jpeg = thumbs.get(int(row[0]))
        if jpeg and left:
            cells[1] = [_picture(jpeg, 24 * mm, 16 * mm), cells[1]]
            left -= 1
        rows.append(cells)
    yield _grid(rows, shown.weights)


def _grid(rows: list[list[Any]], widths: Sequence[float]) -> Flowable:
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), 1.5),
            ("RIGHTPADDING", (0, 0), (-1, -1), 1.5),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    whole = sum(widths)
    columns = [_WIDE * width / whole for width in widths]
    return LongTable(rows, colWidths=columns, style=style, repeatRows=1)


def _map(content: Content) -> Iterator[Flowable]:
    words = content.words
    parts: list[Flowable] = [_p(words("section.map"), _HEAD)]
    if content.plan is not None:
        parts.append(_drawing(content.plan))
        key = legend(content.gathered.survey.widths, words)
        dots = "   ".join(
            f'<font color="{colour}" size="13">•</font> {escape(name)}' for name, colour in key
        )
        parts.append(Paragraph(dots, _FAINT))
    parts += [_p(sentence, _FAINT) for sentence in content.plan_notes]
    yield KeepTogether(parts)


def _drawing(plan: Plan) -> Drawing:
    """Return the map as vectors."""
    width, most = _WIDE, 110 * mm
    factor = min(width / (plan.right_m - plan.left_m), most / max(plan.top_m - plan.bottom_m, 1e-6))
    height = max((plan.top_m - plan.bottom_m) * factor, 10 * mm)
    drawing = Drawing(width, height + 16)
    radius = max(min(6.0, 0.4 * width / len(plan.spots) ** 0.5), 1.5)
    for spot in plan.spots:
        x, y = (spot.x_m - plan.left_m) * factor, (spot.y_m - plan.bottom_m) * factor + 16
        colour = HexColor(spot.colour)
        drawing.add(Circle(x, y, radius, fillColor=colour, strokeColor=None))
        if radius >= 4:
            drawing.add(String(x, y - 2, str(spot.number), fontName=_FONT, fontSize=5,
                               fillColor=white, textAnchor="middle"))  # fmt: skip
    drawing.add(Line(4, 4, 4 + plan.bar_m * factor, 4, strokeColor=_INK, strokeWidth=2))
    label = plain_length(1000 * plan.bar_m)
    drawing.add(String(4, 7, label, fontName=_FONT, fontSize=6.5, fillColor=_INK))
    return drawing
