"""Scores as lines of text for a terminal, and as values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

WAYS = {"strict": "strict", "tolerant": "tolerant", "raw_threshold": "bare threshold"}
MEANS = {"pooled": "pooled", "per_image": "per image"}
NAMES = ("precision", "recall", "f1", "iou", "tnr")


def as_text(summary: Mapping[str, Any]) -> str:
    """Return the figures of every set as lines of text; "-" is undefined.

    Args:
        summary: set name -> the figures of ``evaluate.summarize``.
    """
    cracked = {
        name: figures
        for name, figures in summary.items()
        if figures["crack_free"]["images"] < figures["images"]
    }
    lines = [*_line_table(summary), ""]
    lines += [f"{'set':34} {'images':>6}  {'pixels':26}      P      R     F1    IoU    TNR"]
    for name, figures in cracked.items():
        for number, (way, mean) in enumerate((w, m) for w in WAYS for m in MEANS):
            head = f"{name:34} {figures['images']:6}" if number == 0 else " " * 41
            cells = " ".join(_cell(figures[way][mean][score]) for score in NAMES)
            lines.append(f"{head}  {WAYS[way] + ', ' + MEANS[mean]:26} {cells}")
    lines += ["", f"{'set':34} clDice    ODS (at)     OIS   found     true  length    width"]
    lines += [f"{name:34} {_best_and_sizes(figures)}" for name, figures in cracked.items()]
    lines += ["", *(_alarms(name, f) for name, f in summary.items() if f["crack_free"]["images"])]
    return "\n".join(lines)


def _line_table(summary: Mapping[str, Any]) -> list[str]:
    """Return centre lines found, in all and by width in the photograph, and invented."""
    widths = next(iter(summary.values()))["lines"]["by_width"] if summary else ()
    names = " ".join(f"{name:>7}" for name in widths)
    rows = [
        f"{'centre lines':34}      P      R     F1 balanced  recall by width, px: {names}"
        "  false px/MP  listed on crack-free"
    ]
    for name, figures in summary.items():
        lines = figures["lines"]
        cells = " ".join(_cell(lines[key]) for key in ("precision", "recall", "f1"))
        recalls = " ".join(f" {_cell(each['recall'])}" for each in lines["by_width"].values())
        listed = "-" if not lines["crack_free"] else f"{lines['listed_rate']:.1%}"
        rows.append(
            f"{name:34} {cells}   {_cell(lines['balanced_f1'])} {'':21}{recalls}"
            f"{lines['false_px_per_megapixel']:13.0f} {listed:>21}"
        )
    return rows


def without_nan(value: Any) -> Any:
    """Return nested plain values with nan as None, which JSON can hold."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(value: float) -> str:
    return "     -" if math.isnan(value) else f"{value:6.3f}"


def _best_and_sizes(figures: Mapping[str, Any]) -> str:
    """Return clDice, best F1 over thresholds, cracks found and true, errors of length and width."""
    sizes = figures["sizes"]
    return (
        f"{_cell(figures['cldice']['pooled'])} {_cell(figures['ods'])} "
        f"({figures['ods_threshold']:.2f}) {_cell(figures['ois'])} "
        f"{sizes['found_cracks']:4}/{sizes['labelled_cracks']:<4}"
        f"{sizes['true_cracks']:4}/{sizes['marked_cracks']:<4}"
        f"{sizes['length_error_rel']:+6.1%} {sizes['width_error_median_px']:+5.2f} px"
    )


def _alarms(name: str, figures: Mapping[str, Any]) -> str:
    free = figures["crack_free"]
    return (
        f"{name}: {free['images']} crack-free images; more than 0.1 % of the pixels marked on "
        f"{free['alarm_rate']:.1%} of them, median share marked {free['median_share']:.3%}"
    )
