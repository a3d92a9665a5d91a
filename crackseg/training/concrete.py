"""Render a concrete wall as a camera sees it: relief, pores, boards, joints, stains, moss, shade.

A wall is a height field (px) and a linear RGB albedo; light makes a picture of them. Every step
takes a seeded generator, so that a sample is the same picture on every machine up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import gaussian_filter1d

Array = NDArray[np.float32]
RUST = (0.62, 0.36, 0.19)
WET = (0.60, 0.59, 0.56)
LIME = (1.35, 1.36, 1.36)


@dataclass
class Wall:
    """A wall under construction: each function below adds something to it."""

    height_px: Array  # (H, W) relief towards the camera
    albedo: Array  # (H, W, 3) linear
    light: Array  # (H, W) share of the direct light that arrives

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.height_px.shape[0], self.height_px.shape[1]


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    beta: float = 2.0,
    band_px: tuple[float, float] = (2.0, 1e9),
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Array:
    """Return (H, W) noise of unit variance with power 1/f^beta inside a band of wavelengths.

    Args:
        rng: seeded generator.
        shape: rows, columns.
        beta: 0 is white, 2 a natural surface, 3 soft clouds.
        band_px: shortest and longest wavelength.
        stretch: how much longer the structures are along rows and along columns.
    """
    padded = tuple(fft.next_fast_len(n + 64, real=True) for n in shape)
    spectrum = fft.rfft2(rng.standard_normal(padded, dtype=np.float32), workers=2)
    rows = fft.fftfreq(padded[0]).astype(np.float32)[:, None] * np.float32(stretch[0])
    cols = fft.rfftfreq(padded[1]).astype(np.float32)[None, :] * np.float32(stretch[1])
    frequency = np.hypot(rows, cols)
    frequency[0, 0] = 1.0
    gain = frequency ** np.float32(-beta / 2)
    gain[(frequency > 1 / band_px[0]) | (frequency < 1 / band_px[1])] = 0
    gain[0, 0] = 0
    noise = fft.irfft2(spectrum * gain, s=padded, workers=2)[: shape[0], : shape[1]]
    return np.ascontiguousarray(noise / noise.std(), dtype=np.float32)


def ramp(field: Array, low: float, high: float) -> Array:
    """Return 0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def tint(wall: Wall, amount: Array, colour: tuple[float, float, float]) -> None:
    """Multiply the albedo towards ``colour`` where ``amount`` (H, W) is 1."""
    for channel in range(3):
        wall.albedo[..., channel] *= 1 + amount * (np.float32(colour[channel]) - 1)


def cast(rng: np.random.Generator, shape: tuple[int, int], *, tone: float, warmth: float) -> Wall:
    """Return a bare cast wall: cement clouds, sand, specks and a slightly wavy face."""
    clouds = fractal(rng, shape, beta=3.2, band_px=(60, 1e9))
    patches = fractal(rng, shape, beta=2.6, band_px=(12, 500))
    sand = fractal(rng, shape, beta=0.6, band_px=(2.0, 7))
    grey = tone * np.exp(0.10 * clouds + 0.085 * patches + 0.07 * sand)
    # Laitance: pale skin with ragged borders, as the cement paste dried.
    skin = ramp(fractal(rng, shape, beta=2.2, band_px=(4, 700)), 0.5, 1.0)
    grey *= 1 + 0.10 * skin
    specks = fractal(rng, shape, beta=0.3, band_px=(2.2, 9))
    grey *= 1 - 0.30 * ramp(specks, 2.7, 3.9) + 0.16 * ramp(-specks, 2.8, 3.8)
    hue = fractal(rng, shape, beta=2.8, band_px=(40, 1e9))
    albedo = np.stack(
        [grey * (1 + warmth + 0.014 * hue), grey, grey * (1 - 1.3 * warmth - 0.018 * hue)], axis=-1
    ).astype(np.float32)
    height = 1.1 * fractal(rng, shape, beta=2.5, band_px=(10, 700))
    height += 0.34 * fractal(rng, shape, beta=1.4, band_px=(3.0, 24)) * (1 - 0.5 * skin)
    return Wall(height.astype(np.float32), albedo, np.ones(shape, np.float32))


