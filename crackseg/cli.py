"""The command line: each command reads its options, calls one function of the package, prints.

Packages are imported inside the commands, so that ``crackseg --help`` answers at once. Exit codes:
0 all done, 1 some images failed (the others are complete) or the disk did, 2 wrong usage or a file
that cannot be used, 130 stopped by the user.
"""

from __future__ import annotations

import codecs
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args, get_type_hints

import typer

from crackseg.errors import CracksegError

if TYPE_CHECKING:
    from service.settings import Settings


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


@app.command("analyze", rich_help_panel=ANALYSIS)
def analyze_command(
    inputs: Annotated[
        list[str], typer.Argument(help="Photographs, folders or patterns.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    mm_per_px: MmPerPx = None,
    distance_m: DistanceM = None,
    marker_mm: MarkerMm = None,
    model: Annotated[
        str | None, typer.Option(help="Name of a shipped model, or a model folder.")
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which a pixel is crack; default: model's."),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(help="onnx, openvino or torch; default: the faster of the first two."),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="float or int8; default: int8 where model and processor suit it."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Photographs side by side, each with its share of cores and memory."),
    ] = None,
    thorough: Annotated[
        bool | None,
        typer.Option(
            "--thorough/--fast",
            help="Read each tile four ways, for up to four times the time, or once, the default.",
        ),
    ] = None,
    exports: Annotated[
        str | None,
        typer.Option(
            help="By comma: csv, xlsx, mask, overlay, geojson, page, coco, svg, dxf, gpkg, shp, "
            "yolo, cvat, labelstudio; json always."
        ),
    ] = None,
    region: RegionPath = None,
    ignore: IgnorePath = None,
    survey: Annotated[
        Path | None,
        typer.Option(help="What is known of the survey; default: survey.toml beside the pictures."),
    ] = None,
    locale: CsvLocale = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any option of an analysis.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Analyze again what is already in --out.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print failures and missing scales alone.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object with a row per image.")
    ] = False,
) -> None:
    """Find and measure the cracks in photographs; write a report for each."""
    from crackseg import batch, screen
    from crackseg.config import AnalyzeOptions, merge, read_options, read_toml
    from crackseg.inputs import find_inputs
    from crackseg.survey import find_survey, read_survey

    flags = {
        "model": model,
        "exports": None if exports is None else [e for e in exports.split(",") if e],
        "predict": {
            "runtime": runtime,
            "precision": precision,
            "device": device,
            "workers": workers,
            "readings": None if thorough is None else 4 if thorough else 1,
        },
        "mask": {"threshold": threshold},
        "scale": {"mm_per_px": mm_per_px, "distance_m": distance_m, "marker_mm": marker_mm},
        "region": {"region": region, "ignore": ignore},
        "locale": locale,
    }
    values = merge(read_toml(config) if config else {}, flags)
    options = read_options(AnalyzeOptions, values)
    photographs = find_inputs(inputs, out)
    facts = read_survey(survey) if survey else find_survey(inputs, photographs.paths)
    for name in batch.unused_scales(photographs.paths, options):
        typer.echo(
            f"warning: `picture_scale` names `{name}`: no photograph is called so.", err=True
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container that stops, as Ctrl-C
    try:
        with screen.watch(quiet=quiet or as_json) as listener:
            outcomes = batch.run(
                photographs.paths, out, options,
                overwrite=overwrite, listener=listener, passed=photographs.passed, facts=facts,
            )  # fmt: skip
    except batch.Interrupted as stop:
        screen.show_interrupted(stop.outcomes, len(photographs.paths), out)
        raise typer.Exit(130) from None
    screen.show_outcomes(outcomes, out, quiet=quiet, as_json=as_json, passed=photographs.passed)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


@app.command("measure", rich_help_panel=ANALYSIS)
def measure_command(
    mask: Annotated[Path, typer.Argument(help="Picture of a mask.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    image: Annotated[
        Path | None, typer.Option(help="The photograph; widths are then read from it.")
    ] = None,
    mm_per_px: MmPerPx = None,
    distance_m: DistanceM = None,
    marker_mm: MarkerMm = None,
    region: RegionPath = None,
    ignore: IgnorePath = None,
    values: MaskValues = "",
    invert: Invert = False,
    locale: CsvLocale = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file with any option of an analysis.")
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print a missing scale alone.")
    ] = False,
) -> None:
    """Measure the cracks of a mask from elsewhere."""
    from contextlib import ExitStack

    from crackseg import pipeline, screen
    from crackseg.config import AnalyzeOptions, merge, read_options, read_toml
    from crackseg.folders import choose_folder, clear_leftovers, origin_of, refuse_foreign
    from crackseg.imagery.files import open_image
    from crackseg.imagery.masks import MaskRule

    rule = MaskRule(values=tuple(v.strip() for v in values.split(",") if v), invert=invert)
    scale = {"mm_per_px": mm_per_px, "distance_m": distance_m, "marker_mm": marker_mm}
    chosen = {"scale": scale, "region": {"region": region, "ignore": ignore}, "locale": locale}
    settings = merge(read_toml(config) if config else {}, chosen)
    options = read_options(AnalyzeOptions, settings)
    with ExitStack() as stack:
        mask_image = stack.enter_context(open_image(mask, is_mask=True))
        picture = stack.enter_context(open_image(image)) if image else None
        content = mask_image.info.sha256
        folder = choose_folder(out, mask, content, stem=(image or mask).stem)
        refuse_foreign(folder)
        clear_leftovers(out)
        report = pipeline.measure_mask(mask_image, picture, options, rule)
        origin = origin_of(mask)
        pipeline.export(report, folder, picture, options.exports, origin=origin, content=content)
    screen.show_measured(report, mask, folder, quiet=quiet)


@app.command("report", rich_help_panel=ANALYSIS)
def report_command(
    results: Annotated[Path, typer.Argument(help="Folder of results: --out of an analysis.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: report in the folder of results.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            help="By comma: html, pdf, xlsx, csv; geojson, gpkg, shp, dxf, svg; coco, yolo, cvat, "
            "labelstudio."
        ),
    ] = "html,pdf,xlsx,csv",
    locale: Locale = "en",
    survey: Annotated[
        Path | None,
        typer.Option(help="What is known of the survey; default: survey.toml of the analysis."),
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Where photographs lie that were moved since.")
    ] = None,
) -> None:
    """Write one report of a survey: page, PDF, workbook, tables, files for GIS, CAD, labels."""
    from crackseg.reporting.command import write_report

    paths = write_report(
        results, out, formats=[name.strip() for name in formats.split(",") if name.strip()],
        locale=locale,
        facts=survey, photographs=photographs,
    )  # fmt: skip
    for path in paths:
        typer.echo(f"wrote {path}")


@app.command("correct", rich_help_panel=ANALYSIS)
def correct_command(
    result: Annotated[Path, typer.Argument(help="Folder of one photograph's result.")],
    corrections: Annotated[
        Path | None,
        typer.Argument(help="JSON file of edits; default: corrections.json in RESULT."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The photograph, if it is not where the report says.")
    ] = None,
) -> None:
    """Apply a list of edits to a result: cracks drawn, erased, split, joined, taken off."""
    from crackseg.corrections.results import correct_folder

    report = correct_folder(result, corrections, image)
    sentences = [notice.message for notice in report.notices if notice.code == "corrected"]
    typer.echo(sentences[0] if sentences else "No edit: the result is as it was measured.")
    above = result.resolve().parent
    if (above / "survey.json").is_file():
        typer.echo(
            f"The table and gallery of the survey in `{above}` are as before; `crackseg analyze` "
            "with the same options brings them up to date, `crackseg report` does not need them."
        )


@app.command("face", rich_help_panel=ANALYSIS)
def face_command(
    results: Annotated[Path, typer.Argument(help="Folder of results: --out of an analysis.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: face in the folder of results.")
    ] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="Where photographs lie that were moved since.")
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="TOML file: known lengths and points, by image, row and col."),
    ] = None,
    survey: Annotated[
        Path | None,
        typer.Option(
            help="What is known of the survey; default: survey.toml in the results, else that of "
            "the analysis."
        ),
    ] = None,
    locale: Locale = "en",
    ignore_poses: Annotated[
        bool, typer.Option("--ignore-poses", help="Place by what neighbours show alone.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings alone.")] = False,
) -> None:
    """Put all photographs of a face on one map; count what several show once."""
    from crackseg import screen
    from crackseg.face.mapping import make_map
    from crackseg.face.scaling import read_references
    from crackseg.face.writing import write_map
    from crackseg.survey import read_survey

    with screen.steps(quiet=quiet) as listen:
        face = make_map(
            results,
            pictures=[photographs] if photographs else [],
            references=read_references(references) if references else None,
            survey=read_survey(survey) if survey else None,
            use_poses=not ignore_poses,
            listen=listen,
        )
        folder = out or results / "face"
        write_map(face, results, folder, locale=locale, listen=listen)
    screen.show_map(face, folder, quiet=quiet)


