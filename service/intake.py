"""A request's body becomes a judged image in a part file, whatever way it was sent."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from crackseg.config import AnalyzeOptions
from crackseg.records import ImageInfo
from service import inside
from service.errors import Problem
from service.names import clean_name
from service.sandbox import Died
from service.schemas import Options
from service.storage import Received, Storage

_CHUNK = 256 * 1024
_FIELDS = {"image", "mm_per_px", "options"}
_GATE_S = 5.0  # a good header takes 0.02 s
_GATE_BYTES_PER_S = 20e6  # and its file has to be read


@dataclass(frozen=True, slots=True)
class Judged:
    """An image whose header was found good."""

    received: Received
    info: ImageInfo


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


async def receive_body(request: Request, path: Path | None = None) -> Received:
    """Write the raw body of a request to a part file and compare its digest, if one came.

    Raises:
        Problem: see ``Storage.receive``; 422, the digest differs.
    """
    storage: Storage = request.app.state.storage
    expected = sent_digest(request)
    try:
        received = await storage.receive(request.stream(), content_length(request), path=path)
    except ClientDisconnect as error:
        raise Problem(400, "body-cut", "The sender went away.") from error
    if expected and received.sha256 != expected:
        received.path.unlink(missing_ok=True)
        raise Problem(422, "digest-differs", "The body does not have the digest that was sent.")
    return received


def sent_digest(request: Request) -> str | None:
    """Return the SHA-256 of ``Repr-Digest`` or ``Content-Digest`` (RFC 9530) as hex.

    Raises:
        Problem: 400, it cannot be read.
    """
    for name in ("repr-digest", "content-digest"):
        for item in request.headers.get(name, "").split(","):
            algorithm, _, value = item.strip().partition("=")
            if algorithm.lower() == "sha-256":
                try:
                    digest = base64.b64decode(value.strip(":"), validate=True)
                except (binascii.Error, ValueError):
                    digest = b""
                if len(digest) != 32:
                    raise Problem(400, "bad-request", f"`{name}` must be sha-256=:BASE64:.")
                return digest.hex()
    return None


async def judge(request: Request, received: Received, name: str) -> Judged:
    """Look at the header of a received image, in another process.

    Raises:
        Problem: 415 another kind of file, 422 damaged or too many pixels; the part is removed.
    """
    state = request.app.state
    limit = state.settings.max_image_megapixels
    try:
        if received.size_bytes == 0:
            raise Problem(422, "image-unusable", "The body is empty; expected an image.")
        async with state.gate_turns.take(request.state.tenant):
            facts = await run_in_threadpool(
                state.gate.run, inside.judge, str(received.path), name, limit,
                timeout_s=_GATE_S + received.size_bytes / _GATE_BYTES_PER_S,
            )  # fmt: skip
        if error := facts.pop("error", None):
            other = facts["code"] == "unsupported"
            status, kind = (415, "unsupported-format") if other else (422, "image-unusable")
            raise Problem(status, kind, error)
    except Died as error:
        received.path.unlink(missing_ok=True)
        raise Problem(422, "image-unusable", f"`{name}` cannot be read: {error}") from error
    except BaseException:
        received.path.unlink(missing_ok=True)
        raise
    info = ImageInfo(path=Path(name), sha256=received.sha256, **facts)
    return Judged(received, info)


@dataclass(frozen=True, slots=True)
class Submission:
    """An image with the options it came with."""

    judged: Judged
    name: str
    options: Options


async def receive_submission(request: Request) -> Submission:
    """Take the one image of an analysis, sent as a raw body or as multipart.

    Raises:
        Problem: the image, an option or the form is not usable.
    """
    defaults = request.app.state.settings.analyze
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        query = request.query_params
        options = _options(query.get("options"), query.get("mm_per_px"), defaults)
        name = clean_name(query.get("name") or "image")
        received = await receive_body(request)
        return Submission(await judge(request, received, name), name, options)
    storage: Storage = request.app.state.storage
    storage.require_room(content_length(request) or 0)
    try:
        async with request.form(max_files=1, max_fields=2, max_part_size=64 * 1024) as form:
            image = form.get("image")
            if not isinstance(image, UploadFile):
                raise Problem(422, "invalid-request", "The form needs a file in `image`.")
            if len(form.multi_items()) != len(form) or not form.keys() <= _FIELDS:
                detail = f"The form may hold {', '.join(sorted(_FIELDS))}, each once."
                raise Problem(422, "invalid-request", detail)
            typed = [_text(form.get(name)) for name in ("options", "mm_per_px")]
            options = _options(typed[0], typed[1], defaults)
            name = clean_name(image.filename or "image")
            received = await storage.receive(_chunks(image))
    except ClientDisconnect as error:
        raise Problem(400, "body-cut", "The sender went away.") from error
    return Submission(await judge(request, received, name), name, options)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


async def _chunks(file: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await file.read(_CHUNK):
        yield chunk


def _options(text: str | None, mm_per_px: str | None, defaults: AnalyzeOptions) -> Options:
    """Return the options from a JSON object and the field that most people need.

    Raises:
        Problem: 422.
    """
    try:
        values: Any = {} if text is None else json.loads(text)
        if not isinstance(values, dict):
            raise Problem(422, "invalid-request", "`options` must be a JSON object.")
        if mm_per_px is not None:
            values["mm_per_px"] = _number(mm_per_px)
        options = Options.model_validate(values)
    except ValidationError as error:
        errors = [
            {"pointer": "/options/" + "/".join(map(str, e["loc"])), "detail": e["msg"]}
            for e in error.errors()
        ]
        detail = "; ".join(f"`{e['pointer'][9:]}`: {e['detail']}" for e in errors) + "."
        raise Problem(422, "invalid-request", detail, errors=errors) from error
    except (ValueError, RecursionError) as error:
        raise Problem(422, "invalid-request", "`options` must be a JSON object.") from error
    options.over(defaults)
    return options


def _number(text: str) -> float | str:
    """Return a number of a query or a form; other text as it is, for the options to refuse."""
    try:
        return float(text)
    except ValueError:
        return text
