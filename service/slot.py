"""What runs inside the sandbox: these functions touch strangers' bytes and answer plain dicts.

They import late: the process that takes in uploads reads headers alone.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crackseg.config import AnalyzeOptions, PredictOptions, read_options
from crackseg.errors import (
    ConfigError,
    CracksegError,
    ImageError,
    ScaleError,
    UnsupportedImage,
)
from crackseg.records import ImageInfo, Report

if TYPE_CHECKING:
    from crackseg.imagery.files import OpenImage
    from crackseg.inference.predictor import Predictor

EXPORTS = ("json", "csv", "mask", "overlay", "geojson", "page")
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
            appears when all is done).
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

    verdicts = {int(number): Verdict(**said) for number, said in request["verdicts"].items()}
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


def _report_of(folder: Path, image: OpenImage) -> Report:
    """Return the report of an image as it is now: with what inspectors drew and changed."""
    from crackseg.corrections.apply import apply
    from crackseg.corrections.edits import read_edits
    from crackseg.corrections.results import FILE, find_card, network_folder
    from crackseg.exports.reading import read_report

    source = network_folder(folder)
    values = json.loads((source / "report.json").read_text(encoding="utf-8"))
    report = read_report(source, find_card(values))
    if source == folder:
        return report
    return apply(report, image, read_edits(folder / FILE, image.info.sha256))


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
    sync_tree(work / "result")
    target.parent.mkdir(parents=True, exist_ok=True)
    _place(work / "result", target)
    return report_row(report_to_dict(report), f"images/{target.name}", "analyzed")


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
    return str(error).replace(path, name).replace(Path(path).name, name)


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
