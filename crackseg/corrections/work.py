"""The list of cracks while edits change it, and what the kinds of edits share.

A place means the nearest crack, or the nearest other line; what an edit changes or takes off the
list is kept as it was measured at first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from crackseg.config import MeasureOptions, read_options
from crackseg.corrections.edits import Edit, to_plain
from crackseg.corrections.shapes import Shape, erase, nearest_place, shape_of
from crackseg.errors import DataError
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Correction, Crack, Replaced, Report, Section

_REMEMBERED = 100  # states of one result, to undo
NEAR_PX = 12.0  # a place that means a crack lies as far from its centre line or its edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A crack of the list."""

    id: int
    form: Crack | Shape  # as it was measured, or what is to be measured
    section: Section
    certainty: float | None
    probability_mean: float | None
    correction: Correction | None

    def as_shape(self) -> Shape:
        """Its shape, also of one that is as it was measured."""
        return shape_of(self.form) if isinstance(self.form, Crack) else self.form


@dataclass(slots=True)
class Work:
    """What the edits change, one after the other."""

    report: Report
    photo: OpenImage | None  # None where it is only remembered
    options: MeasureOptions
    listed: dict[int, Entry]
    next_id: int
    joints: list[Crack]  # that the report names
    lines: list[Crack]  # other lines of the report
    marked: dict[str, list[Entry]] = field(  # by an edit of this kind, with their numbers
        default_factory=lambda: {"joint": [], "other_line": []}
    )
    replaced: dict[int, Replaced] = field(default_factory=dict)
    left_out: Array | None = None  # (H, W) uint8, 1 = not looked at; None: no edit asked for it
    left_out_px2: float = 0.0  # more than before
    is_new: bool = True  # the edit that is being done: none that was done before is refused

    @property
    def image(self) -> OpenImage:
        """The open photograph."""
        if self.photo is None:
            raise DataError("the photograph is not open.")
        return self.photo

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the picture, px."""
        return self.report.image.height_px, self.report.image.width_px

    def copied(self, report: Report, image: OpenImage | None) -> Work:
        """Return the same work on a report read again; edits on it leave this one alone."""
        return replace(
            self,
            report=report,
            photo=image,
            listed=dict(self.listed),
            joints=list(self.joints),
            lines=list(self.lines),
            marked={kind: list(entries) for kind, entries in self.marked.items()},
            replaced=dict(self.replaced),
        )


class Memory:
    """What the edits of one result came to, so that one more edit costs no more than itself.

    A drawn crack takes 0.2 s to trace and measure; with fifty of them, each further edit would
    take 10 s without it.
    """

    def __init__(self) -> None:
        self._result: object = None
        self._works: dict[tuple[str, ...], Work] = {}  # after so many of the edits
        self._measured: dict[int, tuple[Shape, Crack]] = {}  # by the identity of the shape

    def about(self, result: object) -> None:
        """Forget everything unless it is about this state of a result."""
        if result != self._result:
            self._result, self._works, self._measured = result, {}, {}

    def resume(
        self, report: Report, image: OpenImage, edits: Sequence[Edit]
    ) -> tuple[Work, Sequence[Edit]]:
        """Return the work after as many of the edits as are known, and the others."""
        names = _names(edits)
        for count in range(len(edits), 0, -1):
            if names[:count] in self._works:
                return self._works[names[:count]].copied(report, image), edits[count:]
        return begin(report, image), edits

    def keep(self, work: Work, edits: Sequence[Edit]) -> None:
        """Remember the work after all of the edits."""
        self._works[_names(edits)] = work.copied(work.report, None)
        while len(self._works) > _REMEMBERED:
            del self._works[next(iter(self._works))]

    def measured(self, shape: Shape, measure: Callable[[], Crack]) -> Crack:
        """Return what a shape measures; it is measured once."""
        entry = self._measured.get(id(shape))
        if entry is None or entry[0] is not shape:
            entry = self._measured[id(shape)] = (shape, measure())
        return entry[1]


def _names(edits: Sequence[Edit]) -> tuple[str, ...]:
    return tuple(json.dumps(to_plain(edit)) for edit in edits)


def begin(report: Report, image: OpenImage) -> Work:
    """Return the work before the first edit."""
    entries = {crack.id: entry_of(crack) for crack in report.cracks}
    ids = [*entries, 0]
    options = read_options(MeasureOptions, report.options["measure"], where="options.measure")
    return Work(
        report=report,
        photo=image,
        options=options,
        listed=entries,
        next_id=max(ids) + 1,
        joints=list(report.joints),
        lines=list(report.other_lines or ()),
    )


def entry_of(crack: Crack) -> Entry:
    """Return the entry of a crack as it was measured."""
    return Entry(
        id=crack.id,
        form=crack,
        section=crack.section,
        certainty=crack.certainty,
        probability_mean=crack.probability_mean,
        correction=None,
    )


def inside(work: Work, edit: Edit) -> Array:
    """Return the places of a line, which must lie on the picture."""
    limits = np.array(work.shape) - 0.5
    if (edit.places < -0.5).any() or (edit.places > limits).any():
        raise DataError(f"the line leaves the picture of {work.shape[0]} x {work.shape[1]} px.")
    return edit.places


def at(work: Work, point: Array) -> Entry:
    """Return the crack that a place means."""
    far = []
    for entry in work.listed.values():
        shape = entry.as_shape()
        distance, k, _ = nearest_place(shape, point)
        far.append((distance - shape.lines[k].radius_max_px, distance, entry.id))
    beyond, _, name = min(far, default=(np.inf, np.inf, 0))
    if beyond > NEAR_PX:
        row, col = point
        raise DataError(f"no crack lies within {NEAR_PX:g} px of row {row:.0f}, column {col:.0f}.")
    return work.listed[name]


def off_list(work: Work, point: Array) -> tuple[list[Any], int]:
    """Return the joint or other line that a place means: the list that holds it and its place."""
    pools: list[list[Any]] = [*work.marked.values(), work.joints, work.lines]
    far = [
        (_distance(item, point), n, k)
        for n, pool in enumerate(pools)
        for k, item in enumerate(pool)
    ]
    beyond, n, k = min(far, default=(np.inf, 0, 0))
    if beyond > NEAR_PX:
        row, col = point
        raise DataError(
            f"no joint or other line lies within {NEAR_PX:g} px of row {row:.0f}, column {col:.0f}."
        )
    return pools[n], k


def _distance(item: Entry | Crack, point: Array) -> float:
    crack = item.form if isinstance(item, Entry) else item
    if isinstance(crack, Shape):
        return nearest_place(crack, point)[0]
    return min(float(np.hypot(*(b.centre_line - point).T).min()) for b in crack.branches)


def keep_measured(work: Work, entry: Entry, edit: Edit) -> None:
    """Keep a crack as it was measured at first, once."""
    if isinstance(entry.form, Crack):
        work.replaced.setdefault(entry.id, Replaced(crack=entry.form, edit=edit.id))


def take_off(work: Work, edit: Edit) -> Entry:
    entry = at(work, edit.point)
    keep_measured(work, entry, edit)
    return work.listed.pop(entry.id)


def add(work: Work, shape: Shape, correction: Correction, source: Entry | None) -> None:
    """Put a crack on the list under the next number."""
    number, work.next_id = work.next_id, work.next_id + 1
    work.listed[number] = Entry(
        id=number,
        form=shape,
        section="main" if source is None else source.section,
        certainty=None if source is None else source.certainty,
        probability_mean=None if source is None else source.probability_mean,
        correction=correction,
    )


def put_pieces(work: Work, entry: Entry, pieces: list[Shape], edit: Edit) -> None:
    """Put the pieces of a crack in its place: the longest keeps its number."""
    keep_measured(work, entry, edit)
    correction = corrected(entry, edit)
    if not pieces:
        del work.listed[entry.id]
        return
    work.listed[entry.id] = replace(entry, form=pieces[0], correction=correction)
    for piece in pieces[1:]:
        add(work, piece, correction, entry)


def erase_where(work: Work, edit: Edit, covers: Callable[[Array], Array]) -> int:
    """Erase what of the listed cracks lies in an area and return how many it touched."""
    touched = 0
    for entry in list(work.listed.values()):
        shape = entry.as_shape()
        if covers(shape.points).any():
            put_pieces(work, entry, erase(shape, covers), edit)
            touched += 1
    return touched


def covering(polygon: Array) -> Callable[[Array], Array]:
    """Return the function that tells which of (N, 2) rows and cols lie in a polygon."""

    def covers(points: Array) -> Array:
        inside = np.zeros(len(points), bool)
        before = np.roll(polygon, 1, axis=0)
        for (row, col), (row0, col0) in zip(polygon, before, strict=True):
            spans = (row > points[:, 0]) != (row0 > points[:, 0])
            rise = row0 - row if row0 != row else 1.0
            inside ^= spans & (points[:, 1] < (col0 - col) * (points[:, 0] - row) / rise + col)
        return inside

    return covers


def filled(work: Work, edit: Edit) -> Array:
    """Return (H, W) bool, True inside the area."""
    canvas = np.zeros(work.shape, np.uint8)
    corners = np.clip(np.rint(edit.places[:, ::-1]), -(2**17), 2**17).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1)
    if not canvas.any():
        raise DataError("the area covers nothing of the picture.")
    return canvas.view(bool)


def leave_out(work: Work, edit: Edit, area: Array) -> None:
    """Take an area out of what is looked at, with what of cracks lies in it."""
    if work.left_out is None:
        canvas = np.zeros(work.shape, np.uint8)
        rings = [np.rint(ring[:, ::-1]).astype(np.int32) for ring in work.report.left_out]
        if rings:
            cv2.fillPoly(canvas, rings, 1)
        work.left_out = canvas
    if (work.left_out.view(bool) | area).all():
        raise DataError("nothing of the picture would be left to look at.")
    fresh = area & (work.left_out == 0)
    work.left_out_px2 += float(np.count_nonzero(fresh))
    work.left_out = work.left_out | area.view(np.uint8)  # a new one: the old may be remembered

    def covers(points: Array) -> Array:
        rows, cols = np.rint(points).astype(int).T
        row, col = np.clip(rows, 0, work.shape[0] - 1), np.clip(cols, 0, work.shape[1] - 1)
        return np.asarray(area[row, col])

    erase_where(work, edit, covers)


def edits_of(entry: Entry) -> tuple[str, ...]:
    """Return the edits that an entry came of."""
    return () if entry.correction is None else entry.correction.edits


def corrected(entry: Entry, edit: Edit) -> Correction:
    """Return the mark of an entry that an edit changes: one that was drawn stays drawn."""
    drawn = entry.correction is not None and entry.correction.change == "drawn"
    return made("drawn" if drawn else "corrected", edits_of(entry), edit)


def made(change: str, before: tuple[str, ...], edit: Edit) -> Correction:
    """Return the mark of what an edit made."""
    edits = tuple(dict.fromkeys((*before, edit.id)))
    return Correction(
        change="drawn" if change == "drawn" else "corrected", by=edit.by, at=edit.at, edits=edits
    )
