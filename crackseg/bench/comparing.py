"""Variants are run in turns, each in a process of its own, and their times are compared in pairs.

On a machine that does other work as well, times of runs that follow one another tell less than
their ratio: each round runs every variant once, and what is compared is the median of the ratios
within rounds.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg import __version__
from crackseg.bench import peak, worker
from crackseg.bench.variants import Variant
from crackseg.errors import CracksegError, ModelError
from crackseg.inference.models import load_model
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.processors import cpu_count, processor_name
from crackseg.records import ModelCard

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Photographs:
    """What is analyzed, at each turn anew."""

    paths: tuple[Path, ...]
    folder: Path  # for results, which are removed again


def render(folder: Path, megapixels: float, count: int) -> Photographs:
    """Write photographs of plain concrete with eight cracks each as JPEG files.

    Args:
        folder: where to.
        megapixels: of each, three to two in sides.
        count: how many.
    """
    height = max(round((megapixels * 1e6 / 1.5) ** 0.5), 64)
    shape = height, round(1.5 * height)
    paths = []
    for number in range(count):
        rng = np.random.default_rng(number)
        strokes = [
            wandering(
                (rng.uniform(0.1, 0.9) * shape[0], rng.uniform(0.1, 0.6) * shape[1]),
                rng.uniform(-60, 60), 0.3 * shape[1], rng.uniform(1.5, 6), rng,
            )
            for _ in range(8)
        ]  # fmt: skip
        picture = draw(shape, strokes, Look(), rng).picture
        paths.append(folder / f"bench_{number + 1:02}.jpg")
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
        paths[-1].write_bytes(data.tobytes())
    return Photographs(paths=tuple(paths), folder=folder)


def compare(
    variants: Sequence[Variant], photographs: Photographs, rounds: int, say: Say
) -> dict[str, Any]:
    """Run every variant once a round and return all figures as plain values.

    Raises:
        ModelError: a variant cannot be run; its last words are in the message.
    """
    first = variants[0].options["predict"]
    device = str(first.get("device", "cpu"))
    say("matrix products")
    ceiling = _ceiling(device, first.get("threads"))
    with ExitStack() as stack:
        turns = [stack.enter_context(_started(variant)) for variant in variants]
        runs: list[list[dict[str, Any]]] = [[] for _ in turns]
        for number in range(rounds + 1):  # the first is to warm up
            for turn, rows in zip(turns, runs, strict=True):
                say(f"round {number} of {rounds}: {turn.variant.name}")
                rows.append(turn.analyze(photographs))
        tiles = [turn.time_tiles() for turn in turns]
    results = [
        _sum_up(turn, rows[1:], of_tiles, ceiling)
        for turn, rows, of_tiles in zip(turns, runs, tiles, strict=True)
    ]
    for result, rows in zip(results, runs, strict=True):
        result["times_the_first"] = _ratio(rows[1:], runs[0][1:])
    return {
        "package_version": __version__,
        "machine": {
            "processor": processor_name(),
            "processors": cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "device": device,
        },
        "photographs": len(photographs.paths),
        "rounds": rounds,
        "peak_gflop_per_s": ceiling,
        "variants": results,
    }


class _Turn:
    """The process of a variant."""

    def __init__(self, variant: Variant, process: subprocess.Popen[str], log: Path) -> None:
        self.variant = variant
        self._process = process
        self._log = log
        self.version = self._answer()["version"]

    def analyze(self, photographs: Photographs) -> dict[str, Any]:
        """Return the figures of one run over the photographs."""
        paths = [str(path) for path in photographs.paths]
        return self._ask({"photographs": paths, "folder": str(photographs.folder)})

    def time_tiles(self) -> list[dict[str, float]]:
        """Return the figures of the bare forward pass by batch."""
        tiles: list[dict[str, float]] = self._ask({})["tiles"]
        return tiles

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline() if self._process.stdout else ""
        answer: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        if not answer or "failed" in answer:
            last = self._log.read_text("utf-8", "replace").strip().splitlines()[-1:]
            words = "".join(last).removeprefix("crackseg.errors.")[:300]
            reason = answer.get("failed") or words or "its process said nothing"
            raise ModelError(f"the variant `{self.variant.name}` cannot be run: {reason}")
        return answer


@contextmanager
def _started(variant: Variant) -> Iterator[_Turn]:
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "errors.txt"
        # -P: the modules beside the file must not hide others
        command = [variant.python, "-P", worker.__file__, json.dumps(variant.options)]
        with log.open("w") as errors, _program(command, errors) as process:
            yield _Turn(variant, process, log)


@contextmanager
def _program(command: list[str], errors: Any) -> Iterator[subprocess.Popen[str]]:
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    except OSError as error:
        raise ModelError(f"`{command[0]}` cannot be started: {error.strerror}.") from error
    with process:
        try:
            yield process
        finally:
            process.kill()


def _ceiling(device: str, threads: int | None) -> dict[str, float]:
    side = peak.SIDES.get(device, peak.OTHER_SIDE)
    question = json.dumps({"device": device, "threads": threads, "side": side})
    command = [sys.executable, "-m", "crackseg.bench.peak", question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        words = "".join(done.stderr.strip().splitlines()[-1:])
        raise ModelError(f"matrix products on `{device}` failed: {words[:300]}")
    ceiling: dict[str, float] = json.loads(done.stdout)
    return ceiling


def _sum_up(
    turn: _Turn,
    runs: Sequence[Mapping[str, Any]],
    tiles: list[dict[str, float]],
    ceiling: Mapping[str, float],
) -> dict[str, Any]:
    """Return the figures of one variant, medians over its runs."""
    wall_s = _median(runs, "wall_s")
    forward_s = statistics.median(run["stages_s"]["forward"] for run in runs)
    best = max(tiles, key=lambda tile: tile["megapixels_per_s"])
    megapixels = runs[0]["megapixels"]
    work = _gflop_per_megapixel(str(turn.variant.options.get("model", "default")))
    achieved = None if work is None else work * best["megapixels_per_s"]
    return {
        "variant": turn.variant.name,
        "package_version": turn.version,
        "options": runs[0]["options"],
        "megapixels": megapixels,
        "wall_s": wall_s,
        "wall_s_each": [run["wall_s"] for run in runs],
        "cpu_s": _median(runs, "cpu_s"),
        "megapixels_per_s": megapixels / wall_s,
        "peak_mb": max(run["peak_mb"] for run in runs),
        "share_by_stage": _shares(runs, wall_s),
        "times_the_forward_pass": wall_s / forward_s if forward_s else None,
        "forward": tiles,
        "gflop_per_megapixel": work,
        "achieved_gflop_per_s": achieved,
        "share_of_peak": None
        if achieved is None
        else {name: achieved / most for name, most in ceiling.items()},
        "cracks": runs[0]["cracks"],
        "length_px": runs[0]["length_px"],
    }


def _median(runs: Sequence[Mapping[str, Any]], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def _shares(runs: Sequence[Mapping[str, Any]], wall_s: float) -> dict[str, float]:
    """Return each stage's median share of the time; stages that overlap sum to more than one."""
    names = dict.fromkeys(name for run in runs for name in run["stages_s"])
    return {
        name: statistics.median(run["stages_s"].get(name, 0.0) for run in runs) / wall_s
        for name in names
    }


def _ratio(runs: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the median ratio to the first variant's time in the same round."""
    return {
        key: statistics.median(
            run[key] / other[key] for run, other in zip(runs, first, strict=True)
        )
        for key in ("wall_s", "cpu_s")
    }


def _gflop_per_megapixel(model: str) -> float | None:
    """Return 1e9 operations for a megapixel, or None where torch is not there to count them."""
    try:
        card: ModelCard = load_model(model).card
        return count_operations(card)
    except CracksegError:
        return None


def count_operations(card: ModelCard) -> float | None:
    """Return 1e9 multiplications and additions for a megapixel; None without torch or network."""
    try:
        from crackseg.networks import build
        from crackseg.networks.cost import measure_cost
    except ImportError:
        return None
    side = card.tile_px
    network = build(card.network, **card.network_arguments)
    return 2 * measure_cost(network, side, side).gmac / (side * side / 1e6)
