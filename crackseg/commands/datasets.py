"""`crackseg data`: training data is indexed, checked, imported, made of surveys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crackseg.commands.flags import (
    MODELS,
    Invert,
    MaskValues,
    Results,
    Root,
    SetNames,
    SetsPath,
    on_disk,
    refuse_idle,
)

app = typer.Typer()
data_app = typer.Typer(
    no_args_is_help=True, help="Training data: index, check, import, tile; learn from surveys."
)
app.add_typer(data_app, name="data", rich_help_panel=MODELS)


@data_app.command("index")
def data_index(
    folder: Annotated[Path, typer.Argument(help="A set (images/, masks/) or a folder of sets.")],
    out: Annotated[Path, typer.Option(help="Manifest to write (CSV).")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the paths are relative to; default: that of --out.")
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
    write_manifest(samples, out, root=root)
    for (source, part), count in sorted(Counter((s.source, s.split) for s in samples).items()):
        typer.echo(f"{source:20} {part:10} {count:6}")
    typer.echo(f"{len(samples)} pairs written to {out}")


@data_app.command("hair")
def hair_command(
    data: SetsPath,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the two sets.", callback=on_disk)
    ],
    sets: SetNames = "",
    root: Root = None,
    seed: Annotated[int, typer.Option(help="Of the cracks that are drawn.", min=0)] = 0,
) -> None:
    """Make hair cracks to judge by: val pictures shrunk, and cracks drawn on sound ones."""
    from crackseg.folders import require_new
    from crackseg.training.evaluate import load_samples
    from crackseg.training.hair_sets import make_hair_sets

    require_new(out)
    names = [name for name in sets.split(",") if name]
    samples = load_samples(data, root=root, split="val", sets=names)
    for name, count in make_hair_sets(samples, out, seed).items():
        typer.echo(f"{name:20} {count:6}")


@data_app.command("check")
def data_check(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Manifest CSV, or a folder of sets.")],
    root: Root = None,
    near_bits: Annotated[
        int,
        typer.Option(
            help="Fingerprints that differ in so many of 255 bits are one picture.", min=0, max=255
        ),
    ] = 50,
    hold_out: Annotated[
        float, typer.Option(help="Of a folder: share that `train --init` makes val of, as there.")
    ] = 0.2,
) -> None:
    """Find broken pairs, odd masks and pictures on both sides of a split; exit code 1 if any."""
    from crackseg.training.check import check_data

    if data.is_file():
        refuse_idle(context, "hold_out", "is of a folder; a manifest says what is val")
    samples, findings = check_data(data, root=root, near_bits=near_bits, hold_out=hold_out)
    for finding in findings:
        typer.echo(f"{finding.kind:15} {finding.where}: {finding.message}")
    typer.echo(f"{len(samples)} sound pairs, {len(findings)} findings")
    raise typer.Exit(1 if findings else 0)


@data_app.command("import")
def data_import(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="File or folder of annotations.")],
    images: Annotated[Path, typer.Option(help="Folder of the photographs.")],
    out: Annotated[Path, typer.Option(help="Set to write (images/, masks/).")],
    format: Annotated[
        str, typer.Option(help="cvat, coco, labelme, labelstudio, masks, via or yolo.")
    ],
    labels: Annotated[str, typer.Option(help="Labels that are crack, by comma.")] = "",
    labels_off: Annotated[
        str,
        typer.Option(help="Labels that cut out what lies below, by comma, as `background` does."),
    ] = "",
    labels_unsure: Annotated[
        str, typer.Option(help="Labels of what nobody decided, by comma: it counts for nothing.")
    ] = "",
    labels_other: Annotated[
        str, typer.Option(help="Labels of other lines (joints, cables), by comma.")
    ] = "",
    values: MaskValues = "",
    invert: Invert = False,
    line_px: Annotated[
        float | None, typer.Option(help="Width in pixels to give to annotated lines.")
    ] = None,
    holes: Annotated[
        bool, typer.Option("--holes", help="A COCO ring inside another of its shape is a hole.")
    ] = False,
    licence: Annotated[
        str, typer.Option(help="Of the photographs; goes on to what learns from them.")
    ] = "",
    site: Annotated[
        str, typer.Option(help="Structure they all show: it stays on one side of a split.")
    ] = "",
) -> None:
    """Turn annotations into a set of photographs and masks."""
    from crackseg.imagery.masks import MaskRule
    from crackseg.names import count
    from crackseg.training.annotations import ImportOptions, import_annotations

    if format == "masks":
        refuse_idle(context, "line_px", "is of lines, and masks have none")
    else:
        refuse_idle(context, "values invert", "is of `--format masks`")
    if format != "coco":
        refuse_idle(context, "holes", "is of `--format coco`")
    options = ImportOptions(
        labels=tuple(name for name in labels.split(",") if name),
        cutting=tuple(name for name in labels_off.split(",") if name),
        left_out=tuple(name for name in labels_unsure.split(",") if name),
        others=tuple(name for name in labels_other.split(",") if name),
        rule=MaskRule(values=tuple(v.strip() for v in values.split(",") if v), invert=invert),
        line_px=line_px,
        holes=holes,
        licence=licence,
        site=site,
    )
    done = import_annotations(source, images, out, format=format, options=options)
    for note in done.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"{count(len(done.samples), 'picture')}, {done.empty} without crack, "
        f"{count(done.shapes, 'shape')} "
        f"({', '.join(done.labels) or 'no label'}) written to {out}"
    )


@data_app.command("from-survey")
def data_from_survey(
    survey: Annotated[
        Path,
        typer.Argument(help="Folder of results, or bundle of the service (a ZIP or a folder)."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Set to write; a new folder.", callback=on_disk)
    ],
    photographs: Annotated[
        Path | None, typer.Option(help="Where the photographs lie, if not where they were.")
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Of the photographs; goes on to what learns from them.")
    ] = "unstated",
    looked_through: Annotated[
        bool,
        typer.Option(
            "--looked-through",
            help="Photographs without any mark are crack-free: somebody looked through them all.",
        ),
    ] = False,
) -> None:
    """Turn inspectors' verdicts and corrections into a set of photographs and masks."""
    from crackseg.training.from_survey import from_survey

    done = from_survey(
        survey, out, photographs=photographs, licence=licence, looked_through=looked_through
    )
    for line in done.lines():
        typer.echo(line)
    typer.echo(
        f"{done.pictures} {'picture' if done.pictures == 1 else 'pictures'} written to {out}"
    )


