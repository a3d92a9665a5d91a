"""What inspectors said of a photograph's marks -> its mask of cracks and its areas.

A mark that was accepted, drawn or put on the list is crack; one that was rejected, erased or taken
off is none, and may still be another line; a joint is another line. What nobody decided is left
out, and so is what nobody can know: the rim of a crack as wide as its width is uncertain, stretches
that something hides, what lies out of the structure or holds no data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from crackseg.metrology.tracing import paint
from crackseg.records import Array
from crackseg.training.areas import LEFT_OUT, NO_CRACK, OTHER_LINE
from crackseg.training.judged import Judged

UNDECIDED_PX = 6  # around a mark that nobody decided: how far it reaches is not known either
REJECTED_PX = 2  # around a mark that is none: the edges of a cable teach too
NAMED_PX = 12.0  # a place that means a line lies so near to it
UNSEEN_PX = 4.0  # to either side of a stretch that bridges a gap or that something hides
_RIM_PX = (1, 4)  # least and most around a crack
_NO_WIDTH_PX = 3  # rim where nothing tells a crack's width
_UNSEEN = ("bridge", "hidden")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of a photograph and what they are made of."""

    mask: Array  # (H, W) bool, crack
    areas: Array  # (H, W) uint8, see ``areas``
    accepted: int
    drawn: int
    rejected: int
    joints: int
    undecided: int


def label_photograph(judged: Judged, mask: Array, valid: Array | None = None) -> Labels:
    """Return the labels of a photograph.

    Args:
        judged: its report and verdicts.
        mask: (H, W) bool of ``mask.png``, which shows all cracks of the report.
        valid: (H, W) bool, False where the photograph holds no data; None: everywhere.
    """
    report = judged.report
    owner = _owners(report["cracks"], mask)
    groups: dict[str, list[Mapping[str, Any]]] = {"accept": [], "reject": [], "open": []}
    for crack in report["cracks"]:
        groups[judged.word(crack)].append(crack)
    areas = np.zeros(mask.shape, np.uint8)
    gone = _bands((report.get("corrections") or {}).get("replaced") or (), mask.shape)
    rejected = gone | _marks(groups["reject"], owner)
    areas[_grown(rejected, REJECTED_PX)] = NO_CRACK
    named, untouched = _other_lines(report)
    areas[_grown(_bands((*report["joints"], *named), mask.shape), 1)] = OTHER_LINE
    undecided = _bands(untouched, mask.shape) | _marks(groups["open"], owner)
    areas[_grown(undecided, UNDECIDED_PX)] = LEFT_OUT
    crack, unsure = _cracks(groups["accept"], owner, mask.shape)
    areas[unsure & ~crack] = LEFT_OUT
    areas[crack] = 0
    outside = _left_out(report, mask.shape)
    if valid is not None:
        outside |= ~valid
    areas[outside] = LEFT_OUT
    drawn = sum("correction" in one for one in groups["accept"])
    return Labels(
        mask=crack & ~outside,
        areas=areas,
        accepted=len(groups["accept"]) - drawn,
        drawn=drawn,
        rejected=len(groups["reject"]) + _taken_off(report),
        joints=len(report["joints"]) + len(named),
        undecided=len(groups["open"]),
    )


def _other_lines(report: Mapping[str, Any]) -> tuple[list[Any], list[Any]]:
    """Return the other lines that an inspector named, and those that the network named alone.

    A report does not say whose a line is; the place of the edit tells.
    """
    edits = (report.get("corrections") or {}).get("edits") or ()
    places = [edit["point"] for edit in edits if edit["kind"] == "other_line"]
    named: list[Any] = []
    untouched: list[Any] = []
    for line in report["other_lines"] or ():
        points = np.concatenate([np.array(part, np.float64) for part in line["centre_line"]])
        near = any(np.linalg.norm(points - place, axis=1).min() <= NAMED_PX for place in places)
        (named if near else untouched).append(line)
    return named, untouched


def _taken_off(report: Mapping[str, Any]) -> int:
    """Return how many of the network's cracks an inspector said are none."""
    edits = (report.get("corrections") or {}).get("edits") or ()
    return sum(edit["kind"] == "not_a_crack" for edit in edits)


