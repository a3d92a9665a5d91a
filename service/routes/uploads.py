"""Resumable uploads into a survey, the protocol tus 1.0.0: creation, expiration, termination.

The offset is the size of the part file: what was written before the line broke stays. When the
last byte is there the image is judged and kept like one that was put.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.engine import Row
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from service.database import new_id, now, uploads
from service.errors import Problem, not_found
from service.intake import content_length, judge
from service.keys import Caller, writer
from service.names import clean_name
from service.paths import href
from service.quota import require_bytes
from service.routes.documents import UPLOAD, WRITE, headers, problems
from service.routes.surveys import keep_image, require_draft
from service.schemas import ID
from service.settings import MB
from service.storage import Received, too_large

router = APIRouter(prefix="/v1/uploads", tags=["resumable uploads"])
_TUS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_CAN = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,expiration,termination"}
_HEADERS = [
    {"name": "Tus-Resumable", "in": "header", "required": True, "schema": {"const": "1.0.0"},
     "description": "412 without it."},
]  # fmt: skip
_CREATE = [
    *_HEADERS,
    {"name": "Upload-Length", "in": "header", "required": True,
     "schema": {"type": "integer", "minimum": 1}, "description": "In bytes, see `/v1/quota`."},
    {"name": "Upload-Metadata", "in": "header", "required": True,
     "schema": {"type": "string", "format": "tus-metadata"},
     "description": "`survey`, `filename` and, if wanted, `sha256` in hex, each in Base64."},
]  # fmt: skip
_PATCH = [
    *_HEADERS,
    {"name": "Upload-Offset", "in": "header", "required": True,
     "schema": {"type": "integer", "minimum": 0}},
]  # fmt: skip
_OFFSET = headers(Upload_Offset="1048576", Upload_Expires="Mon, 23 Nov 2026 10:20:30 GMT")


def _bare(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return answers without a body, as those to HEAD are."""
    return {status: {"description": HTTPStatus(status).phrase} for status in statuses}


def speaks_tus(request: Request) -> None:
    """Refuse another version of the protocol.

    Raises:
        Problem: 412.
    """
    if request.headers.get("tus-resumable") != "1.0.0":
        raise Problem(412, "tus-version", "This service speaks tus 1.0.0.", headers=_CAN)


@router.options(
    "", status_code=204, operation_id="describeUploads",
    responses={204: headers(Tus_Version="1.0.0", Tus_Max_Size="536870912"), **problems(500)},
)  # fmt: skip
def describe(request: Request) -> Response:
    """Say what of tus this service can do."""
    limit = str(request.app.state.settings.max_image_mb * MB)
    return Response(status_code=204, headers={**_TUS, **_CAN, "Tus-Max-Size": limit})


@router.post(
    "", status_code=201, response_class=Response, operation_id="createUpload",
    responses={**problems(*UPLOAD, 412), 201: headers(Location=f"/v1/uploads/{ID}")},
    openapi_extra={"parameters": _CREATE},
)  # fmt: skip
def create(request: Request, caller: Annotated[Caller, Depends(writer)]) -> Response:
    """Begin an upload; the answer's `Location` takes the bytes by PATCH."""
    speaks_tus(request)
    state, settings = request.app.state, request.app.state.settings
    size = _number(request, "upload-length")
    if not size:
        raise Problem(422, "image-unusable", "`Upload-Length` must be 1 or more.")
    if size > settings.max_image_mb * MB:
        raise too_large(settings)
    given = _metadata(request.headers.get("upload-metadata", ""))
    if "survey" not in given or "filename" not in given:
        raise Problem(422, "invalid-request", "`Upload-Metadata` needs survey and filename.")
    if not _SHA256.fullmatch(given.get("sha256", "0" * 64)):
        raise Problem(422, "invalid-request", "`sha256` must be 64 hexadecimal digits.")
    require_draft(request, caller.tenant, given["survey"])
    state.storage.require_room(size)
    upload_id = new_id()
    row = {
        "id": upload_id, "tenant": caller.tenant, "survey_id": given["survey"],
        "name": clean_name(given["filename"]), "sha256": given.get("sha256"),
        "size_bytes": size, "created_at": now(),
    }  # fmt: skip
    with state.engine.begin() as db:
        require_bytes(db, caller.tenant, settings, size)
        db.execute(uploads.insert().values(row))
        state.storage.part(upload_id).touch()  # before the row can be seen
    told = {**_TUS, **_expiry(request), "Location": href(f"/v1/uploads/{upload_id}")}
    return Response(status_code=201, headers=told)


