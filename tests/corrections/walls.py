"""A rendered wall with three cracks, of which the mask holds two, and edits of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.metrology.phantoms import Stroke

BY, AT = "A. Meier", "2026-05-04T09:30:00+00:00"


@dataclass(frozen=True)
class Wall:
    """A measured photograph and what is true of it."""

    folder: Path
    photo: Path
    strokes: tuple[Stroke, ...]  # the last one is missing in the mask


def rough(stroke: Stroke, clicks: int, rng: np.random.Generator, off_px: float = 6.0) -> list[Any]:
    """Return places along a stroke as a hand clicks them: up to ``off_px`` beside it."""
    at = np.linspace(0, len(stroke.points) - 1, clicks).round().astype(int)
    turn, far = rng.uniform(0, 2 * np.pi, clicks), off_px * np.sqrt(rng.uniform(0, 1, clicks))
    places = stroke.points[at] + far[:, None] * np.column_stack([np.sin(turn), np.cos(turn)])
    return places.round(1).tolist()


def edit(number: int, kind: str, **places: Any) -> dict[str, Any]:
    """Return an edit as ``corrections.json`` holds it."""
    return {"id": str(number), "kind": kind, **places, "by": BY, "at": AT}
