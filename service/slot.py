"""What runs inside the sandbox: these functions touch strangers' bytes and answer plain dicts.

They import late: the process that takes in uploads reads headers alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crackseg.config import AnalyzeOptions, PredictOptions, read_options
from crackseg.errors import (
    ConfigError,
    CracksegError,
    DataError,
    ImageError,
    ScaleError,
    UnsupportedImage,
)
from crackseg.records import ImageInfo, Report

if TYPE_CHECKING:
    from crackseg.corrections.work import Memory
    from crackseg.imagery.files import OpenImage
    from crackseg.inference.predictor import Predictor

EXPORTS = ("json", "csv", "mask", "overlay", "geojson", "page")
_TO_PROGRAMS = "raise `max_megapixels` or cut the picture"  # in a refusal of a large photograph
_TO_SENDERS = "cut the picture, or ask for a higher `max_image_megapixels` of the service"
_HELD_PX = 64_000_000  # a larger photograph is opened anew for each edit
PHOTO_PX = 60_000_000  # as the overlay: a JPEG that every browser opens


def judge(request: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of an image's header, or ``error``: nothing is decoded.

    Args:
        request: `path`, `name`, `sha256` of the file, `max_megapixels`.
    """
    from crackseg.imagery.files import open_image

    path, limit = request["path"], request["max_megapixels"]
    try:
        with open_image(path, max_megapixels=limit, sha256=request["sha256"]) as image:
            info = image.info
    except ImageError as error:
        code = "unsupported" if isinstance(error, UnsupportedImage) else "unusable"
        return {"error": _renamed(error, path, request["name"]), "code": code}
    return {"width_px": info.width_px, "height_px": info.height_px, "format": info.format}


def get_ready_to_judge() -> None:
    """Import what ``judge`` needs."""
    import crackseg.imagery.files  # noqa: F401


def get_ready_to_analyze(model: str, predict: PredictOptions, threads: int) -> None:
    """Import what ``analyze_file`` needs and read the model; a broken one fails the image later."""
    import crackseg.exports.overlay
    import crackseg.pipeline  # noqa: F401

    with contextlib.suppress(CracksegError, OSError, MemoryError):
        _predictor(model, predict, threads)


def analyze_file(request: dict[str, Any], tell: Callable[[float], None]) -> dict[str, Any]:
    """Analyze an image and put its files in place; answer the survey's row, or ``code``, ``error``.

    Args:
        request: `path`, `name`, `sha256` of the file, `options` (all of them), `model`, `threads`
            (where the options name none), `work` (a folder to work in), `target` (the folder that
            appears when all is done), `edits` (of earlier analyses, to be done again; None: there
            was no earlier one).
        tell: called with the share done.
    """
    try:
        return {"row": _analyze(request, tell)}
    except ImageError as error:
        return {"code": "image", "error": _renamed(error, request["path"], request["name"])}
    except ScaleError as error:
        return {"code": "scale", "error": str(error)}
    except ConfigError as error:
        return {"code": "option", "error": str(error)}
    except MemoryError:
        return {"code": "memory", "error": "It needs more memory than one image may have."}
    except CracksegError as error:
        return {"code": "model", "error": str(error)}
    except OSError as error:
        return describe(error)
    finally:
        shutil.rmtree(request["work"], ignore_errors=True)


def write_papers(request: dict[str, Any]) -> dict[str, Any]:
    """Write the papers of an image with the verdicts on its cracks; answer nothing, or ``error``.

    Args:
        request: `path`, `name`, `sha256`, `max_megapixels` of the photograph, `folder` of its
            results, `verdicts` (number of a crack -> fields of a verdict), `with_rejected`,
            `work` (an empty folder), `target` (the folder that appears).
    """
    try:
        _write_papers(request)
    except (CracksegError, OSError) as error:
        text = str(error).replace(f"{request['folder']}/", "")
        return {"error": _renamed(text, request["path"], request["name"])}
    return {}


