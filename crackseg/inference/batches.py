"""Tiles through a runtime, batch by batch: how many at once pay, and what to do without room."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock

import numpy as np

from crackseg.errors import ModelError
from crackseg.inference.runtimes import Forward
from crackseg.records import Array

MOST_TILES = 32  # at once; cards that were measured gain nothing beyond 16
_GAIN = 1.05  # a batch twice as large must be so much faster to be taken
_TURNS = 3  # timed for each batch, after one to warm up


def batch_that_pays(forward: Forward, tile_px: int) -> int:
    """Return how many tiles at once an accelerator reads fastest, by doubling while it pays."""
    batch, fastest = 1, 0.0
    tile = np.random.default_rng(0).integers(0, 256, (1, tile_px, tile_px, 3), dtype=np.uint8)
    while batch <= MOST_TILES:
        try:
            speed = batch / _seconds(forward, np.repeat(tile, batch, axis=0))
        except MemoryError:
            break
        if speed < _GAIN * fastest:
            break
        batch, fastest = 2 * batch, speed
    return max(batch // 2, 1)


def _seconds(forward: Forward, tiles: Array) -> float:
    shortest = math.inf
    for turn in range(_TURNS + 1):
        start = time.perf_counter()
        forward(tiles)
        if turn:
            shortest = min(shortest, time.perf_counter() - start)
    return shortest


class Batcher:
    """Run a forward function batch by batch, halving the batch when memory runs out; keep time.

    Args:
        forward: of a runtime.
        batch: tiles at once.
        lanes: batches that are read at a time while the caller works on what is read: as many as
            ``forward`` may be called at once. 0: the caller reads them itself.
    """

    def __init__(self, forward: Forward, batch: int, lanes: int = 0) -> None:
        self._forward, self._lanes = forward, lanes
        self.batch = batch
        self._busy = _Busy()

    @property
    def seconds(self) -> float:
        """How long the network was at work so far."""
        return self._busy.seconds

    def __call__(self, tiles: Iterable[Array]) -> Iterator[Array]:
        """Yield the (h, w) float32 probability of each (h, w, 3) uint8 tile, in order.

        Tiles are taken as they are needed: for the batches in the lanes and one more.
        """
        source = iter(tiles)
        stacks = iter(lambda: list(islice(source, self.batch)), [])
        if not self._lanes:
            for stack in stacks:
                yield from self._answer(stack)
            return
        pending: deque[Future[Array]] = deque()
        readers = ThreadPoolExecutor(self._lanes)
        try:
            for stack in stacks:
                pending.append(readers.submit(self._answer, stack))
                if len(pending) > self._lanes:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            readers.shutdown(cancel_futures=True)

    def _answer(self, tiles: list[Array]) -> Array:
        with self._busy:
            answer = self._with_room(tiles)
        if not math.isfinite(float(answer.sum())):
            raise ModelError(
                "the network gave values that are not finite; its weights are damaged, or the "
                "device's half precision does not suit it."
            )
        return answer

    def _with_room(self, tiles: list[Array]) -> Array:
        answers: list[Array] = []
        done = 0
        while done < len(tiles):
            size = self.batch
            try:
                answers.append(self._forward(np.stack(tiles[done : done + size])))
            except MemoryError:
                if size == 1:
                    raise
                self.batch = size // 2
            else:
                done += size
        return answers[0] if len(answers) == 1 else np.concatenate(answers)


class _Busy:
    """Time during which somebody is at work: several at once count once."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._at_work, self._since, self._before = 0, 0.0, 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._at_work:
                self._since = time.perf_counter()
            self._at_work += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._at_work -= 1
            if not self._at_work:
                self._before += time.perf_counter() - self._since

    @property
    def seconds(self) -> float:
        with self._lock:
            now = time.perf_counter() - self._since if self._at_work else 0.0
            return self._before + now
