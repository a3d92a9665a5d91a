"""What the command line shows: a bar on a terminal, plain lines elsewhere, tables at the end."""

from __future__ import annotations

import json
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

from crackseg.batch import Listener
from crackseg.exports.survey import (
    copies,
    counted,
    impaired_text,
    length_text,
    main_list,
    not_counted_text,
    nothing_text,
    other_lines_text,
    short_names,
    survey_detection,
    width_text,
)
from crackseg.exports.tables import read_measure, report_to_dict
from crackseg.exports.wording import certainty, length, measured, total_length
from crackseg.inputs import Passed
from crackseg.metrology.ranking import place
from crackseg.names import count
from crackseg.records import Report
from crackseg.tasks import Outcome, outcome_of

if TYPE_CHECKING:
    from crackseg.changes.records import Comparison
    from crackseg.face.mapping import FaceMap

MOST_ROWS = 30  # of the table; everything is in the files
MOST_LINES = 3  # of one kind of warning; more become one line
MOST_NAMES = 10  # in a sentence; more are counted
LONGEST_NAME = 40  # characters of a photograph's name in the table
REMARKS = {"short_pieces_dropped", "screened", "no_scale"}  # no warnings
MISSING_SCALE = "scale_not_found"  # the code where a scale was asked for
NO_CRACK, BLANK = "no crack", "cannot be judged: it shows too little"


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
    console = _console(stderr=True)
    if console.is_terminal and not quiet:
        with _bar(console) as listener:
            yield listener
    else:
        yield _lines(console, quiet=quiet)


