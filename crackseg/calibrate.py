"""Labelled pictures and a model become the ``certainty`` of the model's card.

Each picture goes through the same chain as a photograph that is analyzed. A listed mark is real
when at least half of its centre line lies on or near a label. A logistic regression on few
measures of the mark then says how many marks like it are real; it is judged by cross-validation
over photographs, and its limit parts the main list from what is also marked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.optimize import minimize

from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.errors import DataError
from crackseg.imagery.files import open_image
from crackseg.imagery.masks import read_mask
from crackseg.inference.models import CARD, Model, load_model, write_card
from crackseg.inference.predictor import Predictor
from crackseg.metrology.ranking import FEATURES
from crackseg.names import require
from crackseg.pipeline import analyze
from crackseg.records import Array, Certainty, Crack, ModelCard, Sample
from crackseg.training.areas import counted, read_areas
from crackseg.training.evaluate import load_samples
from crackseg.training.evaluate_command import progress_bar
from crackseg.training.manifest import photograph_of, read_pair

NEAR_PX = 3.0  # labels are drawn by hand
REAL_SHARE = 0.5  # of the centre line
FOLDS = 10
RIDGE = 1.0  # on standardized features: a few dozen false marks carry no large weights
LOST_SHARE = 0.02  # of the length of the real cracks, that may stand under "also marked"
BINS = (0.0, 0.5, 0.75, 0.9, 0.95, 1.0)  # of the reliability table
READINGS = (1, 4)  # by default and --thorough: a certainty must hold for both
DRAWS = 1000  # of photographs, for the interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One listed mark of a labelled picture."""

    source: str
    photograph: str
    features: Array  # (len(FEATURES),)
    length_px: float
    real: bool


def collect(
    samples: Sequence[Sample], model: Model, progress: Callable[[], object] = lambda: None
) -> list[Mark]:
    """Return the marks of every picture, analyzed as a photograph is, by default and fast.

    Where a set has ``zones/`` beside ``masks/`` (fat outlines of where the cracks are), a mark must
    lie inside a zone.

    Raises:
        DataError: a pair is broken.
        ImageError: a picture is unreadable.
    """
    predictors = [
        Predictor(model, PredictOptions(runtime="onnx", precision="float", readings=readings))
        for readings in READINGS
    ]
    marks: list[Mark] = []
    for sample in samples:
        distance, counts = _distance(sample)
        for predictor in predictors:
            with open_image(sample.image) as image:
                cracks = analyze(image, predictor, AnalyzeOptions()).cracks
            marks += [
                _mark(crack, sample, distance)
                for crack in cracks
                if counts is None or _share(crack, counts) > 0.5
            ]
        progress()
    return marks


def _mark(crack: Crack, sample: Sample, distance: Array) -> Mark:
    return Mark(
        source=sample.source,
        photograph=f"{sample.source}/{photograph_of(sample)}",
        features=np.array([feature(crack) for feature in FEATURES.values()]),
        length_px=crack.length.px or 0.0,
        real=_is_real(crack, distance),
    )


def _distance(sample: Sample) -> tuple[Array, Array | None]:
    """Return the (H, W) distance in px to what is labelled, 0 on it, and the pixels that count."""
    _, label = read_pair(sample)
    counts = counted(read_areas(sample, label.shape))
    zone = sample.mask.parent.parent / "zones" / sample.mask.name
    near = NEAR_PX
    if zone.is_file():
        label, near = read_mask(zone).pixels, 0.0
    if not label.any():
        return np.full(label.shape, np.inf), counts
    distance: Array = ndimage.distance_transform_edt(~label)
    return np.maximum(distance - near, 0.0), counts


def _is_real(crack: Crack, distance: Array) -> bool:
    return _share(crack, distance == 0) >= REAL_SHARE


