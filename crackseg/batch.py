"""Many image files become a folder of reports and a survey; one bad file never stops the others.

An image whose report exists with the same content, model and options is not analyzed again, so
that a run that was stopped goes on where it was. The survey tells of all results in the folder,
also of earlier runs, and of every photograph that was not analyzed.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from crackseg import __version__
from crackseg.config import (
    AnalyzeOptions,
    PredictOptions,
    ScaleOptions,
    read_options,
    says_the_same,
    to_plain,
)
from crackseg.errors import ConfigError, DataError, ImageError, ModelError, OutputError, ScaleError
from crackseg.exports import find_exports
from crackseg.exports.survey import FILES, failure_row, report_row, write_survey
from crackseg.exports.tables import model_to_dict, report_to_dict
from crackseg.folders import (
    choose_folder,
    clear_leftovers,
    filling,
    identity_of,
    origin_of,
    place_to_go_on,
    plain_path,
    read_mark,
    refuse_file,
    refuse_foreign,
    refuse_lost,
)
from crackseg.imagery.files import OpenImage, open_image
from crackseg.imagery.regions import find_region_files, refuse_missing, region_facts
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.inputs import Passed
from crackseg.pipeline import SCHEMA_VERSION, analyze, export
from crackseg.records import ModelCard
from crackseg.survey import Survey, survey_from, survey_to_dict, with_face
from crackseg.workers import in_processes

PROCESS_LOST = "The process that analyzed it was ended: memory ran out, most likely; run again."
_FAILURES = (ImageError, ScaleError, ModelError, DataError, OSError, MemoryError)
NOT_REACHED = "The run was stopped before this photograph; the same command goes on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one image."""

    path: Path
    status: Literal["analyzed", "unchanged", "failed"]
    folder: Path | None  # None when it failed
    row: Mapping[str, Any]  # its row in the survey
    reason: str | None = None
    notices: tuple[Mapping[str, str], ...] = ()  # code and message, as in its report


class Interrupted(KeyboardInterrupt):
    """A run was stopped from outside; what was done is in the survey."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__()
        self.outcomes = tuple(outcomes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What is told to whoever watches a batch."""

    begin: Callable[[Sequence[Path]], object] = lambda paths: None
    step: Callable[[Path, float], None] = lambda path, share: None
    end: Callable[[Outcome], object] = lambda outcome: None


def run(
    paths: Sequence[Path],
    out: Path,
    options: AnalyzeOptions,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
    passed: Sequence[Passed] = (),
    facts: Survey | None = None,
) -> list[Outcome]:
    """Analyze images and write their folders and the survey into ``out``.

    Args:
        paths: image files, from ``find_inputs``.
        out: made if need be; what others put there stays.
        options: everything that may be chosen; ``predict.workers`` images at a time.
        overwrite: analyze again what is already there.
        listener: is told of progress.
        passed: files that were left aside, for the survey.
        facts: what is known of the survey; None: what an earlier run into ``out`` knew. The slope
            and direction of its face are used for the scale.

    Raises:
        ConfigError, UnknownName, MissingExtra: an option, the model's or an export's name.
        ConfigError: the options and ``facts`` contradict each other.
        ModelError: the model folder is broken.
        OutputError: files of others have the names of the survey's.
        OSError: ``out`` cannot be written.
        Interrupted: the run was stopped; the survey tells of what was done.
    """
    listener = listener or Listener()
    facts = facts or _earlier_facts(out)
    options = with_face(options, facts)
    find_exports(options.exports)
    refuse_missing(options.region)
    predictor = Predictor.open(options.model, options.predict)
    chosen = [options_for(path, options) for path in paths]
    _make_folder(out)
    identity = identity_of(out)
    survey = _Survey(out, options, predictor.card, passed, facts)
    if len(paths) > 1 or facts:
        survey.check()
    listener.begin(paths)
    outcomes: list[Outcome] = []
    job = _Job(predictor, overwrite, set(FILES), listener, identity)
    try:
        for outcome in _all(paths, out, chosen, job):
            outcomes.append(outcome)
            listener.end(outcome)
    except KeyboardInterrupt:
        outcomes = _still_there(outcomes)
        if identity_of(out) != identity:
            raise Interrupted(outcomes) from None
        rows = [outcome.row for outcome in outcomes]
        there = {row["image"] for row in _earlier_rows(out, rows)}  # by other processes, too
        rest = (path for path in paths[len(outcomes) :] if plain_path(path) not in there)
        survey.write([*rows, *(failure_row(path, NOT_REACHED) for path in rest)])
        raise Interrupted(outcomes) from None
    outcomes = _still_there(outcomes)
    if identity_of(out) == identity:  # else there is no place for it, and every image says so
        survey.write([outcome.row for outcome in outcomes])
    return outcomes


