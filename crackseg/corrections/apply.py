"""A report and an inspector's edits become the report after them; the edits are done in order.

Each crack keeps its number; one that an edit adds gets the next. What an edit changed or took off
the list stays in the report as it was measured at first, with the edit that did it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from crackseg.corrections.edits import Edit, to_plain
from crackseg.corrections.measuring import measure_shape
from crackseg.corrections.overlap import refuse_listed, take_place
from crackseg.corrections.shapes import (
    Shape,
    along_line,
    end_place,
    joined,
    merged,
    shape_of,
    split,
)
from crackseg.corrections.work import (
    Entry,
    Memory,
    Work,
    add,
    at,
    corrected,
    covering,
    edits_of,
    erase_where,
    filled,
    inside,
    keep_measured,
    leave_out,
    made,
    off_list,
    put_pieces,
    take_off,
)
from crackseg.errors import DataError
from crackseg.imagery.files import OpenImage
from crackseg.imagery.regions import Region, outline
from crackseg.metrology import arc
from crackseg.metrology.classes import read_documents
from crackseg.metrology.ranking import in_order
from crackseg.metrology.totals import sum_up
from crackseg.metrology.tracing import as_drawn, trace, way_between
from crackseg.metrology.unclear import doubt_blurred_widths, doubt_moved_widths
from crackseg.records import Array, Corrections, Crack, Notice, Report, Unjudged

_LEAST_PX = 5.0  # a shorter line is no crack that could be measured
_FARTHEST_PX = 3000.0  # between two places of a line that snaps; the search grows with the square
_LONGEST_PX = 40_000.0  # of a line
_NAMED = 5  # edits that a notice names one by one


def apply(
    report: Report,
    image: OpenImage,
    edits: Sequence[Edit],
    *,
    skip: bool = False,
    memory: Memory | None = None,
    done_before: int = 0,
) -> Report:
    """Return the report after the edits; without any, the report itself.

    Args:
        report: as the network and the measuring left it, without corrections.
        image: its photograph, open.
        edits: in their order.
        skip: leave out, with a notice, what cannot be done: edits that were made on another
            analysis of the photograph may mean a crack that is not there.
        memory: of this very report, so that edits done before are not done again.
        done_before: so many of the edits were done by an earlier release, or a moment ago: none of
            them is refused because what it draws is on the list already.

    Raises:
        DataError: the photograph is another one, or an edit cannot be done; names the edit.
        ImageError: the photograph is damaged.
    """
    if not edits:
        return report
    _require_same(report, image)
    memory = memory or Memory()
    work, rest = memory.resume(report, image, edits)
    done = list(edits[: len(edits) - len(rest)])
    for number, edit in enumerate(rest, len(done)):
        work.is_new = number >= done_before
        try:
            _EDITS[edit.kind](work, edit)
            done.append(edit)
        except DataError as error:
            if not skip:
                raise DataError(f"edit {edit.id} ({edit.kind}): {error}") from error
    memory.keep(work, done)
    after = _finished(work, done, memory) if done else report
    names = {edit.id for edit in done}
    return with_left_out(after, [edit for edit in edits if edit.id not in names])


def with_left_out(report: Report, edits: Sequence[Edit]) -> Report:
    """Return a report that names the edits of an earlier analysis that could not be done on it."""
    if not edits:
        return report
    what = "1 edit was" if len(edits) == 1 else f"{len(edits)} edits were"
    places = [
        f"{edit.kind} by {edit.by} at row {edit.point[0]:.0f}, column {edit.point[1]:.0f}"
        for edit in edits[:_NAMED]
    ]
    more = [] if len(edits) <= _NAMED else [f"{len(edits) - _NAMED} more"]
    message = (
        f"{what} made on an earlier analysis and left out, as nothing fits at that place in this "
        "one, or it is listed already; the next analysis tries again: "
        f"{'; '.join((*places, *more))}."
    )
    notice = Notice(code="corrections_left_out", message=message)
    return replace(report, notices=(*report.notices, notice))


def _require_same(report: Report, image: OpenImage) -> None:
    if image.info.sha256 != report.image.sha256:
        raise DataError(
            f"`{image.info.path.name}` is not the photograph of the report: its sha256 is "
            f"{image.info.sha256}, expected {report.image.sha256}."
        )


# The kinds of edits --------------------------------------------------------------------------


def _draw(work: Work, edit: Edit) -> None:
    shape = _drawn_shape(work, edit)
    take_place(work, shape, edit)
    add(work, shape, made("drawn", (), edit), None)


def _drawn_shape(work: Work, edit: Edit) -> Shape:
    places = inside(work, edit)
    _require_short(places, edit.snap)
    read, smooth_px = work.image.read, work.options.smooth_px
    if edit.snap:
        line, reach = trace(places, work.shape, read, smooth_px)
    else:
        line, reach = as_drawn(places, work.shape, read)
    if line.length_px < _LEAST_PX:
        raise DataError(
            f"the line is {line.length_px:.1f} px long; a crack must have {_LEAST_PX:g} px."
        )
    return along_line(line, reach, work.shape)


def _require_short(places: Array, snaps: bool) -> None:
    steps = arc.steps(places)
    if snaps and steps.max() > _FARTHEST_PX:
        raise DataError(
            f"two places of the line are {steps.max():.0f} px apart; expected {_FARTHEST_PX:.0f} "
            "at most: point at places between them."
        )
    if steps.sum() > _LONGEST_PX:
        raise DataError(
            f"the line is {steps.sum():.0f} px long; expected {_LONGEST_PX:.0f} at most: draw it "
            "in parts and join them."
        )


def _redraw(work: Work, edit: Edit) -> None:
    entry = at(work, edit.point)
    shape = _drawn_shape(work, edit)
    take_place(work, shape, edit, entry.id)
    keep_measured(work, entry, edit)
    work.listed[entry.id] = replace(entry, form=shape, correction=corrected(entry, edit))


def _erase(work: Work, edit: Edit) -> None:
    if not erase_where(work, edit, covering(edit.places)):
        raise DataError("no crack lies in the area.")


def _split(work: Work, edit: Edit) -> None:
    entry = at(work, edit.point)
    pieces = split(entry.as_shape(), edit.point)
    if len(pieces) < 2:
        raise DataError(f"crack {entry.id} stays in one piece when it is cut there.")
    put_pieces(work, entry, pieces, edit)


def _join(work: Work, edit: Edit) -> None:
    one, two = at(work, edit.places[0]), at(work, edit.places[-1])
    if one.id == two.id:
        raise DataError(f"both ends lie on crack {one.id}; expected two cracks.")
    start = end_place(one.as_shape(), edit.places[0])
    end = end_place(two.as_shape(), edit.places[-1])
    places = np.concatenate([start[None], edit.places[1:-1], end[None]])
    _require_short(places, edit.snap)
    if edit.snap and np.hypot(*(end - start)) > 2:
        places = way_between(places, work.shape, work.image.read, work.options.smooth_px)
    shape = joined(one.as_shape(), two.as_shape(), places)
    first, second = sorted((one, two), key=lambda entry: entry.id)
    for entry in (one, two):
        keep_measured(work, entry, edit)
    del work.listed[second.id]
    edits = (*edits_of(first), *edits_of(second))
    drawn = all(e.correction and e.correction.change == "drawn" for e in (one, two))
    work.listed[first.id] = replace(
        first,
        form=shape,
        section="main" if "main" in (one.section, two.section) else first.section,
        certainty=max((e.certainty for e in (one, two) if e.certainty is not None), default=None),
        correction=made("drawn" if drawn else "corrected", edits, edit),
    )


def _mark(work: Work, edit: Edit) -> None:
    entry = take_off(work, edit)
    work.marked[edit.kind].append(replace(entry, correction=corrected(entry, edit)))


def _not_a_crack(work: Work, edit: Edit) -> None:
    take_off(work, edit)


def _crack_again(work: Work, edit: Edit) -> None:
    """Put a joint or another line on the list; one that an edit took off gets its number back."""
    pool, k = off_list(work, edit.point)
    item = pool[k]
    shape = item.as_shape() if isinstance(item, Entry) else _shape_of_line(work, item)
    refuse_listed(work, shape)
    del pool[k]
    if isinstance(item, Entry):
        work.listed[item.id] = replace(item, correction=corrected(item, edit))
    else:
        add(work, shape, made("corrected", (), edit), None)


def _shape_of_line(work: Work, line: Crack) -> Shape:
    """Return the shape of a joint or another line; a report holds of the latter no pixels."""
    if line.mask.any():
        return shape_of(line)
    drawn = (as_drawn(b.centre_line, work.shape, work.image.read) for b in line.branches)
    return merged([along_line(course, reach, work.shape) for course, reach in drawn])


def _structure(work: Work, edit: Edit) -> None:
    leave_out(work, edit, ~filled(work, edit))


def _ignore(work: Work, edit: Edit) -> None:
    leave_out(work, edit, filled(work, edit))


_EDITS: dict[str, Callable[[Work, Edit], None]] = {
    "draw": _draw,
    "redraw": _redraw,
    "erase": _erase,
    "split": _split,
    "join": _join,
    "joint": _mark,
    "other_line": _mark,
    "not_a_crack": _not_a_crack,
    "crack": _crack_again,
    "structure": _structure,
    "ignore": _ignore,
}


# The report after them -----------------------------------------------------------------------


def _finished(work: Work, edits: Sequence[Edit], memory: Memory) -> Report:
    report = work.report
    cracks = in_order(_crack(work, entry, memory) for entry in work.listed.values())
    joints, lines = (_with_marked(work, kind, memory) for kind in ("joint", "other_line"))
    changed: dict[str, object] = {}
    if work.left_out is not None:
        inside = work.left_out == 0
        region = Region(files=(), inside=inside, joints=())
        changed = {"left_out": outline(region), "unjudged": _unjudged(work)}
    analyzed_px2 = max(report.totals.analyzed_px2 - work.left_out_px2, 0.0)
    replaced = tuple(work.replaced[name] for name in sorted(work.replaced))
    return replace(
        report,
        cracks=cracks,
        joints=joints,
        other_lines=None if report.other_lines is None and not lines else lines,
        totals=sum_up(cracks, work.shape, analyzed_px2, report.scale),
        notices=(*report.notices, _notice(work, cracks, edits)),
        corrections=Corrections(edits=tuple(to_plain(edit) for edit in edits), replaced=replaced),
        **changed,  # type: ignore[arg-type]
    )


def _with_marked(work: Work, kind: str, memory: Memory) -> tuple[Crack, ...]:
    """Return the joints or other lines of the report with those that edits made, numbered on."""
    old = work.joints if kind == "joint" else work.lines
    named = work.report.joints if kind == "joint" else work.report.other_lines or ()
    first = 1 + max((line.id for line in named), default=0)
    marked = enumerate(work.marked[kind], first)
    return (*old, *(replace(_crack(work, entry, memory), id=number) for number, entry in marked))


def _crack(work: Work, entry: Entry, memory: Memory) -> Crack:
    """Return a crack of the list, measured if it is not as it was."""
    if isinstance(entry.form, Crack):
        return replace(entry.form, id=entry.id, correction=entry.correction)
    shape = entry.form

    def measure() -> Crack:
        documents = read_documents(work.options.documents, work.options.width_classes)
        crack = measure_shape(shape, work.image, work.report.scale, documents)
        moved = doubt_moved_widths((crack,), work.report.unsteady, work.shape, documents)
        blurred = (*work.report.unjudged, *work.report.impaired)
        return doubt_blurred_widths(moved, blurred, work.shape)[0]

    crack = memory.measured(shape, measure)
    return replace(
        crack,
        id=entry.id,
        section=entry.section,
        certainty=entry.certainty,
        probability_mean=entry.probability_mean,
        correction=entry.correction,
    )


def _unjudged(work: Work) -> tuple[Unjudged, ...]:
    """Return what is not judged with the share that edits leave out."""
    size = work.shape[0] * work.shape[1]
    parts = {part.code: part.share for part in work.report.unjudged}
    placed = {part.code: part.outlines for part in work.report.unjudged}
    parts["left_out"] = min(parts.get("left_out", 0.0) + work.left_out_px2 / size, 1.0)
    made = [
        Unjudged(code=code, share=share, outlines=placed.get(code, ()))
        for code, share in parts.items()
    ]
    return tuple(sorted(made, key=lambda part: -part.share))


def _notice(work: Work, cracks: Sequence[Crack], edits: Sequence[Edit]) -> Notice:
    """Return what a reader must know of the corrections."""
    changes = [crack.correction.change for crack in cracks if crack.correction is not None]
    joints, lines = work.marked["joint"], work.marked["other_line"]
    still = {crack.id for crack in cracks} | {entry.id for entry in (*joints, *lines)}
    counts = (
        (changes.count("drawn"), "drawn"),
        (changes.count("corrected"), "changed"),
        (sum(name not in still for name in work.replaced), "taken off the list or joined"),
        (len(joints), "marked as a joint"),
        (len(lines), "marked as another line"),
    )
    parts = [f"{count} {name}" for count, name in counts if count]
    share = work.left_out_px2 / (work.shape[0] * work.shape[1])
    if share:
        size = "less than 1 %" if share < 0.01 else f"{100 * share:.0f} %"
        parts.append(f"{size} of the picture left out, where nothing is known of cracks")
    names = " and ".join(dict.fromkeys(edit.by for edit in edits))
    what = ", ".join(parts) or "the region changed"
    return Notice(code="corrected", message=f"Corrected by hand by {names}: {what}.")
