"""How much of a region's shapes lies outside of the picture: a sign of x and y that are swapped."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crackseg.records import Array, ImageInfo, Notice

_SLIP_PX = 5.0  # beyond the picture: less is a slip of the hand at its edge
_LEAST_SHARE = 0.005  # of a shape outside of the picture: less is none in per cent
_MOST_NAMED = 3  # shapes in a sentence; more are counted


def line_outside(line: Array, info: ImageInfo) -> float:
    """Return the share of the length of (N, 2) x, y that lies outside of the picture."""
    if not _reaches_out(line, info):
        return 0.0
    start, step = line[:-1], np.diff(line, axis=0)
    step = np.where(step == 0, 1e-12, step)  # along a row or a column it enters and leaves nowhere
    low, high = (
        (-0.5 - start) / step,
        (np.array([info.width_px, info.height_px]) - 0.5 - start) / step,
    )
    enters, leaves = np.minimum(low, high).max(axis=1), np.maximum(low, high).min(axis=1)
    inside = np.clip(np.minimum(leaves, 1) - np.maximum(enters, 0), 0, 1)
    length = np.hypot(*step.T)
    return float(1 - (inside * length).sum() / length.sum())


def area_outside(outline: Array, inside_px: float, info: ImageInfo) -> float:
    """Return the share of the area of (N, 2) x, y outside of the picture, from what is inside."""
    if not _reaches_out(outline, info):
        return 0.0
    x, y = (outline - outline[0]).T
    area = 0.5 * abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()))
    return float(np.clip(1 - inside_px / max(area, 1.0), 0, 1))


def _reaches_out(points: Array, info: ImageInfo) -> bool:
    size = np.array([info.width_px, info.height_px])
    return bool(((points < -_SLIP_PX) | (points > size - 1 + _SLIP_PX)).any())


def outside_notice(
    outside: list[tuple[str, float]], info: ImageInfo, name: str, *, in_pixels: bool
) -> Iterator[Notice]:
    """Yield the notice of shapes that lie outside of the picture in part.

    On a map that is as it should be, unless all of them do.

    Args:
        outside: of each shape, which it is and the share of it.
        info: of the picture.
        name: of the file.
        in_pixels: whether its coordinates are those of this picture alone.
    """
    named = [
        f"{100 * share:.0f} % of {where.removeprefix(f'`{name}`, ')}"
        for where, share in outside
        if share >= _LEAST_SHARE
    ]
    if in_pixels and named:
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        text = (
            f"`{name}` lies in part outside of the picture of {info.width_px} x {info.height_px} "
            f"px: {', '.join(named[:_MOST_NAMED])}{more}. If that is not meant: x is the column "
            "and y the row of the upright picture, in its own pixels."
        )
        yield Notice(code="region_outside", message=text)
    elif all(share > 1 - _LEAST_SHARE for _, share in outside):
        text = f"Nothing of `{name}` lies on this picture. If that is not meant: check where it is."
        yield Notice(code="region_outside", message=text)
