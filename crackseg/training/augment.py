"""Paired augmentations that imitate photographs from a drone: (picture, labels) -> both, changed.

Every function takes and returns a (h, w, 3) uint8 RGB picture and its (h, w) uint8 labels (see
``labels``) and draws from the generator it is given, so that a crop depends on its number alone.

Six of them change what is in the picture. ``hair_crack`` draws thin meandering dark lines that
are labelled crack: the sets hold few cracks of 1 to 3 px. ``distract`` draws what is often taken
for a crack: straight joints, tie holes, stains, cables; ``lines.dark_line`` even lines without a
crack's wander, ``lookalike.lookalike`` twigs, shadows and grids. ``patch`` draws growth and wet or
limy concrete, ``fittings.fitting`` what is bolted to a wall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.errors import ConfigError
from crackseg.records import Array
from crackseg.training.fittings import fitting
from crackseg.training.labels import (
    CRACK,
    LEFT_OUT,
    LINE,
    LINE_CONTRAST,
    OTHER,
    UNKNOWN,
    moved,
    settle,
    turned,
)
from crackseg.training.lines import dark_line
from crackseg.training.lookalike import lookalike

Pair = tuple[Array, Array]
Rng = np.random.Generator
HAIR_LOW_PX = 0.7  # the thinnest drawn crack
_HAIR_PX = 3.5  # a wider one is no hair crack
_SHARES = (  # of crops
    "native", "shrink", "rotate", "photometric", "blur", "noise", "jpeg", "shadow", "hair",
    "distract", "patch", "fitting", "line", "lookalike",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentOptions:
    """How often (0 to 1) and how strongly a crop is changed."""

    native: float = 0.5  # share of crops at the photograph's own scale, the one it is judged at
    scale_low: float = 0.5  # cracks are seen from nearer and farther; not varied alone
    scale_high: float = 1.6  # as `scale_low`
    # share shrunk to `shrink_low` .. `shrink_high`: hair cracks of wide ones. 0: it fits sets whose
    # cracks are wide; with it a third fewer hair cracks were missed, but walls suffered (E20).
    shrink: float = 0.0
    shrink_low: float = 0.2  # cracks of 5 to 15 px become hair cracks
    shrink_high: float = 0.6  # as `shrink_low`
    # share turned by a free angle, which costs sharpness; flips and quarter turns are always drawn
    rotate: float = 0.15
    photometric: float = 0.8  # share with another light and colour: weak changes were worse (E3)
    # Cameras blur, hiss and compress, but most photographs are sharp: not varied alone.
    blur: float = 0.25
    noise: float = 0.25  # as `blur`
    jpeg: float = 0.3  # as `blur`
    shadow: float = 0.1  # a dark band across the crop; not varied alone
    hair: float = 0.15  # drawn hair cracks: the sets hold few of 1 to 3 px; not varied alone
    distract: float = 0.2  # joints, tie holes, stains, cables: what is often taken for a crack
    # Off: they imitate dam walls, and who learns another surface may not want them.
    patch: float = 0.0  # growth, wet and limy concrete (E13)
    fitting: float = 0.0  # clamps, brackets and boxes (E19)
    line: float = 0.0  # even dark lines without a crack's wander
    lookalike: float = 0.0  # twigs, shadows of cables, tile grids askew, scratches (E28)
    hair_high_px: float = _HAIR_PX  # widest drawn crack; wider where a set has few cracks

    def __post_init__(self) -> None:
        for name, low, high in (
            ("scale", self.scale_low, self.scale_high),
            ("shrink", self.shrink_low, self.shrink_high),
        ):
            if not 0 < low <= high:
                raise ConfigError(
                    f"`{name}_low` must be above 0 and not above `{name}_high`, got {low} and "
                    f"{high}."
                )
        for name in _SHARES:
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"`{name}` must be a share of crops from 0 to 1, got {value}.")
        if not self.hair_high_px > HAIR_LOW_PX:
            raise ConfigError(
                f"`hair_high_px` must be above {HAIR_LOW_PX}, got {self.hair_high_px}."
            )


def random_crop(
    picture: Array, labels: Array, crop_px: int, options: AugmentOptions, rng: Rng, places: Array
) -> Pair:
    """Return a square crop of ``crop_px``, at a random scale and angle.

    Args:
        picture: (H, W, 3) uint8.
        labels: (H, W) uint8 of ``label_map``.
        crop_px: side.
        options: how far it may be scaled and turned.
        rng: what is drawn depends on its state alone.
        places: (n, 2) row, col of which the crop shall hold one; none: it may lie anywhere.
    """
    scale = _random_scale(options, rng)
    angle = rng.uniform(-45, 45) if rng.random() < options.rotate else 0.0
    need = crop_px / scale * (1.0 if angle == 0 else 1.42)
    picture, labels = _cut(picture, labels, math.ceil(need), rng, places)
    if scale != 1.0 or angle != 0.0:
        picture, labels = _warp(picture, labels, crop_px, scale, angle)
    return picture, settle(labels)


def _random_scale(options: AugmentOptions, rng: Rng) -> float:
    """Return new pixels per old one: 1 for the share ``native`` of what is not shrunk far."""
    low, high = options.scale_low, options.scale_high
    if options.shrink and rng.random() < options.shrink:
        low, high = options.shrink_low, options.shrink_high
    elif rng.random() < options.native:
        return 1.0
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def crack_places(labels: Array) -> Array:
    """Return (n, 2) row, col of every crack pixel of (H, W) labels, in row order."""
    return np.argwhere((labels == CRACK) | (labels == LINE)).astype(np.int32)


def _cut(picture: Array, labels: Array, need: int, rng: Rng, places: Array) -> Pair:
    """Return a ``need`` x ``need`` window, mirrored at the border where the picture is smaller."""
    corner = []
    target = places[rng.integers(len(places))] if len(places) else None
    for axis in (0, 1):
        room = max(picture.shape[axis] - need, 0)
        at = int(rng.integers(room + 1))
        if target is not None:
            low = max(int(target[axis]) - need + 1, 0)
            at = int(rng.integers(min(low, room), min(int(target[axis]), room) + 1))
        corner.append(at)
    window = np.s_[corner[0] : corner[0] + need, corner[1] : corner[1] + need]
    picture, labels = picture[window], labels[window]
    down, right = need - picture.shape[0], need - picture.shape[1]
    if down or right:
        top, left = int(rng.integers(down + 1)), int(rng.integers(right + 1))
        pads = (top, down - top, left, right - left)
        picture = cv2.copyMakeBorder(picture, *pads, cv2.BORDER_REFLECT_101)
        labels = cv2.copyMakeBorder(labels, *pads, cv2.BORDER_REFLECT_101)
    return picture, labels


def _warp(picture: Array, labels: Array, crop_px: int, scale: float, angle: float) -> Pair:
    """Return the central ``crop_px`` square after scaling and turning."""
    centre = (np.array(picture.shape[1::-1]) - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre.tolist(), angle, scale)
    matrix[:, 2] += (crop_px - 1) / 2 - centre
    return moved(picture, matrix, scale, crop_px), turned(labels, matrix, scale, crop_px)


def augment(picture: Array, labels: Array, options: AugmentOptions, rng: Rng) -> Pair:
    """Return a flipped, turned crop with drawn cracks, lines and distractors and camera faults."""
    turns = int(rng.integers(4))
    picture, labels = np.rot90(picture, turns), np.rot90(labels, turns)
    if rng.random() < 0.5:
        picture, labels = picture[:, ::-1], labels[:, ::-1]
    picture, labels = np.ascontiguousarray(picture), np.ascontiguousarray(labels)
    if rng.random() < options.distract:
        picture, labels = distract(picture, labels, rng)
    if options.line and rng.random() < options.line:
        picture, labels = dark_line(picture, labels, rng)
    if options.lookalike and rng.random() < options.lookalike:
        picture, labels = lookalike(picture, labels, rng)
    if options.patch and rng.random() < options.patch:
        picture = patch(picture, rng)
    if rng.random() < options.hair:
        picture, labels = hair_crack(picture, labels, rng, options.hair_high_px)
    if options.fitting and rng.random() < options.fitting:
        picture, labels = fitting(picture, labels, rng)
    if rng.random() < options.shadow:
        picture = cast_shadow(picture, rng)
    return camera(picture, options, rng), labels


def hair_crack(picture: Array, labels: Array, rng: Rng, most_px: float = _HAIR_PX) -> Pair:
    """Return the pair with a meandering dark line from 0.7 px on, labelled where it covers half.

    A line thinner than a pixel is labelled one pixel wide along its course. Real hair cracks are
    faint: the contrast starts at what the roughness of the surface still lets an eye follow. One
    wider than a hair is dark: pale ones of that width are stains and shadows.
    """
    width_px = float(np.exp(rng.uniform(np.log(HAIR_LOW_PX), np.log(most_px))))
    coverage = crack_coverage(picture.shape[0], width_px, rng)
    level = float(picture.mean())
    least = max(8.0, 1.5 * _roughness(picture)) / max(min(width_px, 1.0) * level, 1.0)
    least = max(least, 0.45) if width_px > _HAIR_PX else least
    most = max(0.8, least)
    depth = np.exp(rng.uniform(np.log(min(max(least, 0.05), 0.8)), np.log(most))) * coverage
    tone = rng.uniform(0.0, 0.35) * picture.mean((0, 1))
    dark = picture * (1 - depth[..., None]) + np.minimum(tone, picture) * depth[..., None]
    line = coverage >= min(0.5, 0.45 * width_px)
    return dark.astype(np.uint8), np.where(line, CRACK, labels).astype(np.uint8)


def crack_coverage(size: int, width_px: float, rng: Rng) -> Array:
    """Return the (size, size) share of each pixel that a meandering crack covers."""
    fine = 4  # drawn at 4 x and averaged down: anti-aliased, sub-pixel width
    canvas = np.zeros((size * fine, size * fine), np.uint8)
    points = np.round(_meander(size, rng) * fine).astype(np.int32)
    steps = width_px * fine * (1 + 0.35 * _smooth_noise(len(points), 12, rng))
    for a, b, thick in zip(points, points[1:], steps[1:], strict=False):
        cv2.line(canvas, a.tolist(), b.tolist(), 255, max(round(float(thick)), 1))
    share: Array = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA) / 255.0
    return share


def _roughness(picture: Array) -> float:
    """Return the standard deviation of a picture's grey values about their surroundings."""
    grey = picture.mean(2, dtype=np.float32)
    return float((grey - cv2.GaussianBlur(grey, (0, 0), 3)).std())


