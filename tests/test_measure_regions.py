"""Regions say of a mask from elsewhere what they say of a photograph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crackseg.commands import app


@pytest.fixture
def wall(tmp_path: Path) -> Path:
    """A mask with two level cracks of 200 px, above row 50 and below it, and its photograph."""
    mask = np.zeros((100, 240), np.uint8)
    mask[20:23, 20:220] = mask[80:83, 20:220] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    grey = np.random.default_rng(0).normal(150, 4, mask.shape)
    Image.fromarray(np.where(mask > 0, 40, grey).astype(np.uint8)).save(tmp_path / "wall.png")
    return tmp_path


def geojson(path: Path, kind: str, coordinates: Any, **properties: Any) -> Path:
    geometry = {"type": kind, "coordinates": coordinates}
    feature = {"type": "Feature", "geometry": geometry, "properties": properties}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    return path


def measured(folder: Path, *options: str) -> dict[str, Any]:
    arguments = ["measure", str(folder / "mask.png"), "--out", str(folder / "out"), *options]
    result = CliRunner().invoke(app, [*arguments, "--mm-per-px", "0.5"])
    assert result.exit_code == 0, result.output
    (report,) = (folder / "out").glob("*/report.json")
    return dict(json.loads(report.read_text(encoding="utf-8")))


UPPER = [[[0, 0], [240, 0], [240, 50], [0, 50], [0, 0]]]


@pytest.mark.parametrize("photograph", [False, True])
@pytest.mark.parametrize("role", ["--region", "--ignore"])
def test_what_is_left_out_is_not_measured(wall: Path, role: str, photograph: bool) -> None:
    area = geojson(wall / "area.geojson", "Polygon", UPPER)
    image = ["--image", str(wall / "wall.png")] if photograph else []
    report = measured(wall, role, str(area), *image)
    (crack,) = report["cracks"]
    assert crack["bbox"]["row"] == (20 if role == "--region" else 80)
    assert report["totals"]["left_out_px2"] == pytest.approx(0.5 * 100 * 240, rel=0.02)
    assert [part["code"] for part in report["unjudged"]] == ["left_out"]
    assert [file["role"] for file in report["region"]["files"]] == [role.removeprefix("--")]


def test_a_crack_that_leaves_the_region_is_cut(wall: Path) -> None:
    left = [[[0, 0], [120, 0], [120, 100], [0, 100], [0, 0]]]
    report = measured(wall, "--region", str(geojson(wall / "area.geojson", "Polygon", left)))
    assert [crack["length_px"] for crack in report["cracks"]] == pytest.approx([100, 100], abs=4)
    assert all(crack["touches_border"] for crack in report["cracks"])


def test_a_line_named_as_a_joint_takes_the_crack_on_it_from_the_list(wall: Path) -> None:
    line = geojson(
        wall / "joints.geojson", "LineString", [[0, 81], [240, 81]], **{"class": "joint"}
    )
    report = measured(wall, "--ignore", str(line))
    assert [crack["bbox"]["row"] for crack in report["cracks"]] == [20]
    assert [joint["bbox"]["row"] for joint in report["joints"]] == [80]
    assert report["totals"]["cracks"] == 1


def test_what_a_region_says_of_other_places_reaches_the_terminal(wall: Path) -> None:
    """The crack at row 81 lies on a joint; of two joints with x and y swapped one crosses it."""
    lines = [[[0, 81], [240, 81]], [[21, 0], [21, 199]], [[120, 0], [120, 50]]]
    path = geojson(wall / "joints.geojson", "MultiLineString", lines, **{"class": "joint"})
    arguments = ["measure", str(wall / "mask.png"), "-o", str(wall / "out"), "--ignore", str(path)]
    shown = " ".join(CliRunner().invoke(app, arguments).stderr.split())
    (written,) = (wall / "out").glob("*/report.json")
    report = json.loads(written.read_text(encoding="utf-8"))
    texts = {notice["code"]: notice["message"] for notice in report["warnings"]}
    assert "2 of 3 lines named as joints" in texts["joints_idle"]
    assert "from column 21, row 0 to column 21, row 199" in texts["joints_idle"]
    assert "50 % of geometry 1" in texts["region_outside"]
    assert "follow less than" not in texts["joints_idle"]
    assert all(text in shown for text in (texts["joints_idle"], texts["region_outside"]))


def test_the_config_names_regions_as_well(wall: Path) -> None:
    geojson(wall / "area.geojson", "Polygon", UPPER)
    config = wall / "crackseg.toml"
    config.write_text(f"[region]\nregion = {json.dumps(str(wall / 'area.geojson'))}\n")
    assert len(measured(wall, "--config", str(config))["cracks"]) == 1


def test_a_region_that_is_not_there_is_a_sentence(wall: Path) -> None:
    arguments = ["measure", str(wall / "mask.png"), "-o", str(wall / "out"), "--region", "no.json"]
    result = CliRunner().invoke(app, arguments)
    assert "no.json" in str(result.exception)
    assert not list((wall / "out").glob("*/report.json"))


def test_a_joint_along_a_part_of_a_crack_is_told_so(wall: Path) -> None:
    line = geojson(wall / "joints.geojson", "LineString", [[0, 81], [90, 81]], **{"class": "joint"})
    report = measured(wall, "--ignore", str(line))
    assert not report["joints"]
    (text,) = [n["message"] for n in report["warnings"] if n["code"] == "joints_idle"]
    assert "1 of 1 lines named as joints follow less than 60 % of the crack" in text
    assert "from column 0, row 81 to column 90, row 81" in text
    assert "meet no crack" not in text
