"""Hold the width code against widths that people measured on real cracks.

The file has one crack a row: grey values at 1-px spacing across it, the width that was read on
the wall, and the size of a pixel there. The widths come from the same function that ``measure``
calls on profiles sampled from a photograph.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.csv_files import Row, read_csv, read_numbers
from crackseg.errors import DataError
from crackseg.metrology.width import SHORTEST_PROFILE, widths_from_profiles
from crackseg.records import Array

_BRIGHTEST = 65535  # of 16 bits
BINS_PX = (0.0, 0.5, 1.0, 2.0, 4.0, float("inf"))
_COLUMNS = ("site", "name", "width_mm", "mm_per_px", "profile")


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldWidths:
    """Cracks measured on the wall, with their profiles in the photograph."""

    site: tuple[str, ...]
    width_mm: Array  # (N,)
    mm_per_px: Array  # (N,)
    profiles: tuple[Array, ...]  # each (P,), P may differ

    @property
    def width_px(self) -> Array:
        """Width on the wall in px of its photograph, (N,)."""
        width: Array = self.width_mm / self.mm_per_px
        return width


def read_field_widths(path: Path) -> FieldWidths:
    """Return the rows of a CSV file with columns site, name, width_mm, mm_per_px, profile.

    Other columns are ignored; ``profile`` holds grey values parted by spaces. Numbers have a
    decimal point, or a comma where semicolons or tabs part the cells.

    Raises:
        DataError: the file is missing, has other columns, or a row is broken.
    """
    table = read_csv(path, _COLUMNS)
    numbers = read_numbers(table, ("width_mm", "mm_per_px", "profile"))
    rows = [_row(path, row, *of) for row, of in zip(table.rows, numbers, strict=True)]
    if not rows:
        raise DataError(f"`{path}` holds no measurements.")
    sites, widths, sizes, profiles = zip(*rows, strict=True)
    return FieldWidths(
        site=sites, width_mm=np.array(widths), mm_per_px=np.array(sizes), profiles=profiles
    )


def _row(
    path: Path, row: Row, width_mm: list[float], mm_per_px: list[float], profile: list[float]
) -> tuple[str, float, float, Array]:
    for column, values in (("width_mm", width_mm), ("mm_per_px", mm_per_px)):
        if len(values) != 1 or not 0 < values[0] < 1e4:
            raise DataError(
                f"`{path}` line {row.line}: `{column}` must be larger than 0, got "
                f"{row.cells[column]}."
            )
    wild = next((grey for grey in profile if not 0 <= grey <= _BRIGHTEST), None)
    if wild is not None:
        raise DataError(
            f"`{path}` line {row.line}: `profile` must hold grey values from 0 to "
            f"{_BRIGHTEST}, got {wild:g}."
        )
    if len(profile) < SHORTEST_PROFILE:
        raise DataError(
            f"`{path}` line {row.line}: `profile` must hold at least {SHORTEST_PROFILE} grey "
            f"values, got {len(profile)}."
        )
    return row.cells["site"], width_mm[0], mm_per_px[0], np.array(profile)


def measured(field: FieldWidths) -> Array:
    """Return the (N, 3) widths in px that the profiles give, and both ends of their intervals."""
    widths = np.empty((len(field.profiles), 3))
    sizes = np.array([len(profile) for profile in field.profiles])
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        readings = widths_from_profiles(np.stack([field.profiles[k] for k in chosen]))
        widths[chosen] = np.column_stack([readings.width_px, readings.low_px, readings.high_px])
    return widths


def score(field: FieldWidths) -> dict[str, Any]:
    """Return the errors of the measured widths: in px, in mm, by width, by site.

    ``interval_coverage`` is the share of cracks whose width on the wall lies within the stated
    interval (95 %), ``interval_px`` how long that is, ``up_px`` how far it reaches upwards.
    """
    width, low, high = measured(field).T
    error = width - field.width_px
    error_mm = np.abs(error * field.mm_per_px)
    covered = (low <= field.width_px) & (field.width_px <= high)
    sides = np.column_stack([width - low, high - width])
    return {
        "n": len(error),
        "mae_px": float(np.abs(error).mean()),
        "bias_px": float(error.mean()),
        "median_abs_mm": float(np.median(error_mm)),
        "within_0.05_mm": float((error_mm <= 0.05).mean()),
        "within_0.1_mm": float((error_mm <= 0.1).mean()),
        "interval_coverage": float(covered.mean()),
        "interval_px": float((high - low).mean()),
        "by_bin": [
            {"from_px": low, "to_px": high if np.isfinite(high) else None}
            | _part(error, sides, covered, chosen)
            for low, high, chosen in _bins(field.width_px)
        ],
        "by_site": {
            site: _part(error, sides, covered, np.array([s == site for s in field.site]))
            for site in sorted(set(field.site))
        },
    }


def _bins(width: Array) -> Iterator[tuple[float, float, Array]]:
    for low, high in pairwise(BINS_PX):
        chosen = (width >= low) & (width < high)
        if chosen.any():
            yield low, high, chosen


def _part(error: Array, sides: Array, covered: Array, chosen: Array) -> dict[str, Any]:
    return {
        "n": int(chosen.sum()),
        "mae_px": float(np.abs(error[chosen]).mean()),
        "bias_px": float(error[chosen].mean()),
        "down_px": float(sides[chosen, 0].mean()),
        "up_px": float(sides[chosen, 1].mean()),
        "interval_coverage": float(covered[chosen].mean()),
    }


def score_text(scores: dict[str, Any]) -> str:
    """Return the scores as lines of text."""
    lines = [
        f"{scores['n']} cracks: mean error {scores['mae_px']:.3f} px, bias "
        f"{scores['bias_px']:+.3f} px, median error {scores['median_abs_mm']:.4f} mm,",
        f"{scores['within_0.05_mm']:.1%} within 0.05 mm, {scores['within_0.1_mm']:.1%} within "
        f"0.1 mm, {scores['interval_coverage']:.1%} within the stated interval (95 %),",
        f"which is {scores['interval_px']:.2f} px long in the mean.",
        "",
        f"{'':>16} {'n':>5} {'MAE px':>7} {'bias px':>8} {'down':>6} {'up':>6} {'covered':>8}",
    ]
    parts = {_bin_name(part): part for part in scores["by_bin"]} | scores["by_site"]
    for name, part in parts.items():
        lines.append(
            f"{name:>16} {part['n']:5d} {part['mae_px']:7.3f} {part['bias_px']:+8.3f} "
            f"{part['down_px']:6.2f} {part['up_px']:6.2f} {part['interval_coverage']:8.1%}"
        )
    return "\n".join(lines)


def _bin_name(part: dict[str, Any]) -> str:
    if part["to_px"] is None:
        return f"{part['from_px']:g} px and more"
    return f"{part['from_px']:g} to {part['to_px']:g} px"