def add_pores(wall: Wall, rng: np.random.Generator, *, per_mpx: float, largest_px: float) -> None:
    """Press air holes into the face, many small ones and a few large ones, in swarms."""
    rows, cols = wall.shape
    swarm = fractal(rng, wall.shape, beta=2.5, band_px=(80, 1200))
    for _ in range(int(per_mpx * rows * cols / 1e6)):
        row, col = rng.uniform(0, rows), rng.uniform(0, cols)
        if rng.uniform() > 1 / (1 + np.exp(-1.6 * swarm[int(row), int(col)])):
            continue
        radius = min(0.9 * np.exp(rng.normal(0.35, 0.62)), largest_px)
        _press(wall, row, col, radius, rng)


def _press(wall: Wall, row: float, col: float, radius: float, rng: np.random.Generator) -> None:
    reach = int(np.ceil(radius * 1.7 + 2))
    top, left = max(int(row) - reach, 0), max(int(col) - reach, 0)
    window = np.s_[top : int(row) + reach + 1, left : int(col) + reach + 1]
    height = wall.height_px[window]
    y, x = np.mgrid[top : top + height.shape[0], left : left + height.shape[1]].astype(np.float32)
    turn, flat = rng.uniform(0, np.pi), rng.uniform(0.65, 1.0)
    dy, dx = y - row, x - col
    u = dx * np.cos(turn) + dy * np.sin(turn)
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / flat
    wobble = 1 + 0.16 * np.sin(3 * np.arctan2(v, u) + rng.uniform(0, 6))
    r = np.hypot(u, v) / (radius * wobble)
    inside = ramp(-r, -1.25, -0.75)
    height -= inside * (0.55 * radius) * np.sqrt(np.clip(1.3 - r * r, 0, 1))
    wall.albedo[window] *= (1 - inside * rng.uniform(0.25, 0.6))[..., None]


def add_boards(
    wall: Wall, rng: np.random.Generator, *, board_px: float, vertical: bool, strength: float = 1.0
) -> None:
    """Leave the print of sawn boards: grain, a shade of its own each, thin fins between them."""
    rows, cols = wall.shape
    grain_shape = (rows, cols) if vertical else (cols, rows)
    grain = fractal(rng, grain_shape, beta=1.3, band_px=(2.0, 60), stretch=(28, 1))
    across = np.arange(grain_shape[1], dtype=np.float32)
    shade = np.zeros_like(grain)
    fins = np.zeros_like(grain)
    edge = rng.uniform(0.2, 0.9) * board_px
    start = 0.0
    while start < grain_shape[1]:
        inside = (across >= start) & (across < edge)
        shade[:, inside] = rng.normal(0, 0.035)
        drift = gaussian_filter1d(rng.normal(0, 1, grain_shape[0]), 90) * 6
        ridge = ramp(gaussian_filter1d(rng.normal(0, 1, grain_shape[0]), 35) * 8, -0.5, 0.6)
        near = np.abs(across - edge) < 14
        offset = across[None, near] - (edge + drift[:, None])
        fins[:, near] += ridge[:, None] * np.exp(-((offset / 1.5) ** 2)) * rng.uniform(0.4, 1.1)
        start, edge = edge, edge + board_px * rng.uniform(0.9, 1.1)
    if not vertical:
        grain, shade, fins = grain.T, shade.T, fins.T
    wall.albedo *= (np.exp(strength * (0.012 * grain + shade)) * (1 + 0.10 * fins))[..., None]
    wall.height_px += strength * (0.10 * grain + 0.8 * fins)


def add_lift_joint(wall: Wall, rng: np.random.Generator, *, row: float, half_px: float) -> Array:
    """Cut a chamfered lift joint along a row; return its (W,) course in rows."""
    rows, cols = wall.shape
    course = row + gaussian_filter1d(rng.normal(0, 1, cols), 260) * 9
    ragged = half_px * (1 + 0.06 * gaussian_filter1d(rng.normal(0, 1, cols), 6) * 3)
    y = np.arange(rows, dtype=np.float32)[:, None]
    t = np.abs(y - course[None, :]) / ragged[None, :]
    wall.height_px -= (np.clip(1 - t, 0, 1) * half_px * 0.85).astype(np.float32)
    wall.albedo *= (1 - 0.22 * np.exp(-((t / 0.8) ** 2)))[..., None].astype(np.float32)
    above = ramp(course[None, :] - y, 0, 3)
    wall.albedo *= (1 + 0.05 * above)[..., None]  # the two lifts are of different casts
    return np.asarray(course, np.float32)


