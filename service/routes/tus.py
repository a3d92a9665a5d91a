"""Resumable uploads as tus 1.0.0 has them: creation, expiration, termination.

A mapping of headers onto ``service/uploads.py`` and nothing else: without this file the service
takes images whole, by PUT.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from service import uploads
from service.asking import Here, Writer
from service.bodies import body_of, content_length
from service.errors import Problem
from service.names import clean_name
from service.paths import href
from service.settings import MB
from service.state import Service

router = APIRouter(prefix="/v1/uploads", tags=["resumable uploads"])
STREAMS = r"PATCH /v1/uploads/[^/]+"
_SHA256 = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_CAN = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,expiration,termination"}
_BYTES = "application/offset+octet-stream"


def _header(name: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": True, "schema": schema, "description": text}


_VERSION = _header("Tus-Resumable", {"const": "1.0.0"}, "412 without it.")
_LENGTH = _header("Upload-Length", {"type": "integer", "minimum": 1}, "In bytes, see `/v1/quota`.")
_OFFSET = _header("Upload-Offset", {"type": "integer", "minimum": 0}, "Bytes that are there.")
_METADATA = _header(
    "Upload-Metadata",
    {"type": "string", "format": "tus-metadata"},
    "`survey`, `filename` and, if wanted, `sha256` in hex, each in Base64.",
)
_BODY = {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}


def speaks_tus(request: Request) -> None:
    """Refuse another version of the protocol.

    Raises:
        Problem: 412.
    """
    if request.headers.get("tus-resumable") != "1.0.0":
        raise Problem(412, "tus-version", "This service speaks tus 1.0.0.", headers=_CAN)


def _answer(service: Service, status: int, **headers: object) -> Response:
    moment = datetime.now(UTC) + timedelta(hours=service.settings.keep_uploads_h)
    fixed = {
        "Tus-Resumable": "1.0.0",
        "Cache-Control": "no-store",
        "Upload-Expires": format_datetime(moment, usegmt=True),
    }
    named = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return Response(status_code=status, headers=fixed | named)


@router.options("", status_code=204, response_class=Response)
def describe_uploads(service: Here) -> Response:
    """Say what of tus this service can do."""
    answer = _answer(service, 204, Tus_Max_Size=service.settings.max_image_mb * MB)
    answer.headers.update(_CAN)
    return answer


@router.post(
    "",
    status_code=201,
    response_class=Response,
    openapi_extra={"parameters": [_VERSION, _LENGTH, _METADATA]},
)
def create_upload(request: Request, service: Here, caller: Writer) -> Response:
    """Begin an upload; the answer's `Location` takes the bytes by PATCH."""
    speaks_tus(request)
    size_bytes = _number(request, "upload-length")
    metadata = _metadata(request.headers.get("upload-metadata", ""))
    if "survey" not in metadata or "filename" not in metadata:
        raise Problem(422, "invalid-request", "`Upload-Metadata` needs survey and filename.")
    if not _SHA256.fullmatch(metadata.get("sha256", "0" * 64)):
        raise Problem(422, "invalid-request", "`sha256` must be 64 hexadecimal digits.")
    image = uploads.Announced(
        metadata["survey"], clean_name(metadata["filename"]), size_bytes, metadata.get("sha256")
    )
    upload_id = uploads.announce(service, caller.tenant, image)
    return _answer(service, 201, Location=href(f"/v1/uploads/{upload_id}"))


@router.head("/{upload_id}", response_class=Response, openapi_extra={"parameters": [_VERSION]})
async def head_upload(upload_id: str, request: Request, service: Here, caller: Writer) -> Response:
    """Say how many bytes have arrived.

    Were they all there when the service died, the image joins its survey now: a client that is
    told the whole length goes away content.
    """
    speaks_tus(request)
    row = await run_in_threadpool(uploads.find_upload, service, caller.tenant, upload_id)
    offset = uploads.received_bytes(service, upload_id)
    if offset == row.size_bytes and upload_id not in service.busy_uploads:
        with uploads.alone_with(service, upload_id):
            await uploads.complete(service, row)
    return _answer(service, 200, Upload_Length=row.size_bytes, Upload_Offset=offset)


@router.patch(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    openapi_extra={"parameters": [_VERSION, _OFFSET], "requestBody": _BODY},
)
async def patch_upload(upload_id: str, request: Request, service: Here, caller: Writer) -> Response:
    """Add bytes at the offset; with the last one the image is judged and joins its survey."""
    speaks_tus(request)
    if request.headers.get("content-type", "").partition(";")[0] != _BYTES:
        raise Problem(415, "unsupported-format", f"`Content-Type` must be {_BYTES}.")
    row = await run_in_threadpool(uploads.find_upload, service, caller.tenant, upload_id)
    with uploads.alone_with(service, upload_id):
        begins, length = _number(request, "upload-offset"), content_length(request)
        offset = await uploads.append(service, row, begins, body_of(request), length)
        if offset == row.size_bytes:
            await uploads.complete(service, row)
    return _answer(service, 204, Upload_Offset=offset)


@router.delete(
    "/{upload_id}",
    status_code=204,
    response_class=Response,
    openapi_extra={"parameters": [_VERSION]},
)
def delete_upload(upload_id: str, request: Request, service: Here, caller: Writer) -> Response:
    """Give an upload up."""
    speaks_tus(request)
    uploads.find_upload(service, caller.tenant, upload_id)
    uploads.forget(service, upload_id)
    return _answer(service, 204)


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 400):
        raise Problem(400, "bad-request", f"`{header}` must be a number.")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """Return the key-value pairs of ``Upload-Metadata``."""
    pairs = [part.strip().partition(" ") for part in text.split(",") if part.strip()]
    try:
        return {k: base64.b64decode(v, validate=True).decode("utf-8") for k, _, v in pairs}
    except (binascii.Error, ValueError) as error:
        raise Problem(400, "bad-request", "`Upload-Metadata` must hold Base64.") from error
