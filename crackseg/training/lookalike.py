"""Things drawn into a crop that wander, branch or cross like cracks and are none.

Roots and twigs in front of a wall, the shadows of cables and branches, tile grids seen askew,
pale scratches. A network that was taught straight joints alone calls these
cracks.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.records import Array
from crackseg.training.labels import CRACK, LINE_CONTRAST, OTHER, UNKNOWN

Rng = np.random.Generator
_FINE = 2  # drawn so many times as large and averaged down


def lookalike(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with one thing that looks like a crack.

    Args:
        picture: (n, n, 3) uint8.
        labels: (n, n) uint8, see ``labels``; what is drawn is another line or no crack. A crack
            behind a twig is hidden; one in a shadow, a grid or a scratch stays.
        rng: what is drawn depends on its state alone.
    """
    kind = rng.choice(["twig", "twig", "shadow", "grid", "grid", "scratch"])
    drawn = {"twig": _twig, "shadow": _shadow, "grid": _grid, "scratch": _scratch}[str(kind)]
    return drawn(picture, labels, rng)


def _twig(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with a root or twig that tapers and forks, lit from a side."""
    size = picture.shape[0]
    thick = float(np.exp(rng.uniform(np.log(3), np.log(10))))  # a thin dark one may be a crack
    cover = _branched(size, thick, rng)
    tone = picture.mean() * rng.uniform(0.25, 1.1) * np.array([1.0, 0.9, 0.75])
    tone = tone * rng.uniform(0.85, 1.15, 3)
    shift = rng.normal(0, 0.4 * thick + 0.5, 2)
    shade = cv2.GaussianBlur(_shifted(cover, shift), (0, 0), rng.uniform(0.6, 3))
    lit = _shifted(cover, -np.sign(shift) * max(0.3 * thick, 0.7)) * cover
    body = tone * (1 + rng.uniform(0.4, 1.2) * (lit[..., None] - 0.5))
    wall = picture * (1 - rng.uniform(0, 0.5) * shade[..., None])
    changed = wall * (1 - cover[..., None]) + body * cover[..., None]
    return _clipped(changed), np.where(cover > 0.5, UNKNOWN, labels).astype(np.uint8)


def _shadow(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with the shadow of a branch or cable: the wall's texture goes on in it."""
    size = picture.shape[0]
    cover = _branched(size, float(np.exp(rng.uniform(np.log(4), np.log(20)))), rng)
    soft = cv2.GaussianBlur(cover, (0, 0), rng.uniform(0.8, 4))
    changed = picture * (1 - rng.uniform(0.2, 0.6) * soft[..., None])
    nothing = (cover > 0.5) & (labels != CRACK)
    return _clipped(changed), np.where(nothing, UNKNOWN, labels).astype(np.uint8)


def _grid(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with the joints of tiles, bricks or blocks, at any angle and askew."""
    size = picture.shape[0]
    rows, cols = rng.uniform(18, 110, 2)
    stagger = 0.5 if rng.random() < 0.5 else 0.0
    width = float(np.exp(rng.uniform(np.log(1.0), np.log(7))))
    reach = np.arange(-2, 3 + int(1.5 * size / min(rows, cols)))
    angle = rng.uniform(0, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    skew = np.eye(2) + rng.normal(0, 0.12, (2, 2))
    canvas = np.zeros((size * _FINE, size * _FINE), np.uint8)
    middle = 0.75 * size + rng.uniform(-20, 20, 2)
    for k in reach:
        lines = [[(0, k * rows), (2.2 * size, k * rows)]]
        for j in reach:
            x = (j + stagger * (k % 2)) * cols
            lines.append([(x, k * rows), (x, (k + 1) * rows)])
        for ends in lines:
            points = (np.array(ends) - middle) @ (turn @ skew).T + size / 2
            _stroke(canvas, points, width)
    cover = cv2.GaussianBlur(_small(canvas, size), (0, 0), rng.uniform(0.3, 1.2))
    pale = rng.random() < 0.3
    tone = picture.mean() * (rng.uniform(1.1, 1.5) if pale else rng.uniform(0.2, 0.8))
    part = (rng.uniform(0.3, 0.95) * cover)[..., None]
    changed = _clipped(picture * (1 - part) + tone * part)
    line = (cover > 0.5) & (labels != CRACK)
    darker = (picture.mean(2) - changed.mean(2))[line].mean() if line.any() else 0.0
    kind = OTHER if darker > LINE_CONTRAST else UNKNOWN
    return changed, np.where(line, kind, labels).astype(np.uint8)


def _scratch(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with one to five pale scratches or strokes of chalk."""
    size = picture.shape[0]
    canvas = np.zeros((size * _FINE, size * _FINE), np.uint8)
    angle = rng.uniform(0, np.pi)
    for _ in range(int(rng.integers(1, 6))):
        here = angle + rng.normal(0, 0.25)
        half = rng.uniform(0.1, 0.7) * size * np.array([np.cos(here), np.sin(here)])
        bow = rng.normal(0, 0.05) * size * np.array([-np.sin(here), np.cos(here)])
        middle = rng.uniform(0.1, 0.9, 2) * size
        along = np.linspace(-1, 1, 25)[:, None]
        _stroke(canvas, middle + along * half + (1 - along**2) * bow, rng.uniform(0.6, 4))
    cover = _small(canvas, size)
    worn = cv2.resize(rng.uniform(0.3, 1, (size // 4, size // 4)).astype(np.float32), (size, size))
    part = (rng.uniform(0.3, 0.9) * cover * worn)[..., None]
    tone = min(float(picture.mean()) * rng.uniform(1.2, 1.8), 250.0)
    changed = np.maximum(picture, picture * (1 - part) + tone * part)
    return _clipped(changed), labels


def _branched(size: int, thick: float, rng: Rng) -> Array:
    """Return the (size, size) float32 cover of a tapering, forking, smoothly bent line."""
    canvas = np.zeros((size * _FINE, size * _FINE), np.uint8)
    start, heading = rng.uniform(0, size, 2), rng.uniform(0, 2 * np.pi)
    waiting = [(start, heading, thick, rng.uniform(0.5, 1.5) * size)]
    bend = rng.uniform(0.005, 0.05)
    count = 0
    while waiting and count < 12:
        point, heading, width, length = waiting.pop()
        count += 1
        steps = max(int(length / 6), 2)
        turns = np.cumsum(rng.normal(0, bend * 6, steps)) + heading
        moves = 6 * np.column_stack([np.cos(turns), np.sin(turns)])
        course = point + np.vstack([np.zeros(2), np.cumsum(moves, axis=0)])
        widths = width * np.linspace(1, rng.uniform(0.3, 0.9), steps)
        for a, b, here in zip(course, course[1:], widths, strict=False):
            _stroke(canvas, np.array([a, b]), float(here))
        for _ in range(int(rng.integers(0, 4))):
            at = int(rng.integers(steps))
            aside = turns[at] + rng.choice([-1, 1]) * rng.uniform(0.3, 1.2)
            waiting.append((course[at], aside, 0.6 * widths[at], 0.5 * length))
    return _small(canvas, size)


def _stroke(canvas: Array, points: Array, width: float) -> None:
    """Draw a course of (x, y) px on a canvas that is ``_FINE`` times as large."""
    fixed = [np.round((points + 0.5) * _FINE * 16).astype(np.int32)]
    cv2.polylines(canvas, fixed, False, 255, max(round(width * _FINE), 1), cv2.LINE_AA, 4)


def _small(canvas: Array, size: int) -> Array:
    small: Array = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
    return small


def _shifted(cover: Array, by: Array) -> Array:
    """Return the cover moved by (x, y) px."""
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]], dtype=np.float64)
    moved: Array = cv2.warpAffine(cover, matrix, cover.shape[::-1])
    return moved


def _clipped(picture: Array) -> Array:
    return np.clip(picture, 0, 255).astype(np.uint8)
