"""FCN-8s on VGG16: coarse scores from three depths, added and up-sampled.

Source: Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, CVPR
2015. Two departures: every convolution keeps the size (the article pads the picture by 100 px and
crops), and batch normalisation follows it, since no pretrained weights are presumed and a plain
VGG16 does not start from random ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from crackseg.networks.arguments import Dropout, Width
from crackseg.networks.layers import (
    bilinear_deconv,
    encoder_of,
    load_encoder,
    pad_statically,
    pad_to_multiple,
    scaled,
    stage,
)

Tensor = Any
CHANNELS = (64, 128, 256, 512, 512, 4096)  # VGG16's five stages and its two dense layers


def fcn(width: Width = 1.0, dropout: Dropout = 0.5) -> nn.Module:
    """Return FCN-8s with random weights.

    Args:
        width: factor on all channel numbers.
        dropout: rate behind the two dense layers.
    """
    return Fcn(scaled(CHANNELS, width), dropout)


class Fcn(nn.Module):
    """See ``fcn``."""

    multiple = 32

    def __init__(self, channels: list[int], dropout: float) -> None:
        super().__init__()
        first, second, third, fourth, fifth, dense = channels
        halve = nn.MaxPool2d(2)
        self.to_8 = nn.Sequential(
            stage([3, first, first]),
            halve,
            stage([first, second, second]),
            halve,
            stage([second, third, third, third]),
            halve,
        )
        self.to_16 = nn.Sequential(stage([third, fourth, fourth, fourth]), halve)
        self.to_32 = nn.Sequential(
            stage([fourth, fifth, fifth, fifth]),
            halve,
            stage([fifth, dense], kernel=7, dropout=dropout),
            stage([dense, dense], kernel=1, dropout=dropout),
        )
        self.scores = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in (third, fourth, dense))
        self.ups = nn.ModuleList(bilinear_deconv(1, stride) for stride in (8, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits."""
        height, width = x.shape[-2:]
        at_8 = self.to_8(pad_to_multiple(x, self.multiple))
        at_16 = self.to_16(at_8)
        score = self.ups[2](self.scores[2](self.to_32(at_16)))
        score = self.ups[1](score + self.scores[1](at_16))
        return self.ups[0](score + self.scores[0](at_8))[..., :height, :width]


def fcn_lite(
    encoder: str = "tf_efficientnet_lite0", encoder_weights: str | Path | None = None
) -> nn.Module:
    """Return the same head on a light encoder that can be had pretrained.

    Args:
        encoder: a timm model with feature maps at strides 2, 4, 8, 16 and 32.
        encoder_weights: a local file, see ``layers.load_encoder``; None starts from random weights.
    """
    return FcnLite(encoder, encoder_weights)


class FcnLite(nn.Module):
    """See ``fcn_lite``."""

    multiple = 32

    def __init__(self, encoder: str, encoder_weights: str | Path | None) -> None:
        super().__init__()
        self.encoder = encoder_of(encoder, (8, 16, 32), out_indices=(2, 3, 4))
        if encoder_weights is not None:
            load_encoder(self.encoder, Path(encoder_weights))
        pad_statically(self.encoder)
        channels = self.encoder.feature_info.channels()
        self.scores = nn.ModuleList(nn.Conv2d(c, 1, 1) for c in channels)
        self.ups = nn.ModuleList(bilinear_deconv(1, stride) for stride in (8, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits."""
        height, width = x.shape[-2:]
        at_8, at_16, at_32 = self.encoder(pad_to_multiple(x, self.multiple))
        score = self.ups[2](self.scores[2](at_32))
        score = self.ups[1](score + self.scores[1](at_16))
        return self.ups[0](score + self.scores[0](at_8))[..., :height, :width]