@router.head(
    "/{upload_id}", operation_id="headUpload", openapi_extra={"parameters": _HEADERS},
    responses=_bare(400, 401, 403, 404, 409, 412, 413, 415, 422, 500, 503, 507),
    response_class=Response,
)  # fmt: skip
async def head(
    upload_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> Response:
    """Say how many bytes have arrived.

    Were they all there when the service died, the image joins its survey now: a client that is
    told the whole length goes away content.
    """
    speaks_tus(request)
    row = await run_in_threadpool(_find, request, caller, upload_id)
    offset = _offset(request, upload_id)
    if offset == row.size_bytes and upload_id not in request.app.state.busy_uploads:
        with _alone(request, upload_id):
            await _complete(request, caller, row)
    told = {**_TUS, "Upload-Length": str(row.size_bytes), "Upload-Offset": str(offset)}
    return Response(status_code=200, headers=told)


@router.patch(
    "/{upload_id}", status_code=204, responses={204: _OFFSET, **problems(*UPLOAD, 412)},
    operation_id="patchUpload", response_class=Response,
    openapi_extra={
        "parameters": _PATCH,
        "requestBody": {"content": {"application/offset+octet-stream": {
            "schema": {"type": "string", "format": "binary"}}}},
    },
)  # fmt: skip
async def patch(
    upload_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> Response:
    """Add bytes at the offset; with the last one the image is judged and joins its survey."""
    speaks_tus(request)
    kind = request.headers.get("content-type", "").partition(";")[0]
    if kind != "application/offset+octet-stream":
        detail = "`Content-Type` must be application/offset+octet-stream."
        raise Problem(415, "unsupported-format", detail)
    row = await run_in_threadpool(_find, request, caller, upload_id)
    with _alone(request, upload_id):
        offset = await _append(request, row)
        if offset == row.size_bytes:
            await _complete(request, caller, row)
    told = {**_TUS, **_expiry(request), "Upload-Offset": str(offset)}
    return Response(status_code=204, headers=told)


@contextmanager
def _alone(request: Request, upload_id: str) -> Iterator[None]:
    """Let one request at a time work on an upload.

    Raises:
        Problem: 409.
    """
    busy: set[str] = request.app.state.busy_uploads
    if upload_id in busy:
        raise Problem(409, "upload-busy", "Another request sends to this upload.")
    busy.add(upload_id)
    try:
        yield
    finally:
        busy.discard(upload_id)


async def _append(request: Request, row: Row[Any]) -> int:
    """Write the body behind what is there and return the new offset."""
    storage = request.app.state.storage
    offset = _offset(request, row.id)
    if _number(request, "upload-offset") != offset:
        raise Problem(409, "offset", f"`Upload-Offset` must be {offset}.")
    length = content_length(request)
    if offset + (length or 0) > row.size_bytes:
        raise Problem(413, "image-too-large", "More bytes than `Upload-Length` said.")
    path = storage.part(row.id)
    try:
        await storage.receive(request.stream(), length, path=path)
    except ClientDisconnect as error:
        raise Problem(400, "body-cut", "The sender went away; ask for the offset.") from error
    if path.stat().st_size > row.size_bytes:
        os.truncate(path, offset)
        raise Problem(413, "image-too-large", "More bytes than `Upload-Length` said.")
    return _offset(request, row.id)


async def _complete(request: Request, caller: Caller, row: Row[Any]) -> None:
    path = request.app.state.storage.part(row.id)

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    received = Received(path, await run_in_threadpool(digest), row.size_bytes)
    try:
        if row.sha256 and received.sha256 != row.sha256.lower():
            raise Problem(422, "digest-differs", "The bytes do not have the digest that was sent.")
        judged = await judge(request, received, row.name)
        await run_in_threadpool(
            keep_image, request, caller.tenant, row.survey_id, row.name, judged, row.size_bytes
        )
    finally:
        await run_in_threadpool(_forget, request, row.id)


@router.delete(
    "/{upload_id}", status_code=204, responses=problems(*WRITE, 412), operation_id="deleteUpload",
    openapi_extra={"parameters": _HEADERS},
)  # fmt: skip
def delete(
    upload_id: str, request: Request, caller: Annotated[Caller, Depends(writer)]
) -> Response:
    """Give an upload up."""
    speaks_tus(request)
    _find(request, caller, upload_id)
    _forget(request, upload_id)
    return Response(status_code=204, headers=_TUS)


def _find(request: Request, caller: Caller, upload_id: str) -> Row[Any]:
    query = sa.select(uploads).where(uploads.c.id == upload_id, uploads.c.tenant == caller.tenant)
    with request.app.state.engine.connect() as db:
        row: Row[Any] | None = db.execute(query).one_or_none()
    if row is None or not request.app.state.storage.part(row.id).is_file():
        raise not_found("upload")
    return row


def _forget(request: Request, upload_id: str) -> None:
    with request.app.state.engine.begin() as db:
        db.execute(uploads.delete().where(uploads.c.id == upload_id))
    request.app.state.storage.part(upload_id).unlink(missing_ok=True)


def _offset(request: Request, upload_id: str) -> int:
    size: int = request.app.state.storage.part(upload_id).stat().st_size
    return size


def _expiry(request: Request) -> dict[str, str]:
    hours = request.app.state.settings.keep_uploads_h
    moment = datetime.now(UTC) + timedelta(hours=hours)
    return {"Upload-Expires": format_datetime(moment, usegmt=True)}


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 400):
        raise Problem(400, "bad-request", f"`{header}` must be a number.")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """Return the key-value pairs of ``Upload-Metadata``."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise Problem(400, "bad-request", "`Upload-Metadata` must hold Base64.") from error
    return found