def _owners(cracks: Sequence[Mapping[str, Any]], mask: Array) -> Array:
    """Return (H, W) int32: the number of the crack whose centre line is nearest, -1 off the mask.

    A mask tells no crack from another where two touch.
    """
    owner = np.full(mask.shape, -1, np.int32)
    if not cracks or not mask.any():
        return owner
    lines = [np.concatenate([np.array(line) for line in crack["centre_line"]]) for crack in cracks]
    numbers = np.concatenate(
        [np.full(len(line), crack["id"]) for line, crack in zip(lines, cracks, strict=True)]
    )
    rows, cols = np.nonzero(mask)
    _, nearest = cKDTree(np.concatenate(lines)).query(np.column_stack([rows, cols]))
    owner[rows, cols] = numbers[nearest]
    return owner


def _marks(cracks: Sequence[Mapping[str, Any]], owner: Array) -> Array:
    """Return the (H, W) bool pixels of some cracks: what is marked, and their centre lines."""
    ids = [crack["id"] for crack in cracks]
    marked: Array = np.isin(owner, ids) | _bands(cracks, owner.shape)
    return marked


def _cracks(
    cracks: Sequence[Mapping[str, Any]], owner: Array, shape: tuple[int, int]
) -> tuple[Array, Array]:
    """Return the (H, W) bool pixels that are crack, and those of which that is not sure."""
    sure, unsure = np.zeros(shape, bool), np.zeros(shape, bool)
    for crack in cracks:
        mine = np.zeros(shape, bool)
        for (points, width), kind in zip(_branches(crack), crack["branch_kinds"], strict=True):
            if kind in _UNSEEN:
                _paint(unsure, points, np.full(len(points), UNSEEN_PX))
            else:
                _paint(mine, points, width / 2)
                _paint(unsure, points, np.where(np.isnan(width), _NO_WIDTH_PX, np.nan))
        if crack.get("correction") != "drawn":
            mine |= owner == crack["id"]
        window = _around(mine, 2 * _RIM_PX[1])
        unsure[window] |= _grown(mine[window], rim_px(crack))
        sure |= mine
    return sure, unsure


def rim_px(crack: Mapping[str, Any]) -> int:
    """Return how many pixels around a crack may be crack or not, by its width's uncertainty.

    The interval of the median width holds the errors of both edges: half of it lies on each side.
    """
    low, high = crack.get("width_median_low_px"), crack.get("width_median_high_px")
    if low is None or high is None:
        return _NO_WIDTH_PX
    return int(np.clip(math.ceil((high - low) / 4), *_RIM_PX))


def _bands(lines: Sequence[Mapping[str, Any]], shape: tuple[int, int]) -> Array:
    """Return the (H, W) bool pixels of lines as wide as they were measured."""
    band = np.zeros(shape, bool)
    for line in lines:
        for points, width in _branches(line):
            _paint(band, points, width / 2)
    return band


def _branches(line: Mapping[str, Any]) -> Iterator[tuple[Array, Array]]:
    """Yield course (N, 2) and width (N,) px of each branch; nan where nothing tells the width."""
    profiles = line.get("width_profile_px") or [None] * len(line["centre_line"])
    for points, profile in zip(line["centre_line"], profiles, strict=True):
        width = np.full(len(points), line.get("width_mean_px") or np.nan, np.float64)
        if profile is not None:
            width = np.array([np.nan if w is None else w for w in profile], np.float64)
        yield np.array(points, np.float64), width


def _paint(canvas: Array, points: Array, half_px: Array) -> None:
    """Paint a course, ``half_px`` (N,) to either side; the line's own pixels where that is nan."""
    if len(points) > 1:
        window, pixels = paint(points, np.column_stack([half_px, half_px]), canvas.shape)
        canvas[window.slices] |= pixels


def _left_out(report: Mapping[str, Any], shape: tuple[int, int]) -> Array:
    canvas = np.zeros(shape, np.uint8)
    rings = [np.rint(np.array(r)[:, ::-1]).astype(np.int32) for r in report["region"]["left_out"]]
    if rings:
        cv2.fillPoly(canvas, rings, 1)
    return canvas.view(bool)


def _around(mask: Array, margin_px: int) -> tuple[slice, slice]:
    """Return the part of a picture that holds a mask, with a margin."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.s_[0:0, 0:0]
    return (
        slice(max(int(rows[0]) - margin_px, 0), int(rows[-1]) + margin_px + 1),
        slice(max(int(cols[0]) - margin_px, 0), int(cols[-1]) + margin_px + 1),
    )


def _grown(mask: Array, radius_px: int) -> Array:
    if not mask.any():
        return mask
    side = 2 * radius_px + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    grown: Array = cv2.dilate(mask.astype(np.uint8), disc) > 0
    return grown
