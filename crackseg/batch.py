"""Many image files become a folder of reports and a survey; one bad file never stops the others.

An image whose report exists with the same content, model and options is not analyzed again, so
that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import errno
import glob
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from crackseg import __version__
from crackseg.config import AnalyzeOptions, to_plain
from crackseg.errors import ConfigError, ImageError, ModelError, ScaleError
from crackseg.exports import find_exports
from crackseg.exports.survey import failure_row, report_row, write_survey
from crackseg.exports.tables import model_to_dict, report_to_dict
from crackseg.imagery.files import OpenImage, open_image
from crackseg.inference.models import Model, load_model, thresholds
from crackseg.inference.screening import load_classifier, screening_card
from crackseg.pipeline import SCHEMA_VERSION, analyze, export

SUFFIXES = {".jpg", ".jpeg", ".mpo", ".png", ".tif", ".tiff"}  # looked for in folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one image."""

    path: Path
    status: Literal["analyzed", "unchanged", "failed"]
    folder: Path | None  # None when it failed
    row: Mapping[str, Any]  # its row in the survey
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What is told to whoever watches a batch."""

    begin: Callable[[int], object] = lambda count: None
    step: Callable[[Path, float], None] = lambda path, share: None
    end: Callable[[Outcome], object] = lambda outcome: None


def find_inputs(inputs: Iterable[str | Path], out: Path | None = None) -> list[Path]:
    """Return the image files that files, folders and patterns name, each once, in stable order.

    Folders are searched with everything below them; hidden files and ``out`` are left out. A file
    named directly is kept whatever its suffix, its content decides.

    Raises:
        ConfigError: an input names nothing, or a folder holds no image.
    """
    found: dict[Path, Path] = {}
    for given in inputs:
        for path in _expand(str(given), out):
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _expand(given: str, out: Path | None) -> list[Path]:
    path = Path(given)
    if path.is_dir():
        files = sorted(file for file in _images_below(path, out))
        if not files:
            raise ConfigError(
                f"folder `{given}` holds no image; expected {', '.join(sorted(SUFFIXES))} files."
            )
        return files
    if path.exists() or not glob.has_magic(given):
        return [path]  # one that does not exist is a failed image: the others go on
    files = sorted(Path(match) for match in glob.glob(given, recursive=True))  # noqa: PTH207
    files = [file for file in files if file.is_file()]
    if not files:
        raise ConfigError(f"pattern `{given}` matches no file.")
    return files


def _images_below(folder: Path, out: Path | None) -> Iterator[Path]:
    hidden = None if out is None else out.resolve()
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in SUFFIXES or any(p.startswith(".") for p in inside.parts):
            continue
        if path.is_file() and (hidden is None or hidden not in path.resolve().parents):
            yield path


def run(
    paths: Sequence[Path],
    out: Path,
    options: AnalyzeOptions,
    *,
    overwrite: bool = False,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Analyze images one after the other and write their folders and the survey into ``out``.

    Args:
        paths: image files, from ``find_inputs``.
        out: made if need be.
        options: everything that may be chosen.
        overwrite: analyze again what is already there.
        listener: is told of progress.

    Raises:
        ConfigError, UnknownName, MissingExtra: an option, the model's or an export's name.
        ModelError: the model folder is broken.
        OSError: ``out`` cannot be written.
    """
    listener = listener or Listener()
    find_exports(options.exports)
    model = load_model(options.model)
    if options.predict.screen:
        load_classifier.cache_clear()  # the folder may hold another one than at the last run
        load_classifier(options.predict.screen)  # a wrong folder fails the run, not every image
    _make_folder(out)
    started = datetime.now(UTC)
    listener.begin(len(paths))
    outcomes: list[Outcome] = []
    taken: set[str] = set()
    for path in paths:
        outcome = _one(path, out, _Job(model, options, overwrite, taken, listener))
        listener.end(outcome)
        outcomes.append(outcome)
    if len(outcomes) > 1 or any(outcome.status == "failed" for outcome in outcomes):
        about = _about(model, options, started)
        gallery = "page" in options.exports
        write_survey([outcome.row for outcome in outcomes], about, out, gallery=gallery)
    return outcomes


