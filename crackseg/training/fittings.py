"""Fittings drawn into a crop: clamps, brackets, hangers, boxes, drains and the bars they hold.

A network that was not taught them outlines them as cracks (E19 in ``data/EXPERIMENTS.md``).
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.records import Array
from crackseg.training.labels import UNKNOWN

Rng = np.random.Generator
_Part = tuple[Array, float, float, Array]  # (N, 2) course, thickness, tone, tint


def fitting(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return picture and labels with one to four clamps, brackets or boxes, which hide the wall.

    Several are alike and stand in a row, as along a pipe or a rail; half of the rows have the
    cable or bar that they hold.

    Args:
        picture: (n, n, 3) uint8.
        labels: (n, n) uint8, see ``labels``; no crack where a fitting is, perhaps a line.
        rng: what is drawn depends on its state alone.
    """
    size = picture.shape[0]
    span = float(np.exp(rng.uniform(np.log(12), np.log(110))))
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.05)
    along = np.array([np.cos(angle), np.sin(angle)])
    axes = span * np.array([along, [-along[1], along[0]]])
    count = int(rng.integers(1, 5))
    first, spacing = rng.uniform(0.05, 0.95, 2) * size, rng.uniform(1.2, 4) * span
    parts = _fitting_parts(rng)
    light = rng.normal(0, 1, 2)
    light /= np.hypot(*light)
    layers = []
    if count > 1 and rng.random() < 0.5:
        thick = np.exp(rng.uniform(np.log(1.0), np.log(max(0.5 * span, 1.5))))
        rail = first + np.array([[-3.0 * size], [3.0 * size]]) * along
        layers.append((rail, thick, *_metal(rng)))
    for number in range(count):
        at = first + along * spacing * number
        layers += [(at + shape @ axes, thick * span, *look) for shape, thick, *look in parts]
    changed, covered = picture.copy(), np.zeros((size, size), bool)
    for course, thick, tone, tint in layers:
        margin = thick + 0.15 * span + 4  # room for its shadow
        low = np.clip(np.floor(course.min(0) - margin), 0, size).astype(int)
        high = np.clip(np.ceil(course.max(0) + margin), 0, size).astype(int)
        if (low < high).all():
            window = np.s_[low[1] : high[1], low[0] : high[0]]
            part = _drawn(course - low, thick, changed[window].shape[:2])
            changed[window] = _mounted(changed[window], part, tone, tint, light, span, rng)
            covered[window] |= part > 0.5
    return changed, np.where(covered, UNKNOWN, labels).astype(np.uint8)


