"""Whether the database is sound, its rows have their files, and the stored files have their rows.

A file comes to its place just before the row that names it is committed, and goes just after that
row went: a crash between the two leaves a file that nobody sees any more. What is young may still
get its row; and where the rows are not those of this folder, nothing is to be deleted by them.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from crackseg.errors import DataError
from service.database import State, images, jobs, open_database, tasks
from service.private import DATABASES
from service.settings import Settings
from service.storage import REPORTS

YOUNG_S = 6 * 3600.0  # a transaction is open for seconds


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes:
        problems: sentences; none where the database is sound and has all its files.
        unnamed: stored files and folders of results that no row names, not young ones.
    """

    problems: list[str]
    unnamed: list[Path]


@dataclass(frozen=True, slots=True)
class _Rows:
    images: dict[tuple[str, str], int]  # survey, image -> bytes
    tasks: dict[tuple[str, str], str]  # job, image -> state
    jobs: set[str]


def check(settings: Settings) -> Findings:
    """Return what is wrong with the databases, and which files and rows have no other half."""
    problems: list[str] = []
    if not settings.db:
        for name in DATABASES:
            problems += _check_sqlite(settings.data / name)
    if problems:
        return Findings(problems, [])
    stored = _stored(settings.data)  # before the rows: what comes meanwhile is not in it
    rows = _rows(settings)
    return Findings(_missing(settings.data, rows), [p for p in stored if not _is_named(p, rows)])


def _rows(settings: Settings) -> _Rows:
    engine = open_database(settings)
    try:
        with engine.connect() as db:
            sizes = db.execute(sa.select(images.c.survey_id, images.c.id, images.c.size_bytes))
            states = db.execute(sa.select(tasks.c.job_id, tasks.c.image_id, tasks.c.state))
            return _Rows(
                {(survey, image): size for survey, image, size in sizes},
                {(job, image): state for job, image, state in states},
                set(db.scalars(sa.select(jobs.c.id))),
            )
    finally:
        engine.dispose()


def _missing(data: Path, rows: _Rows) -> list[str]:
    """Return a sentence for each row without its file."""
    problems = []
    for (survey, image), size in rows.images.items():
        path = data / "uploads" / survey / image
        if not path.is_file() or path.stat().st_size != size:
            problems.append(f"image {image} of survey {survey} is missing or has another size.")
    for (job, image), state in rows.tasks.items():
        report = data / "results" / job / image / "report.json"
        if state == State.SUCCEEDED and not report.is_file():
            problems.append(f"the report of image {image} of job {job} is missing.")
    return problems


def _stored(data: Path) -> list[Path]:
    """Return photographs and folders of results that are not young, by their paths."""
    old = time.time() - YOUNG_S
    paths = []
    for path in sorted([*data.glob("uploads/*/*"), *data.glob("results/*/*")]):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            about = path.lstat()
            if max(about.st_mtime, about.st_ctime) < old:
                paths.append(path)
    return paths


def _is_named(path: Path, rows: _Rows) -> bool:
    place = (path.parent.name, path.name)
    if path.parent.parent.name == "uploads":
        return place in rows.images
    return place in rows.tasks or (path.name == REPORTS and path.parent.name in rows.jobs)


def remove_unnamed(settings: Settings, findings: Findings) -> None:
    """Delete stored files that no row names.

    Raises:
        DataError: the database is not sound, or names none of the photographs that are stored: it
            may be that of another folder.
    """
    if findings.problems:
        raise DataError("nothing is deleted while the database has problems; mend them first.")
    if findings.unnamed and not _rows(settings).images:
        raise DataError(
            "nothing is deleted: the database names no photograph at all; is it the one of "
            f"`{settings.data}`?"
        )
    for path in findings.unnamed:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # others lie there
            path.parent.rmdir()


def _check_sqlite(path: Path) -> list[str]:
    if not path.is_file():
        return [f"`{path}` does not exist."]
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            answer = [row[0] for row in db.execute("PRAGMA integrity_check")]
    except sqlite3.Error as error:
        return [f"`{path.name}`: {error}."]
    return [] if answer == ["ok"] else [f"`{path.name}`: {line}." for line in answer]
