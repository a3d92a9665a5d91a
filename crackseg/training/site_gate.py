"""Photographs of a site -> the gate of a site's network: which pictures look like it.

Tiles as an analysis reads them, half of them where marks are, half of them in other light or at
another scale: next year's survey will not be this one. How far photographs that were held out are
from what the gate knows says how wide it has to be.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch

from crackseg.networks.cdds_site import describe
from crackseg.records import Array, Sample
from crackseg.training.areas import LEFT_OUT, read_areas
from crackseg.training.manifest import read_pair

TILES = 64  # of all photographs together, more than the gate has axes by far
_LIMIT = 1.3  # the gate's half-way mark, over the distance of nearly all tiles of the site
_NEARLY_ALL = 0.98
_SCALES = 0.85, 1.18
_GAIN, _TINT = (0.8, 1.2), (0.96, 1.04)


def fit_gate(
    network: Any, learned: Sequence[Sample], held_out: Sequence[Sample], tile_px: int, norm: Any
) -> None:
    """Set the gate of a site's network.

    Args:
        network: of ``cdds_site``.
        learned: photographs whose look it takes.
        held_out: photographs of the same site by which it is made wide enough.
        tile_px: side of the tiles of an analysis.
        norm: (N, 3, H, W) uint8 -> the network's input.
    """
    rng = np.random.default_rng(0)
    of_site = _describe(network, learned, tile_px, norm, rng)
    others = _describe(network, held_out, tile_px, norm, rng)
    network.set_gate(of_site)
    with torch.no_grad():
        away = [torch.quantile(network.distance(each), _NEARLY_ALL) for each in (of_site, others)]
        network.limit.fill_(_LIMIT * float(max(away)))


def _describe(
    network: Any, samples: Sequence[Sample], tile_px: int, norm: Any, rng: np.random.Generator
) -> Any:
    """Return the descriptions of tiles of photographs, (N, D)."""
    each = -(-TILES // len(samples))
    descriptions = []
    for sample in samples:
        for tile in _tiles(sample, each, tile_px, rng):
            x = norm(torch.from_numpy(tile.transpose(2, 0, 1)[None].copy()))
            with torch.no_grad():
                descriptions.append(describe(network.parent.encoder(x)))
    return torch.cat(descriptions)


def _tiles(sample: Sample, count: int, tile_px: int, rng: np.random.Generator) -> list[Array]:
    picture, mask = read_pair(sample)
    areas = read_areas(sample, mask.shape)
    marks = mask if areas is None else mask | ((areas > 0) & (areas != LEFT_OUT))
    rows, cols = np.nonzero(marks)
    tiles = []
    for number in range(count):
        scale = rng.uniform(*_SCALES) if number % 2 else 1.0
        sides = [min(round(tile_px / scale), side) for side in mask.shape]
        if len(rows) and number % 4 < 2:
            k = rng.integers(len(rows))
            at = rows[k] - rng.integers(sides[0]), cols[k] - rng.integers(sides[1])
        else:
            at = rng.integers(mask.shape[0]), rng.integers(mask.shape[1])
        row, col = (
            int(np.clip(a, 0, whole - side))
            for a, whole, side in zip(at, mask.shape, sides, strict=True)
        )
        tile = np.ascontiguousarray(picture[row : row + sides[0], col : col + sides[1]])
        if number % 2:
            size = [max(round(side * scale / 32), 1) * 32 for side in reversed(sides)]
            how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            tile = _relit(np.asarray(cv2.resize(tile, size, interpolation=how)), rng)
        height, width = (side // 32 * 32 or side for side in tile.shape[:2])
        tiles.append(np.ascontiguousarray(tile[:height, :width]))
    return tiles


def _relit(picture: Array, rng: np.random.Generator) -> Array:
    light = rng.uniform(*_GAIN) * rng.uniform(*_TINT, 3)
    return np.asarray(np.clip(picture * light, 0, 255).astype(np.uint8))
