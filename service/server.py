"""``crackseg serve``: the web server; with role ``all`` also a worker that it looks after."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from crackseg.errors import ConfigError
from crackseg.inference.models import load_model
from service.app import create_app
from service.keys import any_key
from service.logs import set_up_logging
from service.settings import Settings

log = logging.getLogger("crackseg.service")
_WORKER = "from service.worker import work_for_parent; work_for_parent()"
_LINGER_S = 30.0  # a body that nobody wants is thrown away for so long, for its sender to read why
_LONGEST_PAUSE_S = 5.0  # a start takes seconds itself; images wait meanwhile


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM or Ctrl-C.

    Raises:
        ConfigError: a public address without keys.
        ModelError: the model's files do not match its card.
    """
    if settings.role == "worker":
        from service.worker import work

        work(settings)
        return
    set_up_logging()
    os.umask(0o077)  # what is written here and by the worker is private to its user
    load_model(settings.model)
    app = create_app(settings)
    if settings.public and not any_key(app.state.engine):
        raise ConfigError(
            f"`--host {settings.host}` lets others in but there is no key; make one first with "
            "`crackseg keys add NAME --tenant NAME`, or bind to 127.0.0.1."
        )
    # A form's file lies here while it is read: the same disk, watched and swept like all else.
    tempfile.tempdir = str(settings.data / "parts")
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=deadline_protocol(settings.head_s),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=int(settings.grace_s),
        backlog=2048,
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # the server raises them again when it is down
        signal.signal(number, lambda *_: sys.exit(0))
    _Server(config, Keeper(settings) if settings.role == "all" else None).run()


class _Server(uvicorn.Server):
    """A server that says when it drains, and ends its worker with itself."""

    def __init__(self, config: uvicorn.Config, keeper: Keeper | None) -> None:
        super().__init__(config)
        self._keeper = keeper

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self._keeper:
            self._keeper.start()
        for server in self.servers if self.started else ():
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                log.info("listening", extra={"url": f"http://{host}:{port}", "port": port})

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.config.app.state.draining = True  # type: ignore[union-attr]
        if self._keeper:
            self._keeper.ask_to_end()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        await super().shutdown(sockets)
        if self._keeper:
            await asyncio.to_thread(self._keeper.end)


class Keeper:
    """Keeps one worker process alive; a pause before each start grows while it keeps dying."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ending = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def _keep(self) -> None:
        pause_s = 0.2
        while not self._ending.wait(pause_s):
            started = time.monotonic()
            code = self._run()
            if self._ending.is_set():
                return
            log.error("the worker ended; starting another", extra={"code": code})
            lasted = time.monotonic() - started > 60
            pause_s = 0.2 if lasted else min(2 * pause_s, _LONGEST_PAUSE_S)

    def _run(self) -> int:
        process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._process = process
        if self._ending.is_set():
            process.terminate()
        if process.stdin:
            try:
                process.stdin.write(self._settings.to_json() + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                log.error("the worker died at its start")
        return process.wait()

    def ask_to_end(self) -> None:
        """Let the worker finish what it works on."""
        self._ending.set()
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def end(self) -> None:
        """Wait for the worker's end, and enforce it after the grace."""
        self.ask_to_end()
        if not self._process:
            return
        try:
            self._process.wait(self._settings.grace_s + 5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def deadline_protocol(head_s: float) -> type[H11Protocol]:
    """Return a protocol that closes connections whose request head takes too long.

    Without it a few hundred clients that send half a head each hold the server for ever.
    """

    class Deadline(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._await_head()

        def _await_head(self) -> None:
            self._judged_cycle = self.cycle
            late = self.conn.their_state is h11.SEND_BODY  # of a request that was answered
            self._timer = self.loop.call_later(_LINGER_S if late else head_s, self._judge)

        def _judge(self) -> None:
            if self.cycle is self._judged_cycle and not self.transport.is_closing():
                self.transport.close()

        def data_received(self, data: bytes) -> None:
            idle = self.cycle is not None and self.cycle.response_complete
            if idle and self.cycle is not getattr(self, "_judged_cycle", None):
                self._timer.cancel()
                self._await_head()  # the next request on a connection that was kept
            super().data_received(data)

        def connection_lost(self, exc: Exception | None) -> None:
            self._timer.cancel()
            super().connection_lost(exc)

    return Deadline
