"""CDDS: encoder-decoder with un-pooling by index and four supervised skip branches.

The layer table of the article is not public. What is known (15 convolutions and 4 poolings, 15
deconvolutions and 4 un-poolings, 4 skip branches of a 1x1 convolution and a deconvolution, each
with a loss of its own, batch normalisation, dropout, softmax over crack and background) leaves
choices open; the defaults are the readings argued for in ``docs/networks.md``, and each doubtful
one is a switch.

Source: Feng et al., Automatic Pixel-Level Crack Detection on Dam Surface Using Deep Convolutional
Network, Sensors 2020, 20(7):2069.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from crackseg.networks.arguments import Dropout, FiveDepths, Width
from crackseg.networks.layers import (
    bilinear_deconv,
    pad_to_multiple,
    pool,
    scaled,
    stage,
    unpool,
)

Tensor = Any
Upsample = Literal["index", "nearest", "bilinear"]
CHANNELS = (64, 128, 256, 512, 512)  # of the five stages, at width 1


def cdds(
    width: Width = 1.0,
    stage_depths: FiveDepths = (3, 3, 3, 3, 3),
    deconv_kernel: Literal[1, 3] = 3,
    upsample: Upsample = "index",
    skip: bool = True,
    predict_from: Literal["fused", "main"] = "fused",
    dropout: Dropout = 0.5,
) -> nn.Module:
    """Return the CDDS network with random weights.

    Args:
        width: factor on all channel numbers; 0.25 trains on a CPU.
        stage_depths: convolutions in each of the five encoder stages, mirrored in the decoder.
            (2, 2, 3, 3, 5) and (2, 2, 3, 4, 4) also make the 15 of the article.
        deconv_kernel: the source's "1*1" is read as the stride; 1 reads it as the kernel.
        upsample: un-pooling by the index of the maximum, or interpolation.
        skip: False removes the four branches and the fusion.
        predict_from: the fused map, or the main head alone (the branches then only teach).
        dropout: rate at the two deepest stages of encoder and decoder.

    Example:
        >>> cdds(width=0.125).eval()(torch.zeros(1, 3, 33, 50)).shape
        torch.Size([1, 1, 33, 50])
    """
    channels = scaled(CHANNELS, width)
    return Cdds(channels, stage_depths, deconv_kernel, upsample, skip, predict_from, dropout)


class Cdds(nn.Module):
    """See ``cdds``; every head has two channels (background, crack), their difference is the logit.

    A softmax over two classes is the sigmoid of that difference.
    """

    multiple = 16

    def __init__(
        self,
        channels: Sequence[int],
        depths: Sequence[int],
        kernel: int,
        upsample: Upsample,
        skip: bool,
        predict_from: str,
        dropout: float,
    ) -> None:
        super().__init__()
        self.upsample, self.fused = upsample, skip and predict_from == "fused"
        above = [channels[0], *channels[:4]]  # channels each decoder stage hands up
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for k, depth in enumerate(depths):
            drop = dropout if k >= 3 else 0.0
            start = 3 if k == 0 else channels[k - 1]
            self.down.append(stage([start, *[channels[k]] * depth], nn.Conv2d, 3, drop))
            line = [*[channels[k]] * depth, above[k]]
            self.up.append(stage(line, nn.ConvTranspose2d, kernel, drop))
        self.main = nn.Conv2d(channels[0], 2, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels[k] + above[k], 2, 1), bilinear_deconv(2, 2**k))
            for k in range(4 if skip else 0)
        )
        self.fuse = nn.Conv2d(10, 2, 1) if self.fused else None

    def forward(self, x: Tensor) -> Any:
        """Return (N, 1, H, W) logits; in training mode a tuple (final, S1, S2, S3, S4)."""
        height, width = x.shape[-2:]
        deep, maps, places = pad_to_multiple(x, self.multiple), [], []
        for k, units in enumerate(self.down):
            deep = units(deep)
            if k < 4:
                maps.append(deep)
                deep, where = pool(deep)
                places.append(where)
        sides: list[Tensor] = [None] * len(self.branches)
        for k in (4, 3, 2, 1, 0):
            deep = self.up[k](deep if k == 4 else self._up(deep, places[k]))
            if k < len(self.branches):
                sides[k] = self.branches[k](torch.cat([maps[k], deep], 1))
        final = self.main(deep)
        if self.fuse is not None:
            final = self.fuse(torch.cat([*sides, final], 1))
        outputs = [_logit(z)[..., :height, :width] for z in (final, *sides)]
        return tuple(outputs) if self.training else outputs[0]

    def _up(self, x: Tensor, places: tuple[Tensor, ...]) -> Tensor:
        if self.upsample == "index":
            return unpool(x, places)
        corners = None if self.upsample == "nearest" else False
        return F.interpolate(x, scale_factor=2.0, mode=self.upsample, align_corners=corners)


def _logit(two: Tensor) -> Tensor:
    """Return (N, 1, H, W) crack minus background of (N, 2, H, W)."""
    return two[:, 1:] - two[:, :1]
