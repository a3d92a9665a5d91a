"""One source's scale, ready to be compared with another's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crackseg.imagery import planes
from crackseg.names import figures
from crackseg.records import Array, ImageInfo, Scale
from crackseg.scales import ScaleSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One source's scale, with its mm per px across and along the tilt at the picture's centre."""

    scale: Scale
    across: float
    along: float

    @property
    def text(self) -> str:
        """What a message calls it."""
        span = figures(self.across, 4)
        if self.along > 1.01 * self.across:
            span += f" to {figures(self.along, 4)}"
        sigma = 100 * self.scale.sigma_rel
        return f"{self.scale.detail} = {span} mm/px (sigma {sigma:.1f} %)"


def uniform(mm_per_px: float, sigma: float, source: ScaleSource, detail: str) -> Candidate:
    """Return the candidate of one mm per px for the whole picture.

    Raises:
        AbsurdScale: no crack can be measured with it.
    """
    scale = Scale(mm_per_px=mm_per_px, sigma_rel=sigma, source=source, detail=detail)
    return Candidate(scale=scale, across=mm_per_px, along=mm_per_px)


def oblique(
    info: ImageInfo, matrix: Array, sigma: float, source: ScaleSource, detail: str
) -> Candidate:
    """Return the candidate of a plane; its mm per px is the mean of both directions at the centre.

    Raises:
        ScaleError: the plane's horizon lies in the picture.
        AbsurdScale: no crack can be measured with its scale.
    """
    planes.check_horizon(matrix, info.height_px, info.width_px)
    small, large = planes.local_scales(matrix, (info.width_px - 1) / 2, (info.height_px - 1) / 2)
    scale = Scale(
        mm_per_px=math.sqrt(small * large),
        sigma_rel=sigma,
        source=source,
        homography=planes.to_matrix3(matrix),
        detail=detail,
    )
    return Candidate(scale=scale, across=small, along=large)
