"""Tell a crack that ends from one that is cut: by the edge of the picture or of its data.

A network's mask often ends a few pixels before the border, where it has seen too little to be sure.
Such a crack is longer than it is measured.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from crackseg.metrology.centreline import Line, end_direction
from crackseg.runs import Mask

Cut = Literal["border", "nodata"]
_AHEAD_PX = 4.5  # along the course of the crack: four pixels, and half of the last one


def cut_by(line: Line, shape: tuple[int, int], valid: Mask | None) -> frozenset[Cut]:
    """Return what a free end of a line runs into within a few pixels.

    Args:
        line: a centre line that reaches to the end of the mask.
        shape: (H, W) of the picture.
        valid: (H, W) bool, False where the picture holds no data; None: everywhere data.
    """
    cuts: set[Cut] = set()
    for side in (0, 1):
        if not line.free[side]:
            continue
        outward = line.points[::-1] if side == 0 else line.points
        origin, direction = end_direction(outward, line.radius_px)
        ahead = np.rint(origin + np.arange(0, _AHEAD_PX + 0.1, 0.5)[:, None] * direction)
        rows, cols = ahead.astype(np.int64).T
        inside = (rows >= 0) & (cols >= 0) & (rows < shape[0]) & (cols < shape[1])
        if not inside.all():
            cuts.add("border")
        if valid is not None and not valid[rows[inside], cols[inside]].all():
            cuts.add("nodata")
    return frozenset(cuts)
