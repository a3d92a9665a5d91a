"""Cracks as boxes: pieces of the labelled centre line become boxes, boxes become a map of places.

A crack crosses a picture; one box around it would be mostly sound wall. So its centre line is cut
by a grid, and each piece has a box of its own, with room for the crack's width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage

from crackseg.raster_tools import skeletonize

Tensor = Any
CELL_PX = 64  # of the grid that cuts a line into pieces
LEAST_LINE_PX = 6  # a shorter piece belongs to its neighbour
ROOM_PX = 4.0  # beside the crack: its edge, and context
_EIGHT = np.ones((3, 3), dtype=int)


def piece_boxes(mask: Any) -> Any:
    """Return (n, 4) float32 left, top, right, bottom of the pieces of a mask's centre line.

    Args:
        mask: (H, W) bool.
    """
    mask = np.asarray(mask, dtype=bool)
    if not mask.any():
        return np.zeros((0, 4), np.float32)
    half = ndimage.distance_transform_edt(mask)
    line = skeletonize(mask)
    line[tuple(np.argwhere(mask)[0])] |= not line.any()
    rows, cols = np.indices(mask.shape) // CELL_PX
    boxes: list[list[float]] = []
    for cell in np.unique(np.stack([rows[line], cols[line]], axis=1), axis=0):
        top, left = cell * CELL_PX
        window = np.s_[top : top + CELL_PX, left : left + CELL_PX]
        numbered, count = ndimage.label(line[window], structure=_EIGHT)
        for number in range(1, count + 1):
            here = np.argwhere(numbered == number)
            if len(here) >= LEAST_LINE_PX or not (boxes or count > 1):
                room = float(half[window][tuple(here.T)].max()) + ROOM_PX
                (low_row, low_col), (high_row, high_col) = here.min(0), here.max(0)
                boxes.append(
                    [
                        max(left + low_col - room, 0),
                        max(top + low_row - room, 0),
                        min(left + high_col + 1 + room, mask.shape[1]),
                        min(top + high_row + 1 + room, mask.shape[0]),
                    ]
                )
    return np.array(boxes, np.float32).reshape(-1, 4)


def targets_of(mask: Tensor) -> dict[str, Tensor]:
    """Return boxes and labels of an (H, W) mask as torchvision's detectors learn them."""
    boxes = torch.from_numpy(piece_boxes(mask.cpu().numpy() > 0)).to(mask.device)
    labels = torch.ones(len(boxes), dtype=torch.int64, device=mask.device)
    return {"boxes": boxes, "labels": labels}


def box_map(answer: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Return the (1, height, width) best score of the boxes over each pixel; 0 where there is none.

    Written by products of rows and columns, which every ONNX runtime has.
    """
    left, top, right, bottom = answer["boxes"].unbind(1)
    rows = _inside(top, bottom, height) * answer["scores"][:, None]
    laid = rows[:, :, None] * _inside(left, right, width)[:, None, :]
    return torch.cat([laid.new_zeros((1, height, width)), laid]).amax(0, keepdim=True)


def _inside(start: Tensor, stop: Tensor, size: int) -> Tensor:
    """Return (n, size): 1 where the centre of a pixel lies between start and stop."""
    pixel = torch.arange(size, device=start.device) + 0.5
    return ((pixel >= start[:, None]) & (pixel < stop[:, None])).to(start.dtype)


def box_recall(proposed: Any, labelled: Any, iou: float = 0.5) -> float:
    """Return the share of the labelled boxes that one of the proposed ones meets; nan without any.

    Args:
        proposed: (n, 4) boxes.
        labelled: (m, 4) boxes.
        iou: least intersection over union.
    """
    if not len(labelled):
        return float("nan")
    if not len(proposed):
        return 0.0
    low = np.maximum(proposed[:, None, :2], labelled[None, :, :2])
    high = np.minimum(proposed[:, None, 2:], labelled[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (proposed, labelled)]
    overlap = shared / (areas[0][:, None] + areas[1][None] - shared)
    return float((overlap.max(axis=0) >= iou).mean())
