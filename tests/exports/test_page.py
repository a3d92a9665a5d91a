"""The page opens offline, escapes what it shows, and says what an engineer must know."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from crackseg.exports import page
from crackseg.records import Measure, Report, Scale, WidthClass

SCALE = Scale(mm_per_px=0.25, sigma_rel=0.02, source="lrf", detail="4.2 m, 5600 px")
Make = Callable[..., Report]


def written(report: Report, folder: Path) -> str:
    page.write(report, folder, None)
    return (folder / "page.html").read_text(encoding="utf-8")


def words(text: str) -> str:
    """Return the text a reader sees, blanks evened out."""
    return " ".join(
        html.unescape(re.sub(r"<style.*?</style>|<[^>]+>", " ", text, flags=re.S)).split()
    )


def test_page_needs_nothing_from_elsewhere(make_report: Make, tmp_path: Path) -> None:
    text = written(make_report(scale=SCALE), tmp_path)
    assert not re.findall(r"https?://", text)
    sources = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert sources
    assert all(s.startswith(("data:image/jpeg;base64,", "#")) for s in sources)


def test_page_escapes_names_and_notices(make_report: Make, tmp_path: Path) -> None:
    hostile = '"><script>alert(1).jpg'
    text = written(make_report(path=Path(hostile), camera="<b>x</b>"), tmp_path)
    assert "<script>" not in text
    assert "<b>x</b>" not in text
    assert hostile in html.unescape(text)


def test_page_shows_widest_first_with_units_and_uncertainty(
    make_report: Make, tmp_path: Path
) -> None:
    report = make_report(scale=SCALE)
    wide = replace(
        report.cracks[1],
        width_max=Measure(px=9.0, u_px=0.4, mm=2.25, u_mm=0.12),
        flags=("near_joint",),
    )
    text = words(written(replace(report, cracks=(report.cracks[0], wide)), tmp_path))
    table = text[text.index("Cracks, the widest first") :]
    assert table.index("2.25 ± 0.12 mm") < table.index("0.85 ± 0.10 mm")
    assert "near joint" in table
    assert "0.25 mm per px ± 4 % (k = 2), laser distance and focal length" in text
    assert "Crack 1 leaves the picture: the length is that of the visible part." in text


def test_page_without_scale_says_so_first(make_report: Make, tmp_path: Path) -> None:
    text = words(written(make_report(), tmp_path))
    assert text.index("No scale is known.") < text.index("Where the cracks are")
    assert "no length or width is given in millimetres" in text
    assert " mm" not in text.replace("no length or width is given in millimetres", "")


def test_class_is_given_only_when_the_interval_lies_inside(
    make_report: Make, tmp_path: Path
) -> None:
    report = make_report(scale=SCALE, cracks=1)
    open_class = replace(
        report.cracks[0], width_classes=(WidthClass(document="bins", label=None, verified=False),)
    )
    text = words(written(replace(report, cracks=(open_class,)), tmp_path))
    assert "between two classes" in text
    assert "0.5 to 1 mm" not in text
    assert "The limits of bins have not been checked" in text
    assert "Width class only: depth is not visible." in text


def test_page_of_no_cracks(make_report: Make, tmp_path: Path) -> None:
    text = words(written(make_report(cracks=0, scale=SCALE), tmp_path))
    assert "No crack was found." in text
    assert "widest first" not in text


@pytest.mark.parametrize(
    ("down", "across", "name"),
    [
        (0.1, 0.1, "upper left"),
        (0.5, 0.5, "centre"),
        (0.9, 0.5, "lower centre"),
        (0.5, 0.9, "middle right"),
    ],
)
def test_places(down: float, across: float, name: str) -> None:
    assert page.place_in_words(down, across) == name


@pytest.mark.parametrize(
    ("angle", "name"),
    [(3, "horizontal"), (176, "horizontal"), (90, "vertical"), (45, "diagonal"), (None, "no main")],
)
def test_directions(angle: float | None, name: str) -> None:
    assert page.direction_in_words(angle).startswith(name)
