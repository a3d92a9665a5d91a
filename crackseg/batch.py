"""Many image files become a folder of reports and a survey; one bad file never stops the others.

An image whose report exists with the same content, model and options is not analyzed again, so
that a run that was stopped goes on where it was. The survey tells of all results in the folder,
also of earlier runs, and of every photograph that was not analyzed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from crackseg import __version__
from crackseg.config import (
    AnalyzeOptions,
    EngineOptions,
    ScaleOptions,
    read_options,
    says_the_same,
    to_plain,
)
from crackseg.corrections.earlier import left_behind
from crackseg.errors import (
    ConfigError,
    CracksegError,
    MissingExtra,
    ModelError,
)
from crackseg.exports import find_exports
from crackseg.exports.survey import FILES, NOT_REACHED, failure_row
from crackseg.exports.tables import model_to_dict
from crackseg.folder_names import FolderNames, choose_folder
from crackseg.folders import (
    clear_leftovers,
    identity_of,
    make_folder,
    occupied,
    place_to_go_on,
    plain_path,
    read_mark,
    refuse_foreign,
    refuse_lost,
)
from crackseg.imagery.files import OpenImage
from crackseg.imagery.regions import find_region_files, refuse_unusable, region_facts
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.inference.shared import Bands, Raster, is_large
from crackseg.inputs import Passed
from crackseg.names import look_up
from crackseg.records import ModelCard
from crackseg.stores import StorePath, read_ahead, refuse_silent, side_by_side
from crackseg.survey import Survey, with_face
from crackseg.tally import Tally, earlier_facts, earlier_rows, read_report, records_of
from crackseg.tasks import (
    Outcome,
    Task,
    analyze_task,
    failure,
    half_done,
    look_task,
    opened,
    outcome_of,
    start,
    start_away,
)
from crackseg.verdict_table import judged_before
from crackseg.workers import in_processes

PROCESS_LOST = "The process that analyzed it was ended: memory ran out, most likely; run again."
ENGINES: dict[str, Any] = {"processes": in_processes, "ray": "crackseg.cluster:on_ray"}
_ACTORS = 8  # taken for the bands of a raster where the cluster decides how many there are
STOPPED = "The run was stopped before this photograph; the same command goes on."


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
    refuse_unusable(options.region)
    predictor = Predictor.open(options.model, options.predict)
    chosen = [options_for(path, options) for path in paths]
    make_folder(out)
    identity = identity_of(out)
    survey = Tally(out, options, predictor.card, passed, facts)
    if survey.is_due(paths):
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
            survey.write([*rows, *(failure_row(path, STOPPED, NOT_REACHED) for path in rest)])
        if isinstance(stop, CracksegError):
            raise
        raise Interrupted(outcomes) from None
    outcomes = _still_there(outcomes, out)
    if identity_of(out) == identity:  # else there is no place for it, and every image says so
        survey.write([outcome.row for outcome in outcomes])
    judged = set() if isinstance(out, StorePath) else judged_before(out)
    return [_with_left_behind(outcome, judged) for outcome in outcomes]


def _with_left_behind(outcome: Outcome, judged: Collection[str]) -> Outcome:
    """Return an outcome that also tells of edits and verdicts on an earlier analysis."""
    if outcome.folder is None:
        return outcome
    older = outcome.row["image"] in judged
    codes = {notice["code"] for notice in outcome.notices}
    content = outcome.row["sha256"]
    notices = left_behind(outcome.folder, content, codes, verdicts_are_older=older)
    return replace(outcome, notices=(*outcome.notices, *notices))


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
        with closing(_here(pairs, out, job)) as outcomes:
            yield from outcomes
        return
    # pixels do not travel: another process opens the file anew, and sees that it is the same still
    engine, shared = engine or EngineOptions(), dict[Path, Raster]()
    actors = 0 if here else engine.actors or _ACTORS
    begin = partial(_begin_shared, shared, actors, job, out)
    begun = _with_bands(
        (opened(path, out, own, partial(begin, own)) for path, own in pairs), shared
    )
    with _hands(predictor, out, engine) as hands, closing(hands(begun)) as ended:
        for task, outcome in ended:
            if isinstance(task, Bands):
                shared[task.path].take(task, outcome)
                job.listener.step(task.path, task.share)
                continue
            if isinstance(task, Task) and task.is_shared:
                del shared[task.path]  # an analysis goes on from what it kept
                work = partial(analyze_task, predictor, partial(job.listener.step, task.path), task)
                outcome = opened(task.path, out, task.options, work)
            elif outcome is None:
                outcome = failure(task.path, PROCESS_LOST)
            yield outcome


def _with_bands(
    begun: Iterator[Task | Outcome], shared: Mapping[Path, Raster]
) -> Iterator[Bands | Task | Outcome]:
    """Yield what is begun, each raster that is shared after its bands."""
    for task in begun:
        if isinstance(task, Task) and task.is_shared:
            yield from shared[task.path].bands()
        yield task


@contextmanager
def _hands(predictor: Predictor, out: Path, engine: EngineOptions) -> Iterator[Callable[..., Any]]:
    """Give what turns tasks into their outcomes, by the engine of this run."""
    work_off = look_up(ENGINES, engine.name, what="engine", extra="cluster")
    options = predictor.options
    if engine.name == "processes":
        begin = partial(start, predictor.name, options)
        yield lambda tasks: work_off(begin, tasks, options.workers)
        return
    if options.workers > 1:
        raise ConfigError(
            f"`predict.workers` counts processes of one machine, got {options.workers} with "
            f"engine {engine.name}; set `actors` of the engine."
        )
    if engine.gpus_per_actor is None:
        engine = replace(engine, gpus_per_actor=float(options.device != "cpu"))
    with occupied(out) as place:
        away = partial(start_away, predictor.name, options, predictor.card, Path.cwd(), place)
        yield lambda tasks: work_off(away, tasks, engine)
    clear_leftovers(out)  # of those that died


def _here(
    pairs: Iterable[tuple[Path, AnalyzeOptions]], out: Path, job: _Job
) -> Generator[Outcome, None, None]:
    """Yield the outcomes of images that are analyzed here, in order.

    While the network reads one, another thread measures the one before it and writes its results.
    """
    with ThreadPoolExecutor(1) as behind:
        last: Future[Outcome] | None = None
        for path, own in pairs:
            try:
                rest = half_done(path, out, own, partial(_look, path, out, own, job))
            except KeyboardInterrupt:
                yield from _ended(last)
                raise
            yield from _ended(last)
            last = behind.submit(rest)
        yield from _ended(last)


def _ended(last: Future[Outcome] | None) -> Iterator[Outcome]:
    """Yield the outcome of an image that is being measured, if there is one.

    It is done all the same where the run is stopped meanwhile, and told of first.
    """
    if last is None:
        return
    try:
        outcome = last.result()
    except KeyboardInterrupt:
        yield last.result()
        raise
    yield outcome


def _look(
    path: Path, out: Path, options: AnalyzeOptions, job: _Job, image: OpenImage
) -> Callable[[], Outcome] | Outcome:
    """Return what measures an open image; of a large one the outcome, for two take much memory."""
    task = _begin(out, options, job, image)
    if isinstance(task, Outcome):
        return task
    rest = look_task(job.predictor, partial(job.listener.step, path), task, image)
    return rest() if is_large(image.info) else rest


def _begin(out: Path, options: AnalyzeOptions, job: _Job, image: OpenImage) -> Task | Outcome:
    """Return what is to be done, or the outcome where there is nothing to do."""
    refuse_lost(out, job.identity)
    path, content = image.info.path, image.info.sha256
    folder = choose_folder(out, path, content, names=job.names)
    job.names.take(folder.name)
    earlier = None if job.overwrite else read_report(folder)
    if earlier and _is_current(earlier, image, options, job.predictor.card):
        return outcome_of(path, folder, earlier, "unchanged")
    refuse_foreign(folder)  # before the work is done, not after
    return Task(path, out, job.identity, folder, content, options)


def _begin_shared(
    shared: dict[Path, Raster],
    actors: int,
    job: _Job,
    out: Path,
    options: AnalyzeOptions,
    image: OpenImage,
) -> Task | Outcome:
    """Return as ``_begin`` does; of a large raster, let a number of actors read the bands."""
    task = _begin(out, options, job, image)
    if not actors or isinstance(task, Outcome) or not is_large(image.info):
        return task
    with suppress(ConfigError, ModelError, MissingExtra):  # no such device here: one actor reads it
        place = place_to_go_on(task.folder)
        raster = Raster(image, job.predictor, options, place, actors)
        if raster.is_kept:
            shared[task.path] = raster
            return replace(task, is_shared=True)
    return task


def _still_there(outcomes: Sequence[Outcome], out: Path) -> list[Outcome]:
    """Return the outcomes; one whose results have gone since is a failure."""

    def check(outcome: Outcome) -> Outcome:
        if outcome.folder is None or read_mark(outcome.folder):
            return outcome
        return failure(outcome.path, f"Its results in `{outcome.folder}` are gone; run again.")

    return [*side_by_side(check, outcomes, out)]


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
