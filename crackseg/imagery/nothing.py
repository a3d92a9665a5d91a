"""What of a mask lies where the picture shows nothing: no data, or an area of plain black or white.

Frames, collars and the wedges beside a rotated photograph are often black or white, and no tag of
the file says so. A crack that runs into one is cut there, and no mask drawn over it measures a
crack. What the mask covers for the most part is left to it: it may be a cavity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from crackseg.imagery.nodata import MARGIN_PX, smeared
from crackseg.records import Array, Notice, Window
from crackseg.runs import Mask, Runs

_TILE_PX = 1024
_REACH_PX = 32  # beyond a mask that is asked about: as far as its ends are followed, and more
# Levels of 255 that an area differs by from black and from white, and those that JPEG adds beside
# the picture. The black of a shadow is noisier, and light plaster is not clipped.
_BLACK, _WHITE = (12, 48), (5, 24)
# A third of the nothing about a place, in a square of this side: a mask that covers more than that
# is no line that was drawn across it.
_COVERED_SHARE, _ABOUT_PX = 1 / 3, 147
_AROUND_PX = MARGIN_PX + _ABOUT_PX // 2  # what must be known around a tile


def shown(
    mask: Mask, valid: Mask | None, read: Callable[[Window], Array] | None
) -> tuple[Runs, Mask | None, int]:
    """Return what of a mask the picture shows, which pixels show something, and what is lost in px.

    Args:
        mask: (H, W) bool, True = crack.
        valid: (H, W) bool, False where the picture is said to hold no data; None: nowhere.
        read: reads a window of the photograph as (h, w, 3) uint8 RGB; None: there is none.

    Returns:
        The mask without what lies on nothing; ``valid`` without what shows nothing near the mask,
        None where all does; and the number of pixels that the mask lost.
    """
    drawn = Runs.of(mask)
    nothing = Runs.union(() if read is None else _nothing_near(drawn, read), drawn.shape)
    kept = drawn if valid is None else _holding(drawn, valid)
    if nothing.any():
        seen = nothing.outside()
        kept = kept.both(seen)
        if valid is None or isinstance(valid, Runs):
            valid = seen if valid is None else valid.both(seen)
        else:
            valid = valid.copy()
            valid[nothing.nonzero()] = False
    return kept, valid, drawn.sum() - kept.sum()


def lost_notices(lost_px: int, kept_px: int) -> Iterator[Notice]:
    """Yield what is said of a mask that lies in part where the picture shows nothing.

    Args:
        lost_px: how much of it does.
        kept_px: how much of it is measured.
    """
    if lost_px:
        share = lost_px / (lost_px + kept_px)
        text = (
            f"{lost_px} px of what is marked as crack, {100 * share:.1f} % of it, lie where "
            "the picture holds no data, or is plain black or burnt out over an area: they are "
            "not measured."
        )
        yield Notice(code="marked_on_nothing", message=text)


def _holding(mask: Runs, valid: Mask) -> Runs:
    """Return the part of a mask that holds data."""
    places = mask.pixels()
    return Runs.at(places[valid[np.divmod(places, mask.shape[1])]], mask.shape)


def _nothing_near(mask: Runs, read: Callable[[Window], Array]) -> Iterator[Runs]:
    """Yield the undeclared nothing of every tile of a picture near which the mask is."""
    height, width = mask.shape
    for top in range(0, height, _TILE_PX):
        for left in range(0, width, _TILE_PX):
            tile = Window(
                row=top,
                col=left,
                height=min(_TILE_PX, height - top),
                width=min(_TILE_PX, width - left),
            )
            if not mask[tile.padded(_REACH_PX, height, width).slices].any():
                continue
            wide = tile.padded(_AROUND_PX, height, width)
            nothing = _nothing(read(wide), mask[wide.slices], wide, mask.shape)
            row, col = top - wide.row, left - wide.col
            own = nothing[row : row + tile.height, col : col + tile.width]
            yield Runs.of(own).moved(top, left, mask.shape)


def _nothing(pixels: Array, mask: Array, wide: Window, size_px: tuple[int, int]) -> Array:
    """Return the (h, w) bool pixels that lie in areas of plain black or white."""
    red, green, blue = cv2.split(pixels)
    from_black = cv2.max(cv2.max(red, green), blue)
    from_white = 255 - cv2.min(cv2.min(red, green), blue)
    nothing = np.zeros(mask.shape, bool)
    for distance, (near, ringing) in ((from_black, _BLACK), (from_white, _WHITE)):
        if distance.min() <= near:
            nothing |= smeared(distance, wide, *size_px, near=near, ringing=ringing)
    if not nothing.any():
        return nothing
    of_mask, of_all = (
        cv2.boxFilter(part.astype(np.float32), -1, (_ABOUT_PX,) * 2, normalize=False)
        for part in (nothing & mask, nothing)
    )
    plain: Array = nothing & (of_mask <= _COVERED_SHARE * of_all)
    return plain
