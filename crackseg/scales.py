"""How pixels become millimetres on the structure: the record, and what a scale can mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crackseg.errors import AbsurdScale

Matrix3 = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
ScaleSource = Literal["given", "geotiff", "lrf", "exif", "reference", "marker", "plane"]
# What a scale can mean: 1 µm per px is the limit of light microscopes; at 100 mm per px a line of
# one pixel is as wide as a joint between blocks.
MM_PER_PX_LIMITS = (0.001, 100.0)
SIGMA_REL_MAX = 0.25  # +-50 % with k = 2: beyond it a width may as well be half or double
Array = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How pixel points become mm on the structure.

    ``mm_per_px`` is the ground sampling distance at the image centre. With a ``homography`` the
    scale varies over the frame: the matrix maps (col, row, 1) to (x_mm, y_mm, w) on the face.
    Points are converted, never lengths, so an oblique plane and a uniform scale are one code.
    """

    mm_per_px: float
    sigma_rel: float
    source: ScaleSource
    homography: Matrix3 | None = None
    detail: str = ""

    def __post_init__(self) -> None:
        low, high = MM_PER_PX_LIMITS
        named = f"{self.detail}: " if self.detail else ""
        if not (math.isfinite(self.mm_per_px) and low <= self.mm_per_px <= high):
            raise AbsurdScale(
                f"{named}`mm_per_px` must lie between {low:g} and {high:g}, got "
                f"{self.mm_per_px:.6g}; it is the size of one pixel on the structure in "
                "millimetres, and no crack can be measured with such a pixel."
            )
        if not (math.isfinite(self.sigma_rel) and 0 <= self.sigma_rel <= SIGMA_REL_MAX):
            raise AbsurdScale(
                f"{named}`sigma_rel` must be a relative standard deviation from 0 to "
                f"{SIGMA_REL_MAX:g}, got {self.sigma_rel:.3g}; a scale known to "
                f"+-{200 * self.sigma_rel:.0f} % measures nothing."
            )

    def to_mm(self, points: Array) -> Array:
        """Return (N, 2) mm positions (y, x) on the face of (N, 2) pixel positions (row, col)."""
        points = np.asarray(points, dtype=np.float64)
        if self.homography is None:
            return points * self.mm_per_px
        matrix = np.asarray(self.homography, dtype=np.float64)
        xyw = np.column_stack([points[:, 1], points[:, 0], np.ones(len(points))]) @ matrix.T
        return np.column_stack([xyw[:, 1] / xyw[:, 2], xyw[:, 0] / xyw[:, 2]])
