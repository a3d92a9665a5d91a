"""Measure drawn cracks beside other things, and under blur: ``python data/studies/scenes.py``.

Writes ``data/studies/scenes.md``, which ``accuracy.py`` puts into ``docs/accuracy.md``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.phantoms import Look, Stroke, draw, straight, wandering
from crackseg.metrology.unclear import doubt_moved_widths
from crackseg.records import Crack, Unjudged

sys.path.insert(0, str(Path(__file__).parent))
from accuracy import cracks_of, holds

Array = NDArray[Any]
OUT = Path(__file__).with_name("scenes.md")
SIDE = 260
LEVEL = 150.0
INTERIOR = 0.93  # dark
WIDTHS_PX = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
LENGTH_PX = 200.0
SEEDS = 8
LEAST_PX = 40.0  # shorter pieces of a cut crack are left out
CORNERS = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], float)
WHOLE = (Unjudged(code="unsteady", share=1.0, outlines=(CORNERS,)),)


@dataclass(frozen=True)
class Scene:
    """A wall in linear light with a crack, before the camera."""

    light: Array  # (H, W) of the concrete
    darkness: Array  # (H, W) of the cracks, 0..1
    mask: Array  # (H, W) bool


@dataclass(frozen=True)
class Course:
    """Where pixels lie by the course of a crack."""

    side_px: Array  # (H, W) signed distance
    along: Array  # (H, W) 0..1 of the course
    off_px: Array  # (H, W) distance


def course_of(stroke: Stroke) -> Course:
    """Return where every pixel lies by a stroke."""
    points = arc.resample(stroke.points)
    step = np.gradient(points, axis=0)
    step /= np.hypot(*step.T)[:, None]
    pixels = np.argwhere(np.ones((SIDE, SIDE), bool)).astype(float)
    off, nearest = cKDTree(points).query(pixels)
    away = pixels - points[nearest]
    side = away[:, 1] * step[nearest, 0] - away[:, 0] * step[nearest, 1]
    shape = (SIDE, SIDE)
    return Course(side.reshape(shape), (nearest / len(points)).reshape(shape), off.reshape(shape))


def stroke_of(width: float, rng: np.random.Generator) -> Stroke:
    """Return a crack through the middle that wanders a little."""
    angle = float(rng.choice([0, 12, 33, 45, 70, 90]))
    back = 0.5 * LENGTH_PX * np.array([np.sin(np.radians(angle)), -np.cos(np.radians(angle))])
    start = SIDE / 2 + back + rng.random(2)
    return wandering((start[0], start[1]), angle, LENGTH_PX, width, rng, bend_deg=6)


def scene_of(strokes: list[Stroke], rng: np.random.Generator) -> Scene:
    """Return plain concrete with cracks."""
    phantom = draw((SIDE, SIDE), strokes, Look(blur_px=0, noise=0), rng)
    return Scene(np.full((SIDE, SIDE), LEVEL), INTERIOR * phantom.coverage, phantom.mask)


def plain(width: float, rng: np.random.Generator) -> Scene:
    """Return a crack in plain concrete."""
    return scene_of([stroke_of(width, rng)], rng)


def strip(share: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what draws a strip of 12 px, 45 % darker, that begins at the crack's edge."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        stroke = stroke_of(width, rng)
        course, scene = course_of(stroke), scene_of([stroke], rng)
        beside = (course.side_px > width / 2 - 0.2) & (course.side_px < width / 2 + 12)
        beside &= np.abs(course.along - 0.5) <= share / 2
        return replace(scene, light=np.where(beside, 0.55, 1.0) * scene.light)

    return make


def band(share: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what draws a strip, 30 to 75 % darker, 2 to 6 px to either side of the crack."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        stroke = stroke_of(width, rng)
        course, scene = course_of(stroke), scene_of([stroke], rng)
        within = np.abs(course.side_px) < width / 2 + rng.uniform(2, 6)
        within &= np.abs(course.along - 0.5) <= share / 2
        light = 1 - rng.uniform(0.3, 0.75)
        return replace(scene, light=np.where(within, light, 1.0) * scene.light)

    return make


def shadow(gap: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what draws a shadow of half the light that begins so many px beside the crack."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        stroke = stroke_of(width, rng)
        scene = scene_of([stroke], rng)
        dark = course_of(stroke).side_px > width / 2 + gap
        return replace(scene, light=np.where(dark, 0.5, 1.0) * scene.light)

    return make


def cut(gap: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what leaves so many px of smooth concrete in the middle of the crack."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        stroke = stroke_of(width, rng)
        course, scene = course_of(stroke), scene_of([stroke], rng)
        out = np.abs(course.along - 0.5) < gap / 2 / LENGTH_PX
        return replace(scene, darkness=np.where(out, 0, scene.darkness), mask=scene.mask & ~out)

    return make


def two_interiors(width: float, rng: np.random.Generator) -> Scene:
    """Return a crack that is black on one half and grey 110 on the other."""
    stroke = stroke_of(width, rng)
    scene = scene_of([stroke], rng)
    pale = np.where(course_of(stroke).along < 0.5, 1.0, (1 - 110 / LEVEL) / INTERIOR)
    return replace(scene, darkness=pale * scene.darkness)


def side_by_side(gap: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what draws a second crack of the same width so many px beside the first."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        stroke = stroke_of(width, rng)
        step = np.gradient(stroke.points, axis=0)
        step /= np.hypot(*step.T)[:, None]
        away = np.column_stack([-step[:, 1], step[:, 0]]) * (gap + width)
        return scene_of([stroke, replace(stroke, points=stroke.points + away)], rng)

    return make


def crossing(angle: float) -> Callable[[float, np.random.Generator], Scene]:
    """Return what draws two straight cracks that cross at an angle."""

    def make(width: float, rng: np.random.Generator) -> Scene:
        first, middle = float(rng.uniform(0, 90)), SIDE / 2 + rng.random(2)
        lines = [straight((middle[0], middle[1]), turn, LENGTH_PX, width)
                 for turn in (first, first + angle)]  # fmt: skip
        return scene_of(lines, rng)

    return make


def zigzag(turns: Array) -> Array:
    """Return the sides of a course of straight pieces, -1..1."""
    sides: Array = 4 * np.abs(turns % 1 - 0.5) - 1
    return sides


def wave(turns: Array) -> Array:
    """Return the sides of a course without a straight piece, -1..1."""
    sides: Array = np.sin(2 * np.pi * turns)
    return sides


KINDS = {"zigzag": zigzag, "wave": wave}
SCENES: dict[str, Callable[[float, np.random.Generator], Scene]] = {
    "plain": plain,
    "dark strip touching, 40 % of the way": strip(0.4),
    "dark strip touching all the way": strip(1.0),
    "in a dark strip, 40 % of the way": band(0.4),
    "in a dark strip all the way": band(1.0),
    **{f"shadow's edge {gap} px beside": shadow(gap) for gap in (1, 2, 4, 8)},
    "smooth gap of 20 px": cut(20),
    "smooth gap of 30 px": cut(30),
    "one half black, one half grey 110": two_interiors,
    **{f"a second crack {gap} px beside": side_by_side(gap) for gap in (1, 2, 3, 4, 8)},
    **{f"crossing at {angle}°": crossing(angle) for angle in (10, 15, 30, 45, 60, 90)},
}


def photograph(scene: Scene, blur: Callable[[Array], Array], noise: float, seed: int) -> Array:
    """Return (H, W, 3) uint8 of a scene."""
    grey = blur(scene.light * (1 - scene.darkness))
    grey = grey + noise * LEVEL * np.random.default_rng(seed).standard_normal(grey.shape)
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def shots(
    make: Callable[[float, np.random.Generator], Scene], width: float
) -> list[tuple[Crack, ...]]:
    """Return the cracks of a scene, drawn often, with masks as drawn and wider."""
    pictures = []
    for seed in range(SEEDS):
        scene = make(width, np.random.default_rng([seed, int(10 * width)]))
        sigma, noise = (0.6, 0.8, 1.0)[seed % 3], (0.012, 0.025)[seed % 2]
        picture = photograph(
            scene, lambda grey, sigma=sigma: gaussian_filter(grey, sigma, mode="nearest"),
            noise, seed,
        )  # fmt: skip
        mask = binary_dilation(scene.mask, np.ones((3, 3))) if seed % 3 == 1 else scene.mask
        pictures.append(cracks_of(mask, picture))
    return pictures


def scene_rows() -> str:
    """Return the table of scenes: share of cracks whose mean, and largest, width is held."""
    lines = [
        "| beside the crack | all widths | " + " | ".join(f"{w:g} px" for w in WIDTHS_PX) + " |",
        "|---" * (len(WIDTHS_PX) + 2) + "|",
    ]
    for name, make in SCENES.items():
        cells, everything = [], []
        for width in WIDTHS_PX:
            held = [
                (holds(crack.width_mean, width), (crack.width_max.low_px or 0) <= width)
                for cracks in shots(make, width)
                for crack in cracks
                if (crack.length.px or 0) >= LEAST_PX and crack.width_mean.high_px is not None
            ]
            everything += held
            cells.append("{:.0%}, {:.0%}".format(*np.mean(held, axis=0)))
        lines.append(
            f"| {name} | {'{:.0%}, {:.0%}'.format(*np.mean(everything, axis=0))} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def moved(length: float, angle_deg: float) -> Callable[[Array], Array]:
    """Return what spreads a picture by a straight motion, after a lens of 0.5 px."""
    side, fine = (int(np.ceil(length)) | 1) + 2, 9
    kernel = np.zeros((side * fine, side * fine), np.float32)
    middle, angle = (side * fine - 1) / 2, np.radians(angle_deg)
    reach = length * fine / 2 * np.array([np.cos(angle), -np.sin(angle)])
    ends = [tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, fine)
    kernel = cv2.resize(kernel, (side, side), interpolation=cv2.INTER_AREA)

    def spread(grey: Array) -> Array:
        sharp = gaussian_filter(grey, 0.5, mode="nearest")
        done: Array = cv2.filter2D(sharp, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
        return done

    return spread


def out_of_focus(sigma: float) -> Callable[[Array], Array]:
    """Return what blurs a picture by a Gaussian."""
    return lambda grey: gaussian_filter(grey, sigma, mode="nearest")


def blur_rows() -> str:
    """Return the table of blur: share of cracks whose mean width is held, over interiors."""
    focus, motion = (0.5, 0.8, 1.0, 1.2, 1.5), (2.0, 3.0, 4.0, 5.0)
    lines = [
        "| width px | "
        + " | ".join([*(f"blur {s:g}" for s in focus), *(f"motion {s:g}" for s in motion)])
        + " |",
        "|---" * (1 + len(focus) + len(motion)) + "|",
    ]
    for width in (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0):
        cells = []
        for kind, step in [("focus", s) for s in focus] + [("motion", s) for s in motion]:
            held = []
            for seed, dark in enumerate((0.93, 0.75, 0.55, 0.4) * 2):
                angle = (0, 20, 45, 66, 90)[seed % 5]
                stroke = straight((SIDE / 2 + 0.3, SIDE / 2 + 0.1), angle, 150, width)
                scene = scene_of([stroke], np.random.default_rng(seed))
                scene = replace(scene, darkness=scene.darkness * dark / INTERIOR)
                spread = out_of_focus(step) if kind == "focus" else moved(step, angle + 90)
                picture = photograph(scene, spread, (0.01, 0.03)[seed // 4], seed)
                cracks = cracks_of(scene.mask, picture)
                if kind == "motion":
                    cracks = doubt_moved_widths(cracks, WHOLE, (SIDE, SIDE), ())
                held.append(holds(cracks[0].width_mean, width))
            cells.append(f"{np.mean(held):.0%}")
        lines.append(f"| {width:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def corner_rows() -> str:
    """Return the table of zigzags and waves: error of the length in per cent."""
    bends = ((24, 3), (24, 6), (48, 6), (48, 12))
    lines = [
        "| width px | "
        + " | ".join(f"{kind} {period}, {swing}" for kind in KINDS for period, swing in bends)
        + " |",
        "|---" * (1 + 2 * len(bends)) + "|",
    ]
    x = np.linspace(-100, 100, 801)
    for width in (1.5, 3.0, 6.0):
        cells = []
        for bend in KINDS.values():
            for period, swing in bends:
                errors = []
                for seed, turn in enumerate(np.radians([0, 11, 23, 45])):
                    y = swing * bend(x / period)
                    points = np.column_stack(
                        [np.cos(turn) * y + np.sin(turn) * x, np.cos(turn) * x - np.sin(turn) * y]
                    )
                    stroke = Stroke(points=SIDE / 2 + points, width_px=np.full(len(x), width))
                    scene = scene_of([stroke], np.random.default_rng(seed))
                    cracks = cracks_of(
                        scene.mask, photograph(scene, out_of_focus(0.8), 0.012, seed)
                    )
                    longest = max(crack.length.px or 0 for crack in cracks)
                    errors.append(longest / stroke.length_px - 1)
                cells.append(f"{100 * np.mean(errors):+.1f}")
        lines.append(f"| {width:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


TEXT = """
## Beside other things

