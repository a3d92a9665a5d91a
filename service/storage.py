"""Where files lie under the data folder, and how bytes from outside get there without harm.

uploads/SURVEY/IMAGE          what was sent, under a name of our own, never served again
results/JOB/IMAGE/            what was made of it; appears whole or not at all
parts/                        what is being sent: renamed when whole and judged
work/                         what is being made
edits/                        reports before edits whose rows are not written yet
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from service.database import new_id
from service.errors import Problem
from service.private import FOLDERS, RESERVE, make_private, private_file, private_folder
from service.settings import MB, Settings

REPORTS = ".inspections"  # folder of a job's reports beside the results of its images
_BUFFER = MB  # bytes gathered before a write
_RESERVE_BYTES = 8 * MB


@dataclass(frozen=True, slots=True)
class Received:
    """A body that lies in a part file, whole."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An image whose header was found good."""

    received: Received
    name: str
    width_px: int
    height_px: int
    format: str


class Storage:
    """The folders below ``settings.data``."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = settings.data
        make_private(self.data)
        for name in FOLDERS:
            private_folder(self.data / name)
        self.keep_reserve()

    def upload(self, survey_id: str, image_id: str) -> Path:
        """Return where an image lies."""
        return self.data / "uploads" / survey_id / image_id

    def result(self, job_id: str, image_id: str) -> Path:
        """Return the folder of an image's results."""
        return self.data / "results" / job_id / image_id

    def before_edit(self, job_id: str, image_id: str) -> Path:
        """Return where the report of an image lies while its rows are those before an edit."""
        return self.data / "edits" / f"{job_id}.{image_id}.json"

    def part(self, name: str | None = None) -> Path:
        """Return where a body is gathered."""
        return self.data / "parts" / (name or new_id())

    def free_mb(self) -> float:
        """Return the free space of the data folder's disk."""
        return shutil.disk_usage(self.data).free / MB

    def require_room(self, size_bytes: int = 0) -> None:
        """Refuse what the disk has no room for.

        Raises:
            Problem: 507.
        """
        if self.free_mb() - size_bytes / MB < self.settings.min_free_mb:
            raise Problem(507, "disk-low", "The disk of the service is nearly full; try later.")

    def keep(self, part: Path, survey_id: str, image_id: str) -> None:
        """Move a whole part file to its place among the uploads; its age begins now."""
        target = self.upload(survey_id, image_id)
        target.parent.mkdir(exist_ok=True)
        os.utime(part)  # a check takes what is old and has no row for left behind
        part.replace(target)
        sync(target.parent)

    def remove_survey(self, survey_id: str, job_ids: list[str]) -> None:
        """Delete all files of a survey."""
        shutil.rmtree(self.data / "uploads" / survey_id, ignore_errors=True)
        for job_id in job_ids:
            shutil.rmtree(self.data / "results" / job_id, ignore_errors=True)

    def keep_reserve(self) -> None:
        """Hold a little room back, so that a full disk still lets surveys be deleted."""
        path = self.data / RESERVE
        if path.exists() or self.free_mb() < 2 * _RESERVE_BYTES / MB:
            return
        with contextlib.suppress(OSError):
            private_file(path)
            handle = os.open(path, os.O_WRONLY)
            try:
                os.posix_fallocate(handle, 0, _RESERVE_BYTES)
            finally:
                os.close(handle)

    def spend_reserve(self) -> None:
        """Give the room that was held back."""
        (self.data / RESERVE).unlink(missing_ok=True)

    def sweep(self, older_than_s: float) -> None:
        """Delete parts and works that nobody has touched for long."""
        for folder in ("parts", "work"):
            for path in (self.data / folder).iterdir():
                if time.time() - path.stat().st_mtime < older_than_s:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    async def receive(
        self, chunks: AsyncIterator[bytes], length: int | None = None, *, path: Path | None = None
    ) -> Received:
        """Write a body to a part file as it comes and return its digest.

        Args:
            chunks: the body.
            length: what Content-Length says, or None.
            path: an existing part file to go on with; its digest is of the new bytes only.

        Raises:
            Problem: 413 too large, 408 silent for too long, 400 cut, 507 disk full. The part
                file is removed, unless it was given.
        """
        limit = self.settings.max_image_mb * MB
        if length is not None and length > limit:
            raise too_large(self.settings)
        self.require_room(length or 0)
        target = path or self.part()
        try:
            received = await self._write(chunks, target, limit)
            if length is not None and received.size_bytes != length:
                raise Problem(400, "body-cut", "The body ended before its Content-Length.")
            return received
        except BaseException:
            if path is None:
                target.unlink(missing_ok=True)
            raise

    async def _write(self, chunks: AsyncIterator[bytes], target: Path, limit: int) -> Received:
        digest, size, buffer = hashlib.sha256(), 0, bytearray()
        with target.open("ab") as file:

            def flush() -> None:
                digest.update(buffer)
                file.write(buffer)
                buffer.clear()

            try:
                async for chunk in _paced(chunks, self.settings.body_pause_s):
                    size += len(chunk)
                    if size > limit:
                        raise too_large(self.settings)
                    buffer += chunk
                    if len(buffer) >= _BUFFER:
                        await run_in_threadpool(flush)
            finally:
                flush()  # also of a broken line: a resumed upload goes on from here
            file.flush()
            await run_in_threadpool(os.fsync, file.fileno())
        return Received(target, digest.hexdigest(), size)


async def _paced(chunks: AsyncIterator[bytes], pause_s: float) -> AsyncIterator[bytes]:
    """Yield chunks; a sender that is silent for too long is cut off."""
    source = aiter(chunks)
    while True:
        try:
            chunk = await asyncio.wait_for(anext(source), pause_s)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Problem(408, "too-slow", "The sender was silent for too long.") from error
        yield chunk


def too_large(settings: Settings) -> Problem:
    """Return the problem of a body above the limit."""
    return Problem(413, "image-too-large", f"An image may have at most {settings.max_image_mb} MB.")


def sync(path: Path) -> None:
    """Make a file or the entries of a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make a folder and the files in it survive a power cut."""
    for path in folder.iterdir():
        sync(path)
    sync(folder)
