"""A model folder and a runtime -> seconds per megapixel and peak memory, in a process of its own.

A process of its own, since the peak of a process cannot be reset and the threads of two runtimes
disturb each other: ``python -m crackseg.training.speed MODEL_FOLDER RUNTIME TILE_PX``.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from crackseg.errors import ModelError
from crackseg.inference.models import load_model
from crackseg.inference.runtimes import open_forward

REPEATS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What a forward pass costs on this machine."""

    s_per_megapixel: float  # median of ``REPEATS`` passes over one tile, after one to warm up
    peak_mb: float  # largest resident memory of the process, Python and runtime included


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
    forward = open_forward(load_model(folder), runtime=runtime)
    tile = np.random.default_rng(0).integers(0, 256, (1, tile_px, tile_px, 3), dtype=np.uint8)
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        forward(tile)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Speed(
        s_per_megapixel=float(np.median(seconds[1:])) / (tile_px * tile_px / 1e6),
        peak_mb=peak / (2**20 if sys.platform == "darwin" else 2**10),  # bytes there, KiB here
    )


if __name__ == "__main__":
    print(json.dumps(asdict(time_here(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))))