@dataclass(frozen=True, slots=True)
class _Job:
    """What is the same for every image of a run."""

    model: Model
    options: AnalyzeOptions
    overwrite: bool
    taken: set[str]  # folder names given away in this run
    listener: Listener


def _one(path: Path, out: Path, job: _Job) -> Outcome:
    try:
        with open_image(path, max_megapixels=job.options.max_megapixels) as image:
            folder = _folder_for(image, out, job.taken)
            job.taken.add(folder.name)
            earlier = None if job.overwrite else _read_report(folder)
            if earlier and _is_current(earlier, image, job):
                row = report_row(earlier, folder.name, "unchanged")
                return Outcome(path=path, status="unchanged", folder=folder, row=row)
            report = analyze(
                image, job.model, job.options, lambda share: job.listener.step(path, share)
            )
            report = export(report, folder, image, job.options.exports)
    except (ImageError, ScaleError, ModelError, OSError, MemoryError) as error:
        reason = _reason(error, out)
        row = failure_row(path, reason)
        return Outcome(path=path, status="failed", folder=None, row=row, reason=reason)
    row = report_row(report_to_dict(report), folder.name, "analyzed")
    return Outcome(path=path, status="analyzed", folder=folder, row=row)


def _folder_for(image: OpenImage, out: Path, taken: set[str]) -> Path:
    """Return the folder of an image: named by its stem unless another image has that name.

    A folder of an earlier run belongs to the image whose path or content its report names.
    """
    path = image.info.path
    for name in _names(path):
        folder = out / name
        if name in taken:
            continue
        earlier = _read_report(folder)
        if not folder.exists() or earlier is None:
            return folder
        known = earlier["image"]
        if known["path"] == str(path) or known["sha256"] == image.info.sha256:
            return folder
    raise ConfigError(f"`{out}` has no free folder name for `{path}`; choose another folder.")


def _names(path: Path) -> Iterator[str]:
    stem = path.stem.strip(". ") or "image"
    yield stem
    parent = path.resolve().parent.name
    if parent:
        yield f"{parent}_{stem}"
    yield f"{stem}_{path.suffix.lstrip('.').lower()}"
    for number in range(2, 10_000):
        yield f"{stem}_{number}"


def _read_report(folder: Path) -> dict[str, Any] | None:
    """Return the report of an earlier run, or None where there is none of this schema."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(report, dict) and report.get("schema_version") == SCHEMA_VERSION
    return report if fits else None


def _is_current(report: Mapping[str, Any], image: OpenImage, job: _Job) -> bool:
    """Return whether a report says what a new analysis would say."""
    options, card = job.options, job.model.card
    return bool(
        report["package_version"] == __version__
        and report["image"]["sha256"] == image.info.sha256
        and report["model"] == model_to_dict(card, thresholds(options.mask, card))
        and report.get("screen") == model_to_dict(screening_card(options.predict), None)
        and report["options"] == json.loads(json.dumps(to_plain(options)))
    )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"`--out {out}` cannot be written: {error.strerror}; choose another folder."
        ) from error


def _reason(error: BaseException, out: Path) -> str:
    """Return why an image failed, as a sentence."""
    if isinstance(error, MemoryError):
        return "The picture needs more memory than there is."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full: `{out}` has no room for the results; free some and run again."
    if isinstance(error, OSError) and not isinstance(error, ImageError):
        return f"`{error.filename or out}` cannot be written: {error.strerror}."
    return str(error)


def _about(model: Model, options: AnalyzeOptions, started: datetime) -> dict[str, Any]:
    card = model.card
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
