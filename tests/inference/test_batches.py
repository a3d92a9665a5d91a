"""Tiles in batches: in order, ahead of the caller on a device of its own, as many as pay."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from crackseg.errors import ModelError
from crackseg.inference import batches
from crackseg.inference.batches import MOST_TILES, Batcher, batch_that_pays
from crackseg.records import Array

TILES = [np.full((8, 8, 3), number, np.uint8) for number in range(11)]


def first_value(tiles: Array) -> Array:
    return tiles[..., 0].astype(np.float32)


@pytest.mark.parametrize("lanes", [0, 1, 3])
@pytest.mark.parametrize("batch", [1, 4, 32])
def test_answers_come_in_order(lanes: int, batch: int) -> None:
    batcher = Batcher(first_value, batch, lanes)
    assert [int(answer[0, 0]) for answer in batcher(TILES)] == list(range(11))
    assert list(batcher([])) == []
    assert batcher.seconds > 0


@pytest.mark.parametrize("lanes", [0, 1, 3])
def test_a_batch_without_room_is_halved_and_stays_so(lanes: int) -> None:
    sizes: list[int] = []

    def cramped(tiles: Array) -> Array:
        if len(tiles) > 2:
            raise MemoryError
        sizes.append(len(tiles))
        return first_value(tiles)

    batcher = Batcher(cramped, 8, lanes)
    assert [int(answer[0, 0]) for answer in batcher(TILES)] == list(range(11))
    assert sorted(sizes) == [1, 2, 2, 2, 2, 2]
    assert batcher.batch == 2


@pytest.mark.parametrize("lanes", [0, 1, 3])
def test_what_a_runtime_raises_reaches_the_caller(lanes: int) -> None:
    def full(_: Array) -> Array:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        list(Batcher(full, 2, lanes)(TILES))
    endless = Batcher(lambda tiles: first_value(tiles) + np.inf, 2, lanes)
    with pytest.raises(ModelError, match="not finite"):
        list(endless(TILES))


def test_the_next_batch_is_read_while_the_caller_works() -> None:
    second = threading.Event()

    def forward(tiles: Array) -> Array:
        if tiles[0, 0, 0, 0] == 1:
            second.set()
        return first_value(tiles)

    answers = Batcher(forward, 1, 1)(TILES[:2])
    next(answers)
    assert second.wait(30)  # though nobody has asked for it yet
    assert int(next(answers)[0, 0]) == 1


def test_lanes_read_at_a_time_and_take_tiles_as_they_are_needed() -> None:
    both = threading.Barrier(2)
    taken: list[int] = []

    def forward(tiles: Array) -> Array:
        both.wait(30)  # until the other lane is at work as well
        return first_value(tiles)

    def tiles() -> Iterator[Array]:
        for number, tile in enumerate(TILES[:10]):
            taken.append(number)
            yield tile

    batcher = Batcher(forward, 1, 2)
    answers = batcher(tiles())
    assert int(next(answers)[0, 0]) == 0
    assert taken == [0, 1, 2]
    assert [int(answer[0, 0]) for answer in answers] == list(range(1, 10))


def test_time_at_work_counts_once() -> None:
    def forward(tiles: Array) -> Array:
        time.sleep(0.05)
        return first_value(tiles)

    batcher = Batcher(forward, 1, 5)
    start = time.perf_counter()
    list(batcher(TILES[:10]))
    assert 0.1 <= batcher.seconds <= time.perf_counter() - start


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({1: 10, 2: 19, 4: 30, 8: 31}, 4),
        ({1: 10, 2: 10}, 1),
        ({1: 10, 2: 20}, 2),  # no room for four
        ({2**k: 2.0**k for k in range(6)}, MOST_TILES),
    ],
)
def test_a_batch_grows_while_it_pays(
    monkeypatch: pytest.MonkeyPatch, speeds: dict[int, float], expected: int
) -> None:
    def seconds(_: object, tiles: Array) -> float:
        if len(tiles) not in speeds:
            raise MemoryError
        return len(tiles) / speeds[len(tiles)]

    monkeypatch.setattr(batches, "_seconds", seconds)
    assert batch_that_pays(first_value, 32) == expected


def test_a_device_without_room_for_one_tile_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, __: Array) -> float:
        raise MemoryError

    monkeypatch.setattr(batches, "_seconds", full)
    assert batch_that_pays(first_value, 32) == 1