@app.command("diff", rich_help_panel=ANALYSIS)
def diff_command(
    old: Annotated[Path, typer.Argument(help="Earlier survey: folder of results with a map.")],
    new: Annotated[Path, typer.Argument(help="Later survey: folder of results with a map.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Default: changes beside the later map.")
    ] = None,
    locale: Locale = "en",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings alone.")] = False,
) -> None:
    """Compare two maps of one face: new, gone, longer by, wider by; make maps with `face`."""
    from crackseg import screen
    from crackseg.changes.command import compare_folders, map_folder
    from crackseg.changes.writing import write_changes

    with screen.steps(quiet=quiet) as listen:
        comparison = compare_folders(old, new, listen)
        folder = out or map_folder(new).parent / "changes"
        write_changes(comparison, new, folder, locale=locale, listen=listen)
    screen.show_changes(comparison, folder, quiet=quiet)


@app.command("models", rich_help_panel=ANALYSIS)
def models_command() -> None:
    """List the shipped models with their intended use and limits."""
    from crackseg.inference.models import default_model, read_card, shipped_models

    for name, folder in shipped_models().items():
        card = read_card(folder)
        mark = " (default)" if name == default_model() else ""
        typer.echo(f"{name}{mark}: {card.name} {card.version}, {card.network}")
        typer.echo(f"  threshold  {card.threshold:g}, down to {card.threshold_low:g} where joined")
        typer.echo(f"  use        {card.intended_use}")
        typer.echo(f"  limits     {card.limits}")
        for entry in card.data:
            typer.echo(f"  data       {entry.get('name', '?')}: {entry.get('licence', '?')}")


