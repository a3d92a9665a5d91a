"""The parts that several networks share: units of convolution, padding, pooling, un-pooling.

The un-pooling equals ``torch.nn.functional.max_unpool2d``, which no ONNX exporter knows. It is
written with comparisons and a pixel shuffle, which every runtime has; it is also the faster of
the two on a CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from crackseg.errors import ConfigError, ModelError, UnknownName
from crackseg.names import nearest

Tensor = Any


def scaled(channels: Sequence[int], width: float) -> list[int]:
    """Return channel numbers times ``width``, rounded, at least 1.

    Raises:
        ConfigError: ``width`` is not positive.
    """
    if not width > 0:
        raise ConfigError(f"`width` must be larger than 0, got {width}; 0.25 suits a CPU.")
    return [max(1, round(count * width)) for count in channels]


def stage(
    channels: Sequence[int], layer: Any = nn.Conv2d, kernel: int = 3, dropout: float = 0.0
) -> nn.Sequential:
    """Return len(channels) - 1 units of (de)convolution, batch normalisation and ReLU.

    The size is kept; weights start after He et al. 2015, which suits ReLU.

    Args:
        channels: of the input and after each unit.
        layer: ``nn.Conv2d`` or ``nn.ConvTranspose2d``.
        kernel: odd size.
        dropout: rate behind the last unit; 0 adds no layer.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(channels):
        convolution = layer(inputs, outputs, kernel, padding=kernel // 2)
        fan = "fan_in" if layer is nn.Conv2d else "fan_out"  # a transposed weight is turned
        nn.init.kaiming_normal_(convolution.weight, mode=fan, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []))


def bilinear_deconv(channels: int, stride: int, *, apart: bool = False) -> nn.ConvTranspose2d:
    """Return a trainable up-sampling by ``stride`` that starts as bilinear interpolation.

    ``apart``: each channel is made of itself alone.
    """
    groups = channels if apart else 1
    if stride == 1:
        return nn.ConvTranspose2d(channels, channels, 1, groups=groups)
    size = 2 * stride
    layer = nn.ConvTranspose2d(channels, channels, size, stride, stride // 2, groups=groups)
    ramp = 1 - (torch.arange(2 * stride) + 0.5 - stride).abs() / stride
    own = torch.ones(channels, 1) if apart else torch.eye(channels)
    with torch.no_grad():
        layer.weight.copy_(own[..., None, None] * ramp[:, None] * ramp)
        layer.bias.zero_()
    return layer


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Return (N, C, H, W) with the last row and column repeated until both sizes divide.

    While a model is exported nothing is padded: the caller of an exported model gives sizes that
    divide.
    """
    if torch.compiler.is_exporting() or torch.jit.is_tracing():
        return x
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def pool(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the 2x2 maximum of (N, C, 2h, 2w) and where it was.

    Returns:
        (N, C, h, w) maxima, and four (N, C, h, w) bool maps for the places top left, top right,
        bottom left, bottom right. Exactly one of the four is True; of equal values the first wins.
    """
    highest = F.max_pool2d(x, 2)
    free = torch.ones_like(highest, dtype=torch.bool)
    places = []
    for place in (x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2]):
        places.append((place == highest) & free)
        free = free & ~places[-1]
    return highest, (*places, free)