def with_fittings(picture: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the largest square of a picture with fittings, and the (n, n) bool they cover.

    Args:
        picture: (H, W, 3) uint8.
        rng: what is drawn, and where the square lies, depends on its state alone.
    """
    side = min(picture.shape[:2])
    top, left = (int(rng.integers(0, size - side + 1)) for size in picture.shape[:2])
    square = picture[top : top + side, left : left + side]
    drawn, labels = fitting(square, np.zeros((side, side), np.uint8), rng)
    covered = cv2.dilate((labels == UNKNOWN).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return drawn, covered


def _fitting_parts(rng: Rng) -> list[_Part]:
    """Return a fitting's parts from back to front: (N, 2) course, thickness, tone and tint.

    Lengths are in spans of the fitting; thickness 0 is a filled outline. Tone is 0 to 1.
    """
    tone, tint = _metal(rng)
    parts: list[_Part] = []

    def add(shape: Array, thick: float = 0.0, *, mirrored: bool = False) -> None:
        own = float(np.clip(tone * np.exp(rng.normal(0, 0.35)), 0.02, 1.0))
        for side in (1, -1) if mirrored else (1,):
            parts.append((shape * [side, 1], thick, own, tint))

    height = rng.uniform(0.3, 1.6)
    if rng.random() < 0.85:  # the body
        add(_box(0, 0, rng.uniform(0.25, 1), height))
    if rng.random() < 0.5:  # legs or lugs
        leg = _box(rng.uniform(0.1, 0.5), rng.uniform(-0.4, 0.6) * height, 0.22, 0.7 * height)
        add(leg, mirrored=True)
    if rng.random() < 0.4:  # a clip or strap across
        add(
            _box(0, rng.uniform(-0.4, 0.4) * height, rng.uniform(0.4, 1.2), rng.uniform(0.05, 0.25))
        )
    if rng.random() < 0.35:  # a hanger with a hole, a hook or an eye above
        length = rng.uniform(0.3, 1.5)
        middle = -0.5 * height - length / 2
        if rng.random() < 0.5:
            add(_box(0, middle, rng.uniform(0.1, 0.35), length))
        else:
            add(_arc(0, middle, length / 2, rng.uniform(0, 2), rng.uniform(4, 6.5)), 0.08)
    if rng.random() < 0.4:  # wires of its own
        ends = rng.uniform(-0.9, 0.9, (int(rng.integers(3, 6)), 2))
        add(ends, rng.uniform(0.02, 0.07))
    if rng.random() < 0.7:  # bolts, or holes in it
        bolt = _arc(rng.uniform(0, 0.4), rng.uniform(-0.6, 0.6) * height, 0.06, 0, 2 * np.pi)
        bright = float(rng.choice([0.03, 0.9]))
        parts += [(bolt * [side, 1], 0.0, bright, np.ones(3)) for side in (1, -1)]
    if not parts:  # a drain or a vent: a dark hole with a rim
        rim = _arc(0, 0, 0.5, 0, 2 * np.pi)
        add(rim, 0.1)
        parts.insert(0, (rim, 0.0, 0.05, np.ones(3)))
    return parts


def _box(x: float, y: float, width: float, height: float) -> Array:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
    outline: Array = [x, y] + corners * [width, height]
    return outline


def _arc(x: float, y: float, radius: float, start: float, stop: float) -> Array:
    turn = np.linspace(start, stop, 24)
    course: Array = [x, y] + radius * np.column_stack([np.cos(turn), np.sin(turn)])
    return course


def _metal(rng: Rng) -> tuple[float, Array]:
    """Return tone (0 to 1) and tint of black rubber or shade, of steel, of rust or of paint."""
    kind = rng.choice(["black", "steel", "rust", "paint"], p=[0.5, 0.3, 0.1, 0.1])
    if kind == "black":
        return rng.uniform(0.02, 0.2), np.ones(3)
    if kind == "steel":
        return rng.uniform(0.25, 0.9), np.ones(3)
    if kind == "rust":
        return rng.uniform(0.2, 0.5), np.array([1.3, 0.85, 0.6])
    return rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.2, 3)


def _drawn(course: Array, thick: float, shape: tuple[int, int]) -> Array:
    """Return the share of each pixel that a filled outline (thickness 0) or a line covers."""
    layer = np.zeros(shape, np.uint8)
    points = [np.round(course * 16).astype(np.int32)]
    if thick:
        cv2.polylines(layer, points, False, 255, max(round(thick), 1), cv2.LINE_AA, 4)
    else:
        cv2.fillPoly(layer, points, 255, cv2.LINE_AA, 4)
    share: Array = layer / np.float32(255)
    return share


def _mounted(
    picture: Array, part: Array, tone: float, tint: Array, light: Array, span: float, rng: Rng
) -> Array:
    """Return the picture with one part on it: its shadow, its shading, its lit and dark edges."""
    shadow = cv2.GaussianBlur(
        _shifted(part, light * rng.uniform(0, 0.12) * span),
        (0, 0),
        rng.uniform(0.5, 0.03 * span + 1),
    )
    lip = part - _shifted(part, light * rng.uniform(1, 0.03 * span + 1.5))
    y, x = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32) / span
    shading = 1 + rng.uniform(0, 0.3) * np.sin(x * rng.uniform(-6, 6) + y * rng.uniform(-6, 6))
    grain = rng.uniform(0, 6) * rng.standard_normal(part.shape)
    grey = 255 * tone * shading + rng.uniform(0, 60) * lip + grain
    wall = picture * (1 - rng.uniform(0, 0.7) * shadow[..., None])
    mounted = wall + (np.clip(grey[..., None] * tint, 0, 255) - wall) * part[..., None]
    return np.asarray(mounted.astype(np.uint8))


def _shifted(part: Array, by: Array) -> Array:
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]])
    moved: Array = cv2.warpAffine(part, matrix, part.shape[::-1])
    return moved
