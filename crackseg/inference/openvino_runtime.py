"""OpenVINO, for Intel CPUs and GPUs; reads the same model.onnx. Needs the extra ``openvino``."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov

from crackseg.errors import ConfigError, ModelError
from crackseg.inference.models import GRAPHS, Model
from crackseg.inference.runtimes import Forward
from crackseg.records import Array

_NO_MEMORY = ("allocate", "bad_alloc", "out of memory", "out_of_resources")


def open_runtime(
    model: Model,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "float",
    lanes: int = 1,
) -> Forward:
    """Return a function from (n, h, w, 3) uint8 tiles to probability, see ``runtimes``.

    Raises:
        ConfigError: the device is not there.
        ModelError: model.onnx cannot be read.
    """
    core = ov.Core()
    name = device.upper()
    if name not in core.available_devices:
        raise ConfigError(
            f"`device` {device} is not there for the runtime `openvino`; expected one of "
            f"{', '.join(d.lower() for d in core.available_devices)}."
        )
    # full precision, so that a processor with bfloat16 gives the probe's answer too
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads and name == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    if lanes > 1 and name == "CPU":
        settings["NUM_STREAMS"] = lanes
    path = model.folder / GRAPHS[precision]
    try:
        compiled = core.compile_model(core.read_model(path), name, settings)
    except RuntimeError as error:
        raise ModelError(f"`{path}` cannot be opened: {str(error)[:300]}") from error

    idle: SimpleQueue[ov.InferRequest] = SimpleQueue()  # one serves one caller at a time
    for _ in range(lanes):
        idle.put(compiled.create_infer_request())

    def forward(tiles: Array) -> Array:
        request = idle.get()
        try:
            answer = request.infer({"image": np.ascontiguousarray(tiles)})["probability"]
        except RuntimeError as error:
            text = str(error)
            if any(sign in text.lower() for sign in _NO_MEMORY):
                raise MemoryError(text[:300]) from error
            raise ModelError(f"model `{model.card.name}` failed: {text[:300]}") from error
        else:
            return np.asarray(answer)
        finally:
            idle.put(request)

    return forward
