"""What `crackseg export --int8` does: an 8-bit graph beside the float one, scored by its side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from crackseg.config import PredictOptions
from crackseg.eight_bit import EightBit
from crackseg.inference.choosing import LOSS_MAX
from crackseg.inference.models import load_model, own_files, write_card
from crackseg.metrics import mean_defined
from crackseg.records import ModelCard, Sample
from crackseg.training.evaluate import (
    EvaluateOptions,
    PictureScore,
    group,
    load_samples,
    score_pictures,
)
from crackseg.training.judge import judge, pool
from crackseg.training.quantize import calibration_tiles, quantize

TILES = 60
_SEED = 0

Say = Callable[[str], None]


def add_eight_bit(
    folder: Path,
    data: Path,
    *,
    root: Path | None,
    sets: Sequence[str],
    step: int,
    say: Say,
) -> ModelCard:
    """Write the 8-bit graph of a model folder, calibrated on train and scored on val pictures.

    Args:
        folder: a model folder; its card gets ``eight_bit``.
        data: folder of sets, or manifest.
        root: folder the manifest's paths are relative to.
        sets: names of sets; none: all.
        step: of the val pictures every ``step``-th is scored.
        say: is told what is done.

    Raises:
        DataError: there are no train or no val pictures.
        ModelError: the folder is no model, holds another file in the place of one of a model's, or
            its 8-bit graph is not sound.
    """
    model = load_model(folder)
    own_files(folder, model.card)  # refused before the work
    train = load_samples(data, root=root, split="train", sets=sets)
    val = load_samples(data, root=root, split="val", sets=sets)[::step]
    tiles = calibration_tiles(train, model.card.tile_px, TILES, _SEED)
    say(f"calibrating on {len(tiles)} tiles of {len(train)} train pictures")
    tolerance = quantize(model, tiles)
    unjudged = EightBit(  # so bad that nothing takes it unasked, until it is judged
        probe_tolerance=tolerance,
        calibrated_on=f"{len(tiles)} tiles of {tiles.shape[1]} px, one of each of as many train "
        f"pictures of {_names(train)}",
        judged_on="nothing",
        judge=0.0,
        judge_float=1.0,
    )
    card = write_card(folder, replace(model.card, eight_bit=unjudged))
    scores = {precision: _score(folder, val, precision, say) for precision in ("float", "int8")}
    judged = replace(
        unjudged,
        judged_on=f"{len(val)} val pictures of {_names(val)}",
        judge=_judge(scores["int8"]),
        judge_float=_judge(scores["float"]),
        sets={
            name: _beside(group(scores["float"])[name], of_set)
            for name, of_set in group(scores["int8"]).items()
        },
    )
    say(_verdict(judged))
    return write_card(folder, replace(card, eight_bit=judged))


def _score(
    folder: Path, samples: Sequence[Sample], precision: str, say: Say
) -> tuple[PictureScore, ...]:
    options = EvaluateOptions(
        model=str(folder),
        split="val",
        predict=PredictOptions(runtime="onnx", precision=precision),
    )
    say(f"scoring {len(samples)} val pictures in {precision}")
    return score_pictures(samples, options)


def _judge(scores: Sequence[PictureScore]) -> float:
    return judge(
        {name: [s.lines_by_width for s in of_set] for name, of_set in group(scores).items()}
    )


def _beside(first: Sequence[PictureScore], second: Sequence[PictureScore]) -> dict[str, float]:
    """Return the figures of one set in float and in 8 bit; what is undefined is left out."""
    figures: dict[str, float] = {"images": len(first)}
    for end, scores in (("float", first), ("int8", second)):
        counts = pool(score.lines_by_width for score in scores)
        values = {
            "line_f1": counts.f1,
            "balanced_f1": counts.balanced,
            "listed": float(counts.listed) if counts.free else float("nan"),
            "width_error_mean_abs_px": _width_error(scores),
        }
        figures |= {f"{k}_{end}": round(v, 4) for k, v in values.items() if v == v}
    return figures


def _width_error(scores: Sequence[PictureScore]) -> float:
    """Return the mean absolute difference of a picture's mean width, marked against labelled."""
    away = [abs(s.sizes.marked_width_px - s.sizes.labelled_width_px) for s in scores if s.sizes]
    return mean_defined(away)[0]


def _verdict(judged: EightBit) -> str:
    word = "taken unasked" if judged.loss <= LOSS_MAX else "only where it is asked for"
    return (
        f"judge {judged.judge:.4f} in 8 bit, {judged.judge_float:.4f} in float: {word} "
        f"(at most {LOSS_MAX:g} may be lost)"
    )


def _names(samples: Sequence[Sample]) -> str:
    return ", ".join(sorted({sample.source for sample in samples}))
