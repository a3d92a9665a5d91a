"""COMPARE.toml -> every network tuned, trained and scored under one protocol, cell by cell.

First each network is tuned on ``val``: one option after the other, in short runs. Then it is
trained with its best settings, once per seed, scored on ``val`` as it goes, and on the test lists
once at the end, with the threshold that ``val`` chose. A cell is one network with one seed. All
networks see the same pixels in the same order, from a pool of crops that is written first. What is
finished is not run again; what failed is named in the table and tried at the next call. Cells run
side by side in ``workers`` processes, and give the same whatever their number.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from crackseg.errors import TrainingError
from crackseg.folders import holds_keys, refuse_beside, refuse_unless, require_new
from crackseg.training import compare_cell as cells
from crackseg.training.compare_options import CompareOptions, Contestant, file_name
from crackseg.training.compare_table import HEAD, write_sheet, write_tables
from crackseg.training.crop_pool import STEPS_PER_CHUNK

Say = Callable[[str], None]
Cell = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A piece of work, and the names of those that must be finished before it."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    needs: frozenset[str] = frozenset()


def compare(options: CompareOptions, say: Say = print, *, workers: int = 0) -> list[Cell]:
    """Run what is missing, write the tables and plots into ``options.out``, return the cells.

    Args:
        options: the comparison.
        say: told what is done.
        workers: processes that run side by side; 0 runs everything in this one.

    Raises:
        ConfigError: a cell was made, or begun, with other options.
        TrainingError: a process was ended from outside.
        OutputError: a file in the way was not written by a comparison.
    """
    refuse_foreign(options)
    options.out.mkdir(parents=True, exist_ok=True)
    finished: dict[str, Cell] = {}

    def done(task: Task, cell: Cell | None) -> None:
        say(f"{task.name}: {_outcome(cell)}")
        if cell:
            finished[task.name] = cell
            write_tables(_in_order(finished, options), options)

    run_tasks(tasks_of(options), workers, done)
    made = _in_order(finished, options)
    write_sheet(made, cells.labels_of(options), options)
    return made


def refuse_foreign(options: CompareOptions) -> None:
    """Raise where a file that a comparison would write is there and is not of one.

    Raises:
        OutputError: names it.
    """
    pictures = ("compare.csv", "scores.png", "sheet.png")  # written after the page, never alone
    page = options.out / "compare.md"
    refuse_beside(page, lambda text: text.startswith(HEAD[:30]), "comparison", *pictures)
    for row in options.network:
        tuned = options.out / f"{file_name(row.name)}-tuned.json"
        refuse_unless(tuned, holds_keys("trials"), "trials of a comparison")
        for seed in row.seeds or options.seeds:
            folder = options.out / f"{file_name(row.name)}-seed{seed}"
            if not any((folder / name).is_file() for name in (cells.CELL, cells.CURVE)):
                require_new(folder)


def tasks_of(options: CompareOptions) -> list[Task]:
    """Return all pieces of work in the order of their importance: a whole round per seed."""
    seeds = _seeds(options)
    tuned = [row for row in options.network if row.tune]
    steps = {seed: _steps(options, seed) for seed in seeds}
    first = {options.tune_seed: options.tune_steps} if tuned else {}
    tasks = [Task(name="truths of val", function=cells.write_truths, arguments=(options, "val"))]
    for seed, count in [*first.items(), (seeds[0], steps[seeds[0]])]:
        tasks += _chunks(options, seed, count)
    needs = {"truths of val", *_chunk_names(options.tune_seed, options.tune_steps)}
    tasks += [
        Task(
            name=f"{row.name}, tuned",
            function=cells.tune,
            arguments=(options, row),
            needs=frozenset(needs),
        )
        for row in tuned
    ]
    tasks.append(
        Task(name="truths of test", function=cells.write_truths, arguments=(options, "test"))
    )
    for seed in seeds:
        tasks += _chunks(options, seed, steps[seed]) if seed != seeds[0] else []
        tasks += [
            _cell_task(options, row, seed, steps[seed])
            for row in options.network
            if seed in (row.seeds or options.seeds)
        ]
    return tasks


def run_tasks(
    tasks: Sequence[Task], workers: int, done: Callable[[Task, Cell | None], None]
) -> None:
    """Run tasks in order, side by side where their needs are met.

    Args:
        tasks: each after those that it needs.
        workers: processes; 0 for none but this one.
        done: called with each finished task and what it gave.
    """
    if not workers:
        for task in tasks:
            done(task, task.function(*task.arguments))
        return
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    with ProcessPoolExecutor(workers, context, initializer=cells.start_worker) as executor:
        _share_out(list(tasks), workers, executor, done)


def _share_out(
    waiting: list[Task],
    workers: int,
    executor: Executor,
    done: Callable[[Task, Cell | None], None],
) -> None:
    met: set[str] = set()
    running: dict[Future[Any], Task] = {}
    while waiting or running:
        free = workers - len(running)
        for task in [task for task in waiting if task.needs <= met][:free]:
            running[executor.submit(task.function, *task.arguments)] = task
            waiting.remove(task)
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            task = running.pop(future)
            done(task, _result(future))
            met.add(task.name)


def _result(future: Future[Any]) -> Any:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise TrainingError(
            "a process of the comparison was ended from outside, as happens where memory runs out; "
            "the same command goes on from there, with fewer `--workers` if that was the reason."
        ) from error


def _cell_task(options: CompareOptions, row: Contestant, seed: int, steps: int) -> Task:
    needs = {"truths of val", "truths of test", *_chunk_names(seed, steps)}
    return Task(
        name=f"{row.name}, seed {seed}",
        function=cells.run_cell,
        arguments=(options, row, seed),
        needs=frozenset(needs | ({f"{row.name}, tuned"} if row.tune else set())),
    )


def _chunks(options: CompareOptions, seed: int, steps: int) -> list[Task]:
    return [
        Task(name=name, function=cells.write_crops, arguments=(options, seed, number))
        for number, name in enumerate(_chunk_names(seed, steps))
    ]


def _chunk_names(seed: int, steps: int) -> list[str]:
    return [f"crops of seed {seed}, part {k + 1}" for k in range(-(-steps // STEPS_PER_CHUNK))]


def _seeds(options: CompareOptions) -> list[int]:
    """Return every seed of the comparison, its own first."""
    own = [seed for row in options.network for seed in row.seeds]
    in_rows = [seed for row in options.network for seed in row.seeds or options.seeds]
    return [seed for seed in dict.fromkeys([*options.seeds, *own]) if seed in in_rows]


def _steps(options: CompareOptions, seed: int) -> int:
    """Return the most steps that a cell of this seed takes."""
    rows = [row for row in options.network if seed in (row.seeds or options.seeds)]
    return max(cells.steps_of(options, row) for row in rows)


def _in_order(finished: dict[str, Cell], options: CompareOptions) -> list[Cell]:
    names = [f"{row.name}, seed {seed}" for seed in _seeds(options) for row in options.network]
    return [finished[name] for name in names if name in finished]


def _outcome(cell: Cell | None) -> str:
    if cell is None:
        return "done"
    return (
        f"failed: {cell['failed']}" if "failed" in cell else f"val {cell['curve'][-1]['score']:.3f}"
    )
