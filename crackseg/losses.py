"""Losses by name: (logits, target, valid) -> scalar.

``logits`` are (N, 1, H, W) float, ``target`` the same shape in {0, 1}, ``valid`` bool of the same
shape (True = counts), or float weights for ``dice_bce`` and its parts. Every loss here has a useful
gradient on a tile without any crack; the binary Dice of segmentation-models-pytorch has none there
(loss 0, gradient 0), which is how models learn to fire on crack-free walls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from crackseg.names import look_up

Tensor = Any
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def dice(logits: Tensor, target: Tensor, valid: Tensor, *, eps: float = 1.0) -> Tensor:
    """Return the Dice loss of the crack class, per image and then averaged (the paper's).

    1 - (2 sum(p g) + eps) / (sum p + sum g + eps). On a crack-free image the gradient is
    eps / (sum p + eps)^2 per pixel: present, but weak while the whole tile is called crack.

    Source: Feng et al., Sensors 2020, 20(7):2069; eps after ``cdds`` table b.1.
    """
    p, g = _masked(logits, target, valid)
    overlap, total = (p * g).sum((1, 2, 3)), (p + g).sum((1, 2, 3))
    return (1 - (2 * overlap + eps) / (total + eps)).mean()


def batch_dice(logits: Tensor, target: Tensor, valid: Tensor, *, eps: float = 1.0) -> Tensor:
    """Return the Dice loss of the crack class with sums over the whole batch.

    Crack-free tiles then weigh on the same denominator as tiles with cracks, so their false
    pixels cost as much as any other.
    """
    weight, g = valid.to(logits.dtype), target.to(logits.dtype)
    p = torch.sigmoid(logits)
    overlap, total = (weight * p * g).sum(), (weight * (p + g)).sum()
    return 1 - (2 * overlap + eps) / (total + eps)


def bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the mean binary cross entropy of the valid pixels."""
    value = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    return _mean(value, valid)


def dice_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return batch Dice plus binary cross entropy."""
    return batch_dice(logits, target, valid) + bce(logits, target, valid)


def focal(logits: Tensor, target: Tensor, valid: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Return the mean focal loss, alpha 0.75 for crack pixels.

    Source: Lin et al., Focal Loss for Dense Object Detection, 2017, equation 5.
    """
    target = target.to(logits.dtype)
    value = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    wrong = torch.where(target > 0.5, 1 - p, p)
    alpha = torch.where(target > 0.5, 0.75, 0.25)
    return _mean(alpha * wrong**gamma * value, valid)


def dice_cldice(
    logits: Tensor, target: Tensor, valid: Tensor, *, share: float = 0.3, steps: int = 5
) -> Tensor:
    """Return Dice + BCE with a ``share`` of soft centre-line Dice.

    Source: Shit et al., clDice, CVPR 2021, algorithm 1 (soft skeleton by ``steps`` openings).
    """
    p, g = _masked(logits, target, valid)
    skeleton_p, skeleton_g = _soft_skeleton(p, steps), _soft_skeleton(g, steps)
    precision = ((skeleton_p * g).sum() + 1) / (skeleton_p.sum() + 1)
    recall = ((skeleton_g * p).sum() + 1) / (skeleton_g.sum() + 1)
    centre = 1 - 2 * precision * recall / (precision + recall)
    return (1 - share) * dice_bce(logits, target, valid) + share * centre


def line_dice_bce(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return batch Dice plus binary cross entropy in which a crack weighs by its length.

    Pooled over pixels, a crack of 2 px counts a tenth of one of 20; here what is labelled less
    than 3 px wide counts thrice, less than 5 px twice.
    """
    target = target.to(logits.dtype)
    weight = line_weight(target) * valid.to(logits.dtype)
    p = torch.sigmoid(logits)
    overlap, total = (weight * p * target).sum(), (weight * (p + target)).sum()
    value = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (weight * value).sum() / weight.sum().clamp(min=1)
    return 1 - (2 * overlap + 1) / (total + 1) + entropy


def line_weight(target: Tensor) -> Tensor:
    """Return the weight of every pixel: 3 and 2 on labels under 3 and 5 px wide, 1 elsewhere."""
    weight = torch.ones_like(target)
    for reach in (1, 2):
        side = 2 * reach + 1
        eroded = -F.max_pool2d(-target, side, 1, reach)
        weight = weight + target - F.max_pool2d(eroded, side, 1, reach)
    return weight


def outline_weight(target: Tensor, weight: float) -> Tensor:
    """Return ``weight`` on pixels of a label of 3 px and more within 2 px of its outline, else 1.

    Args:
        target: (N, 1, H, W) bool, labels whose outline is to be met.
        weight: 1 or more; see ``FitOptions.outline_weight``.
    """
    label = target.to(torch.float32)
    body, deep = (-F.max_pool2d(-label, side, 1, side // 2) for side in (3, 5))
    wide = F.max_pool2d(body, 9, 1, 4) * label
    return 1 + (weight - 1) * (wide - deep).clamp(min=0)


def seen_somehow(logits: Tensor, either: Tensor) -> Tensor:
    """Return the mean cost of passing over pixels that are a crack or another line.

    Args:
        logits: (N, 2, H, W), crack and other line.
        either: (N, 1, H, W) bool.
    """
    quiet = F.softplus(logits).sum(1, keepdim=True)  # minus the logarithm of "neither of the two"
    value = -torch.log1p(-torch.exp(-quiet).clamp(max=1 - 1e-4))
    return _mean(value, either)


LOSSES: dict[str, Loss] = {
    "dice": dice,
    "batch_dice": batch_dice,
    "bce": bce,
    "dice_bce": dice_bce,
    "focal": focal,
    "dice_cldice": dice_cldice,
    "line_dice_bce": line_dice_bce,
}


def deep_loss(
    name: str, outputs: Sequence[Tensor], target: Tensor, valid: Tensor, branch_weight: float
) -> Tensor:
    """Return the loss of the first output plus ``branch_weight`` times that of each branch.

    Args:
        outputs: (N, 1, H, W) logits, the fused map first, then the skip branches.

    Source: Feng et al. 2020 (one Dice loss per branch joins the main loss).
    """
    loss = look_up(LOSSES, name, what="loss")
    total = loss(outputs[0], target, valid)
    for branch in outputs[1:] if branch_weight else ():
        total = total + branch_weight * loss(branch, target, valid)
    return total


def _masked(logits: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Return probability and target with invalid pixels at zero."""
    keep = valid.to(logits.dtype)
    return torch.sigmoid(logits) * keep, target.to(logits.dtype) * keep


def _mean(value: Tensor, valid: Tensor) -> Tensor:
    keep = valid.to(value.dtype)
    return (value * keep).sum() / keep.sum().clamp(min=1)


def _soft_skeleton(x: Tensor, steps: int) -> Tensor:
    def erode(y: Tensor) -> Tensor:
        return -F.max_pool2d(-y, 3, 1, 1)

    def opened(y: Tensor) -> Tensor:
        return F.max_pool2d(erode(y), 3, 1, 1)

    skeleton = F.relu(x - opened(x))
    for _ in range(steps):
        x = erode(x)
        skeleton = skeleton + F.relu(x - opened(x)) * (1 - skeleton)
    return skeleton
