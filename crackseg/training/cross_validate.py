"""RUN.toml -> one training per fold -> thresholds chosen on pictures that no training has seen.

A short ``val`` list gives a network its weights well enough and its thresholds badly: a dozen
photographs, of which the largest cracks decide. So train and val are dealt anew into folds, the run
is trained once without each of them, and the thresholds are chosen over all held-out pictures
together; beside them stand those that the run's own ``val`` pictures ask for, each read by the
network that has not seen it. Test pictures take no part.

A fold is read at its last step. The checkpoint that scores best on the held-out pictures would be
chosen by those that choose the thresholds, and an early one asks for lower thresholds than a
network that has been trained to the end (E18 in ``data/EXPERIMENTS.md``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress, groupby
from pathlib import Path

from crackseg.config import to_plain
from crackseg.errors import ConfigError, DataError
from crackseg.folders import holds_keys, refuse_unless
from crackseg.records import Sample
from crackseg.training.evaluate import (
    EvaluateOptions,
    Tally,
    ThresholdChoice,
    best_thresholds,
    load_samples,
    tally_thresholds,
)
from crackseg.training.export_onnx import ExportOptions, export_run
from crackseg.training.fit import train
from crackseg.training.manifest import photograph_of, read_manifest, write_manifest
from crackseg.training.options import TrainOptions

RUNS_PER_FOLD = 3  # stretches of neighbours that a fold takes from each set


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidation:
    """The thresholds of all folds together, of the run's own ``val`` alone, and of each fold."""

    together: ThresholdChoice
    val: ThresholdChoice | None  # None: the run lists no ``val`` pictures
    folds: tuple[ThresholdChoice, ...]
    pictures: int
    val_pictures: int


def deal_folds(samples: Sequence[Sample], folds: int) -> tuple[tuple[Sample, ...], ...]:
    """Return the samples once per fold, ``val`` being that fold's share and ``train`` the rest.

    Each set's photographs stand in name order and are cut into stretches of about equal size,
    which are dealt in turn: every fold gets some of each camera and series, while neighbours, which
    often show the same spot, mostly stay together. Pictures of one site, or crops of one photograph
    (``name-1``, ``name-2``, ...), are never parted.

    Args:
        samples: pictures of splits ``train`` and ``val``.
        folds: how many.

    Raises:
        DataError: a set has fewer photographs than there are folds.
    """
    if folds < 2:
        raise DataError(f"`folds` must be at least 2, got {folds}; 3 to 5 are usual.")
    fold_of: dict[Path, int] = {}
    for source in dict.fromkeys(sample.source for sample in samples):
        of_set = sorted(
            (sample for sample in samples if sample.source == source),
            key=lambda sample: (photograph_of(sample), sample.image),
        )
        photographs = [list(group) for _, group in groupby(of_set, photograph_of)]
        if len(photographs) < folds:
            raise DataError(
                f"set `{source}` has {len(photographs)} photographs or sites, too few for "
                f"{folds} folds; take fewer folds, or leave the set out by `data.sets`."
            )
        stretches = min(folds * RUNS_PER_FOLD, len(photographs))
        start = 0
        for photograph in photographs:
            middle = start + len(photograph) / 2
            start += len(photograph)
            fold = int(middle / len(of_set) * stretches) % folds
            fold_of |= dict.fromkeys((sample.image for sample in photograph), fold)
    dealt = tuple(_dealt(samples, fold_of, fold) for fold in range(folds))
    for fold, of_fold in enumerate(dealt):
        for source in {sample.source for sample in of_fold}:
            if not any(s.split == "val" and s.source == source for s in of_fold):
                raise DataError(
                    f"fold {fold} got no picture of set `{source}`: one photograph or site holds "
                    "too many of them; take fewer folds."
                )
    return dealt


def _dealt(samples: Sequence[Sample], fold_of: Mapping[Path, int], fold: int) -> tuple[Sample, ...]:
    return tuple(
        replace(sample, split="val" if fold_of[sample.image] == fold else "train")
        for sample in samples
    )