def unpool(x: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """Return (N, C, 2h, 2w) with each value of (N, C, h, w) at its place and 0 elsewhere.

    Args:
        x: values.
        places: of ``pool``; the number of channels must be that of ``x``.
    """
    spread = torch.stack([torch.where(place, x, 0.0) for place in places], 2)
    return F.pixel_shuffle(spread.flatten(1, 2), 2)


class AdaptiveMean(nn.Module):
    """``nn.AdaptiveAvgPool2d`` for graphs with free sizes: a product with two matrices of weights.

    The exporter unrolls torch's own layer for the size it traces and fails on every other.
    """

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__()
        self.rows, self.cols = rows, cols

    def forward(self, x: Tensor) -> Tensor:
        """Return the (N, C, rows, cols) means of (N, C, H, W)."""
        return _bins(x, x.shape[-2], self.rows) @ x @ _bins(x, x.shape[-1], self.cols).mT


def _bins(x: Tensor, size: int, count: int) -> Tensor:
    """Return (count, size) weights; bin k averages from floor(k size / count) to the next ceil."""
    place = torch.arange(size, device=x.device)
    number = torch.arange(count, device=x.device)[:, None]
    inside = (place >= number * size // count) & (place < -(-(number + 1) * size // count))
    return (inside.to(x.dtype) / inside.sum(1, keepdim=True)).to(x.dtype)


def free_sizes(network: nn.Module) -> nn.Module:
    """Replace adaptive means over several bins, in place, and return the network."""
    for name, child in list(network.named_children()):
        if isinstance(child, nn.AdaptiveAvgPool2d):
            size = child.output_size
            rows, cols = (size, size) if isinstance(size, int) else size
            if rows is not None and cols is not None and rows * cols > 1:
                setattr(network, name, AdaptiveMean(rows, cols))
        else:
            free_sizes(child)
    return network


def encoder_of(name: str, strides: Sequence[int], **how: Any) -> Any:
    """Return a timm model, with random weights, that gives its maps at some strides.

    Args:
        name: of timm.
        strides: of the maps, the finest first.
        how: which maps, for timm.

    Raises:
        UnknownName: timm has no such model.
        ConfigError: its maps have other strides, or it cannot give maps.
    """
    if not timm.is_model(name):
        known = nearest(name, timm.list_models())
        raise UnknownName(f"unknown `encoder` {name!r}; expected a timm model, as {known}.")
    fault = f"`encoder` must be a timm model with maps at strides {[*strides]}, got {name!r}"
    try:
        encoder = timm.create_model(name, pretrained=False, features_only=True, **how)
    except (TypeError, ValueError, RuntimeError, LookupError, AssertionError) as error:
        raise ConfigError(f"{fault}, which gives none ({error}).") from error
    got = encoder.feature_info.reduction()
    if list(got) != list(strides):
        raise ConfigError(f"{fault} with maps at {list(got)}.")
    return encoder


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Copy the tensors of a local file onto an encoder, by their names or else in their order.

    Args:
        encoder: a timm model, or one of segmentation-models-pytorch.
        path: safetensors, or a state dict of torch; what lies behind the encoder's tensors (a
            classifier) is left over.

    Raises:
        ModelError: the file is unreadable, or a tensor has another shape than its place.
    """
    own = {k: v for k, v in encoder.state_dict().items() if not k.endswith(_COUNTER)}
    source = {k: v for k, v in _read_tensors(path).items() if not k.endswith(_COUNTER)}
    if source.keys() != own.keys():
        if path.suffix == ".safetensors" or len(source) < len(own):
            missing = sorted(own.keys() - source.keys())[:1] or sorted(source.keys() - own.keys())
            raise ModelError(f"`encoder_weights` {path} do not fit: `{missing[0]}` differs.")
        source = dict(zip(own, source.values(), strict=False))
    for name, tensor in own.items():
        if tensor.shape != source[name].shape:
            raise ModelError(
                f"`encoder_weights` {path} do not fit: `{name}` must be {tuple(tensor.shape)}, "
                f"got {tuple(source[name].shape)}."
            )
        tensor.copy_(source[name])


_COUNTER = "num_batches_tracked"


_NO_TENSORS = (  # what readers raise of bytes that are no such file
    SafetensorError, UnpicklingError, EOFError, RuntimeError, ValueError, LookupError,
    AttributeError, TypeError,
)  # fmt: skip


def _read_tensors(path: Path) -> Mapping[str, Tensor]:
    state: Any = None
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(  # noqa: TID251 - the one door, tensors only
                path, map_location="cpu", weights_only=True
            )
    except OSError as error:
        raise ModelError(
            f"`encoder_weights` {path} cannot be read: {error.strerror or error}."
        ) from error
    except _NO_TENSORS:
        pass  # told below
    whole = isinstance(state, Mapping) and all(isinstance(t, torch.Tensor) for t in state.values())
    if not whole or not all(isinstance(name, str) for name in state):
        raise ModelError(
            f"`encoder_weights` {path} must be a table of tensors by name, as safetensors or a "
            "state dict that torch saved; save the encoder's `state_dict()`."
        )
    tensors: Mapping[str, Tensor] = state
    return tensors


class _PaddedConv(nn.Conv2d):
    """TensorFlow's SAME convolution for sizes that the stride divides: a fixed, uneven pad.

    timm computes this pad from the input size in Python, which no exporter traces for free sizes.
    """

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        total = max(kernel - stride, 0)
        before = total // 2
        x = F.pad(x, (before, total - before, before, total - before))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def pad_statically(module: nn.Module) -> None:
    """Give every convolution of a timm encoder a fixed pad, in place; see ``_PaddedConv``."""
    for child in module.modules():
        if type(child).__name__ == "Conv2dSame":
            child.__class__ = _PaddedConv
