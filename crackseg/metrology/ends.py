"""Ask the photograph where a crack ends.

A mask that is a pixel or two too fat or too lean also ends too far out or too early.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.ndimage import map_coordinates

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line, end_direction
from crackseg.metrology.sampling import to_grey
from crackseg.records import Array, Window
from crackseg.runs import Mask

_INSIDE_PX, _OUTSIDE_PX = 12.0, 6.0  # stretch looked at before and beyond the mask's end
_REFERENCE_PX = 5.0  # up to this far before the mask's end the crack is taken to be whole
_SIDE_PX = 6.0  # of concrete on either side
_STEP_PX = 0.5
_KNOWN_SHARE = 0.9  # of a section across a line that the picture must hold for its darkness
_CLEAR = 4.0  # the crack must stand out from the noise of the strip by this factor


def refine_ends(
    lines: list[Line], shape: tuple[int, int], image: Callable[[Window], Array]
) -> list[Line]:
    """Return the lines with every free end moved to where the darkness falls to one half.

    An end stays where the mask has it when no clear line is seen, or when no end is seen within
    a few pixels.

    Args:
        lines: centre lines; ends that are not free stay.
        shape: (H, W) of the picture.
        image: reads a window of the photograph.
    """
    return [_refine(line, shape, image) for line in lines]


def _refine(line: Line, shape: tuple[int, int], image: Callable[[Window], Array]) -> Line:
    # Both ends are found on the same path, so that its direction does not matter.
    path, tails, moves = line.points, [np.zeros((0, 2))] * 2, [0.0, 0.0]
    for side in (0, 1):
        if line.free[side]:
            outward = path[::-1] if side == 0 else path
            origin, direction = end_direction(outward, line.radius_px)
            moves[side] = _move(outward, origin, direction, line.radius_px, shape, image)
            if moves[side] > 0:
                tails[side] = np.stack([origin, origin + moves[side] * direction])
    if not any(moves):
        return line
    at = arc.along(path)
    low, high = max(0.0, -moves[0]), at[-1] + min(0.0, moves[1])
    inner = at[(at > low) & (at < high)]
    inner = np.concatenate([[low], inner, [high]])
    middle = arc.at(path, inner)
    middle = middle[len(tails[0]) // 2 : len(middle) - len(tails[1]) // 2]
    return replace(line, points=arc.resample(np.concatenate([tails[0][::-1], middle, tails[1]])))


def _move(
    path: Array,
    origin: Array,
    direction: Array,
    radius: float,
    shape: tuple[int, int],
    image: Callable[[Window], Array],
) -> float:
    """Return how far the last point of a path must go on, or back (negative), in px."""
    inside = min(_INSIDE_PX + radius, 0.5 * len(path))
    if inside < _REFERENCE_PX + 3:
        return 0.0
    along = np.arange(-inside, _OUTSIDE_PX + 1e-6, _STEP_PX)
    grid = _grid(origin, direction, along, radius)
    if (grid < 0).any() or (grid > np.array(shape) - 1).any():
        return 0.0  # the picture ends as well
    stop = _stop(along, _read(grid, shape, image), radius)
    return 0.0 if stop is None else stop


def runs_on(
    path: Array,
    radius: float,
    ahead_px: float,
    shape: tuple[int, int],
    image: Callable[[Window], Array],
    valid: Mask | None,
) -> bool | None:
    """Return whether the photograph shows a crack go on straight ahead; None where it is unclear.

    Args:
        path: (N, 2) centre line, its last point the end that is asked about.
        radius: of the mask there, px.
        ahead_px: how far beyond that end the crack must be seen all the way.
        shape: (H, W) of the picture.
        image: reads a window of the photograph.
        valid: (H, W) bool, False where the picture holds no data; None: everywhere data.
    """
    inside = min(_INSIDE_PX + radius, 0.5 * len(path))
    if inside < _REFERENCE_PX + radius + 1:
        return None
    along = np.arange(-inside, ahead_px + 1e-6, _STEP_PX)
    grid = _grid(*end_direction(path, radius), along, radius)
    place = np.rint(grid).astype(int)
    known = np.asarray(((place >= 0) & (place < np.array(shape))).all(axis=-1))
    if valid is not None:
        rows, cols = place[known].T
        known[known] = valid[rows, cols]
    strip = _read(grid, shape, image)
    # What the picture does not hold is taken to be the concrete that it does hold beside the line.
    middle = np.median(strip[known]) if known.any() else 0.0
    darkness, noise = _darkness(np.where(known, strip, middle))
    reference = float(np.median(darkness[along <= -_REFERENCE_PX - radius]))
    if not reference > _CLEAR * noise:
        return None
    side = int(_SIDE_PX)
    asked = (along >= 0) & (known[:, side:-side].mean(axis=1) >= _KNOWN_SHARE)
    return bool((darkness[asked] >= 0.5 * reference).all())


def _grid(origin: Array, direction: Array, along: Array, radius: float) -> Array:
    """Return the (N, K, 2) places around an end, along its direction and across it."""
    half = np.ceil(radius) + 3 + _SIDE_PX
    across = np.arange(-half, half + 0.5)
    normal = np.array([-direction[1], direction[0]])
    grid: Array = origin + along[:, None, None] * direction + across[None, :, None] * normal
    return grid


def _read(grid: Array, shape: tuple[int, int], image: Callable[[Window], Array]) -> Array:
    """Return the (N, K) grey values at places, beyond the picture those of its border."""
    low = np.clip(np.floor(grid.min(axis=(0, 1))).astype(int), 0, np.array(shape) - 1)
    high = np.clip(np.ceil(grid.max(axis=(0, 1))).astype(int) + 1, low + 1, shape)
    (row, col), (height, width) = low.tolist(), (high - low).tolist()
    window = Window(row=row, col=col, height=height, width=width)
    place = np.moveaxis(grid - low, -1, 0)
    grey = to_grey(image(window))
    values: Array = map_coordinates(grey, place, order=1, prefilter=False, mode="nearest")
    return values


def _stop(along: Array, strip: Array, radius: float) -> float | None:
    """Return where the crack ends along the strip, or None where that cannot be seen."""
    darkness, noise = _darkness(strip)
    whole = darkness[along <= -_REFERENCE_PX - radius]
    if not len(whole):
        whole = darkness[: max(3, len(along) // 4)]
    reference = float(np.median(whole))
    if reference < _CLEAR * noise:
        return None
    start = int(np.searchsorted(along, -_REFERENCE_PX - radius))
    below = np.flatnonzero(darkness[start:] < 0.5 * reference)
    if not len(below) or below[0] == 0:
        return None
    k = start + int(below[0])
    fall = (0.5 * reference - darkness[k]) / (darkness[k - 1] - darkness[k])
    return float(along[k] - _STEP_PX * fall)


def _darkness(strip: Array) -> tuple[Array, float]:
    """Return the (N,) darkness across a strip, in px of black, and its noise.

    Both are of means over five samples along the strip.
    """
    side = int(_SIDE_PX)
    outer = np.concatenate([strip[:, :side], strip[:, -side:]], axis=1)
    base = max(float(np.median(outer)), 1.0)
    level = outer.mean(axis=1)
    inner = strip[:, side:-side]
    darkness = (1 - inner / np.maximum(level, 0.2 * base)[:, None]).sum(axis=1)
    smooth = np.convolve(np.pad(darkness, 2, mode="edge"), np.full(5, 0.2), "valid")
    spread = float(np.std(outer - level[:, None])) / base
    return smooth, spread * float(np.sqrt(inner.shape[1] / (5 * _STEP_PX)))
