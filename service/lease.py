"""A worker's name, held by a lock that dies with its process: two workers never share one.

The lowest free ``slot-K`` is taken by a file lock (one machine, SQLite) or a PostgreSQL session
lock. Whoever can take another slot's lock knows that its worker is dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from crackseg.errors import ConfigError
from service.database import sqlalchemy_url
from service.private import private_folder
from service.settings import Settings

_SLOTS = 64
_SPACE = 723_846  # first number of the advisory locks


class Lease:
    """The slot of this process."""

    def __init__(self, settings: Settings) -> None:
        self._locks = _PostgresLocks(settings.db) if settings.db else _FileLocks(settings.data)
        for number in range(_SLOTS):
            if self._locks.take(number):
                self.number = number
                return
        raise ConfigError(f"all {_SLOTS} worker slots are taken; stop a worker first.")

    @property
    def slot(self) -> str:
        """The worker's name."""
        return f"slot-{self.number}"

    def keep(self) -> bool:
        """Return whether this process has its slot; a lock that the database lost is taken anew.

        False: another worker has the slot now.

        Raises:
            sa.exc.SQLAlchemyError: the database does not answer.
        """
        return self._locks.alive() or self._locks.take(self.number)

    @contextmanager
    def of_dead(self, slot: str) -> Iterator[bool]:
        """Hold another worker's slot for a moment; gives False where that worker lives."""
        number = int(slot.removeprefix("slot-"))
        if number == self.number or not self._locks.take(number):
            yield False
            return
        try:
            yield True
        finally:
            self._locks.release(number)


class _FileLocks:
    def __init__(self, data: Path) -> None:
        self._folder = private_folder(data / "slots")
        self._handles: dict[int, int] = {}

    def take(self, number: int) -> bool:
        handle = os.open(self._folder / f"{number}.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return False
        self._handles[number] = handle
        return True

    def release(self, number: int) -> None:
        os.close(self._handles.pop(number))

    def alive(self) -> bool:
        return True


class _PostgresLocks:
    def __init__(self, url: str) -> None:
        engine = sa.create_engine(sqlalchemy_url(url), poolclass=sa.NullPool)
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._db: Connection = self._engine.connect()

    def take(self, number: int) -> bool:
        query = sa.text("SELECT pg_try_advisory_lock(:space, :number)")
        return bool(self._db.scalar(query, {"space": _SPACE, "number": number}))

    def release(self, number: int) -> None:
        query = sa.text("SELECT pg_advisory_unlock(:space, :number)")
        self._db.execute(query, {"space": _SPACE, "number": number})

    def alive(self) -> bool:
        """Return whether the session with the locks lives; if not, begin another."""
        try:
            self._db.execute(sa.text("SELECT 1"))
        except sa.exc.SQLAlchemyError:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                self._db.invalidate()
                self._db.close()
            self._db = self._engine.connect()
            return False
        return True