def _meander(size: int, rng: Rng) -> Array:
    """Return an (N, 2) course (x, y) that wanders like a crack across part of the crop."""
    heading = rng.uniform(0, 2 * np.pi)
    step = 3.0
    count = int(rng.uniform(0.3, 1.3) * size / step)
    wild = rng.uniform(0.2, 1.0)  # from nearly straight to winding
    turn = wild * (0.5 * _smooth_noise(count, 3, rng) + 0.6 * _smooth_noise(count, 15, rng))
    angle = heading + np.clip(turn, -1.2, 1.2)
    course = np.cumsum(step * np.column_stack([np.cos(angle), np.sin(angle)]), axis=0)
    middle = rng.uniform(0.2, 0.8, 2) * size
    shifted: Array = course - course[len(course) // 2] + middle
    return shifted


def _smooth_noise(count: int, reach: int, rng: Rng) -> Array:
    """Return unit-variance noise of a given correlation length, (count,)."""
    kernel = np.hanning(2 * reach + 3)
    kernel /= np.sqrt((kernel**2).sum())
    noise: Array = np.convolve(rng.standard_normal(count + len(kernel)), kernel, "same")[:count]
    return noise


def distract(picture: Array, labels: Array, rng: Rng) -> Pair:
    """Return the pair with one thing that is often taken for a crack: joints, holes, stain, cable.

    Joints and cables are other lines where they are dark enough to be seen.
    """
    kind = rng.choice(["joint", "joint", "joint", "holes", "stain", "cable"])
    if kind == "cable":
        return _cable(picture, labels, rng)
    size = picture.shape[0]
    depth = rng.uniform(0.15, 0.75) * (1 if rng.random() < 0.8 else -0.4)
    if kind == "joint":
        layer, line = _joints(size, rng)
    else:
        layer = _holes(size, rng) if kind == "holes" else _streak(size, rng)
        line = np.zeros(layer.shape, bool)
    changed = np.clip(picture * (1 - depth * layer[..., None]), 0, 255).astype(np.uint8)
    darker = picture.mean(2) - changed.mean(2)
    line &= (labels != CRACK) & (labels != LEFT_OUT)  # what is there shines through
    labels = np.where(line, UNKNOWN, labels)
    labels = np.where(line & (darker > LINE_CONTRAST), OTHER, labels)
    return changed, labels.astype(np.uint8)


def _joints(size: int, rng: Rng) -> Pair:
    """Return (size, size) depth 0 to 1 and lines of one to three joints, or of a grid of them.

    They run along the picture's axes, as in an upright photograph of a wall: a straight dark line
    at another angle is more likely a crack, and must not be taught away.
    """
    drawn = np.zeros((size, size), np.uint8)  # OpenCV draws anti-aliased in 8 bits only
    angle = rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.04)
    spacing, width = rng.uniform(30, 150), int(rng.choice([1, 1, 2, 2, 3, 4, 6, 10]))
    start, count = rng.uniform(0.1, 0.9, 2) * size, int(rng.integers(1, 4))
    for turn in (0.0, np.pi / 2) if rng.random() < 0.25 else (0.0,):  # tiles, or boards
        along = np.array([np.cos(angle + turn), np.sin(angle + turn)])
        across = np.array([-along[1], along[0]])
        for number in range(count):
            middle = start + across * spacing * number
            ends = np.round((middle + along * [[-2 * size], [2 * size]]) * 16).astype(int).tolist()
            cv2.line(drawn, ends[0], ends[1], 255, width, cv2.LINE_AA, 4)
    # joints are softer and more even than cracks
    layer = cv2.GaussianBlur(drawn / np.float32(255), (0, 0), rng.uniform(0.3, 1.5))
    if rng.random() < 0.4:  # a step in the formwork: one edge catches the light
        shift = np.round(across * max(width, 2)).astype(int)
        lip = np.roll(layer, (int(shift[1]), int(shift[0])), (0, 1))
        layer = layer - rng.uniform(0.2, 0.8) * lip
    return layer, drawn > 127


