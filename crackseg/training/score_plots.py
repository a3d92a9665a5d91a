"""Scores -> a precision-recall plot and a sheet of the worst ten pictures; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from crackseg.inference.predictor import Predictor
from crackseg.metrics import count_thresholds
from crackseg.records import Array
from crackseg.training.areas import counted, read_areas
from crackseg.training.evaluate import EvaluateOptions, PictureScore, mark_picture
from crackseg.training.manifest import read_pair

SHEET_COLUMNS, CELL_PX, HEAD_PX = 5, 360, 40
HIT, FALSE, MISSED = (0, 170, 80), (230, 40, 40), (40, 90, 255)  # RGB


def plot_precision_recall(groups: Mapping[str, Sequence[PictureScore]], file: Path) -> None:
    """Draw precision over recall of the bare threshold, one line per set, strict and pooled.

    The dot is the mask that the product makes.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    for level in (0.5, 0.6, 0.7, 0.8, 0.9):
        recall = np.linspace(level / (2 - level) + 1e-3, 1, 200)
        axes.plot(recall, level * recall / (2 * recall - level), color="0.88", lw=0.8, zorder=0)
        axes.text(1.005, level / (2 - level), f"F1 {level}", color="0.6", fontsize=7)
    for name, scores in groups.items():
        pooled = np.sum([score.histogram for score in scores], axis=0)
        if not pooled[1].any():
            continue
        counts = [c for c in count_thresholds(pooled) if c.marked]
        line = axes.plot([c.recall for c in counts], [c.precision for c in counts], label=name)
        made = sum((score.strict for score in scores[1:]), scores[0].strict)
        axes.plot(made.recall, made.precision, "o", color=line[0].get_color())
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision")
    axes.grid(alpha=0.2)
    axes.legend(fontsize=8, loc="lower left")
    figure.savefig(file, dpi=140)


def draw_worst(scores: Sequence[PictureScore], options: EvaluateOptions, file: Path) -> None:
    """Draw the ten worst pictures: hits green, false marks red, misses blue.

    Pictures with cracks rank by strict F1, crack-free ones by the share marked (0.1 % ranks like
    F1 0.5), so that both kinds of failure are seen.
    """
    predictor = Predictor.open(options.model, options.predict)
    worst = sorted(scores, key=_merit)[:10]
    cells = [
        _draw_cell(score, mark_picture(score.sample.image, predictor, options.mask))
        for score in worst
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % SHEET_COLUMNS)
    rows = [np.hstack(cells[k : k + SHEET_COLUMNS]) for k in range(0, len(cells), SHEET_COLUMNS)]
    sheet = cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR)
    file.write_bytes(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())


def _merit(score: PictureScore) -> float:
    if score.strict.labelled:
        return score.strict.f1
    return 1 / (1 + 1000 * score.strict.marked / score.strict.pixels)


def _draw_cell(score: PictureScore, mask: Array) -> Array:
    """Return the (CELL_PX, CELL_PX, 3) uint8 picture with its marks and its name."""
    picture, label = read_pair(score.sample)
    counts = counted(read_areas(score.sample, label.shape))
    if counts is not None:
        mask, label = mask & counts, label & counts
    faint = (picture.astype(np.float32) * 0.6 + 255 * 0.4).astype(np.uint8)
    for where, colour in ((mask & label, HIT), (mask & ~label, FALSE), (label & ~mask, MISSED)):
        faint[where] = colour
    upright = picture.shape[0] > picture.shape[1]
    both = np.concatenate([picture, faint], axis=1 if upright else 0)
    room = CELL_PX - HEAD_PX
    shrink = min(CELL_PX / both.shape[1], room / both.shape[0])
    size = max(1, int(both.shape[1] * shrink)), max(1, int(both.shape[0] * shrink))
    cell = np.full((CELL_PX, CELL_PX, 3), 255, np.uint8)
    cell[HEAD_PX : HEAD_PX + size[1], : size[0]] = cv2.resize(
        both, size, interpolation=cv2.INTER_AREA
    )
    name = f"{score.sample.source}/{score.sample.image.stem}"[:44]
    merit = f"F1 {score.strict.f1:.2f}" if score.strict.labelled else "crack-free"
    share = f"{merit}, marked {score.strict.marked / score.strict.pixels:.2%}"
    for row, text in ((15, name), (33, share)):
        cv2.putText(cell, text, (3, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return cell
