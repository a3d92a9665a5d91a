"""One photograph is analyzed and its results are written, by whoever has the model open.

That may be another process or machine: a task travels, pixels do not. What fails is an outcome with
a reason, and no error.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.errors import (
    ConfigError,
    DataError,
    ImageError,
    ModelError,
    OutputError,
    ScaleError,
    StoreError,
)
from crackseg.exports.survey import failure_row, row_of_result
from crackseg.exports.tables import report_to_dict
from crackseg.folders import identity_of, origin_of, place_to_go_on, plain_path, refuse_lost
from crackseg.imagery.files import OpenImage, open_image
from crackseg.inference.predictor import Predictor
from crackseg.inference.shared import Bands, read_bands
from crackseg.pipeline import export, look
from crackseg.records import ModelCard

T = TypeVar("T")
FAILURES = (ImageError, ScaleError, ModelError, DataError, StoreError, OSError, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one image."""

    path: Path
    status: Literal["analyzed", "unchanged", "failed"]
    folder: Path | None  # None when it failed
    row: Mapping[str, Any]  # its row in the survey
    reason: str | None = None
    notices: tuple[Mapping[str, str], ...] = ()  # code and message, as in its report


@dataclass(frozen=True, slots=True)
class Task:
    """One image that is to be analyzed, here or by another process."""

    path: Path
    out: Path
    identity: tuple[int, int] | None
    folder: Path
    content: str  # sha256 of the image
    options: AnalyzeOptions
    is_shared: bool = False  # its bands are read by others, the rest is done here


def opened(
    path: Path, out: Path, options: AnalyzeOptions, act: Callable[[OpenImage], T]
) -> T | Outcome:
    """Return what is made of an image, or the outcome of its failure."""
    try:
        with open_image(path, max_megapixels=options.max_megapixels) as image:
            return act(image)
    except FAILURES as error:
        return failure(path, _reason(error, path, out))


def half_done(
    path: Path,
    out: Path,
    options: AnalyzeOptions,
    act: Callable[[OpenImage], Callable[[], Outcome] | Outcome],
) -> Callable[[], Outcome]:
    """Return what ends what is done with an image, which stays open until then."""
    with ExitStack() as stack:
        try:
            image = stack.enter_context(open_image(path, max_megapixels=options.max_megapixels))
            rest = act(image)
        except FAILURES as error:
            rest = failure(path, _reason(error, path, out))
        if isinstance(rest, Outcome):
            return partial(_as_is, rest)
        held = stack.pop_all()

    def finish() -> Outcome:
        try:
            with held:
                return rest()
        except FAILURES as error:
            return failure(path, _reason(error, path, out))

    return finish


def _as_is(outcome: Outcome) -> Outcome:
    return outcome


def take_up(predictor: Predictor, task: Bands | Task | Outcome) -> Any:
    """Return the outcome of an image that another process begun; one that is there stays.

    Of bands, what ``shared.read_bands`` returns.
    """
    if isinstance(task, Bands):
        with suppress(*FAILURES):  # whoever has no bands reads them, and tells why they cannot be
            return read_bands(partial(_reader, predictor), task)
        return None
    if isinstance(task, Outcome) or task.is_shared:
        return task
    work = partial(analyze_task, predictor, lambda share: None, task)
    return opened(task.path, task.out, task.options, work)


@lru_cache(maxsize=2)
def _reader(predictor: Predictor, options: PredictOptions) -> Predictor:
    return Predictor(predictor.model, options, name=predictor.name)


def start(model: str, options: PredictOptions) -> Callable[[Task | Outcome], Any]:
    return partial(take_up, Predictor.open(model, options))


def start_away(
    model: str, options: PredictOptions, card: ModelCard, working: Path, place: Path
) -> Callable[[Bands | Task | Outcome], Any]:
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

    def work(task: Bands | Task | Outcome) -> Any:
        if isinstance(task, Task):
            task = replace(task, identity=identity)
        return take_up(predictor, task)

    return work


def analyze_task(
    predictor: Predictor, step: Callable[[float], Any], task: Task, image: OpenImage
) -> Outcome:
    return look_task(predictor, step, task, image)()


def look_task(
    predictor: Predictor, step: Callable[[float], Any], task: Task, image: OpenImage
) -> Callable[[], Outcome]:
    """Find the cracks of an image; what is returned measures them and writes the results."""
    path, options, unfinished = task.path, task.options, place_to_go_on(task.folder)
    with _undone(unfinished):
        if image.info.sha256 != task.content:  # workers take it up later than it was begun
            raise ImageError(f"`{path.name}` changed since this run began with it; run again.")
        measured = look(image, predictor, options, step, unfinished)

    def finish() -> Outcome:
        with _undone(unfinished):
            report = measured()
            refuse_lost(task.out, task.identity)
            report = export(
                report, task.folder, image, options.exports,
                origin=origin_of(path), content=task.content,
            )  # fmt: skip
        shutil.rmtree(unfinished, ignore_errors=True)
        return outcome_of(path, task.folder, report_to_dict(report), "analyzed")

    return finish


@contextmanager
def _undone(unfinished: Path) -> Iterator[None]:
    """Remove what a killed run would go on from where the next run ends there, too."""
    try:
        yield
    except (ImageError, ScaleError, DataError):
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def failure(path: Path, reason: str) -> Outcome:
    row = failure_row(path, reason)
    return Outcome(path=path, status="failed", folder=None, row=row, reason=reason)


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
        row={**row_of_result(report, folder, status), "image": plain_path(path)},
        notices=tuple(report["warnings"]),
    )


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