@contextmanager
def _bar(console: Console) -> Iterator[Listener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    names: dict[Path, str] = {}
    done = 0
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("analyzing", total=None)

        def begin(paths: Sequence[Path]) -> None:
            names.update(_names(paths))
            progress.update(task, total=len(paths))

        def step(path: Path, share: float) -> None:
            name = escape(names[path][-32:])
            progress.update(task, description=name, completed=done + share)

        def end(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            if outcome.status == "failed":
                _say(progress.console, f"{names[outcome.path]}: {_result(outcome)}", "red")

        yield Listener(begin=begin, step=step, end=end)


def _lines(console: Console, *, quiet: bool) -> Listener:
    names: dict[Path, str] = {}
    done, start = 0, time.monotonic()

    def end(outcome: Outcome) -> None:
        nonlocal done
        done += 1
        text = f"{names[outcome.path]}: {_result(outcome)}"
        if quiet:
            if outcome.status == "failed":
                _say(console, text, "red")
            return
        seconds = time.monotonic() - start
        rest_s = seconds / done * (len(names) - done)
        tail = f", {rest_s:.0f} s left" if len(names) > done else ""
        _say(console, f"[{done}/{len(names)}] {text} ({seconds:.0f} s{tail})")

    return Listener(begin=lambda paths: names.update(_names(paths)), end=end)


@contextmanager
def steps(*, quiet: bool) -> Iterator[Callable[[str, float], None]]:
    """Give a function that is told of a step and the share of it that is done, shown on stderr."""
    console = _console(stderr=True)
    names: list[str] = []

    def line(step: str, share: float) -> None:
        if not quiet and step not in names[-1:]:
            names.append(step)
            _say(console, f"{step} ...")

    if quiet or not console.is_terminal:
        yield line
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console) as progress:
        task = progress.add_task("reading", total=1.0)
        yield lambda step, share: progress.update(task, description=step, completed=share)


def show_map(face: FaceMap, folder: Path, *, quiet: bool) -> None:
    """Print what the map of a face says, warnings on stderr."""
    errors = _console(stderr=True)
    for name, reason in face.aside:
        _say(errors, f"not on the map: {name}: {reason}", "red")
    for notice in face.notices:
        _say(errors, f"warning: {notice.message}", "yellow")
    if quiet:
        return
    from crackseg.face.mapping import summary_of

    console = _console()
    summary = summary_of(face)
    length_once, length_all = (
        total_length(1000 * summary[name], None) for name in ("length_m", "marks_length_m")
    )
    _say(
        console,
        f"{count(summary['cracks'], 'crack')}, {length_once} on "
        f"{summary['area_m2']:.1f} m2 ({count(summary['marks'], 'mark')} of "
        f"{length_all} in {count(summary['photographs'], 'photograph')}).",
    )
    if face.residuals:
        _say(
            console,
            f"neighbours agree within {face.residuals.median_mm:.1f} mm (median), "
            f"{face.residuals.p95_mm:.1f} mm (95 %); scale by {face.scale.detail}, "
            f"±{200 * face.scale.sigma_rel:.2f} %.",
        )
    _say(console, f"map: {folder / 'face.html'}")


def show_changes(comparison: Comparison, folder: Path, *, quiet: bool) -> None:
    """Print how many cracks changed, and how; what to mind on stderr."""
    from crackseg.changes.writing import comparison_to_dict

    values = comparison_to_dict(comparison)
    errors, console = _console(stderr=True), _console()
    for notice in values["warnings"]:
        _say(errors, f"warning: {notice['message']}", "yellow")
    if quiet:
        return
    counts = [f"{number} {name.replace('_', ' ')}" for name, number in values["totals"].items()
            if number]  # fmt: skip
    _say(console, f"{', '.join(counts) or 'no crack at either date'}.")
    registration = values["registration"]
    how = (
        f"{registration['points']} points of both dates"
        if registration["source"] == "features"
        else "station and elevation"
    )
    _say(console, f"laid on each other by {how}, ±{2 * registration['sigma_mm']:.1f} mm.")
    _say(console, f"changes: {folder / 'changes.html'}")


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    return dict(zip(paths, short_names(paths), strict=True))


def _console(*, stderr: bool = False) -> Console:
    """Return a console that breaks no line where it is not a terminal."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=400)


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(_on_one_line(text), markup=False, soft_wrap=True, style=style)


def _on_one_line(text: str) -> str:
    """Return a text whose file names break no line and steer no terminal."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in text)


def _result(outcome: Outcome) -> str:
    if outcome.status == "failed":
        return f"not analyzed. {outcome.reason}"
    row = outcome.row
    besides = f"{count(row['also_marked'], 'doubtful mark')}" if row["also_marked"] else ""
    blank = row.get("judged") is False
    if row["cracks"]:
        text = f"{count(row['cracks'], 'crack')}, {length_text(row)}, widest {width_text(row)}"
        text += f"; also {besides}" if besides else ""
        text += f"; as a whole it {BLANK}" if blank else ""
    else:
        nothing = nothing_text(row, NO_CRACK)
        text = BLANK if blank else f"{NO_CRACK} in the main list" if besides else nothing
        text += f"; {besides}" if besides else ""
    if others := not_counted_text(row):
        text = f"{text}; {others}: look at the report"
    if impaired := impaired_text(row):
        text = f"{text}; {impaired}: cracks are missed there"
    return f"{text}, as before" if outcome.status == "unchanged" else text


def show_outcomes(
    outcomes: Sequence[Outcome],
    out: Path,
    *,
    quiet: bool,
    as_json: bool,
    passed: Sequence[Passed] = (),
) -> None:
    """Print what a run has found and where the reports lie."""
    if as_json:
        rows = [{**outcome.row, "notices": list(outcome.notices)} for outcome in outcomes]
        aside = [{"path": str(item.path), "reason": item.reason} for item in passed]
        answer = {"out": str(out), "images": rows, "passed_over": aside}
        print(json.dumps(answer, ensure_ascii=not _is_unicode()))
        return
    show_warnings(outcomes, quiet=quiet)
    if quiet:
        return
    if text := survey_detection([outcome.row for outcome in outcomes]):
        print(text)
    _show_not_counted(outcomes)
    _show_passed(passed)
    done = [outcome for outcome in outcomes if outcome.folder is not None]
    if len(done) <= MOST_ROWS:
        names = _names([outcome.path for outcome in done])
        once = _counted(done)
        show_cracks({_on_one_line(names[o.path]): o.folder for o in once if o.folder})
    failed = len(outcomes) - len(done)
    if failed:
        survey = out / "survey.json"
        reasons = f"reasons: {survey}" if survey.is_file() else f"`{out}` has no survey of it"
        print(f"{failed} of {len(outcomes)} images were not analyzed; {reasons}")
    if (out / "index.html").is_file() and len(outcomes) > 1:
        print(f"Report: {out / 'index.html'}")
    elif done:
        print(f"Report: {_report_of(done)}")


def _report_of(done: Sequence[Outcome]) -> Path | None:
    """Return the page of the only result, else the folder of results that have no pages."""
    folder = done[0].folder
    if folder is None or len(done) > 1:
        return folder and folder.parent
    page = folder / "page.html"
    return page if page.is_file() else folder / "report.json"


def show_measured(report: Report, mask: Path, folder: Path, *, quiet: bool) -> None:
    """Print what a mask from elsewhere measures and where its report lies."""
    values = report_to_dict(report)
    outcome = outcome_of(mask, folder, values, "analyzed")
    show_warnings([outcome], quiet=quiet)
    if not quiet:
        if not report.cracks:
            print(f"{mask.name}: {_result(outcome)}")
        show_cracks({report.image.path.name: folder})
        print(f"Report: {_report_of([outcome])}")


def show_warnings(outcomes: Sequence[Outcome], *, quiet: bool) -> None:
    """Print on stderr what the photographs' reports warn of, each kind once where it is frequent.

    Quiet: only a scale that was asked for and is missing.
    """
    console = _console(stderr=True)
    names = _names([outcome.path for outcome in outcomes])
    outcomes = _counted(outcomes)
    kinds: dict[str, list[tuple[str, str]]] = {}
    for outcome in outcomes:
        for notice in outcome.notices:
            if notice["code"] in REMARKS or (quiet and notice["code"] != MISSING_SCALE):
                continue
            message = notice["message"].removeprefix(f"`{outcome.path.name}` ")
            kinds.setdefault(notice["code"], []).append((names[outcome.path], message))
    unscaled = [
        outcome
        for outcome in outcomes
        if outcome.folder and outcome.row["mm_per_px"] is None
        and MISSING_SCALE not in outcome.row["warnings"]
    ]  # fmt: skip
    if unscaled and not quiet:
        some = ", ".join(names[outcome.path] for outcome in unscaled[:MOST_LINES])
        of = f"{len(unscaled)} of {len(outcomes)} ({some}{', ...' * (len(unscaled) > MOST_LINES)})"
        _say(console, f"no scale is known for {of}: figures there are in px.")
    for items in kinds.values():
        having = list(dict.fromkeys(name for name, _ in items))  # one may have several
        if len(having) <= MOST_LINES:
            for name, message in items:
                _say(console, f"warning: {name}: {message}", "yellow")
        else:
            some = ", ".join(having[:MOST_LINES])
            where = f"{len(having)} of {len(outcomes)} photographs ({some}, ...)"
            first, message = items[0]
            if len({message for _, message in items}) > 1:  # figures of one are not those of all
                where += f", each by figures of its own in its report; {first}"
            _say(console, f"warning: {where}: {message}", "yellow")


def _counted(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes that count: of one file under several names one."""
    once = {id(row) for row in counted([outcome.row for outcome in outcomes])}
    return [outcome for outcome in outcomes if id(outcome.row) in once]


def _show_not_counted(outcomes: Sequence[Outcome]) -> None:
    """Print what the figures leave out: lines taken for no crack, files that stand there twice."""
    console = _console(stderr=True)
    names = _names([outcome.path for outcome in outcomes])
    path_of = {id(outcome.row): outcome.path for outcome in outcomes}
    rows = [outcome.row for outcome in outcomes]
    again = copies(rows)
    if others := other_lines_text(counted(rows)):
        _say(
            console,
            f"not counted as cracks: {others}, taken for joints, cables or edges. A crack that "
            "runs as straight can be among such lines: look under “Other lines” in the reports.",
        )
    if again:
        some = [f"{names[path_of[id(row)]]} is {names[path_of[id(first)]]}"
                for row, first in again[:MOST_NAMES]]  # fmt: skip
        more = f" and {len(again) - MOST_NAMES} more" if len(again) > MOST_NAMES else ""
        what = (
            "1 photograph is the very file of another and counts once with it"
            if len(again) == 1
            else f"{len(again)} photographs are the very files of others and count once with them"
        )
        _say(console, f"{what}: {', '.join(some)}{more}.")


def _show_passed(passed: Sequence[Passed]) -> None:
    console = _console(stderr=True)
    kinds: dict[str, list[str]] = {}
    for item, name in zip(passed, short_names([item.path for item in passed]), strict=True):
        kinds.setdefault(item.reason, []).append(name)
    for reason, names in kinds.items():
        many = len(names) > MOST_NAMES
        more = f" and {len(names) - MOST_NAMES} more in survey.json" if many else ""
        _say(console, f"passed over: {', '.join(names[:MOST_NAMES])}{more}: {reason}")


def show_interrupted(outcomes: Sequence[Outcome], count: int, out: Path) -> None:
    """Say on stderr how far a run came that was stopped."""
    done = sum(outcome.status != "failed" for outcome in outcomes)
    print(
        f"Stopped: {done} of {count} photographs are done, results in {out}; the same command goes "
        "on from there.",
        file=sys.stderr,
    )


def _is_unicode() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def show_cracks(folders: Mapping[str, Path]) -> None:
    """Print the main lists of some result folders as one table, by the photograph's name."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    besides = 0
    for name, folder in folders.items():
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        main = main_list(report)
        rows += [(name, crack) for crack in main]
        besides += len(report["cracks"]) - len(main)
    console = _console()
    if rows:
        rows.sort(key=lambda row: place(row[1]))
        console.print(_table(rows[:MOST_ROWS]))
    if len(rows) > MOST_ROWS:
        console.print(f"... and {len(rows) - MOST_ROWS} more in the reports.")
    if besides:
        console.print(
            f"{count(besides, 'doubtful mark')} besides: in the reports under 'also marked', in no "
            "figure above."
        )


def _shape(crack: Mapping[str, Any]) -> str:
    """Return the pattern of a crack, and how far it is open at a place, which is no width of it."""
    widest = next(iter(crack.get("openings") or ()), None)
    if widest is None:
        return str(crack["pattern"])
    return f"{crack['pattern']}, open to {measured(read_measure(widest, 'width'))}"


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in ("image", "crack", "certainty", "length", "mean width", "largest width", "shape"):
        left = name in ("image", "shape")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for name, crack in rows:
        figures = (
            length(read_measure(crack, "length")),
            *(measured(read_measure(crack, key)) for key in ("width_mean", "width_max")),
        )
        sure = certainty(crack.get("certainty"))
        label = name if len(name) <= LONGEST_NAME else f"...{name[3 - LONGEST_NAME :]}"
        table.add_row(escape(label), str(crack["id"]), sure, *figures, _shape(crack))
    return table
