"""The shipped model in 8 bit: its probe, and what it finds beside the float graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crackseg import batch
from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.inference.choosing import LOSS_MAX, tolerance
from crackseg.inference.models import has_eight_bit, load_model, shipped_models
from crackseg.inference.runtimes import check_probe
from crackseg.processors import has_byte_products

pytestmark = [
    pytest.mark.skipif(
        not shipped_models() or not has_eight_bit(load_model("default").card),
        reason="the package holds no 8-bit graph",
    ),
    pytest.mark.skipif(not has_byte_products(), reason="the processor has no products of bytes"),
]


def test_the_probe_is_answered_and_the_card_says_what_it_costs() -> None:
    model = load_model("default")
    assert model.card.eight_bit is not None
    assert model.card.eight_bit.loss <= LOSS_MAX
    assert check_probe(model, precision="int8") <= tolerance(model, "int8")


def test_a_wall_has_the_same_crack_in_both(samples: Path, tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    for precision in ("float", "int8"):
        predict = PredictOptions(runtime="onnx", precision=precision)
        options = AnalyzeOptions(exports=(), predict=predict)
        (outcome,) = batch.run([samples / "sea_wall.jpg"], tmp_path / precision, options)
        assert outcome.folder is not None
        reports.append(json.loads((outcome.folder / "report.json").read_text(encoding="utf-8")))
        assert reports[-1]["options"]["predict"]["precision"] == precision
    longest = [max(report["cracks"], key=lambda crack: crack["length_px"]) for report in reports]
    assert longest[1]["length_px"] == pytest.approx(longest[0]["length_px"], rel=0.02)
    assert longest[1]["width_mean_px"] == pytest.approx(longest[0]["width_mean_px"], abs=0.1)
