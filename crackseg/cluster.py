"""Tasks go to the actors of a Ray cluster and come back in their order; a death loses none.

An actor is a process on any machine of the cluster. It starts what turns a task into a result once
and keeps it: an open model. A task whose actor dies goes to another one, a few times; one that ends
every actor that takes it comes back without a result. Ray is of the extra ``cluster``.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crackseg import __version__
from crackseg.config import EngineOptions
from crackseg.errors import ConfigError, CracksegError
from crackseg.names import require
from crackseg.processors import cpu_count
from crackseg.workers import Starter

Task = TypeVar("Task")
_AHEAD = 8  # tasks taken per actor before the first of them is done: some photographs are larger
_CONNECT_S = 10.0  # Ray itself tries a dead address for three minutes
_END = object()
_STORE_BYTES = 100 * 1024**2  # results are rows of a table, not pictures


def on_ray(
    start: Starter, tasks: Iterable[Task], options: EngineOptions
) -> Generator[tuple[Task, Any | None], None, None]:
    """Yield each task and its result, in order; None where every actor died over it.

    Args:
        start: called once in each actor, gives what turns a task into a result.
        tasks: taken one after the other, a few before they are needed.
        options: ``gpus_per_actor`` is a number.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: the cluster is not reached, has no room for an actor, or its machines have
            another release; actors die before they have begun.
        CracksegError: what ``start`` raises in an actor.
    """
    with connected(options) as ray:
        crew = _Crew(ray, start, options)
        try:
            yield from crew.work_off(iter(tasks))
        finally:
            crew.close()


@contextmanager
def connected(options: EngineOptions) -> Iterator[Any]:
    """Give Ray, connected; what was begun here is ended.

    Raises:
        MissingExtra: Ray is not installed.
        ConfigError: the cluster is not reached.
    """
    require("ray", extra="cluster")
    on_term = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its maker
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns
    import ray

    begun = not ray.is_initialized()
    if begun:
        _begin(ray, options)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_term)  # Ray's own ends the process without the survey
    try:
        yield ray
    finally:
        if begun:
            ray.shutdown()


def _begin(ray: Any, options: EngineOptions) -> None:
    address = options.address
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    cpus = max(cpu_count(), (options.actors or 1) * options.cpus_per_actor)
    own = {"num_cpus": cpus, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    _check_address(address)
    try:
        ray.init(address=address or "local", **quiet, **({} if address else own))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _not_reached(address, error) from error


def _check_address(address: str | None) -> None:
    """Raise where nobody listens at an address, long before Ray would."""
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _not_reached(address, error) from error


def _not_reached(address: str | None, error: BaseException) -> ConfigError:
    text = " ".join(str(error).split())[:200]
    if address is None:
        return ConfigError(f"Ray cannot be started on this machine: {text}.")
    return ConfigError(
        f"`--address` must be that of a Ray cluster, as 10.0.0.5:6379, got `{address}`: {text}; "
        "`ray status` on its head tells whether it runs."
    )


def _unable(error: BaseException) -> ConfigError:
    text = " ".join(str(error).split())[:300].rstrip(".")
    return ConfigError(
        f"no process of the cluster starts to analyze: {text}; every machine needs the same "
        "crackseg, its extra `cluster` and room for the model."
    )


@dataclass(slots=True)
class _Sent:
    """What an actor is asked for."""

    actor: Any
    number: int | None = None  # of the task; None: to start
    attempt: int = 1


class _Actor:
    """What runs in the cluster."""

    def start(self, version: str, start: bytes, threads: int) -> str:
        """Start what turns tasks into results; return this machine's release."""
        if version != __version__:
            return __version__
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._work = pickle.loads(start)()
        return __version__

    def work(self, task: Any) -> Any:
        """Return the result of a task."""
        return self._work(task)


