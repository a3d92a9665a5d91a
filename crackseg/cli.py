"""The command line: each command reads its options, calls one function of the package, prints.

Packages are imported inside the commands, so that ``crackseg --help`` answers at once. Exit codes:
0 all done, 1 some images failed (the others are complete), 2 wrong usage.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from crackseg.errors import CracksegError

app = typer.Typer(
    name="crackseg",
    help="Find cracks in photographs of concrete and measure their length, width and area.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ANALYSIS = "Analysis"
MODELS = "Models and training"


def _show_version(value: bool) -> None:
    if value:
        from crackseg import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Find cracks in photographs of concrete and measure their length, width and area."""


data_app = typer.Typer(no_args_is_help=True, help="Index, check, import and tile training data.")
app.add_typer(data_app, name="data", rich_help_panel=MODELS)


@data_app.command("index")
def data_index(
    folder: Annotated[Path, typer.Argument(help="A set (images/, masks/) or a folder of sets.")],
    out: Annotated[Path, typer.Option(help="Manifest to write (CSV).")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the paths are relative to; default: FOLDER.")
    ] = None,
    sets: Annotated[str, typer.Option(help="Names of sets to keep, by comma; default: all.")] = "",
    licences: Annotated[
        Path | None, typer.Option(help="TOML table: name of a set = its licence.")
    ] = None,
    split: Annotated[str, typer.Option(help="Split of pairs that no list names.")] = "train",
    hold_out: Annotated[
        float, typer.Option(help="Share of train to turn into val in sets without a val list.")
    ] = 0.0,
) -> None:
    """Write a manifest of every photograph and mask below FOLDER."""
    from collections import Counter

    from crackseg.config import read_toml
    from crackseg.training.manifest import index_folder, write_manifest

    samples = index_folder(
        folder,
        sets=[name for name in sets.split(",") if name],
        licences=read_toml(licences) if licences else None,
        split=split,
        hold_out=hold_out,
    )
    write_manifest(samples, out, root=root or folder)
    for (source, part), count in sorted(Counter((s.source, s.split) for s in samples).items()):
        typer.echo(f"{source:20} {part:10} {count:6}")
    typer.echo(f"{len(samples)} pairs written to {out}")


@app.command("train", rich_help_panel=MODELS)
def train_command(
    run: Annotated[Path, typer.Argument(help="RUN.toml, see data/runs/ for examples.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
) -> None:
    """Train a network; the same command continues a run that was interrupted."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.fit import read_run, train

    typer.echo(f"finished: {train(read_run(run, root))}")


@app.command("export", rich_help_panel=MODELS)
def export_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    name: Annotated[str, typer.Option(help="Name of the model.")],
    version: Annotated[str, typer.Option(help="Version of the model.")],
    threshold: Annotated[float, typer.Option(help="Chosen on validation data.")],
    threshold_low: Annotated[
        float | None, typer.Option(help="Lower level of the hysteresis; default: the threshold.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="JSON written by `crackseg evaluate --json`.")
    ] = None,
) -> None:
    """Write the model folder of a finished run: ONNX, safetensors, probe and card."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.export_onnx import ExportOptions, export_run

    card = export_run(
        run,
        out,
        ExportOptions(
            name=name,
            version=version,
            threshold=threshold,
            threshold_low=threshold if threshold_low is None else threshold_low,
            scores=json.loads(scores.read_text(encoding="utf-8")) if scores else {},
        ),
    )
    typer.echo(f"wrote {out}: {card.name} {card.version}, {card.network}")


def main() -> None:
    """Run the command line; an error of this package is one sentence and exit code 2."""
    try:
        app()
    except CracksegError as error:
        typer.echo(f"crackseg: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