@data_app.command("pre-annotate")
def data_pre_annotate(
    results: Results,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write; a new one.", callback=on_disk)
    ],
    format: Annotated[str, typer.Option(help="cvat, labelstudio or yolo.")],
) -> None:
    """Hand a model's marks to a labelling tool, the most doubtful photographs first."""
    from crackseg.names import require

    require("shapely", extra="gis")
    from crackseg.reporting.pre_annotations import ORDER, write_pre_annotations

    write_pre_annotations(results, out, format)
    typer.echo(f"wrote {out}; {ORDER} says in which order to look")


@data_app.command("tile")
def data_tile(
    context: typer.Context,
    data: Annotated[
        Path,
        typer.Argument(
            help="Set (images/, masks/), manifest CSV, or with --annotations photographs."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Set of tiles to write.")],
    annotations: Annotated[
        Path | None,
        typer.Option(help="File or folder of annotations of the photographs in DATA."),
    ] = None,
    format: Annotated[
        str, typer.Option(help="Of the annotations: masks, cvat, labelme, ... as of data import.")
    ] = "masks",
    labels: Annotated[str, typer.Option(help="Labels that are crack, by comma.")] = "",
    values: MaskValues = "",
    line_px: Annotated[
        float | None, typer.Option(help="Width in pixels to give to annotated lines.")
    ] = None,
    root: Root = None,
    tile_px: Annotated[int, typer.Option(help="Side of a tile.")] = 512,
    overlap_px: Annotated[int, typer.Option(help="Least overlap of neighbours.")] = 0,
    empty_share: Annotated[
        float, typer.Option(help="Share of the tiles without a crack to keep.")
    ] = 1.0,
    split: Annotated[
        str,
        typer.Option(
            help="Tiles of train/val/test, as 404/50/50, or shares; a photograph is in one part."
        ),
    ] = "",
) -> None:
    """Cut large photographs and their masks into tiles that stay in pairs."""
    from crackseg.imagery.masks import MaskRule
    from crackseg.training.annotations import ImportOptions
    from crackseg.training.tiling import TileOptions, parse_split, tile_data

    if annotations is None:
        refuse_idle(context, "format labels values line_px", "is of `--annotations`")
    else:
        refuse_idle(context, "root", "is of a manifest, and `--annotations` has none")
        if format == "masks":
            refuse_idle(context, "line_px", "is of lines, and masks have none")
        else:
            refuse_idle(context, "values", "is of `--format masks`")
    options = TileOptions(
        tile_px=tile_px, overlap_px=overlap_px, empty_share=empty_share, split=parse_split(split)
    )
    importing = ImportOptions(
        labels=tuple(name for name in labels.split(",") if name),
        rule=MaskRule(values=tuple(v.strip() for v in values.split(",") if v)),
        line_px=line_px,
    )
    source = None if annotations is None else (annotations, format, importing)
    counts = tile_data(data, out, options, source=source, root=root)
    for part, count in counts.items():
        typer.echo(f"{part:10} {count:6}")
    typer.echo(f"{sum(counts.values())} tiles written to {out}")
