"""Any architecture and encoder of segmentation-models-pytorch, by name; nothing is downloaded.

``smp:deeplabv3plus:resnet50`` is the architecture DeepLabV3+ on a ResNet50; encoder names with the
prefix ``tu-`` come from timm.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Literal

import segmentation_models_pytorch as smp
import torch.nn.functional as F
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPModule
from torch import nn

from crackseg.errors import ConfigError, UnknownName
from crackseg.names import nearest
from crackseg.networks.arguments import Width
from crackseg.networks.layers import free_sizes, load_encoder, pad_to_multiple, scaled

Tensor = Any
RESNET_CHANNELS = (64, 128, 256, 512)
# Pictures have three channels, and what comes out are logits; the library would take others.
_OURS = {
    "encoder_name",
    "classes",
    "encoder_weights",
    "in_channels",
    "activation",
    "aux_params",
    "kwargs",
}
DECODER_CHANNELS = (256, 128, 64, 32, 16)


def smp_network(
    architecture: str,
    encoder: str,
    encoder_weights: Path | str | None = None,
    classes: Literal[1, 2] = 1,
    **arguments: Any,
) -> nn.Module:
    """Return a network of segmentation-models-pytorch with random weights.

    Args:
        architecture: "unet", "deeplabv3plus", "pspnet", "fpn", …
        encoder: "vgg16_bn", "resnet50", "mobilenet_v2", "tu-…", …
        encoder_weights: a local file of the encoder's tensors, see ``layers.load_encoder``; None
            starts from random weights.
        classes: 1 (crack) or 2 (crack, other line).
        arguments: further keyword arguments of the architecture.

    Raises:
        UnknownName: no such architecture or encoder.
        ConfigError: the architecture refuses the encoder or an argument.
        ModelError: the weights do not fit the encoder.
    """
    if architecture not in smp.MODEL_ARCHITECTURES_MAPPING:
        names = nearest(architecture, smp.MODEL_ARCHITECTURES_MAPPING)
        raise UnknownName(f"unknown architecture `{architecture}`; known: {names}.")
    known_encoders = smp.encoders.get_encoder_names()
    if encoder not in known_encoders and not encoder.startswith("tu-"):
        raise UnknownName(
            f"unknown encoder `{encoder}`; known: {nearest(encoder, known_encoders)}; "
            "a timm model takes the prefix `tu-`."
        )
    signature = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[architecture])
    taken = signature.parameters.keys() - _OURS
    unknown = arguments.keys() - taken
    # the library drops what it does not know; a timm encoder is handed it, and refuses
    if unknown and (not encoder.startswith("tu-") or unknown & _OURS):
        raise ConfigError(
            f"`arguments` of network `smp:{architecture}:{encoder}`: "
            f"`{sorted(unknown)[0]}` is not taken; it takes "
            f"{', '.join(sorted(taken | {'classes', 'encoder_weights'}))}."
        )
    try:
        model = smp.create_model(architecture, encoder, None, classes=classes, **arguments)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"`smp:{architecture}:{encoder}` cannot be built: {error}.") from error
    if encoder_weights is not None:
        # a timm encoder is wrapped: its tensors have the names that timm gives them
        load_encoder(getattr(model.encoder, "model", model.encoder), Path(encoder_weights))
    return SmpNetwork(model)


def resnet152(width: Width = 1.0) -> nn.Module:
    """Return an encoder-decoder on ResNet152 with random weights.

    The CDDS article compares with a network "based on ResNet152" without its layers; this is the
    plain reading: its five scales, joined as in U-Net.

    Args:
        width: factor on the channels of the four stages and of the decoder (not of the stem).
    """
    model = smp.Unet(
        "tu-resnet152",
        encoder_weights=None,
        decoder_channels=scaled(DECODER_CHANNELS, width),
        channels=tuple(scaled(RESNET_CHANNELS, width)),
    )
    return SmpNetwork(model)


class SmpNetwork(nn.Module):
    """A model of the library with any input size."""

    multiple = 32

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for module in model.modules():
            if isinstance(module, PSPModule):
                module.blocks = nn.ModuleList(_PyramidLevel(block.pool) for block in module.blocks)
        self.model = free_sizes(model)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits."""
        height, width = x.shape[-2:]
        return self.model(pad_to_multiple(x, self.multiple))[..., :height, :width]


class _PyramidLevel(nn.Module):
    """A level of PSPNet; the library's own takes another pooling while it is exported."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.pool(x), x.shape[-2:], mode="bilinear", align_corners=True)
