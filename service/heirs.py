"""Verdicts go with the cracks that an edit changes: to their pieces, and back when it is undone.

The pieces of a crack take its verdict and note over. A crack that comes of several with unlike
verdicts is undecided, and its note says what each was: nobody has judged the whole. What was said
of cracks that an edit changed or took off the list is kept under the list of edits before it, and
comes back with that list: undo hides the verdict on a piece, redo brings it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy.spatial import cKDTree
from sqlalchemy.engine import Connection

from crackseg.metrology import arc
from crackseg.records import Array
from service.database import fingerprint, hidden_verdicts, now, verdicts
from service.history import Place, note_change
from service.verdicts import WORDS

_NEAR_PX = 3.0  # between centre lines of a crack and its piece
_MOST_NOTE = 2000  # characters
_WHO_AND_WHEN = ("id", "by", "at")  # of an edit that is done again they are others

Report = Mapping[str, Any]  # as in report.json
Row = dict[str, Any]  # of the table of verdicts


def pass_on(db: Connection, place: Place, before: Report, after: Report, by: str) -> str:
    """Let the verdicts of an image follow its edits; return what somebody must look at again.

    Args:
        place: the image in its job.
        before: its report before the edit, or before the edit was undone.
        after: its report now.
        by: key of who did it.
    """
    old, new = _by_number(before), _by_number(after)
    touched = {n for n in (*old, *new) if _edits_of(old.get(n)) != _edits_of(new.get(n))}
    mine = (verdicts.c.job_id == place.job_id) & (verdicts.c.image_id == place.image_id)
    query = sa.select(verdicts).where(mine, verdicts.c.crack_id.in_(list(touched)))
    rows = {row["crack_id"]: dict(row) for row in db.execute(query).mappings()}
    hidden = _hidden(db, place, touched)
    _hide(db, place, _state(_edits(before)), {n: rows.get(n) for n in touched & old.keys()})
    heirs = {}
    sentences = []
    for number in sorted(touched & new.keys()):
        heir, sentence = _heir(number, old, new, rows, hidden, _change(before, after), by)
        sentences.append(sentence)
        if heir is not None:
            at = {"job_id": place.job_id, "image_id": place.image_id, "crack_id": number}
            heirs[number] = {**heir, **at}
    db.execute(verdicts.delete().where(mine, verdicts.c.crack_id.in_(list(touched))))
    if heirs:
        db.execute(verdicts.insert(), list(heirs.values()))
    reason = _reason(before, after)
    for number in sorted(touched):
        _note(db, place, number, rows.get(number), heirs.get(number), new, reason, by)
    return " ".join(filter(None, sentences))


def _heir(
    number: int,
    old: Mapping[int, Report],
    new: Mapping[int, Report],
    rows: Mapping[int, Row],
    hidden: Mapping[tuple[str, int], Row],
    change: tuple[str, Sequence[str]],
    by: str,
) -> tuple[Row | None, str]:
    """Return the verdict on a crack after an edit, None for none, and what is to be said of it."""
    kind, states = change
    earlier = hidden.get((states[-1], number))
    if not kind:  # undone
        row = rows.get(number) if earlier is None else earlier
        return _spoken(row), ""
    if number not in old and number in rows:  # of an earlier release, which let it stand
        return _spoken(rows[number]), ""
    if number not in old:
        back = next((hidden[s, number] for s in reversed(states) if (s, number) in hidden), None)
        if kind == "crack" and back is not None:
            return _spoken(back), ""
    sources = sorted(n for n in old if n == number or _same_place(new[number], old[n]))
    heir, sentence = _inherited(number, sources, rows, kind, by)
    earlier = _spoken(earlier)
    spoken_at = max((str(rows[n]["updated_at"]) for n in sources if n in rows), default="")
    if earlier is not None and earlier["updated_at"] >= spoken_at:  # done again
        return earlier, ""
    return heir, sentence


def _inherited(
    number: int, sources: Sequence[int], rows: Mapping[int, Row], kind: str, by: str
) -> tuple[Row | None, str]:
    """Return the verdict that a crack has of those that it came of."""
    own = [rows[n] for n in sources if n in rows]
    words = {rows[n]["verdict"] if n in rows else "open" for n in sources}
    if not own:
        return None, ""
    if len(words) == 1 and not (kind == "draw" and "reject" in words):
        newest = max(own, key=lambda row: str(row["updated_at"]))
        note = "; ".join(dict.fromkeys(row["note"] for row in own if row["note"]))
        return {**newest, "note": note[:_MOST_NOTE]}, ""
    were = ", ".join(_was(n, rows.get(n)) for n in sources)
    row = {"verdict": "open", "note": f"Before the edit, {were}."[:_MOST_NOTE], "by": by}
    plain = ", ".join(_was(n, rows.get(n), with_note=False) for n in sources)
    sentence = f"Crack {number} is undecided, judge it: before, {plain}."
    return {**row, "updated_at": now()}, sentence


def _was(number: int, row: Row | None, *, with_note: bool = True) -> str:
    word = WORDS[row["verdict"] if row else "open"]
    note = f" ({row['note']})" if with_note and row and row["note"] else ""
    return f"crack {number} was {word}{note}"


def _same_place(piece: Report, whole: Report) -> bool:
    """Return whether most of one crack lies on the other: a piece, or a part of what is joined."""
    one, two = _points(piece), _points(whole)
    if not len(one) or not len(two):
        return False
    apart = (one.min(axis=0) > two.max(axis=0) + _NEAR_PX).any()
    if apart or (two.min(axis=0) > one.max(axis=0) + _NEAR_PX).any():
        return False
    return max(_share(one, two), _share(two, one)) > 0.5


def _share(points: Array, of: Array) -> float:
    return float((cKDTree(of).query(points)[0] <= _NEAR_PX).mean())


def _points(crack: Report) -> Array:
    """Return places of a crack's centre lines, (N, 2) px, about one for each px."""
    lines = [arc.resample(np.asarray(x, np.float64)) for x in crack["centre_line"] if x]
    return np.concatenate(lines) if lines else np.empty((0, 2))


