"""A sheet becomes an SVG drawing: centre lines coloured by width bin, with a title each."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crackseg.exports.layers import LIMITS_MM, Sheet, bin_labels, layers_of
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Report

COLOURS = ("#8a8f98", "#8a8f98", "#5aa469", "#5aa469", "#c9b458", "#f0953f", "#e4572e", "#8c1c2f")
_WIDE = 2000.0  # of the drawing, in its own units


def write_svg(path: Path, sheet: Sheet, limits_mm: Sequence[float] = LIMITS_MM) -> list[Path]:
    """Write a sheet; y of the sheet goes upwards, y of an SVG downwards."""
    everything = [part for parts in (*sheet.frames.shapes, *sheet.cracks.shapes) for part in parts]
    points = np.vstack(everything) if everything else np.array([[0.0, 0.0], [1.0, 1.0]])
    low, high = points.min(axis=0)[:2], points.max(axis=0)[:2]
    factor = _WIDE / max(float((high - low)[0]), 1e-9)
    height = max(float((high - low)[1]) * factor, 1.0)

    def course(part: Array) -> str:
        xy = (part[:, :2] - [low[0], high[1]]) * [factor, -factor]
        return " ".join(f"{x:.2f},{y:.2f}" for x, y in xy)

    labels = bin_labels(limits_mm)
    colours = {
        label: COLOURS[round(number * (len(COLOURS) - 1) / (len(labels) - 1))]
        for number, label in enumerate(labels)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -30 {_WIDE + 20:.0f} '
        f'{height + 40:.0f}" fill="none" font-family="sans-serif" font-size="16">'
    ]
    for parts, row in zip(sheet.frames.shapes, sheet.frames.rows, strict=True):
        x, y = course(parts[0]).split(" ")[0].split(",")
        lines.append(f'<polygon points="{course(parts[0])}" stroke="#c4cad1"/>')
        name = html.escape(str(row["image"]))
        lines.append(f'<text x="{x}" y="{float(y) - 6:.2f}" fill="#5c6670">{name}</text>')
    for parts, row in zip(sheet.cracks.shapes, sheet.cracks.rows, strict=True):
        label = str(row["width_bin"])
        title = html.escape(f"{row['image']}, {row['crack']}: {label}")
        wide = 2 if row["section"] == "main" else 0.7
        drawn = "".join(f'<polyline points="{course(part)}"/>' for part in parts)
        lines.append(
            f'<g data-bin="{html.escape(label)}" stroke="{colours.get(label, COLOURS[0])}" '
            f'stroke-width="{wide}"><title>{title}</title>{drawn}</g>'
        )
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8", errors="replace")
    return [path]


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.svg``."""
    sheet, _ = layers_of(report_to_dict(report), report.image.path.name)
    return write_svg(folder / "cracks.svg", sheet)
