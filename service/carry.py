"""Verdicts and edits of earlier analyses go along to what lies at the same place.

A survey that is analyzed again, with another scale or threshold, numbers its cracks anew. A new
crack takes the verdict of the old one that it lies on: the latest that was said in any analysis, so
that nothing is lost over one that does not list the crack. A rejection hides a crack from the
figures, so it needs nearly the whole of the new one; where two verdicts meet, none is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.exports.survey import judged_row
from crackseg.metrology import arc
from service.database import State, images, tasks, verdicts
from service.heirs import note_carried
from service.history import Place
from service.offers import all_edits, read_json, read_offer
from service.storage import Storage

_CELL_PX = 4.0  # centre lines of two readings of one crack differ by a pixel or two
_SHARES = {"reject": 0.9, "accept": 0.5, "open": 0.5}  # of the new crack that must lie on the old
_ASIDE = 0.1  # a smaller part of another crack is its end or a crossing

Cells = frozenset[tuple[int, int]]


def carry_verdicts(db: Connection, storage: Storage, job_id: str, image_id: str) -> None:
    """Give an image's new results the latest word that inspectors said of each place in it."""
    new = _report(storage, job_id, image_id)
    if new is None:  # the new analysis failed
        return
    mine = (verdicts.c.image_id == image_id) & (verdicts.c.job_id < job_id)
    rows = [dict(row) for row in db.execute(sa.select(verdicts).where(mine)).mappings()]
    analyses = []
    for old_job in sorted({row["job_id"] for row in rows}):
        old = _report(storage, old_job, image_id)
        if old is not None:  # its files may be gone
            by_crack = {row["crack_id"]: row for row in rows if row["job_id"] == old_job}
            analyses.append((old["cracks"], by_crack))
    pairs = latest_words(analyses, new["cracks"])
    survey_id = db.execute(sa.select(images.c.survey_id).where(images.c.id == image_id))
    place = Place(survey_id=survey_id.scalar_one(), job_id=job_id, image_id=image_id)
    note_carried(db, place, left_over(rows, analyses, new["cracks"], pairs), pairs)
    if not pairs:
        return
    fresh = [{**row, "job_id": job_id, "crack_id": crack} for crack, row in pairs.items()]
    db.execute(verdicts.insert(), fresh)
    this = (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)
    summary = db.execute(sa.select(tasks.c.summary).where(this)).scalar_one()
    words = {crack: str(row["verdict"]) for crack, row in pairs.items()}
    db.execute(tasks.update().where(this).values(summary=judged_row(new, summary, words)))


