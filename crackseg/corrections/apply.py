"""A report and an inspector's edits become the report after them; the edits are done in order.

Each crack keeps its number; one that an edit adds gets the next. What an edit changed or took off
the list stays in the report as it was measured at first, with the edit that did it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from crackseg.config import MeasureOptions, read_options
from crackseg.corrections.edits import Edit, to_plain
from crackseg.corrections.measuring import measure_shape
from crackseg.corrections.shapes import (
    Shape,
    along_line,
    end_place,
    erase,
    joined,
    nearest_place,
    shape_of,
    split,
)
from crackseg.errors import DataError
from crackseg.imagery.files import OpenImage
from crackseg.imagery.regions import Region, outline
from crackseg.metrology.classes import read_documents
from crackseg.metrology.ranking import in_order
from crackseg.metrology.tracing import as_drawn, trace, way_between
from crackseg.pipeline import sum_up
from crackseg.records import (
    Array,
    Correction,
    Corrections,
    Crack,
    Notice,
    Replaced,
    Report,
    Section,
    Unjudged,
)

NEAR_PX = 12.0  # a place that means a crack lies as far from its centre line or its edge
_LEAST_PX = 5.0  # a shorter line is no crack that could be measured


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
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
class _Work:
    """What the edits change, one after the other."""

    report: Report
    image: OpenImage
    options: MeasureOptions
    listed: dict[int, _Entry]
    next_id: int
    joints: list[_Entry] = field(default_factory=list)
    replaced: dict[int, Replaced] = field(default_factory=dict)
    left_out: Array | None = None  # (H, W) uint8, 1 = not looked at; None: no edit asked for it
    left_out_px2: float = 0.0  # more than before

    @property
    def shape(self) -> tuple[int, int]:
        return self.report.image.height_px, self.report.image.width_px


def apply(report: Report, image: OpenImage, edits: Sequence[Edit], *, skip: bool = False) -> Report:
    """Return the report after the edits; without any, the report itself.

    Args:
        report: as the network and the measuring left it, without corrections.
        image: its photograph, open.
        edits: in their order.
        skip: leave out, with a notice, what cannot be done: edits that were made on another
            analysis of the photograph may mean a crack that is not there.

    Raises:
        DataError: the photograph is another one, or an edit cannot be done; names the edit.
        ImageError: the photograph is damaged.
    """
    if not edits:
        return report
    _require_same(report, image)
    work = _begin(report, image)
    done = []
    for edit in edits:
        try:
            _EDITS[edit.kind](work, edit)
            done.append(edit)
        except DataError as error:
            if not skip:
                raise DataError(f"edit {edit.id} ({edit.kind}): {error}") from error
    after = _finished(work, done) if done else report
    return after if len(done) == len(edits) else _with_skipped(after, len(edits) - len(done))


def _with_skipped(report: Report, count: int) -> Report:
    what = "edit of an earlier analysis was" if count == 1 else "edits of an earlier analysis were"
    message = f"{count} {what} left out: nothing lies at that place in this one."
    notice = Notice(code="corrections_left_out", message=message)
    return replace(report, notices=(*report.notices, notice))


def _begin(report: Report, image: OpenImage) -> _Work:
    entries = {crack.id: _entry_of(crack) for crack in report.cracks}
    ids = [*entries, 0]
    options = read_options(MeasureOptions, report.options["measure"], where="options.measure")
    return _Work(report, image, options, entries, max(ids) + 1)


def _entry_of(crack: Crack) -> _Entry:
    return _Entry(
        id=crack.id,
        form=crack,
        section=crack.section,
        certainty=crack.certainty,
        probability_mean=crack.probability_mean,
        correction=None,
    )


def _require_same(report: Report, image: OpenImage) -> None:
    if image.info.sha256 != report.image.sha256:
        raise DataError(
            f"`{image.info.path.name}` is not the photograph of the report: its sha256 is "
            f"{image.info.sha256}, expected {report.image.sha256}."
        )


# The kinds of edits --------------------------------------------------------------------------


def _draw(work: _Work, edit: Edit) -> None:
    places = _inside(work, edit)
    read, smooth_px = work.image.read, work.options.smooth_px
    if edit.snap:
        line, reach = trace(places, work.shape, read, smooth_px)
    else:
        line, reach = as_drawn(places, work.shape, read)
    if line.length_px < _LEAST_PX:
        raise DataError(
            f"the line is {line.length_px:.1f} px long; a crack must have {_LEAST_PX:g} px."
        )
    _add(work, along_line(line, reach, work.shape), _made("drawn", (), edit), None)


def _erase(work: _Work, edit: Edit) -> None:
    if not _erase_where(work, edit, _covering(edit.places)):
        raise DataError("no crack lies in the area.")


def _split(work: _Work, edit: Edit) -> None:
    entry = _at(work, edit.point)
    pieces = split(entry.as_shape(), edit.point)
    if len(pieces) < 2:
        raise DataError(f"crack {entry.id} stays in one piece when it is cut there.")
    _put_pieces(work, entry, pieces, edit)


def _join(work: _Work, edit: Edit) -> None:
    one, two = _at(work, edit.places[0]), _at(work, edit.places[-1])
    if one.id == two.id:
        raise DataError(f"both ends lie on crack {one.id}; expected two cracks.")
    start = end_place(one.as_shape(), edit.places[0])
    end = end_place(two.as_shape(), edit.places[-1])
    places = np.concatenate([start[None], edit.places[1:-1], end[None]])
    if edit.snap and np.hypot(*(end - start)) > 2:
        places = way_between(places, work.shape, work.image.read, work.options.smooth_px)
    shape = joined(one.as_shape(), two.as_shape(), places)
    first, second = sorted((one, two), key=lambda entry: entry.id)
    for entry in (one, two):
        _keep_measured(work, entry, edit)
    del work.listed[second.id]
    edits = (*_edits_of(first), *_edits_of(second))
    drawn = all(e.correction and e.correction.change == "drawn" for e in (one, two))
    work.listed[first.id] = replace(
        first,
        form=shape,
        section="main" if "main" in (one.section, two.section) else first.section,
        certainty=max((e.certainty for e in (one, two) if e.certainty is not None), default=None),
        correction=_made("drawn" if drawn else "corrected", edits, edit),
    )


def _joint(work: _Work, edit: Edit) -> None:
    entry = _take_off(work, edit)
    correction = _corrected(entry, edit)
    work.joints.append(replace(entry, correction=correction))


def _not_a_crack(work: _Work, edit: Edit) -> None:
    _take_off(work, edit)


def _structure(work: _Work, edit: Edit) -> None:
    _leave_out(work, edit, ~_filled(work, edit))


def _ignore(work: _Work, edit: Edit) -> None:
    _leave_out(work, edit, _filled(work, edit))


_EDITS: dict[str, Callable[[_Work, Edit], None]] = {
    "draw": _draw,
    "erase": _erase,
    "split": _split,
    "join": _join,
    "joint": _joint,
    "not_a_crack": _not_a_crack,
    "structure": _structure,
    "ignore": _ignore,
}


# What they share -----------------------------------------------------------------------------


def _inside(work: _Work, edit: Edit) -> Array:
    """Return the places of a line, which must lie on the picture."""
    limits = np.array(work.shape) - 0.5
    if (edit.places < -0.5).any() or (edit.places > limits).any():
        raise DataError(f"the line leaves the picture of {work.shape[0]} x {work.shape[1]} px.")
    return edit.places


def _at(work: _Work, point: Array) -> _Entry:
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


def _keep_measured(work: _Work, entry: _Entry, edit: Edit) -> None:
    """Keep a crack as it was measured at first, once."""
    if isinstance(entry.form, Crack):
        work.replaced.setdefault(entry.id, Replaced(crack=entry.form, edit=edit.id))


def _take_off(work: _Work, edit: Edit) -> _Entry:
    entry = _at(work, edit.point)
    _keep_measured(work, entry, edit)
    return work.listed.pop(entry.id)


def _add(work: _Work, shape: Shape, correction: Correction, source: _Entry | None) -> None:
    """Put a crack on the list under the next number."""
    number, work.next_id = work.next_id, work.next_id + 1
    work.listed[number] = _Entry(
        id=number,
        form=shape,
        section="main" if source is None else source.section,
        certainty=None if source is None else source.certainty,
        probability_mean=None if source is None else source.probability_mean,
        correction=correction,
    )


def _put_pieces(work: _Work, entry: _Entry, pieces: list[Shape], edit: Edit) -> None:
    """Put the pieces of a crack in its place: the longest keeps its number."""
    _keep_measured(work, entry, edit)
    correction = _corrected(entry, edit)
    if not pieces:
        del work.listed[entry.id]
        return
    work.listed[entry.id] = replace(entry, form=pieces[0], correction=correction)
    for piece in pieces[1:]:
        _add(work, piece, correction, entry)


def _erase_where(work: _Work, edit: Edit, covers: Callable[[Array], Array]) -> int:
    """Erase what of the listed cracks lies in an area and return how many it touched."""
    touched = 0
    for entry in list(work.listed.values()):
        shape = entry.as_shape()
        if covers(shape.points).any():
            _put_pieces(work, entry, erase(shape, covers), edit)
            touched += 1
    return touched


def _covering(polygon: Array) -> Callable[[Array], Array]:
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


def _filled(work: _Work, edit: Edit) -> Array:
    """Return (H, W) bool, True inside the area."""
    canvas = np.zeros(work.shape, np.uint8)
    corners = np.clip(np.rint(edit.places[:, ::-1]), -(2**17), 2**17).astype(np.int32)
    cv2.fillPoly(canvas, [corners], 1)
    if not canvas.any():
        raise DataError("the area covers nothing of the picture.")
    return canvas.view(bool)


def _leave_out(work: _Work, edit: Edit, area: Array) -> None:
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
    work.left_out |= area.view(np.uint8)

    def covers(points: Array) -> Array:
        rows, cols = np.rint(points).astype(int).T
        row, col = np.clip(rows, 0, work.shape[0] - 1), np.clip(cols, 0, work.shape[1] - 1)
        return np.asarray(area[row, col])

    _erase_where(work, edit, covers)


def _edits_of(entry: _Entry) -> tuple[str, ...]:
    return () if entry.correction is None else entry.correction.edits


def _corrected(entry: _Entry, edit: Edit) -> Correction:
    drawn = entry.correction is not None and entry.correction.change == "drawn"
    return _made("drawn" if drawn else "corrected", _edits_of(entry), edit)


def _made(change: str, before: tuple[str, ...], edit: Edit) -> Correction:
    edits = tuple(dict.fromkeys((*before, edit.id)))
    return Correction(
        change="drawn" if change == "drawn" else "corrected", by=edit.by, at=edit.at, edits=edits
    )


# The report after them -----------------------------------------------------------------------


def _finished(work: _Work, edits: Sequence[Edit]) -> Report:
    report = work.report
    cracks = in_order(_crack(work, entry) for entry in work.listed.values())
    first = 1 + max((joint.id for joint in report.joints), default=0)
    joints = [
        replace(_crack(work, entry), id=number) for number, entry in enumerate(work.joints, first)
    ]
    changed: dict[str, object] = {}
    if work.left_out is not None:
        inside = work.left_out == 0
        region = Region(files=(), inside=inside, joints=())
        changed = {"left_out": outline(region), "unjudged": _unjudged(work)}
    seen_px2 = max(report.totals.analyzed_px2 - work.left_out_px2, 0.0)
    replaced = tuple(work.replaced[name] for name in sorted(work.replaced))
    corrections = Corrections(edits=tuple(to_plain(edit) for edit in edits), replaced=replaced)
    return replace(
        report,
        cracks=cracks,
        joints=(*report.joints, *joints),
        totals=sum_up(cracks, work.shape, seen_px2, report.scale),
        notices=(*report.notices, _notice(cracks, joints, replaced, edits)),
        corrections=corrections,
        **changed,  # type: ignore[arg-type]
    )


def _crack(work: _Work, entry: _Entry) -> Crack:
    """Return a crack of the list, measured if it is not as it was."""
    if isinstance(entry.form, Crack):
        return replace(entry.form, id=entry.id, correction=entry.correction)
    documents = read_documents(work.options.documents, work.options.width_classes)
    crack = measure_shape(entry.as_shape(), work.image, work.report.scale, documents)
    return replace(
        crack,
        id=entry.id,
        section=entry.section,
        certainty=entry.certainty,
        probability_mean=entry.probability_mean,
        correction=entry.correction,
    )


def _unjudged(work: _Work) -> tuple[Unjudged, ...]:
    """Return what is not judged with the share that edits leave out."""
    size = work.shape[0] * work.shape[1]
    parts = {part.code: part.share for part in work.report.unjudged}
    parts["left_out"] = min(parts.get("left_out", 0.0) + work.left_out_px2 / size, 1.0)
    made = [Unjudged(code=code, share=share) for code, share in parts.items()]
    return tuple(sorted(made, key=lambda part: -part.share))


def _notice(
    cracks: Sequence[Crack],
    joints: Sequence[Crack],
    replaced: Sequence[Replaced],
    edits: Sequence[Edit],
) -> Notice:
    """Return what a reader must know of the corrections."""
    changes = [crack.correction.change for crack in cracks if crack.correction is not None]
    alive = {crack.id for crack in cracks}
    counts = (
        (changes.count("drawn"), "drawn"),
        (changes.count("corrected"), "changed"),
        (sum(old.crack.id not in alive for old in replaced), "taken off the list or joined"),
        (len(joints), "marked as a joint"),
    )
    what = ", ".join(f"{count} {name}" for count, name in counts if count) or "the region changed"
    names = " and ".join(dict.fromkeys(edit.by for edit in edits))
    return Notice(code="corrected", message=f"Corrected by hand by {names}: {what}.")
