"""A poisoned image kills its own process and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import poison
import pytest
from service_process import wait_for

from service.sandbox import Died, Sandbox, Stopped, Turns


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Two processes of 2 GB."""
    pool = Sandbox(2, memory_mb=2048, cpu_s=1)
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("function", "arguments", "timeout_s", "code"),
    [
        (poison.crash, (), 60, "crashed"),
        (poison.hang, (), 1, "timeout"),
        (poison.spin, (), 600, "crashed"),  # its processor time ends before the clock does
        (poison.devour, (4096,), 60, "memory"),
    ],
)
def test_what_kills_a_process_is_named(
    sandbox: Sandbox, function: Any, arguments: tuple[Any, ...], timeout_s: float, code: str
) -> None:
    with pytest.raises(Died) as caught:
        sandbox.run(function, *arguments, timeout_s=timeout_s)
    assert caught.value.code == code
    assert sandbox.run(poison.harmless, 1, timeout_s=60) == {"number": 1}


def test_shares_come_before_the_answer_and_in_order(sandbox: Sandbox) -> None:
    shares: list[float] = []
    answer = sandbox.run(poison.count, 50, timeout_s=60, on_share=shares.append)
    assert answer == {"number": 50}
    assert shares == [number / 50 for number in range(1, 51)]
    assert sandbox.run(poison.harmless, 1, timeout_s=60) == {"number": 1}


def test_a_flood_of_shares_does_not_hide_a_stop(sandbox: Sandbox) -> None:
    with pytest.raises(Stopped):
        sandbox.run(
            poison.count, 10**9, timeout_s=600, tick=lambda: False, on_share=lambda share: None
        )


def test_neighbours_of_a_crash_are_not_touched(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(8) as threads:
        run = [threads.submit(sandbox.run, poison.harmless, n, timeout_s=60) for n in range(10)]
        bad = [threads.submit(sandbox.run, poison.crash, timeout_s=60) for _ in range(2)]
        run += [
            threads.submit(sandbox.run, poison.harmless, n, timeout_s=60) for n in range(10, 20)
        ]
        assert [task.result()["number"] for task in run] == list(range(20))
        assert all(isinstance(task.exception(), Died) for task in bad)


def test_an_idle_process_that_dies_is_replaced(sandbox: Sandbox) -> None:
    for _ in range(4):  # more than there are
        pid = sandbox.run(poison.identify, timeout_s=60)["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda p=pid: not Path(f"/proc/{p}").exists() or zombie(p), why="dead")
    assert sandbox.run(poison.harmless, 1, timeout_s=60) == {"number": 1}


def zombie(pid: int) -> bool:
    """Return whether a process is dead, with all its threads, and not yet waited for."""
    if len(list(Path(f"/proc/{pid}/task").iterdir())) > 1:
        return False  # the first thread may be gone before the others
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")


def test_a_library_that_fails_is_a_crash(sandbox: Sandbox) -> None:
    with pytest.raises(Died, match="damaged"):
        sandbox.run(poison.fail, timeout_s=60)


def test_a_stop_kills_at_once(sandbox: Sandbox) -> None:
    asked: list[float] = []

    def tick() -> bool:
        asked.append(time.monotonic())
        return len(asked) < 3

    with pytest.raises(Stopped):
        sandbox.run(poison.hang, timeout_s=60, tick=tick, tick_s=0.05)
    assert sandbox.run(poison.harmless, 2, timeout_s=60) == {"number": 2}


def test_who_waits_for_a_place_can_be_stopped() -> None:
    pool = Sandbox(1, memory_mb=2048, cpu_s=1)
    busy = threading.Event()

    def tick() -> bool:
        busy.set()
        return not done.is_set()

    done = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(pool.run, poison.hang, timeout_s=600, tick=tick, tick_s=0.05)
        busy.wait()
        with pytest.raises(Stopped):
            pool.run(poison.harmless, 1, timeout_s=60, tick=lambda: False, tick_s=0.05)
        done.set()
        assert isinstance(first.exception(), Stopped)
    pool.close()


def test_one_tenant_never_takes_every_place() -> None:
    async def run() -> list[str]:
        turns, order = Turns(3), []
        free = asyncio.Event()

        async def hold(tenant: str) -> None:
            async with turns.take(tenant):
                order.append(tenant)
                if tenant == "flood":
                    await free.wait()

        flood = [asyncio.create_task(hold("flood")) for _ in range(9)]
        await asyncio.sleep(0)
        await asyncio.wait_for(hold("other"), 60)
        free.set()
        await asyncio.gather(*flood)
        return order

    order = asyncio.run(run())
    assert order[:3] == ["flood", "flood", "other"]
    assert len(order) == 10
