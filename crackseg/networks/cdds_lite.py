"""CDDS on a light pretrained encoder: what a laptop can run.

The idea of CDDS is kept: an encoder-decoder whose four skip branches (full size, 1/2, 1/4, 1/8)
each join the encoder map and the decoder map of their scale, carry their own loss, and are fused
with the main head. The encoder is a mobile network with ImageNet weights, and the full-size
branch reads the picture through a small stem of its own, because a hair crack of one or two
pixels is gone after the encoder's first stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn

from crackseg.networks.arguments import Channels, FiveChannels
from crackseg.networks.layers import (
    bilinear_deconv,
    encoder_of,
    load_encoder,
    pad_statically,
    pad_to_multiple,
)

Tensor = Any


def cdds_lite(
    encoder: str = "tf_efficientnet_lite0",
    decoder_channels: FiveChannels = (128, 64, 32, 16, 8),
    stem_channels: Channels = 8,
    branches: bool = True,
    encoder_weights: str | Path | None = None,
    outputs: Literal[1, 2] = 1,
    stem_units: Literal[1, 2] = 1,
) -> nn.Module:
    """Return the light CDDS network.

    Args:
        encoder: a timm model with feature maps at strides 2, 4, 8, 16 and 32.
        decoder_channels: channels at strides 16, 8, 4, 2 and 1.
        stem_channels: channels of the full-size stem.
        branches: False removes the skip branches and their fusion (for the ablation).
        encoder_weights: a local file, see ``layers.load_encoder``; None starts from random
            weights. Nothing is downloaded.
        outputs: 1 (crack) or 2 (crack, other line), each with heads of its own.
        stem_units: 2 adds a second convolution at full size to the stem, which starts weak.

    Example:
        >>> cdds_lite().eval()(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 1, 64, 96])
    """
    heads = branches, outputs
    stem = stem_channels, stem_units
    return CddsLite(encoder, decoder_channels, stem, heads, encoder_weights)


class CddsLite(nn.Module):
    """See ``cdds_lite``."""

    multiple = 32

    def __init__(
        self,
        encoder: str,
        decoder_channels: Sequence[int],
        stem: tuple[int, int],
        heads: tuple[bool, int],
        encoder_weights: str | Path | None,
    ) -> None:
        super().__init__()
        (stem_channels, stem_units), (branches, outputs) = stem, heads
        self.encoder = encoder_of(encoder, (2, 4, 8, 16, 32))
        if encoder_weights is not None:
            load_encoder(self.encoder, Path(encoder_weights))
        pad_statically(self.encoder)
        skips = [stem_channels, *self.encoder.feature_info.channels()]  # strides 1, 2, 4, 8, 16, 32
        self.stem = _unit(3, stem_channels)
        self.stem2 = _unit(stem_channels, stem_channels) if stem_units > 1 else None
        below, blocks = skips[5], []
        for channels, skip in zip(decoder_channels, skips[4::-1], strict=True):
            blocks.append(nn.Sequential(_unit(below + skip, channels), _unit(channels, channels)))
            below = channels
        self.decoder = nn.ModuleList(blocks)
        self.main = nn.Conv2d(below, outputs, 1)
        scales = range(4 if branches else 0)  # strides 1, 2, 4, 8
        self.heads = nn.ModuleList(
            nn.Conv2d(skips[k] + decoder_channels[4 - k], outputs, 1) for k in scales
        )
        self.deconvs = nn.ModuleList(bilinear_deconv(outputs, 2**k, apart=True) for k in scales)
        self.fuse = nn.Conv2d(5 * outputs, outputs, 1, groups=outputs) if branches else None
        _start_rare(self)

    def forward(self, x: Tensor, encoded: Sequence[Tensor] | None = None) -> Any:
        """Return (N, outputs, H, W) logits; in training a tuple (fused, S1, S2, S3, S4, main).

        Args:
            x: (N, 3, H, W).
            encoded: the encoder's maps of it, where they are there already.
        """
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.multiple)
        stem = self.stem(x)
        if self.stem2 is not None:
            stem = stem + self.stem2(stem)
        skips = [stem, *(self.encoder(x) if encoded is None else encoded)]
        deep, maps = skips[5], []
        for block, skip in zip(self.decoder, skips[4::-1], strict=True):
            deep = block(torch.cat([F.interpolate(deep, scale_factor=2), skip], 1))
            maps.append(deep)
        main = self.main(deep)
        outputs = [main]
        if self.fuse is not None:
            sides = [
                deconv(head(torch.cat([skips[k], maps[4 - k]], 1)))
                for k, (head, deconv) in enumerate(zip(self.heads, self.deconvs, strict=True))
            ]
            by_class = torch.stack([*sides, main], 2).flatten(1, 2)  # each class fuses its own
            outputs = [self.fuse(by_class), *sides, main]
        outputs = [o[..., :height, :width] for o in outputs]
        return tuple(outputs) if self.training else outputs[0]


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _start_rare(network: CddsLite) -> None:
    """Start all heads near the share of crack pixels (2 %), so that the first steps are calm."""
    for head in [network.main, *network.heads]:
        nn.init.constant_(head.bias, -4.0)
    if network.stem2 is not None:  # next to nothing: at zero its ReLU would pass no gradient
        nn.init.constant_(network.stem2[1].weight, 0.05)
    for deconv in network.deconvs[:1]:
        nn.init.ones_(deconv.weight)
        nn.init.zeros_(deconv.bias)
    if network.fuse is not None:
        nn.init.constant_(network.fuse.weight, 0.2)
        nn.init.zeros_(network.fuse.bias)
