"""What is set on paper by ReportLab: fonts, paragraphs, tables, pages with head and foot.

ReportLab's own Vera is embedded; it holds the letters of western languages. Letters that it lacks,
such as those of Chinese file names, are set in a font of the system where one is found, else in one
that most PDF viewers bring along.
"""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from reportlab.lib.colors import HexColor
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
    LongTable,
    Paragraph,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)
from reportlab.platypus import Table as Grid

from crackseg.words import Words

FONT, BOLD, _VIEWERS = "Vera", "VeraBd", "STSong-Light"
_SYSTEM = ("DejaVuSans.ttf", "LiberationSans-Regular.ttf", "arial.ttf", "Arial.ttf",
           "Arial Unicode.ttf", "wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc", "simsun.ttc",
           "msgothic.ttc", "malgun.ttf")  # fmt: skip  # those with outlines that can be embedded
_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/truetype/liberation",
            "/usr/share/fonts/truetype/wqy", "/usr/share/fonts/dejavu-sans-fonts",
            "C:/Windows/Fonts", "/Library/Fonts", "/System/Library/Fonts/Supplemental",
            "~/.local/share/fonts", "~/.fonts")  # fmt: skip
INK, SOFT, LINE = HexColor("#1d2126"), HexColor("#5c6670"), HexColor("#d5dbe1")
ACCENT, WARN, BAD = HexColor("#b3321b"), HexColor("#fff4d6"), HexColor("#fde8e4")
MARGIN = 15 * mm
_PAD = 6  # of ReportLab's frame
_IN = 1.5  # points between the edge of a table's cell and its text
_MOST_WIDER = 1.5  # so many times its share a column may take for a word
WIDE = A4[0] - 2 * MARGIN
TEXT = ParagraphStyle("text", fontName=FONT, fontSize=9, leading=12.5, textColor=INK)
SMALL = ParagraphStyle("small", TEXT, fontSize=6.6, leading=8.4)
FAINT = ParagraphStyle("faint", TEXT, fontSize=7.5, leading=10, textColor=SOFT)
HEAD = ParagraphStyle("head", TEXT, fontName=BOLD, fontSize=12, leading=15, spaceBefore=10)
TITLE = ParagraphStyle("title", TEXT, fontName=BOLD, fontSize=18, leading=22)
COLUMN = ParagraphStyle("column", SMALL, fontName=BOLD, textColor=SOFT)
BIG = ParagraphStyle("big", TEXT, fontName=BOLD, fontSize=12, leading=14)
WIDTH = ParagraphStyle("width", BIG, fontSize=16, leading=20, textColor=ACCENT)


def build(path: Path, story: Iterable[Flowable], title: str, subtitle: str, words: Words) -> None:
    """Write a document: its title stands above each page but the first, the page's number below."""
    _fonts()
    document = SimpleDocTemplate(
        str(path), pagesize=A4, title=title, subject=subtitle, author="crackseg",
        lang=words.language, leftMargin=MARGIN - _PAD, rightMargin=MARGIN - _PAD,
        topMargin=16 * mm, bottomMargin=16 * mm,
    )  # fmt: skip
    head = ", ".join(filter(None, (subtitle, title)))

    def numbered(*args: Any, **more: Any) -> _Numbered:
        canvas = _Numbered(*args, **more)
        canvas.name_pages(head, lambda page, pages: words("general.page", page=page, pages=pages))
        return canvas

    document.build(list(story), canvasmaker=numbered)


@functools.cache
def _fonts() -> tuple[str, ...]:
    """Register the fonts and return the names of those to try for a letter, in order."""
    for name in (FONT, BOLD):
        pdfmetrics.registerFont(TTFont(name, f"{name}.ttf"))
    pdfmetrics.registerFont(UnicodeCIDFont(_VIEWERS))
    return (FONT, *_system_fonts(), _VIEWERS)


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
            self.setFillColor(SOFT)
            if number > 1:
                line = self.beginText(MARGIN, A4[1] - 10 * mm)
                for name, run in _runs(self._head):
                    line.setFont(name, 7)
                    line.textOut(run)
                self.drawText(line)
            self.setFont(FONT, 7)
            foot = self._foot(number, len(self._states))
            self.drawRightString(A4[0] - MARGIN, 9 * mm, foot)
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
    for name, letters in itertools.groupby(text, lambda c: FONT if c in "\n\t" else _font_of(c)):
        yield name, "".join(letters)


def para(text: str, style: ParagraphStyle = TEXT) -> Paragraph:
    """Return a paragraph of plain text; letters that Vera lacks get another font.

    The backticks of messages, which mark code on a screen, are left out.
    """
    marked = (
        escape(run) if name == FONT else f'<font name="{name}">{escape(run)}</font>'
        for name, run in _runs(text.replace("`", ""))
    )  # fmt: skip
    return Paragraph("".join(marked), style)


def section(title: str, room: float = 40 * mm) -> Iterator[Flowable]:
    """Yield a heading on the page that has room for the beginning of what it heads."""
    yield CondPageBreak(room)
    yield para(title, HEAD)


def pairs(facts: Sequence[tuple[str, str]]) -> Flowable:
    """Return labels and values in a frame."""
    if not facts:
        return Spacer(0, 0)
    rows = [[para(label, FAINT), para(value, ParagraphStyle("v", FAINT, textColor=INK))]
            for label, value in facts]  # fmt: skip
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 1),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1),
            ("BOX", (0, 0), (-1, -1), 0.5, LINE),
        ]
    )
    return Grid(rows, colWidths=[WIDE * 0.24, WIDE * 0.76], style=style, splitInRow=1)


def photo(jpeg: bytes, width: float, most: float = 60 * mm) -> Image:
    """Return a picture of a width, no higher than so much."""
    picture = Image(io.BytesIO(jpeg))
    factor = min(width / picture.imageWidth, most / picture.imageHeight)
    picture.drawWidth, picture.drawHeight = (
        picture.imageWidth * factor,
        picture.imageHeight * factor,
    )
    return picture


def ruled(rows: list[list[Any]], widths: Sequence[float]) -> Flowable:
    """Return a table whose first row stands on every page.

    Widths are relative; a column takes room from others where it would break a word.
    """
    style = TableStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
            ("LEFTPADDING", (0, 0), (-1, -1), _IN),
            ("RIGHTPADDING", (0, 0), (-1, -1), _IN),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
        ]
    )
    whole = sum(widths)
    columns = _room_for_words(rows, [WIDE * width / whole for width in widths])
    # A note of two thousand letters is higher than a page: its row goes on over the next.
    return LongTable(rows, colWidths=columns, style=style, repeatRows=1, splitInRow=1)


def _room_for_words(rows: list[list[Any]], columns: list[float]) -> list[float]:
    """Return columns, in points, widened to their longest word by what others have to spare.

    What is far longer than its column, as the name of a file, has no spaces and is broken.
    """
    words = [
        max((cell.minWidth() for cell in cells if isinstance(cell, Paragraph)), default=0) + 2 * _IN
        for cells in zip(*rows, strict=True)
    ]
    needs = [n if n <= _MOST_WIDER * c else c for n, c in zip(words, columns, strict=True)]
    lacking = sum(max(n - c, 0) for n, c in zip(needs, columns, strict=True))
    spare = [max(c - n, 0) for n, c in zip(needs, columns, strict=True)]
    share = min(lacking / sum(spare), 1) if sum(spare) else 0
    given = share * sum(spare) / lacking if lacking else 0
    return [
        c + given * max(n - c, 0) - share * s for n, c, s in zip(needs, columns, spare, strict=True)
    ]
