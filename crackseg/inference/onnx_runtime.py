"""ONNX Runtime: the default, for CPUs and, with its GPU package, for CUDA."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from crackseg.errors import ConfigError, ModelError
from crackseg.inference.models import GRAPHS, Model
from crackseg.inference.runtimes import Forward
from crackseg.processors import cpu_count
from crackseg.records import Array

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OPEN_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_NO_MEMORY = ("failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")


def open_runtime(
    model: Model, *, device: str = "cpu", threads: int | None = None, precision: str = "float"
) -> Forward:
    """Return a function from (n, h, w, 3) uint8 tiles to probability, see ``runtimes``.

    Raises:
        ConfigError: the device is not there.
        ModelError: model.onnx cannot be read or does not keep the contract.
    """
    provider = _provider(device)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cpu_count()
    options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads sleep
    options.log_severity_level = 3  # errors only; what matters is raised
    path = model.folder / GRAPHS[precision]
    try:
        session = ort.InferenceSession(path, options, providers=[provider])
    except _OPEN_ERRORS as error:
        raise ModelError(f"`{path}` cannot be opened: {str(error)[:300]}") from error
    name = provider if isinstance(provider, str) else provider[0]
    if name not in session.get_providers():  # ONNX Runtime itself would go on with the CPU
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


def _provider(device: str) -> str | tuple[str, dict[str, str]]:
    kind, _, index = device.partition(":")
    providers = {k: p for k, p in _PROVIDERS.items() if p in ort.get_available_providers()}
    if kind not in providers or not (index == "" or index.isdigit()):
        hint = " Install onnxruntime-gpu and a CUDA driver." if kind == "cuda" else ""
        raise ConfigError(
            f"`device` {device} is not there for the runtime `onnx`; expected one of "
            f"{', '.join(providers)}.{hint}"
        )
    return (providers[kind], {"device_id": index}) if index and kind == "cuda" else providers[kind]


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