def _write_papers(request: dict[str, Any]) -> None:
    from crackseg.corrections.judging import judge as judged
    from crackseg.exports import find_exports
    from crackseg.imagery.files import open_image
    from crackseg.records import Verdict

    verdicts = {int(number): Verdict(**verdict) for number, verdict in request["verdicts"].items()}
    work, target, limit = Path(request["work"]), Path(request["target"]), request["max_megapixels"]
    fresh = work / "papers"
    fresh.mkdir()
    with open_image(request["path"], max_megapixels=limit, sha256=request["sha256"]) as image:
        image.info = _named(image.info, request["name"])
        report = _report_of(Path(request["folder"]), image)
        report = judged(report, verdicts, with_rejected=request["with_rejected"])
        for write in find_exports(("csv", "geojson", "overlay", "page")).values():
            write(report, fresh, image)
    target.parent.mkdir(exist_ok=True)
    _place(fresh, target)


def write_inspection(request: dict[str, Any]) -> dict[str, Any]:
    """Write the report of a survey as page, PDF and workbook; answer nothing, or ``error``.

    Args:
        request: `results` (a folder as `crackseg analyze` leaves it), `photographs` (a folder with
            the photographs by name), `locale`, `with_rejected`, `work` (an empty folder), `target`
            (the folder that appears).
    """
    from crackseg.reporting.command import write_report

    fresh, target = Path(request["work"]) / "report", Path(request["target"])
    try:
        write_report(
            Path(request["results"]),
            fresh,
            formats=("html", "pdf", "xlsx"),
            locale=request["locale"],
            photographs=Path(request["photographs"]),
            with_rejected=request["with_rejected"],
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        _place(fresh, target)
    except OSError as error:
        return describe(error)
    except CracksegError as error:
        return {"code": "report", "error": str(error).replace(request["results"], "the survey")}
    return {}


def get_ready_to_report() -> None:
    """Import what ``write_inspection`` needs."""
    import crackseg.reporting.command  # noqa: F401


def _report_of(folder: Path, image: OpenImage) -> Report:
    """Return the report of an image as it is now: with what inspectors drew and changed."""
    from crackseg.corrections.results import find_card, network_folder, read_result
    from crackseg.exports.reading import read_report

    source = network_folder(folder)
    report = read_report(source, find_card(read_result(source)))
    made = read_result(folder).get("corrections")
    return report if made is None else _redone(report, image, made["edits"])


def _redone(report: Report, image: OpenImage, listed: list[dict[str, Any]]) -> Report:
    from crackseg.corrections.apply import apply
    from crackseg.corrections.edits import parse_edits

    return apply(report, image, parse_edits(listed, "edits"), done_before=len(listed))


def describe(error: OSError) -> dict[str, Any]:
    """Return the answer that an error of the disk stands for."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return {"code": "disk_full" if full else "io", "error": error.strerror or "input/output"}


def _analyze(request: dict[str, Any], tell: Callable[[float], None]) -> dict[str, Any]:
    from crackseg.exports import overlay
    from crackseg.exports.survey import report_row
    from crackseg.exports.tables import report_to_dict
    from crackseg.folders import MARK
    from crackseg.imagery.files import open_image
    from crackseg.pipeline import analyze, export
    from service.storage import sync_tree
    from service.tiles import FILE as TILES
    from service.tiles import write_tiles

    options = read_options(AnalyzeOptions, request["options"])
    options = replace(options, exports=EXPORTS)
    predictor = _predictor(request["model"], options.predict, request["threads"])
    work, target = Path(request["work"]), Path(request["target"])
    limit, digest = options.max_megapixels, request["sha256"]
    with open_image(request["path"], max_megapixels=limit, sha256=digest) as image:
        image.info = _named(image.info, request["name"])
        report = analyze(image, predictor, options, _Progress(tell))
        report = export(report, work / "result", image, EXPORTS)
        picture, _ = overlay.read_reduced(report, image, PHOTO_PX)
        (work / "result" / MARK).unlink(missing_ok=True)  # all files there are the service's
        (work / "result" / "photo.jpg").write_bytes(overlay.to_jpeg(picture))
        write_tiles(image, work / "result" / TILES)
        if request["edits"] is not None:
            report = _with_edits(report, image, request["edits"], work / "result")
    sync_tree(work / "result")
    target.parent.mkdir(parents=True, exist_ok=True)
    _place(work / "result", target)
    return report_row(report_to_dict(report), f"images/{target.name}", "analyzed")


def get_ready_to_correct() -> None:
    """Import what ``correct_file`` needs."""
    import crackseg.corrections.results  # noqa: F401


def correct_file(request: dict[str, Any]) -> dict[str, Any]:
    """Do one edit on an image's results, or undo the last; answer ``code`` and ``error`` or {}.

    Args:
        request: `path`, `name`, `sha256` of the image, `max_megapixels`, `model`, `folder` (of its
            results), `work` (to work in), `add` (an edit or None), `drop` (the id of the edit to
            undo, "" for none), `before` (the file that gets the report before the edit, with `by`,
            the key that makes it: it is there until the rows say what the files say).
    """
    try:
        return _correct(request)
    except (DataError, ImageError) as error:
        text = str(error).replace(f"{request['folder']}/", "")
        if new := request["add"]:  # who sent it does not know the name that the service gave it
            text = text.replace(f"edit {new['id']} ({new['kind']})", new["kind"])
        return {"code": "edit", "error": _renamed(text, request["path"], request["name"])}
    except OSError as error:
        return describe(error)
    finally:
        shutil.rmtree(request["work"], ignore_errors=True)


def _correct(request: dict[str, Any]) -> dict[str, Any]:
    from crackseg.corrections import results
    from crackseg.corrections.apply import apply
    from crackseg.corrections.edits import parse_edits
    from crackseg.exports.reading import read_report
    from service.offers import OFFER
    from service.tiles import FILE as TILES

    memory = _memory()
    folder, work = Path(request["folder"]), Path(request["work"])
    with locked(folder):
        listed = (results.read_result(folder).get("corrections") or {"edits": []})["edits"]
        if request["drop"]:
            if not listed or listed[-1]["id"] != request["drop"]:
                return {"code": "not_last", "error": "Only the last edit can be undone."}
            listed = listed[:-1]
        if request["add"] and any(edit["id"] == request["add"]["id"] for edit in listed):
            return {}  # asked for again: its answer was lost
        edits = parse_edits([*listed, *([request["add"]] if request["add"] else [])], "edits")
        source = results.network_folder(folder)
        values = results.read_result(source)
        image = _photo(request["path"], request["sha256"], request["max_megapixels"])
        image.info = _named(image.info, request["name"])
        read = read_report(source, results.find_card(values, request["model"]))
        memory.about((source / "report.json").read_bytes())
        report = apply(read, image, edits, memory=memory, done_before=len(listed))
        (work / "fresh").mkdir(parents=True)
        if source == folder:
            (work / "own").mkdir()
            results.copy_missing(folder, work / "own", but=(TILES, OFFER))
            shutil.rmtree(folder / results.NETWORK, ignore_errors=True)
            (work / "own").rename(folder / results.NETWORK)
        if edits:
            results.write_files(report, work / "fresh", image, EXPORTS)
        results.copy_missing(folder / results.NETWORK, work / "fresh")
        _keep_before(Path(request["before"]), request["by"], results.read_result(folder), work)
        _replace_files(work / "fresh", folder)
        if not edits:
            shutil.rmtree(folder / results.NETWORK)
    if image.info.height_px * image.info.width_px > _HELD_PX:
        _photo.cache_clear()
    return {}


def _keep_before(path: Path, by: str, report: dict[str, Any], work: Path) -> None:
    """Keep what the rows of an image know of, until they are brought up to its files."""
    from crackseg.folders import write_json_file
    from service.storage import sync

    fresh = work / "before.json"
    write_json_file(fresh, {"id": work.name, "by": by, "report": report})
    sync(fresh)
    fresh.replace(path)
    sync(path.parent)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other servers on the same disk from correcting an image at the same time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@functools.lru_cache(maxsize=1)
def _memory() -> Memory:
    """Return what this process remembers of the edits of the result that it corrected last."""
    from crackseg.corrections.work import Memory

    return Memory()


@functools.lru_cache(maxsize=1)
def _photo(path: str, sha256: str, max_megapixels: float) -> OpenImage:
    """Return the photograph that was corrected last: edit follows edit on one."""
    from crackseg.imagery.files import open_image

    return open_image(path, max_megapixels=max_megapixels, sha256=sha256)


def _replace_files(fresh: Path, folder: Path) -> None:
    """Put corrected files in the place of others: the report last, for it says what was done."""
    from service.storage import sync, sync_tree

    sync_tree(fresh)
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == "report.json"):
        path.replace(folder / path.name)
    sync(folder)


def _with_edits(
    report: Report, image: OpenImage, edits: list[dict[str, Any]], folder: Path
) -> Report:
    """Correct fresh results by the edits of earlier analyses, as far as they mean something.

    What was offered and what of it was left out is kept beside the report: the next analysis tries
    those again, and nothing that somebody undid.
    """
    from crackseg.corrections import results
    from crackseg.corrections.apply import apply, with_left_out
    from crackseg.corrections.edits import parse_edits
    from service.offers import OFFER, Offer, write_offer
    from service.storage import sync_tree
    from service.tiles import FILE as TILES

    parsed = parse_edits(edits, "edits")
    after = apply(report, image, parsed, skip=True)
    done = {edit["id"] for edit in after.corrections.edits} if after.corrections else set()
    left_out = [edit for edit in parsed if edit.id not in done]
    write_offer(folder, Offer(edits=edits, left_out=[edit.id for edit in left_out]))
    if not edits:
        return report
    if after.corrections is not None:
        if left_out:  # they stay left out when another edit is made or undone
            results.write_files(with_left_out(report, left_out), folder, image, EXPORTS)
        (folder / results.NETWORK).mkdir()
        results.copy_missing(folder, folder / results.NETWORK, but=(TILES, OFFER))
        sync_tree(folder / results.NETWORK)
    results.write_files(after, folder, image, EXPORTS)
    return after


def _place(fresh: Path, target: Path) -> None:
    from service.storage import sync

    try:
        fresh.rename(target)
    except OSError as error:  # a process whose worker was killed came first: its files count
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    sync(target.parent)


@functools.lru_cache(maxsize=2)  # images of surveys and single ones, which get more threads
def _predictor(model: str, options: PredictOptions, threads: int) -> Predictor:
    """Return what this process predicts with; reports call the model what its card does."""
    from crackseg.inference.models import load_model
    from crackseg.inference.predictor import Predictor

    return Predictor(load_model(model), replace(options, threads=options.threads or threads))


def _named(info: ImageInfo, name: str) -> ImageInfo:
    """Return the facts with the name it was sent under: reports show no path of the service."""
    return replace(info, path=Path(name))


def _renamed(error: Exception | str, path: str, name: str) -> str:
    text = str(error).replace(path, name).replace(Path(path).name, name)
    return text.replace(_TO_PROGRAMS, _TO_SENDERS)


class _Progress:
    """Tell the worker the share done, a few times per second."""

    def __init__(self, tell: Callable[[float], None]) -> None:
        self._tell = tell
        self._last = 0.0

    def __call__(self, share: float) -> None:
        moment = time.monotonic()
        if moment - self._last > 0.2:
            self._last = moment
            self._tell(min(max(share, 0.0), 1.0))
