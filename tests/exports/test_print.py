"""Page and gallery as a browser shows and prints them: nothing is cut, nothing is wider."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import MISSING, open_browser
from dark_model import CARD
from PIL import Image

from crackseg.exports import page
from crackseg.exports.survey import report_row, write_survey
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.files import open_image
from crackseg.records import Certainty, Measure, Report, Scale, WidthClass
from crackseg.reporting.command import write_report

pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
A4_PX = round((210 - 2 * 13) / 25.4 * 96)  # between the margins of the style
LABEL = "within the guide width of water-retaining structures"
# What is wider than the page: an element whose right edge lies beyond it, and what it says.
WIDER = """
const limit = document.documentElement.clientWidth + 1;
return [...document.querySelectorAll('body *')]
  .filter((e) => e.getBoundingClientRect().right > limit || e.scrollWidth > e.clientWidth + 1
    && e.clientWidth && !['hidden', 'auto'].includes(getComputedStyle(e).overflowX))
  .map((e) => `${e.tagName} ${e.className}: ${e.textContent.trim().slice(0, 60)}`);
"""
# What a box cuts off that shows no more than its size.
CUT = """
return [...document.querySelectorAll('body *')]
  .filter((e) => getComputedStyle(e).overflowX === 'hidden' && e.scrollWidth > e.clientWidth + 1)
  .map((e) => `${e.tagName} ${e.className}: ${e.textContent.trim().slice(0, 60)}`);
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless Chromium."""
    with open_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def folder(make_report: Callable[..., Report], tmp_path: Path) -> Path:
    """A survey of one picture with 60 cracks of long figures and 20 doubtful marks."""
    scale = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given")
    report = make_report(scale=scale, cracks=80, height=4200, width=5000)
    wide = Measure(px=1234.5, u_px=123.4, mm=1308.63, u_mm=130.21)
    entries = tuple(
        WidthClass(document=name, label=LABEL, verified=False)
        for name in ("ACI 224R", "EN 1992-3 class 1", "GB 50010", "DL/T 5251 reinforced")
    )
    cracks = tuple(
        replace(
            crack,
            width_mean=wide,
            width_p95=wide,
            width_max=wide,
            width_classes=entries,
            certainty=0.9,
            section="main" if crack.id <= 60 else "also_marked",
            flags=("width_from_mask", "not_dark", "bridged", "touches_border"),
        )
        for crack in report.cracks
    )
    card = replace(CARD, certainty=Certainty(intercept=0.0, weights={}, limit=0.8))
    totals = replace(report.totals, cracks=60, also_marked=20, also_marked_length_px=2400.0)
    report = replace(report, cracks=cracks, model=card, thresholds=(0.9, 0.3), totals=totals)
    named = replace(report.image, path=Path("a-very-long-name-of-a-photograph-of-a-dam.jpg"))
    report = replace(report, image=named)
    result = tmp_path / "survey" / named.path.stem
    result.mkdir(parents=True)
    Image.fromarray(np.full((4200, 5000, 3), 150, np.uint8)).save(tmp_path / "wall.jpg")
    with open_image(tmp_path / "wall.jpg") as image:
        page.write(report, result, image)
    row = report_row(report_to_dict(report), result.name, "analyzed")
    rows = [row] * 8 + [{**row, "image": "another-long-name-of-the-same-file.jpg"}]
    about = {
        "package_version": "1",
        "started_at": "2026-05-13T08:00:00+00:00",
        "model": {"name": "m", "version": "1"},
    }
    write_survey(rows, about, result.parent, gallery=True)
    write_report(result.parent, formats=["html"], locale="de")
    return result


def show(browser: Any, file: Path, width_px: int, media: str) -> None:
    """Open a file at a width of the window, on the screen or as for print."""
    metrics = {"width": width_px, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    browser.get(file.as_uri())


@pytest.mark.parametrize(
    ("width_px", "media"),
    [(A4_PX, "print"), (1300, "screen"), (820, "screen"), (390, "screen")],
)
@pytest.mark.parametrize("name", ["page.html", "../index.html", "../report/report.html"])
def test_nothing_is_wider_than_the_page(
    browser: Any, folder: Path, name: str, width_px: int, media: str
) -> None:
    show(browser, (folder / name).resolve(), width_px, media)
    assert browser.execute_script(WIDER) == []
    assert browser.execute_script(CUT) == []


def test_paper_holds_every_figure(browser: Any, folder: Path) -> None:
    if shutil.which("pdftotext") is None:
        pytest.skip("no pdftotext")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.get((folder / "page.html").as_uri())
    options = {"preferCSSPageSize": True, "printBackground": True}
    data = browser.execute_cdp_cmd("Page.printToPDF", options)["data"]
    file = folder / "page.pdf"
    file.write_bytes(base64.b64decode(data))
    text = subprocess.run(
        ["pdftotext", str(file), "-"], check=True, capture_output=True, text=True
    ).stdout
    widths = 3 * 80 + 40 + 1  # three in each row of both tables; close-ups; headline
    assert text.count("1309 ±") == widths
    assert len(re.findall(r"(?<!\d)130(?!\d)", text)) == widths
    pages = text.split("\f")
    for one in pages[:-1]:
        lines = [line.strip() for line in one.splitlines() if line.strip()]
        assert lines[-1] not in {"Cracks, the worst first", "Close-ups of the widest places",
                                 "Width classes by document"}  # fmt: skip
    assert re.search(r"DL/T 5251 reinforced", text)
