"""The CSV logs of a run -> a picture of its curves: loss, learning rate, validation scores.

A resumed run has one log for each start; where two tell of one step, the later one counts.
"""

from __future__ import annotations

import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

CURVES = "curves.png"
SMOOTH = 10  # logged losses under the running mean
Curve = dict[int, float]  # step -> value


def read_log(run: Path) -> dict[str, Curve]:
    """Return every logged curve of a run folder by name.

    Rows that a full disk or a kill left cut or damaged are left out: the curves are a picture of
    the run, which goes on without them.
    """
    files = sorted((run / "log").rglob("metrics.csv"), key=lambda file: file.stat().st_mtime)
    curves: dict[str, Curve] = {}
    for file in files:
        with file.open(newline="", encoding="utf-8", errors="replace") as stream:
            for row in csv.DictReader(line.replace("\0", "") for line in stream):
                with suppress(ValueError, KeyError, TypeError):
                    step = int(row.pop("step"))
                    for name, value in row.items():
                        if value and name != "epoch":
                            curves.setdefault(name, {})[step] = float(value)
    return curves


def plot_curves(run: Path) -> None:
    """Draw ``curves.png`` into a run folder."""
    curves = read_log(run)
    panels = {
        "loss": [name for name in curves if name == "loss"],
        "learning rate": [name for name in curves if name.startswith("lr-")],
        "validation": [name for name in curves if name.startswith("val/")],
    }
    figure = Figure(figsize=(7.2, 7.2), layout="constrained")
    every = figure.subplots(3, sharex=True, height_ratios=(3, 2, 4))
    for axes, (title, names) in zip(every, panels.items(), strict=True):
        for name in sorted(names):
            steps, values = np.array(sorted(curves[name].items())).T
            label = name.removeprefix("val/").removeprefix("lr-")
            style = {
                "lw": 2.0 if name == "val/score" else 1.0,
                "alpha": 0.4 if name == "loss" else 1,
            }
            axes.plot(steps, values, ".-", ms=3, label=label, **style)
            if name == "loss" and len(steps) > SMOOTH:
                mean = np.convolve(values, np.ones(SMOOTH) / SMOOTH, "valid")
                axes.plot(steps[SMOOTH - 1 :], mean, color="black", label=f"mean of {SMOOTH}")
        above_zero = max((v for name in names for v in curves[name].values()), default=0) > 0
        axes.set(ylabel=title, yscale="log" if above_zero and title != "validation" else "linear")
        axes.grid(alpha=0.25)
        if names:
            axes.legend(fontsize=7, ncols=2, loc="lower left")
    every[-1].set(xlabel="step", ylim=(0, 1))
    figure.savefig(run / CURVES, dpi=120)
