"""A survey of a rendered wall, measured by its true masks: what a map must give back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wall_survey

from crackseg import pipeline
from crackseg.config import AnalyzeOptions
from crackseg.face.scaling import Length, References, Spot
from crackseg.folder_names import choose_folder
from crackseg.folders import origin_of
from crackseg.imagery.files import open_image
from crackseg.survey import Face, Survey


@dataclass(frozen=True)
class Rendered:
    """A rendered survey: folders, plan and truth."""

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
            camera = wall_survey.Camera(
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


def render(plan: Any, lines: list[Any], folder: Path, name: str) -> Rendered:
    """Return a rendered survey with its reports."""
    photographs, masks, results = (folder / f"{name}{s}" for s in ("", "_masks", "_results"))
    truth = wall_survey.render(plan, lines, photographs, masks=masks)
    measure(photographs, masks, results)
    return Rendered(photographs, results, plan, lines, truth)