def _share(crack: Crack, where: Array) -> float:
    """Return the share of a crack's centre line that lies where a (H, W) bool array is True."""
    points = np.concatenate([branch.centre_line for branch in crack.branches])
    rows, cols = np.clip(np.rint(points).astype(int).T, 0, np.array(where.shape)[:, None] - 1)
    return float(np.mean(where[rows, cols]))


def fit(marks: Sequence[Mark], fitted_on: str = "") -> Certainty:
    """Return the regression of real on the features, and the limit of the main list.

    The limit is chosen on certainties of marks by fits without their photograph: the highest under
    which real cracks of at most ``LOST_SHARE`` of their length stand.

    Raises:
        DataError: all marks are real, or none is: nothing can be learned from them.
    """
    card = _regress(marks, fitted_on)
    return replace(card, limit=_limit(marks, cross_validate(marks)))


def cross_validate(marks: Sequence[Mark], folds: int = FOLDS) -> Array:
    """Return the (N,) certainty of each mark by a fit without the photographs of its fold."""
    names = sorted({mark.photograph for mark in marks})
    dealt = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    fold = np.array([dealt[mark.photograph] for mark in marks])
    result = np.empty(len(marks))
    for number in np.unique(fold):
        out = fold == number
        card = _regress([mark for mark, held in zip(marks, out, strict=True) if not held])
        held = [mark for mark, held in zip(marks, out, strict=True) if held]
        result[out] = certainties(held, card)
    return result


def certainties(marks: Sequence[Mark], card: Certainty) -> Array:
    """Return the (N,) certainty that a card gives each mark."""
    x, _ = _table(marks)
    weights = np.array([card.weights.get(name, 0.0) for name in FEATURES])
    return _sigmoid(card.intercept + x @ weights)


def _regress(marks: Sequence[Mark], fitted_on: str = "") -> Certainty:
    x, real = _table(marks)
    if len(set(real)) < 2:
        raise DataError(
            f"certainty needs real and false marks, got {len(marks)} marks, {int(real.sum())} of "
            "them real; give more pictures with labels, some without a crack."
        )
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    z = np.column_stack([np.ones(len(x)), (x - mean) / scale])

    def loss(beta: Array) -> tuple[float, Array]:
        value = np.logaddexp(0, (1 - 2 * real) * (z @ beta)).sum() + RIDGE / 2 * beta[1:] @ beta[1:]
        slope = z.T @ (_sigmoid(z @ beta) - real) + RIDGE * np.r_[0, beta[1:]]
        return float(value), slope

    beta = minimize(loss, np.zeros(z.shape[1]), jac=True).x
    weights = beta[1:] / scale
    return Certainty(
        intercept=round(float(beta[0] - weights @ mean), 4),
        weights={name: round(float(w), 4) for name, w in zip(FEATURES, weights, strict=True)},
        limit=0.0,
        fitted_on=fitted_on,
    )


def _limit(marks: Sequence[Mark], sure: Array) -> float:
    """Return the highest limit in steps of 0.05 that loses little of the real length."""
    lost = np.array([mark.length_px * mark.real for mark in marks])
    limits = np.arange(0, 0.96, 0.05)
    fits = [limit for limit in limits if lost[sure < limit].sum() <= LOST_SHARE * lost.sum()]
    return round(float(max(fits)), 2)