def _holes(size: int, rng: Rng) -> Array:
    drawn = np.zeros((size, size), np.uint8)
    for _ in range(int(rng.integers(1, 12))):
        centre = (rng.uniform(0, size, 2) * 16).astype(int).tolist()
        cv2.circle(drawn, centre, int(rng.uniform(1, 9) * 16), 255, -1, cv2.LINE_AA, 4)
    layer: Array = drawn / np.float32(255)
    return layer


def _streak(size: int, rng: Rng) -> Array:
    column = rng.uniform(0, size)
    x = np.arange(size, dtype=np.float32)
    streak = np.exp(-(((x - column) / rng.uniform(2, 25)) ** 2))
    fade = np.clip(np.linspace(rng.uniform(0, 2), rng.uniform(-1, 1), size), 0, 1)
    layer: Array = fade[:, None] * streak[None]
    return layer


def _cable(picture: Array, labels: Array, rng: Rng) -> Pair:
    """Return the pair with a round bar, pipe or cable across it: even width, lit on one side."""
    size = picture.shape[0]
    y, x = np.mgrid[:size, :size].astype(np.float32) - size / 2
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    sag = rng.normal(0, 0.15) / size
    radius = rng.uniform(2, 8)
    place = (across - rng.uniform(-0.35, 0.35) * size - sag * along**2) / radius
    round_bar = np.sqrt(np.clip(1 - place**2, 0, 1))
    light = rng.uniform(-0.9, 0.9)
    tone = rng.uniform(0.15, 0.9) * 255 * np.clip(round_bar + light * place, 0.1, 1.4)
    edge = np.clip((1 - np.abs(place)) * radius + 0.5, 0, 1)[..., None]
    shade = 0.5 * np.exp(-((place - np.sign(light) * 1.2) ** 2))[..., None] * rng.random()
    changed = picture * (1 - shade) * (1 - edge) + tone[..., None] * edge
    cast = np.clip(changed, 0, 255).astype(np.uint8)
    dark = float(picture.mean() - (tone * edge[..., 0]).sum() / edge.sum())
    bar = (edge[..., 0] > 0.5) & (labels != CRACK)
    kind = OTHER if dark > LINE_CONTRAST else UNKNOWN
    return cast, np.where(bar, kind, labels).astype(np.uint8)


