"""What the command line shows: a bar on a terminal, plain lines elsewhere, tables at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from crackseg.batch import Listener, Outcome
from crackseg.exports.survey import length_text, width_text
from crackseg.exports.wording import quantity

MOST_ROWS = 30  # of the table; everything is in the files


class _Rate(ProgressColumn):
    """Images per minute, or seconds per image when they are slow."""

    def render(self, task: Task) -> Text:
        if not task.completed or not task.elapsed:
            return Text("")
        seconds = task.elapsed / task.completed
        text = f"{seconds:.1f} s/image" if seconds > 2 else f"{60 / seconds:.0f} images/min"
        return Text(text, style="cyan")


@contextmanager
def watch(*, quiet: bool) -> Iterator[Listener]:
    """Give a listener that shows a bar on a terminal and plain lines elsewhere, on stderr."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield Listener(end=lambda outcome: _say_failure(console, outcome))
    elif console.is_terminal:
        with _bar(console) as listener:
            yield listener
    else:
        yield _lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    done = 0
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("analyzing", total=None)

        def step(path: Path, share: float) -> None:
            progress.update(task, description=escape(path.name[-32:]), completed=done + share)

        def end(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            _say_failure(progress.console, outcome)

        yield Listener(begin=lambda n: progress.update(task, total=n), step=step, end=end)


def _lines(console: Console) -> Listener:
    count, done, start = 0, 0, time.monotonic()

    def begin(images: int) -> None:
        nonlocal count
        count = images

    def end(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        seconds = time.monotonic() - start
        left = seconds / done * (count - done)
        text = f"[{done}/{count}] {outcome.path.name}: {_result(outcome)}"
        tail = f", {left:.0f} s left" if count > done else ""
        console.print(f"{text} ({seconds:.0f} s{tail})", markup=False, soft_wrap=True)

    return Listener(begin=begin, end=end)


def _say_failure(console: Console, outcome: Outcome) -> None:
    if outcome.status == "failed":
        text = f"{outcome.path.name}: {_result(outcome)}"
        console.print(text, markup=False, soft_wrap=True, style="red")


def _result(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"not analyzed. {outcome.reason}"
    row = outcome.row
    if row["cracks"]:
        noun = "crack" if row["cracks"] == 1 else "cracks"
        text = f"{row['cracks']} {noun}, {length_text(row)}, widest {width_text(row)}"
    else:
        text = "no crack"
    return f"{text}, as before" if outcome.status == "unchanged" else text


def show_outcomes(outcomes: Sequence[Outcome], out: Path, *, quiet: bool, as_json: bool) -> None:
    """Print what a run has found and where the reports lie."""
    if as_json:
        rows = [dict(outcome.row) for outcome in outcomes]
        print(json.dumps({"out": str(out), "images": rows}, ensure_ascii=False))
        return
    if quiet:
        return
    folders = [outcome.folder for outcome in outcomes if outcome.folder is not None]
    if len(folders) <= MOST_ROWS:
        show_cracks(folders)
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if failed:
        print(
            f"{failed} of {len(outcomes)} images were not analyzed; reasons: {out / 'survey.json'}"
        )
    if len(outcomes) > 1:
        print(f"Report: {out / 'index.html'}")
    elif folders:
        print(f"Report: {folders[0] / 'page.html'}")


def show_cracks(folders: Sequence[Path]) -> None:
    """Print the table of the widest cracks of some result folders."""
    rows: list[tuple[str, dict[str, Any]]] = []
    for folder in folders:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        rows += [(folder.name, crack) for crack in report["cracks"]]
    if not rows:
        return
    rows.sort(key=lambda row: (-(row[1]["width_max_mm"] or 0), -(row[1]["width_max_px"] or 0)))
    table = Table(box=None, header_style="bold", padding=(0, 1))
    table.add_column("image", overflow="fold")
    for name in ("crack", "length", "mean width", "largest width"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("shape", no_wrap=True)
    for name, crack in rows[:MOST_ROWS]:
        figures = (_figure(crack, key) for key in ("length", "width_mean", "width_max"))
        table.add_row(escape(name), str(crack["id"]), *figures, crack["pattern"])
    console = Console(highlight=False)
    console.print(table)
    if len(rows) > MOST_ROWS:
        console.print(f"... and {len(rows) - MOST_ROWS} more in the reports.")


def _figure(crack: dict[str, Any], key: str) -> str:
    unit = "px" if crack[f"{key}_mm"] is None else "mm"
    return quantity(crack[f"{key}_{unit}"], crack[f"{key}_u_{unit}"], unit)
