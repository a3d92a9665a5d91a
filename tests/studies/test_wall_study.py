"""What the study of the rendered wall says of a map is what was done to the map."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies import load_study

study = load_study("wall")
PLAN = study.wall_survey.Plan(width_m=8.0, height_m=3.0, rows=2, cols=4, distance_m=4.2)


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    lines = study.the_wall(PLAN, 7).lines["first"]
    return {
        "cracks": [
            {
                "name": x.name,
                "length_m": x.length_m,
                "points_m": x.points_m.tolist(),
                "width_mm": x.width_mm.tolist(),
            }
            for x in lines
        ],
        "photographs": [
            {"image": f"{n}.JPG", "axes": c.axes.tolist(), "position_m": c.position_m.tolist()}
            for n, c in enumerate(study.wall_survey.cameras(PLAN))
        ],
    }


def map_of(truth: dict[str, Any], size: float = 1.0, shift_m: float = 0.0) -> dict[str, Any]:
    """Return the map that places and measures everything as it is, at another size and place."""

    def moved(points: Any) -> Any:
        return size * np.array(points) + np.array([shift_m, 0.0])

    height, width = PLAN.picture_px
    lens = {"focal_px": PLAN.focal_px, "height_px": height, "width_px": width, "k1": PLAN.k1,
            "k2": PLAN.k2, "raster": None}  # fmt: skip
    place = np.array([shift_m, 0.0, 0.0])
    return {
        "face": {"name": "", "azimuth_deg": None, "batter": 0.0, "station_m": 0.0,
                 "elevation_m": 0.0, "rightwards": True},
        "scale": {"sigma_rel": 0.001},
        "residuals": {"median_mm": 0.1},
        "set_aside": [],
        "totals": {"length_m": size * sum(c["length_m"] for c in truth["cracks"])},
        "photographs": [
            {"image": p["image"], "camera": lens | {
                "axes": p["axes"],
                "position_m": (size * np.array(p["position_m"]) + place).tolist(),
            }} for p in truth["photographs"]
        ],
        "cracks": [
            {"section": "main", "length_mm": 1000 * size * c["length_m"],
             "course": [moved(c["points_m"]).tolist()],
             "width_mean_low_mm": 0.9 * np.mean(c["width_mm"]),
             "width_mean_high_mm": 1.1 * np.mean(c["width_mm"])} for c in truth["cracks"]
        ],
    }  # fmt: skip


def score(face: dict[str, Any], truth: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "face").mkdir()
    (folder / "face" / "face.json").write_text(json.dumps(face))
    return dict(study.score_map(folder, "face", truth, PLAN))


def test_a_true_map_has_no_error(truth: dict[str, Any], tmp_path: Path) -> None:
    scores = score(map_of(truth, shift_m=3.0), truth, tmp_path)
    assert scores["off_mm"] < 0.1
    assert scores["size_rel"] == pytest.approx(0, abs=1e-6)
    assert scores["covered_m"] == pytest.approx(scores["true_m"])
    assert scores["twice_rel"] == pytest.approx(0, abs=1e-6)
    assert (scores["missed"], scores["pieces"], scores["invented_m"]) == ([], {}, 0)
    assert scores["widths"] == scores["widths_inside"] == 7


def test_a_map_too_large_is_off_by_its_size_alone(truth: dict[str, Any], tmp_path: Path) -> None:
    scores = score(map_of(truth, size=1.01), truth, tmp_path)
    assert scores["size_rel"] == pytest.approx(0.01, abs=1e-6)
    assert scores["off_mm"] > 15
    assert scores["off_turned_sized_mm"] < 0.1


def test_what_is_missed_twice_and_invented_is_told_apart(
    truth: dict[str, Any], tmp_path: Path
) -> None:
    face = map_of(truth)
    gone, twice, *_ = face["cracks"]
    beside = [(np.array(twice["course"][0]) + np.array([0.005, 0.0])).tolist()]
    nowhere = (np.array(gone["course"][0]) + np.array([0.0, 30.0])).tolist()
    face["cracks"] = [*face["cracks"][1:], {**twice, "course": beside},
                      {**gone, "course": [nowhere]}]  # fmt: skip
    scores = score(face, truth, tmp_path)
    first, second = (truth["cracks"][n]["length_m"] for n in (0, 1))
    assert scores["missed"] == [truth["cracks"][0]["name"]]
    assert scores["pieces"] == {truth["cracks"][1]["name"]: 2}
    assert scores["invented_m"] == pytest.approx(first)
    assert scores["twice_rel"] == pytest.approx(second / (scores["true_m"] - first))


def test_growth_counts_for_the_piece_at_the_end_that_grew() -> None:
    course = np.column_stack([np.linspace(0, 1, 251), np.zeros(251)])
    change = dict.fromkeys(
        ("words", "section", "link", "below_limit", "width_mm", "longer_u_mm", "wider_u_mm"), 1.0
    ) | {"longer_by_mm": 149.5, "wider_by_mm": 0.5}
    facts = {"longer_m": {"c1": 0.15}, "wider_mm": {}}
    rows = [study.row_of(change, "c1", points, {"c1": {"points_m": course}}, facts)
            for points in (course[:100], course[100:])]  # fmt: skip
    assert [row["true_longer_mm"] for row in rows] == [0, pytest.approx(150)]
    assert [study.inside(row, "longer") for row in rows] == [False, True]
    assert study.inside(rows[1], "wider")


def test_the_second_date_differs_in_what_is_written_down() -> None:
    wall = study.the_wall(replace(PLAN, width_m=12.0, height_m=6.0), 7)
    first, second = ({x.name: x for x in wall.lines[date]} for date in ("first", "second"))
    assert set(first) - set(second) == set(wall.facts["gone"])
    assert set(second) - set(first) == set(wall.facts["new"])
    for name, metres in wall.facts["longer_m"].items():
        assert second[name].length_m - first[name].length_m == pytest.approx(metres, abs=0.005)