def left_over(
    rows: list[dict[str, Any]],
    analyses: list[tuple[list[Any], dict[int, dict[str, Any]]]],
    new: list[Any],
    pairs: Mapping[int, dict[str, Any]],
) -> list[tuple[dict[str, Any], str]]:
    """Return the verdicts that do not come to a new analysis, each of them once, and why."""

    def key(row: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(row[name] for name in ("verdict", "note", "by", "updated_at"))

    matched = {key(row) for old, of in analyses for row in matches(old, new, of).values()}
    latest = _latest(analyses, new)
    vetoed = {key(row) for crack, row in latest.items() if crack not in pairs}
    vetoed -= {key(row) for row in pairs.values()}
    left = {}
    for row in rows:
        if key(row) in vetoed:
            left[key(row)] = row, "something else was said later of a part of it"
        elif key(row) not in matched:
            left[key(row)] = row, "none lies like it in this one"
    return list(left.values())


def earlier_edits(
    db: Connection, storage: Storage, job_id: str, image_id: str
) -> list[dict[str, Any]] | None:
    """Return what inspectors had corrected in the analyses of an image before this one.

    Those that one of them left out are among them, in their old place; what somebody undid in the
    last that had it is not. None: there is no earlier analysis.
    """
    mine = (tasks.c.image_id == image_id) & (tasks.c.job_id < job_id)
    done = sa.select(tasks.c.job_id).where(mine, tasks.c.state == State.SUCCEEDED)
    folders = [storage.result(job, image_id) for job in db.scalars(done.order_by(tasks.c.job_id))]
    offers = [offer for folder in folders if (offer := read_offer(folder)) is not None]
    return all_edits(offers) if offers else None


def latest_words(
    analyses: Iterable[tuple[Iterable[Mapping[str, Any]], Mapping[int, dict[str, Any]]]],
    new: Iterable[Mapping[str, Any]],
) -> dict[int, dict[str, Any]]:
    """Return the latest verdict of all analyses that each new crack takes over, by its number.

    One that lies on a part of the crack and was said later leaves it undecided, if either rejects.

    Args:
        analyses: in their order: cracks of a report, and verdict rows by their numbers.
        new: cracks of the new report.
    """
    new, done = list(new), [(list(old), rows) for old, rows in analyses]
    latest = _latest(done, new)
    words = [(_around(_cells(c)), rows[c["id"]]) for old, rows in done for c in old
            if c["id"] in rows]  # fmt: skip
    cells = {crack["id"]: _cells(crack) for crack in new}

    def contradicted(crack: int, row: dict[str, Any]) -> bool:
        return any(
            "reject" in (row["verdict"], other["verdict"])
            and row["verdict"] != other["verdict"]
            and other["updated_at"] > row["updated_at"]
            and _share(cells[crack], place) > _ASIDE
            for place, other in words
        )

    return {crack: row for crack, row in latest.items() if not contradicted(crack, row)}


def _latest(
    analyses: Iterable[tuple[Iterable[Mapping[str, Any]], Mapping[int, dict[str, Any]]]],
    new: Iterable[Mapping[str, Any]],
) -> dict[int, dict[str, Any]]:
    """Return the latest verdict on what each new crack lies on, by its number."""
    latest: dict[int, dict[str, Any]] = {}
    for old, rows in analyses:
        for crack, row in matches(old, new, rows).items():
            if crack not in latest or row["updated_at"] >= latest[crack]["updated_at"]:
                latest[crack] = row
    return latest


def matches(
    old: Iterable[Mapping[str, Any]],
    new: Iterable[Mapping[str, Any]],
    verdicts: Mapping[int, dict[str, Any]],
) -> dict[int, dict[str, Any]]:
    """Return the verdict that each new crack takes over, by its number.

    Args:
        old: cracks of the earlier report, as in ``report.json``.
        new: cracks of the new report.
        verdicts: verdict rows of the old cracks by number; those without one count as open.
    """
    judged = [(_around(_cells(c)), verdicts[c["id"]]) for c in old if c["id"] in verdicts]
    unjudged = [_around(_cells(c)) for c in old if c["id"] not in verdicts]
    pairs = {}
    for crack in new:
        cells = _cells(crack)
        shares = sorted(((_share(cells, place), row) for place, row in judged), key=_first)
        if not shares or not cells:
            continue
        share, best = shares[-1]
        others = {row["verdict"] for part, row in shares[:-1] if part > _ASIDE}
        others |= {"open" for place in unjudged if _share(cells, place) > _ASIDE}
        others -= {best["verdict"]}
        in_doubt = others and "reject" in (others | {best["verdict"]})
        if share >= _SHARES[best["verdict"]] and not in_doubt:
            pairs[crack["id"]] = best
    return pairs


def _first(pair: tuple[float, dict[str, Any]]) -> float:
    return pair[0]


def _share(cells: Cells, place: Cells) -> float:
    return len(cells & place) / max(len(cells), 1)


def _cells(crack: Mapping[str, Any]) -> Cells:
    """Return the squares of the picture that a crack's centre lines run through."""
    cells: set[tuple[int, int]] = set()
    for line in crack["centre_line"]:
        if not line:
            continue
        points = np.asarray(line, dtype=np.float64)
        stations = np.arange(0.0, arc.along(points)[-1] + 1.0)
        squares = np.floor(arc.at(points, stations) / _CELL_PX).astype(int)
        cells |= set(map(tuple, squares.tolist()))
    return frozenset(cells)


def _around(cells: Cells) -> Cells:
    """Return squares with all their neighbours."""
    near = (-1, 0, 1)
    return frozenset((r + i, c + j) for r, c in cells for i in near for j in near)


def _report(storage: Storage, job_id: str, image_id: str) -> dict[str, Any] | None:
    return read_json(storage.result(job_id, image_id) / "report.json")
