"""The shipped model on the sample photographs, held against what was drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crackseg.config import read_toml
from crackseg.inference.models import shipped_models

SAMPLES = Path(__file__).parent.parent / "data" / "samples"
TRUTH: dict[str, dict[str, Any]] = json.loads((SAMPLES / "truth.json").read_text(encoding="utf-8"))
REAL = ("sea_wall.jpg", "sea_wall_waterline.jpg")
CRACKED = [name for name, truth in TRUTH.items() if truth["cracks"]]
LENGTH_REL = 0.02
WIDTH_PX = 0.3
WIDEST_PX = 1.0  # of an extreme, which noise moves
BOX_PX = 25  # a crack found belongs to the drawn one whose box, grown by this, holds it

pytestmark = pytest.mark.skipif(not shipped_models(), reason="the package holds no model")


def test_every_sample_is_analyzed(sample_reports: dict[str, dict[str, Any]]) -> None:
    assert set(sample_reports) == {*TRUTH, *REAL}
    assert {p.name for p in SAMPLES.iterdir() if p.suffix in (".jpg", ".png")} == set(
        sample_reports
    )
    for name, truth in TRUTH.items():
        image = sample_reports[name]["image"]
        assert (image["height_px"], image["width_px"]) == (truth["height_px"], truth["width_px"])


def test_the_scales_beside_the_samples_are_those_drawn() -> None:
    scales = read_toml(SAMPLES / "scale.toml")["picture_scale"]
    stated_mm = {name: values["mm_per_px"] for name, values in scales.items()}
    drawn = {name: truth["mm_per_px"] for name, truth in TRUTH.items()}
    assert drawn == stated_mm | {"drone_rotated.jpg": drawn["drone_rotated.jpg"]}


def test_the_figures_are_in_millimetres(sample_reports: dict[str, dict[str, Any]]) -> None:
    for name, truth in TRUTH.items():
        assert sample_reports[name]["scale"]["mm_per_px"] == pytest.approx(
            truth["mm_per_px"], rel=1e-6
        )


@pytest.mark.parametrize("name", REAL)
def test_the_crack_of_a_real_wall_is_found(
    name: str, sample_reports: dict[str, dict[str, Any]]
) -> None:
    report = sample_reports[name]
    assert report["scale"] is None
    lengths = sorted((crack["length_px"] for crack in report["cracks"]), reverse=True)
    lines = [np.array(line) for crack in report["cracks"] for line in crack["centre_line"]]
    # of 448 px; it runs from side to side, in two pieces where a patch meets the water line
    assert sum(lengths[:2]) > 450
    assert lengths[0] > 330
    assert np.ptp(np.vstack(lines)[:, 1]) > 430


def test_the_sound_wall_has_no_crack(sample_reports: dict[str, dict[str, Any]]) -> None:
    assert sample_reports["sound_wall.jpg"]["cracks"] == []


@pytest.mark.parametrize("name", CRACKED)
def test_lengths_and_widths_are_those_drawn(
    name: str, sample_reports: dict[str, dict[str, Any]]
) -> None:
    for drawn, parts in _matched(name, sample_reports[name]):
        length = sum(part["length_px"] for part in parts)
        assert length == pytest.approx(drawn["length_px"], rel=LENGTH_REL)
        assert _mean_width(parts) == pytest.approx(drawn["width_mean_px"], abs=WIDTH_PX)
        widest = max(part["width_max_px"] for part in parts)
        assert widest == pytest.approx(drawn["width_max_px"], abs=WIDEST_PX)


@pytest.mark.parametrize("name", CRACKED)
def test_the_uncertainty_covers_the_truth(
    name: str, sample_reports: dict[str, dict[str, Any]]
) -> None:
    for drawn, parts in _matched(name, sample_reports[name]):
        largest_u = max(part["width_mean_u_px"] for part in parts)
        assert abs(_mean_width(parts) - drawn["width_mean_px"]) <= largest_u
        assert largest_u < 0.5 * drawn["width_mean_px"]


def test_the_drone_photograph_is_in_millimetres(sample_reports: dict[str, dict[str, Any]]) -> None:
    report, truth = sample_reports["drone_rotated.jpg"], TRUTH["drone_rotated.jpg"]
    assert report["scale"]["source"] == "lrf"
    assert report["scale"]["mm_per_px"] == pytest.approx(truth["mm_per_px"], rel=1e-6)
    drawn_mm = sum(crack["length_px"] for crack in truth["cracks"]) * truth["mm_per_px"]
    assert report["totals"]["length_mm"] == pytest.approx(drawn_mm, rel=LENGTH_REL)
    for crack in report["cracks"]:
        assert crack["width_mean_mm"] == pytest.approx(
            crack["width_mean_px"] * truth["mm_per_px"], rel=0.01
        )


def _matched(name: str, report: dict[str, Any]) -> list[tuple[dict[str, Any], list[Any]]]:
    """Return each drawn crack with what was found of it; anything else found is a false alarm."""
    drawn = TRUTH[name]["cracks"]
    owners = [_owner(crack, drawn) for crack in report["cracks"]]
    assert None not in owners, "something else was taken for a crack"
    assert set(owners) == set(range(len(drawn))), "a crack was missed"
    return [
        (truth, [c for c, owner in zip(report["cracks"], owners, strict=True) if owner == number])
        for number, truth in enumerate(drawn)
    ]


def _mean_width(parts: list[Any]) -> float:
    weights = [part["length_px"] for part in parts]
    return float(np.average([part["width_mean_px"] for part in parts], weights=weights))


def _owner(crack: dict[str, Any], drawn: list[dict[str, Any]]) -> int | None:
    """Return the number of the drawn crack whose box holds a found one, the smallest box first."""
    points = np.vstack([np.array(line) for line in crack["centre_line"]])
    low, high = points.min(axis=0), points.max(axis=0)
    order = sorted(range(len(drawn)), key=lambda k: _area(drawn[k]["box"]))
    for number in order:
        top, left, bottom, right = drawn[number]["box"]
        if (low >= (top - BOX_PX, left - BOX_PX)).all() and (
            high <= (bottom + BOX_PX, right + BOX_PX)
        ).all():
            return number
    return None


def _area(box: list[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
