"""The runtimes by name: each opens a model folder and returns a function from tiles to probability.

A runtime is ``open_runtime(model, *, device, threads) -> forward``, where ``forward`` turns
(n, h, w, 3) uint8 RGB tiles into (n, h, w) float32 crack probability, or for a network that tells
other lines apart into (n, h, w, 2), crack first. It raises ``MemoryError``
when the device has no room for the batch, and ``ModelError`` when the device is not there: a
runtime never takes another device than the one asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from crackseg.names import look_up
from crackseg.records import Array

if TYPE_CHECKING:
    from crackseg.inference.models import Model

Forward = Callable[[Array], Array]

RUNTIMES = {
    "onnx": "crackseg.inference.onnx_runtime:open_runtime",
    "openvino": "crackseg.inference.openvino_runtime:open_runtime",
    "torch": "crackseg.inference.torch_runtime:open_runtime",
}
_EXTRAS = {"openvino": "openvino", "torch": "torch"}


@lru_cache(maxsize=4)  # a folder of photographs opens its models once
def open_forward(
    model: Model, *, runtime: str = "onnx", device: str = "cpu", threads: int | None = None
) -> Forward:
    """Return the forward function of ``model`` on a device.

    Args:
        model: a loaded model folder.
        runtime: name in ``RUNTIMES``.
        device: "cpu", or what the runtime calls an accelerator ("cuda", "cuda:1", "GPU").
        threads: CPU threads; None takes all cores.

    Raises:
        UnknownName: no such runtime.
        MissingExtra: the runtime's package is not installed.
        ModelError: the device is not there, or the runtime cannot read the model.
    """
    return find_runtime(runtime)(model, device=device, threads=threads)


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
