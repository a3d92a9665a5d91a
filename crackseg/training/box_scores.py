"""A detector and labelled pictures -> how much of the cracks its boxes hold, and the marks inside.

A box says where to look. It is judged by what it holds: the share of the labelled pieces of crack
that are found (box recall) and of the labelled centre line inside, against the share of the picture
that is left to look at. With a mask model beside it, its marks count inside the boxes alone, and
the scores stand beside those of the mask model by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.imagery.files import open_image
from crackseg.inference.predictor import Predictor
from crackseg.networks.boxes import piece_boxes
from crackseg.records import Array, Sample
from crackseg.training.evaluate import EvaluateOptions, mark_picture
from crackseg.training.judge import NO_LINES, LineCounts, count_lines, read_truth
from crackseg.training.manifest import read_pair

HELD = 0.5  # a piece is found when boxes hold this share of its own box


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScores:
    """What the boxes of several pictures hold."""

    pieces: int  # of labelled crack
    found_pieces: int
    line_px: int  # of labelled centre line
    held_px: int  # of it inside boxes
    pixels: int
    boxed_px: int
    free: int = 0  # pictures without a crack
    alarms: int = 0  # of these with a box
    alone: LineCounts = NO_LINES  # of the mask model
    inside: LineCounts = NO_LINES  # of its marks inside boxes

    @property
    def box_recall(self) -> float:
        """Share of the pieces that are found; nan without any."""
        return self.found_pieces / self.pieces if self.pieces else math.nan

    @property
    def line_recall(self) -> float:
        """Share of the centre line inside boxes; nan without any."""
        return self.held_px / self.line_px if self.line_px else math.nan

    def __add__(self, other: BoxScores) -> BoxScores:
        names = BoxScores.__slots__
        return BoxScores(**{name: getattr(self, name) + getattr(other, name) for name in names})


NONE = BoxScores(pieces=0, found_pieces=0, line_px=0, held_px=0, pixels=0, boxed_px=0)


def score_boxes(
    samples: Sequence[Sample],
    options: EvaluateOptions,
    inside: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, BoxScores]:
    """Return the scores of every set.

    Args:
        samples: labelled pictures.
        options: the detector, its threshold, and how it is run.
        inside: mask model whose marks count inside the boxes; None: boxes alone.
        progress: called with pictures done and pictures in all.

    Raises:
        DataError: a pair is broken.
        ModelError: a model is incomplete.
    """
    detector = Predictor.open(options.model, options.predict)
    masks = None if inside is None else Predictor.open(inside, options.predict)
    level = options.mask.threshold
    level = detector.card.threshold if level is None else level
    scores: dict[str, BoxScores] = {}
    for done, sample in enumerate(samples, start=1):
        with open_image(sample.image) as image:
            probability = np.asarray(detector.predict(image).probability)
        boxed = probability >= max(1, math.ceil(level * 255))
        one = _score_one(sample, boxed, masks, options)
        scores[sample.source] = scores.get(sample.source, NONE) + one
        if progress:
            progress(done, len(samples))
    return scores


def box_text(scores: dict[str, BoxScores]) -> str:
    """Return the scores as lines of text."""
    lines = [f"{'boxes':34} pieces  recall  line inside  picture inside  alarms on crack-free"]
    for name, of_set in scores.items():
        alarms = f"{of_set.alarms}/{of_set.free}" if of_set.free else "-"
        lines.append(
            f"{name:34} {of_set.pieces:6}  {_cell(of_set.box_recall)}       "
            f"{_cell(of_set.line_recall)}          {_cell(of_set.boxed_px / of_set.pixels)} "
            f"{alarms:>21}"
        )
    if any(of_set.alone != NO_LINES for of_set in scores.values()):
        lines += ["", f"{'centre lines of the mask model':34}           P      R     F1"]
        for name, of_set in scores.items():
            for what, counts in (("alone", of_set.alone), ("in boxes", of_set.inside)):
                cells = (counts.precision, counts.recall, counts.f1)
                lines.append(f"{name:34} {what:9}" + " ".join(map(_cell, cells)))
    return "\n".join(lines)


def _score_one(
    sample: Sample, boxed: Array, masks: Predictor | None, options: EvaluateOptions
) -> BoxScores:
    picture, label = read_pair(sample)
    truth = read_truth(sample, picture, label, options.line_tolerance_px)
    boxes = piece_boxes(label)
    lines = {"alone": NO_LINES, "inside": NO_LINES}
    if masks is not None:
        marked = mark_picture(sample.image, masks, MaskOptions())
        for name, mask in (("alone", marked), ("inside", marked & boxed)):
            lines[name] = count_lines(mask, truth, MeasureOptions(), options.line_tolerance_px)
    free = not truth.line.any()
    return BoxScores(
        pieces=len(boxes),
        found_pieces=sum(_share(boxed, box) >= HELD for box in boxes),
        line_px=int(np.count_nonzero(truth.line)),
        held_px=int(np.count_nonzero(truth.line & boxed)),
        pixels=boxed.size,
        boxed_px=int(np.count_nonzero(boxed)),
        free=int(free),
        alarms=int(free and boxed.any()),
        **lines,
    )


def _share(boxed: Array, box: Array) -> float:
    left, top, right, bottom = np.rint(box).astype(int)
    return float(boxed[top:bottom, left:right].mean())


def _cell(value: float) -> str:
    return "     -" if math.isnan(value) else f"{value:6.3f}"
