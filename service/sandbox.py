"""What touches the bytes of strangers, in child processes with limits: a poisoned image dies alone.

``Sandbox`` is a pool of spawned processes. A task that crashes, eats its memory or hangs takes its
own process with it and nothing else. The functions below it run inside and answer plain dicts.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import multiprocessing
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from crackseg.config import PredictOptions
from crackseg.errors import ConfigError, CracksegError, ImageError, ScaleError
from crackseg.inference.models import Model, load_model
from crackseg.records import ImageInfo
from service.schemas import Options
from service.settings import MB

GATE_TIMEOUT_S = 20.0
EXPORTS = ("json", "csv", "mask", "overlay", "geojson", "page")
PHOTO_PX = 60_000_000  # as the overlay: a JPEG that every browser opens
_TASKS = 200  # a process is renewed after: what leaks stays small


class Stopped(Exception):
    """The caller asked to stop; the process was killed."""


class Died(Exception):
    """The process died: ``code`` says of what."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Sandbox:
    """Processes with limits that run one function each at a time."""

    def __init__(self, size: int, *, memory_mb: int, cpu_s: float) -> None:
        self._pool: Any = ProcessPool(
            max_workers=size,
            max_tasks=_TASKS,
            context=multiprocessing.get_context("spawn"),
            initializer=_prepare,
            initargs=(os.getpid(), memory_mb),
        )
        self._cpu_s = cpu_s

    def run(
        self, function: Callable[..., dict[str, Any]], *args: Any, timeout_s: float,
        tick: Callable[[], bool] = lambda: True, tick_s: float = 0.25,
    ) -> dict[str, Any]:  # fmt: skip
        """Return what ``function`` answers.

        Args:
            function: one of this module's.
            args: plain values.
            timeout_s: the process is killed after.
            tick: called every ``tick_s`` while it runs; False kills it.
            tick_s: seconds.

        Raises:
            Stopped: ``tick`` said so.
            Died: it crashed, ran out of memory, or took too long.
        """
        future: Any = self._pool.schedule(
            _limited, args=(self._cpu_s, function, *args), timeout=timeout_s
        )
        while not wait([future], timeout=tick_s).done:
            if not tick():
                future.cancel()
                raise Stopped
        if future.cancelled():
            raise Stopped
        try:
            answer: dict[str, Any] = future.result()
        except TimeoutError as error:
            raise Died("timeout", f"It took longer than {timeout_s:g} s.") from error
        except ProcessExpired as error:
            raise Died("crashed", "Its process died; the file may be damaged.") from error
        except MemoryError as error:
            raise Died("memory", "It needs more memory than one image may have.") from error
        return answer

    def warm_up(self, size: int, model: str) -> None:
        """Let every process import what it needs, before somebody waits for it."""
        for _ in range(size):
            self._pool.schedule(warm, args=(model,))

    def close(self) -> None:
        """Kill all processes."""
        self._pool.stop()
        self._pool.join()


def _prepare(parent: int, memory_mb: int) -> None:
    """Limit this process and tie its life to its parent's."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_mb * MB, memory_mb * MB))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the worker
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _limited(cpu_s: float, function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    return function(*args)


def judge(path: str, name: str, max_megapixels: float) -> dict[str, Any]:
    """Return the facts of an image's header, or ``error``: nothing is decoded."""
    from crackseg.imagery.files import open_image

    try:
        with open_image(path, max_megapixels=max_megapixels) as image:
            info = image.info
    except ImageError as error:
        code = "unsupported" if "told by content" in str(error) else "unusable"
        return {"error": _renamed(error, path, name), "code": code}
    return {"width_px": info.width_px, "height_px": info.height_px, "format": info.format}


def warm(model: str) -> None:
    """Import what an analysis needs and read the model."""
    import crackseg.exports.overlay
    import crackseg.pipeline  # noqa: F401

    _model(model)
    time.sleep(0.3)  # so that each process of the pool takes one


def analyze_file(request: dict[str, Any]) -> dict[str, Any]:
    """Analyze an image and put its files in place; answer the survey's row, or ``code``, ``error``.

    Args:
        request: `path`, `name`, `options`, `model`, `threads`, `max_megapixels`, `progress` (a file
            that the share done is written to), `work` (a folder to work in), `target` (the
            folder that appears when all is done).
    """
    try:
        return {"row": _analyze(request)}
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
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return {"code": "disk_full" if full else "io", "error": error.strerror or "input/output"}
    finally:
        shutil.rmtree(request["work"], ignore_errors=True)


def _analyze(request: dict[str, Any]) -> dict[str, Any]:
    from crackseg.exports import overlay
    from crackseg.exports.survey import report_row
    from crackseg.exports.tables import report_to_dict
    from crackseg.imagery.files import open_image
    from crackseg.pipeline import analyze, export
    from service.storage import sync_tree

    model = _model(request["model"])
    options = Options.model_validate(request["options"]).to_analyze_options()
    options = replace(
        options, model=model.card.name, exports=EXPORTS,
        predict=PredictOptions(threads=request["threads"]),
        max_megapixels=request["max_megapixels"],
    )  # fmt: skip
    work, target = Path(request["work"]), Path(request["target"])
    with open_image(request["path"], max_megapixels=request["max_megapixels"]) as image:
        image.info = _named(image.info, request["name"])
        report = analyze(image, model, options, _Progress(Path(request["progress"])))
        report = export(report, work / "result", image, EXPORTS)
        picture, _ = overlay.read_reduced(report, image, PHOTO_PX)
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


@functools.lru_cache(maxsize=2)
def _model(name_or_folder: str) -> Model:
    return load_model(name_or_folder)


def _named(info: ImageInfo, name: str) -> ImageInfo:
    """Return the facts with the name it was sent under: reports show no path of the service."""
    return replace(info, path=Path(name))


def _renamed(error: Exception, path: str, name: str) -> str:
    return str(error).replace(path, name).replace(Path(path).name, name)


class _Progress:
    """Write the share done to a file that the worker reads, a few times per second."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0.0

    def __call__(self, share: float) -> None:
        moment = time.monotonic()
        if moment - self._last > 0.2:
            self._last = moment
            with contextlib.suppress(OSError):  # a missed tick of a bar is no reason to fail
                self._path.write_text(f"{share:.4f}")
