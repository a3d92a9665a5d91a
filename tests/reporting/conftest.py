"""A small folder of results: three photographs with a report, one that failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crackseg import pipeline
from crackseg.exports.survey import failure_row, report_row, write_survey
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.files import open_image
from crackseg.records import Gps, Measure, Report, Scale, Unjudged

EXPORTS = ("json", "mask", "overlay", "page", "geojson")
ABOUT = {
    "package_version": "0.0",
    "started_at": "2026-05-13T08:00:00+00:00",
    "ended_at": "2026-05-13T09:00:00+00:00",
    "model": {"name": "none", "version": "", "sha256": ""},
    "options": {"predict": {"readings": 4}},
    "facts": {"dam": "Obere <Sperre> & Söhne", "inspected_on": "2026-05-12"},
}
SCALE = Scale(mm_per_px=0.25, sigma_rel=0.02, source="given")


def wall(path: Path, seed: int) -> Path:
    """Write a photograph of noise, dark where ``make_report`` says that cracks are."""
    pixels = np.random.default_rng(seed).integers(120, 180, (240, 320, 3), np.uint8)
    pixels[40:43, 0:120] = pixels[90:93, 60:180] = 20
    Image.fromarray(pixels).save(path)
    return path


def wide(report: Report, width_px: float, sure: float) -> Report:
    """Return a report whose first crack is so wide and so certain, the second doubtful."""
    first, *others = report.cracks
    mm = width_px * 0.25
    width = Measure(px=width_px, u_px=0.4, mm=mm, u_mm=0.1)
    first = replace(first, width_p95=width, width_max=width, width_mean=width, certainty=sure)
    doubtful = tuple(replace(c, section="also_marked", certainty=0.2) for c in others)
    return replace(report, cracks=(first, *doubtful))


@pytest.fixture
def results(tmp_path: Path, make_report: Callable[..., Report]) -> Path:
    """The folder of results; the photographs lie beside it in ``photos``."""
    out, photos = tmp_path / "results", tmp_path / "photos"
    photos.mkdir()
    rows = []
    for number, name in enumerate(("a.png", "b =1+1.png", "c.png")):
        path = wall(photos / name, number)
        with open_image(path) as image:
            report = make_report(
                scale=SCALE if number < 2 else None,
                path=path,
                sha256=image.info.sha256,
                gps=Gps(lat_deg=46.5 + number * 1e-4, lon_deg=8.3, alt_m=600.0 + number),
                taken_at=datetime(2026, 5, 12, 9, number),
            )
            if number < 2:
                report = wide(report, (3.4, 8.4)[number], (0.95, 0.8)[number])
            else:
                report = replace(report, cracks=(), unjudged=(Unjudged(code="black", share=0.9),))
            folder = out / path.stem
            pipeline.export(report, folder, image, EXPORTS)
        rows.append(report_row(report_to_dict(report), folder.name, "analyzed"))
    rows.append(failure_row(photos / "broken.jpg", "`broken.jpg` is cut off."))
    write_survey(rows, ABOUT, out, gallery=True, passed={"film.mp4": "a video; take stills"})
    return out