def add_panel_line(wall: Wall, rng: np.random.Generator, *, at: float, vertical: bool) -> None:
    """Leave the seam of two formwork panels: a shallow step with a worn fin."""
    length, width = wall.shape if vertical else wall.shape[::-1]
    across = np.arange(width, dtype=np.float32)[None, :]
    drift = gaussian_filter1d(rng.normal(0, 1, length), 200) * 6
    offset = across - (at + drift[:, None])
    worn = 0.25 + 0.75 * ramp(gaussian_filter1d(rng.normal(0, 1, length), 50) * 10, -0.6, 0.7)
    step = 0.9 * ramp(offset, -1.5, 1.5)
    fin = worn[:, None] * np.exp(-((offset / 1.7) ** 2))
    tone = 1 + 0.035 * np.tanh(offset / 2) + 0.07 * fin
    relief = (step + 1.1 * fin).astype(np.float32)
    tone = tone.astype(np.float32)
    wall.height_px += relief if vertical else relief.T
    wall.albedo *= (tone if vertical else tone.T)[..., None]


def add_tie_hole(
    wall: Wall, rng: np.random.Generator, *, row: float, col: float, r_px: float
) -> None:
    """Leave a plugged tie hole: a conical rim, paler mortar inside, a rust run below it."""
    rows, cols = wall.shape
    reach = int(r_px * 1.5) + 3
    window = np.s_[
        max(int(row) - reach, 0) : int(row) + reach, max(int(col) - reach, 0) : int(col) + reach
    ]
    y, x = np.mgrid[0:rows, 0:cols][:, window[0], window[1]].astype(np.float32)
    r = np.hypot(y - row, x - col) * (1 + 0.02 * np.sin(5 * np.arctan2(y - row, x - col)))
    plug = ramp(-r, -r_px * 0.86, -r_px * 0.80)
    wall.height_px[window] -= np.clip(r_px * 1.04 - r, 0, 0.36 * r_px) * 1.5
    ring = np.exp(-(((r - r_px * 0.84) / (0.05 * r_px + 0.8)) ** 2))
    wall.albedo[window] *= (1 + plug * rng.uniform(-0.30, -0.08) - 0.30 * ring)[..., None]
    add_run(
        wall,
        rng,
        row=row + r_px,
        col=col,
        length_px=9 * r_px,
        width_px=0.7 * r_px,
        colour=RUST,
        strength=0.6,
    )


def add_run(
    wall: Wall,
    rng: np.random.Generator,
    *,
    row: float,
    col: float,
    length_px: float,
    width_px: float,
    colour: tuple[float, float, float],
    strength: float,
) -> None:
    """Let water run down from a point and leave a streak of ``colour``."""
    rows, cols = wall.shape
    top, bottom = int(max(row, 0)), int(min(row + 1.3 * length_px, rows))
    left, right = int(max(col - 4 * width_px, 0)), int(min(col + 4 * width_px, cols))
    if bottom - top < 8 or right - left < 8:
        return
    y = np.arange(top, bottom, dtype=np.float32)[:, None]
    x = np.arange(left, right, dtype=np.float32)[None, :]
    down = (y - row) / length_px
    drift = (gaussian_filter1d(rng.normal(0, 1, bottom - top), 60) * 7)[:, None] * np.clip(
        down, 0, 1
    )
    spread = width_px * (0.55 + 0.5 * np.clip(down, 0, 1))
    body = np.exp(-(((x - col - drift) / spread) ** 2)) * np.clip(1.1 - down, 0, 1) ** 1.4
    shape = (bottom - top, right - left)
    threads = fractal(rng, shape, beta=1.6, band_px=(2.5, 60), stretch=(22, 1))
    mottle = fractal(rng, shape, beta=2.2, band_px=(3, 90))
    amount = strength * body * np.clip(0.75 + 0.33 * threads + 0.22 * mottle, 0, 1.6)
    part = Wall(
        wall.height_px[top:bottom, left:right], wall.albedo[top:bottom, left:right], wall.light
    )
    tint(part, np.clip(amount, 0, 1).astype(np.float32), colour)


