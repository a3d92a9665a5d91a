"""Areas of a picture in which cracks are missed: blurred, dark, noisy, overexposed, recompressed.

Blur is told by how fast grey values part with distance. Over blocks of the luminance the mean
square of the difference between pixels 1 to 8 px apart is taken along rows, columns and both
diagonals. From lag to lag it grows slowly where edges are sharp, since it is large at once, and
quickly where a lens or a moving camera has spread them; noise, which adds the same to every lag,
drops out of its growth. The larger lags tell how rough the surface is by itself. The mean fourth
power tells the same of the strongest edges alone: a soft texture may look blurred, but where one
grain or crack in it is steep the picture is sharp. Eight scores come of these, since edges spread
in more than one way: a lens out of focus, motion along rows or askew, a picture that was made
larger; the highest counts. Weights and limits were fitted where the model finds a tenth less crack
than in the sharp picture. "Cannot be judged" is a harder verdict: it asks for blur by the picture
and by the same measures at half its size, where they tell twice the spread: see docs/quality.md and
``data/studies/quality.py``. A block whose grey hardly changes tells nothing, and is not called
blurred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.imagery.block_measures import (
    BLOCK_PX,
    GRID_PX,
    LAGS,
    PLANES,
    STEPS,
    Strip,
    block_edges,
    measure,
)
from crackseg.records import Array, Notice, Unjudged

_WORDS = {
    "blurred": "blurred",
    "soft": "slightly blurred",
    "dark": "too dark",
    "overexposed": "overexposed",
    "compressed": "compressed too hard",
    "noisy": "noisy",
}
_LEAST_SHARE = 0.005  # of the picture: a smaller part is not told of
# Shares of the picture from which on it is warned of, of light, noise and compression, and of blur:
# less is a shadow, a puddle, a smooth patch.
_WORTH, WORTH_BLURRED = 0.15, 0.25
_LEAST_PX = 24  # of a strip: of fewer rows the longest lag has hardly any at half the size
_LEAST_SIDE_PX = 2 * BLOCK_PX  # of a picture: a block alone says too little
_LEAST_GROWTH = 1.0  # square grey levels from 2 to 4 px; less is no structure
_LEAST_SHARE_OF_NOISE = 0.15  # ... and over what there is at 2 px: less is noise
# Squared mean over mean square of the differences 4 px apart: 0.64 of normal ones, 0.1 of one sharp
# line on a smooth wall, whose growth is that of its edges and says nothing of the surface.
_LEAST_EVENNESS = 0.25
# Logistic scores, fitted together: a constant, then the weights of what ``Measures.terms`` lists.
# Where the highest is above 0 a tenth of all cracks is missed, above BLURRED a fifth; at half the
# size above SPOILT, a half or more.
WEIGHTS = (
    (
        3.10, -2.81, -0.76, -2.46, -1.74, 0.37, -0.48, 0.86, 0.80, -4.09, 0.65, 0.63,
        -3.80, -2.97, -3.04, -0.28, 0.88, -1.47, 1.58, 0.49, 1.32, 2.85, -0.67, -2.69,
    ),
    (
        1.76, -0.20, -0.01, -1.20, -0.28, -2.70, 0.70, 0.34, 0.05, -4.19, -0.85, -0.17,
        0.82, -0.57, 1.47, 0.68, -2.06, -0.12, -2.36, 2.75, 0.73, -0.95, -0.81, -1.14,
    ),
    (
        0.28, -2.02, 0.99, -1.03, -1.26, -0.32, 0.68, 0.92, 0.52, -1.79, -4.34, 0.69,
        -2.98, -0.32, -1.52, 0.08, -5.00, 1.04, 0.62, 3.94, 1.87, 0.85, -2.96, -6.18,
    ),
    (
        -12.41, -4.18, 0.66, -0.76, -1.49, -0.35, 1.27, 0.98, -0.07, -2.27, -6.93, -0.04,
        3.00, 1.86, -4.07, 0.57, -3.20, 0.88, 1.90, 0.12, 0.84, 1.45, -0.88, -0.35,
    ),
    (
        -12.13, -0.44, 0.02, 0.30, -1.21, 0.47, 0.29, 0.18, -0.20, -0.92, -2.35, -0.02,
        0.05, 1.53, 3.00, -0.49, -1.82, -1.63, -0.08, -0.60, -1.88, -1.58, -0.80, 0.57,
    ),
    (
        -14.54, 1.05, 1.76, -0.20, -0.56, -2.46, 1.23, 1.08, -0.17, -1.25, -3.18, -3.25,
        0.20, 2.64, 0.53, 0.23, -8.11, 2.85, 1.14, -0.05, -1.70, -0.08, -1.15, -0.81,
    ),
    (
        -27.66, -1.20, -2.27, -0.17, -0.21, 2.65, 1.05, 0.13, 0.96, -1.25, -3.39, -5.22,
        -1.50, -1.35, -0.61, 4.42, -2.96, -4.53, 2.67, -0.08, -0.67, 0.16, -1.63, 0.88,
    ),
    (
        -12.94, -3.05, -2.87, -0.95, -0.43, 0.18, 0.35, 0.40, 1.12, -3.52, -1.07, -1.67,
        -0.16, 1.56, 1.59, -1.52, -3.23, -3.23, 2.77, 1.62, -0.59, -0.54, 0.54, -0.22,
    ),
)  # fmt: skip
BLURRED, SPOILT = 1.0, 3.0
# Noise from pixel to pixel hides from them what blur leaves. From so many grey levels on, and where
# it has such a share in how pixels differ from the next, one more score is asked, of both sizes.
GRAINY_LEVELS, GRAINY_SHARE = 2.5, 0.7
WEIGHTS_UNDER_NOISE = (
    3.67, -0.65, 0.11, -0.30, -0.08, -0.63, 0.30, -0.20, 0.12, 1.47, 0.58, 1.06, -0.03,
    -2.77, -0.09, -2.11, -0.68, -0.09, -0.91, 0.46, 0.43, -0.10, 0.30, -3.77,
    -1.27, 0.17, 0.17, -0.13, -0.05, -0.33, 0.10, -0.25, -3.11, 0.42, 0.19, -2.27,
    -0.35, 1.43, 0.67, -2.94, 0.85, 1.03, 1.24, -0.12, -0.50, -1.13, -1.22,
)  # fmt: skip
# ... and from here on short motion may be there that the limits above do not tell: 22 % of
# validation pictures as they are lie above it or tell nothing, 94 % moved by 2.8 px, all by 3.5 px.
UNSTEADY = -4.0
DARK_MEAN, BLACK_MEAN = 34.0, 9.0  # grey level; below the latter a frame shows nothing
OVEREXPOSED_SHARE, WHITE_SHARE = 0.05, 0.98  # of the pixels of a block that are clipped
# Grey levels by which steps on JPEG's grid are higher than others, over the root of those and of
# what any stored picture of a smooth wall shows.
COMPRESSED_STEP, _LEAST_STEP = 2.5, 0.3
# Standard deviation, and what share noise has in how pixels differ from the next: of noise nearly
# all, of coarse plaster or gravel about half.
NOISY_LEVELS, NOISY_SHARE = 10.0, 0.7


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured in (n, m) blocks, each the mean over the block and its neighbours."""

    growth: Array  # (2, 4, 6, n, m) mean square difference: full and half size, step, lag
    steep: Array  # (2, 4, 4, n, m) root of its mean fourth power: the same, steep lag
    change: Array  # (2, 4, n, m) mean absolute difference 4 px apart: full and half size, step
    mean: Array  # (n, m) grey level
    clipped: Array  # (n, m) share of the pixels
    noise: Array  # (n, m) standard deviation, grey levels
    grid: Array  # (2, 8, n, m) mean step between columns, rows, by their place on JPEG's grid
    counts: Array  # (n, m) share of the block that counts, of itself alone
    edges: tuple[Array, Array]  # (n + 1,) rows and (m + 1,) cols where blocks begin and end

    def blur(self, half: bool = False) -> Array:
        """Return the (n, m) score of blur, > 0: blurred; of twice the spread where ``half``.

        -inf where nothing tells it.
        """
        weights = np.array(WEIGHTS)
        scores = weights[:, :1, None] + np.tensordot(weights[:, 1:], self.terms(half), axes=1)
        return np.where(self._tells(half), scores.max(axis=0), -np.inf)

    def blurred_under_noise(self) -> Array:
        """Return where an area is blurred whose noise hides it from ``blur``, (n, m) bool."""
        weights = np.array(WEIGHTS_UNDER_NOISE)
        terms = np.concatenate([self.terms(), self.terms(half=True)])
        score = weights[0] + np.tensordot(weights[1:], terms, axes=1)
        blurred: Array = self.tells_under_noise() & (score > 0)
        return blurred

    def tells_under_noise(self) -> Array:
        """Return where noise hides blur, and structure of either size tells it, (n, m) bool."""
        return self.grainy() & (self._tells(half=False) | self._tells(half=True))

    def grainy(self) -> Array:
        """Return where noise is most of what pixels differ from the next by, (n, m) bool."""
        return (self.noise >= GRAINY_LEVELS) & (self._share_of_noise() >= GRAINY_SHARE)

    def _share_of_noise(self) -> Array:
        """Return the share of noise in the mean square difference from pixel to pixel, (n, m)."""
        share: Array = 2 * self.noise**2 / np.maximum(self.growth[0, :2, 0].mean(axis=0), 1e-6)
        return share

    def terms(self, half: bool = False) -> Array:
        """Return the (23, n, m) logs that the weights are for.

        Growth from 1-2 to 2-4 px, one over the other, in the blurrier of rows and columns and in
        the other, growth from 2-3 to 3-6 px in both; the same of the diagonals; the contrast. Then
        of the fourth powers those at 1 px over 4 px, 2 over 4, and 4 over 8, sorted alike; last by
        how much the strongest differences stand out at 4 px and at 1 px.
        """
        one, two, three, four, six, _ = self.growth[int(half)].swapaxes(0, 1)
        steep = self.steep[int(half)].swapaxes(0, 1)
        fine, rough = _log_ratio(two - one, four - two), _log_ratio(three - two, six - three)
        edges = (_log_ratio(*pair, 0.02, 3.0) for pair in _pairs(*steep))
        contrast = 0.5 * np.log(np.maximum(four, 0.1))
        peaks = (_log_of(steep[k], square) for k, square in ((2, four), (0, one)))
        means = (plane[:2].mean(axis=0) for plane in (contrast, *peaks))
        return np.stack([*_sorted_ways(fine, rough), next(means), *_sorted_ways(*edges), *means])

    def _tells(self, half: bool) -> Array:
        """Return where any direction has structure enough to tell blur, (n, m) bool."""
        two, four = self.growth[int(half), :, [1, 3]]
        enough = four - two >= np.maximum(_LEAST_GROWTH, _LEAST_SHARE_OF_NOISE * two)
        noise = 2 * (self.noise / (2 if half else 1)) ** 2  # mean square difference by noise alone
        even = self.change[int(half)] ** 2 - noise * 2 / np.pi
        enough &= even >= _LEAST_EVENNESS * (four - noise)
        decidable: Array = enough.any(axis=0)
        return decidable

    def steps_on_grid(self) -> Array:
        """Return by how much steps on a grid of 8 px stand out, the less of both ways, (n, m)."""
        ways = []
        for steps in self.grid:
            highest = steps.max(axis=0)
            others = (steps.sum(axis=0) - highest) / (GRID_PX - 1)
            ways.append((highest - others) / np.sqrt(others + _LEAST_STEP))
        least: Array = np.minimum(*ways)
        return least

    def areas(self) -> dict[str, Array]:
        """Return where cracks are missed, (n, m) bool by code; each block has one code at most."""
        blur = self.blur()
        blocks_by_code = {
            "dark": self.mean <= DARK_MEAN,
            "overexposed": self.clipped >= OVEREXPOSED_SHARE,
            "compressed": self.steps_on_grid() >= COMPRESSED_STEP,
            "noisy": (self.noise >= NOISY_LEVELS) & (self._share_of_noise() >= NOISY_SHARE),
            "blurred": (blur > BLURRED) | self.blurred_under_noise(),
            "soft": blur > 0,
        }
        shows = (self.mean > BLACK_MEAN) & (self.clipped <= WHITE_SHARE)  # else: ``blank``
        free = shows & (self.counts >= 0.5)
        areas = {}
        for code, blocks in blocks_by_code.items():
            areas[code] = blocks & free
            free &= ~blocks
        return areas


