"""Every error of the service is ``application/problem+json`` (RFC 9457); one table maps exceptions.

A 5xx answers an id; what happened goes to the log.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI, Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crackseg.errors import (
    ConfigError,
    ImageError,
    ModelError,
    ScaleError,
    UnknownName,
    UnsupportedImage,
)

log = logging.getLogger("crackseg.service")
OGC = "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/"
_DISK_FULL = "53100"  # of PostgreSQL
_OGC_TYPES = ("no-such-process", "no-such-job", "result-not-ready")

EXCEPTIONS: dict[type[Exception], tuple[int, str]] = {
    UnsupportedImage: (415, "unsupported-format"),
    ImageError: (422, "image-unusable"),
    ScaleError: (422, "scale"),
    ConfigError: (422, "option"),
    UnknownName: (422, "option"),
    ModelError: (503, "model-unusable"),
}


class Problem(Exception):
    """An answer that is not what was asked for."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        errors: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors
        if status in (503, 507):
            self.headers.setdefault("Retry-After", "30")


def not_found(what: str = "object") -> Problem:
    """Return the answer for what does not exist or belongs to somebody else."""
    return Problem(404, f"no-such-{what}", f"There is no such {what}.")


def problem_type(kind: str) -> str:
    """Return the URI of a kind of problem."""
    return OGC + kind if kind in _OGC_TYPES else f"urn:crackseg:problem:{kind}"


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return a problem as a response."""
    body: dict[str, Any] = {
        "type": problem_type(problem.kind),
        "title": problem.kind.replace("-", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "request_id": getattr(request.state, "request_id", ""),
    }
    if problem.errors:
        body["errors"] = problem.errors
    return JSONResponse(
        body, problem.status, problem.headers, media_type="application/problem+json"
    )


def install(app: FastAPI, page: Callable[[Request, Problem], Response]) -> None:
    """Let every exception of an application become a problem, for people a ``page``."""

    async def explain(request: Request, error: Exception) -> Response:
        problem = to_problem(error)
        if problem.status == 405:
            problem.headers["Allow"] = _allowed(request) or problem.headers.get("Allow", "")
        for_people = "text/html" in request.headers.get("accept", "")
        if for_people and not request.url.path.startswith("/v1"):
            return page(request, problem)
        return answer(request, problem)

    app.add_exception_handler(Problem, explain)
    app.add_exception_handler(HTTPException, explain)
    app.add_exception_handler(RequestValidationError, explain)
    app.add_exception_handler(Exception, explain)
    for kind in (*EXCEPTIONS, OSError, sa.exc.OperationalError):
        app.add_exception_handler(kind, explain)


def _allowed(request: Request) -> str:
    """Return all methods of a path; the router itself knows those of one route only."""
    template = getattr(request.scope.get("route"), "path_format", "")
    methods = {method.upper() for method in request.app.openapi()["paths"].get(template, {})}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def to_problem(error: Exception) -> Problem:
    """Return the problem that an exception stands for."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        phrase = HTTPStatus(error.status_code).phrase
        kind = phrase.lower().replace(" ", "-")
        return Problem(
            error.status_code, kind, f"{error.detail.rstrip('.')}.", headers=error.headers
        )
    for exception, (status, name) in EXCEPTIONS.items():
        if isinstance(error, exception):
            return _of_kind(error, status, name)
    if is_disk_full(error):
        return Problem(507, "disk-low", "The disk of the service is full; try later.")
    if isinstance(error, sa.exc.OperationalError):
        log.error("database", exc_info=error)
        return Problem(503, "database-away", "The database does not answer; try again.")
    log.error("unexpected error", exc_info=error)
    return Problem(500, "internal", "The service failed; its log holds this request id.")


def is_disk_full(error: Exception) -> bool:
    """Return whether a file system or a database ran out of room."""
    if isinstance(error, sa.exc.DBAPIError):
        code = getattr(error.orig, "sqlite_errorcode", None)
        return code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", "") == _DISK_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _of_kind(error: Exception, status: int, name: str) -> Problem:
    if status < 500:
        return Problem(status, name, str(error))
    log.error("%s", error)
    return Problem(status, name, "The service's model cannot be used; see its log.")


def _invalid(error: RequestValidationError) -> Problem:
    errors = [
        {"pointer": "/" + "/".join(str(p) for p in e["loc"]), "detail": e["msg"]}
        for e in jsonable_encoder(error.errors(), custom_encoder={Exception: str})
    ]
    first = errors[0] if errors else {"pointer": "/", "detail": "invalid"}
    return Problem(422, "invalid-request", f"{first['pointer']}: {first['detail']}.", errors=errors)