# What was said of cracks as they were under another list of edits ---------------------------


def _hidden(db: Connection, place: Place, numbers: Iterable[int]) -> dict[tuple[str, int], Row]:
    table = hidden_verdicts.c
    mine = (table.job_id == place.job_id) & (table.image_id == place.image_id)
    query = sa.select(hidden_verdicts).where(mine, table.crack_id.in_(list(numbers)))
    return {(row["state"], row["crack_id"]): dict(row) for row in db.execute(query).mappings()}


def _hide(db: Connection, place: Place, state: str, rows: Mapping[int, Row | None]) -> None:
    """Keep what was said of cracks, or that nothing was, under a list of edits."""
    table = hidden_verdicts.c
    same = (table.job_id == place.job_id) & (table.image_id == place.image_id)
    same &= (table.state == state) & table.crack_id.in_(list(rows))
    db.execute(hidden_verdicts.delete().where(same))
    nothing = {"verdict": None, "note": "", "by": "", "updated_at": ""}
    for number, row in rows.items():
        at = {"job_id": place.job_id, "image_id": place.image_id, "crack_id": number}
        db.execute(hidden_verdicts.insert().values({**(row or nothing), **at, "state": state}))


def _spoken(row: Row | None) -> Row | None:
    """Return a row as the table of verdicts has it, None where nothing was said."""
    if row is None or row["verdict"] is None:
        return None
    return {name: row[name] for name in ("verdict", "note", "by", "updated_at")}


def _state(edits: Sequence[Report]) -> str:
    """Return a digest of a list of edits: of what they do, not of who did them when."""
    return fingerprint([{k: v for k, v in e.items() if k not in _WHO_AND_WHEN} for e in edits])


def _change(before: Report, after: Report) -> tuple[str, Sequence[str]]:
    """Return the kind of the edit that was done, "" of an undone one, and the lists up to it."""
    edits = _edits(after)
    undone = len(edits) < len(_edits(before))
    states = [_state(edits[:count]) for count in range(len(edits) + 1)]
    return "" if undone or not edits else str(edits[-1]["kind"]), states


