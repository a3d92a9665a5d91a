"""Render a training set of concrete walls with cracks of 0.8 to 12 px and their masks.

The pictures are the project's own (MIT), so a network trained on them owes nobody anything.

    python data/rendered_set.py FOLDER 120      # FOLDER/rendered/images, masks, train.txt
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from make_samples import Line, course_between, coverage, lay, line
from numpy.typing import NDArray
from PIL import Image

from crackseg.training import concrete

SHAPE = (448, 448)
SET = "rendered"
SEED = 16
SOUND = 0.3  # share of walls without a crack
Rng = np.random.Generator


def wall(rng: Rng) -> concrete.Wall:
    """Return a wall with whatever chance puts on it."""
    built = concrete.cast(rng, SHAPE, tone=rng.uniform(0.16, 0.42), warmth=rng.uniform(0, 0.06))
    rows, cols = SHAPE
    if rng.random() < 0.5:
        board, vertical = rng.uniform(60, 260), bool(rng.random() < 0.5)
        strength = rng.uniform(0.4, 1.4)
        concrete.add_boards(built, rng, board_px=board, vertical=vertical, strength=strength)
    concrete.add_pores(built, rng, per_mpx=rng.uniform(100, 1500), largest_px=rng.uniform(3, 12))
    if rng.random() < 0.3:
        place, half = rng.uniform(0.1, 0.9) * rows, rng.uniform(3, 14)
        concrete.add_lift_joint(built, rng, row=place, half_px=half)
    for _ in range(int(rng.choice([0, 0, 1, 2]))):
        vertical = bool(rng.random() < 0.5)
        concrete.add_panel_line(built, rng, at=rng.uniform(0.1, 0.9) * cols, vertical=vertical)
    for _ in range(int(rng.choice([0, 0, 1, 3]))):
        row, col = rng.uniform(40, rows - 40, 2)
        concrete.add_tie_hole(built, rng, row=row, col=col, r_px=rng.uniform(6, 20))
    for _ in range(int(rng.choice([0, 1, 4, 9]))):
        colour = (concrete.RUST, concrete.WET, concrete.LIME)[int(rng.integers(3))]
        concrete.add_run(
            built,
            rng,
            row=rng.uniform(-50, rows * 0.7),
            col=rng.uniform(0, cols),
            length_px=rng.uniform(60, 500),
            width_px=rng.uniform(3, 30),
            colour=colour,
            strength=rng.uniform(0.3, 0.9),
        )
    if rng.random() < 0.3:
        slope = np.linspace(0, 1.1, rows, dtype=np.float32)[:, None] ** rng.uniform(2, 6)
        where = np.broadcast_to(slope, SHAPE).copy()
        concrete.add_moss(built, rng, where=where, amount=rng.uniform(0.1, 0.35))
    if rng.random() < 0.25:
        railing = concrete.bars(
            SHAPE,
            angle_deg=rng.uniform(-60, 60),
            gap_px=rng.uniform(60, 400),
            width_px=rng.uniform(6, 60),
            first_px=rng.uniform(0, 200),
        )
        concrete.add_shadow(built, railing, soft_px=rng.uniform(1, 8))
    return built


def crack(rng: Rng) -> list[Line]:
    """Return one crack across the picture or ending in it, some with a branch."""
    side = float(SHAPE[0])
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * side
    if np.hypot(*(end - start)) < 0.4 * side:
        end = side - start
    wander = rng.uniform(0.12, 0.42)
    first = float(np.exp(rng.uniform(np.log(0.8), np.log(12))))
    widths = first, max(first * float(rng.uniform(0.4, 1.0)), 0.7)
    tips = bool(rng.random() < 0.3), bool(rng.random() < 0.5)
    course = course_between(rng, tuple(start), tuple(end), wander=wander)
    stretches = [line(rng, course, widths_px=widths, tips=tips, vary=rng.uniform(0.1, 0.35))]
    if rng.random() < 0.3:
        fork = course[int(len(course) * rng.uniform(0.2, 0.8))]
        away = fork + rng.normal(0, 0.35, 2) * side
        if np.hypot(*(away - fork)) > 0.1 * side:
            branch = course_between(rng, tuple(fork), tuple(away), wander=wander)
            thin = max(0.5 * widths[0], 0.7), max(0.3 * widths[0], 0.6)
            stretches.append(line(rng, branch, widths_px=thin, tips=(False, True)))
    return stretches


def render(number: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return picture and mask ``number`` of the set."""
    rng = np.random.default_rng([SEED, number])
    sun = tuple(rng.normal(0, 0.9, 2))
    bare = concrete.expose(
        wall(rng), sun=sun, ambient=rng.uniform(0.35, 0.8), gain=rng.uniform(0.9, 1.4)
    )
    cover = np.zeros(SHAPE, np.float32)
    for _ in range(0 if rng.random() < SOUND else int(rng.choice([1, 1, 2]))):
        cover = np.maximum(cover, coverage(crack(rng), SHAPE))
    if cover.any():
        depth = np.float32(rng.uniform(0.5, 1.0))  # dust and light pale a crack
        bare = bare * (1 - depth) + lay(bare, cover, rng) * depth
    noise, blur = rng.uniform(0.8, 4.0), rng.uniform(0.35, 1.1)
    pixels = concrete.photograph(np.asarray(bare, np.float32), rng, blur_px=blur, noise=noise)
    return pixels, cover >= 0.4


def main(folder: Path, count: int) -> None:
    """Write the set."""
    cv2.setNumThreads(1)
    names = []
    for number in range(count):
        pixels, mask = render(number)
        for kind in ("images", "masks"):
            (folder / SET / kind).mkdir(parents=True, exist_ok=True)
        names.append(f"wall_{number:03}")
        Image.fromarray(pixels).save(folder / SET / "images" / f"{names[-1]}.jpg", quality=93)
        Image.fromarray(mask.astype(np.uint8) * 255).save(
            folder / SET / "masks" / f"{names[-1]}.png"
        )
    (folder / SET / "train.txt").write_text("".join(f"{name}\n" for name in names))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
