"""A model folder and a runtime -> seconds per megapixel and peak memory, in a process of its own.

A process of its own, since the peak of a process cannot be reset and the threads of two runtimes
disturb each other: ``python -m crackseg.training.speed MODEL_FOLDER RUNTIME TILE_PX``. Memory is
counted from where Python and the libraries of the runtime are loaded and the model is not.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crackseg.errors import ModelError
from crackseg.inference.models import load_model
from crackseg.inference.runtimes import find_runtime, open_forward
from crackseg.networks import find

REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What a forward pass costs on this machine."""

    s_per_megapixel: float  # median of ``REPEATS`` passes over one tile, after one to warm up
    peak_mb: float  # largest resident memory, above that of the process before it opened the model


def measure_speed(folder: Path, runtime: str, *, tile_px: int = 512) -> Speed:
    """Return the speed of a model, measured in a fresh process.

    Raises:
        ModelError: the process failed; its last words are in the message.
    """
    command = [sys.executable, "-m", "crackseg.training.speed", str(folder), runtime, str(tile_px)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        words = answer.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ModelError(f"`{folder.name}` cannot be timed on `{runtime}`: {words[0][:300]}")
    return Speed(**json.loads(answer.stdout.splitlines()[-1]))


def time_here(folder: Path, runtime: str, tile_px: int) -> Speed:
    """Return the speed of a model, measured in this process."""
    model = load_model(folder)
    _load_libraries(model.card.network, runtime)
    before = _peak_mb()
    forward = open_forward(model, runtime=runtime)
    tile = np.random.default_rng(0).integers(0, 256, (1, tile_px, tile_px, 3), dtype=np.uint8)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        forward(tile)
        seconds.append(time.perf_counter() - start)
    return Speed(
        s_per_megapixel=float(np.median(seconds[1:])) / (tile_px * tile_px / 1e6),
        peak_mb=_peak_mb() - before,
    )


def _load_libraries(network: str, runtime: str) -> None:
    find_runtime(runtime)
    if runtime == "torch":
        find(network)


def _peak_mb() -> float:
    """Return the largest resident memory of this program so far.

    Linux tells it in /proc; its ru_maxrss carries over what the parent held when it started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


if __name__ == "__main__":
    print(json.dumps(asdict(time_here(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
