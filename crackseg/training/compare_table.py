"""Cells of a comparison -> Markdown, CSV, a plot of the scores, and what each network marks."""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.imagery.files import open_image
from crackseg.records import Array
from crackseg.training.compare_options import CompareOptions, file_name
from crackseg.training.compare_plots import draw_sheet, mark_colours, plot_scores
from crackseg.training.compare_stats import (
    DRAWS,
    MEASURES,
    Counted,
    Difference,
    differences,
    measure_cells,
)

Cell = Mapping[str, Any]
COMPARED = ("score", "line_f1", "f1", "iou", "alarms")  # with an interval
HEAD = (
    "Crack class, bare threshold. `line`: pixels of centre line within 3 px of the other one, "
    "pooled over a set; P, R, TNR, F and crack IoU: the article's, strict, means over pictures; "
    "all of them then means over the sets that hold cracks. Alarms: share of the crack-free "
    "pictures with more than 0.1 % of their pixels marked. Score: F of line P and of line R "
    "averaged over the width classes, less half the alarms. ± is half the range over the seeds.\n"
)


def write_tables(cells: Sequence[Cell], options: CompareOptions) -> None:
    """Write ``compare.md``, ``compare.csv`` and ``scores.png`` into the comparison's folder."""
    done = [cell for cell in cells if "failed" not in cell]
    rows = read_rows(done, options.out)
    text = as_markdown(cells, rows, options)
    (options.out / "compare.md").write_text(text, encoding="utf-8")
    _write_csv(rows, done, options.out / "compare.csv")
    if done:
        plot_scores(done, options.out / "scores.png")


def write_sheet(
    cells: Sequence[Cell], labels: Mapping[str, Array], options: CompareOptions
) -> None:
    """Write ``sheet.png``: what each network marks in ``options.pictures``, with its first seed.

    Args:
        cells: of the comparison.
        labels: SET/STEM -> (H, W) bool.
        options: of the comparison.
    """
    names = [name for name in options.pictures if name in labels]
    columns = {"label": [mark_colours(labels[name], labels[name]) for name in names]}
    for cell in cells:
        folder = options.out / f"{file_name(cell['name'])}-seed{cell['seed']}" / "pictures"
        files = [folder / f"{name.replace('/', '-')}.png" for name in names]
        if cell["name"] not in columns and files and all(file.exists() for file in files):
            level = int(np.ceil(cell["threshold"] * 255))
            columns[cell["name"]] = [
                mark_colours(_probability(file) >= level, labels[name])
                for file, name in zip(files, names, strict=True)
            ]
    if names:
        draw_sheet(columns, options.out / "sheet.png")


def _probability(file: Path) -> Array:
    with open_image(file) as picture:
        grey: Array = picture.read()[..., 0]
    return grey


def read_rows(cells: Sequence[Cell], out: Path) -> dict[str, Counted]:
    """Return what the cells of each network counted, in the order of the cells."""
    rows: dict[str, list[tuple[Cell, Array]]] = {}
    for cell in cells:
        folder = out / f"{file_name(cell['name'])}-seed{cell['seed']}"
        rows.setdefault(cell["name"], []).append((cell, np.load(folder / "counts.npy")))
    return {
        name: Counted(
            counts=np.stack([counts for _, counts in of_name]).astype(np.int64),
            sources=tuple(picture.split("/")[0] for picture in of_name[0][0]["pictures"]),
            photographs=tuple(of_name[0][0]["photographs"]),
        )
        for name, of_name in rows.items()
    }


def as_markdown(cells: Sequence[Cell], rows: Mapping[str, Counted], options: CompareOptions) -> str:
    """Return the comparison as Markdown: test, differences, each set, settings, literature."""
    done = [cell for cell in cells if "failed" not in cell]
    parts = [HEAD]
    if rows:
        parts += [f"### Test lists, mean of the sets\n\n{_test_table(rows, done)}"]
        parts += [f"### {title}\n\n{table}" for title, table in _against_first(rows)]
        parts += [f"### Each set: line F1 and F\n\n{_set_table(rows)}"]
    if trials := _trial_rows(options):
        head = ["network", "option", "score on `val` of each value", "chosen"]
        parts.append(f"### Settings, chosen on `val`\n\n{_table(head, trials)}")
    failed = [f"- {c['name']}, seed {c['seed']}: {c['failed']}" for c in cells if "failed" in c]
    if failed:
        parts.append("### Failed\n\n" + "\n".join(failed) + "\n")
    if options.published:
        scores = ("precision", "recall", "f1", "iou")
        body = [
            [
                p.name,
                *("" if getattr(p, s) is None else f"{getattr(p, s):.3f}" for s in scores),
                p.protocol,
            ]
            for p in options.published
        ]
        head = ["published", "P", "R", "F1", "IoU", "data and protocol"]
        parts.append(f"### Published, on other data or protocols\n\n{_table(head, body)}")
    return "\n".join(parts)


