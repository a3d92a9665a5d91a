"""Two light CDDS networks on one encoder: one answers for a site, the other everywhere else.

Who teaches a network what one wall looks like takes from it what it knows of others. Here nothing
is taken: the network that it goes on from stays as it is beside a second decoder, and a gate says
for each picture how much it looks like the site. Where it does not, the answer is the old one.

The gate has no weights that are trained. It knows mean and spread of what the encoder reads on the
site (mean and deviation of each map of strides 2 to 16 over the picture) and takes the distance
from them: along the main axes of the site's own spread by their length, beside these by what is
left over there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import nn

from crackseg.networks.arguments import Range, check_arguments
from crackseg.networks.cdds_lite import cdds_lite

Tensor = Any
Axes = Annotated[int, Range(1, 256)]
SCALES = 4  # maps of the encoder that the gate reads: strides 2, 4, 8, 16
_STEEP = 33.0  # at 0.85 of the limit the gate is open to 0.99, at 1.15 shut to 0.01


def cdds_site(base: Mapping[str, Any] | None = None, axes: Axes = 8) -> nn.Module:
    """Return the network of a site, its gate open for every picture until ``set_gate``.

    Args:
        base: arguments of ``cdds_lite``.
        axes: main axes of the site's spread that the gate knows.

    Raises:
        ConfigError: an argument in ``base`` is of another type or out of range.
    """
    check_arguments("cdds_lite", cdds_lite, base or {})
    return CddsSite(dict(base or {}), axes)


class CddsSite(nn.Module):
    """See ``cdds_site``."""

    multiple = 32

    def __init__(self, base: dict[str, Any], axes: int) -> None:
        super().__init__()
        self.parent = cdds_lite(**base)
        self.site = cdds_lite(**{**base, "encoder_weights": None})
        self.site.encoder = None
        width = 2 * sum(self.parent.encoder.feature_info.channels()[:SCALES])
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("stretch", torch.zeros(width))  # 1 over the spread of each
        self.register_buffer("axes", torch.zeros(axes * width))  # one row: halves would blur it
        self.register_buffer("lengths", torch.ones(axes))
        self.register_buffer("beside", torch.ones(1))
        self.register_buffer("limit", torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H, W) logits."""
        of_site, of_parent, gate = self.both(x)
        return of_parent + gate * (of_site - of_parent)

    def both(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the logits of both decoders, the site's first, and the (N, 1, 1, 1) gate."""
        height, width = x.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling() and (down or right):
            x = F.pad(x, (0, right, 0, down), mode="replicate")
        maps = self.parent.encoder(x)
        logits = [net(x, maps) for net in (self.site, self.parent)]
        first = [each[0] if isinstance(each, tuple) else each for each in logits]
        with torch.no_grad():
            gate = torch.sigmoid(_STEEP * (1 - self.distance(describe(maps)) / self.limit))
        of_site, of_parent = (each[..., :height, :width] for each in first)
        return of_site, of_parent, gate.view(-1, 1, 1, 1)

    def distance(self, description: Tensor) -> Tensor:
        """Return how far (N, D) descriptions are from the site, (N,); about 1 on the site."""
        axes = self.axes.view(len(self.lengths), -1)
        away = (description - self.centre) * self.stretch
        along = away @ axes.T
        rest = away - along @ axes
        inside = ((along / self.lengths) ** 2).mean(1)
        return torch.sqrt((inside + (rest**2).mean(1) / self.beside) / 2)

    def set_gate(self, descriptions: Tensor) -> None:
        """Learn centre and spread from (N, D) descriptions of pictures of the site, N > axes."""
        self.centre.copy_(descriptions.mean(0))
        self.stretch.copy_(1 / descriptions.std(0).clamp(min=1e-6))
        away = (descriptions - self.centre) * self.stretch
        _, lengths, axes = torch.linalg.svd(away, full_matrices=False)
        count = len(self.lengths)
        self.axes.copy_(axes[:count].flatten())
        self.lengths.copy_((lengths[:count] / len(away) ** 0.5).clamp(min=1e-6))
        rest = away - (away @ axes[:count].T) @ axes[:count]
        self.beside.copy_((rest**2).mean().clamp(min=1e-6).view(1))


def describe(maps: list[Tensor]) -> Tensor:
    """Return mean and deviation of each map over the picture, (N, D)."""
    parts = []
    for each in maps[:SCALES]:
        mean = each.mean((2, 3))
        square = ((each - mean[..., None, None]) ** 2).mean((2, 3))
        parts += [mean, torch.sqrt(square)]
    return torch.cat(parts, 1)
