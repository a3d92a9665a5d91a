"""A survey of a rendered wall, measured by its true masks: what a map must give back."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from crackseg import pipeline
from crackseg.config import AnalyzeOptions
from crackseg.face.scaling import Length, References, Spot
from crackseg.folders import choose_folder, origin_of
from crackseg.imagery.files import open_image
from crackseg.survey import Face, Survey

RENDERER = Path(__file__).parents[2] / "data" / "wall_survey.py"


def load_renderer() -> ModuleType:
    """Return data/wall_survey.py as a module."""
    spec = importlib.util.spec_from_file_location("wall_survey", RENDERER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["wall_survey"] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Rendered:
    """A rendered survey: folders, plan and truth."""

    renderer: ModuleType
    photographs: Path
    results: Path
    plan: Any
    lines: list[Any]
    truth: dict[str, Any]

    @property
    def survey(self) -> Survey:
        """What survey.toml would say."""
        face = Face(azimuth_deg=self.plan.azimuth_deg, batter=0.0, origin_gps=self.plan.origin)
        return Survey(dam="Test dam", face=face, reservoir_level_m=401.0, temperature_c=9.0)

    def reference(self, first: int, last: int) -> References:
        """Return one true length between two photographs."""
        ends, places = [], []
        height, width = self.plan.picture_px
        for number, (row, col) in ((first, (0.4, 0.3)), (last, (0.6, 0.7))):
            pose = self.truth["photographs"][number]
            camera = self.renderer.Camera(
                axes=np.array(pose["axes"]),
                position_m=np.array(pose["position_m"]),
                plan=self.plan,
            )
            x, y = camera.face_of(np.array([row * height]), np.array([col * width]))
            ends.append(Spot(image=pose["image"], row=row * height, col=col * width))
            places.append(np.array([x[0], y[0]]))
        length = float(np.linalg.norm(places[0] - places[1]))
        return References(length=(Length(length_m=length, start=ends[0], end=ends[1]),))


def measure(photographs: Path, masks: Path, results: Path) -> None:
    """Write the report of every photograph, its cracks by the true mask."""
    for path in sorted(photographs.glob("*.JPG")):
        mask = masks / f"{path.stem}.png"
        with open_image(mask, is_mask=True) as drawn, open_image(path) as image:
            report = pipeline.measure_mask(drawn, image, AnalyzeOptions(exports=()))
            content = image.info.sha256
            folder = choose_folder(results, path, content)
            origin = origin_of(path)
            pipeline.export(report, folder, image, (), origin=origin, content=content)


def render(renderer: ModuleType, plan: Any, lines: list[Any], folder: Path, name: str) -> Rendered:
    """Return a rendered survey with its reports."""
    photographs, masks, results = (folder / f"{name}{s}" for s in ("", "_masks", "_results"))
    truth = renderer.render(plan, lines, photographs, masks=masks)
    measure(photographs, masks, results)
    return Rendered(renderer, photographs, results, plan, lines, truth)