@app.command("selfcheck", rich_help_panel=ANALYSIS)
def selfcheck_command() -> None:
    """Check versions, the model's files, its probe and the measuring of a phantom."""
    from crackseg.selfcheck import check_all

    checks = check_all()
    for check in checks:
        typer.echo(f"{'ok    ' if check.ok else 'FAILED'} {check.name}: {check.detail}")
    if not all(check.ok for check in checks):
        raise typer.Exit(1)


@app.command("bench", rich_help_panel=ANALYSIS)
def bench_command(
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to compare: default, or settings as runtime=openvino,batch=4; keys: model, "
            "python (another environment), exports (a+b) and all of [predict].",
            show_default=False,
        ),
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option("--pictures", help="Photographs, folders or patterns; default: rendered."),
    ] = None,
    megapixels: Annotated[float, typer.Option(help="Of a rendered photograph.")] = 20.0,
    photographs: Annotated[int, typer.Option(help="How many are rendered.")] = 1,
    rounds: Annotated[int, typer.Option(help="Turns of each variant; medians are shown.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
) -> None:
    """Measure how fast this machine analyzes; compare models, precisions, runtimes, releases."""
    from crackseg.bench.command import run_bench

    run_bench(
        variants or [], pictures=pictures or [], megapixels=megapixels, count=photographs,
        rounds=rounds, json_file=json_file,
    )  # fmt: skip


survey_app = typer.Typer(no_args_is_help=True, help="Write down what is known of a survey.")
app.add_typer(survey_app, name="survey", rich_help_panel=ANALYSIS)


@survey_app.command("init")
def survey_init(
    folder: Annotated[Path, typer.Argument(help="Folder of the photographs.")] = Path(),
) -> None:
    """Write a commented survey.toml into a folder of photographs."""
    from crackseg.survey import write_template

    typer.echo(f"wrote {write_template(folder)}: fill in what you know, then analyze")


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
    data: Annotated[Path, typer.Argument(help="Folder of sets (images/, masks/) or manifest CSV.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the two sets.")],
    sets: Annotated[str, typer.Option(help="Names of sets, by comma; default: all.")] = "",
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the cracks that are drawn.")] = 0,
) -> None:
    """Make hair cracks to judge by: val pictures shrunk, and cracks drawn on sound ones."""
    from crackseg.errors import ConfigError
    from crackseg.training.evaluate import load_samples
    from crackseg.training.hair_sets import make_hair_sets

    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"`--out` must be a new or empty folder, got `{out}`.")
    names = [name for name in sets.split(",") if name]
    samples = load_samples(data, root=root, split="val", sets=names)
    for name, count in make_hair_sets(samples, out, seed).items():
        typer.echo(f"{name:20} {count:6}")