Drawn by `python data/studies/scenes.py`: {seeds} pictures a cell, any direction, blur 0.6 to 1 px,
noise 1.2 and 2.5 %, masks as drawn and 1 px wider on either side. Share of cracks whose mean width
lies in its interval, and whose largest width does not begin above the truth, of those that are
given a width.

{scenes}

Where a second line, or the tone beside the crack, is in its dark stretch, the interval reaches down
to what the line is without it; where no flank of its own is seen, the station is left out and
counted. Of two cracks a single pixel apart no lighter ridge is seen between them: where two black
lines explain the mean profile better than one pale one, the interval reaches down to one of them.
A hair crack within a sharp-edged dark strip that follows it all along looks like one crack as wide
as the strip, and that is its width in the list; where a line within a strip explains the mean
profile better than one crack, the interval reaches down to that line. A wide crack that is deeper
along its middle than at its sides looks the same and gets the same interval. Of one that slopes
like a V from the surface to its middle the half level is read, about three quarters of the full
opening, and the interval does not reach up to that. What all this misses stands in the table.

## Sharp bends

Lengths are those of a centre line smoothed over 4 px, or half the crack's width where that is more,
so that the steps of pixels are not counted. That keeps what cracks wander by, and takes off sharp
corners: error of the length in per cent for zigzags and waves of so many px a turn and so much
swing to either side, which the stated 1 % does not hold. On labelled cracks smoothing half as much
gives 0.7 to 1.4 % more in the middle, of which part is the mask's own roughness.

{corners}

## Out of focus and moved

Interiors 93 to 40 % dark, noise 1 and 3 %; blur is the standard deviation of a Gaussian, motion
that of the camera across the crack, px. Share of cracks whose mean width lies in its interval.
Longer blur and motion is told ([](quality.md)), and widths there get an interval of their own.

{blur}

Short motion is mostly not told, and draws a black crack of 1 px as a pale one of 3 px. Where the
photograph around the crack is not surely steady (22 % of validation pictures as they are; 94 %
moved by 2.8 px and all moved by 3.5 px), the interval of a pale width therefore reaches down to
that of a crack as dark as usual that takes away as much light; what that misses stands in the
table. Where it is surely steady the interval stays as it was.
"""


def main() -> None:
    """Write the tables."""
    text = TEXT.format(seeds=SEEDS, scenes=scene_rows(), corners=corner_rows(), blur=blur_rows())
    OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
