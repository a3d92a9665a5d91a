"""Cells of a comparison -> scores over the steps, and what each network marks in some pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from crackseg.metrics import dilate
from crackseg.records import Array
from crackseg.training.judge import TOLERANCE_PX

Cell = Mapping[str, Any]
RIGHT, INVENTED, MISSED = (30, 120, 60), (205, 40, 40), (70, 110, 215)


def plot_scores(cells: Sequence[Cell], file: Path) -> None:
    """Draw the score on ``val`` over the steps: the mean of the seeds, and their range."""
    figure = Figure(figsize=(8.2, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for number, name in enumerate(dict.fromkeys(cell["name"] for cell in cells)):
        curves = [cell["curve"] for cell in cells if cell["name"] == name]
        steps = [mark["step"] for mark in curves[0]]
        scores = np.array([[mark["score"] for mark in curve] for curve in curves])
        line = axes.plot(steps, scores.mean(0), marker="osD^vP*X<>"[number % 10], label=name)
        axes.fill_between(
            steps, scores.min(0), scores.max(0), alpha=0.12, color=line[0].get_color()
        )
    axes.set(xlabel="step", ylabel="score on val")
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, dpi=110)


def mark_colours(marked: Array, labelled: Array) -> Array:
    """Return an (H, W, 3) uint8 picture of what is right, invented and missed, within 3 px.

    Args:
        marked: (H, W) bool.
        labelled: (H, W) bool.
    """
    picture = np.full((*marked.shape, 3), 255, np.uint8)
    picture[labelled & ~dilate(marked, TOLERANCE_PX)] = MISSED
    picture[marked & ~dilate(labelled, TOLERANCE_PX)] = INVENTED
    picture[marked & dilate(labelled, TOLERANCE_PX)] = RIGHT
    return picture


def draw_sheet(columns: Mapping[str, Sequence[Array]], file: Path, side: float = 1.25) -> None:
    """Draw pictures of some networks side by side, a column for each.

    Args:
        columns: head of a column -> (H, W, 3) uint8 pictures from top to bottom.
        file: PNG.
        side: of one picture, inches.
    """
    rows = len(next(iter(columns.values())))
    figure = Figure(figsize=(side * len(columns), side * rows + 0.45), layout="constrained")
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for col, (name, pictures) in enumerate(columns.items()):
        grid[0][col].set_title(name, fontsize=6, wrap=True)
        for row, picture in enumerate(pictures):
            grid[row][col].imshow(picture, interpolation="nearest")
            grid[row][col].set(xticks=[], yticks=[])
    figure.savefig(file, dpi=110)
