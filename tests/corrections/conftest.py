"""What the tests of corrections share: the wall of ``walls``, measured into a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from walls import Wall

from crackseg.config import AnalyzeOptions, read_options
from crackseg.imagery.files import open_image
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.pipeline import export, measure_mask


@pytest.fixture
def make_wall(tmp_path: Path) -> Callable[..., Wall]:
    """A function that renders and measures a wall: ``make_wall(mm_per_px=0.5)``."""

    def make(*, missed_px: float = 5.0, **scale: Any) -> Wall:
        rng = np.random.default_rng(7)
        strokes = [
            wandering((90, 60), -10, 300, 4.0, rng, bend_deg=8),
            wandering((420, 80), 12, 320, 3.0, rng, bend_deg=8),
        ]
        missed = wandering((260, 70), 4, 380, missed_px, rng, bend_deg=12)
        look = Look()
        both = draw((520, 560), [*strokes, missed], look, np.random.default_rng(1))
        marked = draw((520, 560), strokes, look, np.random.default_rng(1))
        photo, mask = tmp_path / "wall.png", tmp_path / "mask.png"
        Image.fromarray(both.picture).save(photo)
        Image.fromarray(marked.mask.astype(np.uint8) * 255).save(mask)
        options = read_options(AnalyzeOptions, {"scale": {"mm_per_px": 0.5, **scale}})
        with open_image(mask, is_mask=True) as masked, open_image(photo) as picture:
            report = measure_mask(masked, picture, options)
            export(report, tmp_path / "result", picture, options.exports)
        return Wall(tmp_path / "result", photo, (*strokes, missed))

    return make


@pytest.fixture
def wall(make_wall: Callable[..., Wall]) -> Wall:
    return make_wall()
