"""Several processes analyze as one does: same files, same order; what dies takes one photograph."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dark_model import write_dark_model
from same_results import assert_same, draw_walls

from crackseg import batch
from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.errors import ConfigError
from crackseg.tasks import Outcome
from crackseg.workers import in_processes


def squares() -> Any:
    """Start what squares numbers; a seven ends the process as a system without memory does."""
    print("this is no answer")

    def square(number: int) -> int:
        if number == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number

    return square


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes import this file and the package."""
    root = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root.parent)]))


def test_results_come_in_order_and_a_death_takes_one() -> None:
    results = list(in_processes(squares, [1, 7, 3, 4, 5], 2))
    assert results == [(1, 1), (7, None), (3, 9), (4, 16), (5, 25)]


def test_tasks_are_taken_a_few_ahead_and_the_rest_is_let_go() -> None:
    taken: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_processes(squares, tasks(), 2)
    assert next(results) == (0, 0)
    results.close()  # type: ignore[attr-defined]
    assert len(taken) == 5


@pytest.fixture
def walls(tmp_path: Path) -> list[Path]:
    return draw_walls(tmp_path, 4)


def analyzed(paths: list[Path], out: Path, model: Path, workers: int) -> list[Outcome]:
    predict = PredictOptions(workers=workers, runtime="onnx", precision="float")
    options = AnalyzeOptions(model=str(model), predict=predict, exports=("csv", "mask"))
    ended: list[Path] = []
    outcomes = batch.run(
        paths, out, options, listener=batch.Listener(end=lambda outcome: ended.append(outcome.path))
    )
    assert ended == paths  # in order, each once
    return outcomes


def test_a_folder_is_analyzed_as_by_one_process(walls: list[Path], tmp_path: Path) -> None:
    model = write_dark_model(tmp_path / "dark")
    one = analyzed(walls, tmp_path / "one", model, 1)
    two = analyzed(walls, tmp_path / "two", model, 2)
    assert_same(one, two)
    assert [outcome.status for outcome in two].count("failed") == 1
    again = analyzed(walls, tmp_path / "two", model, 1)  # the number of processes is no matter
    assert [outcome.status for outcome in again].count("unchanged") == 4


def test_a_photograph_whose_process_dies_fails_alone(
    walls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_dark_model(tmp_path / "dark")

    def losing(start: Any, tasks: Any, count: int) -> Iterator[tuple[Any, Any]]:
        for task, outcome in in_processes(start, tasks, count):
            lost = not isinstance(task, Outcome) and task.path == walls[0]
            yield task, None if lost else outcome

    monkeypatch.setitem(batch.ENGINES, "processes", losing)
    outcomes = analyzed(walls, tmp_path / "out", model, 2)
    assert [o.status for o in outcomes] == ["failed", "analyzed", "failed", "analyzed", "analyzed"]
    assert outcomes[0].reason == batch.PROCESS_LOST


def test_a_photograph_that_changes_before_its_process_takes_it_up_is_named(
    walls: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_dark_model(tmp_path / "dark")

    def changing(start: Any, tasks: Any, count: int) -> Iterator[tuple[Any, Any]]:
        def begun() -> Iterator[Any]:
            for task in tasks:
                if not isinstance(task, Outcome) and task.path == walls[0]:
                    walls[0].write_bytes(walls[1].read_bytes())
                yield task

        yield from in_processes(start, begun(), count)

    monkeypatch.setitem(batch.ENGINES, "processes", changing)
    outcomes = analyzed(walls[:2], tmp_path / "out", model, 2)
    assert [outcome.status for outcome in outcomes] == ["failed", "analyzed"]
    assert "`wall_0.png` changed since this run began" in (outcomes[0].reason or "")


def test_a_stopped_run_tells_what_was_done(walls: list[Path], tmp_path: Path) -> None:
    model = write_dark_model(tmp_path / "dark")

    def stop(outcome: Outcome) -> None:
        raise KeyboardInterrupt

    predict = PredictOptions(workers=2)
    options = AnalyzeOptions(model=str(model), predict=predict, exports=())
    with pytest.raises(batch.Interrupted) as stopped:
        batch.run(walls, tmp_path / "out", options, listener=batch.Listener(end=stop))
    assert [outcome.path for outcome in stopped.value.outcomes] == walls[:1]
    survey = json.loads((tmp_path / "out" / "survey.json").read_text(encoding="utf-8"))
    assert len(survey["images"]) == len(walls)
    assert analyzed(walls, tmp_path / "out", model, 2)[-1].status in ("analyzed", "unchanged")


def test_a_number_of_processes_is_checked() -> None:
    with pytest.raises(ConfigError, match="`workers` must lie between 1 and 256, got 0"):
        PredictOptions(workers=0)
