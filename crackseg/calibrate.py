"""Labelled pictures and a model become the ``certainty`` of the model's card.

Each picture goes through the same chain as a photograph that is analyzed. A listed mark is real
when at least half of its centre line lies on or near a label. A logistic regression on few
measures of the mark then says how many marks like it are real; it is judged by cross-validation
over photographs, and its limit parts the main list from what is also marked. Such pictures hold
hardly a clamp or a bracket: what it counts for that a mark stands a second time in the picture is
learned on them and on the same pictures with fittings drawn in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from scipy import ndimage
from scipy.optimize import minimize, minimize_scalar

from crackseg.config import AnalyzeOptions, PredictOptions
from crackseg.errors import DataError
from crackseg.folders import refuse_beside
from crackseg.imagery.files import open_image
from crackseg.imagery.masks import read_mask
from crackseg.inference.models import CARD, Model, load_model, own_files, write_card
from crackseg.inference.predictor import Predictor
from crackseg.metrology.ranking import ALIKE, FEATURES, REPETITION
from crackseg.metrology.repeats import LONGEST_PX, repetitions
from crackseg.names import require
from crackseg.pipeline import analyze
from crackseg.records import Array, Certainty, Crack, ModelCard, Sample
from crackseg.training.areas import counted, read_areas
from crackseg.training.evaluate import load_samples
from crackseg.training.evaluate_command import progress_bar
from crackseg.training.fittings import with_fittings
from crackseg.training.manifest import photograph_of, read_pair, refuse_unknown_sets
from crackseg.training.reliability import Mark, as_text, parting_text, plot

NEAR_PX = 3.0  # labels are drawn by hand
REAL_SHARE = 0.5  # of the centre line
FOLDS = 10
RIDGE = 1.0  # on standardized features: a few dozen false marks carry no large weights
LOST_SHARE = 0.02  # of the length of the real cracks, that may stand under "also marked"
MOST = 100.0  # weight of what repeats: more is certain anyway
DRAWINGS = 2  # times that fittings are drawn into each picture
READINGS = (1, 4)  # by default and --thorough: a certainty must hold for both


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
            marks += [
                _mark(crack, sample, real=_is_real(crack, distance))
                for crack in _marked(sample.image, predictor)
                if counts is None or _share(crack, counts) > 0.5
            ]
        progress()
    return marks


def collect_fittings(
    samples: Sequence[Sample], model: Model, progress: Callable[[], object] = lambda: None
) -> list[Mark]:
    """Return what is marked of fittings drawn into the largest square of each picture, by default.

    Raises:
        ImageError: a picture is unreadable.
    """
    predictor = Predictor(model, PredictOptions(runtime="onnx", precision="float"))
    rng = np.random.default_rng(0)
    marks: list[Mark] = []
    for sample in samples:
        with open_image(sample.image) as image:
            pixels = image.read()
        for _ in range(DRAWINGS):
            drawn, covered = with_fittings(pixels, rng)
            with TemporaryDirectory() as folder:
                file = Path(folder) / f"{sample.image.stem}.png"
                file.write_bytes(cv2.imencode(".png", drawn[..., ::-1])[1].tobytes())
                cracks = _marked(file, predictor)
            marks += [
                _mark(crack, sample, real=False, drawn=True)
                for crack in cracks
                if _share(crack, covered) > 0.5
            ]
        progress()
    return marks


def _marked(file: Path, predictor: Predictor) -> tuple[Crack, ...]:
    """Return what is marked in a picture, all of it held against the rest of the picture."""
    with open_image(file) as image:
        report = analyze(image, predictor, AnalyzeOptions())
        shape = report.image.height_px, report.image.width_px
        alike = repetitions(report.cracks, shape, image.read)
    return tuple(
        replace(crack, repetition=value) for crack, value in zip(report.cracks, alike, strict=True)
    )


def _mark(crack: Crack, sample: Sample, *, real: bool, drawn: bool = False) -> Mark:
    return Mark(
        source=sample.source,
        photograph=f"{sample.source}/{photograph_of(sample)}",
        features=np.array([feature(crack) for feature in FEATURES.values()]),
        length_px=crack.length.px or 0.0,
        real=real,
        drawn=drawn,
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
    return replace(card, limit=_limit(*_undrawn(marks, cross_validate(marks))))


def cross_validate(marks: Sequence[Mark], folds: int = FOLDS) -> Array:
    """Return the (N,) certainty of each mark by a fit without the photographs of its fold."""
    names = sorted({mark.photograph for mark in marks})
    dealt = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % folds, strict=True))
    fold = np.array([dealt[mark.photograph] for mark in marks])
    result = np.empty(len(marks))
    for number in np.unique(fold):
        inside = fold == number
        card = _regress(list(compress(marks, ~inside)))
        result[inside] = certainties(list(compress(marks, inside)), card)
    return result


def certainties(marks: Sequence[Mark], card: Certainty) -> Array:
    """Return the (N,) certainty that a card gives each mark."""
    x, _ = _table(marks)
    weights = np.array([card.weights.get(name, 0.0) for name in FEATURES])
    return _sigmoid(card.intercept + x @ weights)


def _undrawn(marks: Sequence[Mark], sure: Array) -> tuple[list[Mark], Array]:
    """Return the marks of pictures as they are, and their certainties."""
    drawn = np.array([mark.drawn for mark in marks])
    return [mark for mark in marks if not mark.drawn], sure[~drawn]


def _regress(marks: Sequence[Mark], fitted_on: str = "") -> Certainty:
    """Return the regression: on marks as they are, then what it counts for that one repeats."""
    card = _regress_undrawn([mark for mark in marks if not mark.drawn], fitted_on)
    x, real = _table(marks)
    repeated = x[:, list(FEATURES).index(REPETITION)]
    odds = np.log(np.maximum(certainties(marks, card), 1e-9)) - np.log(
        np.maximum(1 - certainties(marks, card), 1e-9)
    )

    def loss(weight: float) -> float:
        value = np.logaddexp(0, (1 - 2 * real) * (odds + weight * repeated)).sum()
        return float(value + RIDGE / 2 * (weight * repeated.std()) ** 2)

    weight = minimize_scalar(loss, bounds=(-MOST, 0.0), method="bounded").x
    weights = {**card.weights, REPETITION: round(float(weight), 4)}
    return replace(card, weights=weights)


def _regress_undrawn(marks: Sequence[Mark], fitted_on: str) -> Certainty:
    x, real = _table(marks)
    x[:, list(FEATURES).index(REPETITION)] = 0.0
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


_MADE_BY = "Written by `crackseg calibrate`"
TEXT = """# How certain a mark is a crack

