"""A model and labelled pictures -> scores, through the same chain that analyzes a photograph.

Whole pictures are predicted tile by tile and turned into masks by the product's own steps
(threshold with hysteresis, specks dropped); beside them stand the scores of the bare threshold.
Scores are pooled over pixels and averaged over pictures, strict and with a tolerance, and cracks
are measured in prediction and label alike. The score of ``judge``, from centre
lines, is what is chosen by; the two thresholds are chosen on ``val`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions, PredictOptions, to_plain
from crackseg.errors import ConfigError, DataError
from crackseg.imagery.files import OpenImage, open_image
from crackseg.inference.models import thresholds
from crackseg.inference.predictor import Predictor
from crackseg.metrics import (
    NOTHING,
    SCORES,
    Counts,
    best_scores,
    count,
    count_centre_lines,
    count_thresholds,
    dilate,
    false_alarms,
    histogram,
    mean_defined,
)
from crackseg.metrology.cracks import measure
from crackseg.metrology.masks import probability_to_mask
from crackseg.raster_tools import skeletonize
from crackseg.records import Array, Crack, ModelCard, Prediction, Sample
from crackseg.training.areas import counted, read_areas
from crackseg.training.judge import (
    OBJECTIVE,
    TOLERANCE_PX,
    LineCounts,
    count_levels,
    count_lines,
    figures,
    judge,
    pool,
    read_truth,
    without_left_out,
)
from crackseg.training.manifest import (
    index_folder,
    read_manifest,
    read_pair,
    refuse_unknown_sets,
)
from crackseg.training.pod import Piece, find_pieces

Progress = Callable[[int, int], None]  # pictures done, pictures in all
LOWS = (2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 80)  # % tried for the lower one
_FARTHEST_PX = 1000  # of lines that are one: no picture is so coarse
LEAKY = "official (with test_leaky)"  # ends the name of a group that holds leaky pictures too
FOUND_SHARE = 0.5  # a crack is found when this share of its centre line lies near the other mask


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateOptions:
    """What is scored and how."""

    model: str = "default"
    split: str = "test"
    sets: tuple[str, ...] = ()  # all when empty
    tolerance_px: float = 2.0  # between outlines
    line_tolerance_px: float = TOLERANCE_PX  # between centre lines
    # float on one runtime, so that scores are the same on every machine
    predict: PredictOptions = PredictOptions(runtime="onnx", precision="float")  # noqa: RUF009 - frozen
    mask: MaskOptions = field(default_factory=MaskOptions)  # thresholds None: the model card's
    measure: MeasureOptions = field(default_factory=MeasureOptions)
    sizes: bool = True  # lengths and widths too, which takes as long as the pixels

    def __post_init__(self) -> None:
        for name in ("tolerance_px", "line_tolerance_px"):
            value = getattr(self, name)
            if not 0 <= value <= _FARTHEST_PX:
                raise ConfigError(
                    f"`{name}` must lie between 0 and {_FARTHEST_PX}, got {value}; "
                    f"{TOLERANCE_PX:g} is usual."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Cracks measured in the label and in the prediction of one picture, in px."""

    labelled_length_px: float
    marked_length_px: float
    labelled_width_px: float  # mean over the centre line; nan without a crack
    marked_width_px: float
    labelled_cracks: int
    found_cracks: int  # labelled ones that the prediction shows
    marked_cracks: int
    true_cracks: int  # predicted ones that the label shows


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureScore:
    """Everything counted in one picture."""

    sample: Sample
    strict: Counts
    near: Counts  # with the tolerance
    raw: Counts  # strict, at the bare threshold
    lines: Counts  # centre lines inside the other mask: f1 is clDice
    lines_by_width: LineCounts  # centre lines near each other, by width: what is judged by
    histogram: Array  # (2, 256)
    sizes: Sizes | None  # None: not asked for; what the labels leave out is cut off
    forward_s: float
    megapixels: float


