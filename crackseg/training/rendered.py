"""Rendered photographs of concrete with cracks of known course: what a network must not forget.

Who teaches a network one site shows it little else, and it forgets the rest. These pictures stand
for the rest: walls of many tones, with boards, joints, stains, moss and shade, cracks of 0.8 to
9 px in two of three, none in the third. Each depends on its number alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crackseg.imagery.masks import encode_mask
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.records import Array
from crackseg.training import concrete
from crackseg.training.areas import FOLDER as AREAS
from crackseg.training.areas import LEFT_OUT, NO_CRACK, encode_areas

SIDE_PX = 384
NAME = "rendered"
LICENCE = "rendered by crackseg (MIT)"
_RENDERED = 20_260  # seed of all of them: other drawings take others
_FREE = 3  # each third picture is without a crack
_FAINT_PX = 1.0  # a thinner crack is drawn and may be missed: it counts for nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A rendered photograph with its labels."""

    picture: Array  # (H, W, 3) uint8
    mask: Array  # (H, W) bool, crack
    areas: Array  # (H, W) uint8, see ``areas``


def render(number: int, side_px: int = SIDE_PX) -> Scene:
    """Return the rendered photograph of a number."""
    rng = np.random.default_rng([_RENDERED, number])
    shape = side_px, side_px
    wall = concrete.cast(rng, shape, tone=rng.uniform(0.16, 0.5), warmth=rng.uniform(-0.01, 0.06))
    areas = np.zeros(shape, np.uint8)
    _dress(wall, rng, areas)
    sun = rng.uniform(-1.2, 1.2, 2)
    scene = concrete.expose(
        wall, sun=(sun[0], sun[1]), ambient=rng.uniform(0.3, 0.8), gain=rng.uniform(0.9, 1.3)
    )
    mask = np.zeros(shape, bool)
    for _ in range(0 if number % _FREE == 0 else int(rng.integers(1, 4))):
        scene = _crack(scene, mask, areas, rng)
    picture = concrete.photograph(
        scene, rng, blur_px=rng.uniform(0.5, 1.0), noise=rng.uniform(1.0, 4.0)
    )
    return Scene(picture=picture, mask=mask, areas=areas)


def _dress(wall: concrete.Wall, rng: np.random.Generator, areas: Array) -> None:
    """Put onto a wall some of what is found on one, and say where it is no crack."""
    rows, cols = wall.shape
    if rng.random() < 0.8:
        concrete.add_pores(wall, rng, per_mpx=rng.uniform(50, 500), largest_px=rng.uniform(3, 9))
    if rng.random() < 0.4:
        concrete.add_boards(
            wall, rng, board_px=rng.uniform(60, 200), vertical=bool(rng.random() < 0.5)
        )
    if rng.random() < 0.3:
        concrete.add_panel_line(
            wall, rng, at=rng.uniform(0.1, 0.9) * cols, vertical=bool(rng.random() < 0.5)
        )
    if rng.random() < 0.35:
        half_px = float(rng.uniform(3, 9))
        course = concrete.add_lift_joint(
            wall, rng, row=rng.uniform(0.1, 0.9) * rows, half_px=half_px
        )
        away = np.abs(np.arange(rows)[:, None] - course[None])
        areas[away <= half_px + 2] = NO_CRACK
    for _ in range(int(rng.integers(0, 3))):
        concrete.add_run(
            wall, rng,
            row=rng.uniform(0, 0.6) * rows, col=rng.uniform(0, 1) * cols,
            length_px=rng.uniform(60, 300), width_px=rng.uniform(3, 20),
            colour=(concrete.RUST, concrete.LIME, concrete.WET)[int(rng.integers(3))],
            strength=rng.uniform(0.3, 0.9),
        )  # fmt: skip
    if rng.random() < 0.2:
        growing = np.linspace(0, rng.uniform(0.4, 1.0), rows, dtype=np.float32)[:, None]
        concrete.add_moss(wall, rng, where=np.repeat(growing, cols, 1), amount=rng.uniform(0, 0.4))
    if rng.random() < 0.25:
        shade = np.zeros(wall.shape, np.float32)
        shade[:, int(rng.uniform(0.2, 0.8) * cols) :] = 1
        concrete.add_shadow(wall, shade, soft_px=rng.uniform(1, 12))


def _crack(scene: Array, mask: Array, areas: Array, rng: np.random.Generator) -> Array:
    """Draw one crack into a picture of 0 to 1 and into its labels; return the picture."""
    rows, cols = mask.shape
    width_px = float(np.exp(rng.uniform(np.log(0.8), np.log(9.0))))
    stroke = wandering(
        (rng.uniform(0, rows), rng.uniform(0, 0.4 * cols)),
        rng.uniform(-90, 90), rng.uniform(0.4, 1.3) * cols,
        (width_px, width_px * rng.uniform(0.4, 1.0)), rng,
        bend_deg=rng.uniform(12, 30), wave_px=rng.uniform(20, 80),
    )  # fmt: skip
    drawn = draw(mask.shape, [stroke], Look(blur_px=0, noise=0), rng)
    inside = rng.uniform(0.05, 0.45)
    if width_px < _FAINT_PX or inside > 0.4:
        grown = cv2.dilate(drawn.mask.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        areas[grown & ~mask] = LEFT_OUT
    else:
        mask |= drawn.mask
        areas[drawn.mask] = 0
    darker: Array = scene * (1 - (1 - inside) * drawn.coverage[..., None])
    return darker


def write_rendered(
    folder: Path, train: int, val: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write the set of rendered photographs with its lists.

    Args:
        folder: gets images/, masks/, areas/, train.txt, val.txt.
        train: how many to learn from.
        val: how many to choose thresholds on; other ones.
        progress: called with pictures done and pictures in all.
    """
    for name in ("images", "masks", AREAS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    stems = [f"wall{number:03}" for number in range(train + val)]
    for number, stem in enumerate(stems):
        scene = render(number)
        bgr = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2BGR)
        (folder / "images" / f"{stem}.png").write_bytes(cv2.imencode(".png", bgr)[1].tobytes())
        (folder / "masks" / f"{stem}.png").write_bytes(encode_mask(scene.mask))
        (folder / AREAS / f"{stem}.png").write_bytes(encode_areas(scene.areas))
        if progress:
            progress(number + 1, len(stems))
    for split, part in (("train", stems[:train]), ("val", stems[train:])):
        (folder / f"{split}.txt").write_text("".join(f"{s}\n" for s in part), encoding="utf-8")
