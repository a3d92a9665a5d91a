"""A sheet becomes a DXF drawing (R2010): a layer per width bin, units set, widths as text.

ezdxf writes it (extra ``gis``); it is imported when it is used, as it makes a cache of fonts then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports import wording
from crackseg.exports.layers import LIMITS_MM, Layer, Sheet, bin_labels, layers_of
from crackseg.exports.tables import report_to_dict
from crackseg.imagery.files import OpenImage
from crackseg.names import require
from crackseg.records import Array, Report

require("ezdxf", extra="gis")

FRAMES, WIDTHS, NAMES = "PHOTOGRAPHS", "WIDTHS", "PHOTOGRAPH_NAMES"
DOUBTFUL, OTHERS = "ALSO MARKED", "OTHER LINES"
_COLOURS = (8, 8, 9, 3, 2, 30, 1, 6)  # of AutoCAD's table, by bin: grey, green, yellow ... red
_TEXT_SHARE = 0.012  # height of a text against the width of a frame


def layer_name(label: str) -> str:
    """Return the name of the layer of a bin."""
    return f"CRACKS {label} mm" if label[-1].isdigit() else f"CRACKS {label}"


def write_dxf(path: Path, sheet: Sheet, limits_mm: Sequence[float] = LIMITS_MM) -> list[Path]:
    """Write a sheet; its unit is the metre where that is known."""
    from ezdxf import units
    from ezdxf.enums import TextEntityAlignment
    from ezdxf.filemanagement import new

    drawing = new("R2010", setup=True)
    drawing.units = units.M if sheet.is_metric else 0
    drawing.header["$MEASUREMENT"] = 1
    labels = bin_labels(limits_mm)
    for number, label in enumerate(labels):
        colour = _COLOURS[round(number * (len(_COLOURS) - 1) / (len(labels) - 1))]
        drawing.layers.add(layer_name(label), color=colour)
    for layer, colour in ((FRAMES, 8), (WIDTHS, 7), (NAMES, 8), (DOUBTFUL, 5), (OTHERS, 9)):
        drawing.layers.add(layer, color=colour)
    space = drawing.modelspace()
    height = _text_height(sheet.frames)
    for parts, row in zip(sheet.cracks.shapes, sheet.cracks.rows, strict=True):
        main = row["section"] == "main"
        on = {"layer": layer_name(row["width_bin"]) if main else DOUBTFUL}
        for line in parts:
            _add_line(space, line, on)
        if not main:
            continue
        text = space.add_text(_text(row), height=height, dxfattribs={"layer": WIDTHS})
        text.set_placement(_middle(parts), align=TextEntityAlignment.BOTTOM_LEFT)
    for parts, row in zip(sheet.frames.shapes, sheet.frames.rows, strict=True):
        _add_line(space, parts[0], {"layer": FRAMES}, close=True)
        name = space.add_text(_plain(row["image"]), height=height, dxfattribs={"layer": NAMES})
        left, top = parts[0][:, 0].min(), parts[0][:, 1].max()
        above = (left, top + height / 2, *parts[0][:1, 2:].ravel())
        name.set_placement(above, align=TextEntityAlignment.BOTTOM_LEFT)
    for parts in sheet.others.shapes if sheet.others else ():
        for line in parts:
            _add_line(space, line, {"layer": OTHERS})
    drawing.saveas(path)
    return [path]


def _add_line(space: Any, line: Array, on: Mapping[str, str], *, close: bool = False) -> None:
    """Add a line to a drawing: one of three columns keeps its heights."""
    add = space.add_lwpolyline if line.shape[1] == 2 else space.add_polyline3d
    add(line.tolist(), close=close, dxfattribs=dict(on))


def _text(row: Mapping[str, Any]) -> str:
    """Return the number of a crack and its largest width, in the words of page and tables."""

    def in_words(unit: str) -> str:
        value, low, high = (row.get(f"width_max_{part}{unit}") for part in ("", "low_", "high_"))
        return wording.worded(value, low, high, unit, str(row["width_max_status"]))

    has_mm = any(row.get(f"width_max_{part}mm") is not None for part in ("", "high_"))
    return f"{row['crack']}: {in_words('mm' if has_mm else 'px').replace('±', '%%p')}"


def _plain(text: str) -> str:
    """Return a name on one line: a percent sign doubled begins a code in DXF."""
    return str(text).replace("%%", "% %").replace("\n", " ")


def _middle(parts: list[Array]) -> tuple[float, ...]:
    longest = max(parts, key=len)
    return tuple(map(float, longest[len(longest) // 2]))


def _text_height(frames: Layer) -> float:
    if not frames.shapes:
        return 1.0
    widths = [float(np.ptp(parts[0][:, 0])) for parts in frames.shapes]
    return max(float(np.median(widths)) * _TEXT_SHARE, 1e-3)


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cracks.dxf``."""
    sheet, _ = layers_of(report_to_dict(report), report.image.path.name)
    return write_dxf(folder / "cracks.dxf", sheet)
