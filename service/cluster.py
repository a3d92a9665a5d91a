"""A cluster in the place of this machine's slots: its actors work on the images that are claimed.

The rows stay the only ledger: the worker claims images as ever, and each of its slots waits for the
answer of an actor. An actor holds a sandbox of one process, so that what an image may use and break
is what it is on one machine. An actor that is lost is no fault of its image: another one takes it.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

from crackseg import __version__
from crackseg.cluster import connected
from crackseg.config import to_plain
from crackseg.errors import ConfigError
from crackseg.inference.models import load_model
from service import slot
from service.sandbox import Answer, Died, Ear, Sandbox, Stopped
from service.settings import Settings

log = logging.getLogger("crackseg.cluster")
_AGAIN_S = 5.0  # after an actor that did not start


class Cluster:
    """Actors that run one function each at a time, asked as a ``Sandbox`` is.

    Args:
        settings: ``engine`` says how many actors there are and what each needs.
        connect: gives Ray, connected.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: the cluster is not reached.
        ModelError: the model's files do not match its card.
    """

    def __init__(
        self,
        settings: Settings,
        connect: Callable[..., AbstractContextManager[Any]] = connected,
    ) -> None:
        self._engine = settings.engine
        self._gpus = _gpus(settings)
        mark = settings.data / "work" / f".cluster-{os.getpid()}"
        card = to_plain(load_model(settings.model).card)
        self._start = (__version__, settings.to_json(), str(Path.cwd()), str(mark), card)
        self._open = ExitStack()
        self._ray = self._open.enter_context(connect(settings.engine))
        mark.touch()
        self._open.callback(mark.unlink, missing_ok=True)
        # The actor that worked last comes first; None: one that is to be hired.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(settings.slot_count):
            self._idle.put(None)

    def run(
        self,
        function: Callable[..., Answer],
        *args: Any,
        timeout_s: float,
        tick: Callable[[], bool] = lambda: True,
        tick_s: float = 0.25,
        on_share: Callable[[float], None] | None = None,
    ) -> Answer:
        """Return what ``function`` answers, see ``Sandbox.run``.

        Raises:
            Stopped: ``tick`` said so.
            Died: it crashed, ran out of memory, took too long, or lost one actor after the other.
        """
        ear = Ear(tick, tick_s, on_share)
        task = (function, args, timeout_s, on_share is not None)
        actor = self._idle.get()  # there are as many as threads that ask
        try:
            for _ in range(self._engine.attempts):
                actor = actor or self._hire(ear)
                try:
                    return _opened(self._ask(actor, task, ear))
                except self._ray.exceptions.RayError as error:
                    log.warning("an actor is lost: %s", _short(error))
                    self._end(actor)
                    actor = None
        except Stopped:
            self._end(actor)
            actor = None
            raise
        finally:
            self._idle.put(actor)
        lost = f"{self._engine.attempts} processes of the cluster were lost over it."
        raise Died("crashed", lost)

    def close(self) -> None:
        """End the actors that wait, and a Ray that was begun here."""
        with suppress(queue.Empty):
            while True:
                self._end(self._idle.get_nowait())
        self._open.close()

    def _ask(self, actor: Any, task: tuple[Any, ...], ear: Ear) -> Answer:
        """Return the answer of an actor; what it says of its share is passed on."""

        def hear() -> None:
            if ear.on_share:
                ear.on_share(self._ray.get(actor.share.remote()))

        return dict(self._wait(actor.run.remote(*task), ear, hear))

    def _hire(self, ear: Ear) -> Any:
        """Return an actor that has begun, however long the cluster has no room for it."""
        kind = self._ray.remote(Actor)
        while True:
            actor = kind.options(
                num_cpus=self._engine.cpus_per_actor, num_gpus=self._gpus,
                max_restarts=0, max_concurrency=2,
            ).remote()  # fmt: skip
            try:
                self._wait(actor.start.remote(*self._start), ear)
            except self._ray.exceptions.RayError as error:
                log.error("an actor does not start, will be tried again: %s", _short(error))
                self._end(actor)
            except Stopped:
                self._end(actor)
                raise
            else:
                return actor
            self._pause(ear)

    def _wait(self, asked: Any, ear: Ear, between: Callable[[], None] = lambda: None) -> Any:
        """Return an answer; raise ``Stopped`` when it is wanted no more."""
        while not self._ray.wait([asked], timeout=ear.tick_s)[0]:
            between()
            if not ear.tick():
                raise Stopped
        return self._ray.get(asked)

    def _pause(self, ear: Ear) -> None:
        until = time.monotonic() + _AGAIN_S
        while time.monotonic() < until:
            time.sleep(ear.tick_s)
            if not ear.tick():
                raise Stopped

    def _end(self, actor: Any) -> None:
        """Kill an actor, if there is one."""
        if actor is not None:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


class Actor:
    """What runs in the cluster."""

    def __init__(self) -> None:
        self._share = 0.0

    def start(
        self, version: str, settings: str, working: str, mark: str, card: dict[str, Any]
    ) -> None:
        """Start the sandbox, on a machine that has the same release, folder and model.

        Raises:
            ConfigError: it has not.
        """
        where = socket.gethostname()
        if version != __version__:
            raise ConfigError(f"`{where}` must have crackseg {version}, got {__version__}.")
        with suppress(OSError):  # where no path is relative, it need not be there
            os.chdir(working)
        own = Settings.from_json(settings)
        if not Path(mark).exists():
            raise ConfigError(
                f"`data` {own.data} must lie on a disk that every machine of the cluster has "
                f"under the same path, `{where}` has not; choose a shared one."
            )
        if to_plain(load_model(own.model).card) != card:
            raise ConfigError(
                f"model `{own.model}` must be the same on every machine, but is another one on "
                f"`{where}`; put the model folder on a shared disk."
            )
        os.umask(0o077)  # what is written is private to the service's user
        self._sandbox = slot_sandbox(own, 1)

    def run(
        self, function: Callable[..., Answer], args: tuple[Any, ...], timeout_s: float, tells: bool
    ) -> Answer:
        """Return what a function answers, or of what its process ``died``."""
        self._share = 0.0
        hear = self._hear if tells else None
        try:
            return self._sandbox.run(function, *args, timeout_s=timeout_s, on_share=hear)
        except Died as error:
            return {"died": (error.code, str(error))}

    def share(self) -> float:
        """Return how much is done of what runs."""
        return self._share

    def _hear(self, share: float) -> None:
        self._share = share


def slot_sandbox(settings: Settings, size: int) -> Sandbox:
    """Return the processes of this machine that analyze."""
    return Sandbox(
        size,
        memory_mb=settings.slot_memory_mb,
        cpu_s=settings.image_cpu_s,
        prepare=partial(
            slot.get_ready_to_analyze,
            settings.model,
            settings.analyze.predict,
            settings.thread_count,
        ),
    )


def _gpus(settings: Settings) -> float:
    """Return the GPUs of an actor."""
    chosen = settings.engine.gpus_per_actor
    return float(settings.analyze.predict.device != "cpu") if chosen is None else chosen


def _opened(answer: Answer) -> Answer:
    """Return an answer of an actor as its sandbox gave it."""
    if "died" in answer:
        raise Died(*answer["died"])
    return answer


def _short(error: BaseException) -> str:
    return " ".join(str(getattr(error, "cause", None) or error).split())[:300]