def load_samples(
    data: Path, *, root: Path | None = None, split: str, sets: Sequence[str] = ()
) -> tuple[Sample, ...]:
    """Return the samples of one split from a folder of sets or from a manifest.

    "test" brings ``test_leaky`` along, which ``group`` keeps apart.

    Raises:
        DataError: the data is broken, or the split is empty.
    """
    if data.is_file():
        samples: Sequence[Sample] = read_manifest(data, root=root)
    else:
        samples = index_folder(data, sets=sets, split=split, hashes=False)
    refuse_unknown_sets(sets, samples, "sets")
    splits = {split, "test_leaky"} if split == "test" else {split}
    part = tuple(s for s in samples if s.split in splits and (not sets or s.source in sets))
    if not part:
        there = sorted({s.split for s in samples})
        raise DataError(
            f"{data} has no picture of split `{split}` in {', '.join(sets) or 'it'}; there are "
            f"{', '.join(f'`{name}`' for name in there) or 'none'}: choose by `--split`."
        )
    return part


def score_pictures(
    samples: Sequence[Sample], options: EvaluateOptions, progress: Progress | None = None
) -> tuple[PictureScore, ...]:
    """Return the score of every sample, in order.

    Raises:
        DataError: a pair is broken.
        ImageError: a picture is unreadable.
        ModelError: the model is incomplete.
    """
    predictor = Predictor.open(options.model, options.predict)
    scores = []
    for done, sample in enumerate(samples, start=1):
        scores.append(_score_picture(sample, predictor, options))
        if progress:
            progress(done, len(samples))
    return tuple(scores)


def group(scores: Sequence[PictureScore]) -> dict[str, tuple[PictureScore, ...]]:
    """Return the scores by set; a set with leaky test pictures appears as official and as clean."""
    groups: dict[str, tuple[PictureScore, ...]] = {}
    for source in dict.fromkeys(score.sample.source for score in scores):
        of_set = tuple(score for score in scores if score.sample.source == source)
        clean = tuple(score for score in of_set if score.sample.split != "test_leaky")
        if clean:
            groups[source] = clean
        if len(clean) < len(of_set):
            groups[f"{source} {LEAKY}"] = of_set
    return groups


