"""An exported graph is rewritten to hold the trained tensors themselves, under their own names.

The exporter multiplies each convolution's weights by its normalisation. Here they become float16
weights and the four vectors of the normalisation again, with the arithmetic between as nodes: a
runtime does it once, when it opens the graph. So the file is half as large, and a training can go
on from it (``crackseg.inference.weights`` reads it back).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from crackseg.inference.weights import PREFIX
from crackseg.records import Array
from crackseg.training.joins import drop_unused

_VECTORS = ("weight", "bias", "running_mean", "running_var")  # of a normalisation
_CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}  # what rounding in another order may do


@dataclass(frozen=True, slots=True)
class _Folded:
    """A convolution into which the exporter multiplied its normalisation; names in the graph."""

    weight: str
    bias: str  # where the folded one is; the convolution's own has the same name, if there is one
    norm: str
    epsilon: float
    has_own_bias: bool


def store_trained(model: onnx.ModelProto, network: torch.nn.Module, side: int) -> None:
    """Rewrite a graph so that it holds a network's tensors; what does not fit stays as it is.

    Args:
        model: as exported, with the network's tensors under ``PREFIX`` and their names; it is
            changed in place.
        network: (N, 3, H, W) in, in evaluation mode.
        side: that the network can take.
    """
    trained = {f"{PREFIX}{name}": each.numpy() for name, each in network.state_dict().items()}
    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    folded = {each.weight: each for each in _folded(network, side)}
    writer = _Writer(trained)
    for name, values in stored.items():
        if name in trained and np.array_equal(trained[name], values):
            writer.replaced[name] = writer.hold(name)
        elif name in folded and _is_product(folded[name], stored, trained):
            writer.unfold(folded[name])
    writer.put_before(model.graph)


def _folded(network: torch.nn.Module, side: int) -> list[_Folded]:
    """Return the convolutions that feed one normalisation and nothing of another's."""
    makers: dict[int, tuple[str, Any, Any]] = {}  # by the identity of a map, which is held
    pairs: list[_Folded] = []

    def makes(name: str) -> Any:
        return lambda conv, _, answer: makers.update({id(answer): (name, conv, answer)})

    def reads(name: str) -> Any:
        def note(norm: Any, maps: Any) -> None:
            if id(maps[0]) in makers:
                conv, module, _ = makers[id(maps[0])]
                own = module.bias is not None
                bias = f"{conv}.bias" if own else f"{conv}.weight_bias"  # as the exporter calls it
                pairs.append(_Folded(f"{conv}.weight", bias, name, norm.eps, own))

        return note

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            hooks.append(module.register_forward_hook(makes(f"{PREFIX}{name}")))
        elif isinstance(module, torch.nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(reads(f"{PREFIX}{name}")))
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    for hook in hooks:
        hook.remove()
    uses = Counter(each.weight for each in pairs)
    return [each for each in pairs if uses[each.weight] == 1]


def _is_product(conv: _Folded, stored: Mapping[str, Array], trained: Mapping[str, Array]) -> bool:
    """Return whether a graph holds just the product of a convolution and its normalisation."""
    names = [f"{conv.norm}.{end}" for end in _VECTORS]
    if conv.bias not in stored or any(name not in trained for name in names):
        return False
    gamma, beta, mean, variance = (trained[name] for name in names)
    factor = gamma / np.sqrt(variance + np.float32(conv.epsilon))
    own_bias = trained[conv.bias] if conv.has_own_bias else 0
    weight = trained[conv.weight] * factor.reshape(-1, 1, 1, 1)
    pairs = (weight, stored[conv.weight]), (beta + (own_bias - mean) * factor, stored[conv.bias])
    return all(
        ours.shape == theirs.shape and np.allclose(ours, theirs, **_CLOSE) for ours, theirs in pairs
    )


class _Writer:
    """Constants, and nodes that come before those of a graph."""

    def __init__(self, trained: Mapping[str, Array]) -> None:
        self.trained = trained
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.replaced: dict[str, str] = {}  # a graph's constant -> what its nodes read instead

    def hold(self, name: str) -> str:
        """Hold a trained tensor, in float16 where it fits; return what is to be read for it."""
        values = self.trained[name]
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        fits = values.ndim > 1 and np.array_equal(halves.astype(values.dtype), values)
        self._constant(name, halves if fits else values)
        return self._node("Cast", [name], "float", to=TensorProto.FLOAT) if fits else name

    def unfold(self, conv: _Folded) -> None:
        """Hold a convolution's trained tensors and its normalisation's, and multiply them."""
        gamma, beta, mean, variance = (self.hold(f"{conv.norm}.{end}") for end in _VECTORS)
        epsilon = self._constant(f"epsilon:{conv.epsilon:g}", np.float32(conv.epsilon))
        inner = self._constant("axes:inner", np.array([1, 2, 3], np.int64))
        deviation = self._node("Sqrt", [self._node("Add", [variance, epsilon], "sum")], "root")
        factor = self._node("Div", [gamma, deviation], "factor")
        by_channel = self._node("Unsqueeze", [factor, inner], "by_channel")
        weight = self.hold(conv.weight)
        self.replaced[conv.weight] = self._node("Mul", [weight, by_channel], "scaled")
        if conv.has_own_bias:
            mean = self._node("Sub", [mean, self.hold(conv.bias)], "away")
        shift = self._node("Mul", [mean, factor], "shift")
        self.replaced[conv.bias] = self._node("Sub", [beta, shift], "offset")

    def put_before(self, graph: Any) -> None:
        """Put all into a graph."""
        for node in graph.node:
            node.input[:] = [self.replaced.get(name, name) for name in node.input]
        nodes = [*self.nodes, *graph.node]
        constants = {each.name: each for each in graph.initializer} | self.constants
        del graph.node[:], graph.initializer[:]
        graph.node.extend(nodes)
        graph.initializer.extend(constants.values())
        drop_unused(graph)

    def _constant(self, name: str, values: Any) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _node(self, kind: str, of: list[str], end: str, **more: Any) -> str:
        """Add a node and return the name of its output: that of its first input with an end."""
        out = f"{of[0]}:{end}"
        self.nodes.append(helper.make_node(kind, of, [out], name=out, **more))
        return out
