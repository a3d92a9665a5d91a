"""Even dark lines drawn into a crop: straight or smooth, without the wander of a crack.

Joints, cables, scratches and pencil marks look like that, but so do some cracks along a lift or at
thermal restraint. Passed over they would be a crack reported as sound concrete, so a network must
call them one or the other.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.records import Array
from crackseg.training.labels import CRACK, EITHER, LEFT_OUT

Rng = np.random.Generator


def dark_line(picture: Array, labels: Array, rng: Rng) -> tuple[Array, Array]:
    """Return the pair with one to three even lines of 1.5 to 7 px, 25 to 120 grey levels darker.

    Args:
        picture: (n, n, 3) uint8.
        labels: (n, n) uint8, see ``labels``; the lines are ``EITHER`` where no crack is.
        rng: what is drawn depends on its state alone.
    """
    size = picture.shape[0]
    changed = picture.astype(np.float32)
    labels = labels.copy()
    soft = rng.uniform(0.3, 1.0)
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        width = float(np.exp(rng.uniform(np.log(1.5), np.log(7))))
        covered = _covered(_course(size, rng), width, size)
        labels[(covered >= 0.5) & (labels != CRACK) & (labels != LEFT_OUT)] = EITHER
        layer = cv2.GaussianBlur(covered, (0, 0), soft)[..., None]
        depth = float(np.exp(rng.uniform(np.log(25), np.log(120))))
        if rng.random() < 0.5:  # one tone, as of paint or of a shadow, else the wall shines through
            tone = max(float(picture.mean()) - depth, 5.0)
            changed = changed * (1 - layer) + np.minimum(changed, tone) * layer
        else:
            changed = changed - depth * layer
    return np.clip(changed, 0, 255).astype(np.uint8), labels


def _course(size: int, rng: Rng) -> Array:
    """Return an (N, 2) course (x, y): straight, an arc or a slow wave, part of it or all."""
    along = np.linspace(-1.2 * size, 1.2 * size, 400)
    across = np.zeros_like(along)
    kind = rng.choice(["straight", "arc", "wave"])
    if kind == "arc":
        across = rng.uniform(-0.7, 0.7) * along**2 / size
    elif kind == "wave":
        length = rng.uniform(0.4, 4) * size
        across = (
            rng.uniform(0.02, 0.1) * length * np.sin(2 * np.pi * along / length + rng.uniform(0, 6))
        )
    if rng.random() < 0.4:  # it ends inside the crop
        part = np.sort(rng.uniform(-0.6, 0.6, 2)) * size
        if part[1] - part[0] > 30:
            inside = (along > part[0]) & (along < part[1])
            along, across = along[inside], across[inside]
    angle = (
        rng.choice([0, np.pi / 2]) + rng.normal(0, 0.1)
        if rng.random() < 0.5
        else rng.uniform(0, np.pi)
    )
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    course: Array = np.column_stack([along, across]) @ turn + rng.uniform(0.15, 0.85, 2) * size
    return course


def _covered(course: Array, width: float, size: int) -> Array:
    """Return the (size, size) float32 share of each pixel that a line of ``width`` px covers."""
    fine = 4
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    points = [np.round((course + 0.5) * fine).astype(np.int32)]
    cv2.polylines(canvas, points, False, 255, max(round(width * fine), 1))
    share: Array = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / np.float32(255)
    return share
