"""Scores of pictures -> a table with a row for each and one with their means, as articles print it.

The measures of Feng et al. 2020: precision, recall (= TPR), TNR, F and crack IoU of one picture, at
the bare threshold, and their means over the pictures where they are defined. Empty: undefined, as
recall in a picture without a crack.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from crackseg.metrics import mean_defined
from crackseg.training.evaluate import PictureScore

MEASURES = {  # column -> score of ``Counts``
    "precision": "precision",
    "recall_tpr": "recall",
    "tnr": "tnr",
    "f": "f1",
    "iou": "iou",
}
COLUMNS = ("set", "picture", "site", *MEASURES)
MEAN = "mean"


def is_picture_table(text: str) -> bool:
    """Return whether a text is such a table."""
    return text.splitlines()[:1] == [",".join(COLUMNS)]


def write_picture_table(groups: Mapping[str, Sequence[PictureScore]], file: Path) -> None:
    """Write the table of every set, each with its means, as CSV.

    Args:
        groups: set -> scores of its pictures, as of ``evaluate.group``.
        file: where to write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.part")
    with part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, scores in groups.items():
            for score in scores:
                values = [getattr(score.raw, measure) for measure in MEASURES.values()]
                sample = score.sample
                writer.writerow([name, sample.image.stem, sample.site, *map(_cell, values)])
            means = [
                mean_defined(getattr(score.raw, measure) for score in scores)[0]
                for measure in MEASURES.values()
            ]
            writer.writerow([name, MEAN, "", *map(_cell, means)])
    part.replace(file)


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4f}"
