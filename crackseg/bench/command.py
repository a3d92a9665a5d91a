"""What `crackseg bench` runs and prints."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crackseg.bench.comparing import Photographs, compare, render
from crackseg.bench.variants import DEFAULT, read_variant
from crackseg.errors import ConfigError
from crackseg.folders import holds_keys, refuse_unless
from crackseg.inputs import find_inputs
from crackseg.names import count

_UNKNOWN = "-"
_FILE_WIDTH = 160  # characters of a line in a file


def run_bench(
    texts: Sequence[str],
    *,
    pictures: Sequence[str],
    megapixels: float,
    count: int,
    rounds: int,
    json_file: Path | None,
) -> dict[str, Any]:
    """Compare variants, print a table and write the figures where that is asked for.

    Args:
        texts: variants, see ``read_variant``; none: the default alone.
        pictures: files, folders or patterns; none: rendered ones.
        megapixels: of a rendered photograph.
        count: rendered photographs.
        rounds: in how many each variant has its turn.
        json_file: for all figures.

    Raises:
        ConfigError: a variant or a number is wrong.
        ModelError: a variant cannot be run.
    """
    if rounds < 1 or count < 1 or not 0.01 <= megapixels <= 1000:
        raise ConfigError(
            "`--rounds` and `--photographs` must be 1 or larger and `--megapixels` lie between "
            f"0.01 and 1000, got {rounds}, {count} and {megapixels:g}."
        )
    variants = [read_variant(text) for text in texts or [DEFAULT]]
    if json_file:
        refuse_unless(json_file, holds_keys("variants machine"), "figures of a bench")
    console = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory() as folder, console.status("rendering") as status:
        if pictures:
            paths = tuple(path.resolve() for path in find_inputs(list(pictures), None).paths)
            photographs = Photographs(paths=paths, folder=Path(folder))
        else:
            photographs = render(Path(folder), megapixels, count)
        figures = compare(variants, photographs, rounds, status.update)
    wide = Console(highlight=False)
    if not wide.is_terminal:
        wide = Console(highlight=False, width=_FILE_WIDTH)
    wide.print(_table(figures), _below(figures), sep="\n")
    if json_file:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def _table(figures: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("variant", "MP/s", "s", "CPU s", "x first", "MB", "network", "x forward",
                    "GFLOP/s", "cracks"):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for row in figures["variants"]:
        achieved = row["achieved_gflop_per_s"]
        table.add_row(
            row["variant"],
            f"{row['megapixels_per_s']:.2f}",
            f"{row['wall_s']:.2f}",
            f"{row['cpu_s']:.2f}",
            f"{row['times_the_first']['wall_s']:.2f}",
            f"{row['peak_mb']:.0f}",
            f"{row['share_by_stage'].get('forward', 0):.0%}",
            f"{row['times_the_forward_pass'] or 0:.2f}",
            _UNKNOWN if achieved is None else f"{achieved:.0f}",
            str(row["cracks"]),
        )
    return table


def _below(figures: dict[str, Any]) -> str:
    peak = ", ".join(f"{name} {value:.0f}" for name, value in figures["peak_gflop_per_s"].items())
    where = figures["machine"]
    return (
        f"medians of {count(figures['rounds'], 'round')} over "
        f"{count(figures['photographs'], 'photograph')}; "
        f"{count(where['processors'], 'processor')}, {where['processor']}; "
        f"matrix products on {where['device']}: {peak} GFLOP/s"
    )
