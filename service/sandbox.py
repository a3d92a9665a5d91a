"""Child processes with limits for what touches strangers' bytes: a poisoned image dies alone.

Each place of a ``Sandbox`` is one spawned process with a pipe of its own. A task that crashes, eats
its memory or hangs takes its own process with it and nothing else, and a fresh one takes its place.
What runs there is in ``slot.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import queue
import resource
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from service.logs import set_up_logging
from service.settings import MB

log = logging.getLogger("crackseg.sandbox")
_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy the parent's locks and threads
_START_S = 120.0  # of a process on a busy machine, with what it imports
_TASKS = 200  # a process is renewed after: what leaks stays small


class Stopped(Exception):
    """The caller asked to stop; the process was killed."""


class Died(Exception):
    """The process died: ``code`` says of what."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


Answer = dict[str, Any]
_Task = tuple[Callable[..., Answer], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class _Limits:
    memory_mb: int  # address space; 0: no limit
    cpu_s: float  # processor time of one task


@dataclass(frozen=True, slots=True)
class Ear:
    """What is done while a process works, see ``Sandbox.run``."""

    tick: Callable[[], bool]
    tick_s: float
    on_share: Callable[[float], None] | None


class Sandbox:
    """Processes with limits that run one function each at a time."""

    def __init__(
        self,
        size: int,
        *,
        memory_mb: int,
        cpu_s: float,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        """Start ``size`` processes; each calls ``prepare`` first, before somebody waits for it."""
        limits = _Limits(memory_mb, cpu_s)
        self._places = [_Place(limits, prepare) for _ in range(size)]
        # The one that worked last comes first: it may still hold the photograph.
        self._idle: queue.LifoQueue[_Place] = queue.LifoQueue()
        for place in self._places:
            self._idle.put(place)

    def run(
        self,
        function: Callable[..., Answer],
        *args: Any,
        timeout_s: float,
        tick: Callable[[], bool] = lambda: True,
        tick_s: float = 0.25,
        on_share: Callable[[float], None] | None = None,
    ) -> Answer:
        """Return what ``function`` answers.

        Args:
            function: one of a module's; its answer is of plain values.
            args: plain values.
            timeout_s: the process is killed after.
            tick: called about every ``tick_s`` until it is done; False kills it.
            tick_s: seconds.
            on_share: called with the share done whenever the function tells it; the function is
                then called with one more argument, by which it does so.

        Raises:
            Stopped: ``tick`` said so.
            Died: it crashed, ran out of memory, or took too long.
        """
        place = self._take(tick, tick_s)
        try:
            return place.run((function, args), timeout_s, Ear(tick, tick_s, on_share))
        finally:
            self._idle.put(place)

    def _take(self, tick: Callable[[], bool], tick_s: float) -> _Place:
        while True:
            try:
                return self._idle.get(timeout=tick_s)
            except queue.Empty:
                if not tick():
                    raise Stopped from None

    def close(self) -> None:
        """Kill all processes."""
        for place in self._places:
            place.kill()


class OnDemand:
    """A sandbox whose processes start with its first task."""

    def __init__(self, make: Callable[[], Sandbox]) -> None:
        self._make = make
        self._sandbox: Sandbox | None = None
        self._lock = threading.Lock()

    def run(self, function: Callable[..., Answer], *args: Any, timeout_s: float) -> Answer:
        """Return what ``function`` answers, see ``Sandbox.run``."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = self._make()
        return self._sandbox.run(function, *args, timeout_s=timeout_s)

    def close(self) -> None:
        """Kill the processes."""
        if self._sandbox is not None:
            self._sandbox.close()


class Turns:
    """Who may use a sandbox next, so that waiting takes no thread and nobody takes every place."""

    def __init__(self, size: int) -> None:
        self._all = asyncio.Semaphore(size)
        self._share = max(size - 1, 1)
        self._of: dict[str, asyncio.Semaphore] = {}

    @contextlib.asynccontextmanager
    async def take(self, tenant: str) -> AsyncIterator[None]:
        """Wait for a place; one tenant has all but one of them at most."""
        own = self._of.setdefault(tenant, asyncio.Semaphore(self._share))
        async with own, self._all:
            yield


class _Place:
    """A process and the pipe to it."""

    def __init__(self, limits: _Limits, prepare: Callable[[], object] | None) -> None:
        self._limits = limits
        self._prepare = prepare
        self._ending = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._done = 0
        self._ready = False
        self._pipe, theirs = _SPAWN.Pipe()
        arguments = (theirs, os.getpid(), self._limits, self._prepare)
        self._process = _SPAWN.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()  # so that its end shows here

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer may do so at the same moment."""
        with self._ending:  # a pipe closed twice closes what has its number by then
            self._process.kill()
            self._process.join()
            if not self._pipe.closed:
                self._pipe.close()

    def _renew(self) -> None:
        self.kill()
        self._start()

    def run(self, task: _Task, timeout_s: float, ear: Ear) -> Answer:
        """Run one function, see ``Sandbox.run``."""
        if self._done >= _TASKS or not self._process.is_alive():
            self._renew()
        answer = None
        try:
            if not self._ready:  # imports are no part of a task's time
                self._ready = bool(self._await(_START_S, ear))
            self._send((*task, ear.on_share is not None))
            answer = self._await(timeout_s, ear)
        finally:
            if answer is None:
                self._renew()
        self._done += 1
        return answer

    def _await(self, timeout_s: float, ear: Ear) -> Answer:
        """Return the answer of the process; shares that come before it are passed on."""
        deadline = time.monotonic() + timeout_s
        while True:
            if self._pipe.poll(ear.tick_s):
                message = self._receive()
                if not isinstance(message, float):
                    return message
                if ear.on_share:
                    ear.on_share(message)
            if not ear.tick():
                raise Stopped
            if time.monotonic() > deadline:
                raise Died("timeout", f"It took longer than {timeout_s:g} s.")

    def _send(self, task: tuple[Any, ...]) -> None:
        try:
            self._pipe.send(task)
        except OSError as error:
            raise _crashed() from error

    def _receive(self) -> Answer | float:
        try:
            message: Answer | float | None = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise _crashed() from error
        if message is None:
            raise Died("memory", "It needs more memory than one image may have.")
        return message


def _crashed() -> Died:
    return Died("crashed", "Its process died; the file may be damaged.")


def _serve(
    pipe: Connection, parent: int, limits: _Limits, prepare: Callable[[], object] | None
) -> None:
    """Run in the child: answer one task after the other until the pipe closes."""
    set_up_logging()
    memory = limits.memory_mb * MB or resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    if prepare:
        prepare()

    def tell(share: float) -> None:
        with contextlib.suppress(OSError):  # the parent is gone; the next receive notices
            pipe.send(float(share))

    with contextlib.suppress(OSError):
        pipe.send({"ready": True})
    while True:
        try:
            function, args, tells = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        _limit_time(limits.cpu_s)
        try:
            answer = function(*args, *([tell] if tells else []))
        except MemoryError:
            answer = None
        except Exception:
            # Any library may raise anything on a file made for it: a crash that says where it was.
            log.exception("a task in the sandbox failed")
            os._exit(1)
        with contextlib.suppress(OSError):
            pipe.send(answer)


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _limit_time(cpu_s: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