class ClarityCounter:
    """Measure blocks of a picture that goes by in bands of rows, from top to bottom."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self._size = (height_px, width_px)
        self._rows = 0  # seen so far
        self._rest: tuple[Array, Array] | None = None  # pixels and validity of a part of a strip
        self._strips: list[Strip] = []

    def add(self, row: int, pixels: Array, valid: Array | None) -> None:
        """Take the rows of a band that no band before it had.

        Args:
            row: of the picture where the band begins; at most the end of the band before it.
            pixels: (h, W, 3) uint8.
            valid: (h, W) bool, True = counts; None = every pixel counts.
        """
        if min(self._size) < _LEAST_SIDE_PX:
            return
        fresh = slice(self._rows - row, None)
        valid = np.ones(pixels.shape[:2], bool) if valid is None else valid
        pixels, valid = pixels[fresh], valid[fresh]
        self._rows += len(pixels)
        if self._rest is not None:
            pixels = np.concatenate([self._rest[0], pixels])
            valid = np.concatenate([self._rest[1], valid])
        whole = len(pixels) // BLOCK_PX * BLOCK_PX
        for first in range(0, whole, BLOCK_PX):
            strip = slice(first, first + BLOCK_PX)
            self._strips.append(measure(pixels[strip], valid[strip]))
        self._rest = pixels[whole:].copy(), valid[whole:].copy()

    def measures(self) -> Measures | None:
        """Return what was measured, None of a picture too small to tell anything."""
        strips = list(self._strips)
        if self._rest is not None and len(self._rest[0]) >= _LEAST_PX:
            strips.append(measure(*self._rest))
        if not strips:
            return None
        height, width = self._size
        rows = np.append(BLOCK_PX * np.arange(len(strips)), height)
        counts = np.stack([strip.counts for strip in strips])
        whole = np.stack([strip.values for strip in strips], axis=1)
        smooth = np.stack([_pooled(plane, counts) for plane in whole])
        parts, rest = np.split(smooth, [2 * len(STEPS) * PLANES])
        parts = parts.reshape(2, len(STEPS), PLANES, *counts.shape)
        return Measures(
            growth=parts[:, :, : len(LAGS)],
            steep=np.sqrt(np.maximum(parts[:, :, len(LAGS) : -1], 0)),
            change=parts[:, :, -1],
            mean=rest[0],
            clipped=rest[1],
            noise=rest[2],
            grid=rest[3:].reshape(2, GRID_PX, *counts.shape),
            counts=counts,
            edges=(rows, np.append(block_edges(width, BLOCK_PX), width)),
        )


def impaired(measures: Measures | None) -> tuple[Unjudged, ...]:
    """Return the parts of a picture in which the model misses a tenth of all cracks or more."""
    if measures is None:
        return ()
    lost = _too_blurred(measures)
    return _parts({code: blocks & ~lost for code, blocks in measures.areas().items()}, measures)


def spoilt(measures: Measures | None) -> tuple[Unjudged, ...]:
    """Return the parts of a picture in which blur hides half of all cracks or more."""
    return () if measures is None else _parts({"blurred": _too_blurred(measures)}, measures)


def unsteady(measures: Measures | None) -> tuple[Unjudged, ...]:
    """Return the parts of a picture in which motion of a few pixels cannot be excluded.

    It is no loss of cracks worth a word, but it may draw a hair crack as a wide pale one. Under
    noise, ``grainy``, it may be long.
    """
    if measures is None:
        return ()
    score, grainy = measures.blur(), measures.grainy()
    maybe = ~np.isfinite(score) | (score > UNSTEADY)
    return _parts({"unsteady": maybe & ~grainy, "grainy": grainy}, measures)


def is_worth_a_word(shares: Mapping[str, float]) -> bool:
    """Return whether so much of a picture is impaired, by code, that a reader must be warned."""
    blurred = shares.get("blurred", 0.0) + shares.get("soft", 0.0)
    return blurred >= WORTH_BLURRED or sum(shares.values()) - blurred >= _WORTH


def impaired_notices(parts: tuple[Unjudged, ...]) -> list[Notice]:
    """Return what the report says of the parts in which cracks are missed."""
    if not is_worth_a_word({part.code: part.share for part in parts}):
        return []
    shares = (f"{100 * part.share:.0f} % of it is {_WORDS[part.code]}" for part in parts)
    text = (
        f"Fewer cracks are found in this picture than was tested: {'; '.join(shares)}. In such "
        "photographs at least a tenth of all cracks is missed, of hair cracks about a quarter: "
        "that nothing is marked there says little."
    )
    return [Notice(code="fewer_found", message=text)]


def _pooled(plane: Array, counts: Array) -> Array:
    """Return the mean of each block and its neighbours, by how much of each counts."""
    weight = np.maximum(counts, 1e-6)
    sums, weights = (
        cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE)
        for values in (plane * weight, weight)
    )
    pooled: Array = sums / weights
    return pooled


def _log_ratio(part: Array, whole: Array, low: float = 0.1, high: float = 8.0) -> Array:
    ratio: Array = np.log(np.clip(part / np.maximum(whole, 1e-2), low, high))
    return ratio


def _pairs(one: Array, two: Array, four: Array, eight: Array) -> tuple[tuple[Array, Array], ...]:
    """Return which fourth powers are put over which."""
    return (one, four), (two, four), (four, eight)


def _log_of(steep: Array, square: Array) -> Array:
    """Return the log of a mean fourth power over the squared mean square."""
    peak: Array = np.log(np.maximum(steep**2, 1e-3) / np.maximum(square**2, 1e-3))
    return peak


def _sorted_ways(*logs: Array) -> Iterator[Array]:
    """Yield each log in the blurrier of rows and columns and in the other; then of diagonals."""
    for one, two in ((0, 1), (2, 3)):
        first = logs[0][one] <= logs[0][two]
        for log in logs:
            yield np.where(first, log[one], log[two])
            yield np.where(first, log[two], log[one])


def _parts(areas: Mapping[str, Array], measures: Measures) -> tuple[Unjudged, ...]:
    """Return the areas with share and outline, the largest first."""
    area = np.outer(*(np.diff(edges) for edges in measures.edges))
    parts = [
        Unjudged(code=code, share=share, outlines=_outlines(blocks, measures.edges))
        for code, blocks in areas.items()
        if (share := float(area[blocks].sum() / area.sum())) >= _LEAST_SHARE
    ]
    return tuple(sorted(parts, key=lambda part: -part.share))


def _too_blurred(measures: Measures) -> Array:
    lost: Array = measures.areas()["blurred"] & (measures.blur(half=True) > SPOILT)
    return lost


def _outlines(blocks: Array, edges: tuple[Array, Array]) -> tuple[Array, ...]:
    """Return the (N, 2) rows, cols of polygons round blocks, holes too."""
    cells = np.kron(blocks.astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(cells, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rows, cols = (np.asarray(places, float) for places in edges)
    polygons = []
    for contour in contours:
        col, row = contour.reshape(-1, 2).T
        corners = np.column_stack([rows[(row + 1) // 2], cols[(col + 1) // 2]])
        polygons.append(corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)])
    return tuple(polygons)
