"""How well the certainties of marks agree with what was real, as figures, text and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crackseg.records import Array

BINS = (0.0, 0.5, 0.75, 0.9, 0.95, 1.0)  # of the reliability table
DRAWS = 1000  # of photographs, for the interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One listed mark of a labelled picture."""

    source: str
    photograph: str
    features: Array  # (len(FEATURES),)
    length_px: float
    real: bool
    drawn: bool = False  # a fitting that was drawn into the picture: teaches what repeats, no more


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
