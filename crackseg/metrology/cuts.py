"""Tell a crack that ends from one that is cut: by the edge of the picture or of its data.

A network's mask often ends some pixels before the border, where it has seen too little to be sure.
Such a crack is longer than it is measured. Close to the edge the course alone says so, farther off
the photograph must show the crack run on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from crackseg.metrology.centreline import Line, end_direction
from crackseg.metrology.ends import runs_on
from crackseg.records import Array, Window
from crackseg.runs import Mask

Cut = Literal["border", "nodata"]
# Along the course of the crack, pixels and half of the last one: so near it is cut; so near unless
# the photograph shows it end; and so near where the photograph shows it run on.
_NEAR_PX, _LIKELY_PX, _SEEN_PX = 4.5, 6.5, 16.5
_STEP_PX = 0.5


def cut_by(
    line: Line,
    shape: tuple[int, int],
    valid: Mask | None,
    image: Callable[[Window], Array] | None = None,
) -> frozenset[Cut]:
    """Return what a free end of a line runs into within a few pixels.

    Args:
        line: a centre line that reaches to the end of the mask.
        shape: (H, W) of the picture.
        valid: (H, W) bool, False where the picture holds no data; None: everywhere data.
        image: reads a window of the photograph; None: the course alone is judged.
    """
    cuts: set[Cut] = set()
    for side in (0, 1):
        if not line.free[side]:
            continue
        outward = line.points[::-1] if side == 0 else line.points
        origin, direction = end_direction(outward, line.radius_px)
        ahead = np.arange(0, (_LIKELY_PX if image is None else _SEEN_PX) + 0.1, _STEP_PX)
        rows, cols = np.rint(origin + ahead[:, None] * direction).astype(np.int64).T
        inside = (rows >= 0) & (cols >= 0) & (rows < shape[0]) & (cols < shape[1])
        data = inside.copy()
        if valid is not None:
            data[inside] = valid[rows[inside], cols[inside]]
        if data.all():
            continue
        first = int(np.argmin(data))
        if ahead[first] > _NEAR_PX:
            goes_on = None
            if image is not None:
                way_px = float(ahead[first - 1])
                goes_on = runs_on(outward, line.radius_px, way_px, shape, image, valid)
            if goes_on is False or (goes_on is None and ahead[first] > _LIKELY_PX):
                continue
        cuts.add("nodata" if inside[first] else "border")
    return frozenset(cuts)