def summarize(scores: Sequence[PictureScore]) -> dict[str, Any]:
    """Return all figures of one group as plain values; undefined is nan."""
    strict = [score.strict for score in scores]
    ways = {
        "strict": strict,
        "tolerant": [score.near for score in scores],
        "raw_threshold": [score.raw for score in scores],
    }
    lines = [score.lines for score in scores]
    sizes = [score.sizes for score in scores if score.sizes]
    alarms = false_alarms(strict)
    seconds, area = (math.fsum(getattr(s, n) for s in scores) for n in ("forward_s", "megapixels"))
    return {
        "images": len(scores),
        **{
            name: {"pooled": _pool(counts).scores(), "per_image": _average(counts)}
            for name, counts in ways.items()
        },
        "cldice": {
            "pooled": _pool(lines).f1,
            "per_image": mean_defined(counts.f1 for counts in lines)[0],
        },
        **to_plain(best_scores(score.histogram for score in scores)),
        "lines": figures(pool(score.lines_by_width for score in scores)),
        "crack_free": to_plain(alarms),
        "sizes": _summarize_sizes(sizes) if sizes else None,
        "forward_s_per_megapixel": seconds / area,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChoice:
    """The two thresholds that serve the validation sets best."""

    threshold: float
    threshold_low: float
    value: float  # of the objective
    objective: str = OBJECTIVE


Tally = dict[tuple[int, int], dict[str, list[LineCounts]]]  # lower and upper, % -> set -> pictures


def choose_threshold(
    samples: Sequence[Sample], options: EvaluateOptions, progress: Progress | None = None
) -> ThresholdChoice:
    """Return the pair of thresholds with the best objective over the ``val`` pictures.

    Raises:
        ConfigError: a sample is not of split ``val``: a threshold chosen on test pictures would
            make their scores worthless.
    """
    return best_thresholds([tally_thresholds(samples, options, progress)])


def tally_thresholds(
    samples: Sequence[Sample],
    options: EvaluateOptions,
    progress: Progress | None = None,
    levels: Sequence[tuple[int, int]] | None = None,
) -> Tally:
    """Return the counts of every ``val`` picture at every pair of thresholds that is tried.

    Args:
        samples: labelled pictures.
        options: the model and how it is read.
        progress: called with pictures done and pictures in all.
        levels: pairs of lower and upper threshold, in %; None: a grid of all.

    Raises:
        ConfigError: a sample is not of split ``val``.
    """
    foreign = sorted({sample.split for sample in samples} - {"val"})
    if foreign:
        raise ConfigError(
            f"thresholds are chosen on split `val`, got {', '.join(foreign)}; "
            "use --split val, or give --threshold."
        )
    predictor = Predictor.open(options.model, options.predict)
    grid = [(low, high) for low in LOWS for high in (low, *range(low // 5 * 5 + 5, 100, 5))]
    levels = grid if levels is None else levels
    tally: Tally = {pair: {} for pair in levels}
    for done, sample in enumerate(samples, start=1):
        truth = read_truth(sample, *read_pair(sample), options.line_tolerance_px)
        with open_image(sample.image) as image:
            prediction = predictor.predict(image)
        counted = count_levels(
            np.asarray(prediction.probability),
            truth,
            levels,
            options.mask,
            options.line_tolerance_px,
        )
        for pair, counts in counted.items():
            tally[pair].setdefault(sample.source, []).append(counts)
        if progress:
            progress(done, len(samples))
    return tally


def best_thresholds(tallies: Sequence[Tally]) -> ThresholdChoice:
    """Return the pair with the best objective over the pictures of all tallies together."""
    together: Tally = {pair: {} for pair in tallies[0]}
    for tally in tallies:
        for pair, of_sets in tally.items():
            for source, counts in of_sets.items():
                together[pair].setdefault(source, []).extend(counts)
    values = {pair: judge(of_sets) for pair, of_sets in together.items()}
    low, high = max(values, key=lambda pair: (values[pair], pair))
    return ThresholdChoice(threshold=high / 100, threshold_low=low / 100, value=values[low, high])


def mark_picture(picture: Path, predictor: Predictor, options: MaskOptions) -> Array:
    """Return the (H, W) bool crack mask that the model makes of a picture."""
    with open_image(picture) as image:
        return _mark(predictor.predict(image), predictor.card, options)


def find_all_pieces(
    samples: Sequence[Sample], options: EvaluateOptions, progress: Progress | None = None
) -> list[Piece]:
    """Return every piece of labelled crack of ``samples``, hit or missed; see ``pod``.

    Raises:
        DataError: a pair is broken.
        ImageError: a picture is unreadable.
        ModelError: the model is incomplete.
    """
    predictor = Predictor.open(options.model, options.predict)
    pieces: list[Piece] = []
    for done, sample in enumerate(samples, start=1):
        picture, label = read_pair(sample)
        label = _looked_at(label, label, counted(read_areas(sample, label.shape)))[1]
        if label.any():
            with open_image(sample.image) as image:
                mask = _mark(predictor.predict(image), predictor.card, options.mask)
            line = skeletonize(mask) if mask.any() else mask
            near = dilate(line, options.line_tolerance_px)
            pieces += find_pieces(sample, picture, label, near)
        if progress:
            progress(done, len(samples))
    return pieces


def _score_picture(sample: Sample, predictor: Predictor, options: EvaluateOptions) -> PictureScore:
    """Predict one picture and count everything."""
    picture, label = read_pair(sample)
    truth = read_truth(sample, picture, label, options.line_tolerance_px)
    with open_image(sample.image) as image:
        prediction = predictor.predict(image)
        mask = _mark(prediction, predictor.card, options.mask)
        counts = truth.counts
        inside, truth_inside = _looked_at(mask, label, counts)
        sizes = _measure_both(inside, truth_inside, image, options) if options.sizes else None
    bins = histogram(np.asarray(prediction.probability), label, counts)
    level = max(1, math.ceil(thresholds(options.mask, predictor.card)[0] * 255))
    return PictureScore(
        sample=sample,
        strict=count(mask, label, counts=counts),
        near=count(mask, label, tolerance_px=options.tolerance_px, counts=counts),
        raw=count_thresholds(bins)[level - 1],
        lines=count_centre_lines(mask, label, counts),
        lines_by_width=count_lines(mask, truth, options.measure, options.line_tolerance_px),
        histogram=bins,
        sizes=sizes,
        forward_s=prediction.forward_s,
        megapixels=label.size / 1e6,
    )


def _looked_at(mask: Array, label: Array, counts: Array | None) -> tuple[Array, Array]:
    """Return mask and label without what the labels leave out."""
    return (mask, label) if counts is None else (without_left_out(mask, counts), label & counts)


def _mark(prediction: Prediction, card: ModelCard, options: MaskOptions) -> Array:
    """Return the mask of a prediction, made by the product's own steps."""
    high, low = thresholds(options, card)
    return probability_to_mask(
        prediction.probability,
        threshold=high,
        threshold_low=low,
        options=options,
        valid=prediction.valid,
    )


def _measure_both(mask: Array, label: Array, image: OpenImage, options: EvaluateOptions) -> Sizes:
    """Measure the cracks of mask and label; those of the mask with the photograph."""
    marked, _ = measure(mask, image=image.read, mask_options=options.mask, options=options.measure)
    labelled, _ = measure(label, mask_options=options.mask, options=options.measure)
    near_mask, near_label = (dilate(each, options.tolerance_px) for each in (mask, label))
    return Sizes(
        labelled_length_px=_length(labelled),
        marked_length_px=_length(marked),
        labelled_width_px=_mean_width(labelled),
        marked_width_px=_mean_width(marked),
        labelled_cracks=len(labelled),
        found_cracks=sum(_shows(near_mask, crack) for crack in labelled),
        marked_cracks=len(marked),
        true_cracks=sum(_shows(near_label, crack) for crack in marked),
    )


def _length(cracks: Sequence[Crack]) -> float:
    return math.fsum(crack.length.px or 0.0 for crack in cracks)


def _mean_width(cracks: Sequence[Crack]) -> float:
    """Return the mean width over all stations; nan without a measured one."""
    widths = [branch.width_px for crack in cracks for branch in crack.branches]
    every = np.concatenate(widths) if widths else np.zeros(0)
    return float(np.nanmean(every)) if np.isfinite(every).any() else math.nan


def _shows(mask: Array, crack: Crack) -> bool:
    """Return whether enough of a crack's centre line lies in a mask."""
    points = np.concatenate([branch.centre_line for branch in crack.branches])
    rows, cols = np.clip(np.rint(points).astype(int), 0, np.array(mask.shape) - 1).T
    return bool(mask[rows, cols].mean() >= FOUND_SHARE)


def _summarize_sizes(sizes: Sequence[Sizes]) -> dict[str, float | int]:
    """Return crack numbers and the errors of length and width over the pictures of a group.

    Lengths are compared as totals; widths only in pictures where both sides have one. Errors are
    predicted less labelled.
    """

    def total(name: str) -> float:
        return math.fsum(getattr(size, name) for size in sizes)

    labelled, marked = total("labelled_length_px"), total("marked_length_px")
    widths = np.array([s.marked_width_px - s.labelled_width_px for s in sizes])
    widths = widths[np.isfinite(widths)]
    own = np.array(
        [s.marked_length_px / s.labelled_length_px - 1 for s in sizes if s.labelled_length_px]
    )
    return {
        "labelled_cracks": int(total("labelled_cracks")),
        "found_cracks": int(total("found_cracks")),
        "marked_cracks": int(total("marked_cracks")),
        "true_cracks": int(total("true_cracks")),
        "length_error_rel": marked / labelled - 1 if labelled else math.nan,
        "length_error_rel_median_abs": float(np.median(np.abs(own))) if len(own) else math.nan,
        "width_error_median_px": float(np.median(widths)) if len(widths) else math.nan,
        "width_error_mean_abs_px": float(np.abs(widths).mean()) if len(widths) else math.nan,
    }


def _pool(counts: Iterable[Counts]) -> Counts:
    return sum(counts, NOTHING)


def _average(counts: Sequence[Counts]) -> dict[str, float]:
    """Return the mean of each score over the pictures where it is defined."""
    return {name: mean_defined(getattr(c, name) for c in counts)[0] for name in SCORES}