def options_for(path: Path, options: AnalyzeOptions) -> AnalyzeOptions:
    """Return the options of one photograph: those of its name in ``picture_scale`` laid over.

    Raises:
        ConfigError: a value there is not one of ``[scale]``.
    """
    scale = to_plain(options.scale)
    for name, values in options.picture_scale.items():
        if path.match(name):
            own = read_options(ScaleOptions, values, where=f"picture_scale.{name}")
            scale |= {key: to_plain(getattr(own, key)) for key in values}
    return replace(options, scale=read_options(ScaleOptions, scale), picture_scale={})


def unused_scales(paths: Sequence[Path], options: AnalyzeOptions) -> list[str]:
    """Return the names in ``picture_scale`` that no photograph has: misspelt, most likely."""
    return [n for n in options.picture_scale if not any(path.match(n) for path in paths)]


@dataclass(frozen=True, slots=True)
class _Survey:
    """The files that tell of all results in a folder."""

    out: Path
    options: AnalyzeOptions
    model: ModelCard
    passed: Sequence[Passed]
    facts: Survey | None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    def check(self) -> None:
        """Raise where files of others have the names of the survey's."""
        refuse_foreign(self.out, FILES)

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write the survey if there is more to tell than one report does."""
        everything = [*rows, *_earlier_rows(self.out, rows)]
        passed = {str(item.path): item.reason for item in self.passed}
        passed = _earlier_passed(self.out, everything) | passed
        failed = any(row["status"] == "failed" for row in everything)
        alone = len(everything) == 1 and not failed and not passed and not self.facts
        if alone and read_mark(self.out) is None:
            return
        about = _about(self.model, self.options, self.started)
        about["facts"] = survey_to_dict(self.facts) if self.facts else None
        with filling(self.out, work=self.out) as fresh:
            gallery = "page" in self.options.exports
            write_survey(everything, about, fresh, gallery=gallery, passed=passed)


def _earlier_rows(out: Path, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of results and failures of earlier runs that this run says nothing of."""
    folders = {row["folder"] for row in rows}
    earlier: list[dict[str, Any]] = []
    for folder in sorted(path for path in out.iterdir() if path.is_dir()):
        report = None if folder.name in folders else _read_report(folder)
        if report:
            earlier.append(report_row(report, folder.name, "earlier"))
    named = {Path(row["image"]).absolute() for row in [*rows, *earlier]}
    for row in _read_survey(out).get("images", ()):
        path = Path(row["image"]).absolute()
        gone = path.parent.is_dir() and not path.exists()  # deleted, not on a drive that is away
        if row["status"] == "failed" and path not in named and not gone:
            earlier.append(failure_row(Path(row["image"]), row["reason"]))
    return earlier


