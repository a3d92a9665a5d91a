"""Stored files that no row names are told from those that a row names, or may still name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from test_ledger import begin
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import DataError
from service import check as checking
from service import ledger, uploads
from service.app import create_app
from service.check import check, remove_unnamed
from service.database import new_id, open_database, tasks
from service.settings import Settings
from service.storage import REPORTS, Judged, Received, Storage

DAY_S = 86400.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder that has the folders of a service."""
    settings = Settings(data=tmp_path / "data", min_free_mb=0)
    Storage(settings)
    return settings


@pytest.fixture
def db(settings: Settings) -> Iterator[sa.Connection]:
    """A connection to the database of the folder; each step is a transaction of its own."""
    engine = open_database(settings)
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
    engine.dispose()


def put(path: Path) -> Path:
    """Write a file of one byte, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a check look at files as if a day had gone."""
    later = time.time() + DAY_S
    monkeypatch.setattr(checking.time, "time", lambda: later)


@pytest.fixture
def stored(settings: Settings, db: sa.Connection) -> tuple[set[Path], set[Path]]:
    """Files of each kind that rows name, and that none names."""
    survey, job = begin(db, "a.png")
    storage = Storage(settings)
    (task,) = db.execute(sa.select(tasks)).all()
    named = {
        put(storage.upload(survey, task.image_id)),
        put(storage.result(job, task.image_id) / "report.json"),
        put(storage.result(job, REPORTS) / "key" / "report.html"),
    }
    unnamed = {
        put(storage.upload(survey, new_id())),  # its transaction failed
        put(storage.upload(new_id(), task.image_id)),
        put(storage.result(job, new_id()) / "report.json"),  # its survey is gone
        put(storage.result(new_id(), REPORTS) / "key" / "report.html"),
    }
    return named, unnamed


def test_only_what_no_row_names_is_deleted(
    settings: Settings, stored: tuple[set[Path], set[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = stored
    a_day_later(monkeypatch)
    findings = check(settings)
    assert findings.problems == []
    assert len(findings.unnamed) == len(unnamed)
    remove_unnamed(settings, findings)
    assert all(path.is_file() for path in named)
    assert not any(path.exists() for path in unnamed)
    left = {
        path.name for name in ("uploads", "results") for path in (settings.data / name).iterdir()
    }
    assert len(left) == 2  # the survey and the job
    assert check(settings).unnamed == []


def test_what_is_young_may_still_get_its_row(
    settings: Settings, stored: tuple[set[Path], set[Path]]
) -> None:
    past = time.time() - DAY_S
    for path in stored[1]:
        os.utime(path, (past, past))  # moved just now, though it was written a day ago
    assert check(settings).unnamed == []


def test_nothing_is_deleted_by_the_database_of_another_folder(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(Storage(settings).upload(new_id(), new_id()))
    open_database(settings).dispose()
    a_day_later(monkeypatch)
    findings = check(settings)
    assert findings.unnamed == [path]
    with pytest.raises(DataError, match="names no photograph"):
        remove_unnamed(settings, findings)
    assert path.is_file()


def test_nothing_is_deleted_while_photographs_are_missing(
    settings: Settings, stored: tuple[set[Path], set[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    named, unnamed = stored
    next(path for path in named if "uploads" in path.parts).unlink()
    a_day_later(monkeypatch)
    with pytest.raises(DataError, match="problems"):
        remove_unnamed(settings, check(settings))
    assert all(path.exists() for path in unnamed)


def test_a_photograph_whose_row_was_not_committed_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = create_app(settings).state
    with service.engine.begin() as db:  # type: ignore[attr-defined]
        survey, _ = begin(db, "a.png")
        ledger.cancel(db, ledger.jobs_of(db, survey)[0].id)
    part = put(settings.data / "parts" / "p")
    past = time.time() - 10 * DAY_S
    os.utime(part, (past, past))  # an upload that stood still for long

    @sa.event.listens_for(service.engine, "commit")  # type: ignore[attr-defined]
    def fail(_: object) -> None:
        raise OSError("the power went")

    received = Received(part, "b" * 64, 1)
    judged = Judged(received=received, name="b.png", width_px=8, height_px=8, format="PNG")
    with pytest.raises(OSError, match="power"):
        uploads.keep_image(service, "dam", survey, judged)  # type: ignore[arg-type]
    service.engine.dispose()  # type: ignore[attr-defined]
    (left,) = (settings.data / "uploads" / survey).iterdir()
    assert time.time() - left.stat().st_mtime < DAY_S
    assert check(settings).unnamed == []
    a_day_later(monkeypatch)
    assert check(settings).unnamed == [left]


def test_the_command_names_and_deletes(
    settings: Settings, stored: tuple[set[Path], set[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_day_later(monkeypatch)
    arguments = ["db", "check", "--data", str(settings.data)]
    first = CliRunner().invoke(app, arguments)
    assert first.exit_code == 1
    assert first.output.count("no row names it") == len(stored[1])
    assert CliRunner().invoke(app, [*arguments, "--remove-unnamed"]).exit_code == 0
    last = CliRunner().invoke(app, arguments)
    assert (last.exit_code, last.output) == (0, "sound\n")
