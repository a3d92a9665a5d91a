"""What several rooms' tests share: hand-made reports and the samples of the repository."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from dark_model import write_dark_model
from PIL import Image, ImageDraw

from crackseg import batch
from crackseg.config import AnalyzeOptions, read_options, read_toml, to_plain
from crackseg.records import (
    Branch,
    Crack,
    ImageInfo,
    Measure,
    Notice,
    Report,
    Scale,
    Totals,
    WidthClass,
    Window,
)
from crackseg.runs import Runs

# A machine that is busy for a moment is no fault of the code.
hypothesis.settings.register_profile("crackseg", deadline=None)
hypothesis.settings.load_profile("crackseg")

BIN = WidthClass(document="bins", label="0.5 to 1 mm", verified=False)
SAMPLES = Path(__file__).parent.parent / "data" / "samples"


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of the sample photographs."""
    return SAMPLES


@pytest.fixture(scope="session")
def sample_reports(
    samples: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """The reports of all samples with the shipped model, by file name."""
    out = tmp_path_factory.mktemp("samples")
    values = read_toml(samples / "scale.toml")
    predict = {"runtime": "onnx", "precision": "float"}  # the same on every processor
    options = read_options(AnalyzeOptions, {"exports": ["csv"], "predict": predict, **values})
    paths = sorted(path for path in samples.iterdir() if path.suffix in (".jpg", ".png"))
    return {
        outcome.path.name: json.loads((outcome.folder / "report.json").read_text(encoding="utf-8"))
        for outcome in batch.run(paths, out, options)
        if outcome.folder is not None
    }


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes the golden reports anew."""
    parser.addoption("--write-golden", action="store_true", help="Write tests/golden anew.")


def make_crack(number: int, *, row: int, col: int, length: int, scale: Scale | None) -> Crack:
    """Return a straight crack of 3 px along a row."""
    width = 3
    centre = np.column_stack([np.full(length, row + 1.0), col + np.arange(length, dtype=float)])
    half = np.array([1.5, 0.0])
    edges = np.stack([centre - half, centre + half], axis=1)
    k = None if scale is None else scale.mm_per_px

    def measure(px: float, u_px: float) -> Measure:
        mm, u_mm = (None, None) if k is None else (px * k, u_px * k)
        return Measure(px=px, u_px=u_px, mm=mm, u_mm=u_mm)

    branch = Branch(
        centre_line=centre,
        width_px=np.r_[np.nan, np.full(length - 1, float(width))],
        edges=edges,
        kind="tip-tip",
        nodes=(0, 1),
        length_px=float(length),
        length_mm=None if k is None else length * k,
    )
    return Crack(
        id=number,
        window=Window(row=row, col=col, height=width, width=length),
        mask=Runs.full(width, length),
        branches=(branch,),
        length=measure(length, 1.0),
        bridged_length=measure(0.0, 0.0),
        joined_length=measure(0.0, 0.0),
        width_mean=measure(3.0, 0.4),
        width_median=measure(3.0, 0.4),
        width_p95=measure(3.2, 0.4),
        width_max=measure(3.4, 0.4),
        width_max_at=(row + 1.0, col + length / 2),
        area_px2=3.0 * length,
        area_mm2=None if k is None else 3.0 * length * k * k,
        mask_area_px2=3.0 * length,
        paper_length_px=float(length),
        paper_width_px=3.0,
        orientation_deg=0.0,
        tortuosity=1.0,
        tips=2,
        junctions=0,
        loops=0,
        pattern="single",
        touches_border=col == 0,
        probability_mean=0.9,
        width_classes=() if k is None else (BIN,),
        flags=("touches_border",) if col == 0 else (),
    )


@pytest.fixture
def make_report(tmp_path: Path) -> Callable[..., Report]:
    """A function that returns a report made by hand: ``make_report(cracks=2, scale=...)``."""

    def make(
        *,
        cracks: int = 2,
        scale: Scale | None = None,
        height: int = 240,
        width: int = 320,
        **image: Any,
    ) -> Report:
        listed = tuple(
            make_crack(n + 1, row=40 + 50 * n, col=60 * n, length=120, scale=scale)
            for n in range(cracks)
        )
        k = None if scale is None else scale.mm_per_px
        length, area = 120.0 * cracks, 360.0 * cracks
        return Report(
            schema_version="2",
            package_version="0.0",
            image=ImageInfo(
                **{
                    "path": tmp_path / "Staumauer Süd.jpg",
                    "sha256": "0" * 64,
                    "height_px": height,
                    "width_px": width,
                    "format": "JPEG",
                    **image,
                }
            ),
            scale=scale,
            model=None,
            thresholds=None,
            options=to_plain(AnalyzeOptions()),
            cracks=listed,
            totals=Totals(
                cracks=cracks,
                length_px=length,
                length_mm=None if k is None else length * k,
                area_px2=area,
                area_mm2=None if k is None else area * k * k,
                analyzed_px2=float(height * width),
                analyzed_mm2=None if k is None else height * width * k * k,
                density_m_per_m2=None if k is None else 1000 * length / (height * width * k),
            ),
            notices=() if scale else (Notice(code="no_scale", message="No scale is known."),),
            timing_s={"decode": 0.1},
        )

    return make


@pytest.fixture(scope="session")
def dark_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose network calls every pixel darker than grey 90 a crack."""
    return write_dark_model(tmp_path_factory.mktemp("models") / "dark", soft=1)


def draw_photo(path: Path, *, cracks: int = 1, size: tuple[int, int] = (260, 180)) -> Path:
    """Write a grey, faintly noisy photograph with straight dark cracks of 4 px; return its path."""
    picture = Image.new("RGB", size, (160, 158, 155))
    for n in range(cracks):
        ImageDraw.Draw(picture).line([(30, 40 + 50 * n), (200, 60 + 50 * n)], (20, 20, 20), 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(-3, 4, (size[1], size[0], 1))
    noisy = np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(path)
    return path


@pytest.fixture
def photo() -> Callable[..., Path]:
    """The function ``draw_photo``."""
    return draw_photo
