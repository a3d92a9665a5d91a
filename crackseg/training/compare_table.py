"""Cells of a comparison -> Markdown, CSV and a plot of accuracy against cost."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from crackseg.training.evaluate import LEAKY

COLUMNS = {  # column head -> where the figure stands in a set of a cell
    "P": ("strict", "pooled", "precision"),
    "R": ("strict", "pooled", "recall"),
    "F1": ("strict", "pooled", "f1"),
    "IoU": ("strict", "pooled", "iou"),
    "F1 2 px": ("tolerant", "pooled", "f1"),
    "IoU per image": ("strict", "per_image", "iou"),
    "clDice": ("cldice", "pooled"),
}
COST = (
    "Of one tile at a time, all timed one after the other: s/MP seconds per megapixel, median of "
    "five; MB the largest memory above that of Python with the runtime's libraries loaded."
)
Cell = Mapping[str, Any]
Speeds = Mapping[str, Mapping[str, Any]]  # network -> runtime -> Speed


def write_tables(
    cells: Sequence[Cell], speeds: Speeds, published: Sequence[Cell], out: Path
) -> None:
    """Write ``compare.md``, ``compare.csv`` and ``compare.png`` into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    done = [cell for cell in cells if "failed" not in cell]
    (out / "compare.md").write_text(as_markdown(cells, speeds, published), encoding="utf-8")
    _write_csv(done, out / "compare.csv")
    if any(with_cracks(cell) for cell in done):
        plot_cost(done, out / "compare.png")


def as_markdown(cells: Sequence[Cell], speeds: Speeds, published: Sequence[Cell]) -> str:
    """Return the comparison as Markdown: one table per set, one of cost, the literature last.

    Figures are means over seeds with half the range behind ±; one seed has no spread.
    """
    rows = _by_name([cell for cell in cells if "failed" not in cell])
    parts = ["Crack class. Strict unless said otherwise; ± is half the range over the seeds.\n"]
    if rows:
        parts.append(f"### Mean over the sets\n\n{_mean_table(rows)}")
    for name in dict.fromkeys(s for of_name in rows.values() for s in with_cracks(of_name[0])):
        head = ["network", "seeds", *COLUMNS]
        body = [
            [
                network,
                str(len(of_name)),
                *(spread([pick(c, name, keys) for c in of_name]) for keys in COLUMNS.values()),
            ]
            for network, of_name in rows.items()
            if name in of_name[0]["sets"]
        ]
        parts.append(f"### {name}\n\n{_table(head, body)}")
    if rows:
        parts.append(f"### Cost and false alarms\n\n{COST}\n\n{_cost_table(rows, speeds)}")
    failed = [f"- {c['name']}, seed {c['seed']}: {c['failed']}" for c in cells if "failed" in c]
    if failed:
        parts.append("### Failed\n\n" + "\n".join(failed) + "\n")
    if published:
        scores = ("precision", "recall", "f1", "iou")
        body = [
            [p["name"], *("" if p[s] is None else f"{p[s]:.3f}" for s in scores), p["protocol"]]
            for p in published
        ]
        head = ["published", "P", "R", "F1", "IoU", "data and protocol"]
        parts.append(f"### Published, on other data or protocols\n\n{_table(head, body)}")
    return "\n".join(parts)


def spread(values: Sequence[float | None]) -> str:
    """Return the mean with half the range; empty where a value is undefined."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return ""
    mean = f"{statistics.fmean(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ± {(max(known) - min(known)) / 2:.3f}"


def pick(cell: Cell, name: str, keys: Sequence[str]) -> float | None:
    """Return one figure of a set of a cell."""
    value: Any = cell["sets"][name]
    for key in keys:
        value = value[key]
    return None if value is None else float(value)


def with_cracks(cell: Cell) -> list[str]:
    """Return the sets of a cell that hold cracks."""
    sets: Mapping[str, Any] = cell["sets"]
    return [n for n, figures in sets.items() if figures["crack_free"]["images"] < figures["images"]]


def mean_over_sets(cell: Cell, keys: Sequence[str]) -> float:
    """Return the mean of a figure over the sets with cracks; undefined counts as 0.

    A set with leaky test pictures counts once, without them.
    """
    names = [name for name in with_cracks(cell) if not name.endswith(LEAKY)]
    return statistics.fmean(pick(cell, name, keys) or 0.0 for name in names)


def _mean_table(rows: Mapping[str, Sequence[Cell]]) -> str:
    body = [
        [network, *(spread([mean_over_sets(c, keys) for c in of]) for keys in COLUMNS.values())]
        for network, of in rows.items()
        if with_cracks(of[0])
    ]
    return _table(["network", *COLUMNS], body)


def plot_cost(cells: Sequence[Cell], file: Path) -> None:
    """Draw mean strict F1 over the sets against GMAC; bars span the seeds."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, of_name) in enumerate(_by_name(cells).items()):
        means = [mean_over_sets(cell, COLUMNS["F1"]) for cell in of_name]
        middle = statistics.fmean(means)
        bars = [[middle - min(means)], [max(means) - middle]]
        gmac, sign = of_name[0]["gmac"], "osD^vP*X"[number % 8]
        axes.errorbar(gmac, middle, yerr=bars, fmt=sign, capsize=3, label=name)
    axes.set(xscale="log", xlabel="GMAC of one tile", ylabel="strict F1, mean of the sets")
    for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        ticks("{x:g}")
    axes.margins(x=0.1, y=0.1)
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.savefig(file, dpi=140)


def _by_name(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell["name"], []).append(cell)
    return rows


def _cost_table(rows: Mapping[str, Sequence[Cell]], speeds: Speeds) -> str:
    runtimes = list(next(iter(speeds.values()), {}))
    head = ["network", "parameters (M)", "GMAC", "alarms on crack-free"]
    head += [f"s/MP {runtime}" for runtime in runtimes] + [f"MB {runtime}" for runtime in runtimes]
    body = []
    for name, of_name in rows.items():
        first = of_name[0]
        alarms = [
            figures["crack_free"]["alarm_rate"]
            for cell in of_name
            for figures in cell["sets"].values()
            if figures["crack_free"]["images"] == figures["images"]
        ]
        own = [speeds[name][runtime] for runtime in runtimes]
        body.append(
            [
                name,
                f"{first['parameters'] / 1e6:.2f}",
                f"{first['gmac']:.1f}",
                spread(alarms),
                *(f"{speed['s_per_megapixel']:.2f}" for speed in own),
                *(f"{speed['peak_mb']:.0f}" for speed in own),
            ]
        )
    return _table(head, body)


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _write_csv(cells: Sequence[Cell], file: Path) -> None:
    """Write one line per cell and set with cracks."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["network", "seed", "set", *COLUMNS, "parameters", "gmac", "threshold"])
        for cell in cells:
            for name in with_cracks(cell):
                figures = [pick(cell, name, keys) for keys in COLUMNS.values()]
                writer.writerow(
                    [
                        cell["name"],
                        cell["seed"],
                        name,
                        *("" if value is None else f"{value:.5f}" for value in figures),
                        cell["parameters"],
                        f"{cell['gmac']:.3f}",
                        cell["choice"]["threshold"],
                    ]
                )
