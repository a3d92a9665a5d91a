"""Actors of a cluster analyze as one machine does; a death loses nothing, errors name the place."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from dark_model import write_dark_model
from PIL import Image
from same_results import assert_same, draw_walls

import crackseg
from crackseg import batch, cluster, tasks
from crackseg.config import AnalyzeOptions, EngineOptions, PredictOptions
from crackseg.errors import ConfigError, MissingExtra, ModelError
from crackseg.inference.models import load_model
from crackseg.tasks import Outcome

RAY = EngineOptions(name="ray", actors=2, gpus_per_actor=0.0)


class Died(Exception):
    """What a ray of tests raises where a process is gone."""


class Raised(Exception):
    """What it raises where a task did; ``cause`` is the error."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


@dataclass
class Rays:
    """As much of Ray as is used, in one process; ``deaths``: how often a task ends its actor."""

    deaths: dict[int, int] = field(default_factory=dict)
    stillborn: int = 0
    release: str = crackseg.__version__
    resources: dict[str, float] = field(default_factory=lambda: {"CPU": 2.0})
    hired: list[dict[str, Any]] = field(default_factory=list)
    killed: list[Any] = field(default_factory=list)
    exceptions: Any = field(
        default_factory=lambda: SimpleNamespace(RayTaskError=Raised, RayError=Died)
    )

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, kind: type) -> Any:
        def hire(**options: Any) -> Any:
            self.hired.append(options)
            return SimpleNamespace(remote=lambda: self._actor(kind()))

        return SimpleNamespace(options=hire)

    def _actor(self, actor: Any) -> Any:
        def later(name: str) -> Any:
            def ask(*arguments: Any) -> Callable[[], Any]:
                return lambda: self._answer(actor, name, arguments)

            return SimpleNamespace(remote=ask)

        return SimpleNamespace(start=later("start"), work=later("work"))

    def _answer(self, actor: Any, name: str, arguments: tuple[Any, ...]) -> Any:
        if name == "start":
            self.stillborn -= 1
            if self.stillborn >= 0:
                raise Died("no room")
            if self.release != crackseg.__version__:
                return self.release
        elif isinstance(arguments[0], int) and self.deaths.get(arguments[0], 0) > 0:
            self.deaths[arguments[0]] -= 1
            raise Died("out of memory")
        try:
            return getattr(actor, name)(*arguments)
        except Exception as error:
            raise Raised(error) from error

    def wait(self, answers: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return answers[-num_returns:], answers[:-num_returns]  # the last asked is the first done

    def get(self, answer: Callable[[], Any]) -> Any:
        return answer()

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def doubles() -> Callable[[int], int]:
    """Start what doubles numbers, and cannot double a minus."""

    def double(number: int) -> int:
        if number < 0:
            raise ModelError("a minus")
        return 2 * number

    return double


@pytest.fixture(autouse=True)
def own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what an actor sets in its own process, which is this one here."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parent  # for the processes of Ray
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root.parent)]))


def worked_off(
    rays: Rays, tasks: list[int], options: EngineOptions = RAY
) -> list[tuple[int, int | None]]:
    crew = cluster._Crew(rays, doubles, options)
    try:
        return list(crew.work_off(iter(tasks)))
    finally:
        crew.close()


def test_results_come_in_order_whoever_is_done_first() -> None:
    rays = Rays()
    assert worked_off(rays, list(range(40))) == [(n, 2 * n) for n in range(40)]
    assert len(rays.hired) == len(rays.killed) == 2


def test_tasks_are_taken_as_far_ahead_as_actors_need_them() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = cluster._Crew(Rays(), doubles, RAY).work_off(tasks())
    assert next(results) == (0, 0)
    assert 2 <= len(taken) <= 2 * 8


def test_a_task_whose_actor_dies_goes_to_another() -> None:
    rays = Rays(deaths={3: 2, 5: 1})
    assert worked_off(rays, list(range(8))) == [(n, 2 * n) for n in range(8)]
    assert len(rays.hired) == 5
    assert len(rays.killed) == 5


def test_a_task_that_ends_every_actor_comes_back_without_a_result() -> None:
    rays = Rays(deaths={3: 99})
    assert worked_off(rays, [1, 3, 4]) == [(1, 2), (3, None), (4, 8)]
    assert len(rays.hired) == 2 + RAY.attempts


def test_actors_that_never_begin_end_the_run() -> None:
    with pytest.raises(ConfigError, match="no process of the cluster starts to analyze: no room"):
        worked_off(Rays(stillborn=99), [1, 2])
    assert worked_off(Rays(stillborn=2), [1, 2]) == [(1, 2), (2, 4)]


def test_another_release_in_the_cluster_ends_the_run() -> None:
    with pytest.raises(ConfigError, match=r"must have crackseg .* as this one, got 0\.1"):
        worked_off(Rays(release="0.1"), [1])


def test_an_error_of_ours_is_the_one_of_the_run() -> None:
    with pytest.raises(ModelError, match="a minus"):
        worked_off(Rays(), [1, -1])