@dataclass(slots=True)
class _Crew:
    """Actors, the tasks that wait for them, and the results that wait for their turn."""

    ray: Any
    start: Starter
    options: EngineOptions
    actors: list[Any] = field(default_factory=list)
    idle: deque[Any] = field(default_factory=deque)
    sent: dict[Any, _Sent] = field(default_factory=dict)  # by what Ray calls the answer
    waiting: deque[tuple[int, int]] = field(default_factory=deque)  # task, attempt
    tasks: dict[int, Any] = field(default_factory=dict)
    results: dict[int, Any | None] = field(default_factory=dict)
    stillborn: int = 0  # actors that died before they began, since one began

    def work_off(self, tasks: Iterator[Any]) -> Iterator[tuple[Any, Any | None]]:
        """Yield each task and its result, in order."""
        count = self._room()
        for _ in range(count):
            self._hire()
        turn = taken = 0
        is_more = True
        while is_more or turn < taken:
            while is_more and len(self.waiting) < count and taken < turn + _AHEAD * count:
                task = next(tasks, _END)
                is_more = task is not _END
                if is_more:
                    self.tasks[taken] = task
                    self.waiting.append((taken, 1))
                    taken += 1
            if turn in self.results:
                yield self.tasks.pop(turn), self.results.pop(turn)
                turn += 1
            elif turn < taken:
                self._step()

    def close(self) -> None:
        """End all actors, whatever they do."""
        for actor in self.actors:
            self._end(actor)

    def _room(self) -> int:
        """Return how many actors there shall be."""
        needs = {"CPU": self.options.cpus_per_actor, "GPU": self.options.gpus_per_actor or 0}
        has = self.ray.cluster_resources()
        fits = [has.get(kind, 0) / amount for kind, amount in needs.items() if amount]
        room = int(min(fits, default=math.inf) + 1e-9)
        if self.options.actors is not None:  # may be more: Ray adds machines where it is let to
            return self.options.actors
        if room < 1:
            raise ConfigError(
                f"the cluster must have {needs['CPU']:g} CPU and {needs['GPU']:g} GPU for an "
                f"actor, got {has.get('CPU', 0):g} and {has.get('GPU', 0):g} in all; one that "
                "grows when asked needs the number of actors as `--workers`."
            )
        return room

    def _hire(self) -> None:
        options = self.options
        kind = self.ray.remote(_Actor)
        actor = kind.options(
            num_cpus=options.cpus_per_actor, num_gpus=options.gpus_per_actor or 0, max_restarts=0
        ).remote()
        self.actors.append(actor)
        start = pickle.dumps(self.start)
        asked = actor.start.remote(__version__, start, options.cpus_per_actor)
        self.sent[asked] = _Sent(actor)

    def _step(self) -> None:
        """Hand out what waits, and take one answer."""
        while self.idle and self.waiting:
            (number, attempt), actor = self.waiting.popleft(), self.idle.popleft()
            asked = actor.work.remote(self.tasks[number])
            self.sent[asked] = _Sent(actor, number, attempt)
        answered, _ = self.ray.wait(list(self.sent), num_returns=1)
        self._take(answered[0])

    def _take(self, answer: Any) -> None:
        sent, errors = self.sent.pop(answer), self.ray.exceptions
        try:
            result = self.ray.get(answer)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, CracksegError):
                raise cause from error
            if sent.number is None:
                raise _unable(cause) from error
            raise
        except errors.RayError as error:  # the process, its machine or the way to it is gone
            self._lose(sent, error)
            return
        self.idle.append(sent.actor)
        if sent.number is not None:
            self.results[sent.number] = result
            return
        self.stillborn = 0
        if result != __version__:
            raise ConfigError(
                f"every machine of the cluster must have crackseg {__version__} as this one, got "
                f"{result}; install the same release everywhere."
            )

    def _lose(self, sent: _Sent, error: BaseException) -> None:
        """Put another actor in the place of one that died, and its task first in the row."""
        self.actors.remove(sent.actor)
        self._end(sent.actor)
        if sent.number is None:
            self.stillborn += 1
            if self.stillborn >= self.options.attempts:
                raise _unable(error)
        elif sent.attempt < self.options.attempts:
            self.waiting.appendleft((sent.number, sent.attempt + 1))
        else:
            self.results[sent.number] = None
        self._hire()

    def _end(self, actor: Any) -> None:
        with suppress(self.ray.exceptions.RayError):
            self.ray.kill(actor)
