"""Areas of a picture in which cracks are missed: blurred, dark, noisy, overexposed, recompressed.

Blur is told by how fast grey values part with distance. Over blocks of the luminance the mean
square of the difference between pixels 1, 2, 3, 4 and 6 px apart is taken along rows, columns and
both diagonals. From lag to lag it grows slowly where edges are sharp, since it is large at once,
and quickly where a lens or a moving camera has spread them; noise, which adds the same to every
lag, drops out of its growth. The larger lags tell how rough the surface is by itself. Weights and
limits were fitted where the model finds a tenth less crack than in the sharp picture; blur of
twice that spread, at which about half is lost, is what is told at half the size: see
docs/quality.md and ``data/studies/quality.py``. A block whose grey hardly changes tells nothing,
and is not called blurred.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.records import Array, Notice, Unjudged

BLOCK_PX = 64
_WORDS = {
    "blurred": "blurred",
    "soft": "slightly blurred",
    "dark": "too dark",
    "overexposed": "overexposed",
    "compressed": "compressed too hard",
    "noisy": "noisy",
}
_LEAST_SHARE = 0.005  # of the picture: a smaller part is not told of
# Shares of the picture from which on it is warned of: less is a shadow, a puddle, a smooth patch.
_WORTH, _WORTH_BLURRED, _WORTH_SOFT = 0.1, 0.15, 0.5
_LEAST_PX = 16  # of a strip: fewer rows say nothing
_LEAST_SIDE_PX = 2 * BLOCK_PX  # of a picture: a block alone says too little
_LAGS = (1, 2, 3, 4, 6)
_FAR = 4  # px, the lag at which a block's structure is judged
_STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # along rows, columns, both diagonals
_EVERY, _EVERY_OF_HALF = 3, 1  # only every so manyth row is compared with others
_THIN = 4  # ... and is looked at for light, noise and grid
_GRID_PX = 8  # JPEG works in blocks of it
_LEAST_GROWTH = 1.0  # square grey levels from 2 to 4 px; less is no structure
_LEAST_SHARE_OF_NOISE = 0.15  # ... and over what there is at 2 px: less is noise
# Squared mean over mean square of the differences 4 px apart: 0.64 of normal ones, 0.1 of one sharp
# line on a smooth wall, whose growth is that of its edges and says nothing of the surface.
_LEAST_EVENNESS = 0.25
# Logistic score of blur: a constant, then the weights of what ``Measures.terms`` lists. Above 0 a
# tenth of all cracks is missed, above BLURRED a fifth.
WEIGHTS = (-8.654, -10.620, -0.943, 0.718, -1.966, -3.220, 3.590, 2.014, 0.048, -0.646)
BLURRED = 1.0
_CLIPPED = 250  # level of 255 of the darkest channel
DARK_MEAN, BLACK_MEAN = 34.0, 9.0  # grey level; below the latter a frame shows nothing
OVEREXPOSED_SHARE, _WHITE_SHARE = 0.05, 0.98  # of the pixels of a block that are clipped
_LEAST_STEP = 0.8  # grey levels from pixel to pixel; less is any JPEG of a smooth wall
COMPRESSED_STEP = 0.8  # log of the steps on JPEG's grid over those elsewhere
NOISY_LEVELS, NOISY_SHARE = 10.0, 0.48  # standard deviation, and that over the contrast


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured in (n, m) blocks, each the mean over the block and its neighbours."""

    growth: Array  # (2, 4, 5, n, m) mean square difference: full and half size, step, lag
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
        score = WEIGHTS[0] + np.tensordot(WEIGHTS[1:], self.terms(half), axes=1)
        return np.where(self._tells(half), score, -np.inf)

    def terms(self, half: bool = False) -> Array:
        """Return the (9, n, m) logs that the weights are for.

        Growth from 1-2 to 2-4 px, one over the other, in the blurrier of rows and columns and in
        the other, growth from 2-3 to 3-6 px in both; the same of the diagonals; the contrast.
        """
        fine, rough, contrast = self._logs(half)
        terms = []
        for one, two in ((0, 1), (2, 3)):
            first = fine[one] <= fine[two]
            for logs in (fine, rough):
                terms.append(np.where(first, logs[one], logs[two]))
                terms.append(np.where(first, logs[two], logs[one]))
        return np.stack([*terms, contrast[:2].mean(axis=0)])

    def _logs(self, half: bool) -> tuple[Array, Array, Array]:
        """Return the logs of fine growth, rough growth and contrast by direction, (4, n, m)."""
        one, two, three, four, six = self.growth[int(half)].swapaxes(0, 1)
        contrast: Array = 0.5 * np.log(np.maximum(four, 0.1))
        return _log_ratio(two - one, four - two), _log_ratio(three - two, six - three), contrast

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
        """Return the (n, m) log of the steps on a grid of 8 px over the others, both ways."""
        ways = []
        for steps in np.maximum(self.grid, _LEAST_STEP):
            highest = steps.max(axis=0)
            ways.append(np.log(highest * (_GRID_PX - 1) / (steps.sum(axis=0) - highest)))
        least: Array = np.minimum(*ways)
        return least

    def areas(self) -> dict[str, Array]:
        """Return where cracks are missed, (n, m) bool by code; each block has one code at most."""
        contrast = np.sqrt(np.maximum(self.growth[0, 0, 3], 1.0))
        blur = self.blur()
        blocks_by_code = {
            "dark": self.mean <= DARK_MEAN,
            "overexposed": self.clipped >= OVEREXPOSED_SHARE,
            "compressed": self.steps_on_grid() >= COMPRESSED_STEP,
            "noisy": (self.noise >= NOISY_LEVELS) & (self.noise >= NOISY_SHARE * contrast),
            "blurred": blur > BLURRED,
            "soft": blur > 0,
        }
        shows = (self.mean > BLACK_MEAN) & (self.clipped <= _WHITE_SHARE)  # else: ``blank``
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
        self._strips: list[_Strip] = []

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
            self._strips.append(_measure(pixels[strip], valid[strip]))
        self._rest = pixels[whole:].copy(), valid[whole:].copy()

    def measures(self) -> Measures | None:
        """Return what was measured, None of a picture too small to tell anything."""
        strips = list(self._strips)
        if self._rest is not None and len(self._rest[0]) >= _LEAST_PX:
            strips.append(_measure(*self._rest))
        if not strips:
            return None
        height, width = self._size
        rows = np.append(BLOCK_PX * np.arange(len(strips)), height)
        counts = np.stack([strip.counts for strip in strips])
        whole = np.stack([strip.values for strip in strips], axis=1)
        smooth = np.stack([_pooled(plane, counts) for plane in whole])
        parts = np.split(smooth, [2 * len(_STEPS) * (len(_LAGS) + 1)])
        growth = parts[0].reshape(2, len(_STEPS), len(_LAGS) + 1, *counts.shape)
        rest = parts[1]
        return Measures(
            growth=growth[:, :, :-1],
            change=growth[:, :, -1],
            mean=rest[0],
            clipped=rest[1],
            noise=rest[2],
            grid=rest[3:].reshape(2, _GRID_PX, *counts.shape),
            counts=counts,
            edges=(rows, np.append(_edges(width, BLOCK_PX), width)),
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


def is_worth_a_word(shares: Mapping[str, float]) -> bool:
    """Return whether so much of a picture is impaired, by code, that a reader must be warned."""
    blurred = shares.get("blurred", 0.0)
    soft = shares.get("soft", 0.0)
    others = sum(shares.values()) - blurred - soft
    return others >= _WORTH or blurred >= _WORTH_BLURRED or blurred + soft >= _WORTH_SOFT


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


@dataclass(frozen=True, slots=True)
class _Strip:
    values: Array  # (K, m)
    counts: Array  # (m,)


def _measure(pixels: Array, valid: Array) -> _Strip:
    """Return the measures of one row of blocks."""
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    edges = _edges(width, BLOCK_PX)
    half = cv2.resize(grey, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    clipped = cv2.inRange(pixels[::_THIN], (_CLIPPED,) * 3, (255,) * 3)
    values = (
        *_growth(grey, edges, _EVERY),
        *_growth(half, edges // 2, _EVERY_OF_HALF),
        _by_block(_column_means(grey[::_THIN]), edges),
        _by_block(_column_means(clipped), edges) / 255,
        _noise(grey, edges),
        *_grid(grey, edges),
    )
    return _Strip(np.stack(values), _by_block(valid.mean(axis=0), edges))


def _growth(grey: Array, edges: Array, every: int) -> Iterator[Array]:
    """Yield by step the (m,) mean square difference of each lag, and the mean one at 4 px."""
    height, width = grey.shape
    rows, cols = height - _LAGS[-1], width - _LAGS[-1]  # that every lag has: else their growth
    for down, right in _STEPS:  # is what single rows differ by
        first = _LAGS[-1] if right < 0 else 0
        here = grey[:rows:every, first : first + cols]
        for lag in _LAGS:
            left = first + right * lag
            there = grey[down * lag : down * lag + rows : every, left : left + cols]
            off = cv2.absdiff(there, here)
            yield _by_block(_column_means(cv2.multiply(off, off, dtype=cv2.CV_32F)), edges)
            if lag == _FAR:
                change = _by_block(_column_means(off), edges)
        yield change


def _noise(grey: Array, edges: Array) -> Array:
    """Return the (m,) standard deviation of noise, by second differences both ways.

    Source: Immerkaer, Fast noise variance estimation, 1996.
    """
    height = len(grey) - 2
    rows = [grey[k : height + k : _THIN].astype(np.int16) for k in range(3)]
    across = rows[0] - 2 * rows[1] + rows[2]
    both = np.abs(across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:])
    noise: Array = _by_block(both.mean(axis=0), edges) * (np.sqrt(np.pi / 2) / 6)
    return noise


def _grid(grey: Array, edges: Array) -> Iterator[Array]:
    """Yield the (m,) mean step from column to column at each place of 8, then from row to row."""
    steps = _column_means(cv2.absdiff(grey[::_THIN, 1:], grey[::_THIN, :-1]))
    for place in range(_GRID_PX):
        at = np.arange(len(steps)) % _GRID_PX == place
        yield _by_block(np.where(at, steps, 0), edges) * _GRID_PX
    thin = np.ascontiguousarray(grey[:, ::_THIN])
    steps = cv2.absdiff(thin[1:], thin[:-1])
    for place in range(_GRID_PX):
        yield _by_block(_column_means(steps[place::_GRID_PX]), edges // _THIN)


def _edges(width: int, block: int) -> Array:
    """Return the first column of each block; the last one takes what is left."""
    return block * np.arange(max(round(width / block), 1))


def _column_means(plane: Array) -> Array:
    means: Array = cv2.reduce(plane, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
    return means


def _by_block(columns: Array, edges: Array) -> Array:
    """Return the (m,) mean of (W,) columns over blocks that begin at the edges."""
    edges = np.minimum(edges, len(columns) - 1)
    sums = np.add.reduceat(columns, edges, dtype=np.float64)
    means: Array = sums / np.maximum(np.diff(np.append(edges, len(columns))), 1)
    return means


def _pooled(plane: Array, counts: Array) -> Array:
    """Return the mean of each block and its neighbours, by how much of each counts."""
    weight = np.maximum(counts, 1e-6)
    sums, weights = (
        cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE)
        for values in (plane * weight, weight)
    )
    pooled: Array = sums / weights
    return pooled


def _log_ratio(part: Array, whole: Array) -> Array:
    ratio: Array = np.log(np.clip(part / np.maximum(whole, 1e-2), 0.1, 8))
    return ratio


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
    areas = measures.areas()
    lost: Array = (areas["blurred"] | areas["soft"]) & (measures.blur(half=True) > 0)
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
