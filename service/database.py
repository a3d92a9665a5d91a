"""The tables of the service, on SQLite (WAL) or PostgreSQL, and how they are opened and copied.

Files are never in the database: a row names what lies under the data folder (see ``storage.py``).
Times are RFC 3339 in UTC as text, so that they sort and mean the same in both databases.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from crackseg.errors import CracksegError, DataError
from service.private import DATABASES, make_private, private_file
from service.settings import Settings

SCHEMA_VERSION = 2
Record = Row[Any]  # columns by name


class State(StrEnum):
    """Where a job is, and each image of it; the one vocabulary of rows, answers and pages."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = (State.SUCCEEDED, State.FAILED, State.CANCELLED)

metadata = sa.MetaData()

about = sa.Table("about", metadata, sa.Column("schema_version", sa.Integer, nullable=False))

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("secret_sha256", sa.Text, nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Text),
)

surveys = sa.Table(
    "surveys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),  # survey, or analysis: one image, one job
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("width_px", sa.Integer, nullable=False),
    sa.Column("height_px", sa.Integer, nullable=False),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.UniqueConstraint("survey_id", "name"),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), nullable=False, index=True),
    sa.Column("tenant", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
    sa.Column("started_at", sa.Text),
    sa.Column("finished_at", sa.Text),
    sa.Column("updated_at", sa.Text, nullable=False),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("image_id", sa.Text, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("slot", sa.Text),  # of the worker that has it
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("progress", sa.Float, nullable=False, default=0.0),
    sa.Column("error_code", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("summary", sa.JSON),  # the image's row of the survey
    sa.Column("seconds", sa.Float),
    sa.Column("finished_at", sa.Text),
)

dismissals = sa.Table(  # jobs that clients of OGC API - Processes see no more
    "dismissals",
    metadata,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("image_id", sa.Text, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("crack_id", sa.Integer, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
)

hidden_verdicts = sa.Table(  # on cracks as they were under another list of edits
    "hidden_verdicts",
    metadata,
    sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("image_id", sa.Text, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("state", sa.Text, primary_key=True),  # digest of the list of edits
    sa.Column("crack_id", sa.Integer, primary_key=True),
    sa.Column("verdict", sa.Text),  # None: nothing was said
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
)

changes = sa.Table(  # what people changed, never written over
    "changes",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), nullable=False, index=True),
    sa.Column("job_id", sa.Text),
    sa.Column("image_id", sa.Text),
    sa.Column("crack_id", sa.Integer),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)

drafts = sa.Table(  # options that were typed for a survey, to be found again before it is analyzed
    "drafts",
    metadata,
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), primary_key=True),
    sa.Column("options", sa.JSON, nullable=False),
)

image_options = sa.Table(  # where the scale of one image comes from, against that of its survey
    "image_options",
    metadata,
    sa.Column("image_id", sa.Text, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("options", sa.JSON, nullable=False),
)

facts = sa.Table(  # what people know of a survey: the text of its survey.toml
    "facts",
    metadata,
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), primary_key=True),
    sa.Column("toml", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("updated_at", sa.Text, nullable=False),
)

submissions = sa.Table(  # what an Idempotency-Key led to
    "submissions",
    metadata,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("route", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("object_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

uploads = sa.Table(  # resumable uploads that are not whole yet
    "uploads",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("survey_id", sa.Text, sa.ForeignKey("surveys.id"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", sa.Text, nullable=False),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("slot", sa.Text, primary_key=True),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("seen_at", sa.Text, nullable=False),
)


class DatabaseError(CracksegError):
    """The database is damaged, of another version, or cannot be opened."""


def open_database(settings: Settings) -> Engine:
    """Return an engine on the service's database; its tables are made if need be.

    Raises:
        DatabaseError: damaged, of another version, or not reachable.
    """
    engine = _postgres(settings.db) if settings.db else _sqlite(settings.data / "service.sqlite")
    try:
        with engine.begin() as db:
            if settings.db:  # several processes may start at once
                db.execute(sa.text("SELECT pg_advisory_xact_lock(7238461)"))
            metadata.create_all(db)
            version = db.scalar(sa.select(about.c.schema_version))
            if version is None:
                db.execute(about.insert().values(schema_version=SCHEMA_VERSION))
            elif version in _UPGRADES:
                version = _upgrade(db, version)
    except sa.exc.SQLAlchemyError as error:
        engine.dispose()
        raise DatabaseError(
            f"the database cannot be opened: {str(error).splitlines()[0]}; "
            "see `crackseg db check`, or restore a backup."
        ) from error
    if version not in (None, SCHEMA_VERSION):
        engine.dispose()
        raise DatabaseError(
            f"the database has schema version {version}, this release needs {SCHEMA_VERSION}; "
            "run the release that wrote it, or restore a backup."
        )
    return engine


# Version 1 had another ledger of the images beside the rows, which knew who worked on them.
_UPGRADES = {
    1: (
        "ALTER TABLE tasks ADD COLUMN slot TEXT",
        "ALTER TABLE jobs DROP COLUMN round",
        "UPDATE tasks SET state = 'queued' WHERE state = 'running'",
    )
}


def _upgrade(db: Connection, version: int) -> int:
    """Bring tables of an earlier release up to date and return their version."""
    ours = about.c.schema_version == version
    # Who changes this row first does the rest: others wait for it, and find it done.
    if db.execute(about.update().where(ours).values(schema_version=version + 1)).rowcount:
        for statement in _UPGRADES[version]:
            db.execute(sa.text(statement))
    return version + 1


def _postgres(url: str) -> Engine:
    return sa.create_engine(sqlalchemy_url(url), pool_pre_ping=True, pool_size=10, max_overflow=20)


def sqlalchemy_url(url: str) -> str:
    """Return a postgresql:// address with the driver that is installed."""
    return "postgresql+psycopg://" + url.partition("://")[2]


def _sqlite(path: Path) -> Engine:
    make_private(path.parent)
    private_file(path)  # what SQLite writes beside it has the same rights
    engine = sa.create_engine(f"sqlite:///{path}", pool_size=10, max_overflow=30)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        connection.execute("PRAGMA busy_timeout=30000")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Its own knows the 26 letters of English alone.
        connection.create_function("lower", 1, _lower, deterministic=True)

    return engine


def _lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def insert_new(db: Connection, table: sa.Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its key exists; return whether it was inserted."""
    columns = ", ".join(f'"{name}"' for name in values)
    places = ", ".join(f":{name}" for name in values)
    text = f"INSERT INTO {table.name} ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING"
    return bool(db.execute(sa.text(text), values).rowcount)


def now(*, ago: timedelta = timedelta()) -> str:
    """Return the time as RFC 3339 text in UTC with milliseconds."""
    moment = datetime.now(UTC) - ago
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fingerprint(*parts: Any) -> str:
    """Return a digest of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def new_id() -> str:
    """Return a UUIDv7 (RFC 9562): sorted by time, to a fraction of a ms, not to be guessed."""
    ms, ns = divmod(time.time_ns(), 1_000_000)
    value = ms << 80 | (ns * 4096 // 1_000_000) << 64 | secrets.randbits(64)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def backup(settings: Settings, out: Path) -> None:
    """Copy the SQLite databases, consistent while the service runs, into a new folder.

    Raises:
        DataError: the folder exists, or the database is PostgreSQL.
    """
    if settings.db:
        raise DataError("`crackseg db backup` is for SQLite; use pg_dump for PostgreSQL.")
    if out.exists():
        raise DataError(f"`{out}` exists already; name a new folder.")
    out.mkdir(mode=0o700, parents=True)
    for name in DATABASES:
        if (settings.data / name).is_file():
            with (
                closing(sqlite3.connect(settings.data / name)) as source,
                closing(sqlite3.connect(private_file(out / name))) as target,
            ):
                source.backup(target)
