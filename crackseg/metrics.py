"""Masks or probabilities beside labels -> counts -> scores. The class is crack, never background.

Everything is counted first and divided last, so that scores can be pooled over pixels (add the
counts of all images) or averaged over images (``mean_defined`` of the scores of each). Counts keep
hits from both sides, because with a tolerance the marked pixels near a label and the labelled
pixels near a mark are two numbers; strict, they are one (the true positives).

A score whose denominator is empty is nan, never 0 or 1: precision of nothing marked, recall of
nothing labelled, and F1, IoU and clDice where neither is there. Where only one of the two is
empty, F1, IoU and clDice are 0. Means leave nan out and tell how many images counted.

Refused: arrays of unequal shape or of other types than bool (masks) and uint8 (probabilities,
255 = 1.0).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from crackseg.errors import DataError
from crackseg.raster_tools import skeletonize
from crackseg.records import Array

ALARM_SHARE = 0.001  # a crack-free image with more than 0.1 % of its pixels marked is an alarm
SCORES = ("precision", "recall", "f1", "iou", "tpr", "tnr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Pixels marked, labelled and agreed on; add two to pool them."""

    marked: int
    labelled: int
    marked_hits: int  # marked pixels within the tolerance of a labelled one
    labelled_hits: int  # labelled pixels within the tolerance of a marked one
    pixels: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            marked=self.marked + other.marked,
            labelled=self.labelled + other.labelled,
            marked_hits=self.marked_hits + other.marked_hits,
            labelled_hits=self.labelled_hits + other.labelled_hits,
            pixels=self.pixels + other.pixels,
        )

    @property
    def precision(self) -> float:
        """Share of the marked pixels that are crack."""
        return _divide(self.marked_hits, self.marked)

    @property
    def recall(self) -> float:
        """Share of the labelled pixels that are marked."""
        return _divide(self.labelled_hits, self.labelled)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall (strict: the Dice coefficient)."""
        if not (self.marked_hits and self.labelled_hits):
            return 0.0 if self.marked or self.labelled else math.nan
        return 2 / (1 / self.precision + 1 / self.recall)

    @property
    def iou(self) -> float:
        """Intersection over union of the crack class; with a tolerance, F1 / (2 - F1)."""
        return self.f1 / (2 - self.f1)

    @property
    def tpr(self) -> float:
        """Rate of true positives: recall under its other name."""
        return self.recall

    @property
    def tnr(self) -> float:
        """Share of the unlabelled pixels that are rightly unmarked."""
        free = self.pixels - self.labelled
        return _divide(free - (self.marked - self.marked_hits), free)

    def scores(self) -> dict[str, float]:
        """Return every score by name."""
        return {name: getattr(self, name) for name in SCORES}


NOTHING = Counts(marked=0, labelled=0, marked_hits=0, labelled_hits=0, pixels=0)


def count(
    marked: Array, labelled: Array, *, tolerance_px: float = 0.0, counts: Array | None = None
) -> Counts:
    """Count the pixels of two masks that agree.

    Args:
        marked: (H, W) bool, predicted crack.
        labelled: (H, W) bool, true crack.
        tolerance_px: a pixel also agrees with one of the other mask at this distance (Euclidean,
            between pixel centres).
        counts: (H, W) bool, True where pixels are counted; None: everywhere.

    Example:
        >>> label = np.zeros((8, 8), dtype=bool)
        >>> label[:, 3] = True
        >>> beside = np.roll(label, 1, axis=1)
        >>> count(beside, label).f1, count(beside, label, tolerance_px=2).f1
        (0.0, 1.0)
    """
    _require_masks(marked, labelled)
    near_label, near_mark = dilate(labelled, tolerance_px), dilate(marked, tolerance_px)
    marked, labelled = _counted(marked, counts), _counted(labelled, counts)
    return Counts(
        marked=int(np.count_nonzero(marked)),
        labelled=int(np.count_nonzero(labelled)),
        marked_hits=int(np.count_nonzero(marked & near_label)),
        labelled_hits=int(np.count_nonzero(labelled & near_mark)),
        pixels=marked.size if counts is None else int(np.count_nonzero(counts)),
    )


def count_centre_lines(marked: Array, labelled: Array, counts: Array | None = None) -> Counts:
    """Count centre-line pixels that lie inside the other mask; ``f1`` of the result is clDice.

    Source: Shit et al., clDice, CVPR 2021, equations 1 to 3 (precision and recall are its
    topology precision and sensitivity).
    """
    _require_masks(marked, labelled)
    marked_line = _counted(skeletonize(marked), counts)
    labelled_line = _counted(skeletonize(labelled), counts)
    return Counts(
        marked=int(np.count_nonzero(marked_line)),
        labelled=int(np.count_nonzero(labelled_line)),
        marked_hits=int(np.count_nonzero(marked_line & labelled)),
        labelled_hits=int(np.count_nonzero(labelled_line & marked)),
        pixels=marked.size if counts is None else int(np.count_nonzero(counts)),
    )


def _counted(mask: Array, counts: Array | None) -> Array:
    return mask if counts is None else mask & counts


def dilate(mask: Array, radius_px: float) -> Array:
    """Return the (H, W) bool mask of pixels within ``radius_px`` of one that is True."""
    reach = int(radius_px)
    grown = mask.copy()
    for row in range(-reach, reach + 1):
        for col in range(-reach, reach + 1):
            if 0 < row * row + col * col <= radius_px * radius_px:
                grown[_shifted(row), _shifted(col)] |= mask[_shifted(-row), _shifted(-col)]
    return grown


def histogram(probability: Array, labelled: Array, counts: Array | None = None) -> Array:
    """Return (2, 256) pixel numbers by uint8 probability: row 0 background, row 1 crack.

    Args:
        probability: (H, W) uint8.
        labelled: (H, W) bool.
        counts: (H, W) bool, True where pixels are counted; None: everywhere.
    """
    if probability.dtype != np.uint8 or probability.shape != labelled.shape:
        raise DataError(
            f"`probability` must be uint8 of the label's shape {labelled.shape}, got "
            f"{probability.dtype} {probability.shape}."
        )
    judged = probability.ravel() if counts is None else probability[counts]
    every = np.bincount(judged, minlength=256)
    crack = np.bincount(probability[_counted(labelled, counts)], minlength=256)
    return np.stack([every - crack, crack])


def count_thresholds(histograms: Array) -> tuple[Counts, ...]:
    """Return strict counts at the 255 thresholds 1/255 … 255/255 (marked: not below it).

    Args:
        histograms: (2, 256) of ``histogram``, or the sum of several.
    """
    background, crack = np.flip(np.cumsum(np.flip(histograms, axis=1), axis=1), axis=1)
    return tuple(
        Counts(
            marked=int(background[level] + crack[level]),
            labelled=int(crack[0]),
            marked_hits=int(crack[level]),
            labelled_hits=int(crack[level]),
            pixels=int(background[0] + crack[0]),
        )
        for level in range(1, 256)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BestScores:
    """The best F1 that a free choice of threshold could reach: an upper bound, not a result."""

    ods: float  # one threshold for all images, counts pooled
    ods_threshold: float
    ois: float  # mean over images of the F1 at each image's own best threshold


def best_scores(histograms: Iterable[Array]) -> BestScores:
    """Return ODS and OIS over the 255 thresholds; images without labelled crack pixels are in ODS.

    OIS is a mean over the images whose F1 is defined, as in the crack literature; the boundary
    benchmark it comes from pools counts instead.
    """
    each = list(histograms)
    if not each:
        return BestScores(ods=math.nan, ods_threshold=math.nan, ois=math.nan)
    pooled = [counts.f1 for counts in count_thresholds(np.sum(each, axis=0))]
    if all(math.isnan(value) for value in pooled):
        return BestScores(ods=math.nan, ods_threshold=math.nan, ois=math.nan)
    level = int(np.nanargmax(pooled))
    own = [_best_f1(image) for image in each]
    return BestScores(ods=pooled[level], ods_threshold=(level + 1) / 255, ois=mean_defined(own)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """How much a model marks on images without any crack."""

    images: int
    alarm_rate: float  # share of images with more than ``ALARM_SHARE`` of their pixels marked
    median_share: float  # median over images of the share of marked pixels


def false_alarms(counts: Iterable[Counts]) -> FalseAlarms:
    """Return the false-alarm rate over the images that have no labelled pixel; nan without any."""
    shares = [c.marked / c.pixels for c in counts if c.labelled == 0]
    if not shares:
        return FalseAlarms(images=0, alarm_rate=math.nan, median_share=math.nan)
    return FalseAlarms(
        images=len(shares),
        alarm_rate=float(np.mean([share > ALARM_SHARE for share in shares])),
        median_share=float(np.median(shares)),
    )


def mean_defined(values: Iterable[float]) -> tuple[float, int]:
    """Return the mean of the values that are not nan, and how many those are."""
    defined = [value for value in values if not math.isnan(value)]
    return (math.fsum(defined) / len(defined) if defined else math.nan), len(defined)


def _best_f1(image: Array) -> float:
    """Return the best F1 over all thresholds of one image's (2, 256) histogram."""
    if not image[1].any():
        return math.nan  # without a crack only "mark nothing" is right, and its F1 is undefined
    return max(counts.f1 for counts in count_thresholds(image))


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _shifted(by: int) -> slice:
    """Return the slice that cuts ``by`` pixels at the start (or, negative, at the end)."""
    return slice(by, None) if by >= 0 else slice(None, by)


def _require_masks(marked: Array, labelled: Array) -> None:
    for name, mask in (("marked", marked), ("labelled", labelled)):
        if mask.dtype != np.bool_ or mask.ndim != 2:
            raise DataError(
                f"`{name}` must be an (H, W) bool mask, got {mask.dtype} {mask.shape}; "
                "compare a probability with its threshold first."
            )
    if marked.shape != labelled.shape:
        raise DataError(
            f"`marked` and `labelled` must have one shape, got {marked.shape} and {labelled.shape}."
        )
