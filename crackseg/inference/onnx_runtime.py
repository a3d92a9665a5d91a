"""ONNX Runtime: the default, for CPUs and, with its GPU package, for CUDA and TensorRT.

TensorRT builds an engine for each shape of batch, which takes minutes; it is kept in the cache
folder of the user. What it cannot run CUDA does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from crackseg.cache import cache_folder
from crackseg.errors import ConfigError, ModelError
from crackseg.inference.models import GRAPHS, Model
from crackseg.inference.runtimes import Forward
from crackseg.processors import cpu_count
from crackseg.records import Array

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_OPEN_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_HINTS = {
    "cuda": " Install onnxruntime-gpu and a CUDA driver.",
    "tensorrt": " Install onnxruntime-gpu, a CUDA driver and TensorRT.",
}
_NO_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")


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
        ModelError: model.onnx cannot be read or does not keep the contract.
    """
    providers = _providers(device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = max((threads or cpu_count()) // lanes, 1)
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads sleep
    options.log_severity_level = 3  # errors only; what matters is raised
    path = model.folder / GRAPHS[precision]
    try:
        session = ort.InferenceSession(path, options, providers=providers)
    except _OPEN_ERRORS as error:
        raise ModelError(f"`{path}` cannot be opened: {str(error)[:300]}") from error
    # ONNX Runtime itself would go on with the next one
    if providers[0][0] not in session.get_providers():
        raise ConfigError(f"`device` {device} could not be started; its driver does not answer.")
    _check_contract(model, session)

    def forward(tiles: Array) -> Array:
        try:
            answer: Array = session.run(["probability"], {"image": np.ascontiguousarray(tiles)})[0]
        except _OPEN_ERRORS as error:
            text = str(error)
            if any(sign in text.lower() for sign in _NO_MEMORY):
                raise MemoryError(text[:300]) from error
            raise ModelError(f"model `{model.card.name}` failed: {text[:300]}") from error
        return answer

    return forward


def _providers(device: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what a session may run on, with its settings: what was asked for comes first."""
    kind, _, index = device.partition(":")
    there = {k: p for k, p in _PROVIDERS.items() if p in ort.get_available_providers()}
    if kind not in there or not (index == "" or index.isdigit()):
        hint = _HINTS.get(kind, "")
        raise ConfigError(
            f"`device` {device} is not there for the runtime `onnx`; expected one of "
            f"{', '.join(there)}.{hint}"
        )
    place = {"device_id": index} if index and kind != "cpu" else {}
    if kind != "tensorrt":
        return [(there[kind], place)]
    cache = cache_folder() / "tensorrt"
    cache.mkdir(parents=True, exist_ok=True)
    kept = {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(cache)}
    return [(there[kind], place | kept), (_PROVIDERS["cuda"], place)]


def _check_contract(model: Model, session: ort.InferenceSession) -> None:
    inputs = [(i.name, i.type, len(i.shape)) for i in session.get_inputs()]
    outputs = [(o.name, o.type, len(o.shape)) for o in session.get_outputs()]
    expected = [("image", "tensor(uint8)", 4)], [("probability", "tensor(float)", 3)]
    with_other_lines = expected[0], [("probability", "tensor(float)", 4)]
    if (inputs, outputs) not in (expected, with_other_lines):
        raise ModelError(
            f"model.onnx of `{model.card.name}` must map {expected[0]} to {expected[1]}, got "
            f"{inputs} to {outputs}; export the model again."
        )
