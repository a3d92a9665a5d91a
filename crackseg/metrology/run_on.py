"""Flag cracks that run on in a line that was taken for no crack.

Of one line in the wall the network may take a part for a crack and the rest for a joint or a cable.
The crack is then longer, and may be wider, than what is listed of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from crackseg.metrology.centreline import end_direction
from crackseg.metrology.other_lines import APART_PX
from crackseg.records import Array, Crack

_GAP_PX = APART_PX + 9.0  # between two ends of one line, besides half of their widths
_ALIKE = np.cos(np.radians(30))


def flag_run_on(cracks: Sequence[Crack], lines: Sequence[Crack]) -> tuple[Crack, ...]:
    """Return the cracks, with the flag `runs_on` where one ends at the end of such a line.

    Args:
        cracks: of one picture.
        lines: that count as no crack, in the same picture.
    """
    others = [end for line in lines for end in _ends(line)]
    if not others:
        return tuple(cracks)
    place, direction, half = (np.array(part) for part in zip(*others, strict=True))
    return tuple(
        replace(crack, flags=(*crack.flags, "runs_on"))
        if any(_meets(end, place, direction, half) for end in _ends(crack))
        else crack
        for crack in cracks
    )


def _meets(end: tuple[Array, Array, float], place: Array, direction: Array, half: Array) -> bool:
    """Return whether an end looks at one of some others, and that one at it."""
    point, ahead, own = end
    way = place - point
    gap = np.hypot(way[:, 0], way[:, 1])
    facing = direction @ ahead <= -_ALIKE
    onward = (way @ ahead >= 0) | (gap <= own + half + APART_PX)
    return bool(np.any((gap <= _GAP_PX + own + half) & facing & onward))


def _ends(crack: Crack) -> Iterator[tuple[Array, Array, float]]:
    """Yield place, outward direction and half of the width of each free end of a crack."""
    degree = Counter(node for branch in crack.branches for node in branch.nodes)
    half = 0.5 * (crack.width_median.px or crack.paper_width_px)
    for branch in crack.branches:
        for side, node in enumerate(branch.nodes):
            if degree[node] == 1 and len(branch.centre_line) > 1:
                points = branch.centre_line[::-1] if side == 0 else branch.centre_line
                place, direction = end_direction(points, half)
                yield place, direction, half
