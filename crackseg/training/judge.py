"""Centre lines found and invented -> the score that chooses checkpoints, thresholds and models.

A crack's width is read from the photograph and its length from its centre line, so nobody needs
the outline of a mask; pixel scores pay for outlines, and wide cracks decide them. What an inspector
asks is how much crack is found, thin ones as well as wide ones, how much is invented, and whether
a sound wall stays without an entry. So recall is counted by the crack's width in the photograph and
averaged over the width classes, and the score is ``OBJECTIVE``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.imagery.masks import read_mask
from crackseg.metrics import dilate
from crackseg.metrology.cracks import measure
from crackseg.metrology.masks import probability_to_mask
from crackseg.metrology.pixels import label_pixels, list_pixels
from crackseg.raster_tools import skeletonize
from crackseg.records import Array, Sample, Window
from crackseg.training.areas import counted, read_areas

OBJECTIVE = (
    "mean over sets of the harmonic mean of centre-line precision and recall (averaged over width "
    "classes), less half the share of crack-free images with a listed crack"
)
TOLERANCE_PX = 3.0  # between centre lines; labels and networks both stray by a pixel or two
WIDTHS_PX = (1.5, 2.5, 4.0, 8.0)  # edges of the width classes
CLASSES = ("<1.5", "1.5-2.5", "2.5-4", "4-8", ">8", "unread")
LEAST_LINE_PX = 50  # a class with less labelled line says nothing of its own
_REACH_PX = 6.0  # a labelled pixel has the width of the next station within it
_STATIONS = 15  # widths are the middle one of so many along the line
UNREAD = {"width_from_mask", "not_dark"}  # flags of cracks whose width is not the photograph's

Levels = Sequence[tuple[int, int]]  # lower and upper threshold, in %


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The labelled centre line of one picture."""

    line: Array  # (H, W) bool
    width_class: Array  # (N,) number in CLASSES of each pixel of the line, in row order
    right: Array  # (H, W) bool, where a marked centre line is right
    picture: Array  # (H, W, 3) uint8
    counts: Array | None = None  # (H, W) bool, False where the labels leave out; None: all counts

    @property
    def pixels(self) -> int:
        """Pixels that count."""
        return self.right.size if self.counts is None else int(np.count_nonzero(self.counts))


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCounts:
    """Pixels of centre line in one picture, or in several."""

    marked_px: int
    right_px: int  # marked ones near a labelled line
    labelled_px: tuple[int, ...]  # by width class
    found_px: tuple[int, ...]  # labelled ones near a marked line, by width class
    pixels: int
    free: int = 0  # pictures without a crack
    listed: int = 0  # of these, with a crack in the report

    def __add__(self, other: LineCounts) -> LineCounts:
        def both(one: Iterable[int], two: Iterable[int]) -> tuple[int, ...]:
            return tuple(a + b for a, b in zip(one, two, strict=True))

        return LineCounts(
            marked_px=self.marked_px + other.marked_px,
            right_px=self.right_px + other.right_px,
            labelled_px=both(self.labelled_px, other.labelled_px),
            found_px=both(self.found_px, other.found_px),
            pixels=self.pixels + other.pixels,
            free=self.free + other.free,
            listed=self.listed + other.listed,
        )

    @property
    def precision(self) -> float:
        """Share of the marked centre line that is crack; nan where nothing is marked."""
        return _divide(self.right_px, self.marked_px)

    @property
    def recall(self) -> float:
        """Share of the labelled centre line that is found; nan where nothing is labelled."""
        return _divide(sum(self.found_px), sum(self.labelled_px))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; nan where nothing is labelled."""
        return _harmonic(self.precision, self.recall)

    @property
    def recalls(self) -> tuple[float, ...]:
        """Recall by width class; nan where a class has no labelled line."""
        return tuple(map(_divide, self.found_px, self.labelled_px))

    @property
    def balanced(self) -> float:
        """Harmonic mean of precision and of the recall averaged over the width classes."""
        enough = [
            recall
            for recall, labelled in zip(self.recalls[:-1], self.labelled_px, strict=False)
            if labelled >= LEAST_LINE_PX
        ]
        return _harmonic(self.precision, math.fsum(enough) / len(enough) if enough else self.recall)

    @property
    def false_px_per_megapixel(self) -> float:
        """Invented centre line by area."""
        return (self.marked_px - self.right_px) / self.pixels * 1e6


NO_LINES = LineCounts(
    marked_px=0,
    right_px=0,
    labelled_px=(0,) * len(CLASSES),
    found_px=(0,) * len(CLASSES),
    pixels=0,
)


def pool(counts: Iterable[LineCounts]) -> LineCounts:
    """Return the sum of several counts."""
    return sum(counts, NO_LINES)


def judge(counts: Mapping[str, Sequence[LineCounts]]) -> float:
    """Return the score of the counts of several sets; see ``OBJECTIVE``."""
    of_sets = [pool(of_set) for of_set in counts.values()]
    values = [each.balanced for each in of_sets if sum(each.labelled_px)]
    free = sum(each.free for each in of_sets)
    alarms = sum(each.listed for each in of_sets) / free if free else 0.0
    return (math.fsum(values) / len(values) if values else 0.0) - 0.5 * alarms


def read_truth(
    sample: Sample, picture: Array, label: Array, tolerance_px: float = TOLERANCE_PX
) -> Truth:
    """Return the labelled centre line of a picture, with its width in the photograph.

    A set whose labels leave cracks out may bring ``zones`` beside ``masks``: a marked line is right
    where it lies in a zone. What its ``areas`` leave out is neither labelled nor counted.

    Args:
        sample: names the files.
        picture: (H, W, 3) uint8 RGB.
        label: (H, W) bool.
        tolerance_px: a marked line is right so near to a labelled one.
    """
    counts = counted(read_areas(sample, label.shape))
    if counts is not None:
        label = label & counts
    line = skeletonize(label) if label.any() else label
    zone = sample.mask.parent.parent / "zones" / sample.mask.name
    right = read_mask(zone).pixels if zone.is_file() else dilate(line, tolerance_px)
    width_class = _width_classes(line_widths(line, label, picture))
    return Truth(line=line, width_class=width_class, right=right, picture=picture, counts=counts)


def count_lines(
    mask: Array, truth: Truth, options: MeasureOptions, tolerance_px: float = TOLERANCE_PX
) -> LineCounts:
    """Count the centre line of a mask against the labelled one.

    Args:
        mask: (H, W) bool, as the product makes it.
        truth: of the same picture.
        options: which cracks a report lists.
        tolerance_px: distance within which two lines are one.
    """
    marked = skeletonize(mask) if mask.any() else mask
    hits = dilate(marked, tolerance_px)[truth.line]
    free = not truth.line.any()
    if truth.counts is not None:
        marked = marked & truth.counts
    return LineCounts(
        marked_px=int(np.count_nonzero(marked)),
        right_px=int(np.count_nonzero(marked & truth.right)),
        labelled_px=_by_class(truth.width_class),
        found_px=_by_class(truth.width_class[hits]),
        pixels=truth.pixels,
        free=int(free),
        listed=int(free and _is_listed(mask, truth, options)),
    )


def count_levels(
    probability: Array,
    truth: Truth,
    levels: Levels,
    options: MaskOptions,
    tolerance_px: float = TOLERANCE_PX,
) -> dict[tuple[int, int], LineCounts]:
    """Return what ``count_lines`` gives for the mask of every pair of thresholds.

    The line is thinned once for each lower threshold; the upper one keeps or drops whole regions.

    Args:
        probability: (H, W) uint8.
        truth: of the same picture.
        levels: pairs of thresholds.
        options: speck size; its thresholds are not read.
        tolerance_px: distance within which two lines are one.
    """
    free = not truth.line.any()
    counts = {}
    for low in sorted({low for low, _ in levels}):
        lower = {"threshold": low / 100, "threshold_low": low / 100, "options": options}
        mask = probability_to_mask(probability, **lower)  # type: ignore[arg-type]
        marked, peak = _lines_and_peaks(mask, probability)
        hits = _spread(peak, truth.line, tolerance_px)
        if truth.counts is not None:
            marked, peak = marked & truth.counts, np.where(truth.counts, peak, 0)
        right = truth.right & marked
        listed: dict[int, bool] = {}
        for high in (high for its_low, high in levels if its_low == low):
            least = math.ceil(high / 100 * 255)
            whole = int(np.count_nonzero(peak >= least))
            if free and whole and whole not in listed:
                pair = {"threshold": high / 100, "threshold_low": low / 100, "options": options}
                region = probability_to_mask(probability, **pair)  # type: ignore[arg-type]
                listed[whole] = _is_listed(region, truth, MeasureOptions())
            counts[low, high] = LineCounts(
                marked_px=whole,
                right_px=int(np.count_nonzero(peak[right] >= least)),
                labelled_px=_by_class(truth.width_class),
                found_px=_by_class(truth.width_class[hits >= least]),
                pixels=truth.pixels,
                free=int(free),
                listed=int(free and listed.get(whole, False)),
            )
    return counts


def figures(counts: LineCounts) -> dict[str, Any]:
    """Return every figure of pooled counts as plain values; undefined is nan."""
    return {
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "balanced_f1": counts.balanced,
        "by_width": {
            name: {"labelled_px": labelled, "recall": recall}
            for name, labelled, recall in zip(
                CLASSES, counts.labelled_px, counts.recalls, strict=True
            )
        },
        "false_px_per_megapixel": counts.false_px_per_megapixel,
        "crack_free": counts.free,
        "listed_rate": _divide(counts.listed, counts.free),
    }


def line_widths(line: Array, label: Array, picture: Array) -> Array:
    """Return the width in the photograph of every pixel of a labelled line; nan: none is read.

    Args:
        line: (H, W) bool, with N pixels.
        label: (H, W) bool, that the line is of.
        picture: (H, W, 3) uint8 RGB.

    Returns:
        (N,) px, in row order.
    """
    unknown = np.full(int(np.count_nonzero(line)), np.nan)
    if not len(unknown):
        return unknown
    cracks, _ = measure(
        label,
        image=partial(_window, picture),
        mask_options=MaskOptions(),
        options=MeasureOptions(),
    )
    branches = [b for c in cracks if not UNREAD & set(c.flags) for b in c.branches]
    if not branches:
        return unknown
    points = np.concatenate([branch.centre_line for branch in branches])
    widths = np.concatenate([_running_median(branch.width_px) for branch in branches])
    away, nearest = cKDTree(points).query(np.argwhere(line))
    return np.where(away <= _REACH_PX, widths[nearest], np.nan)


def _width_classes(widths: Array) -> Array:
    """Return the number in ``CLASSES`` of every width."""
    classes: Array = np.digitize(np.nan_to_num(widths), WIDTHS_PX)
    return np.where(np.isnan(widths), len(CLASSES) - 1, classes)


def _running_median(widths: Array) -> Array:
    """Return the middle width around each station of a branch, (N,); nan where none is read."""
    half = _STATIONS // 2
    smooth = np.full(len(widths), np.nan)
    for k in range(len(widths)):
        near = widths[max(k - half, 0) : k + half + 1]
        near = near[np.isfinite(near)]
        if len(near):
            smooth[k] = np.median(near)
    return smooth


def _lines_and_peaks(mask: Array, probability: Array) -> tuple[Array, Array]:
    """Return the (H, W) centre line of a mask and its regions' largest probability along it."""
    peak = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return mask, peak
    marked = skeletonize(mask)
    pixels = list_pixels(mask)
    count, region = label_pixels(pixels)
    most = np.zeros(count, np.uint8)
    np.maximum.at(most, region, probability[pixels.rows, pixels.cols])
    peak[pixels.rows, pixels.cols] = most[region]
    peak[~marked] = 0
    return marked, peak


