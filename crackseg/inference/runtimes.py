"""The runtimes by name: each opens a model folder and returns a function from tiles to probability.

A runtime is ``open_runtime(model, *, device, threads, precision, lanes)`` gives ``forward``: it
turns (n, h, w, 3) uint8 RGB tiles into (n, h, w) float32 crack probability, or for a network that
tells other lines apart into (n, h, w, 2), crack first. It raises ``MemoryError``
when the device has no room for the batch, and ``ModelError`` when the device is not there: a
runtime never takes another device than the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crackseg.errors import ModelError
from crackseg.inference.models import Model, read_probe
from crackseg.names import look_up
from crackseg.records import Array

Forward = Callable[[Array], Array]

RUNTIMES = {
    "onnx": "crackseg.inference.onnx_runtime:open_runtime",
    "openvino": "crackseg.inference.openvino_runtime:open_runtime",
    "torch": "crackseg.inference.torch_runtime:open_runtime",
}
PROBE_TOLERANCE = 2e-3  # other processors and runtimes round differently; half a grey level of 255
HALF_TOLERANCE = 5e-3  # of products in half precision, as GPUs take them: at most 1.3 grey levels
_EXTRAS = {"openvino": "openvino", "torch": "torch"}


def open_forward(
    model: Model,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "float",
    lanes: int = 1,
) -> Forward:
    """Return the forward function of ``model`` on a device.

    Args:
        model: a loaded model folder.
        runtime: name in ``RUNTIMES``.
        device: "cpu", or what the runtime calls an accelerator ("cuda", "cuda:1", "GPU").
        threads: CPU threads; None takes all cores.
        precision: "float" or "int8".
        lanes: how many threads may call the function at a time, and share the CPU threads.

    Raises:
        UnknownName: no such runtime.
        MissingExtra: the runtime's package is not installed.
        ModelError: the device is not there, or the runtime cannot read the model.
    """
    opener = find_runtime(runtime)
    return opener(model, device=device, threads=threads, precision=precision, lanes=lanes)


def find_runtime(runtime: str) -> Callable[..., Forward]:
    """Return what opens models on a runtime; its library is loaded.

    Raises:
        UnknownName: no such runtime.
        MissingExtra: the runtime's package is not installed.
    """
    opener: Callable[..., Forward] = look_up(
        RUNTIMES, runtime, what="runtime", extra=_EXTRAS.get(runtime)
    )
    return opener


def check_probe(
    model: Model, runtime: str = "onnx", device: str = "cpu", precision: str = "float"
) -> float:
    """Return the largest difference between a runtime's answer to the probe and the expected one.

    A sound runtime stays below ``PROBE_TOLERANCE``, in 8 bit below what the card allows.

    Raises:
        ModelError: the probe is unreadable, or the answer has another shape or is not finite.
    """
    forward = open_forward(model, runtime=runtime, device=device, precision=precision)
    return forward_on_probe(model, forward, runtime, precision)


def forward_on_probe(model: Model, forward: Forward, runtime: str, precision: str) -> float:
    """Return the largest difference between the answer of what is open and the expected one.

    Raises:
        ModelError: the probe is unreadable, or the answer has another shape or is not finite.
    """
    image, expected = read_probe(model.folder, precision)
    answer = forward(image)
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        raise ModelError(
            f"model `{model.card.name}` on `{runtime}` must answer the probe with finite values "
            f"of shape {expected.shape}, got {answer.shape}; export the model again."
        )
    return float(np.abs(answer - expected).max())