def spread(values: Sequence[float]) -> str:
    """Return the mean with half the range; without it where there is one value."""
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {(max(values) - min(values)) / 2:.3f}"


def as_text(difference: Difference) -> str:
    """Return a difference with its interval, in bold where the interval leaves out zero."""
    text = f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
    return f"**{text}**" if difference.is_clear else text


def _test_table(rows: Mapping[str, Counted], cells: Sequence[Cell]) -> str:
    first = {cell["name"]: cell for cell in reversed(cells)}
    head = ["network", "M parameters", "GMAC", "seeds", *MEASURES.values()]
    body = []
    for name, counted in rows.items():
        cost = [f"{first[name]['parameters'] / 1e6:.2f}", f"{first[name]['gmac']:.1f}"]
        values = measure_cells(counted)
        figures = [spread(values[key].tolist()) for key in MEASURES]
        body.append([name, *cost, str(len(counted.counts)), *figures])
    return _table(head, body)


def _against_first(rows: Mapping[str, Counted]) -> list[tuple[str, str]]:
    """Return the table of differences to the first row, by the seeds that both have."""
    (first, base), *others = rows.items()
    if not others:
        return []
    body = []
    for name, counted in others:
        seeds = min(len(counted.counts), len(base.counts))
        one, two = (
            Counted(counts=c.counts[:seeds], sources=c.sources, photographs=c.photographs)
            for c in (counted, base)
        )
        of = differences(one, two)
        body.append([name, str(seeds), *(as_text(of[key]) for key in COMPARED)])
    title = (
        f"Ahead of {first} by; 95 % intervals of {DRAWS} paired draws of photographs and seeds, "
        "bold where they leave out zero"
    )
    return [(title, _table(["network", "seeds", *(MEASURES[key] for key in COMPARED)], body))]


def _set_table(rows: Mapping[str, Counted]) -> str:
    sources = next(iter(rows.values())).sources
    with_cracks = [
        source
        for source in dict.fromkeys(sources)
        if any(c.counts[0][np.array(sources) == source, 1].any() for c in rows.values())
    ]
    head = ["network", *(f"{source} ({sources.count(source)})" for source in with_cracks)]
    body = []
    for name, counted in rows.items():
        texts = []
        for source in with_cracks:
            here = np.array(counted.sources) == source
            values = measure_cells(
                Counted(
                    counts=counted.counts[:, here],
                    sources=tuple(np.array(counted.sources)[here].tolist()),
                    photographs=tuple(np.array(counted.photographs)[here].tolist()),
                )
            )
            texts.append(f"{values['line_f1'].mean():.3f}, {values['f1'].mean():.3f}")
        body.append([name, *texts])
    return _table(head, body)


def _trial_rows(options: CompareOptions) -> list[list[str]]:
    body = []
    for row in options.network:
        file = options.out / f"{file_name(row.name)}-tuned.json"
        if not row.tune or not file.exists():
            continue
        tuned = json.loads(file.read_text(encoding="utf-8"))
        best: dict[str, Any] = {}
        for option, values in row.tune.items():
            if option not in tuned.get("best", {}):
                continue
            tried = [(v, _score_of(tuned["trials"], row, {**best, option: v})) for v in values]
            best[option] = tuned["best"][option]
            texts = [f"{v:g}: {score:.3f}" for v, score in tried if score is not None]
            body.append([row.name, f"`{option}`", "; ".join(texts), f"{best[option]:g}"])
    return body


def _score_of(
    trials: Sequence[Mapping[str, Any]], row: Any, values: Mapping[str, Any]
) -> float | None:
    """Return the score of the trial with these settings, its other ones being those of the row."""
    for trial in trials:
        run = trial["run"]
        settings = {**run["fit"], **run["arguments"]}
        if all(settings.get(option) == value for option, value in values.items()) and all(
            settings.get(option) == row.arguments[option]
            for option in row.tune
            if option in row.arguments and option not in values
        ):
            return float(trial["score"])
    return None


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _write_csv(rows: Mapping[str, Counted], cells: Sequence[Cell], file: Path) -> None:
    """Write one line per cell with every measure and the digest of its weights."""
    measures = {name: measure_cells(counted) for name, counted in rows.items()}
    place: dict[str, int] = {}
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["network", "seed", *MEASURES, "threshold", "weights_sha256"])
        for cell in cells:
            name = cell["name"]
            number = place[name] = place.get(name, -1) + 1
            figures = [f"{measures[name][key][number]:.5f}" for key in MEASURES]
            end = [cell["threshold"], cell["weights_sha256"]]
            writer.writerow([name, cell["seed"], *figures, *end])
