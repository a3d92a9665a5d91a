"""The page opens offline, escapes what it shows, and says what an engineer must know."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from dark_model import CARD

from crackseg.exports import page
from crackseg.records import Certainty, Measure, Report, Scale, WidthClass

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


def besides(report: Report, *ids: int) -> Report:
    """Return the report with some of its cracks under "also marked", and a card with a limit."""
    cracks = tuple(
        replace(crack, certainty=0.3 if crack.id in ids else 0.97,
                section="also_marked" if crack.id in ids else "main")
        for crack in report.cracks
    )  # fmt: skip
    length = report.cracks[0].length
    main = len(cracks) - len(ids)
    totals = replace(
        report.totals,
        cracks=main,
        length_px=main * (length.px or 0.0),
        length_mm=None if length.mm is None else main * length.mm,
        also_marked=len(ids),
        also_marked_length_px=len(ids) * (length.px or 0.0),
        also_marked_length_mm=None if length.mm is None else len(ids) * length.mm,
    )
    card = replace(CARD, certainty=Certainty(intercept=0.0, weights={}, limit=0.8))
    return replace(report, cracks=cracks, totals=totals, model=card, thresholds=(0.9, 0.3))


def test_page_keeps_the_order_of_the_report_with_units_and_uncertainty(
    make_report: Make, tmp_path: Path
) -> None:
    report = make_report(scale=SCALE)
    wide = replace(
        report.cracks[1],
        width_max=Measure(px=9.0, u_px=0.4, mm=2.25, u_mm=0.12),
        flags=("near_joint",),
    )
    text = words(written(replace(report, cracks=(report.cracks[0], wide)), tmp_path))
    table = text[text.index("Cracks, the worst first") :]
    assert table.index("0.85 ± 0.10 mm") < table.index("2.25 ± 0.12 mm")
    assert "2.25 ± 0.12 mm largest width (crack 2)" in text
    assert "near joint" in table
    assert "0.25 mm per px ± 4 % (k = 2), laser distance and focal length" in text
    assert "Crack 1 leaves the picture: the length is that of the visible part." in text


def test_doubtful_marks_are_in_no_headline(make_report: Make, tmp_path: Path) -> None:
    report = make_report(scale=SCALE, cracks=3)
    huge = replace(report.cracks[1], width_max=Measure(px=90.0, u_px=0.4, mm=22.5, u_mm=0.12))
    report = replace(report, cracks=(report.cracks[0], huge, report.cracks[2]))
    text = written(besides(report, 2), tmp_path)
    page = words(text)
    assert "2 cracks were found. One doubtful mark stands under “Also marked”" in page
    head = page[: page.index("Where the cracks are")]
    assert "22.50" not in head
    assert "1 also marked, 30 mm long, in no other figure" in head
    assert "0.85 ± 0.10 mm largest width (crack 1, 97 % certain)" in head
    folded = text[text.index("<details") : text.index("</details>")]
    assert "22.50 ± 0.12 mm" in folded
    assert "22.50" not in text.replace(folded, "")
    assert "Marks under 80 % stand under “Also marked”" in page
    assert "97 %" in page


def test_a_page_with_doubtful_marks_alone_does_not_say_no_crack(
    make_report: Make, tmp_path: Path
) -> None:
    page = words(written(besides(make_report(cracks=1), 1), tmp_path))
    assert "No crack was found" not in page
    assert "No crack is certain enough for the main list. One doubtful mark stands" in page
    assert "Thin blue outlines are the doubtful marks" in page
    assert "number where there is room" not in page  # nothing is numbered


def test_a_model_without_certainty_says_so(make_report: Make, tmp_path: Path) -> None:
    report = replace(make_report(), model=CARD, thresholds=(0.9, 0.3))
    page = words(written(report, tmp_path))
    assert "How certain each mark is, is not known" in page


def test_one_is_not_many(make_report: Make, tmp_path: Path) -> None:
    report = make_report(cracks=1)
    fine = replace(
        report.cracks[0], width_max=Measure(px=None, high_px=0.4, status="below_detection")
    )
    page = words(written(replace(report, cracks=(fine,)), tmp_path))
    assert "Crack 1 is too fine for this picture to give a width; its length is given." in page


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


def test_a_column_of_classes_is_of_one_document(make_report: Make, tmp_path: Path) -> None:
    report = make_report(scale=SCALE, cracks=2)

    def classes(bins: str | None, tight: str) -> tuple[WidthClass, ...]:
        one = WidthClass(document="bins", label=bins, verified=True)
        return one, WidthClass(document="EN 1992-3 class 1", label=tight, verified=True)

    first, second = report.cracks
    first = replace(first, width_classes=classes(None, "over w_k1"))
    second = replace(second, width_classes=classes("over 1 mm", "over w_k1"))
    text = written(replace(report, cracks=(first, second)), tmp_path)
    cells = re.findall(r'<td data-name="Class, ([^"]+)">([^<]+)</td>', text)
    assert cells == [("bins", "between two classes"), ("bins", "over 1 mm")]
    page = words(text)
    assert "Class, bins of the 95 % width" in page
    assert "over w_k1 cracks 1, 2" in page
    assert "w_k1 is the width that a crack through the whole section may have" in page


def test_page_of_no_cracks(make_report: Make, tmp_path: Path) -> None:
    text = words(written(make_report(cracks=0, scale=SCALE), tmp_path))
    assert "No crack was found." in text
    assert "worst first" not in text
    assert "Nothing is marked in this picture." in text


@pytest.mark.parametrize(
    ("down", "across", "name"),
    [
        (0.1, 0.1, "top left"),
        (0.5, 0.5, "centre"),
        (0.9, 0.5, "bottom"),
        (0.5, 0.9, "right"),
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
