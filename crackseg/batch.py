"""Many image files become a folder of reports and a survey; one bad file never stops the others.

An image whose report exists with the same content, model and options is not analyzed again, so
that a run that was stopped goes on where it was. The survey tells of all results in the folder,
also of earlier runs, and of every photograph that was not analyzed.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from crackseg import __version__
from crackseg.config import (
    AnalyzeOptions,
    EngineOptions,
    PredictOptions,
    ScaleOptions,
    read_options,
    says_the_same,
    to_plain,
)
from crackseg.errors import (
    ConfigError,
    CracksegError,
    DataError,
    ImageError,
    ModelError,
    OutputError,
    ScaleError,
    StoreError,
)
from crackseg.exports import find_exports
from crackseg.exports.survey import FILES, failure_row, report_row
from crackseg.exports.tables import model_to_dict, report_to_dict
from crackseg.folder_names import FolderNames, choose_folder
from crackseg.folders import (
    clear_leftovers,
    identity_of,
    occupied,
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
from crackseg.names import look_up
from crackseg.pipeline import analyze, export
from crackseg.records import ModelCard
from crackseg.stores import read_ahead, refuse_silent, side_by_side
from crackseg.survey import Survey, with_face
from crackseg.tally import Tally, earlier_facts, earlier_rows, read_report, records_of
from crackseg.workers import in_processes

T = TypeVar("T")
PROCESS_LOST = "The process that analyzed it was ended: memory ran out, most likely; run again."
ENGINES: dict[str, Any] = {"processes": in_processes, "ray": "crackseg.cluster:on_ray"}
_FAILURES = (ImageError, ScaleError, ModelError, DataError, StoreError, OSError, MemoryError)
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
    engine: EngineOptions | None = None,
) -> list[Outcome]:
    """Analyze images and write their folders and the survey into ``out``.

    Args:
        paths: image files, from ``find_inputs``.
        out: a folder or a prefix of a store, made if need be; what others put there stays.
        options: everything that may be chosen; ``predict.workers`` images at a time.
        overwrite: analyze again what is already there.
        listener: is told of progress.
        passed: files that were left aside, for the survey.
        facts: what is known of the survey; None: what an earlier run into ``out`` knew. The slope
            and direction of its face are used for the scale.
        engine: who analyzes; None: processes of this machine.

    Raises:
        ConfigError, UnknownName, MissingExtra: an option, the model's or an export's name.
        ConfigError: the options and ``facts`` contradict each other, or a cluster cannot be used.
        ModelError: the model folder is broken.
        OutputError: files of others have the names of the survey's.
        OSError: ``out`` cannot be written.
        StoreError: the store of ``out`` refuses, or does not answer any more.
        Interrupted: the run was stopped; the survey tells of what was done.
    """
    listener = listener or Listener()
    facts = facts or earlier_facts(out)
    options = with_face(options, facts)
    find_exports(options.exports)
    refuse_missing(options.region)
    predictor = Predictor.open(options.model, options.predict)
    chosen = [options_for(path, options) for path in paths]
    _make_folder(out)
    identity = identity_of(out)
    survey = Tally(out, options, predictor.card, passed, facts)
    if len(paths) > 1 or facts:
        survey.check()
    listener.begin(paths)
    outcomes: list[Outcome] = []
    job = _Job(predictor, overwrite, FolderNames(out, FILES), listener, identity)
    try:
        for outcome in _all(paths, out, chosen, job, engine):
            outcomes.append(outcome)
            listener.end(outcome)
            if outcome.status == "failed":
                refuse_silent(out)
    except (KeyboardInterrupt, CracksegError) as stop:  # of a cluster, too
        done = len(outcomes)
        outcomes = _still_there(outcomes, out)
        is_told = isinstance(stop, KeyboardInterrupt) or done > 0
        if is_told and identity_of(out) == identity:
            rows = [outcome.row for outcome in outcomes]
            there = {row["image"] for row in earlier_rows(out, rows)}  # by other processes, too
            rest = (path for path in paths[done:] if plain_path(path) not in there)
            survey.write([*rows, *(failure_row(path, NOT_REACHED) for path in rest)])
        if isinstance(stop, CracksegError):
            raise
        raise Interrupted(outcomes) from None
    outcomes = _still_there(outcomes, out)
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
class _Job:
    """What is the same for every image of a run."""

    predictor: Predictor
    overwrite: bool
    names: FolderNames  # of folders, those given away in this run too
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
    paths: Sequence[Path],
    out: Path,
    chosen: Sequence[AnalyzeOptions],
    job: _Job,
    engine: EngineOptions | None,
) -> Iterator[Outcome]:
    """Yield the outcome of every image, in order."""
    pairs = read_ahead(
        zip(paths, chosen, strict=True),
        lambda pair: records_of(out, pair[0].stem) if job.names.is_present(pair[0].stem) else (),
        out,
    )
    predictor, here = job.predictor, engine is None or engine.name == "processes"
    if here and (predictor.options.workers == 1 or len(paths) == 1):
        yield from (_one(path, out, own, job) for path, own in pairs)
        return
    # pixels do not travel: another process opens the file anew, and sees that it is the same still
    begun = (_opened(path, out, own, partial(_begin, out, own, job)) for path, own in pairs)
    with _hands(predictor, out, engine or EngineOptions()) as hands, closing(hands(begun)) as ended:
        for task, outcome in ended:
            if outcome is None:
                outcome = _failure(task.path, PROCESS_LOST)
            yield outcome


@contextmanager
def _hands(predictor: Predictor, out: Path, engine: EngineOptions) -> Iterator[Callable[..., Any]]:
    """Give what turns tasks into their outcomes, by the engine of this run."""
    work_off = look_up(ENGINES, engine.name, what="engine", extra="cluster")
    options = predictor.options
    if engine.name == "processes":
        start = partial(_start, predictor.name, options)
        yield lambda tasks: work_off(start, tasks, options.workers)
        return
    if options.workers > 1:
        raise ConfigError(
            f"`predict.workers` counts processes of one machine, got {options.workers} with "
            f"engine {engine.name}; set `actors` of the engine."
        )
    if engine.gpus_per_actor is None:
        engine = replace(engine, gpus_per_actor=float(options.device != "cpu"))
    with occupied(out) as place:
        away = partial(_start_away, predictor.name, options, predictor.card, Path.cwd(), place)
        yield lambda tasks: work_off(away, tasks, engine)
    clear_leftovers(out)  # of those that died


def _one(path: Path, out: Path, options: AnalyzeOptions, job: _Job) -> Outcome:
    """Return the outcome of an image that is begun and analyzed here, opened once for both."""

    def work(image: OpenImage) -> Outcome:
        task = _begin(out, options, job, image)
        step = partial(job.listener.step, path)
        return task if isinstance(task, Outcome) else _analyze(job.predictor, step, task, image)

    return _opened(path, out, options, work)


def _opened(
    path: Path, out: Path, options: AnalyzeOptions, act: Callable[[OpenImage], T]
) -> T | Outcome:
    """Return what is made of an image, or the outcome of its failure."""
    try:
        with open_image(path, max_megapixels=options.max_megapixels) as image:
            return act(image)
    except _FAILURES as error:
        return _failure(path, _reason(error, path, out))


def _take_up(predictor: Predictor, task: _Task | Outcome) -> Outcome:
    """Return the outcome of an image that another process begun; one that is there stays."""
    if isinstance(task, Outcome):
        return task
    work = partial(_analyze, predictor, lambda share: None, task)
    return _opened(task.path, task.out, task.options, work)


def _start(model: str, options: PredictOptions) -> Callable[[_Task | Outcome], Outcome]:
    return partial(_take_up, Predictor.open(model, options))


def _start_away(
    model: str, options: PredictOptions, card: ModelCard, working: Path, place: Path
) -> Callable[[_Task | Outcome], Outcome]:
    """Return what analyzes on another machine, which must see the same disk and the same model."""
    with suppress(OSError):  # where no path is relative, it need not be there
        os.chdir(working)
    if not place.is_dir():
        raise ConfigError(
            f"`--out {place.parent}` must be the same place for every machine of the cluster, but "
            f"`{socket.gethostname()}` does not see it; choose a shared disk or an object store."
        )
    predictor = Predictor.open(model, options)
    if predictor.card != card:
        raise ModelError(
            f"model `{model}` must be the same on every machine, but is another one on "
            f"`{socket.gethostname()}`; put the model folder on a shared disk."
        )
    identity = identity_of(place.parent)  # each machine has its own number of a shared disk

    def work(task: _Task | Outcome) -> Outcome:
        if isinstance(task, _Task):
            task = replace(task, identity=identity)
        return _take_up(predictor, task)

    return work


def _begin(out: Path, options: AnalyzeOptions, job: _Job, image: OpenImage) -> _Task | Outcome:
    """Return what is to be done, or the outcome where there is nothing to do."""
    refuse_lost(out, job.identity)
    path, content = image.info.path, image.info.sha256
    folder = choose_folder(out, path, content, names=job.names)
    job.names.take(folder.name)
    earlier = None if job.overwrite else read_report(folder)
    if earlier and _is_current(earlier, image, options, job.predictor.card):
        return outcome_of(path, folder, earlier, "unchanged")
    refuse_foreign(folder)  # before the work is done, not after
    return _Task(path, out, job.identity, folder, content, options)


def _analyze(
    predictor: Predictor, step: Callable[[float], Any], task: _Task, image: OpenImage
) -> Outcome:
    path, options, unfinished = task.path, task.options, place_to_go_on(task.folder)
    try:
        if image.info.sha256 != task.content:  # workers take it up later than it was begun
            raise ImageError(f"`{path.name}` changed since this run began with it; run again.")
        report = analyze(image, predictor, options, step, unfinished)
        refuse_lost(task.out, task.identity)
        report = export(
            report, task.folder, image, options.exports,
            origin=origin_of(path), content=task.content,
        )  # fmt: skip
    except (ImageError, ScaleError, DataError):  # the next run ends there, too
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    shutil.rmtree(unfinished, ignore_errors=True)
    return outcome_of(path, task.folder, report_to_dict(report), "analyzed")


def _failure(path: Path, reason: str) -> Outcome:
    row = failure_row(path, reason)
    return Outcome(path=path, status="failed", folder=None, row=row, reason=reason)


def _still_there(outcomes: Sequence[Outcome], out: Path) -> list[Outcome]:
    """Return the outcomes; one whose results have gone since is a failure."""

    def check(outcome: Outcome) -> Outcome:
        if outcome.folder is None or read_mark(outcome.folder):
            return outcome
        return _failure(outcome.path, f"Its results in `{outcome.folder}` are gone; run again.")

    return [*side_by_side(check, outcomes, out)]


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
        with occupied(out):
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
