"""ICNet: a picture at three sizes, the smallest through the deepest network, fused step by step.

Source: Zhao, Qi, Shen, Shi, Jia, ICNet for Real-Time Semantic Segmentation on High-Resolution
Images, ECCV 2018. One departure: the shared encoder is a ResNet18 (the article's is a pruned
ResNet50).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from crackseg.networks.arguments import Channels
from crackseg.networks.layers import AdaptiveMean, encoder_of, load_encoder, pad_to_multiple

Tensor = Any
BINS = (1, 2, 3, 6)  # of the pyramid of means


def icnet(
    encoder: str = "resnet18", channels: Channels = 128, encoder_weights: str | Path | None = None
) -> nn.Module:
    """Return ICNet.

    Args:
        encoder: a timm model that can keep a stride of 8 (ResNets).
        channels: of the fused maps.
        encoder_weights: a local file, see ``layers.load_encoder``; None starts from random weights.
    """
    return IcNet(encoder, channels, encoder_weights)


class IcNet(nn.Module):
    """See ``icnet``."""

    multiple = 32

    def __init__(self, encoder: str, channels: int, encoder_weights: str | Path | None) -> None:
        super().__init__()
        self.encoder = encoder_of(encoder, (8, 8), output_stride=8, out_indices=(2, 4))
        if encoder_weights is not None:
            load_encoder(self.encoder, Path(encoder_weights))
        middle, deep = self.encoder.feature_info.channels()
        self.pyramid = nn.ModuleList(AdaptiveMean(bins, bins) for bins in BINS)
        self.reduce = _unit(deep, channels, 1)
        self.sharp = nn.Sequential(_unit(3, 32, 3, 2), _unit(32, 32, 3, 2), _unit(32, 64, 3, 2))
        self.first = _Fusion(channels, middle, channels)
        self.second = _Fusion(channels, 64, channels)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Any:
        """Return (N, 1, H, W) logits; in training a tuple (final, coarse, coarsest)."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.multiple)
        half, quarter = (F.interpolate(x, scale_factor=s, mode="bilinear") for s in (0.5, 0.25))
        deep = self.encoder(quarter)[1]
        means = [F.interpolate(p(deep), deep.shape[-2:], mode="bilinear") for p in self.pyramid]
        deep = self.reduce(deep + torch.stack(means).sum(0))
        deep, coarsest = self.first(deep, self.encoder(half)[0])
        deep, coarse = self.second(deep, self.sharp(x))
        final = self.head(F.interpolate(deep, scale_factor=2.0, mode="bilinear"))
        outputs = [
            F.interpolate(score, scale_factor=float(scale), mode="bilinear")[..., :height, :width]
            for score, scale in ((final, 4), (coarse, 8), (coarsest, 16))
        ]
        return tuple(outputs) if self.training else outputs[0]


class _Fusion(nn.Module):
    """Cascade feature fusion: a coarse map, doubled and spread, added to a finer one."""

    def __init__(self, coarse: int, fine: int, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(
            nn.Conv2d(coarse, channels, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(fine, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )
        self.score = nn.Conv2d(coarse, 1, 1)  # what the coarse map says by itself

    def forward(self, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        doubled = F.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return F.relu(self.coarse(doubled) + self.fine(fine)), self.score(doubled)


def _unit(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
