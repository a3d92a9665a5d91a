"""What a request's body and headers say: a length, a digest, an image, the options beside it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect

from crackseg.config import AnalyzeOptions
from service import uploads
from service.errors import Problem
from service.names import clean_name
from service.schemas import Options
from service.state import service_of
from service.storage import Received
from service.uploads import Submission

_CHUNK = 256 * 1024
_FIELDS = {"image", "mm_per_px", "options"}


def content_length(request: Request) -> int | None:
    """Return what the header says.

    Raises:
        Problem: 400, it is no number.
    """
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise Problem(400, "bad-request", "`Content-Length` must be a number.")
    return int(text)


def sent_digest(request: Request) -> str | None:
    """Return the SHA-256 of ``Repr-Digest`` or ``Content-Digest`` (RFC 9530) as hex.

    Raises:
        Problem: 400, it cannot be read.
    """
    for name in ("repr-digest", "content-digest"):
        for item in request.headers.get(name, "").split(","):
            algorithm, _, value = item.strip().partition("=")
            if algorithm.lower() == "sha-256":
                return _hex(name, value)
    return None


def _hex(name: str, value: str) -> str:
    try:
        digest = base64.b64decode(value.strip(":"), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 32:
        raise Problem(400, "bad-request", f"`{name}` must be sha-256=:BASE64:.")
    return digest.hex()


async def receive_body(request: Request) -> Received:
    """Write the raw body of a request to a part file.

    Raises:
        Problem: it is too large, cut, or has another digest than was sent.
    """
    digest, length = sent_digest(request), content_length(request)
    return await uploads.receive(service_of(request), body_of(request), length, digest)


async def body_of(request: Request) -> AsyncIterator[bytes]:
    """Yield the raw body of a request.

    Raises:
        Problem: 400, the sender went away.
    """
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise Problem(400, "body-cut", "The sender went away.") from error


async def receive_submission(request: Request, tenant: str) -> Submission:
    """Take the one image of an analysis, sent as a raw body or as multipart.

    Raises:
        Problem: the image, an option or the form is not usable.
        ConfigError: the options contradict each other.
    """
    service = service_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        service.storage.require_room(content_length(request) or 0)
        received, name, options = await _receive_form(request)
    else:
        query = request.query_params
        options = _options(query.get("options"), query.get("mm_per_px"), service.settings.analyze)
        name = clean_name(query.get("name") or "image")
        received = await receive_body(request)
    return Submission(await uploads.judge(service, tenant, received, name), options)


async def _receive_form(request: Request) -> tuple[Received, str, dict[str, Any]]:
    service = service_of(request)
    try:
        async with request.form(max_files=1, max_fields=2, max_part_size=64 * 1024) as form:
            image = _image_of(form)
            typed, mm_per_px = _text(form.get("options")), _text(form.get("mm_per_px"))
            options = _options(typed, mm_per_px, service.settings.analyze)
            received = await uploads.receive(service, _chunks(image), None)
    except ClientDisconnect as error:
        raise Problem(400, "body-cut", "The sender went away.") from error
    return received, clean_name(image.filename or "image"), options


def _image_of(form: FormData) -> UploadFile:
    image = form.get("image")
    if not isinstance(image, UploadFile):
        raise Problem(422, "invalid-request", "The form needs a file in `image`.")
    if len(form.multi_items()) != len(form) or not form.keys() <= _FIELDS:
        detail = f"The form may hold {', '.join(sorted(_FIELDS))}, each once."
        raise Problem(422, "invalid-request", detail)
    return image


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK):
        yield chunk


def _options(text: str | None, mm_per_px: str | None, defaults: AnalyzeOptions) -> dict[str, Any]:
    """Return the options from a JSON object and the field that most people need.

    Raises:
        ConfigError: they contradict each other.
        Problem: 422.
    """
    return _parsed(text, mm_per_px).checked(defaults)


def _parsed(text: str | None, mm_per_px: str | None) -> Options:
    try:
        values = {} if text is None else json.loads(text)
        if not isinstance(values, dict):
            raise Problem(422, "invalid-request", "`options` must be a JSON object.")
        if mm_per_px is not None:
            values["mm_per_px"] = _number(mm_per_px)
        return Options.model_validate(values)
    except ValidationError as error:
        raise _wrong_options(error) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid-request", "`options` must be a JSON object.") from error


def _wrong_options(error: ValidationError) -> Problem:
    errors = [
        {"pointer": "/options/" + "/".join(map(str, e["loc"])), "detail": e["msg"]}
        for e in error.errors()
    ]
    detail = "; ".join(f"`{e['pointer'][9:]}`: {e['detail']}" for e in errors) + "."
    return Problem(422, "invalid-request", detail, errors=errors)


def _number(text: str) -> float | str:
    """Return a number of a query or a form; other text as it is, for the options to refuse."""
    try:
        return float(text)
    except ValueError:
        return text
