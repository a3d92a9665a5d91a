"""A function of tensors -> the same function, recorded once on a GPU and replayed from then on.

One step of a small network is a thousand short kernels, and Python takes longer to launch them than
the GPU to run them. A CUDA graph launches all at once: the same kernels in the same order, so that
the result is the same to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = Any
WARM_UP = 3  # calls before the recording: libraries choose and reserve what they need


class Recorded:
    """Calls a function, from the fourth time on by a replay of what it launches on the GPU.

    The function must launch the same work at every call, for inputs of the same shapes, and must
    not ask for a value on the way. What it changes it changes in place.

    Args:
        function: tensors -> a tensor without a graph of gradients, or None.
        records: False calls it each time.
    """

    def __init__(self, function: Callable[..., Tensor], *, records: bool) -> None:
        self.function, self.records = function, records
        self.calls = 0
        self.graph: Any = None
        self.inputs: tuple[Tensor, ...] = ()
        self.result: Tensor = None

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the function gives for ``inputs``; valid until the next call."""
        if not self.records:
            return self.function(*inputs)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._beside(*inputs)
        if self.graph is None:
            self._record(*inputs)
        for own, each in zip(self.inputs, inputs, strict=True):
            own.copy_(each, non_blocking=True)
        self.graph.replay()
        return self.result

    def _beside(self, *inputs: Tensor) -> Tensor:
        """Call the function on a stream of its own, as a recording demands of what precedes it."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = self.function(*inputs)
        current.wait_stream(stream)
        return result

    def _record(self, *inputs: Tensor) -> None:
        self.inputs = tuple(torch.empty_like(each, device="cuda").copy_(each) for each in inputs)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.function(*self.inputs)
