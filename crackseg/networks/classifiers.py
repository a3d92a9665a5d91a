"""Tile classifiers of torchvision, of timm and of our own: is there a crack in this tile at all?

One decision per picture; it is given to every pixel, so that training, prediction and export treat
a classifier like any other network. Its own loss compares the decision with "the mask holds a
crack pixel".
"""

from __future__ import annotations

from typing import Any

import timm
import torch.nn.functional as F
import torchvision
from torch import nn

from crackseg.errors import ConfigError, UnknownName
from crackseg.names import nearest
from crackseg.networks.early_classifiers import EARLY
from crackseg.networks.layers import free_sizes, pad_to_multiple

Tensor = Any
SIDE_HEADS = ("googlenet", "inception_v3")  # they train side heads unless told otherwise


def classifier(name: str, **arguments: Any) -> nn.Module:
    """Return a crack / no crack classifier with random weights.

    Args:
        name: of torchvision ("alexnet", "vgg16", "resnet18", …), of ``early_classifiers``
            ("lenet", "zfnet", "nin", "inception_v2"), or of timm with the prefix "tu-"
            ("tu-xception41", "tu-inception_v4", "tu-nasnetalarge", "tu-mobilenetv1_100", …).
        arguments: further keyword arguments of the library's function.

    Raises:
        UnknownName: there is no classifier of that name.
        ConfigError: it refuses an argument.
    """
    of_torchvision = torchvision.models.list_models(module=torchvision.models)
    names = [*of_torchvision, *EARLY, *(f"tu-{of_timm}" for of_timm in timm.list_models())]
    if name not in names:
        raise UnknownName(f"unknown classifier `{name}`; known: {nearest(name, names)}.")
    if name in SIDE_HEADS:
        arguments = {"aux_logits": False, "init_weights": True, **arguments}
    try:
        if name in EARLY:
            model = EARLY[name](**arguments)
        elif name.startswith("tu-"):
            of_timm = name.removeprefix("tu-")
            model = timm.create_model(of_timm, pretrained=False, num_classes=1, **arguments)
        else:
            model = torchvision.models.get_model(name, weights=None, num_classes=1, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"`classifier:{name}` cannot be built: {error}.") from error
    return TileClassifier(model)


class TileClassifier(nn.Module):
    """See ``classifier``."""

    multiple = 128  # the smallest picture that all of them take, and a divisor of usual tiles

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = free_sizes(model)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits, the same in every pixel of a picture."""
        return self._decide(x)[:, :, None, None].expand(-1, -1, x.shape[-2], x.shape[-1])

    def loss(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the binary cross entropy of the decisions.

        Args:
            x: (N, 3, H, W) normalised pictures.
            mask: (N, 1, H, W), above 0 = crack.
        """
        holds_crack = (mask.flatten(1) > 0).any(1, keepdim=True)
        return F.binary_cross_entropy_with_logits(self._decide(x), holds_crack.to(x.dtype))

    def _decide(self, x: Tensor) -> Tensor:
        """Return (N, 1) logits; what is too small for the network is padded."""
        return self.model(pad_to_multiple(x, self.multiple))