def add_moss(wall: Wall, rng: np.random.Generator, *, where: Array, amount: float) -> Array:
    """Grow moss and algae where ``where`` (H, W, about 0..1) is high; return its (H, W) cover."""
    edge = fractal(rng, wall.shape, beta=2.1, band_px=(4, 500))
    tufts = fractal(rng, wall.shape, beta=1.6, band_px=(3, 24))
    field = where + 0.17 * edge + 0.05 * tufts
    film = ramp(field, 0.92 - amount, 1.38 - amount) * 0.75
    cushion = ramp(field, 1.22 - amount, 1.42 - amount) * 0.93
    tint(wall, film, (0.52, 0.55, 0.40))
    hue = fractal(rng, wall.shape, beta=1.8, band_px=(6, 120))
    green = np.stack([0.070 + 0.012 * hue, 0.078 + 0.007 * hue, np.full_like(hue, 0.042)], axis=-1)
    green *= np.exp(0.30 * tufts + 0.25 * edge)[..., None]
    wall.albedo[:] = (
        wall.albedo * (1 - cushion[..., None]) + np.clip(green, 0.012, 1) * cushion[..., None]
    )
    wall.height_px += cushion * (3.0 + 1.3 * tufts)
    return cushion


def add_shadow(wall: Wall, outline: Array, *, soft_px: float) -> None:
    """Take the direct light away inside ``outline`` (H, W, 1 = shadow) with a soft border."""
    wall.light *= 1 - cv2.GaussianBlur(outline, (0, 0), soft_px)


def bars(
    shape: tuple[int, int], *, angle_deg: float, gap_px: float, width_px: float, first_px: float
) -> Array:
    """Return (H, W) shadows of a railing: parallel bars at an angle, 1 = shadow."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    angle = np.deg2rad(angle_deg)
    across = x * np.cos(angle) + y * np.sin(angle) - first_px
    return np.asarray(np.mod(across, gap_px) < width_px, np.float32)


def expose(wall: Wall, *, sun: tuple[float, float], ambient: float, gain: float) -> Array:
    """Return the (H, W, 3) display-referred picture in [0, 1] under sun from ``sun`` = (row, col).

    ``sun`` is the direction the light comes from, its length the slope of the light; shadows keep
    ``ambient`` of the light, bluish as the sky is.
    """
    slope_row = cv2.Sobel(wall.height_px, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    slope_col = cv2.Sobel(wall.height_px, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    shade = 1 - np.tanh(0.5 * (-slope_row * sun[0] - slope_col * sun[1]))
    shade = np.clip(shade, 0.12, 1.7)
    direct = (1 - ambient) * wall.light * shade
    hollow = np.clip(
        1 + 0.10 * (wall.height_px - cv2.GaussianBlur(wall.height_px, (0, 0), 5)), 0.5, 1.2
    )
    sky = np.array([0.93, 1.0, 1.10], np.float32) * ambient
    linear = wall.albedo * (direct[..., None] + sky * hollow[..., None]) * gain
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(encoded, np.float32)


def photograph(
    picture: Array,
    rng: np.random.Generator,
    *,
    blur_px: float,
    noise: float,
    vignette: float = 0.16,
) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 photograph: lens blur, fall-off to the corners, sensor noise."""
    rows, cols = picture.shape[:2]
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, cols, dtype=np.float32)[None, :]
    exposure = (
        cv2.GaussianBlur(picture, (0, 0), blur_px) * (1 - vignette * (x * x + y * y) / 2)[..., None]
    )
    grain = rng.standard_normal((rows, cols, 1), dtype=np.float32)
    colour = cv2.GaussianBlur(rng.standard_normal((rows, cols, 3), dtype=np.float32), (0, 0), 1.1)
    exposure += (
        noise / 255 * (0.7 + 0.6 * np.sqrt(np.clip(1 - exposure, 0, 1))) * (grain + 1.2 * colour)
    )
    return np.asarray(np.clip(exposure * 255 + 0.5, 0, 255), np.uint8)
