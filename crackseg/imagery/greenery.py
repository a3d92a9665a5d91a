"""Whether a picture is green or blue over a part that no wall is: it may show no wall.

Plants, sky and water have colours that concrete, stone, brick and asphalt hardly have; a model that
knows walls marks cracks in them all the same. The limits were chosen on the training and validation
lists, see docs/quality.md. What has no such colour (a car, a page of print, a lawn in grey) is not
told from a wall.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.records import Array, Notice

_SHRUNK = 8  # px a side whose mean colour is taken: single pixels are coloured by noise alone
_THIN = 4  # only every so manyth row is looked at
_GREEN_DEG, _BLUE_DEG = (100.0, 170.0), (220.0, 310.0)  # hue in the plane a, b of CIELAB
_GREEN_CHROMA, _BLUE_CHROMA = 18.0, 25.0  # moss and the blue of shade on concrete stay below
CODE = "may_show_no_wall"
_WORTH_A_WORD = 0.25  # share of what counts of the picture


class ColourCounter:
    """Count what is green or blue while a picture goes by in bands of rows, top to bottom."""

    def __init__(self) -> None:
        self._rows = 0  # seen so far
        self._green = self._blue = self._counted = 0.0  # px

    def add(self, row: int, pixels: Array, valid: Array | None) -> None:
        """Count the rows of a band that no band before it had.

        Args:
            row: of the picture where the band begins; at most the end of the band before it.
            pixels: (h, W, 3) uint8.
            valid: (h, W) bool, True = counts; None = every pixel counts.
        """
        fresh = pixels[self._rows - row :]
        self._rows = max(self._rows, row + len(pixels))
        if not len(fresh):
            return
        size = (max(fresh.shape[1] // _SHRUNK, 1), max(len(fresh) // _SHRUNK, 1))
        thin = np.ascontiguousarray(fresh[::_THIN])
        small = cv2.resize(thin, size, interpolation=cv2.INTER_AREA)
        weight = np.full(small.shape[:2], fresh.shape[0] * fresh.shape[1] / (size[0] * size[1]))
        if valid is not None:
            own = valid[len(pixels) - len(fresh) :: _THIN].astype(np.float32)
            weight *= cv2.resize(own, size, interpolation=cv2.INTER_AREA)
        _, a, b = cv2.split(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
        chroma, hue = np.hypot(a, b), np.degrees(np.arctan2(b, a)) % 360
        self._green += weight[_is_of(hue, _GREEN_DEG) & (chroma > _GREEN_CHROMA)].sum()
        self._blue += weight[_is_of(hue, _BLUE_DEG) & (chroma > _BLUE_CHROMA)].sum()
        self._counted += weight.sum()

    def share(self) -> float:
        """Return the share of what counts of the picture that is green or blue."""
        return float((self._green + self._blue) / self._counted) if self._counted else 0.0

    def notices(self) -> list[Notice]:
        """Return what the report says of it: nothing of a picture that may well be a wall."""
        share = self.share()
        if share < _WORTH_A_WORD:
            return []
        text = (
            f"{100 * share:.0f} % of this picture is green or blue, as plants, sky and water are "
            "and concrete is not: it may show no wall, and its marks no cracks; look at them "
            "before they count, or leave such parts out with a region."
        )
        return [Notice(code=CODE, message=text)]


def _is_of(hue: Array, between: tuple[float, float]) -> Array:
    inside: Array = (hue > between[0]) & (hue < between[1])
    return inside
