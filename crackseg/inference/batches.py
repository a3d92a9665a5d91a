"""Tiles through a runtime, batch by batch: how many at once pay, and what to do without room."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

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
        ahead: read the next batch while the caller works on the last: a device of its own has
            nothing else to do then.
    """

    def __init__(self, forward: Forward, batch: int, *, ahead: bool = False) -> None:
        self._forward = forward
        self._reader = ThreadPoolExecutor(1) if ahead else None
        self.batch = batch
        self.seconds = 0.0

    def __call__(self, tiles: list[Array]) -> Iterator[Array]:
        """Yield the (h, w) float32 probability of each (h, w, 3) uint8 tile, in order."""
        done = 0
        pending = self._start(tiles)
        while done < len(tiles):
            answer = pending()
            done += len(answer)
            pending = self._start(tiles[done:])
            yield from answer

    def _start(self, tiles: list[Array]) -> Callable[[], Array]:
        """Return what gives the answer to the first of these tiles, as many as a batch takes."""
        if self._reader is None or not tiles:
            return lambda: self._answer(tiles)
        return self._reader.submit(self._answer, tiles).result

    def _answer(self, tiles: list[Array]) -> Array:
        start = time.perf_counter()
        try:
            answer = self._with_room(tiles)
        finally:
            self.seconds += time.perf_counter() - start
        if not math.isfinite(float(answer.sum())):
            raise ModelError(
                "the network gave values that are not finite; its weights are damaged, or the "
                "device's half precision does not suit it."
            )
        return answer

    def _with_room(self, tiles: list[Array]) -> Array:
        while True:
            try:
                return self._forward(np.stack(tiles[: self.batch]))
            except MemoryError:
                if self.batch == 1:
                    raise
                self.batch //= 2
