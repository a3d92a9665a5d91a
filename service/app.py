"""``create_app(settings)``: the application, with nothing shared between two of them."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crackseg import __version__
from service import errors, inside
from service.database import open_database
from service.metrics import Metrics
from service.routes import analyses, jobs, pages, surveys, uploads
from service.routes import service as about
from service.routes.documents import describe
from service.sandbox import Sandbox
from service.settings import MB, Settings
from service.storage import Storage, too_large

log = logging.getLogger("crackseg.service")
HERE = Path(__file__).parent
_GATE_MEMORY_MB = 4096  # headers only; TIFF directories may be large
_FORM_MB = 1  # what a form may have around its image
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
POLICY = (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_SECURITY = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}
_DESCRIPTION = """Upload photographs of concrete, get cracks with length, width and area.

The short way is `POST /v1/analyses` with one image. For many images: create a survey, `PUT` each
image, `POST /v1/surveys/{id}/execution`, watch the job. Jobs have the shape of OGC API - Processes
1.0. Every error is `application/problem+json`."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its data folder and database are made if need be.

    Raises:
        DatabaseError: the database is damaged or of another version.
    """
    app = FastAPI(
        title="crackseg", version=__version__, description=_DESCRIPTION, lifespan=_lifespan,
        docs_url=None, redoc_url=None, separate_input_output_schemas=False,
    )  # fmt: skip
    app.state.settings = settings
    app.state.storage = Storage(settings)
    app.state.engine = open_database(settings)
    app.state.metrics = Metrics()
    app.state.model_folder = Path(settings.model)
    app.state.draining = False
    app.state.busy_uploads = set()
    errors.install(app, pages.show_problem)
    for router in (analyses, surveys, jobs, uploads, about, pages):
        app.include_router(router.router)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.mount("/static", Assets(directory=HERE / "pages" / "static"), name="static")
    app.add_middleware(Envelope, app=app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    limit_s = 60.0  # of processor time for one header
    app.state.gate = Sandbox(
        1, memory_mb=_GATE_MEMORY_MB, cpu_s=limit_s, prepare=inside.get_ready_to_judge
    )
    yield
    app.state.draining = True
    app.state.gate.close()
    app.state.engine.dispose()


class Assets(StaticFiles):
    """Scripts and styles, always whole: the library refuses a wrong range in plain text."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


class Envelope:
    """Around every request: an id, a limit of its body, safe headers, a line in the log."""

    def __init__(self, inner: ASGIApp, app: FastAPI) -> None:
        self._inner = inner
        self._state = app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        exchange = _Exchange(self._state, scope, receive, send)
        nul = b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]
        try:
            handle = _refuse_nul if nul else self._inner
            await handle(scope, exchange.receive, exchange.send)
        finally:
            exchange.finish()


async def _refuse_nul(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 400: no database and no file system takes a NUL in a name."""
    problem = errors.Problem(400, "bad-request", "An address must not hold a NUL.")
    await errors.answer(Request(scope), problem)(scope, receive, send)


class _Exchange:
    """One request and its answer."""

    def __init__(self, state: Any, scope: Scope, receive: Receive, send: Send) -> None:
        self._state = state
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._received = 0
        self._status = 0
        sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        self._id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self._id

    async def receive(self) -> Message:
        """Pass a part of the body on, unless there was too much already."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > (self._state.settings.max_image_mb + _FORM_MB) * MB:
            raise too_large(self._state.settings)
        return message

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the headers every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            known = {name.lower() for name, _ in message["headers"]}
            added = [(n, v) for n, v in _SECURITY.items() if n not in known]
            added.append((b"x-request-id", self._id.encode()))
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    def finish(self) -> None:
        """Count and log the request: its route, never its query or its names."""
        route = getattr(self._scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - self._started
        method = self._scope["method"]
        self._state.metrics.answered(method, route, self._status, seconds, self._received)
        quiet = route in ("/healthz", "/readyz", "/metrics") and self._status < 400
        log.log(
            logging.DEBUG if quiet else logging.INFO, "request",
            extra={
                "request_id": self._id, "method": method, "route": route,
                "status": self._status, "ms": round(1000 * seconds, 1),
                "bytes_in": self._received,
                "tenant": self._scope["state"].get("tenant"),
            },
        )  # fmt: skip
