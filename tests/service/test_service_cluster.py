"""Images go to the actors of a cluster, and the rows stay the only ledger."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import poison
import pytest
from service_process import finished, running, wait_for
from test_surveys import make_survey
from tiny_model import picture

from crackseg.config import EngineOptions, read_options
from crackseg.errors import ConfigError
from service import cluster
from service.cluster import Cluster
from service.sandbox import Died, Stopped
from service.settings import Settings
from service.storage import Storage


class Lost(Exception):
    """What this ray raises where an actor or its start failed."""


@dataclass
class Rays:
    """As much of Ray as is used, in this process; ``losses``: how often work ends its actor."""

    losses: int = 0
    refusals: list[str] = field(default_factory=list)  # releases of the next actors
    hired: list[dict[str, Any]] = field(default_factory=list)
    actors: list[Any] = field(default_factory=list)
    killed: list[Any] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayError=Lost))
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))

    def remote(self, kind: type) -> Any:
        def hire(**options: Any) -> Any:
            self.hired.append(options)
            return SimpleNamespace(remote=lambda: self._actor(kind()))

        return SimpleNamespace(options=hire)

    def _actor(self, actor: Any) -> Any:
        self.actors.append(actor)

        def later(name: str) -> Any:
            def ask(*arguments: Any) -> Future[Any]:
                return self.threads.submit(self._answer, actor, name, arguments)

            return SimpleNamespace(remote=ask)

        return SimpleNamespace(**{name: later(name) for name in ("start", "run", "share")})

    def _answer(self, actor: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "start" and self.refusals:
            arguments = (self.refusals.pop(), *arguments[1:])
        if name == "run" and self.losses:
            self.losses -= 1
            raise Lost("the machine is gone")
        try:
            return getattr(actor, name)(*arguments)
        except Exception as error:
            raise Lost(str(error)) from error

    def wait(self, asked: list[Future[Any]], timeout: float) -> tuple[list[Any], list[Any]]:
        done, rest = wait(asked, timeout)
        return list(done), list(rest)

    def get(self, asked: Future[Any]) -> Any:
        return asked.result()

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


@pytest.fixture
def rays() -> Iterator[Rays]:
    made = Rays()
    yield made
    for actor in made.actors:
        if hasattr(actor, "_sandbox"):
            actor._sandbox.close()
    made.threads.shutdown()


@pytest.fixture
def hands(rays: Rays, tmp_path: Path, model_folder: Path) -> Iterator[Cluster]:
    """One actor with 4 GB."""

    @contextmanager
    def connect(options: EngineOptions) -> Iterator[Rays]:
        yield rays

    engine = EngineOptions(name="ray", actors=1, cpus_per_actor=2)
    settings = Settings(
        data=tmp_path / "data", model=str(model_folder), engine=engine, image_memory_mb=4096
    )
    Storage(settings)
    made = Cluster(settings, connect)
    yield made
    made.close()
    assert not list((tmp_path / "data" / "work").iterdir())


def test_an_actor_answers_and_stays(hands: Cluster, rays: Rays) -> None:
    shares: list[float] = []
    for number in range(3):
        assert hands.run(poison.harmless, number, timeout_s=60) == {"number": number}
    hands.run(poison.count, 3000, timeout_s=60, tick_s=0.001, on_share=shares.append)
    assert shares == sorted(shares)
    assert rays.hired == [{"num_cpus": 2, "num_gpus": 0.0, "max_restarts": 0, "max_concurrency": 2}]


def test_what_kills_a_process_is_named_and_its_actor_goes_on(hands: Cluster, rays: Rays) -> None:
    for function, timeout_s, code in ((poison.crash, 60, "crashed"), (poison.hang, 0.5, "timeout")):
        with pytest.raises(Died) as caught:
            hands.run(function, timeout_s=timeout_s)
        assert caught.value.code == code
    assert hands.run(poison.harmless, 1, timeout_s=60) == {"number": 1}
    assert len(rays.hired) == 1


def test_the_image_of_a_lost_actor_goes_to_another(hands: Cluster, rays: Rays) -> None:
    rays.losses = 2
    assert hands.run(poison.harmless, 1, timeout_s=60) == {"number": 1}
    assert (len(rays.hired), len(rays.killed)) == (3, 2)
    rays.losses = 3
    with pytest.raises(Died, match="3 processes of the cluster were lost over it"):
        hands.run(poison.harmless, 1, timeout_s=60)


def test_what_is_wanted_no_more_ends_its_actor(hands: Cluster, rays: Rays) -> None:
    with pytest.raises(Stopped):
        hands.run(poison.hang, timeout_s=600, tick=lambda: False, tick_s=0.01)
    assert len(rays.killed) == 1
    assert hands.run(poison.harmless, 1, timeout_s=60) == {"number": 1}


def test_a_machine_with_another_release_is_no_fault_of_an_image(
    hands: Cluster, rays: Rays, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cluster, "_AGAIN_S", 0.0)
    rays.refusals = ["0.1", "0.2"]
    assert hands.run(poison.harmless, 1, timeout_s=60) == {"number": 1}
    assert (len(rays.hired), len(rays.killed)) == (3, 2)
    assert "must have crackseg 0.1, got" in caplog.text


@pytest.mark.parametrize("what", ["data", "model"])
def test_a_machine_without_the_disk_or_the_model_refuses(
    hands: Cluster, tmp_path: Path, what: str
) -> None:
    version, settings, working, mark, card = hands._start
    if what == "data":
        with pytest.raises(ConfigError, match="must lie on a disk that every machine"):
            cluster.Actor().start(version, settings, working, mark + "0", card)
    else:
        with pytest.raises(ConfigError, match="must be the same on every machine"):
            cluster.Actor().start(version, settings, working, mark, {**card, "version": "0"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"engine": {"name": "spark"}}, "unknown engine `spark`"),
        ({"engine": {"name": "ray"}}, "`engine.actors` must say"),
        ({"engine": {"name": "ray", "actors": 2}, "slots": 2}, "`slots` and `threads` are of this"),
        ({"engine": {"actors": 2}}, "set `name` to ray"),
    ],
)
def test_the_engine_of_the_settings_is_checked(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_options(Settings, {"data": tmp_path, **values})


def test_actors_stand_in_the_place_of_slots(tmp_path: Path) -> None:
    engine = {"name": "ray", "actors": 12, "cpus_per_actor": 3}
    settings = read_options(Settings, {"data": tmp_path, "engine": engine})
    assert Settings.from_json(settings.to_json()) == settings
    assert (settings.slot_count, settings.thread_count, settings.most_threads) == (12, 3, 3)
    here = dataclasses.replace(settings, engine=EngineOptions(), slots=2, threads=4)
    assert (here.slot_count, here.thread_count, here.most_threads) == (2, 4, 8)


@pytest.mark.slow  # Ray takes ten seconds to start
def test_a_survey_is_analyzed_by_ray_while_an_actor_is_killed(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="extra cluster is not installed")
    root = Path(__file__).parents[2]  # for the processes of Ray
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests")]))
    engine = {"engine.name": "ray", "engine.actors": 2}
    with running(tmp_path, model_folder, slots=0, threads=0, **engine) as service:
        client = service.client()
        walls = {f"wall_{n}.png": picture(n, height=1200, width=1600) for n in range(8)}
        survey = make_survey(client, walls)
        job = client.post(f"{survey}/execution", json={}).headers["location"]
        wait_for(lambda: client.get(job).json()["counts"]["succeeded"], why="a first result")
        os.kill(_actors()[0], signal.SIGKILL)
        done = finished(client, job)
        assert (done["status"], done["counts"]["succeeded"]) == ("succeeded", 8), done
        assert not list((service.data / "work").glob("[!.]*"))
    wait_for(lambda: not _actors(), why="the actors gone")


def _actors() -> list[int]:
    """Return the processes of actors."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::Actor"):
                found.append(int(folder.name))
    return found
