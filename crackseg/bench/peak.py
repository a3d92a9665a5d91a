"""The most multiplications a second that this machine reaches, in float and in 8 bit.

Run as a program it prints JSON, so that nothing else runs in the process that is measured. On a CPU
both are matrix products of ONNX Runtime, the runtime that is always there; on another device those
of torch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SIDES = {"cpu": 2048}  # of square matrices, to fill caches and cores
OTHER_SIDE = 8192  # a GPU's
_REPEATS = 5
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6  # element types of ONNX


def measure_peak(device: str, threads: int | None, side: int) -> dict[str, float]:
    """Return 1e9 operations a second by precision, a multiplication and an addition being two.

    Args:
        device: "cpu", or torch's name of an accelerator.
        threads: of a CPU; None: all that this process may use.
        side: rows and columns of the matrices.
    """
    products = _products(threads, side) if device == "cpu" else _torch_products(device, side)
    return {name: 2e-9 * side**3 / _fastest(run) for name, run in products.items()}


def _fastest(run: Callable[[], object]) -> float:
    """Return the shortest time of several: the peak is what the machine can do."""
    seconds = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _products(threads: int | None, side: int) -> dict[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    ones = rng.integers(0, 128, (side, side), dtype=np.uint8)
    floats = ones.astype(np.float32)
    graphs = {
        "float32": (matrix_product("MatMul", (_FLOAT, _FLOAT, _FLOAT), side), floats, floats),
        "int8": (
            matrix_product("MatMulInteger", (_UINT8, _INT8, _INT32), side),
            ones,
            ones.astype(np.int8),
        ),
    }
    return {name: _session(threads, *parts) for name, parts in graphs.items()}


def _session(threads: int | None, graph: bytes, a: Any, b: Any) -> Callable[[], object]:
    import onnxruntime as ort

    from crackseg.processors import cpu_count

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or cpu_count()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"a": a, "b": b})


def _torch_products(device: str, side: int) -> dict[str, Callable[[], object]]:
    import torch

    def of(kind: Any) -> Callable[[], object]:
        a, b = (torch.randint(0, 9, (side, side), device=device).to(kind) for _ in range(2))

        def run() -> None:
            _ = torch._int_mm(a, b) if kind == torch.int8 else a @ b
            torch.cuda.synchronize()

        return run

    kinds: Mapping[str, Any] = {
        "float32": torch.float32,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "int8": torch.int8,
    }
    return {name: of(kind) for name, kind in kinds.items()}


def matrix_product(kind: str, types: tuple[int, int, int], side: int) -> bytes:
    """Return the ONNX file of ``c = a @ b``, spelt out so that the package onnx is not needed.

    Args:
        kind: name of the operation.
        types: element types of a, b and c.
        side: rows and columns of each.

    Source: onnx.proto, IR version 8, operator set 13.
    """
    node = b"".join([_text(1, "a"), _text(1, "b"), _text(2, "c"), _text(4, kind)])
    a, b, c = (
        _text(1, name) + _part(2, _part(1, _number(1, element) + _part(2, _square(side))))
        for name, element in zip("abc", types, strict=True)
    )
    graph = b"".join(
        [_part(1, node), _text(2, "product"), _part(11, a), _part(11, b), _part(12, c)]
    )
    return _number(1, 8) + _part(7, graph) + _part(8, _number(2, 13))


def _square(side: int) -> bytes:
    return _part(1, _number(1, side)) * 2


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _part(field, value.encode())


def _part(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    print(json.dumps(measure_peak(request["device"], request["threads"], request["side"])))
