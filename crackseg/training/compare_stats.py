"""Counts of every test picture by several networks -> means, and differences with intervals.

Networks are compared on the same photographs and from the same crops, so a difference is taken
photograph by photograph and seed by seed: both are drawn again with replacement, the same draw for
both networks (a paired bootstrap). Crops of one photograph are drawn together. A measure is taken
within each set first, then averaged over the sets that hold cracks, so that a large set counts no
more than a small one.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crackseg.metrics import ALARM_SHARE
from crackseg.records import Array
from crackseg.training.batch_judge import FIELDS
from crackseg.training.judge import CLASSES, LEAST_LINE_PX

DRAWS = 2000
MEASURES = {  # name -> head of its column
    "score": "score",
    "line_precision": "line P",
    "line_recall": "line R",
    "line_f1": "line F1",
    "precision": "P",
    "recall": "R = TPR",
    "tnr": "TNR",
    "f1": "F",
    "iou": "crack IoU",
    "near_f1": "F 2 px",
    "alarms": "alarms",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counted:
    """What the cells of one network counted: the same pictures for every seed."""

    counts: Array  # (seeds, pictures, fields) int64 of ``batch_judge``
    sources: tuple[str, ...]  # set of each picture
    photographs: tuple[str, ...]  # of each picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How much one network is ahead of another, with the interval that holds 95 % of the draws."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def measure_cells(counted: Counted) -> dict[str, Array]:
    """Return every measure of each seed, (seeds,)."""
    plain = np.ones((1, len(counted.sources)))
    of_seeds = [_measures(counts, counted.sources, plain) for counts in counted.counts]
    return {name: np.array([of[name][0] for of in of_seeds]) for name in MEASURES}


def differences(one: Counted, other: Counted, seed: int = 0) -> dict[str, Difference]:
    """Return by how much ``one`` is above ``other`` in every measure.

    Args:
        one: cells of a network.
        other: of another, with as many seeds, on the same pictures.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    weights = _draws(one, rng)
    count = len(one.counts)
    picks = rng.multinomial(count, np.full(count, 1 / count), DRAWS) / count  # (draws, seeds)
    plain = np.ones((1, len(one.sources)))
    result = {}
    for each in (plain, weights):
        both = [[_measures(c, one.sources, each) for c in of.counts] for of in (one, other)]
        result[len(each)] = {
            name: np.stack([a[name] - b[name] for a, b in zip(*both, strict=True)], 1)
            for name in MEASURES
        }
    values, drawn = result[1], result[DRAWS]
    named = {}
    for name in MEASURES:
        low, high = np.quantile((drawn[name] * picks).sum(1), [0.025, 0.975])
        named[name] = Difference(value=float(values[name].mean()), low=float(low), high=float(high))
    return named


def _draws(counted: Counted, rng: np.random.Generator) -> Array:
    """Return (draws, pictures) how often each picture is drawn, photographs of a set together."""
    sources = np.array(counted.sources)
    _, photograph = np.unique(counted.photographs, return_inverse=True)
    weights = np.zeros((DRAWS, len(sources)))
    for source in np.unique(sources):
        of_set = np.flatnonzero(sources == source)
        groups, place = np.unique(photograph[of_set], return_inverse=True)
        drawn = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), DRAWS)
        weights[:, of_set] = drawn[:, place]
    return weights


def _measures(counts: Array, names: Sequence[str], weights: Array) -> dict[str, Array]:
    """Return every measure for each row of weights.

    Args:
        counts: (pictures, fields).
        names: set of each picture.
        weights: (draws, pictures).
    """
    sources = np.array(names)
    field = {name: counts[:, k].astype(float) for k, name in enumerate(FIELDS)}
    free = np.array([not field["labelled"][sources == s].any() for s in sources])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="invalid value|divide by zero")
        pictures = _of_pictures(field)
        of_sets = []
        for source in dict.fromkeys(sources[~free]):
            here = sources == source
            lines = _of_lines(weights[:, here] @ counts[here])
            means = {k: _mean(weights[:, here], v[here]) for k, v in pictures.items()}
            of_sets.append(lines | means)
        result = {k: np.mean([of[k] for of in of_sets], axis=0) for k in of_sets[0]}
        sound = field["labelled"] == 0
        alarm = (field["marked"] > ALARM_SHARE * field["pixels"]).astype(float)
        result["alarms"] = _mean(weights[:, sound], alarm[sound])
    alarms = np.nan_to_num(result["alarms"])
    return result | {"score": result.pop("balanced") - 0.5 * alarms}


def _of_pictures(field: dict[str, Array]) -> dict[str, Array]:
    """Return the article's measures of each picture, nan where one is undefined."""
    marked, labelled, hits = field["marked"], field["labelled"], field["hits"]
    near_p, near_r = field["near_marked"] / marked, field["near_labelled"] / labelled
    near = 2 * near_p * near_r / (near_p + near_r)
    return {
        "precision": hits / marked,
        "recall": hits / labelled,
        "tnr": 1 - (marked - hits) / (field["pixels"] - labelled),
        "f1": 2 * hits / (marked + labelled),
        "iou": hits / (marked + labelled - hits),
        "near_f1": np.where(marked + labelled > 0, np.nan_to_num(near), np.nan),
    }


def _of_lines(pooled: Array) -> dict[str, Array]:
    """Return the measures of centre lines of pooled counts, (draws, fields)."""
    line, right = pooled[:, FIELDS.index("line")], pooled[:, FIELDS.index("right")]
    labelled, hits = pooled[:, len(FIELDS) :].reshape(len(pooled), 2, len(CLASSES)).swapaxes(0, 1)
    precision = np.nan_to_num(right / line)
    recall = hits.sum(1) / labelled.sum(1)
    counted = labelled[:, :-1] >= LEAST_LINE_PX
    by_class = np.where(counted, hits[:, :-1] / labelled[:, :-1], 0).sum(1) / counted.sum(1)
    balanced = np.where(counted.any(1), by_class, recall)
    return {
        "line_precision": precision,
        "line_recall": recall,
        "line_f1": np.nan_to_num(2 * precision * recall / (precision + recall)),
        "balanced": np.nan_to_num(2 * precision * balanced / (precision + balanced)),
    }


def _mean(weights: Array, values: Array) -> Array:
    """Return the mean of the values that are defined, for each row of weights."""
    finite = np.isfinite(values)
    mean: Array = weights[:, finite] @ values[finite] / weights[:, finite].sum(1)
    return mean
