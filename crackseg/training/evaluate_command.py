"""What ``crackseg evaluate`` prints and writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from crackseg.config import to_plain
from crackseg.detection import Detection
from crackseg.folders import filling, holds_keys, refuse_beside, refuse_foreign, refuse_unless
from crackseg.inference.models import (
    CARD,
    load_model,
    lowered,
    own_files,
    thresholds,
    write_card,
)
from crackseg.model_card import ModelCard
from crackseg.names import require
from crackseg.records import Sample
from crackseg.training.evaluate import (
    EvaluateOptions,
    PictureScore,
    choose_threshold,
    find_all_pieces,
    group,
    score_pictures,
    summarize,
)
from crackseg.training.picture_table import is_picture_table, write_picture_table
from crackseg.training.pod import detection
from crackseg.training.pod_text import as_markdown, plot
from crackseg.training.score_text import as_text, without_nan

IS_SCORES = holds_keys("sets", "threshold threshold_low objective")
_MADE_BY = "Written by `crackseg evaluate --pod`"


def _warn_of_lowered(options: EvaluateOptions, card: ModelCard) -> None:
    if text := lowered(options.mask, card):
        print(f"warning: {text}", file=sys.stderr)


def run_scores(
    samples: Sequence[Sample],
    options: EvaluateOptions,
    json_file: Path | None,
    plots: Path | None,
    per_picture: Path | None = None,
) -> None:
    """Score the samples, print the tables and write what was asked for."""
    if per_picture:
        refuse_unless(per_picture, is_picture_table, "table of pictures")
    if json_file:
        refuse_unless(json_file, IS_SCORES, "figures of an evaluation")
    if plots:
        of_sets = (f"worst_{source}.jpg" for source in {sample.source for sample in samples})
        refuse_foreign(plots, ["precision_recall.png", "worst.jpg", *of_sets])
    model = load_model(options.model)
    high, low = thresholds(options.mask, model.card)
    _warn_of_lowered(options, model.card)
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples))
        scores = score_pictures(samples, options, lambda done, _: bar.update(task, completed=done))
    groups = group(scores)
    summary = {name: summarize(of_group) for name, of_group in groups.items()}
    print(
        f"model {model.card.name} {model.card.version}, split {options.split}, class crack; masks: "
        f"threshold {high:g} with hysteresis down to {low:g}, specks under "
        f"{options.mask.min_area_px} px dropped; tolerance {options.tolerance_px:g} px\n"
    )
    print(as_text(summary))
    if json_file:
        protocol = {
            "model": model.card.name,
            "version": model.card.version,
            "model_sha256": model.card.sha256["model.onnx"],
            "threshold": high,
            "threshold_low": low,
            "options": to_plain(options),
        }
        _write_json(json_file, {"protocol": protocol, "sets": summary})
    if per_picture:
        write_picture_table(groups, per_picture)
    if plots:
        _write_plots(groups, scores, options, plots)


def run_boxes(
    samples: Sequence[Sample], options: EvaluateOptions, inside: str | None, json_file: Path | None
) -> None:
    """Score a detector, print the tables and write what was asked for."""
    require("torch", extra="train")
    from crackseg.training.box_scores import box_text, score_boxes

    if json_file:
        refuse_unless(json_file, IS_SCORES, "figures of an evaluation")
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples))
        scores = score_boxes(
            samples, options, inside, lambda done, _: bar.update(task, completed=done)
        )
    card = load_model(options.model).card
    print(f"detector {card.name} {card.version}, split {options.split}\n")
    print(box_text(scores))
    if json_file:
        _write_json(json_file, {"sets": to_plain(scores)})


def run_choice(samples: Sequence[Sample], options: EvaluateOptions, json_file: Path | None) -> None:
    """Choose the thresholds and print them."""
    if json_file:
        refuse_unless(json_file, IS_SCORES, "figures of an evaluation")
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples))
        choice = choose_threshold(
            samples, options, lambda done, _: bar.update(task, completed=done)
        )
    print(f"threshold {choice.threshold:g}, threshold_low {choice.threshold_low:g}")
    print(f"{choice.value:.4f} = {choice.objective}; {len(samples)} pictures of val")
    if json_file:
        _write_json(json_file, to_plain(choice))


def run_detection(
    samples: Sequence[Sample], options: EvaluateOptions, report: Path | None, write: bool
) -> Detection:
    """Measure the probability of detection, print it and write what was asked for.

    Raises:
        MissingExtra: a report was asked for and matplotlib is not installed.
    """
    if report is not None:
        require("matplotlib", extra="train")
        page = report / "detection.md"
        refuse_beside(page, lambda text: _MADE_BY in text, "page of this command", "detection.png")
    model = load_model(options.model)
    if write:
        own_files(model.folder, model.card)
    _warn_of_lowered(options, model.card)
    with progress_bar() as bar:
        task = bar.add_task("", total=len(samples))
        pieces = find_all_pieces(samples, options, lambda done, _: bar.update(task, completed=done))
    names = ", ".join(dict.fromkeys(sample.source for sample in samples))
    about = f"{len(pieces)} pieces of labelled crack in the {options.split} lists of {names}"
    tested = detection(pieces, about)
    text = as_markdown(model.card, tested, pieces, thresholds(options.mask, model.card))
    print(text)
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "detection.md").write_text(text, encoding="utf-8")
        plot(tested, pieces, report / "detection.png")
    if write:
        write_card(model.folder, replace(model.card, detection=tested))
        print(f"written to {model.folder / CARD}")
    return tested


def _write_json(file: Path, values: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(without_nan(values), indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def _write_plots(
    groups: dict[str, tuple[PictureScore, ...]],
    scores: Sequence[PictureScore],
    options: EvaluateOptions,
    folder: Path,
) -> None:
    require("matplotlib", extra="train")
    from crackseg.training.score_plots import draw_worst, plot_precision_recall

    with filling(folder) as fresh:
        plot_precision_recall(groups, fresh / "precision_recall.png")
        draw_worst(scores, options, fresh / "worst.jpg")
        for name, of_group in groups.items():
            if "official" not in name:
                draw_worst(of_group, options, fresh / f"worst_{name}.jpg")


def progress_bar() -> Progress:
    """Return the bar that commands over many pictures show."""
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
