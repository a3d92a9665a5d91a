"""A tile classifier in front of the network: tiles it takes for free of cracks are not searched.

What the classifier misses is lost, so nothing is screened unless a classifier is named, and how
many tiles were left out stands in the report.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from crackseg.config import PredictOptions
from crackseg.errors import ConfigError
from crackseg.inference.models import Model, load_model
from crackseg.inference.runtimes import Forward, open_forward
from crackseg.records import Array, ModelCard, Notice


class Screened:
    """The forward function of a network, called for the tiles alone that the classifier keeps.

    Args:
        forward: (n, h, w, 3) uint8 -> (n, h, w) float32 probability.
        folder: the classifier's model folder.
        options: runtime, device and threads, the same as the network's.

    Raises:
        ConfigError: the folder holds a model of another kind.
        ModelError: the folder is incomplete or altered.
    """

    def __init__(self, forward: Forward, folder: Path, options: PredictOptions) -> None:
        self._forward = forward
        self._model = load_classifier(folder)
        self._classify = open_forward(
            self._model, runtime=options.runtime, device=options.device, threads=options.threads
        )
        self.tiles = self.left_out = 0

    def __call__(self, tiles: Array) -> Array:
        """Return the probability, 0 all over a tile that was left out."""
        parts = _cut(tiles, self._model.card.tile_px)
        judged = self._classify(parts.reshape(-1, *parts.shape[2:]))
        judged = judged.reshape(len(tiles), -1)
        # a value that is not finite keeps the tile
        keep = ~(judged < self._model.card.threshold).all(axis=1)
        probability = np.zeros(tiles.shape[:3], dtype=np.float32)
        if keep.any():
            found = self._forward(tiles[keep])
            probability = np.zeros((len(tiles), *found.shape[1:]), dtype=np.float32)
            probability[keep] = found
        self.tiles += len(tiles)
        self.left_out += int(np.count_nonzero(~keep))
        return probability

    def notice(self) -> Notice:
        """Return how much was left out."""
        card = self._model.card
        text = (
            f"{self.left_out} of {self.tiles} tiles were not searched: `{card.name}` "
            f"{card.version} took them for free of cracks."
        )
        return Notice(code="screened", message=text)


def is_classifier(network: str) -> bool:
    """Tell whether a network of this name decides on whole tiles and draws no outline."""
    return network.startswith("classifier:")


@lru_cache(maxsize=1)  # a folder of photographs opens it once
def load_classifier(folder: Path) -> Model:
    """Return the tile classifier of a model folder.

    Raises:
        ConfigError: the folder holds a model of another kind.
        ModelError: the folder is incomplete or altered.
    """
    model = load_model(folder)
    if not is_classifier(model.card.network):
        raise ConfigError(
            f"`screen` must name the folder of a tile classifier, got `{model.card.name}`, a "
            f'`{model.card.network}`; train one with network = "classifier:resnet18".'
        )
    return model


def screening_card(options: PredictOptions) -> ModelCard | None:
    """Return the card of the tile classifier that the options name, None if they name none."""
    return None if options.screen is None else load_classifier(options.screen).card


def _cut(tiles: Array, size: int) -> Array:
    """Return (n, k, size, size, 3): each tile in squares, its last pixels repeated to fill them."""
    count, height, width, _ = tiles.shape
    pads = [(0, 0), (0, -height % size), (0, -width % size), (0, 0)]
    padded = np.pad(tiles, pads, mode="edge")
    rows, cols = padded.shape[1] // size, padded.shape[2] // size
    parts = padded.reshape(count, rows, size, cols, size, 3).swapaxes(2, 3)
    return parts.reshape(count, rows * cols, size, size, 3)
