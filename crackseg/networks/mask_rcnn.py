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

from crackseg.errors import ConfigError
from crackseg.networks.layers import pad_to_multiple

Tensor = Any
EIGHT = np.ones((3, 3), dtype=int)  # pixels that touch at a corner are one crack
LEAST_PX = 10  # smaller pieces are too small for a box


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
    return MaskRcnn(model)


class MaskRcnn(nn.Module):
    """See ``mask_rcnn``."""

    multiple = 32

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 1, H, W) logits of the merged instances.

        Raises:
            ConfigError: in training mode, where boxes are needed; call ``loss``.
        """
        if self.training:
            raise ConfigError("`mask_rcnn` learns from instances: call `loss`, not the network.")
        height, width = x.shape[-2:]
        found = self.model(list(pad_to_multiple(x, self.multiple)))
        maps = torch.stack([_merge(instances, x) for instances in found])
        return torch.logit(maps[..., :height, :width], eps=1e-6)

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


def _merge(instances: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the (1, H, W) maximum over instances of score times mask; zeros without any."""
    if len(instances["scores"]) == 0:
        return x.new_zeros((1, *instances["masks"].shape[-2:]))
    return (instances["masks"] * instances["scores"][:, None, None, None]).amax(0)
