"""An option that would leave a report empty, or a program dead, is refused by name."""

from __future__ import annotations

import pytest

from crackseg.config import AnalyzeOptions, read_options
from crackseg.errors import ConfigError
from crackseg.training.evaluate import EvaluateOptions

ABSURD = [
    ("mask", "min_area_px", 2**40),
    ("mask", "gap_px", 1e308),
    ("mask", "ignore_border_px", -1),
    ("mask", "ignore_border_px", 2**40),
    ("measure", "min_length_px", 1e308),
    ("measure", "smooth_px", 1e308),
    ("measure", "smooth_px", 0.0),
    ("region", "joint_reach_px", 1e308),
    ("predict", "threads", 10**6),
    ("scale", "face_batter", 11.0),
]


@pytest.mark.parametrize(("table", "name", "value"), ABSURD)
def test_of_an_analysis(table: str, name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"`{name}` must lie between"):
        read_options(AnalyzeOptions, {table: {name: value}})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1e300])
def test_of_an_evaluation(value: float) -> None:
    for name in ("tolerance_px", "line_tolerance_px"):
        with pytest.raises(ConfigError, match=f"`{name}` must lie between 0 and 1000"):
            EvaluateOptions(model="default", **{name: value})  # type: ignore[arg-type]
