"""Which runtime and precision suit a model on this machine: checked by probes, chosen by time.

8 bit is taken where the processor multiplies bytes at once and the model's card says that it loses
next to nothing. Of several runtimes that give the probe's answer the faster one is taken; a few
tiles tell once for each model and machine, and a file in the user's cache folder remembers it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.cache import cache_folder
from crackseg.config import PredictOptions
from crackseg.errors import ConfigError, ModelError
from crackseg.inference.models import GRAPHS, Model, has_eight_bit
from crackseg.inference.runtimes import (
    HALF_TOLERANCE,
    PROBE_TOLERANCE,
    Forward,
    forward_on_probe,
    open_forward,
)
from crackseg.processors import cpu_count, has_byte_products, processor_name
from crackseg.records import Notice

LOSS_MAX = 0.005  # of the judge's score, for 8 bit to be taken unasked
_TILES = 3  # timed on each runtime, after one to warm up
_MOST_REMEMBERED = 200
_MOST_LANES = 4  # each takes 100 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A runtime that is open."""

    forward: Forward
    options: PredictOptions  # with the runtime and precision that were taken
    lanes: int  # threads that read at a time; 0: whoever asks reads by himself
    notices: tuple[Notice, ...] = ()


def choose(model: Model, options: PredictOptions) -> Chosen:
    """Open a model on the runtime and in the precision that ``options`` name or leave open.

    Raises:
        UnknownName, MissingExtra: the runtime is not known or not installed.
        ConfigError: the device is not there, or has no 8-bit graph.
        ModelError: the runtime cannot read the model, or 8 bit was asked for and is not there or
            does not give its probe's answer.
    """
    precision = _precision(model, options)
    notices: list[Notice] = []
    names = _runtimes(options)
    opened = dict(_sound(model, options, names, precision, notices))
    if not opened and precision == "int8" and options.precision == "auto":
        precision = "float"
        opened = dict(_sound(model, options, names, precision, notices))
    if not opened:
        other = "`--precision float`" if options.device == "cpu" else "`--device cpu`"
        raise ModelError(
            f"model `{model.card.name}` does not give its probe's answer in `{precision}` on "
            f"{', '.join(f'`{name}`' for name in names)} (`{options.device}`); take {other}, or "
            "run `crackseg selfcheck`."
        )
    name = next(iter(opened)) if len(opened) == 1 else _faster(model, options, precision, opened)
    resolved = replace(options, runtime=name, precision=precision)
    lanes = _lanes(name, options)
    return Chosen(forward=opened[name], options=resolved, lanes=lanes, notices=tuple(notices))


def _lanes(name: str, options: PredictOptions) -> int:
    """Return how many tiles a runtime reads at a time.

    On a CPU a thread for each tile does a quarter more than all threads on one: none waits for
    another. An accelerator reads one batch after the other.
    """
    if options.device != "cpu":
        return 1
    threads = options.threads or cpu_count()
    each = math.ceil(threads / _MOST_LANES)
    return threads // each if name != "torch" and threads > each else 0


def _precision(model: Model, options: PredictOptions) -> str:
    if options.precision == "auto":
        eight_bit = model.card.eight_bit
        suits = options.device == "cpu" and options.runtime != "torch" and has_byte_products()
        good = eight_bit is not None and eight_bit.loss <= LOSS_MAX
        return "int8" if suits and good and has_eight_bit(model.card) else "float"
    if options.precision == "int8" and not has_eight_bit(model.card):
        raise ModelError(
            f"model `{model.card.name}` has no 8-bit graph; take `--precision float`, or make one "
            "with `crackseg export --int8`."
        )
    if options.precision == "int8" and (options.device != "cpu" or options.runtime == "torch"):
        raise ConfigError(
            f"`precision` int8 is for the runtimes onnx and openvino on the CPU, got `runtime` "
            f"{options.runtime} on {options.device}; take `--precision float`."
        )
    return options.precision


def _runtimes(options: PredictOptions) -> list[str]:
    if options.runtime != "auto":
        return [options.runtime]
    with_openvino = options.device == "cpu" and importlib.util.find_spec("openvino") is not None
    return ["onnx", "openvino"] if with_openvino else ["onnx"]


def _sound(
    model: Model, options: PredictOptions, names: list[str], precision: str, notices: list[Notice]
) -> Iterator[tuple[str, Forward]]:
    """Yield the runtimes that give the probe's answer, open; what does not is noticed."""
    plain = precision == "float" and len(names) == 1 and options.device == "cpu"
    for name in names:
        try:
            forward = open_forward(
                model,
                runtime=name,
                device=options.device,
                threads=options.threads,
                precision=precision,
                lanes=max(_lanes(name, options), 1),
            )
            away = 0.0 if plain else forward_on_probe(model, forward, name, precision)
        except (ModelError, ImportError):  # ImportError: a package that is there and broken
            if len(names) == 1:
                raise
            away = float("inf")
        allowed = tolerance(model, precision, options.device)
        if away <= allowed:
            yield name, forward
        else:
            text = (
                f"{name} in {precision} is not used: its answer to the model's probe is off by "
                f"{away:.2g}, allowed {allowed:.2g}."
            )
            notices.append(Notice(code="runtime_refused", message=text))


def tolerance(model: Model, precision: str, device: str = "cpu") -> float:
    """Return the largest difference from the probe that is rounding."""
    if precision == "float" or model.card.eight_bit is None:
        return PROBE_TOLERANCE if device == "cpu" else HALF_TOLERANCE
    return model.card.eight_bit.probe_tolerance


def _faster(
    model: Model, options: PredictOptions, precision: str, opened: dict[str, Forward]
) -> str:
    """Return the fastest of the runtimes: as it is remembered, else by trying."""
    file = cache_folder() / "runtimes.json"
    key = _key(model, options, precision, list(opened))
    remembered = _read(file)
    name = remembered.get(key)
    if name not in opened:
        name = _try(opened, options.tile_px or model.card.tile_px)
        _write(file, {**dict(list(remembered.items())[-_MOST_REMEMBERED:]), key: name})
    return name


def _try(opened: dict[str, Forward], tile_px: int) -> str:
    """Return the runtime with the shortest time on a tile; they take turns."""
    tile = np.random.default_rng(0).integers(0, 256, (1, tile_px, tile_px, 3), dtype=np.uint8)
    shortest = dict.fromkeys(opened, float("inf"))
    for turn in range(_TILES + 1):
        for name, forward in opened.items():
            start = time.perf_counter()
            forward(tile)
            if turn:
                shortest[name] = min(shortest[name], time.perf_counter() - start)
    return min(shortest, key=lambda name: shortest[name])


def _key(model: Model, options: PredictOptions, precision: str, names: list[str]) -> str:
    from importlib.metadata import PackageNotFoundError, version

    versions = []
    for package in ("onnxruntime", "onnxruntime-gpu", "openvino"):
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    graph = model.card.sha256[GRAPHS[precision]]
    # Not the number of threads: in 8 bit runtimes differ by hundredths of a pixel, and the answer
    # of a machine shall not hang on how much of it may be used.
    facts: list[Any] = [graph, processor_name(), options.tile_px, names, versions]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read(file: Path) -> dict[str, str]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write(file: Path, values: dict[str, str]) -> None:
    """Write what is remembered; where that is not possible it is tried again next time."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        temporary.replace(file)
