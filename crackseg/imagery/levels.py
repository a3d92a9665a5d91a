"""Pixel values of any depth become 8 bit, by the range in which they were stored.

A width is read from how dark a crack is in terms of the concrete beside it, so that black must stay
black: a copy of a photograph in more bits is read as the photograph is. Most pictures fill one of
a few ranges (0 to 4095, 0 to 65535, floats 0 to 1). What fits none, as counts of a sensor or floats
0 to 3.7, is scaled by its largest value. Only values far from 0 that hardly differ are stretched
at both ends; nothing else would show anything. The range is told by the 0.01 % and the 99.99 %
quantile, so that a dead or hot pixel does not decide it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crackseg.records import Array, Notice

_TAIL = 1e-4  # share of pixels left out at each end
_TOPS = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)  # what 8 to 16 bits hold, in words of any size
# A picture of fewer than 32 of 256 grey levels is no photograph: 1 px of a dark crack takes more.
_LEAST_SHARE = 1 / 8
_OVERSHOOT = 1.05  # what sharpening adds to floats that end at 1
_ROUNDING = 1e-4  # of a value: floats of 32 bits keep more than that


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """The values that become 0 and 255; ``stretched``: black did not stay black."""

    low: float
    high: float
    stretched: bool = False


def levels_of_bits(bits: int) -> Levels:
    """Return the whole range of values of so many bits."""
    return Levels(low=0.0, high=float(2**bits - 1))


def to_16_bits(values: Array, bits: int) -> Array:
    """Return uint16 values of up to 16 ``bits`` over all 16, as colour profiles and inks are."""
    if bits == 16:
        return values
    top = 2**bits - 1
    table = np.rint(np.arange(top + 1) * (65535 / top)).astype(np.uint16)
    wide: Array = table[np.minimum(values, top)]
    return wide


def find_levels(blocks: Iterable[Array]) -> Levels:
    """Return the range in which the values in all blocks of a picture were stored.

    Memory does not grow with the picture: 16-bit unsigned values are counted, of other types the
    smallest and the largest finite values of each block are kept.

    Args:
        blocks: arrays of one dtype and any shape, read one after the other.
    """
    counts = np.zeros(65536, dtype=np.int64)
    tails = _Tails()
    dtype = np.dtype(np.uint16)
    for block in blocks:
        dtype = block.dtype
        if dtype == np.uint16:
            counts += np.bincount(block.ravel(), minlength=65536)
            continue
        finite = block[np.isfinite(block)] if dtype.kind == "f" else block
        if finite.size:
            tails.add(finite.ravel())
    if counts.any():
        tails.copy_of.keep(np.flatnonzero(counts))
    low, high = _quantiles(counts) if counts.any() else tails.ends()
    if not low <= high:
        return Levels(low=0.0, high=1.0)
    return tails.copy_of.levels() or _fitting(low, high, dtype)


def _fitting(low: float, high: float, dtype: np.dtype[Any]) -> Levels:
    """Return the smallest range that values fill well enough: a standard one, else their own."""
    is_float = dtype.kind == "f"
    over = high / _OVERSHOOT if is_float else high
    tops = (1.0, *_TOPS) if is_float else (*_TOPS, float(np.iinfo(dtype).max))
    top = next((top for top in tops if over <= top), high)
    for end in (top, high):
        if low >= (1 - _OVERSHOOT) * end and high - low >= _LEAST_SHARE * end > 0:
            return Levels(low=0.0, high=end)
    return Levels(low=low, high=high, stretched=True)


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
    text = f"`{name}` holds {kind} values; its range {levels.low:g} to {levels.high:g} was "
    if not levels.stretched:
        return Notice(code="scaled_to_8_bit", message=f"{text}scaled to 8 bit.")
    return Notice(
        code="stretched_to_8_bit",
        message=f"{text}stretched to 8 bit: how dark a crack is cannot be told, so that widths "
        "under about 3 px may be wrong by more than their ±. Hand in a photograph that is stored "
        "from black to white.",
    )


class _Copy:
    """Whether all values are grey levels of 8 bit in a larger word: k, k * 257 or k / 255."""

    def __init__(self) -> None:
        self._tops = [1.0, 255.0, 65535.0]

    def keep(self, values: Array) -> None:
        """Take in (N,) values."""
        low, high = float(values.min()), float(values.max())
        self._tops = [
            top for top in self._tops if low >= 0 and high <= top and _are_whole(values, top)
        ]

    def levels(self) -> Levels | None:
        """Return the range of the copy, or None where it is none."""
        return Levels(low=0.0, high=self._tops[0]) if self._tops else None


@dataclass
class _Tails:
    """The smallest and the largest values of blocks, and whether all may be a copy of 8 bit."""

    lows: list[Array] = field(default_factory=list)
    highs: list[Array] = field(default_factory=list)
    count: int = 0
    copy_of: _Copy = field(default_factory=_Copy)

    def add(self, values: Array) -> None:
        """Take in the (N,) values of a block."""
        some = int(len(values) * _TAIL) + 1
        self.lows.append(np.partition(values, some - 1)[:some])
        self.highs.append(np.partition(values, len(values) - some)[len(values) - some :])
        self.count += len(values)
        self.copy_of.keep(values)

    def ends(self) -> tuple[float, float]:
        """Return the values at the two tails of all blocks."""
        if not self.count:
            return np.inf, -np.inf
        left_out = int(self.count * _TAIL)
        lows, highs = (np.sort(np.concatenate(part)) for part in (self.lows, self.highs))
        return float(lows[left_out]), float(highs[len(highs) - 1 - left_out])


def _are_whole(values: Array, top: float) -> bool:
    grey = values * (255 / top)
    whole = np.rint(grey)
    return bool((np.abs(grey - whole) <= _ROUNDING * whole).all())


def _quantiles(counts: Array) -> tuple[float, float]:
    """Return the values at the two tails of a histogram; few pixels give the plain range."""
    cumulated = np.cumsum(counts)
    total = int(cumulated[-1])
    left_out = int(total * _TAIL)
    low = int(np.searchsorted(cumulated, left_out, side="right"))
    high = int(np.searchsorted(cumulated, total - left_out, side="left"))
    return float(low), float(high)
