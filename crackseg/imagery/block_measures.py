"""What of a block of a picture is measured, whatever is said of it: see ``clarity``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from crackseg.records import Array

BLOCK_PX = 64
LAGS = (1, 2, 3, 4, 6, 8)
STEEP_LAGS = (1, 2, 4, 8)  # of which the fourth power is taken too
_FAR = 4  # px, the lag at which a block's structure is judged
PLANES = len(LAGS) + len(STEEP_LAGS) + 1  # measured for each step
STEPS = ((0, 1), (1, 0), (1, 1), (1, -1))  # along rows, columns, both diagonals
_EVERY, _EVERY_OF_HALF = 5, 2  # only every so manyth row is compared with others
_THIN = 4  # ... and is looked at for light, noise and grid
GRID_PX = 8  # JPEG works in blocks of it
_CLIPPED = 250  # level of 255 of the darkest channel


@dataclass(frozen=True, slots=True)
class Strip:
    """One row of blocks of ``BLOCK_PX``."""

    values: Array  # (K, m) measures
    counts: Array  # (m,) share of each block that counts


def measure(pixels: Array, valid: Array) -> Strip:
    """Return the measures of one row of blocks.

    Args:
        pixels: (h, W, 3) uint8 RGB, h up to ``BLOCK_PX``.
        valid: (h, W) bool, True = counts.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    edges = block_edges(width, BLOCK_PX)
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
    counts = np.ones(len(edges)) if valid.all() else _by_block(valid.mean(axis=0), edges)
    return Strip(np.stack(values), counts)


def _growth(grey: Array, edges: Array, every: int) -> Array:
    """Return by step the (K, m) mean square difference of each lag, fourth powers, the mean one."""
    height, width = grey.shape
    rows, cols = height - LAGS[-1], width - LAGS[-1]  # that every lag has: else their growth
    means = []
    for down, right in STEPS:  # is what single rows differ by
        first = LAGS[-1] if right < 0 else 0
        here = grey[:rows:every, first : first + cols]
        fourth = []
        for lag in LAGS:
            left = first + right * lag
            there = grey[down * lag : down * lag + rows : every, left : left + cols]
            off = cv2.absdiff(there, here)
            square = cv2.multiply(off, off, dtype=cv2.CV_32F)
            means.append(_column_means(square))
            if lag in STEEP_LAGS:
                fourth.append(_column_means(cv2.multiply(square, square)))
            if lag == _FAR:
                change = _column_means(off)
        means += [*fourth, change]
    return _by_block(np.stack(means), edges)


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
    """Yield the (8, m) mean step from column to column at each place of 8, then from row to row."""
    steps = _column_means(cv2.absdiff(grey[::_THIN, 1:], grey[::_THIN, :-1]))
    place = np.arange(len(steps)) % GRID_PX
    yield from (
        _by_block(np.where(place == np.arange(GRID_PX)[:, None], steps, 0), edges) * GRID_PX
    )
    thin = np.ascontiguousarray(grey[:, ::_THIN])
    steps = cv2.absdiff(thin[1:], thin[:-1])
    means = [_column_means(steps[place::GRID_PX]) for place in range(GRID_PX)]
    yield from _by_block(np.stack(means), edges // _THIN)


def block_edges(width: int, block: int) -> Array:
    """Return the first column of each block; the last one takes what is left."""
    return block * np.arange(max(round(width / block), 1))


def _column_means(plane: Array) -> Array:
    means: Array = cv2.reduce(plane, 0, cv2.REDUCE_AVG, dtype=cv2.CV_32F)[0]
    return means


def _by_block(columns: Array, edges: Array) -> Array:
    """Return the (..., m) mean of (..., W) columns over blocks that begin at the edges."""
    width = columns.shape[-1]
    edges = np.minimum(edges, width - 1)
    sums = np.add.reduceat(columns, edges, axis=-1, dtype=np.float64)
    means: Array = sums / np.maximum(np.diff(np.append(edges, width)), 1)
    return means
