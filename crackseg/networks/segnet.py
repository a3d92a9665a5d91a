"""SegNet: VGG16's convolutions and their mirror image, joined by the indices of the poolings.

Source: Badrinarayanan, Kendall, Cipolla, SegNet, IEEE TPAMI 39(12), 2017.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from crackseg.networks.arguments import Width
from crackseg.networks.layers import pad_to_multiple, pool, scaled, stage, unpool

Tensor = Any
CHANNELS = (64, 128, 256, 512, 512)
DEPTHS = (2, 2, 3, 3, 3)  # convolutions per stage of VGG16


def segnet(width: Width = 1.0) -> nn.Module:
    """Return SegNet with random weights; ``width`` is a factor on all channel numbers."""
    return SegNet(scaled(CHANNELS, width))


class SegNet(nn.Module):
    """See ``segnet``."""

    multiple = 32

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for above, here, depth in zip([3, *channels[:-1]], channels, DEPTHS, strict=True):
            self.down.append(stage([above, *[here] * depth]))
            end = [here] if above == 3 else [above]
            self.up.append(stage([*[here] * depth, *end]))
        self.head = nn.Conv2d(channels[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits."""
        height, width = x.shape[-2:]
        deep, indices = pad_to_multiple(x, self.multiple), []
        for units in self.down:
            deep, places = pool(units(deep))
            indices.append(places)
        for units in reversed(self.up):
            deep = units(unpool(deep, indices.pop()))
        return self.head(deep)[..., :height, :width]
