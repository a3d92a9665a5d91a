"""The process that is measured: it waits for a line on its input and answers with a line of JSON.

Every variant has one, so that runs can take turns and memory and threads are its own. It keeps to
what earlier releases have as well, since another release's interpreter may run this very file.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_TILES = 5  # passes over a batch of tiles that are timed
_MOST_TILES = 64
_GAIN = 1.03  # a batch twice as large must be so much faster for a larger one to be tried


def serve(values: dict[str, Any]) -> None:
    """Answer the lines on the standard input until it ends.

    Args:
        values: options of an analysis.
    """
    from crackseg import __version__, batch
    from crackseg.config import AnalyzeOptions, read_options

    options = read_options(AnalyzeOptions, values)
    _say({"version": __version__})
    for line in sys.stdin:
        request = json.loads(line)
        if "photographs" in request:
            paths = [Path(path) for path in request["photographs"]]
            with tempfile.TemporaryDirectory(dir=request["folder"]) as out:
                _say(_run(batch, paths, Path(out), options))
        else:
            _say({"tiles": list(_time_tiles(options))})


def _run(batch: Any, paths: list[Path], out: Path, options: Any) -> dict[str, Any]:
    start, cpu = time.perf_counter(), time.process_time()
    outcomes = batch.run(paths, out, options)
    times = {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    failed = [outcome.reason for outcome in outcomes if outcome.status != "analyzed"]
    if failed:
        return {"failed": failed[0]}
    reports = [json.loads((each.folder / "report.json").read_text("utf-8")) for each in outcomes]
    return {
        **times,
        "peak_mb": _peak_mb(),
        "megapixels": sum(r["image"]["height_px"] * r["image"]["width_px"] for r in reports) / 1e6,
        "stages_s": _sum(report["timing_s"] for report in reports),
        "cracks": sum(report["totals"]["cracks"] for report in reports),
        "length_px": sum(report["totals"]["length_px"] for report in reports),
        "options": reports[0]["options"]["predict"],
    }


def _sum(stages: Iterator[dict[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for each in stages:
        for name, seconds in each.items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _time_tiles(options: Any) -> Iterator[dict[str, float]]:
    """Yield seconds of the bare forward pass by batch; larger ones as long as they pay."""
    import numpy as np

    from crackseg.inference.predictor import Predictor

    predictor = Predictor.open(options.model, options.predict)
    opened = getattr(predictor, "open_here", None)  # earlier releases: by a name of their own
    device = options.predict.device
    forward = opened() if opened else getattr(predictor, "_forward_on")(device)  # noqa: B009
    lanes = getattr(predictor, "lanes_here", lambda: 1)()  # earlier releases read one at a time
    side = options.predict.tile_px or predictor.card.tile_px
    tile = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    batch, fastest = 1, 0.0
    while batch <= _MOST_TILES:
        try:
            seconds = _median_s(forward, np.repeat(tile, batch, axis=0), lanes)
        except MemoryError:
            return
        speed = batch * side * side / 1e6 / seconds
        yield {"batch": batch, "tile_px": side, "seconds": seconds, "megapixels_per_s": speed}
        if options.predict.device == "cpu" or speed < _GAIN * fastest:
            return
        batch, fastest = 2 * batch, max(fastest, speed)


def _median_s(forward: Any, tiles: Any, lanes: int) -> float:
    """Return the time of a call, of so many at a time."""
    seconds = []
    with ThreadPoolExecutor(lanes) as pool:
        for _ in range(_TILES + 1):
            start = time.perf_counter()
            list(pool.map(forward, [tiles] * lanes))
            seconds.append((time.perf_counter() - start) / lanes)
    return sorted(seconds[1:])[_TILES // 2]


def _peak_mb() -> float:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