def patch(picture: Array, rng: Rng) -> Array:
    """Return the picture with growth, wet concrete or lime on it: ragged edges, some darker.

    The edge is a level line of fractal noise; a slope down the picture makes it a water line.
    """
    size = picture.shape[0]
    field = np.zeros((size, size), np.float32)
    rough = rng.uniform(0.6, 1.2)
    for cells in (2, 4, 8, 16, 32, 64):
        noise = rng.standard_normal((cells + 1, cells + 1)).astype(np.float32)
        field += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC) / cells**rough
    if rng.random() < 0.4:
        field += rng.choice([-1, 1]) * np.linspace(-4, 4, size, dtype=np.float32)[:, None]
    field -= np.quantile(field, rng.uniform(0.2, 0.8))
    slope = np.hypot(*np.gradient(cv2.GaussianBlur(field, (0, 0), 2)))
    edge_px = field / np.maximum(slope, slope.mean() / 4)  # about the distance to the edge
    inside = 1 / (1 + np.exp(-np.clip(edge_px / rng.uniform(0.4, 6), -30, 30)))
    if rng.random() < 0.3:  # growth is speckled
        inside *= np.clip(0.7 + 0.5 * rng.standard_normal((size, size)), 0, 1)
        inside = cv2.GaussianBlur(inside, (0, 0), rng.uniform(0.4, 1.2))
    depth = rng.uniform(0.1, 0.6) * (1 if rng.random() < 0.8 else -0.5)
    tint = 1 + rng.uniform(-0.25, 0.25, 3)
    layer = depth * inside
    if rng.random() < 0.3:  # where it dried, the edge is a little darker than either side
        rim = np.exp(-((edge_px / rng.uniform(1.5, 6)) ** 2))
        layer = layer + rng.uniform(0.1, 0.5) * abs(depth) * rim
    changed: Array = np.clip(picture * (1 - layer[..., None] * tint), 0, 255).astype(np.uint8)
    return changed