@data_app.command("check")
def data_check(
    data: Annotated[Path, typer.Argument(help="Manifest CSV, or a folder of sets.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    near_bits: Annotated[
        int, typer.Option(help="Fingerprints that differ in so many of 255 bits are one picture.")
    ] = 50,
) -> None:
    """Find broken pairs, odd masks and pictures on both sides of a split; exit code 1 if any."""
    from crackseg.training.check import check_data

    samples, findings = check_data(data, root=root, near_bits=near_bits)
    for finding in findings:
        typer.echo(f"{finding.kind:15} {finding.where}: {finding.message}")
    typer.echo(f"{len(samples)} sound pairs, {len(findings)} findings")
    raise typer.Exit(1 if findings else 0)


@data_app.command("import")
def data_import(
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
) -> None:
    """Turn annotations into a set of photographs and masks."""
    from crackseg.imagery.masks import MaskRule
    from crackseg.training.annotations import ImportOptions, import_annotations

    options = ImportOptions(
        labels=tuple(name for name in labels.split(",") if name),
        cutting=tuple(name for name in labels_off.split(",") if name),
        left_out=tuple(name for name in labels_unsure.split(",") if name),
        others=tuple(name for name in labels_other.split(",") if name),
        rule=MaskRule(values=tuple(v.strip() for v in values.split(",") if v), invert=invert),
        line_px=line_px,
        holes=holes,
    )
    done = import_annotations(source, images, out, format=format, options=options)
    for note in done.notes:
        typer.echo(note, err=True)
    typer.echo(
        f"{len(done.samples)} pictures, {done.empty} without crack, {done.shapes} shapes "
        f"({', '.join(done.labels) or 'no label'}) written to {out}"
    )


@data_app.command("from-survey")
def data_from_survey(
    survey: Annotated[
        Path,
        typer.Argument(help="Folder of results, or bundle of the service (a ZIP or a folder)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Set to write; a new folder.")],
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
    typer.echo(f"{done.pictures} pictures written to {out}")


@data_app.command("pre-annotate")
def data_pre_annotate(
    results: Annotated[Path, typer.Argument(help="Folder of results: --out of an analysis.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write; a new one.")],
    format: Annotated[str, typer.Option(help="cvat, labelstudio or yolo.")],
) -> None:
    """Hand a model's marks to a labelling tool, the most doubtful photographs first."""
    from crackseg.reporting.pre_annotations import ORDER, write_pre_annotations

    write_pre_annotations(results, out, format)
    typer.echo(f"wrote {out}; {ORDER} says in which order to look")


@data_app.command("tile")
def data_tile(
    data: Annotated[Path, typer.Argument(help="Set (images/, masks/) or manifest CSV.")],
    out: Annotated[Path, typer.Option(help="Set of tiles to write.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    tile_px: Annotated[int, typer.Option(help="Side of a tile.")] = 512,
    overlap_px: Annotated[int, typer.Option(help="Least overlap of neighbours.")] = 0,
    empty_share: Annotated[
        float, typer.Option(help="Share of the tiles without a crack to keep.")
    ] = 1.0,
) -> None:
    """Cut large photographs and their masks into tiles that stay in pairs."""
    from crackseg.training.manifest import index_folder, read_manifest
    from crackseg.training.tiling import cut_tiles

    samples = read_manifest(data, root=root) if data.is_file() else index_folder(data, hashes=False)
    count = cut_tiles(samples, out, tile_px=tile_px, overlap_px=overlap_px, empty_share=empty_share)
    typer.echo(f"{count} tiles written to {out}")


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


@app.command("fine-tune", rich_help_panel=MODELS)
def fine_tune_command(
    data: Annotated[
        Path, typer.Argument(help="Set of `data from-survey`, folder of sets, or manifest CSV.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Model folder to write.")] = Path(
        "site_model"
    ),
    name: Annotated[str, typer.Option(help="Name of the model; default: that of its folder.")] = "",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    parent: Annotated[
        str, typer.Option(help="Shipped model or model folder to start from.")
    ] = "default",
    check: Annotated[
        Path | None,
        typer.Option(help="Folder of sets, or manifest, whose val lists must not lose by it."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    work: Annotated[
        Path | None, typer.Option(help="What a stopped run goes on from; default: OUT.work.")
    ] = None,
    hold_out: Annotated[
        float, typer.Option(help="Share of the photographs to judge by, where no list says.")
    ] = 0.25,
    steps: Annotated[int, typer.Option(help="Of the training.")] = 120,
    threads: Annotated[int, typer.Option(help="Of the training.")] = 2,
) -> None:
    """Teach a model one site by what was accepted and rejected there; says what it brought."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.fine_tune import FineTuneOptions, fine_tune

    options = FineTuneOptions(
        data=data, out=out, name=name or out.resolve().name, version=version, parent=parent,
        check=check, root=root, work=work, hold_out=hold_out, steps=steps, threads=threads,
    )  # fmt: skip
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a container that stops, as Ctrl-C
    try:
        card = fine_tune(options, typer.echo)
    except KeyboardInterrupt:
        typer.echo("stopped: the fine-tuning goes on with the same command", err=True)
        raise typer.Exit(130) from None
    typer.echo(
        f"wrote {out}: {card.name} {card.version}, threshold {card.threshold:g} down to "
        f"{card.threshold_low:g}"
    )


@app.command("cross-validate", rich_help_panel=MODELS)
def cross_validate_command(
    run: Annotated[Path, typer.Argument(help="RUN.toml; its train and val are dealt anew.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    folds: Annotated[int, typer.Option(help="Trainings, each without its share.")] = 3,
) -> None:
    """Choose thresholds on pictures that no training has seen; finished folds are kept."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.cross_validate import cross_validate
    from crackseg.training.fit import read_run

    cross_validate(read_run(run, root), folds, typer.echo)


@app.command("export", rich_help_panel=MODELS)
def export_command(
    run: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of a finished run; of several, the mean of the weights. With --int8: a "
            "model folder."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Model folder to write.")] = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "",
    threshold: Annotated[
        str, typer.Option(help="Chosen on validation data; auto chooses both on the run's own.")
    ] = "auto",
    threshold_low: Annotated[
        float | None, typer.Option(help="Lower level of the hysteresis; default: the threshold.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="JSON written by `crackseg evaluate --json`.")
    ] = None,
    intended_use: Annotated[
        str, typer.Option(help="Sentence of the card; default: that it was not tested.")
    ] = "",
    limits: Annotated[
        str, typer.Option(help="Sentence of the card; default: that they were not tested.")
    ] = "",
    int8: Annotated[
        bool, typer.Option("--int8", help="Add an 8-bit graph to a model folder; needs --data.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="With --int8: sets or manifest; calibrated on train, scored on val."),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    sets: Annotated[str, typer.Option(help="With --int8: names of sets, by comma.")] = "",
    every: Annotated[
        int, typer.Option(help="With --int8: score every so many-th val picture.", min=1)
    ] = 1,
) -> None:
    """Write the model folder of a finished run: ONNX, safetensors, probe and card; or its 8 bit."""
    from crackseg.errors import ConfigError
    from crackseg.names import require

    if int8:
        require("onnx", extra="train")
        from crackseg.training.eight_bit import add_eight_bit

        if data is None or len(run) != 1:
            raise ConfigError("`--int8` needs one model folder and `--data`, as FOLDER_OF_SETS.")
        names = [each for each in sets.split(",") if each]
        add_eight_bit(run[0], data, root=root, sets=names, step=every, say=typer.echo)
        return
    if out is None or not name or not version:
        raise ConfigError("`export` needs `--out`, `--name` and `--version`.")
    require("torch", extra="train")
    from crackseg.folders import read_figures
    from crackseg.training.export_onnx import (
        LIMITS_NOT_TESTED,
        NOT_TESTED,
        ExportOptions,
        export_run,
    )
    from crackseg.training.thresholds import choose_for_run

    try:
        level = 0.5 if threshold == "auto" else float(threshold)
    except ValueError as error:
        raise ConfigError(f"`--threshold` must be a number or auto, got {threshold!r}.") from error
    card = export_run(
        run[0],
        out,
        ExportOptions(
            name=name,
            version=version,
            threshold=level,
            threshold_low=level if threshold_low is None else threshold_low,
            scores=read_figures(scores) if scores else {},
            intended_use=intended_use or NOT_TESTED,
            limits=limits or LIMITS_NOT_TESTED,
        ),
        run[1:],
    )
    if threshold == "auto":
        card = choose_for_run(out, run[0])
    typer.echo(
        f"wrote {out}: {card.name} {card.version}, {card.network}, threshold {card.threshold:g} "
        f"down to {card.threshold_low:g}"
    )


@app.command("evaluate-widths", rich_help_panel=MODELS)
def evaluate_widths_command(
    csv: Annotated[Path, typer.Argument(help="Columns site, name, width_mm, mm_per_px, profile.")],
    json_file: Annotated[
        Path | None, typer.Argument(help="With --json: write there instead of printing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Hold the width code against cracks that were measured on the wall."""
    from crackseg.folders import is_json_object, refuse_unless
    from crackseg.metrology.field_widths import read_field_widths, score, score_text

    scores = score(read_field_widths(csv))
    if not as_json:
        typer.echo(score_text(scores))
        return
    text = json.dumps(scores, indent=1)
    if json_file is None or str(json_file) == "-":
        typer.echo(text)
    else:
        refuse_unless(json_file, is_json_object, "figures of an evaluation")
        json_file.write_text(text + "\n", encoding="utf-8")


@app.command("compare", rich_help_panel=MODELS)
def compare_command(
    file: Annotated[Path, typer.Argument(help="COMPARE.toml, see data/runs/compare.toml.")],
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    row: Annotated[
        list[str] | None, typer.Option(help="Name of a row to run alone; may be repeated.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Seed to run alone; may be repeated.")
    ] = None,
    workers: Annotated[
        int,
        typer.Option(min=0, help="Processes side by side, with `fit.threads` each; 0: this one."),
    ] = 0,
) -> None:
    """Tune, train and score several networks under one protocol; finished cells are kept."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.compare import compare
    from crackseg.training.compare_options import only, read_compare

    options = only(read_compare(file, root), row or (), seed or ())
    failed = sum("failed" in cell for cell in compare(options, typer.echo, workers=workers))
    typer.echo(f"tables and plot are in {options.out}")
    raise typer.Exit(1 if failed else 0)


@app.command("evaluate", rich_help_panel=MODELS)
def evaluate_command(
    data: Annotated[Path, typer.Argument(help="Folder of sets (images/, masks/) or manifest CSV.")],
    model: Annotated[
        str, typer.Option(help="Name of a shipped model, or model folder.")
    ] = "default",
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test; default: test (val to choose and for --pod)."),
    ] = None,
    sets: Annotated[str, typer.Option(help="Names of sets, by comma; default: all.")] = "",
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Default: the model card's.")] = None,
    threshold_low: Annotated[
        float | None, typer.Option(help="Lower level of the hysteresis; default: the model card's.")
    ] = None,
    choose: Annotated[
        bool, typer.Option("--choose-threshold", help="Find the best thresholds on val; no scores.")
    ] = False,
    line_tolerance_px: Annotated[
        float, typer.Option("--line-tolerance", help="Centre lines so near are one, in px.")
    ] = 3.0,
    readings: Annotated[
        int | None, typer.Option(help="Readings of each tile: 1, 2 or 4; default: as analyze.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch.")] = "onnx",
    precision: Annotated[str, typer.Option(help="float or int8.")] = "float",
    device: Annotated[str, typer.Option(help="cpu, cuda, …")] = "cpu",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for precision-recall plot and worst pictures.")
    ] = None,
    pod: Annotated[
        bool, typer.Option("--pod", help="Probability of detection by width, in place of scores.")
    ] = False,
    hair: Annotated[
        Path | None, typer.Option(help="With --pod: sets made by `crackseg data hair`, too.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="With --pod: folder for detection.md and detection.png.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="With --pod: write it into the model's card.")
    ] = False,
) -> None:
    """Score a model on labelled pictures, through the same chain that analyzes photographs."""
    from crackseg.config import MaskOptions, PredictOptions
    from crackseg.training.evaluate import EvaluateOptions, load_samples
    from crackseg.training.evaluate_command import run_choice, run_detection, run_scores

    names = tuple(name for name in sets.split(",") if name)
    options = EvaluateOptions(
        model=model,
        split=split or ("val" if choose or pod else "test"),
        sets=names,
        line_tolerance_px=line_tolerance_px,
        predict=PredictOptions(
            runtime=runtime,
            precision=precision,
            device=device,
            readings=readings or PredictOptions().readings,
        ),
        mask=MaskOptions(threshold=threshold, threshold_low=threshold_low),
    )
    samples = load_samples(data, root=root, split=options.split, sets=names)
    if pod:
        drawn = load_samples(hair, split=options.split) if hair else ()
        run_detection([*samples, *drawn], options, report, write)
    elif choose:
        run_choice(samples, options, json_file)
    else:
        run_scores(samples, options, json_file, plots)


@app.command("calibrate", rich_help_panel=MODELS)
def calibrate_command(
    data: Annotated[Path, typer.Argument(help="Folder of sets (images/, masks/) or manifest CSV.")],
    model: Annotated[
        str, typer.Option(help="Name of a shipped model, or model folder.")
    ] = "default",
    sets: Annotated[str, typer.Option(help="Names of sets to fit on, by comma.")] = "",
    judge: Annotated[str, typer.Option(help="Names of sets to judge by alone, by comma.")] = "",
    root: Annotated[
        Path | None, typer.Option(help="Folder the manifest's paths are relative to.")
    ] = None,
    write: Annotated[bool, typer.Option("--write", help="Write it into the model's card.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for certainty.md and certainty.png.")
    ] = None,
) -> None:
    """Learn on val lists how certain each mark of a model is; print how far that holds."""
    from crackseg import calibrate

    names = tuple(name for name in sets.split(",") if name)
    judges = tuple(name for name in judge.split(",") if name)
    calibrate.run(
        data, model, root=root, sets=names, judges=judges, write=write, report=report,
        say=typer.echo,
    )  # fmt: skip


SERVICE = "Service"
keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the service's API keys.")
db_app = typer.Typer(no_args_is_help=True, help="Check or back up the service's database.")
app.add_typer(keys_app, name="keys", rich_help_panel=SERVICE)
app.add_typer(db_app, name="db", rich_help_panel=SERVICE)
DataOption = Annotated[Path, typer.Option("--data", help="Folder of the service's data.")]
DbOption = Annotated[
    str, typer.Option("--db", envvar="CRACKSEG_DB", help="postgresql://…; empty: SQLite.")
]
SERVICE_DATA = Path("crackseg-data")


def _settings(data: Path, db: str, config: Path | None = None, **flags: object) -> Settings:
    """Return the service's settings from a TOML file and what was given by hand."""
    from importlib.util import find_spec

    from crackseg.config import read_options, read_toml
    from crackseg.errors import MissingExtra
    from service.settings import Settings

    needed = ("fastapi", "uvicorn", "sqlalchemy")
    missing = [name for name in needed if not find_spec(name)]
    if missing:
        raise MissingExtra(
            f"the service needs {', '.join(missing)}; pip install 'crackseg[service]'."
        )

    values = {"data": data.resolve(), "db": db, **(read_toml(config) if config else {})}
    values |= {key: value for key, value in flags.items() if value is not None}
    return read_options(Settings, values, where="settings")


@app.command(rich_help_panel=SERVICE)
def serve(
    data: DataOption = SERVICE_DATA,
    host: Annotated[str | None, typer.Option(help="Address to bind; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one; default 8000.")] = None,
    role: Annotated[str | None, typer.Option(help="all, api or worker; default all.")] = None,
    db: DbOption = "",
    model: Annotated[str | None, typer.Option(help="Shipped model or model folder.")] = None,
    root_path: Annotated[
        str | None, typer.Option(help="Path below which a proxy shows it.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Run the web service: upload photographs, watch, browse the cracks."""
    flags = {"host": host, "port": port, "role": role, "model": model, "root_path": root_path}
    settings = _settings(data, db, config, **flags)
    from service.server import serve as run_service

    run_service(settings)


@keys_app.command("add")
def keys_add(
    name: Annotated[str, typer.Argument(help="Whom or what the key is for.")],
    tenant: Annotated[str, typer.Option(help="Keys of a tenant see the same surveys.")] = "local",
    scopes: Annotated[str, typer.Option(help="Of read, write, metrics, by comma.")] = "read,write",
    data: DataOption = SERVICE_DATA,
    db: DbOption = "",
) -> None:
    """Make a key and print it; only its digest is kept."""
    from service import keys
    from service.database import open_database

    engine = open_database(_settings(data, db))
    typer.echo(keys.add(engine, tenant, name, tuple(s.strip() for s in scopes.split(","))))
    typer.echo("Keep it now: it cannot be shown again.", err=True)


@keys_app.command("list")
def keys_list(data: DataOption = SERVICE_DATA, db: DbOption = "") -> None:
    """List the keys, without their secrets."""
    from service import keys
    from service.database import open_database

    for row in keys.list_keys(open_database(_settings(data, db))):
        state = f"revoked {row.revoked_at}" if row.revoked_at else row.scopes
        typer.echo(f"{row.id}  {row.tenant:20} {row.name:24} {row.created_at}  {state}")


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The id, see `crackseg keys list`.")],
    data: DataOption = SERVICE_DATA,
    db: DbOption = "",
) -> None:
    """Make a key invalid from now on."""
    from service import keys
    from service.database import open_database

    keys.revoke(open_database(_settings(data, db)), key_id)
    typer.echo(f"{key_id} revoked")


@db_app.command("check")
def db_check(
    data: DataOption = SERVICE_DATA,
    db: DbOption = "",
    remove_unnamed: Annotated[
        bool,
        typer.Option(
            "--remove-unnamed", help="Delete stored files that no row names, if all else is sound."
        ),
    ] = False,
) -> None:
    """Check the database, and that its rows have files and files rows; exit code 1 if not."""
    settings = _settings(data, db)
    from service.check import check
    from service.check import remove_unnamed as remove

    findings = check(settings)
    for problem in findings.problems:
        typer.echo(problem)
    for stored in findings.unnamed:
        typer.echo(f"{stored.relative_to(settings.data)} is stored, but no row names it.")
    if remove_unnamed:
        remove(settings, findings)
        typer.echo(f"{len(findings.unnamed)} deleted")
        raise typer.Exit
    count = len(findings.problems) + len(findings.unnamed)
    typer.echo(f"{count} problems" if count else "sound")
    raise typer.Exit(1 if count else 0)


@db_app.command("backup")
def db_backup(
    out: Annotated[Path, typer.Argument(help="New folder.")],
    data: DataOption = SERVICE_DATA,
    db: DbOption = "",
) -> None:
    """Copy the SQLite databases, consistent also while the service runs."""
    settings = _settings(data, db)
    from service.database import backup

    backup(settings, out)
    typer.echo(f"written to {out}; copy the folders uploads and results as well")


def path(text: str) -> Path:
    """Return a path that was given; an empty text would name the current folder."""
    if not text.strip():
        raise typer.BadParameter(
            "an empty text names no file or folder; `.` is the current folder."
        )
    return Path(text)


def _check_paths(commands: typer.Typer) -> None:
    """Let every command read its paths by ``path``."""
    # A parser in an annotation that is text would be lost: the annotations are kept evaluated.
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _check_paths(group.typer_instance)
    for command in commands.registered_commands:
        hints = get_type_hints(command.callback, include_extras=True)
        for kind, *about in (get_args(hint) for hint in hints.values() if get_args(hint)):
            if Path in (kind, *get_args(kind)):
                for info in about:
                    info.parser = path
        command.callback.__annotations__ = hints


_check_paths(app)


def main() -> None:
    """Run the command line; an error of this package is one sentence and exit code 2."""
    _print_anywhere()
    try:
        app()
    except CracksegError as error:
        typer.echo(f"crackseg: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # whoever read has gone: `crackseg ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"`{error.filename}`: " if error.filename else ""
        typer.echo(f"crackseg: {where}{error.strerror or error}.", err=True)
        sys.exit(1)
    except MemoryError:
        typer.echo("crackseg: there is not enough memory.", err=True)
        sys.exit(1)


_PLAIN = {"±": "+-", "–": "-", "…": "...", "²": "2", "×": "x", "°": " deg"}


def _print_anywhere() -> None:
    """Let every terminal show what is printed: a character it does not know is spelt out."""

    def spell(error: UnicodeError) -> tuple[str | bytes, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        unknown = error.object[error.start]
        return _PLAIN.get(unknown, unknown.encode("ascii", "backslashreplace").decode()), (
            error.start + 1
        )

    codecs.register_error("crackseg", spell)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="crackseg")


if __name__ == "__main__":
    main()
