"""A model folder fresh from its run -> the same with the thresholds that validation asks for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from crackseg.config import to_plain
from crackseg.errors import DataError
from crackseg.inference.models import read_card, write_card
from crackseg.records import ModelCard
from crackseg.training.evaluate import EvaluateOptions, Progress, choose_threshold, load_samples


def choose_for_run(folder: Path, run: Path, progress: Progress | None = None) -> ModelCard:
    """Choose both thresholds on the ``val`` pictures of a run and write them into the card.

    Args:
        folder: the exported model, with any thresholds.
        run: the run it was exported from; its run.json names manifest and sets.
        progress: called with pictures done and pictures in all.

    Raises:
        DataError: the run's manifest is not where it was, or lists no validation picture.
    """
    data = json.loads((run / "run.json").read_text(encoding="utf-8"))["options"]["data"]
    manifest, root = Path(data["manifest"]), data["root"]
    if not manifest.is_file():
        raise DataError(
            f"the manifest of `{run}`, {manifest}, is not there, so that no threshold can be "
            "chosen; give `--threshold`, or `crackseg evaluate MANIFEST --choose-threshold`."
        )
    sets = tuple(data["val_sets"] or data["sets"])
    samples = load_samples(
        manifest, root=None if root is None else Path(root), split="val", sets=sets
    )
    options = EvaluateOptions(model=str(folder), split="val", sets=sets)
    choice = choose_threshold(samples, options, progress)
    card = read_card(folder)
    return write_card(
        folder,
        replace(
            card,
            threshold=choice.threshold,
            threshold_low=choice.threshold_low,
            scores={**card.scores, "choice": {**to_plain(choice), "pictures": len(samples)}},
        ),
    )
