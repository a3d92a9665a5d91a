"""A body becomes an image of a survey: received whole, hashed, its header judged, kept.

Also the bodies that come in pieces: announced, appended to, and hashed and kept like the others
when the last byte is there. Nothing here knows of requests.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from crackseg.folders import sha256_of
from service import ledger, slot
from service.database import Record, new_id, now, uploads
from service.errors import Problem, not_found
from service.quota import require_bytes, require_place
from service.sandbox import Died
from service.settings import MB
from service.state import Service
from service.storage import Judged, Received, too_large

_GATE_S = 5.0  # a good header takes 0.02 s
_GATE_BYTES_PER_S = 20e6  # and its file has to be read


@dataclass(frozen=True, slots=True)
class Submission:
    """An image with the options it came with."""

    judged: Judged
    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Announced:
    """An image that is to come in pieces."""

    survey_id: str
    name: str
    size_bytes: int
    sha256: str | None


async def receive(
    service: Service, chunks: AsyncIterator[bytes], length: int | None, digest: str | None = None
) -> Received:
    """Write a body to a part file and compare its digest, if one came.

    Raises:
        Problem: see ``Storage.receive``; 422, the digest differs.
    """
    received = await service.storage.receive(chunks, length)
    try:
        _require_digest(received, digest)
    except Problem:
        received.path.unlink(missing_ok=True)
        raise
    return received


def _require_digest(received: Received, digest: str | None) -> None:
    if digest and received.sha256 != digest.lower():
        raise Problem(422, "digest-differs", "The body does not have the digest that was sent.")


async def judge(service: Service, tenant: str, received: Received, name: str) -> Judged:
    """Look at the header of a received image, in another process.

    Raises:
        Problem: 415 another kind of file, 422 damaged or too many pixels; the part is removed.
    """
    try:
        facts = await _judge(service, tenant, received, name)
    except BaseException:
        received.path.unlink(missing_ok=True)
        raise
    return Judged(received=received, name=name, **facts)


async def _judge(service: Service, tenant: str, received: Received, name: str) -> dict[str, Any]:
    gate, turns = service.gate, service.turns
    if gate is None or turns is None:
        raise Problem(503, "not-ready", "The service is starting or shutting down.")
    if received.size_bytes == 0:
        raise Problem(422, "image-unusable", "The body is empty; expected an image.")
    request = {
        "path": str(received.path),
        "name": name,
        "sha256": received.sha256,
        "max_megapixels": service.settings.max_image_megapixels,
    }
    timeout_s = _GATE_S + received.size_bytes / _GATE_BYTES_PER_S
    try:
        async with turns.take(tenant):
            facts = await run_in_threadpool(gate.run, slot.judge, request, timeout_s=timeout_s)
    except Died as error:
        raise Problem(422, "image-unusable", f"`{name}` cannot be read: {error}") from error
    if reason := facts.pop("error", None):
        other = facts["code"] == "unsupported"
        status, kind = (415, "unsupported-format") if other else (422, "image-unusable")
        raise Problem(status, kind, reason)
    return facts


def require_draft(service: Service, tenant: str, survey_id: str) -> None:
    """Refuse images for a survey that is not there or is full.

    Raises:
        Problem: 404, 413.
    """
    with service.engine.connect() as db:
        ledger.find_survey(db, tenant, survey_id)
        require_place(db, survey_id, service.settings)


def keep_image(
    service: Service, tenant: str, survey_id: str, judged: Judged, announced_bytes: int = 0
) -> tuple[Record, bool]:
    """Put a judged image into a survey; return its row and whether it is new.

    ``announced_bytes`` of it are counted by the tenant's quota already.

    Raises:
        Problem: 404, 409, 413.
    """
    received = judged.received
    try:
        with service.engine.begin() as db:
            ledger.find_survey(db, tenant, survey_id)
            row, fresh = ledger.add_image(db, survey_id, judged)
            if fresh:
                require_bytes(db, tenant, service.settings, -announced_bytes)
                service.storage.keep(received.path, survey_id, row.id)
        return row, fresh
    finally:
        received.path.unlink(missing_ok=True)


# Bodies that come in pieces ----------------------------------------------------------------------


def announce(service: Service, tenant: str, image: Announced) -> str:
    """Begin an upload and return its id; its bytes count against the tenant's quota from now on.

    Raises:
        Problem: 404, 413, 422, 507.
    """
    if not image.size_bytes:
        raise Problem(422, "image-unusable", "An image has at least one byte.")
    if image.size_bytes > service.settings.max_image_mb * MB:
        raise too_large(service.settings)
    require_draft(service, tenant, image.survey_id)
    service.storage.require_room(image.size_bytes)
    upload_id = new_id()
    row = {
        "id": upload_id,
        "tenant": tenant,
        "survey_id": image.survey_id,
        "name": image.name,
        "sha256": image.sha256,
        "size_bytes": image.size_bytes,
        "created_at": now(),
    }
    with service.engine.begin() as db:
        require_bytes(db, tenant, service.settings, image.size_bytes)
        db.execute(uploads.insert().values(row))
        service.storage.part(upload_id).touch()  # before the row can be seen
    return upload_id


def find_upload(service: Service, tenant: str, upload_id: str) -> Record:
    """Return an upload that is not whole yet.

    Raises:
        Problem: 404.
    """
    query = sa.select(uploads).where(uploads.c.id == upload_id, uploads.c.tenant == tenant)
    with service.engine.connect() as db:
        row = db.execute(query).one_or_none()
    if row is None or not service.storage.part(row.id).is_file():
        raise not_found("upload")
    return row


def received_bytes(service: Service, upload_id: str) -> int:
    """Return how many bytes of an upload have come: what was written before a line broke stays."""
    return service.storage.part(upload_id).stat().st_size


@contextmanager
def alone_with(service: Service, upload_id: str) -> Iterator[None]:
    """Let one request at a time work on an upload.

    Raises:
        Problem: 409.
    """
    if upload_id in service.busy_uploads:
        raise Problem(409, "upload-busy", "Another request sends to this upload.")
    service.busy_uploads.add(upload_id)
    try:
        yield
    finally:
        service.busy_uploads.discard(upload_id)


async def append(
    service: Service, row: Record, offset: int, chunks: AsyncIterator[bytes], length: int | None
) -> int:
    """Write a piece behind what is there and return how many bytes there are now.

    Raises:
        Problem: 409, the piece belongs elsewhere; 413, more than was announced.
    """
    have = received_bytes(service, row.id)
    if offset != have:
        raise Problem(409, "offset", f"`Upload-Offset` must be {have}.")
    too_many = Problem(413, "image-too-large", "More bytes than `Upload-Length` said.")
    if have + (length or 0) > row.size_bytes:
        raise too_many
    path = service.storage.part(row.id)
    await service.storage.receive(chunks, length, path=path)
    if path.stat().st_size > row.size_bytes:
        os.truncate(path, have)
        raise too_many
    return received_bytes(service, row.id)


async def complete(service: Service, row: Record) -> None:
    """Judge an upload that is whole and keep it like an image that was put.

    Raises:
        Problem: 404, 409, 413, 415, 422; the upload is forgotten.
    """
    path = service.storage.part(row.id)
    try:
        digest = await run_in_threadpool(sha256_of, path)
        received = Received(path, digest, row.size_bytes)
        _require_digest(received, row.sha256)
        judged = await judge(service, row.tenant, received, row.name)
        await run_in_threadpool(
            keep_image, service, row.tenant, row.survey_id, judged, row.size_bytes
        )
    finally:
        await run_in_threadpool(forget, service, row.id)


def forget(service: Service, upload_id: str) -> None:
    """Give an upload up."""
    with service.engine.begin() as db:
        db.execute(uploads.delete().where(uploads.c.id == upload_id))
    service.storage.part(upload_id).unlink(missing_ok=True)
