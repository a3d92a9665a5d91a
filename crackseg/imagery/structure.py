"""Tell pictures of which little can be said because they show noise alone, or hardly any structure.

What ``clarity`` measured in blocks becomes areas that show nothing, beside those that ``blank``
finds, and a warning where nothing in a picture tells whether it is sharp.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from crackseg.imagery.clarity import BLACK_MEAN, WHITE_SHARE, Measures
from crackseg.records import Notice

_SILENT = 0.9  # share of the blocks that tell nothing of blur, from which on the picture does not


def with_noise(blank_px2: Mapping[str, float], measures: Measures | None) -> dict[str, float]:
    """Return the areas that show nothing, with those that noise alone keeps from being plain.

    ``BlankCounter`` asks every pixel of small blocks; here a block's mean tells, and the share of
    its pixels that are clipped. Where the two differ the larger area counts.

    Args:
        blank_px2: areas that show nothing, by kind, as ``BlankCounter`` found them.
    """
    if measures is None:
        return dict(blank_px2)
    area = np.outer(*(np.diff(edges) for edges in measures.edges)) * (measures.counts >= 0.5)
    found = {
        "black": float(area[measures.mean <= BLACK_MEAN].sum()),
        "white": float(area[measures.clipped > WHITE_SHARE].sum()),
    }
    codes = dict.fromkeys((*blank_px2, *found))
    areas = {code: max(blank_px2.get(code, 0.0), found.get(code, 0.0)) for code in codes}
    return {code: px2 for code, px2 in areas.items() if px2}


def tells_sharpness(measures: Measures | None) -> bool:
    """Return whether a picture has structure enough to tell whether it is sharp.

    Source: of 1,052 pictures of walls, roads and tiles on the training and validation lists none
    of a wall has less, 18 of tiles, paint and asphalt have.
    """
    if measures is None:
        return True
    silent = ~np.isfinite(measures.blur())[measures.counts >= 0.5]
    return not silent.size or bool(silent.mean() < _SILENT)


def sharpness_notices(tells: bool, marked: bool) -> list[Notice]:
    """Return what the report says of a picture without structure in which nothing is marked."""
    if tells or marked:
        return []
    text = (
        "Nothing in this picture tells whether it is sharp, for it shows hardly any structure: a "
        "smooth wall, but also a covered lens, fog, or a picture far out of focus looks like "
        "that. That nothing is marked says little: look at it."
    )
    return [Notice(code="no_structure", message=text)]
