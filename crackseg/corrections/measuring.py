"""Measure one shape by itself, with the code and the uncertainties of every other crack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crackseg.corrections.shapes import Shape
from crackseg.imagery.files import OpenImage
from crackseg.imagery.nothing import shown
from crackseg.metrology.centreline import Line
from crackseg.metrology.classes import Document, classify
from crackseg.metrology.cracks import measure_lines
from crackseg.metrology.cuts import cut_by
from crackseg.metrology.masks import fill_pinholes
from crackseg.metrology.summary import Place
from crackseg.records import Array, Branch, Crack, Measure, Scale, Window
from crackseg.runs import Runs

_MARGIN_PX = 96  # of photograph around the lines, beyond what a wide crack needs
_PINHOLE_PX = 12


def measure_shape(
    shape: Shape, image: OpenImage, scale: Scale | None, documents: Sequence[Document]
) -> Crack:
    """Return the crack of a shape; its number, section and certainty are set by the caller.

    Args:
        shape: lines and mask in the coordinates of the picture.
        image: the open photograph.
        scale: makes mm.
        documents: of the width classes.
    """
    frame = _frame(shape, image)
    origin = np.array([frame.row, frame.col])
    lines = [replace(line, points=line.points - origin) for line in shape.lines]
    mask = np.zeros((frame.height, frame.width), bool)
    top, left = shape.window.row - frame.row, shape.window.col - frame.col
    mask[top : top + shape.window.height, left : left + shape.window.width] = shape.mask

    def read(window: Window) -> Array:
        return image.read(_moved_window(window, frame.row, frame.col))

    _, valid, _ = shown(mask, image.load(frame)[1], read)
    cuts = [cut_by(line, (frame.height, frame.width), valid, read) for line in _at_tips(lines)]
    (crack,) = measure_lines(
        lines,
        np.zeros(len(lines), int),
        fill_pinholes(mask, _PINHOLE_PX),
        cuts,
        lambda name: _place(mask, frame, image),
        image=read,
        scale=_in_frame(scale, frame),
    )
    if "not_dark" in crack.flags and crack.width_mean.px is None:
        crack = _without_width(crack)
    crack = replace(crack, width_classes=classify(crack.width_p95, documents))
    return _moved(crack, frame.row, frame.col)


def _without_width(crack: Crack) -> Crack:
    """Return a crack that follows nothing dark: what is wide on its way are other lines' widths."""
    none = Measure(px=None, status="not_resolvable")
    names = ("width_mean", "width_median", "width_p95", "width_max")
    widths: dict[str, Any] = dict.fromkeys(names, none)
    return replace(crack, **widths, width_max_at=None, openings=())


def _at_tips(lines: list[Line]) -> list[Line]:
    """Return the lines as `cut_by` asks for them: a short one has no direction and no cut."""
    return [line if len(line.points) > 2 else replace(line, free=(False, False)) for line in lines]


def _frame(shape: Shape, image: OpenImage) -> Window:
    """Return the part of the picture in which a shape is measured."""
    low, high = shape.points.min(axis=0), shape.points.max(axis=0)
    window = shape.window
    top, left = min(int(low[0]), window.row), min(int(low[1]), window.col)
    bottom = max(int(np.ceil(high[0])) + 1, window.row + window.height)
    right = max(int(np.ceil(high[1])) + 1, window.col + window.width)
    margin = _MARGIN_PX + int(2 * max(line.radius_max_px for line in shape.lines))
    box = Window(row=top, col=left, height=bottom - top, width=right - left)
    return box.padded(margin, image.info.height_px, image.info.width_px)


def _place(mask: Array, frame: Window, image: OpenImage) -> Place:
    rows, cols = np.nonzero(mask)
    top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
    in_picture = (top + frame.row, left + frame.col, bottom + frame.row, right + frame.col)
    ends = (0, 0, image.info.height_px, image.info.width_px)
    return Place(
        window=Window(
            row=int(top), col=int(left), height=int(bottom - top), width=int(right - left)
        ),
        crop=Runs.of(mask[top:bottom, left:right]),
        rows=rows,
        cols=cols,
        touches_border=any(a == b for a, b in zip(in_picture, ends, strict=True)),
        probability_mean=None,
    )


def _in_frame(scale: Scale | None, frame: Window) -> Scale | None:
    """Return the scale for places counted from the corner of a part of the picture."""
    if scale is None or scale.homography is None:
        return scale
    shift = np.array([[1, 0, frame.col], [0, 1, frame.row], [0, 0, 1]], dtype=np.float64)
    matrix = np.asarray(scale.homography) @ shift
    first, second, third = ((float(a), float(b), float(c)) for a, b, c in matrix)
    return replace(scale, homography=(first, second, third))


def _moved(crack: Crack, rows: int, cols: int) -> Crack:
    """Return a crack as it lies in the whole picture."""
    shift = np.array([rows, cols], dtype=np.float64)
    at = crack.width_max_at
    return replace(
        crack,
        window=_moved_window(crack.window, rows, cols),
        branches=tuple(_moved_branch(branch, shift) for branch in crack.branches),
        width_max_at=None if at is None else (at[0] + rows, at[1] + cols),
        openings=tuple(replace(o, row=o.row + rows, col=o.col + cols) for o in crack.openings),
    )


def _moved_branch(branch: Branch, shift: Array) -> Branch:
    return replace(branch, centre_line=branch.centre_line + shift, edges=branch.edges + shift)


def _moved_window(window: Window, rows: int, cols: int) -> Window:
    return replace(window, row=window.row + rows, col=window.col + cols)