def _edits(report: Report) -> list[Any]:
    return list((report.get("corrections") or {"edits": []})["edits"])


def _edits_of(crack: Report | None) -> tuple[str, ...] | None:
    """Return the edits that a crack came of, None of one that is not listed."""
    return None if crack is None else tuple(crack.get("edits") or ())


def _by_number(report: Report) -> dict[int, Report]:
    return {crack["id"]: crack for crack in report["cracks"]}


# The history --------------------------------------------------------------------------------


def _reason(before: Report, after: Report) -> str:
    edits, earlier = _edits(after), _edits(before)
    if len(edits) < len(earlier):
        return f"{earlier[-1]['kind'].replace('_', ' ')} undone"
    return str(edits[-1]["kind"]).replace("_", " ") if edits else ""


def _note(
    db: Connection,
    place: Place,
    number: int,
    before: Row | None,
    after: Row | None,
    listed: Mapping[int, Report],
    reason: str,
    by: str,
) -> None:
    """Keep in the history that a verdict came or went with an edit."""
    nothing: Row = {"verdict": "open", "note": ""}
    gone: Row = {"verdict": None, "note": None}
    old = before or nothing
    new = after or (nothing if number in listed else gone)
    if before is None and after is None:
        return
    old, new = ({name: row[name] for name in ("verdict", "note")} for row in (old, new))
    if old != new:
        at = replace(place, crack_id=number)
        note_change(db, at, "verdict", by, before=old, after={**new, "reason": reason})


def note_carried(
    db: Connection,
    place: Place,
    left: Iterable[tuple[Row, str]],
    pairs: Mapping[int, Mapping[str, Any]],
) -> None:
    """Keep in the history which verdicts came to a new analysis of an image, and which did not.

    Args:
        place: the image in its new job.
        left: rows of earlier analyses that did not come, and why.
        pairs: number of a new crack -> the row that it takes over.
    """
    nothing: Row = {"verdict": "open", "note": ""}
    for number, row in sorted(pairs.items()):
        word = {name: row[name] for name in nothing}
        if word == nothing:
            continue
        reason = f"carried from crack {row['crack_id']} of an earlier analysis"
        at = replace(place, crack_id=number)
        by = str(row["by"])
        note_change(db, at, "verdict", by, before=nothing, after={**word, "reason": reason})
    taken = {(row["job_id"], row["crack_id"]) for row in pairs.values()}
    for row, why in left:
        word = {name: row[name] for name in nothing}
        if word == nothing or (row["job_id"], row["crack_id"]) in taken:
            continue
        reason = f"of crack {row['crack_id']} of the analysis before: {why}"
        gone: Row = {"verdict": None, "note": None, "reason": reason}
        note_change(db, place, "verdict", str(row["by"]), before=word, after=gone)


def about_edit(before: Report, after: Report) -> tuple[int | None, Row, Row]:
    """Return what the history says of an edit: its crack, and before and after it.

    An edit's row names its kind, the numbers of the cracks that it changed, and its place.
    """
    old, new, earlier, edits = _by_number(before), _by_number(after), _edits(before), _edits(after)
    touched = sorted(n for n in {*old, *new} if _edits_of(old.get(n)) != _edits_of(new.get(n)))
    gone, fresh = ([e for e in a if e not in b] for a, b in ((earlier, edits), (edits, earlier)))
    was, is_now = (
        {
            "correction": ", ".join(e["kind"] for e in made) or None,
            "cracks": ", ".join(str(n) for n in touched if n in listed) or None,
            "place": "; ".join(_place_of(e) for e in made) or None,
        }
        for made, listed in ((gone, old), (fresh, new))
    )
    return (touched[0] if touched else None), was, is_now


def _place_of(edit: Report) -> str:
    """Return where an edit was made: its first place."""
    line: list[list[float]] = edit.get("line") or edit.get("area") or []
    row, col = edit.get("point") or line[0]
    return f"row {row:.0f}, column {col:.0f}"
