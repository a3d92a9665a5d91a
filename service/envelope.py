"""What is looked at before a byte of a body is taken, and what every answer has.

The order: the address, the page that sent it (its origin), the key, the length. Only then a body
is received: that of an image streams to the disk, any other is small and gathered here, so that
nothing is ever parsed that is larger than its route needs.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time

import sqlalchemy as sa
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import errors, keys
from service.errors import Problem
from service.paths import clean_prefix, inner_path, set_prefix
from service.settings import MB
from service.state import Service
from service.storage import too_large

log = logging.getLogger("crackseg.service")
_FORM_MB = 1  # what a form may have around its image
_JSON_BYTES = MB  # options and names are a few hundred
_SIGN_IN_BYTES = 64 * 1024  # a key has 60 letters, and nobody has shown one yet
_SIGN_IN = ("/login", "/logout")
_ALIASES = {"/favicon.ico": "/static/icon.svg"}  # asked for beside pages that name no icon
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


class Envelope:
    """Around every request: an id, its checks, safe headers, a line in the log."""

    def __init__(self, inner: ASGIApp, service: Service) -> None:
        self._inner = inner
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        exchange = _Exchange(self._service, scope, receive, send)
        try:
            await exchange.prepare()
            await self._inner(exchange.scope, exchange.receive, exchange.send)
        except (Problem, sa.exc.OperationalError) as error:
            if exchange.answered:
                raise
            problem = errors.answer(Request(exchange.scope), errors.to_problem(error))
            await problem(exchange.scope, receive, exchange.send)
        except ClientDisconnect:  # nobody is there to be answered, or it was a HEAD
            pass
        finally:
            exchange.finish()


def body_limit(method: str, path: str, service: Service) -> int:
    """Return how many bytes the body of a request may have."""
    if service.streams.fullmatch(f"{method} {path}"):
        return (service.settings.max_image_mb + _FORM_MB) * MB
    return _SIGN_IN_BYTES if path in _SIGN_IN else _JSON_BYTES


class _Exchange:
    """One request and its answer."""

    def __init__(self, service: Service, scope: Scope, receive: Receive, send: Send) -> None:
        self._service = service
        self._receive = receive
        self._send = send
        self._started = time.perf_counter()
        self._received = 0
        self._status = 0
        self._gathered: bytes | None = None
        self.method: str = scope["method"]
        headers = dict(scope["headers"])
        sent = headers.get(b"x-request-id", b"").decode("latin-1")
        self._id = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self._id
        forwarded = headers.get(b"x-forwarded-prefix", b"").decode("latin-1")
        self._prefix = service.settings.root_path or clean_prefix(forwarded) or ""
        path = _ALIASES.get(place := inner_path(scope["path"], self._prefix), place)
        # What takes pieces of an image answers HEAD itself: how much of it has come.
        in_pieces = service.streams.fullmatch(f"PATCH {path}")
        self._head = self.method == "HEAD" and not in_pieces
        self.scope = {**scope, "path": path, "method": "GET" if self._head else self.method}
        self._limit = body_limit(self.method, path, service)

    @property
    def answered(self) -> bool:
        """Whether the answer was begun."""
        return self._status != 0

    async def prepare(self) -> None:
        """Look at everything but the body, then gather a small one.

        Raises:
            Problem: 400 a NUL in the address; 401, 403 whoever sent it may not; 408 too slow; 413.
        """
        scope = self.scope
        set_prefix(self._prefix)
        if b"%00" in scope.get("raw_path", b"") or b"%00" in scope["query_string"]:
            raise Problem(400, "bad-request", "An address must not hold a NUL.")
        if self.method in keys.SAFE:
            return
        request = Request(scope)
        keys.refuse_foreign_page(request)
        if scope["path"] not in _SIGN_IN:
            await run_in_threadpool(keys.identify, request)
        if b"%2f" in scope.get("raw_path", b"").lower():
            detail = "A name must not hold a slash (%2F): send it without its folders."
            raise Problem(422, "bad-name", detail)
        length = request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self._limit:
            raise self._too_large()
        if not self._service.streams.fullmatch(f"{self.method} {scope['path']}"):
            self._gathered = await self._gather()

    def _too_large(self) -> Problem:
        if self._limit > _JSON_BYTES:
            return too_large(self._service.settings)
        return Problem(
            413, "body-too-large", f"The body may have at most {self._limit // 1024} kB here."
        )

    async def _gather(self) -> bytes:
        parts = []
        while True:
            try:
                pause_s = self._service.settings.body_pause_s
                message = await asyncio.wait_for(self._next(), pause_s)
            except TimeoutError as error:
                raise Problem(408, "too-slow", "The sender was silent for too long.") from error
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def _next(self) -> Message:
        """Return a part of the body, unless there was too much already."""
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > self._limit:
            raise self._too_large()
        return message

    async def receive(self) -> Message:
        """Pass a part of the body on."""
        if self._head and self.answered:
            return {"type": "http.disconnect"}
        if self._gathered is not None:
            body, self._gathered = self._gathered, None
            return {"type": "http.request", "body": body, "more_body": False}
        return await self._next()

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the headers every answer has; to HEAD without its body."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            names = {name.lower() for name, _ in message["headers"]}
            added = [(n, v) for n, v in _SECURITY.items() if n not in names]
            added.append((b"x-request-id", self._id.encode()))
            message = {**message, "headers": [*message["headers"], *added]}
            await self._send(message)
            if self._head:
                await self._send({"type": "http.response.body", "body": b""})
        elif self._head and message.get("more_body", False):
            raise ClientDisconnect  # a stream would go on to its end
        elif not self._head:
            await self._send(message)

    def finish(self) -> None:
        """Count and log the request: its route, never its query or its names."""
        route = getattr(self.scope.get("route"), "path_format", "unknown")
        seconds = time.perf_counter() - self._started
        self._service.metrics.answered(self.method, route, self._status, seconds, self._received)
        quiet = route in ("/healthz", "/readyz", "/metrics") and self._status < 400
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            extra={
                "request_id": self._id,
                "method": self.method,
                "route": route,
                "status": self._status,
                "ms": round(1000 * seconds, 1),
                "bytes_in": self._received,
                "tenant": self.scope["state"].get("tenant"),
            },
        )
