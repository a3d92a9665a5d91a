"""Tasks go to processes of this program and come back in their order; one that dies takes one task.

Each process has its share of the processors. It is asked and answers in pickles over its own
standard streams, which nobody else can write to.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from crackseg.processors import cpu_count

Task = TypeVar("Task")
Starter = Callable[[], Callable[[Any], Any]]  # of a module's top level, or a partial of such


def in_processes(
    start: Starter, tasks: Iterable[Task], count: int
) -> Generator[tuple[Task, Any | None], None, None]:
    """Yield each task and its result, in order; None where the process died over it.

    Args:
        start: called once in each process, gives what turns a task into a result.
        tasks: taken one after the other, a few before they are needed.
        count: of processes.
    """
    pool = _Pool(start, count)
    threads = ThreadPoolExecutor(count)
    waiting: deque[tuple[Task, Future[Any]]] = deque()
    try:
        for task in tasks:
            waiting.append((task, threads.submit(pool.ask, task)))
            while len(waiting) > 2 * count:
                done, future = waiting.popleft()
                yield done, future.result()
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()
    finally:
        pool.end()
        threads.shutdown(cancel_futures=True)
        pool.close()


class _Pool:
    """A process for each thread that asks."""

    def __init__(self, start: Starter, count: int) -> None:
        self._first = pickle.dumps(start)
        self._share = max(cpu_count() // count, 1)
        self._own = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ended = False

    def ask(self, task: Any) -> Any | None:
        """Return the result of a task, or None where its process died."""
        process: Any = getattr(self._own, "process", None)
        if process is None:
            process = self._own.process = self._begin()
        try:
            pickle.dump(task, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            process.kill()
            self._own.process = None
            return None

    def _begin(self) -> subprocess.Popen[bytes]:
        # a session of its own: Ctrl-C is for the one who asks, who ends it
        process = subprocess.Popen(
            [sys.executable, "-m", "crackseg.workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": str(self._share)},
            start_new_session=True,
        )
        self._processes.append(process)
        if process.stdin is not None:
            process.stdin.write(self._first)
        if self._ended:
            process.kill()
        return process

    def end(self) -> None:
        """End all processes, whatever they do; who waits for an answer gets None."""
        self._ended = True
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """Release what is left of the processes, once nobody asks any more."""
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not sent cannot be
                    if stream is not None:
                        stream.close()


def _serve() -> None:
    """Answer the tasks on the standard input until it ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    questions = sys.stdin.buffer
    work = pickle.load(questions)()
    with suppress(EOFError, BrokenPipeError):
        while True:
            pickle.dump(work(pickle.load(questions)), answers)
            answers.flush()


if __name__ == "__main__":
    _serve()
