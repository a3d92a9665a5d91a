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

from crackseg.networks.arguments import Most, Score
from crackseg.networks.detectors import Detector

Tensor = Any
EIGHT = np.ones((3, 3), dtype=int)  # pixels that touch at a corner are one crack
LEAST_PX = 10  # smaller pieces are too small for a box
LEAST_BOX_PX = 1.0  # sides of the boxes learned and proposed; thinner ones found are widened to it


def mask_rcnn(score: Score = 0.05, instances: Most = 100) -> nn.Module:
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
    return Detector(model, targets=instances_of, draw=merge)


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