def _earlier_passed(out: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the files that earlier runs left aside and that are still there."""
    named = {Path(row["image"]).absolute() for row in rows}
    earlier = {row["path"]: row["reason"] for row in _read_survey(out).get("passed_over", ())}
    return {
        path: reason
        for path, reason in earlier.items()
        if Path(path).exists() and Path(path).absolute() not in named
    }


def _earlier_facts(out: Path) -> Survey | None:
    """Return what an earlier run into a folder knew of the survey."""
    facts = _read_survey(out).get("facts")
    return survey_from(facts) if facts else None


def _read_survey(out: Path) -> dict[str, Any]:
    mark = read_mark(out)
    if mark is None or "survey.json" not in mark.files:
        return {}
    try:
        survey = json.loads((out / "survey.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return survey if isinstance(survey, dict) else {}


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for every image of a run."""

    predictor: Predictor
    overwrite: bool
    folders: set[str]  # folder names given away in this run
    listener: Listener
    identity: tuple[int, int] | None  # of the folder for the results


@dataclass(frozen=True, slots=True)
class _Task:
    """One image that is to be analyzed, here or by another process."""

    path: Path
    out: Path
    identity: tuple[int, int] | None
    folder: Path
    content: str  # sha256 of the image
    options: AnalyzeOptions


def _all(
    paths: Sequence[Path], out: Path, chosen: Sequence[AnalyzeOptions], job: _Job
) -> Iterator[Outcome]:
    """Yield the outcome of every image, in order."""
    pairs, workers = zip(paths, chosen, strict=True), job.predictor.options.workers
    if workers == 1 or len(paths) == 1:
        yield from (_one(path, out, own, job) for path, own in pairs)
        return
    start = partial(_start, job.predictor.name, job.predictor.options)
    begun = (_begin(path, out, own, job) for path, own in pairs)
    with closing(in_processes(start, begun, workers)) as results:
        for task, outcome in results:
            if outcome is None:
                outcome = _failure(task.path, PROCESS_LOST)
            yield outcome


def _one(path: Path, out: Path, options: AnalyzeOptions, job: _Job) -> Outcome:
    task = _begin(path, out, options, job)
    return _analyze(job.predictor, lambda share: job.listener.step(path, share), task)


def _start(model: str, options: PredictOptions) -> Callable[[_Task | Outcome], Outcome]:
    return partial(_analyze, Predictor.open(model, options), lambda share: None)


def _begin(path: Path, out: Path, options: AnalyzeOptions, job: _Job) -> _Task | Outcome:
    """Return what is to be done, or the outcome where there is nothing to do."""
    try:
        refuse_lost(out, job.identity)
        with open_image(path, max_megapixels=options.max_megapixels) as image:
            content = image.info.sha256
            folder = choose_folder(out, path, content, names=job.folders)
            job.folders.add(folder.name)
            earlier = None if job.overwrite else _read_report(folder)
            if earlier and _is_current(earlier, image, options, job.predictor.card):
                return outcome_of(path, folder, earlier, "unchanged")
            refuse_foreign(folder)  # before the work is done, not after
    except _FAILURES as error:
        return _failure(path, _reason(error, path, out))
    return _Task(path, out, job.identity, folder, content, options)


def _analyze(predictor: Predictor, step: Callable[[float], Any], task: _Task | Outcome) -> Outcome:
    """Return the outcome of an image that is analyzed here; one that is there stays."""
    if isinstance(task, Outcome):
        return task
    path, out, options = task.path, task.out, task.options
    unfinished = place_to_go_on(task.folder)
    try:
        with open_image(path, max_megapixels=options.max_megapixels) as image:
            if image.info.sha256 != task.content:  # workers take it up later than it was begun
                raise ImageError(f"`{path.name}` changed since this run began with it; run again.")
            report = analyze(image, predictor, options, step, unfinished)
            refuse_lost(out, task.identity)
            report = export(
                report, task.folder, image, options.exports,
                origin=origin_of(path), content=task.content,
            )  # fmt: skip
            shutil.rmtree(unfinished, ignore_errors=True)
    except _FAILURES as error:
        if isinstance(error, ImageError | ScaleError | DataError):  # the next run ends there, too
            shutil.rmtree(unfinished, ignore_errors=True)
        return _failure(path, _reason(error, path, out))
    return outcome_of(path, task.folder, report_to_dict(report), "analyzed")


def _failure(path: Path, reason: str) -> Outcome:
    row = failure_row(path, reason)
    return Outcome(path=path, status="failed", folder=None, row=row, reason=reason)


def _still_there(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the outcomes; one whose results have gone since is a failure."""
    return [
        outcome
        if outcome.folder is None or read_mark(outcome.folder)
        else _failure(outcome.path, f"Its results in `{outcome.folder}` are gone; run again.")
        for outcome in outcomes
    ]


def outcome_of(
    path: Path,
    folder: Path,
    report: Mapping[str, Any],
    status: Literal["analyzed", "unchanged"],
) -> Outcome:
    """Return the outcome of a photograph that has a report."""
    return Outcome(
        path=path,
        status=status,
        folder=folder,
        row={**report_row(report, folder.name, status), "image": plain_path(path)},
        notices=tuple(report["warnings"]),
    )


def _read_report(folder: Path) -> dict[str, Any] | None:
    """Return the report of an earlier run, or None where there is none of this schema."""
    mark = read_mark(folder)
    if mark is None or not mark.origin or not mark.complete:
        return None
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(report, dict) and report.get("schema_version") == SCHEMA_VERSION
    return report if fits else None


def _region_of(report: Mapping[str, Any]) -> list[Any]:
    return list(report.get("region", {}).get("files", []))


def _is_current(
    report: Mapping[str, Any], image: OpenImage, options: AnalyzeOptions, card: ModelCard
) -> bool:
    """Return whether a report says what a new analysis would say."""
    files = find_region_files(options.region, image.info.path)
    return bool(
        report["package_version"] == __version__
        and report["image"]["sha256"] == image.info.sha256
        and report["model"] == model_to_dict(card, thresholds(options.mask, card))
        and says_the_same(report["options"], options)
        and _region_of(report) == list(region_facts(files))
    )


def _make_folder(out: Path) -> None:
    refuse_file(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        clear_leftovers(out)
    except OSError as error:
        raise ConfigError(
            f"`--out {out}` cannot be written: {error.strerror}; choose another folder."
        ) from error


def _reason(error: BaseException, path: Path, out: Path) -> str:
    """Return why an image failed, as a sentence."""
    if isinstance(error, MemoryError):
        return "The picture needs more memory than there is."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: `{out}` has no room for the results; free some and run again."
    if isinstance(error, OSError) and not isinstance(error, ImageError | OutputError):
        if error.filename is not None and Path(error.filename) == path:
            return f"`{path}` cannot be read: {error.strerror}."
        return f"`{error.filename or out}` cannot be written: {error.strerror}."
    return str(error)


def _about(card: ModelCard, options: AnalyzeOptions, started: datetime) -> dict[str, Any]:
    return {
        "package_version": __version__,
        "started_at": started.isoformat(timespec="seconds"),
        "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "model": {
            "name": card.name,
            "version": card.version,
            "sha256": card.sha256.get("model.onnx", ""),
        },
        "options": to_plain(options),
    }