def _sigmoid(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return result


def _table(marks: Sequence[Mark]) -> tuple[Array, Array]:
    return np.array([m.features for m in marks]), np.array([m.real for m in marks], dtype=float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """How well certainties agree with what was real; intervals are over photographs."""

    bins: tuple[tuple[int, float, float], ...]  # marks, mean certainty, share that is real
    brier: float
    brier_constant: float  # of one certainty for all, the share that is real
    error: float  # expected calibration error
    error_low: float  # 95 %
    error_high: float
    brier_low: float
    brier_high: float


def reliability(marks: Sequence[Mark], sure: Array) -> Reliability:
    """Return the reliability table and scores of certainties.

    Args:
        marks: what was marked, with what was real.
        sure: (N,) certainty of each.
    """
    real = np.array([mark.real for mark in marks], dtype=float)
    names, photograph = np.unique([mark.photograph for mark in marks], return_inverse=True)
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weight = times[photograph].astype(float)
        if weight.sum():
            drawn.append(_scores(real, sure, weight))
    (brier_low, error_low), (brier_high, error_high) = np.percentile(drawn, (2.5, 97.5), axis=0)
    brier, error = _scores(real, sure, np.ones(len(real)))
    return Reliability(
        bins=tuple(
            (int(part.sum()), float(sure[part].mean()), float(real[part].mean()))
            for part in _parts(sure)
        ),
        brier=brier,
        brier_constant=float(real.mean() * (1 - real.mean())),
        error=error,
        error_low=float(error_low),
        error_high=float(error_high),
        brier_low=float(brier_low),
        brier_high=float(brier_high),
    )


def _parts(sure: Array) -> list[Array]:
    """Return the (N,) bool of every bin that holds a mark."""
    number = np.digitize(sure, BINS[1:-1])
    return [number == k for k in np.unique(number)]


def _scores(real: Array, sure: Array, weight: Array) -> tuple[float, float]:
    """Return Brier score and expected calibration error of weighted marks."""
    total = weight.sum()
    brier = float((weight * (sure - real) ** 2).sum() / total)
    gaps = [abs((weight * (sure - real))[part].sum()) for part in _parts(sure)]
    return brier, float(sum(gaps) / total)


def as_text(name: str, marks: Sequence[Mark], sure: Array) -> str:
    """Return the reliability of certainties as a Markdown table with its scores."""
    scores = reliability(marks, sure)
    lines = [
        f"| {name}: marks | mean certainty | real |",
        "|---|---|---|",
        *(f"| {n} | {mean:.0%} | {share:.0%} |" for n, mean, share in scores.bins),
        "",
        f"{len(marks)} marks of {len({mark.photograph for mark in marks})} photographs, "
        f"{sum(not mark.real for mark in marks)} of them false. Brier score {scores.brier:.3f} "
        f"({scores.brier_low:.3f} to {scores.brier_high:.3f}; one certainty for all: "
        f"{scores.brier_constant:.3f}), expected calibration error {scores.error:.3f} "
        f"({scores.error_low:.3f} to {scores.error_high:.3f}).",
    ]
    return "\n".join(lines)


def parting_text(marks: Sequence[Mark], sure: Array, limit: float) -> str:
    """Return what a limit puts under "also marked", in one sentence."""
    real = np.array([mark.real for mark in marks])
    length = np.array([mark.length_px for mark in marks])
    aside = sure < limit
    return (
        f"Limit {limit:g}: {aside.sum()} of {len(marks)} marks stand under “also marked”, "
        f"{(aside & ~real).sum()} of the {(~real).sum()} false ones and {(aside & real).sum()} of "
        f"the {real.sum()} real ones, which hold "
        f"{(length * aside * real).sum() / max((length * real).sum(), 1e-9):.1%} of their length."
    )


def plot(groups: Mapping[str, tuple[Sequence[Mark], Array]], file: Path) -> None:
    """Draw the share that is real over the certainty, one line per group; needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.8", lw=0.8)
    for name, (marks, sure) in groups.items():
        bins = reliability(marks, sure).bins
        axes.plot([b[1] for b in bins], [b[2] for b in bins], "o-", ms=4, label=name)
        for count, mean, share in bins:
            axes.annotate(str(count), (mean, share), (4, -10), textcoords="offset points", size=7)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="certainty", ylabel="share that is real")
    axes.grid(alpha=0.2)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(file, dpi=100)


TEXT = """# How certain a mark is a crack

Written by `crackseg calibrate` for the model {name} {version}.

Learned on {about}, by the chain that analyzes a photograph.

A mark is *real* when at least half of its centre line lies within {near:g} px of a label. A
logistic regression gives the *certainty*, the share of marks like this one that are real, from the
mark's length, its slenderness (extent over width), the network's mean probability, its contrast
(how much darker it is than the darker of its two sides) and step (how much the two sides differ).

It is a share of what is *marked*: cracks that the model missed are in no such figure. Labels have
faults, and a photograph unlike these pictures can hold marks that none of them taught. Intervals
are 95 %, over photographs.

![share of real marks over their certainty](certainty.png)

{groups}

| feature | weight |
|---|---|
{weights}

Intercept {intercept:g}. {limit}
"""


def run(
    data: Path,
    model_name: str,
    *,
    root: Path | None,
    sets: Sequence[str],
    judges: Sequence[str],
    write: bool,
    report: Path | None,
    say: Callable[[str], object],
) -> Certainty:
    """Fit on the val lists of ``sets``, judge by those of ``judges`` too, and tell the result.

    Args:
        data: folder of sets, or a manifest.
        model_name: shipped name or model folder.
        root: folder that a manifest's paths are relative to.
        sets: to fit on; all but ``judges`` when empty.
        judges: sets whose pictures may not be learned from.
        write: write the result into the card of the model folder.
        report: folder for ``certainty.md`` and ``certainty.png``, or None.
        say: prints a line.

    Raises:
        DataError: the data is broken, or holds no real or no false mark.
        ModelError: the model is incomplete.
        MissingExtra: a report was asked for and matplotlib is not installed.
    """
    if report is not None:
        require("matplotlib", extra="train")
    model = load_model(model_name)
    samples = load_samples(data, root=root, split="val", sets=(*sets, *judges) if sets else ())
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples))
        marks = collect(samples, model, lambda: bar.advance(task))
    card, groups = _fit_and_judge(samples, marks, judges)
    text = _text(model.card, card, groups)
    say(text)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "certainty.md").write_text(text, encoding="utf-8")
        plot(groups, report / "certainty.png")
    if write:
        write_card(model.folder, replace(model.card, certainty=card))
        say(f"written to {model.folder / CARD}")
    return card


def _fit_and_judge(
    samples: Sequence[Sample], marks: Sequence[Mark], judges: Sequence[str]
) -> tuple[Certainty, dict[str, tuple[Sequence[Mark], Array]]]:
    """Return the card, and by name the marks of each group with their certainties."""
    fitted = [mark for mark in marks if mark.source not in judges]
    pictures = [sample for sample in samples if sample.source not in judges]
    names = ", ".join(sorted({sample.source for sample in pictures}))
    card = fit(
        fitted,
        f"{len(fitted)} marks in the {len(pictures)} pictures of the val lists of {names}, each "
        "picture read as by default and as by --thorough",
    )
    groups: dict[str, tuple[Sequence[Mark], Array]] = {
        "cross-validated": (fitted, cross_validate(fitted))
    }
    for name in judges:
        held = [mark for mark in marks if mark.source == name]
        if held:
            groups[f"{name}, not learned from"] = (held, certainties(held, card))
    return card, groups


def _text(
    model: ModelCard, card: Certainty, groups: Mapping[str, tuple[Sequence[Mark], Array]]
) -> str:
    tables = [
        f"{as_text(name, some, sure)}\n\n{parting_text(some, sure, card.limit)}"
        for name, (some, sure) in groups.items()
    ]
    return TEXT.format(
        name=model.name,
        version=model.version,
        about=card.fitted_on,
        near=NEAR_PX,
        groups="\n\n".join(tables),
        weights="\n".join(f"| {name} | {weight:+.3f} |" for name, weight in card.weights.items()),
        intercept=card.intercept,
        limit=f"The limit of the main list is {card.limit:g}: the highest under which real cracks "
        f"of at most {LOST_SHARE:.0%} of their length stand, cross-validated.",
    )
