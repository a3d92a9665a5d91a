"""Photographs without a pose get a first place: laid squarely on what placed neighbours show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crackseg.face.adjustment import Block
from crackseg.face.cameras import Lens
from crackseg.face.matching import Match
from crackseg.records import Array


def lay_on_neighbours(block: Block, matches: Sequence[Match]) -> None:
    """Place what has no place yet, in place: in turn what has most ties to what has one."""
    placed: Array = np.asarray(np.isfinite(block.positions_m).all(axis=1))
    ties: list[list[tuple[int, Array, Array]]] = [[] for _ in placed]
    for m in matches:
        first, second = m.first_px[m.agrees], m.second_px[m.agrees]
        ties[m.first].append((m.second, first, second))
        ties[m.second].append((m.first, second, first))
    pairs_of: dict[int, list[tuple[Array, Array]]] = {}
    fresh = [int(n) for n in np.flatnonzero(placed)]
    while True:
        for one in fresh:
            for other, own, theirs in ties[one]:
                if not placed[other]:
                    there = block.places(np.full(len(own), one), own)
                    good = np.isfinite(there).all(axis=1)
                    pairs_of.setdefault(other, []).append((theirs[good], there[good]))
        if not pairs_of:
            return
        number = max(pairs_of, key=lambda n: sum(len(pixels) for pixels, _ in pairs_of[n]))
        pixels, places = (np.concatenate(part) for part in zip(*pairs_of.pop(number), strict=True))
        lens = block.lenses[block.lens_of[number]]
        block.axes[number], block.positions_m[number] = _lie_frontal(pixels, places, lens)
        placed[number], fresh = True, [number]


def _lie_frontal(pixels: Array, places: Array, lens: Lens) -> tuple[Array, Array]:
    """Return axes and position of a camera that looks squarely at points of known places."""
    right_up = (pixels[:, ::-1] - lens.centre) * [1, -1]
    source = right_up[:, 0] + 1j * right_up[:, 1]
    target = places[:, 0] + 1j * places[:, 1]
    keep = np.ones(len(source), bool)
    for _ in range(4):  # the worst quarter may be false likes
        a, b = source[keep], target[keep]
        middle = a.mean(), b.mean()
        factor = np.vdot(a - middle[0], b - middle[1]) / np.vdot(a - middle[0], a - middle[0])
        miss = np.abs(factor * (source - middle[0]) + middle[1] - target)
        keep = miss <= max(np.quantile(miss, 0.75), 1e-12)
    size, turn = abs(factor), np.angle(factor)
    foot = middle[1] - factor * middle[0]
    right = np.array([np.cos(turn), np.sin(turn), 0.0])
    down = np.array([np.sin(turn), -np.cos(turn), 0.0])
    axes = np.stack([right, down, [0.0, 0.0, -1.0]])
    return axes, np.array([foot.real, foot.imag, size * lens.focal_px])