def test_there_are_as_many_actors_as_there_is_room() -> None:
    rays = Rays(resources={"CPU": 9.0, "GPU": 1.0})
    several = replace(RAY, actors=None, cpus_per_actor=2)
    worked_off(rays, [1], several)
    assert [hired["num_cpus"] for hired in rays.hired] == [2] * 4
    worked_off(rays, [1], replace(several, gpus_per_actor=0.5))
    assert [hired["num_gpus"] for hired in rays.hired[4:]] == [0.5] * 2
    with pytest.raises(ConfigError, match="must have 2 CPU and 2 GPU for an actor, got 9 and 1"):
        worked_off(rays, [1], replace(several, gpus_per_actor=2.0))


def test_options_of_an_engine_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set `name` to ray"):
        EngineOptions(address="10.0.0.5:6379")
    with pytest.raises(ConfigError, match="`actors` must be 1 or larger, got 0"):
        EngineOptions(name="ray", actors=0)
    with pytest.raises(ConfigError, match="`gpus_per_actor` must be a finite number"):
        EngineOptions(name="ray", gpus_per_actor=-1.0)
    model = write_dark_model(tmp_path / "dark")
    options = AnalyzeOptions(model=str(model), predict=PredictOptions(workers=2), exports=())
    path = tmp_path / "wall.png"
    Image.new("RGB", (160, 96), (170, 170, 170)).save(path)
    with pytest.raises(ConfigError, match=r"`predict\.workers` counts processes of one machine"):
        batch.run([path], tmp_path / "out", options, engine=RAY)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'crackseg\[cluster\]'"):
        next(cluster.on_ray(doubles, [1], RAY))


def test_an_address_where_nobody_listens_is_told_at_once() -> None:
    for address in ("127.0.0.1:9", "ray://127.0.0.1:9", "nonsense", "127.0.0.1:999999"):
        with pytest.raises(ConfigError, match="`--address` must be that of a Ray cluster"):
            cluster._check_address(address)


def test_a_machine_that_does_not_see_the_disk_or_has_another_model_is_refused(
    tmp_path: Path,
) -> None:
    model = write_dark_model(tmp_path / "dark")
    card = load_model(model).card
    where = (tmp_path, tmp_path / "out" / ".crackseg-12345678")
    with pytest.raises(ConfigError, match="must be the same place for every machine"):
        tasks.start_away(str(model), PredictOptions(), card, *where)
    where[1].mkdir(parents=True)
    with pytest.raises(ModelError, match="must be the same on every machine"):
        tasks.start_away(str(model), PredictOptions(), replace(card, version="2"), *where)
    assert tasks.start_away(str(model), PredictOptions(), card, *where)


@pytest.fixture
def walls(tmp_path: Path) -> list[Path]:
    return draw_walls(tmp_path, 6)


def analyzed(
    paths: list[Path], out: Path, model: Path, engine: EngineOptions | None
) -> list[Outcome]:
    predict = PredictOptions(runtime="onnx", precision="float", threads=1)
    options = AnalyzeOptions(model=str(model), predict=predict, exports=("csv", "mask"))
    return batch.run(paths, out, options, engine=engine)


def test_a_folder_is_analyzed_as_on_one_machine(
    walls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_dark_model(tmp_path / "dark")
    one = analyzed(walls, tmp_path / "one", model, None)

    def work_off(start: Any, tasks: Any, options: EngineOptions) -> Iterator[Any]:
        yield from cluster._Crew(Rays(), start, options).work_off(tasks)

    monkeypatch.setitem(batch.ENGINES, "ray", work_off)
    two = analyzed(walls, tmp_path / "two", model, RAY)
    assert_same(one, two)
    again = analyzed(walls, tmp_path / "two", model, None)  # no matter who analyzed
    assert [outcome.status for outcome in again].count("unchanged") == 6
    assert not list((tmp_path / "two").glob(".crackseg-*"))


def test_a_cluster_that_is_lost_leaves_a_survey_of_what_was_done(
    walls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_dark_model(tmp_path / "dark")

    def losing(start: Any, tasks: Any, options: EngineOptions) -> Iterator[Any]:
        work = start()
        task = next(tasks)
        yield task, work(task)
        raise ConfigError("the cluster is gone")

    monkeypatch.setitem(batch.ENGINES, "ray", losing)
    with pytest.raises(ConfigError, match="the cluster is gone"):
        analyzed(walls, tmp_path / "out", model, RAY)
    survey = json.loads((tmp_path / "out" / "survey.json").read_text(encoding="utf-8"))
    assert [row["status"] for row in survey["images"]].count("not_reached") == len(walls) - 1


@pytest.mark.slow  # Ray takes ten seconds to start
def test_a_killed_actor_of_ray_loses_nothing(walls: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="extra cluster is not installed")
    model = write_dark_model(tmp_path / "dark")
    fatal = tmp_path / "fatal"
    fatal.touch()

    results = list(cluster.on_ray(_Fatal(str(fatal)), list(range(6)), replace(RAY, actors=None)))
    assert results == [(n, n) for n in range(6)]
    assert not fatal.exists()
    outcomes = analyzed(walls, tmp_path / "out", model, replace(RAY, actors=None))
    assert [outcome.status for outcome in outcomes].count("analyzed") == 6


@dataclass(frozen=True)
class _Fatal:
    """Starts what ends the process of the first who takes the three."""

    mark: str

    def __call__(self) -> Callable[[int], int]:
        def work(number: int) -> int:
            if number == 3 and Path(self.mark).exists():
                Path(self.mark).unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            return number

        return work
