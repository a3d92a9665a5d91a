"""U-Net: a contracting and an expanding path, joined at each scale by concatenation.

Source: Ronneberger, Fischer, Brox, U-Net, MICCAI 2015. Two departures that are usual today:
convolutions keep the size (the article loses 92 px at each side), and batch normalisation follows
each of them.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import nn

from crackseg.networks.arguments import Width
from crackseg.networks.layers import pad_to_multiple, scaled, stage

Tensor = Any
CHANNELS = (64, 128, 256, 512, 1024)


def unet(width: Width = 1.0) -> nn.Module:
    """Return U-Net with random weights; ``width`` is a factor on all channel numbers."""
    return UNet(scaled(CHANNELS, width))


class UNet(nn.Module):
    """See ``unet``."""

    multiple = 16

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        steps = list(itertools.pairwise(channels))
        self.down = nn.ModuleList(stage([i, o, o]) for i, o in [(3, channels[0]), *steps])
        self.halve = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(o, i, 2, 2) for i, o in reversed(steps))
        self.join = nn.ModuleList(stage([2 * i, i, i]) for i, _ in reversed(steps))
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits."""
        height, width = x.shape[-2:]
        deep = self.down[0](pad_to_multiple(x, self.multiple))
        maps = []
        for units in list(self.down)[1:]:
            maps.append(deep)
            deep = units(self.halve(deep))
        for up, units in zip(self.ups, self.join, strict=True):
            deep = units(torch.cat([maps.pop(), up(deep)], 1))
        return self.head(deep)[..., :height, :width]
