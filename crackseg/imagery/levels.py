"""Pixel values of any depth become 8 bit, by the range that the file really uses.

A 12-bit camera stores 0 to 4095 in 16-bit words; scaling by 65535 would leave 16 grey levels, and
cutting at 255 would leave one. The range goes from the 0.01 % to the 99.99 % quantile, so that a
dead or hot pixel does not decide it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from crackseg.records import Array, Notice

_TAIL = 1e-4  # share of pixels left out at each end


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The values that become 0 and 255."""

    low: float
    high: float


def find_levels(blocks: Iterable[Array]) -> Levels:
    """Return the range of the values in all blocks of a picture.

    Memory does not grow with the picture: 16-bit unsigned values are counted, of other types the
    smallest and the largest finite values of each block are kept.

    Args:
        blocks: arrays of one dtype and any shape, read one after the other.
    """
    counts = np.zeros(65536, dtype=np.int64)
    tails = _Tails([], [])
    for block in blocks:
        if block.dtype == np.uint16:
            counts += np.bincount(block.ravel(), minlength=65536)
            continue
        finite = block[np.isfinite(block)] if block.dtype.kind == "f" else block
        if finite.size:
            tails.add(finite.ravel())
    low, high = _quantiles(counts) if counts.any() else tails.ends()
    return Levels(low=low, high=high) if low <= high else Levels(low=0.0, high=1.0)


def to_uint8(values: Array, levels: Levels) -> Array:
    """Return values as uint8, ``levels.low`` at 0 and ``levels.high`` at 255; nan becomes 0."""
    span = max(levels.high - levels.low, np.finfo(np.float64).tiny)
    if values.dtype == np.uint16:
        steps = (np.arange(65536) - levels.low) * (255 / span)
        table = np.clip(np.rint(steps), 0, 255).astype(np.uint8)
        scaled: Array = table[values]
        return scaled
    with np.errstate(over="ignore", invalid="ignore"):  # wild floats end at 0 or 255
        steps = np.rint((values.astype(np.float64) - levels.low) * (255 / span))
        clipped = np.nan_to_num(np.clip(steps, 0, 255), nan=0.0)
    scaled = clipped.astype(np.uint8)
    return scaled


def range_notice(name: str, kind: str, levels: Levels) -> Notice:
    """Return the notice that says which values were scaled to 8 bit."""
    return Notice(
        code="scaled_to_8_bit",
        message=f"`{name}` holds {kind} values; its range {levels.low:g} to {levels.high:g} was "
        "scaled to 8 bit.",
    )


@dataclass
class _Tails:
    """The smallest and the largest values of blocks."""

    lows: list[Array]
    highs: list[Array]
    count: int = 0

    def add(self, values: Array) -> None:
        """Take in the (N,) values of a block."""
        some = int(len(values) * _TAIL) + 1
        self.lows.append(np.partition(values, some - 1)[:some])
        self.highs.append(np.partition(values, len(values) - some)[len(values) - some :])
        self.count += len(values)

    def ends(self) -> tuple[float, float]:
        """Return the values at the two tails of all blocks."""
        if not self.count:
            return np.inf, -np.inf
        left_out = int(self.count * _TAIL)
        lows, highs = (np.sort(np.concatenate(part)) for part in (self.lows, self.highs))
        return float(lows[left_out]), float(highs[len(highs) - 1 - left_out])


def _quantiles(counts: Array) -> tuple[float, float]:
    """Return the values at the two tails of a histogram; few pixels give the plain range."""
    cumulated = np.cumsum(counts)
    total = int(cumulated[-1])
    left_out = int(total * _TAIL)
    low = int(np.searchsorted(cumulated, left_out, side="right"))
    high = int(np.searchsorted(cumulated, total - left_out, side="left"))
    return float(low), float(high)