def cross_validate(
    run: TrainOptions, folds: int = 3, say: Callable[[str], None] = print
) -> CrossValidation:
    """Train ``run`` once per fold beside ``run.out`` and choose the thresholds over all folds.

    Finished folds are not trained again. Where a protocol leaves every choice to ``val``, take
    ``val`` of the result: the same networks, the pictures of that list only.
    ``<out>-folds/cross_validation.json`` holds it all.

    Raises:
        ConfigError: the run validates on other sets than it trains on.
        DataError: the manifest is broken, or too small for so many folds.
    """
    if run.data.val_sets:
        raise ConfigError("`data.val_sets` must be empty: each fold validates on its own share.")
    sets = run.data.sets
    samples = tuple(
        sample
        for sample in read_manifest(run.data.manifest, root=run.data.root)
        if sample.split in ("train", "val") and (not sets or sample.source in sets)
    )
    listed = {sample.image for sample in samples if sample.split == "val"}
    out = run.out.with_name(f"{run.out.name}-folds")
    result_file = out / "cross_validation.json"
    refuse_unless(result_file, holds_keys("together folds"), "result of a cross-validation")
    tallies: list[Tally] = []
    of_val: list[Tally] = []
    choices, pictures = [], 0
    for fold, dealt in enumerate(deal_folds(samples, folds)):
        say(f"fold {fold} of {folds}: {out / f'fold{fold}'}")
        held_out, tally = _judge_fold(run, fold, dealt, out)
        tallies.append(tally)
        of_val.append(_pick(tally, held_out, listed))
        choices.append(best_thresholds([tally]))
        pictures += len(held_out)
        say(f"  {_text(choices[-1])}, {len(held_out)} pictures held out")
    result = CrossValidation(
        together=best_thresholds(tallies),
        val=best_thresholds(of_val) if listed else None,
        folds=tuple(choices),
        pictures=pictures,
        val_pictures=len(listed),
    )
    say(f"together: {_text(result.together)}, {pictures} pictures")
    if result.val:
        say(f"val alone: {_text(result.val)}, {len(listed)} pictures")
    result_file.write_text(
        json.dumps(to_plain(result), indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    return result


def _judge_fold(
    run: TrainOptions, fold: int, dealt: Sequence[Sample], out: Path
) -> tuple[Sequence[Sample], Tally]:
    """Train one fold and return the pictures held out of it with what its network makes of them."""
    manifest, root = out / f"fold{fold}.csv", run.data.root or run.data.manifest.parent
    write_manifest(dealt, manifest, root=root)
    of_fold = replace(
        run,
        name=f"{run.name}-fold{fold}",
        out=out / f"fold{fold}",
        data=replace(run.data, manifest=manifest, root=root),
        fit=replace(run.fit, keep="last", patience_epochs=0),
    )
    model = train(of_fold) / "model"
    options = ExportOptions(name=of_fold.name, version="0", threshold=0.5, threshold_low=0.5)
    export_run(of_fold.out, model, options)
    held_out = load_samples(manifest, root=root, split="val")
    return held_out, tally_thresholds(held_out, EvaluateOptions(model=str(model)))


def _pick(tally: Tally, samples: Sequence[Sample], pictures: set[Path]) -> Tally:
    """Return the part of a tally of ``samples`` that counts ``pictures`` alone."""
    picks: dict[str, list[bool]] = {}
    for sample in samples:
        picks.setdefault(sample.source, []).append(sample.image in pictures)
    return {
        pair: {
            source: list(compress(counts, picks[source]))
            for source, counts in of_sets.items()
            if any(picks[source])
        }
        for pair, of_sets in tally.items()
    }


def _text(choice: ThresholdChoice) -> str:
    return (
        f"threshold {choice.threshold:g}, threshold_low {choice.threshold_low:g} "
        f"({choice.value:.4f})"
    )
