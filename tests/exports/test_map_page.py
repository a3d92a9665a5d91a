"""A large picture becomes tiles of every fineness and a page that loads those it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from chromium import MISSING, open_browser
from PIL import Image

from crackseg.exports import map_page
from crackseg.imagery.files import open_image
from crackseg.records import Array, Report

Make = Callable[..., Report]
HEIGHT, WIDTH = 900, 1411


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small picture have many tiles."""
    monkeypatch.setattr(map_page, "TILE_PX", 128)


def shaded() -> Array:
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    waves = 128 + 60 * np.sin(rows / 90) + 60 * np.cos(cols / 70)
    return np.repeat(waves.astype(np.uint8)[..., None], 3, axis=2)


def written(report: Report, pixels: Array, folder: Path) -> tuple[list[Path], dict[str, Any]]:
    """Write the page of a picture; return the files and what the page's script knows."""
    file = folder / "wall.tif"
    tifffile.imwrite(file, pixels, tile=(64, 64), photometric="rgb")
    with open_image(file) as image:
        paths = map_page.write(report, folder, image)
    page = (folder / "map.html").read_text(encoding="utf-8")
    frame: dict[str, Any] = json.loads(re.findall(r"const frame = (\{.*\});", page)[0])
    return paths, frame


@pytest.mark.usefixtures("tiles")
def test_tiles_of_a_level_are_the_picture_as_fine_as_it(make_report: Make, tmp_path: Path) -> None:
    pixels = shaded()
    report = make_report(height=HEIGHT, width=WIDTH)
    paths, frame = written(report, pixels, tmp_path)
    assert sorted(paths[1:]) == sorted(tmp_path.glob("tile_*.jpg"))
    assert len(paths) == 1 + len(frame["tiles"])
    assert frame["tiles"][-1] == [4, 0, 0]
    for level in range(5):
        own = [tile for tile in frame["tiles"] if tile[0] == level]
        rows, cols = max(t[1] for t in own) + 1, max(t[2] for t in own) + 1
        assert len(own) == rows * cols
        parts = [[_tile(tmp_path, level, r, c) for c in range(cols)] for r in range(rows)]
        joined = np.concatenate([np.concatenate(part, axis=1) for part in parts])
        expected = cv2.resize(pixels, joined.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert joined.shape[:2] == (-(-HEIGHT // 2**level), -(-WIDTH // 2**level))
        assert np.abs(joined.astype(int) - expected).mean() < 2


def _tile(folder: Path, level: int, row: int, col: int) -> Array:
    return np.asarray(Image.open(folder / f"tile_{level}_{row}_{col}.jpg"))  # noqa: TID251


def test_the_page_names_every_crack_and_loads_nothing_from_elsewhere(
    make_report: Make, tmp_path: Path
) -> None:
    report = make_report(height=HEIGHT, width=WIDTH, cracks=3)
    paths, frame = written(report, shaded(), tmp_path)
    page = paths[0].read_text(encoding="utf-8")
    for crack in report.cracks:
        assert f'<tr data-id="{crack.id}"' in page
        assert re.search(rf'data-id="{crack.id}"><title>.*</title><path d="M[0-9. L]+"/>', page)
    assert not re.findall(r"https?://(?!www\.w3\.org)", page)
    assert (frame["left"], frame["m_per_px"], frame["rise"]) == ([0, 0], 1, -1)


def test_a_line_stays_where_it_was_measured() -> None:
    angle = np.linspace(0, 3, 4000)
    points = np.column_stack([200 + 150 * np.sin(angle), 300 + 150 * np.cos(angle)])
    drawn = map_page._line(points)
    places = np.array([pair.split() for pair in drawn[1:].split("L")], float)
    assert len(places) < 100
    assert np.abs(np.hypot(places[:, 1] - 200.5, places[:, 0] - 300.5) - 150).max() < 0.2


def test_a_raster_is_read_off_in_its_own_coordinates(make_report: Make, tmp_path: Path) -> None:
    upright = (0.01, 0.0, 6e5, 0.0, -0.01, 5.1e6)
    _, frame = written(make_report(transform=upright), shaded(), tmp_path)
    assert (frame["left"], frame["m_per_px"], frame["rise"]) == ([6e5, 5.1e6], 0.01, 1)
    turned = (0.007, 0.007, 6e5, 0.007, -0.007, 5.1e6)
    _, frame = written(make_report(transform=turned), shaded(), tmp_path)
    assert frame["at"].startswith("row")


def test_without_a_photograph_there_are_lines_alone(make_report: Make, tmp_path: Path) -> None:
    paths = map_page.write(make_report(), tmp_path, None)
    assert paths == [tmp_path / "map.html"]
    assert sorted(tmp_path.glob("tile*")) == []


@pytest.mark.skipif(bool(MISSING), reason=MISSING or "there is one")
@pytest.mark.usefixtures("tiles")
def test_the_page_loads_what_is_looked_at(make_report: Make, tmp_path: Path) -> None:
    report = make_report(height=HEIGHT, width=WIDTH)
    written(report, shaded(), tmp_path)
    with open_browser(tmp_path) as browser:
        browser.get((tmp_path / "map.html").as_uri())
        loaded = "return [...document.querySelectorAll('#tiles image')].map(i => i.dataset.key)"

        def shown() -> set[str]:
            browser.execute_async_script("setTimeout(arguments[0], 150)")
            return set(browser.execute_script(loaded))

        whole = shown()
        assert {key[0] for key in whole} == {"0"} or len(whole) < 30
        browser.execute_script("document.querySelector('tr[data-id=\"1\"]').click()")
        near = shown()
        assert {key[0] for key in near} == {"0"}
        assert 0 < len(near) < 30
        assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]
