"""Options that several commands share, and the panels of the help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ANALYSIS = "Analysis"
MODELS = "Models and training"
MmPerPx = Annotated[float | None, typer.Option(help="Size of a pixel on the structure, mm.")]
DistanceM = Annotated[
    float | None, typer.Option(help="Camera to face, m; needs a focal length in the image.")
]
MarkerMm = Annotated[
    float | None, typer.Option(help="Side of the ArUco marker in the picture, mm.")
]
RegionPath = Annotated[
    Path | None,
    typer.Option(help="What is the structure: GeoJSON or mask picture, or a folder of them."),
]
IgnorePath = Annotated[
    Path | None,
    typer.Option(help="What is not looked at (joints, fittings): files as for --region."),
]
MaskValues = Annotated[
    str,
    typer.Option(
        "--values",
        help="What is crack in masks, by comma: numbers, palette indices, ranges (128-255), "
        "colours (red, #800000), all; needed where a mask does not tell.",
    ),
]
Locale = Annotated[
    str, typer.Option(help="Language and number form, as en, de, fr_CH; en, de have texts.")
]
CsvLocale = Annotated[
    str | None, typer.Option("--locale", help="Form of numbers in CSV tables, as en, de, fr_CH.")
]
Invert = Annotated[bool, typer.Option("--invert", help="Masks are drawn dark on bright.")]
SERVICE = "Service"
