"""What every decoder hands to ``open_image``, and the gate that each header must pass."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crackseg.errors import ImageError
from crackseg.imagery.metadata import PARSE_ERRORS, Facts
from crackseg.records import Array, Notice, Window

Pixels = tuple[Array, Array | None]  # (h, w, 3) uint8 RGB, (h, w) bool or None = all count

# What decoders raise on damaged bytes; a fuzzed file must end here and nowhere else.
DECODE_ERRORS = (*PARSE_ERRORS, AssertionError, zlib.error)
# Photographs need about 1 bit per pixel or more (ratio <= 30), flat ones reach 250; deflate ends
# near 1030. Small pictures are let through: they cannot hurt.
MAX_RATIO = 400.0
RATIO_FROM_PX = 16_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What one decoder knows of a file: stored size, header facts, and how to read a window."""

    height_px: int
    width_px: int
    format: str
    facts: Facts
    decode: Callable[[], tuple[Notice, ...]]  # what every window needs; ``load`` does it too
    load: Callable[[Window], Pixels]
    close: Callable[[], None]
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a header may claim: pixels, and claimed bytes per stored byte (a mask has no limit)."""

    max_px: float
    max_ratio: float = MAX_RATIO


def check_header(
    path: Path, height_px: int, width_px: int, *, stored: float, limits: Limits
) -> None:
    """Refuse a picture that is too large, or impossibly large for the bytes it is stored in.

    Args:
        path: for the message.
        height_px: rows that the header claims.
        width_px: columns that the header claims.
        stored: claimed bytes per stored byte.
        limits: what is refused.
    """
    if height_px < 1 or width_px < 1:
        raise ImageError(f"`{path.name}` says it has {height_px} x {width_px} px: nothing to see.")
    pixels = height_px * width_px
    if pixels > limits.max_px:
        raise ImageError(
            f"`{path.name}` has {width_px} x {height_px} px = {pixels / 1e6:.0f} megapixels, more "
            f"than the limit of {limits.max_px / 1e6:g}; raise `max_megapixels` or cut the picture."
        )
    if pixels > RATIO_FROM_PX and stored > limits.max_ratio:
        raise ImageError(
            f"`{path.name}` claims {pixels / 1e6:.0f} megapixels in so few bytes "
            f"({stored:.0f} times compressed; a photograph stays below {limits.max_ratio:.0f}): "
            "refused as a bomb."
        )


def multi_page(path: Path, which: str = "first") -> Notice:
    """Return the notice of a file with several pictures."""
    return Notice(
        code="multi_page",
        message=f"`{path.name}` holds several pictures; only the {which} was analyzed.",
    )