{made_by} for the model {name} {version}.

Learned on {about}, by the chain that analyzes a photograph.

A mark is *real* when at least half of its centre line lies within {near:g} px of a label. A
logistic regression gives the *certainty*, the share of marks like this one that are real, from the
mark's length, its slenderness (extent over width), the network's mean probability, its contrast
(how much darker it is than the darker of its two sides) and step (how much the two sides differ).
Then its *repetition* is looked at: how alike the most alike other place of the picture is, as a
correlation. No two cracks are alike; clamps, brackets, bolts and joints are. Marks that reach
farther than {longest:g} px are left out, since long straight cracks run side by side and no fitting
was as long, and so is the picture itself once more, as in a mosaic of equal tiles. What lies over
{alike:g} lowers the certainty, by a weight that is learned on the same marks and on those of
fittings that are drawn into the pictures, {drawings} times into each: pictures of cracks hold few.

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
        OutputError: a file of the report is there and was not written by this command.
    """
    if report is not None:
        require("matplotlib", extra="train")
        page = report / "certainty.md"
        refuse_beside(page, lambda text: _MADE_BY in text, "page of this command", "certainty.png")
    model = load_model(model_name)
    if write:
        own_files(model.folder, model.card)
    samples = load_samples(data, root=root, split="val", sets=(*sets, *judges) if sets else ())
    refuse_unknown_sets(judges, samples, "judge")
    learned = [sample for sample in samples if sample.source not in judges]
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples) + len(learned))
        marks = collect(samples, model, lambda: bar.advance(task))
        marks += collect_fittings(learned, model, lambda: bar.advance(task))
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
    drawn = sum(mark.drawn for mark in fitted)
    card = fit(
        fitted,
        f"{len(fitted) - drawn} marks in the {len(pictures)} pictures of the val lists of {names}, "
        f"each picture read as by default and as by --thorough, and {drawn} marks on fittings that "
        "were drawn into them",
    )
    sure = cross_validate(fitted)
    groups: dict[str, tuple[Sequence[Mark], Array]] = {"cross-validated": _undrawn(fitted, sure)}
    if drawn:
        only = np.array([mark.drawn for mark in fitted])
        groups["drawn fittings"] = ([mark for mark in fitted if mark.drawn], sure[only])
    for name in judges:
        of_source = [mark for mark in marks if mark.source == name]
        if of_source:
            groups[f"{name}, not learned from"] = (of_source, certainties(of_source, card))
    return card, groups


def _text(
    model: ModelCard, card: Certainty, groups: Mapping[str, tuple[Sequence[Mark], Array]]
) -> str:
    tables = [
        f"{as_text(name, some, sure)}\n\n{parting_text(some, sure, card.limit)}"
        for name, (some, sure) in groups.items()
    ]
    return TEXT.format(
        made_by=_MADE_BY,
        name=model.name,
        version=model.version,
        about=card.fitted_on,
        near=NEAR_PX,
        alike=ALIKE,
        longest=LONGEST_PX,
        drawings=DRAWINGS,
        groups="\n\n".join(tables),
        weights="\n".join(f"| {name} | {weight:+.3f} |" for name, weight in card.weights.items()),
        intercept=card.intercept,
        limit=f"The limit of the main list is {card.limit:g}: the highest under which real cracks "
        f"of at most {LOST_SHARE:.0%} of their length stand, cross-validated.",
    )
