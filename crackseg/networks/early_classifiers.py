"""Tile classifiers that no library holds: LeNet-5, ZFNet, Network in Network, Inception v2.

Each has one output, crack or not, and is built after its article; what the article does not need
for a tile (224 px, classes, two GPUs) is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torchvision
from torch import nn
from torchvision.models.googlenet import BasicConv2d, Inception

from crackseg.networks.layers import AdaptiveMean


def lenet() -> nn.Module:
    """Return LeNet-5; a tile is brought to its 32 x 32 px by means.

    Source: LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document
    Recognition, 1998.
    """
    return nn.Sequential(
        AdaptiveMean(32, 32),
        nn.Conv2d(3, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 120, 5),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 1),
    )


def zfnet() -> nn.Module:
    """Return ZFNet: AlexNet with a finer first look.

    Source: Zeiler, Fergus, Visualizing and Understanding Convolutional Networks, 2013, figure 3.
    """
    return nn.Sequential(
        *_unit(3, 96, 7, 2, 1),
        nn.MaxPool2d(3, 2, 1),
        nn.LocalResponseNorm(5),
        *_unit(96, 256, 5, 2, 0),
        nn.MaxPool2d(3, 2, 1),
        nn.LocalResponseNorm(5),
        *_unit(256, 384, 3, 1, 1),
        *_unit(384, 384, 3, 1, 1),
        *_unit(384, 256, 3, 1, 1),
        nn.MaxPool2d(3, 2),
        AdaptiveMean(6, 6),
        nn.Flatten(),
        nn.Linear(256 * 36, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Linear(4096, 1),
    )


def nin() -> nn.Module:
    """Return Network in Network, its ImageNet form: each convolution followed by two of 1 x 1.

    Source: Lin, Chen, Yan, Network In Network, 2013.
    """
    return nn.Sequential(
        *_mlp(3, 96, 11, 4, 0),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlp(96, 256, 5, 1, 2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        *_mlp(256, 384, 3, 1, 1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Dropout(),
        *_mlp(384, 1024, 3, 1, 1),
        nn.Conv2d(1024, 1, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def inception_v2() -> nn.Module:
    """Return Inception v2: GoogLeNet with batch normalisation, 3 x 3 twice in place of 5 x 5.

    Source: Ioffe, Szegedy, Batch Normalization, 2015.
    """
    model = torchvision.models.googlenet(
        weights=None, num_classes=1, aux_logits=False, init_weights=True
    )
    for module in model.modules():
        if isinstance(module, Inception):
            channels = module.branch3[1].conv.out_channels
            module.branch3.append(BasicConv2d(channels, channels, kernel_size=3, padding=1))
    return model


EARLY: dict[str, Callable[[], nn.Module]] = {
    "inception_v2": inception_v2,
    "lenet": lenet,
    "nin": nin,
    "zfnet": zfnet,
}


def _unit(inputs: int, outputs: int, kernel: int, stride: int, pad: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, pad), nn.ReLU(inplace=True)]


def _mlp(inputs: int, outputs: int, kernel: int, stride: int, pad: int) -> list[nn.Module]:
    units = [(inputs, kernel, stride, pad), (outputs, 1, 1, 0), (outputs, 1, 1, 0)]
    return [layer for i, k, s, p in units for layer in _unit(i, outputs, k, s, p)]