def _spread(peak: Array, line: Array, tolerance_px: float) -> Array:
    """Return, for every pixel of a labelled line, the largest peak of a marked one near it."""
    reach = int(tolerance_px)
    down, right = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (down**2 + right**2 <= tolerance_px**2).astype(np.uint8)
    best: Array = cv2.dilate(peak, disc)[line]
    return best


def _by_class(classes: Array) -> tuple[int, ...]:
    return tuple(np.bincount(classes, minlength=len(CLASSES)).tolist())


def _is_listed(mask: Array, truth: Truth, options: MeasureOptions) -> bool:
    mask = mask if truth.counts is None else without_left_out(mask, truth.counts)
    if not mask.any():
        return False
    cracks, _ = measure(
        mask, image=partial(_window, truth.picture), mask_options=MaskOptions(), options=options
    )
    return bool(cracks)


def without_left_out(mask: Array, counts: Array) -> Array:
    """Return a mask without the regions that lie for the larger part where nothing counts.

    What such a region has beyond the border of that area is no finding of its own.
    """
    pixels = list_pixels(mask)
    if not len(pixels):
        return mask
    number, region = label_pixels(pixels)
    size = np.bincount(region, minlength=number)
    inside = np.bincount(region, weights=counts[pixels.rows, pixels.cols], minlength=number)
    remaining = mask.copy()
    gone = (2 * inside < size)[region]
    remaining[pixels.rows[gone], pixels.cols[gone]] = False
    return remaining


def _window(picture: Array, window: Window) -> Array:
    cut: Array = picture[window.slices]
    return cut


def _harmonic(precision: float, recall: float) -> float:
    if math.isnan(recall):
        return math.nan
    if math.isnan(precision) or not precision or not recall:
        return 0.0
    return 2 / (1 / precision + 1 / recall)


def _divide(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
