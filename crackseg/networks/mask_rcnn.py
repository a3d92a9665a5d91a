"""Mask R-CNN: cracks as objects, the instance-segmentation rival.

The instances found are merged to one map, each pixel taking the best of score times mask, so that
it is scored like the other networks. Connected pieces of a mask are the instances it learns.

Source: He et al., Mask R-CNN, ICCV 2017, as in torchvision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.image_list import ImageList

from crackseg.errors import ConfigError
from crackseg.networks.layers import pad_to_multiple

Tensor = Any
EIGHT = np.ones((3, 3), dtype=int)  # pixels that touch at a corner are one crack
LEAST_PX = 10  # smaller pieces are too small for a box
LEAST_BOX_PX = 1.0  # sides of the boxes learned and proposed; thinner ones found are widened to it


def mask_rcnn(score: float = 0.05, instances: int = 100) -> nn.Module:
    """Return Mask R-CNN on a ResNet50 pyramid with random weights.

    Args:
        score: instances the classifier is less sure of are dropped.
        instances: most instances per picture.
    """
    model = maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=2,
        box_score_thresh=score,
        box_detections_per_img=instances,
        image_mean=[0.0, 0.0, 0.0],  # pictures come normalised
        image_std=[1.0, 1.0, 1.0],
        _skip_resize=True,
    )
    model.rpn.min_size = LEAST_BOX_PX  # slivers at the border all score alike: a lottery of ties
    return MaskRcnn(model)


class MaskRcnn(nn.Module):
    """See ``mask_rcnn``."""

    multiple = 32
    one_by_one = True  # what is computed depends on what is found: a graph takes single pictures

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits of the merged instances.

        Pictures keep their size; torchvision's own chain would enlarge them, and the network would
        meet cracks of another width than it learned.

        Raises:
            ConfigError: in training mode, where boxes are needed; call ``loss``.
        """
        if self.training:
            raise ConfigError("`mask_rcnn` learns from instances: call `loss`, not the network.")
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, self.multiple)
        pictures = ImageList(x, [(x.shape[-2], x.shape[-1])] * x.shape[0])
        features = self.model.backbone(x)
        proposals, _ = self.model.rpn(pictures, features)
        pieces, _ = self.model.roi_heads(features, proposals, pictures.image_sizes)
        maps = torch.stack([merge(instances, height, width) for instances in pieces])
        maps = maps.clamp(1e-6, 1 - 1e-6)
        return torch.log(maps / (1 - maps))  # torch.logit, which has no ONNX twin

    def loss(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the sum of the five losses of the article.

        Args:
            x: (N, 3, H, W) normalised pictures.
            mask: (N, 1, H, W), above 0 = crack.
        """
        targets = [instances_of(one[0]) for one in mask]
        return sum(self.model(list(x), targets).values())


def instances_of(mask: Tensor) -> dict[str, Tensor]:
    """Return boxes, labels and masks of the connected pieces of an (H, W) mask.

    Pieces under ``LEAST_PX`` pixels are left out; boxes are grown to at least 1 px each way.
    """
    numbered, count = ndimage.label(mask.cpu().numpy() > 0, structure=EIGHT)
    pieces = [numbered == k for k in range(1, count + 1)]
    pieces = [piece for piece in pieces if piece.sum() >= LEAST_PX]
    boxes = []
    for piece in pieces:
        rows, cols = np.nonzero(piece)
        boxes.append([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
    masks = np.array(pieces, dtype=np.uint8).reshape(-1, *numbered.shape)
    return {
        "boxes": torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)).to(mask.device),
        "labels": torch.ones(len(pieces), dtype=torch.int64, device=mask.device),
        "masks": torch.from_numpy(masks).to(mask.device),
    }


def merge(instances: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the (1, height, width) maximum over instances of score times mask.

    A mask, a few pixels over a box, is laid on the picture bilinearly: row weights times mask
    times column weights, without rounding the box.
    """
    masks = instances["masks"][:, 0] * instances["scores"][:, None, None]
    left, top, right, bottom = instances["boxes"].unbind(1)
    rows = _weights(top, bottom, masks.shape[1], height)
    cols = _weights(left, right, masks.shape[2], width)
    laid = rows.transpose(1, 2) @ masks @ cols
    nothing = laid.new_zeros((1, height, width))  # the maximum when nothing is found
    return torch.cat([nothing, laid]).amax(0, keepdim=True)


def _weights(start: Tensor, stop: Tensor, cells: int, size: int) -> Tensor:
    """Return (n, cells, size): how much each cell of n spans counts at each of ``size`` pixels."""
    pixel = torch.arange(size, device=start.device) + 0.5
    span = (stop - start).clamp(min=LEAST_BOX_PX)  # in a sliver rounding would move whole cells
    start = (start + stop - span) / 2
    place = (pixel - start[:, None]) / span[:, None] * cells - 0.5  # in cells
    cell = torch.arange(cells, device=start.device)[:, None]
    return (1 - (place[:, None] - cell).abs()).clamp(min=0)
