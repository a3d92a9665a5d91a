"""Detectors of boxes: the "rough location" of a crack, of which a mask network draws the outline.

Boxes are learned from pieces of centre line (see ``boxes``). What is found becomes a map, each
pixel with the best score of a box over it, so that training, export and scores treat a detector
like any other network. It draws no outline, so that nothing is measured in it.

Source: Ren et al., Faster R-CNN, NIPS 2015; Liu et al., SSD, ECCV 2016; Sandler et al., MobileNetV2
(SSDLite), CVPR 2018, all as in torchvision; Liu et al., Receptive Field Block Net, ECCV 2018.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torchvision.models import detection
from torchvision.models.detection.image_list import ImageList

from crackseg.errors import ConfigError, UnknownName
from crackseg.names import nearest
from crackseg.networks.arguments import Most, Score
from crackseg.networks.boxes import box_map, targets_of
from crackseg.networks.layers import pad_to_multiple

Tensor = Any
AS_THEY_COME = {  # pictures come normalised and keep their size
    "weights": None,
    "weights_backbone": None,
    "num_classes": 2,
    "image_mean": [0.0, 0.0, 0.0],
    "image_std": [1.0, 1.0, 1.0],
    "_skip_resize": True,
}
SIDES_PX = (21, 45, 99, 153, 207, 261, 315)  # of SSD's boxes, by map, and one more
LONG = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))  # long over short side of the others, by map
DILATIONS = (1, 3, 5)  # of the branches of a receptive-field block


def detector(name: str, score: Score = 0.05, boxes: Most = 100) -> nn.Module:
    """Return a detector of cracks with random weights.

    Args:
        name: "faster_rcnn", "ssd", "ssdlite" or "rfbnet".
        score: boxes the classifier is less sure of are dropped.
        boxes: most boxes per picture.

    Raises:
        UnknownName: there is no detector of that name.
    """
    if name not in DETECTORS:
        raise UnknownName(f"unknown detector `{name}`; known: {nearest(name, DETECTORS)}.")
    return DETECTORS[name](score, boxes)


class Detector(nn.Module):
    """A detector of torchvision that answers with a map; see the module.

    Pictures keep their size; torchvision's own chain would enlarge them, and the network would
    meet cracks of another width than it learned.

    Args:
        model: finds boxes, with masks or without.
        targets: turns an (H, W) mask into what the model learns from.
        draw: turns what was found, height and width into a (1, H, W) map.
    """

    multiple = 32
    one_by_one = True  # what is computed depends on what is found: a graph takes single pictures

    def __init__(
        self,
        model: nn.Module,
        targets: Callable[[Tensor], dict[str, Tensor]] = targets_of,
        draw: Callable[[dict[str, Tensor], int, int], Tensor] = box_map,
    ) -> None:
        super().__init__()
        self.model, self._targets, self._draw = model, targets, draw

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits of the best that was found over each pixel.

        Raises:
            ConfigError: in training mode, where boxes are needed; call ``loss``.
        """
        if self.training:
            raise ConfigError("a detector learns from boxes: call `loss`, not the network.")
        height, width = x.shape[-2:]
        maps = torch.stack([self._draw(answer, height, width) for answer in self.find(x)])
        maps = maps.clamp(1e-6, 1 - 1e-6)
        return torch.log(maps / (1 - maps))  # torch.logit, which has no ONNX twin

    def find(self, x: Tensor) -> list[dict[str, Tensor]]:
        """Return ``boxes`` (n, 4), ``scores`` (n,) and masks of each of (N, 3, H, W) pictures."""
        x = pad_to_multiple(x, self.multiple)
        sizes = [(x.shape[-2], x.shape[-1])] * x.shape[0]
        pictures = ImageList(x, sizes)
        features = self.model.backbone(x)
        if hasattr(self.model, "rpn"):
            proposals, _ = self.model.rpn(pictures, features)
            answers, _ = self.model.roi_heads(features, proposals, sizes)
            return list(answers)
        maps = list(features.values())
        return list(
            self.model.postprocess_detections(
                self.model.head(maps), self.model.anchor_generator(pictures, maps), sizes
            )
        )

    def loss(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of the losses of the article.

        Args:
            x: (N, 3, H, W) normalised pictures.
            mask: (N, 1, H, W), above 0 = crack.
        """
        targets = [self._targets(one[0]) for one in mask]
        return sum(self.model(list(x), targets).values())


class DefaultBoxes(nn.Module):
    """The boxes that SSD starts from, in pixels: as large in every picture, of any size.

    Torchvision's are shares of the picture: a crack would meet others in a larger tile.

    Args:
        first: pixels between two places of the finest map; twice as many in each further one.
        long: ratios of the sides, by map.
    """

    def __init__(self, first: int, long: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.steps = [first * 2**k for k in range(len(long))]
        for k, ratios in enumerate(long):
            side, between = SIDES_PX[k], math.sqrt(SIDES_PX[k] * SIDES_PX[k + 1])
            sizes = [(side, side), (between, between)]
            for root in map(math.sqrt, ratios):
                sizes += [(side * root, side / root), (side / root, side * root)]
            self.register_buffer(f"sizes{k}", torch.tensor(sizes), persistent=False)

    def forward(self, pictures: ImageList, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return (places x sizes, 4) boxes for each picture, in the order of the heads."""
        boxes = []
        for k, one in enumerate(maps):
            half = getattr(self, f"sizes{k}") / 2
            rows, cols = (
                (torch.arange(side, device=one.device) + 0.5) * self.steps[k]
                for side in one.shape[-2:]
            )
            middle = torch.stack(torch.meshgrid(rows, cols, indexing="ij")[::-1], dim=-1)
            middle = middle.reshape(-1, 1, 2)
            boxes.append(torch.cat([middle - half, middle + half], dim=-1).reshape(-1, 4))
        return [torch.cat(boxes)] * len(pictures.image_sizes)


class ReceptiveField(nn.Module):
    """Branches of growing reach side by side, joined and added to what came in (RFB)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 8
        self.branches = nn.ModuleList(_branch(channels, inner, reach) for reach in DILATIONS)
        self.join = nn.Conv2d(len(DILATIONS) * inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the size and channels of ``x``."""
        joined = self.join(torch.cat([branch(x) for branch in self.branches], dim=1))
        return torch.relu(x + joined)


class FieldBackbone(nn.Module):
    """The maps of SSD, the three finest behind receptive-field blocks."""

    def __init__(self, backbone: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone = backbone
        self.fields = nn.ModuleList(ReceptiveField(count) for count in channels)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps by name, the finest first."""
        maps = self.backbone(x)
        for field, name in zip(self.fields, list(maps), strict=False):
            maps[name] = field(maps[name])
        return dict(maps)


def _branch(channels: int, inner: int, reach: int) -> nn.Sequential:
    """Return 1x1 and a kernel as wide as ``reach``, then 3x3 as far apart: a cone of pixels."""
    return nn.Sequential(
        nn.Conv2d(channels, inner, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, reach, padding=reach // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(inner, inner, 3, padding=reach, dilation=reach),
    )


def _faster_rcnn(score: float, boxes: int) -> nn.Module:
    return Detector(
        detection.fasterrcnn_resnet50_fpn(
            **AS_THEY_COME, box_score_thresh=score, box_detections_per_img=boxes
        )
    )


def _ssd(score: float, boxes: int, *, fields: bool = False) -> nn.Module:
    """Return SSD on VGG16 for pictures of any size; the article's is made for 300 px alone."""
    model = detection.ssd300_vgg16(**AS_THEY_COME, score_thresh=score, detections_per_img=boxes)
    for block in model.backbone.extra[3:]:  # without a border they would end small pictures
        block[2].stride, block[2].padding = (2, 2), (1, 1)
    model.anchor_generator = DefaultBoxes(8, LONG)
    if fields:
        model.backbone = FieldBackbone(model.backbone, (512, 1024, 512))
    return Detector(model)


def _ssdlite(score: float, boxes: int) -> nn.Module:
    model = detection.ssdlite320_mobilenet_v3_large(
        **AS_THEY_COME, score_thresh=score, detections_per_img=boxes
    )
    model.anchor_generator = DefaultBoxes(16, [(2, 3)] * 6)
    return Detector(model)


DETECTORS: dict[str, Callable[[float, int], nn.Module]] = {
    "faster_rcnn": _faster_rcnn,
    "rfbnet": partial(_ssd, fields=True),
    "ssd": _ssd,
    "ssdlite": _ssdlite,
}
