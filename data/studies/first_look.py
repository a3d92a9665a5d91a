"""Ask whether a first look may decide what is read: ``first_look.py FOLDER_OF_THE_SETS [EVERY]``.

Two first looks at a tile are tried: the first of its four readings, and the network on the picture
at half its size. Where the look nowhere reaches a level, the tile is given up. Told is how much of
the centre line that four readings find is lost by that, by width class, and how many squares of
sound concrete are spared. Squares of 512 px stand for tiles; smaller ones for tiles into which a
crack reaches by a short piece alone. Validation pictures only, every EVERYth of each list.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.morphology import skeletonize

from crackseg.config import MaskOptions, PredictOptions
from crackseg.imagery.files import open_image
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.metrics import dilate
from crackseg.metrology.masks import probability_to_mask
from crackseg.training.evaluate import load_samples
from crackseg.training.judge import CLASSES, TOLERANCE_PX, Truth, read_truth
from crackseg.training.manifest import read_pair

Array = NDArray[Any]
SETS = ("crack_free", "deepcrack", "masonry", "quay_hair", "sdnet_wall", "uav_seawall", "wall_hair")
LEVELS = (0.02, 0.05, 0.1, 0.2)
SQUARES_PX = (512, 256, 128)


def main(root: Path, every: int) -> None:
    """Print a table of what each first look loses and spares."""
    four = Predictor.open("default", PredictOptions(readings=4, reread_from=0))
    once = Predictor(four.model, PredictOptions(readings=1))
    hits_px: Array = np.zeros(len(CLASSES))
    rest_px: defaultdict[tuple[str, int, float], Array] = defaultdict(
        lambda: np.zeros(len(CLASSES))
    )
    spared: defaultdict[tuple[str, int, float], list[bool]] = defaultdict(list)
    for name in SETS:
        for sample in load_samples(root, split="val", sets=(name,))[::every]:
            truth = read_truth(sample, *read_pair(sample))
            marked = lines(four, sample.image)
            hits_px += by_class(marked, truth)
            for look, level_map in looks(once, sample.image):
                for side in SQUARES_PX:
                    for level in LEVELS:
                        keep = decide(level_map, side, level)
                        rest_px[look, side, level] += by_class(marked & spread(keep, marked), truth)
                        if not truth.line.any():
                            spared[look, side, level] += (~keep).ravel().tolist()
    print(
        "| first look | square, px | level | " + " | ".join(CLASSES) + " | sound squares spared |"
    )
    print("|---" * (4 + len(CLASSES)) + "|")
    for key, line in rest_px.items():
        lost = " | ".join(
            f"{100 * (1 - a / b) if b else 0:.2f} %" for a, b in zip(line, hits_px, strict=True)
        )
        print(f"| {key[0]} | {key[1]} | {key[2]:g} | {lost} | {np.mean(spared[key]):.0%} |")


def lines(predictor: Predictor, path: Path) -> Array:
    """Return the (H, W) bool centre lines that the product marks."""
    with open_image(path) as image:
        prediction = predictor.predict(image)
    high, low = thresholds(MaskOptions(), predictor.card)
    mask = probability_to_mask(
        prediction.probability, threshold=high, threshold_low=low, options=MaskOptions()
    )
    marked: Array = skeletonize(mask) if mask.any() else mask
    return marked


def looks(once: Predictor, path: Path) -> Iterator[tuple[str, Array]]:
    """Yield the name of each first look and its (H, W) probability, 0 to 1."""
    with open_image(path) as image:
        pixels = image.read()
        yield "first reading", once.predict(image).probability / 255
    height, width = pixels.shape[:2]
    size = (-(-width // 2), -(-height // 2))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "half.png"
        file.write_bytes(cv2.imencode(".png", small[..., ::-1])[1].tobytes())
        with open_image(file) as image:
            probability = once.predict(image).probability / 255
    yield "half size", cv2.resize(probability, (width, height), interpolation=cv2.INTER_NEAREST)


def decide(probability: Array, side_px: int, level: float) -> Array:
    """Return (rows, cols) bool: the squares in which the look reaches the level."""
    height, width = probability.shape
    rows, cols = max(round(height / side_px), 1), max(round(width / side_px), 1)
    down = np.linspace(0, height, rows + 1).astype(int)
    right = np.linspace(0, width, cols + 1).astype(int)
    most = np.maximum.reduceat(
        np.maximum.reduceat(probability, down[:-1], axis=0), right[:-1], axis=1
    )
    marked: Array = most >= level
    return marked


def spread(keep: Array, like: Array) -> Array:
    """Return the squares' decision for every pixel."""
    height, width = like.shape
    size = (width, height)
    grown = cv2.resize(keep.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    pixels: Array = grown > 0
    return pixels


def by_class(marked: Array, truth: Truth) -> Array:
    """Return the labelled centre line that lies near a marked one, px by width class."""
    if not marked.any():
        return np.zeros(len(CLASSES))
    hits = dilate(marked, TOLERANCE_PX)[truth.line]
    return np.bincount(truth.width_class[hits], minlength=len(CLASSES))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
