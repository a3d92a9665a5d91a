"""Verdicts of an earlier analysis go along to the cracks that lie at the same place.

A survey that is analyzed again, with another scale or threshold, numbers its cracks anew. A new
crack takes the verdict of the old one that it lies on. A rejection hides a crack from the figures,
so it needs nearly the whole of the new one; where two verdicts meet, none is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.metrology import arc
from service.database import State, images, tasks, verdicts
from service.heirs import note_carried
from service.history import Place
from service.storage import Storage
from service.verdicts import judged_row

_CELL_PX = 4.0  # centre lines of two readings of one crack differ by a pixel or two
_SHARES = {"reject": 0.9, "accept": 0.5, "open": 0.5}  # of the new crack that must lie on the old
_ASIDE = 0.1  # a smaller part of another crack is its end or a crossing

Cells = frozenset[tuple[int, int]]


def carry_verdicts(db: Connection, storage: Storage, job_id: str, image_id: str) -> None:
    """Give an image's new results the verdicts that inspectors gave to its earlier ones."""
    mine = verdicts.c.image_id == image_id
    earlier = sa.select(verdicts.c.job_id).where(mine, verdicts.c.job_id < job_id)
    old_job = db.scalar(earlier.order_by(verdicts.c.job_id.desc()).limit(1))
    if old_job is None:
        return
    query = sa.select(verdicts).where(mine, verdicts.c.job_id == old_job)
    rows = [dict(row) for row in db.execute(query).mappings()]
    old, new = (_report(storage, job, image_id) for job in (old_job, job_id))
    if old is None or new is None:  # the new analysis failed, or the old one's files are gone
        return
    pairs = matches(old["cracks"], new["cracks"], {row["crack_id"]: row for row in rows})
    survey_id = db.execute(sa.select(images.c.survey_id).where(images.c.id == image_id))
    place = Place(survey_id=survey_id.scalar_one(), job_id=job_id, image_id=image_id)
    note_carried(db, place, rows, pairs)
    if not pairs:
        return
    fresh = [{**row, "job_id": job_id, "crack_id": crack} for crack, row in pairs.items()]
    db.execute(verdicts.insert(), fresh)
    this = (tasks.c.job_id == job_id) & (tasks.c.image_id == image_id)
    summary = db.execute(sa.select(tasks.c.summary).where(this)).scalar_one()
    by_crack = {crack: str(row["verdict"]) for crack, row in pairs.items()}
    db.execute(tasks.update().where(this).values(summary=judged_row(new, summary, by_crack)))


def earlier_edits(
    db: Connection, storage: Storage, job_id: str, image_id: str
) -> list[dict[str, Any]]:
    """Return what inspectors had corrected in the analysis of an image before this one."""
    mine = (tasks.c.image_id == image_id) & (tasks.c.job_id < job_id)
    done = sa.select(tasks.c.job_id).where(mine, tasks.c.state == State.SUCCEEDED)
    old_job = db.scalar(done.order_by(tasks.c.job_id.desc()).limit(1))
    old = None if old_job is None else _report(storage, old_job, image_id)
    edits: list[dict[str, Any]] = ((old or {}).get("corrections") or {"edits": []})["edits"]
    return edits


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
    path = storage.result(job_id, image_id) / "report.json"
    if not path.is_file():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report