def cast_shadow(picture: Array, rng: Rng) -> Array:
    """Return the picture with a part darkened behind a straight edge, sharp or soft."""
    size = picture.shape[0]
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.35, 0.35) * size
    y, x = np.mgrid[:size, :size] - size / 2
    side = x * np.cos(angle) + y * np.sin(angle) - offset
    shade = 1 / (1 + np.exp(-np.clip(side / rng.uniform(0.4, 12), -30, 30)))
    factor = 1 - rng.uniform(0.25, 0.65) * shade[..., None]
    shaded: Array = np.clip(picture * factor, 0, 255).astype(np.uint8)
    return shaded


def camera(picture: Array, options: AugmentOptions, rng: Rng) -> Array:
    """Return the picture with other exposure and colour, blur, noise and JPEG loss."""
    if rng.random() < options.photometric:
        gain = rng.uniform(0.65, 1.25) * rng.uniform(0.93, 1.07, 3)
        levels = np.linspace(0, 1, 256)[:, None] ** rng.uniform(0.75, 1.3)
        table = np.clip((levels - 0.5) * rng.uniform(0.75, 1.3) + 0.5, 0, 1) * gain * 255
        table = np.clip(table, 0, 255).astype(np.uint8)
        picture = cv2.merge([cv2.LUT(picture[..., c], table[:, c]) for c in range(3)])
        if rng.random() < 0.1:
            picture = np.repeat(picture.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    if rng.random() < options.blur:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.3))
    if rng.random() < options.noise:
        noise = rng.normal(0, rng.uniform(2, 9), picture.shape).astype(np.float32)
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    if rng.random() < options.jpeg:
        quality = int(rng.integers(45, 95))
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        picture = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))
    return picture
