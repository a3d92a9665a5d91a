"""A network -> its parameters and multiply-accumulate operations, without running it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a network weighs and works."""

    parameters: int
    gmac: float  # 1e9 multiply-accumulate operations of one forward pass


def measure_cost(network: Any, height_px: int = 512, width_px: int = 512) -> Cost:
    """Return the cost of one picture, counted on shapes alone (no memory, no arithmetic).

    Convolutions and matrix products are counted; normalisation and activation are not. A network
    whose shapes depend on what it finds (Mask R-CNN) is run on an empty picture instead.

    Args:
        network: module (N, 3, H, W) -> logits.
        height_px: rows of the picture.
        width_px: columns of the picture.
    """
    size = (1, 3, height_px, width_px)
    twin = copy.deepcopy(network).eval()
    try:
        shapes = copy.deepcopy(twin).to("meta")
        operations = _count_operations(shapes, torch.empty(size, device="meta"))
    except NotImplementedError:  # torch's word for a shape that depends on values
        operations = _count_operations(twin.cpu(), torch.zeros(size))
    parameters = sum(p.numel() for p in network.parameters())
    return Cost(parameters=parameters, gmac=operations / 2e9)


def _count_operations(network: Any, picture: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(picture)
    return int(counter.get_total_flops())
