"""Commands that analyze photographs and measure masks."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from crackseg.commands.flags import (
    ANALYSIS,
    ConfigPath,
    CsvLocale,
    DistanceM,
    IgnorePath,
    Invert,
    MarkerMm,
    MaskValues,
    MmPerPx,
    OutPath,
    RegionPath,
    StoreOutPath,
    stop_as_by_ctrl_c,
    warn,
)

app = typer.Typer()


@app.command("analyze", rich_help_panel=ANALYSIS)
def analyze_command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photographs, folders, patterns, lists (.txt, .csv, .parquet).", show_default=False
        ),
    ],
    out: StoreOutPath,
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
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, tensorrt, ...")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Photographs side by side, each with its share of cores and memory."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="processes of this machine, or ray: a cluster; --workers then its actors."
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster, as 10.0.0.5:6379; default: a Ray on this machine."),
    ] = None,
    thorough: Annotated[
        bool | None,
        typer.Option(
            "--thorough/--fast",
            help="Read each tile four ways, for up to four times the time: less that is no crack "
            "is marked, a little more of hair cracks missed; or once, the default.",
        ),
    ] = None,
    exports: Annotated[
        str | None,
        typer.Option(
            help="By comma: csv, xlsx, mask, overlay, geojson, page, map, coco, svg, dxf, gpkg, "
            "shp, yolo, cvat, labelstudio; json always."
        ),
    ] = None,
    region: RegionPath = None,
    ignore: IgnorePath = None,
    survey: Annotated[
        Path | None,
        typer.Option(help="What is known of the survey; default: survey.toml beside the pictures."),
    ] = None,
    locale: CsvLocale = None,
    config: ConfigPath = None,
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
    from crackseg.config import AnalyzeOptions, EngineOptions, merge, read_analysis, read_options
    from crackseg.idle import idle_in_analysis
    from crackseg.imagery.regions import unused_files
    from crackseg.inputs import find_inputs
    from crackseg.survey import find_survey, read_survey

    flags = {
        "model": model,
        "exports": None if exports is None else _names_of(exports),
        "predict": {
            "runtime": runtime,
            "precision": precision,
            "device": device,
            "workers": None if engine == "ray" else workers,
            "readings": None if thorough is None else 4 if thorough else 1,
        },
        "mask": {"threshold": threshold},
        "scale": {"mm_per_px": mm_per_px, "distance_m": distance_m, "marker_mm": marker_mm},
        "region": {"region": region, "ignore": ignore},
        "locale": locale,
    }
    values = merge(read_analysis(config) if config else {}, flags)
    hands = {"name": engine, "address": address, "actors": workers if engine == "ray" else None}
    written = dict(values)
    crew = read_options(EngineOptions, merge(values.pop("engine", {}), hands), where="engine")
    options = read_options(AnalyzeOptions, values)
    warn(idle_in_analysis(written, options, crew))
    photographs = find_inputs(inputs, out)
    facts = read_survey(survey) if survey else find_survey(inputs, photographs.paths)
    warn(_misspelt(batch.unused_scales(photographs.paths, options)))
    warn(_unused(unused_files(options.region, photographs.paths)))
    stop_as_by_ctrl_c()
    gc.freeze()  # what imports made stays: to look through it again and again takes time
    try:
        with screen.watch(quiet=quiet or as_json) as listener:
            outcomes = batch.run(
                photographs.paths, out, options,
                overwrite=overwrite, listener=listener, passed=photographs.passed, facts=facts,
                engine=crew,
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
    out: OutPath,
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
    config: ConfigPath = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print a missing scale alone.")
    ] = False,
) -> None:
    """Measure the cracks of a mask from elsewhere."""
    from contextlib import ExitStack

    from crackseg import batch, pipeline, screen
    from crackseg.config import AnalyzeOptions, merge, read_analysis, read_options
    from crackseg.folder_names import choose_folder
    from crackseg.folders import clear_leftovers, origin_of, refuse_foreign, refuse_unwritable
    from crackseg.idle import idle_in_measure
    from crackseg.imagery.files import open_image
    from crackseg.imagery.masks import MaskRule
    from crackseg.imagery.regions import unused_files

    rule = MaskRule(values=tuple(v.strip() for v in values.split(",") if v), invert=invert)
    scale = {"mm_per_px": mm_per_px, "distance_m": distance_m, "marker_mm": marker_mm}
    chosen = {"scale": scale, "region": {"region": region, "ignore": ignore}, "locale": locale}
    settings = merge(read_analysis(config) if config else {}, chosen)
    engine = settings.pop("engine", {})  # one file may be of both commands
    options = read_options(AnalyzeOptions, settings)
    warn(idle_in_measure({**settings, "engine": engine}, options))
    named = [image or mask]
    warn(_misspelt(batch.unused_scales(named, options)))
    warn(_unused(unused_files(options.region, named)))
    options = batch.options_for(named[0], options)
    most = options.max_megapixels
    with ExitStack() as stack:
        mask_image = stack.enter_context(open_image(mask, max_megapixels=most, is_mask=True))
        picture = stack.enter_context(open_image(image, max_megapixels=most)) if image else None
        content = mask_image.info.sha256
        folder = choose_folder(out, mask, content, stem=(image or mask).stem)
        refuse_foreign(folder)
        refuse_unwritable(out)
        clear_leftovers(out)
        least_px = settings.get("mask", {}).get("min_area_px", 1)  # what was drawn is no noise
        report = pipeline.measure_mask(mask_image, picture, options, rule, least_px=least_px)
        origin = origin_of(mask)
        pipeline.export(report, folder, picture, options.exports, origin=origin, content=content)
    screen.show_measured(report, mask, folder, quiet=quiet)


def _names_of(exports: str) -> list[str]:
    """Return the exports that a text lists by comma.

    Raises:
        ConfigError: it lists none.
    """
    from crackseg.errors import ConfigError
    from crackseg.exports import EXPORTS

    names = [name.strip() for name in exports.split(",") if name.strip()]
    if not names:
        known = ", ".join(sorted(EXPORTS))
        raise ConfigError(
            f"`--exports` names none; known: {known}. `--exports json` writes `report.json` alone."
        )
    return names


def _misspelt(names: Iterable[str]) -> list[str]:
    return [f"`picture_scale` names `{name}`: no photograph is called so." for name in names]


def _unused(files: Sequence[Path]) -> list[str]:
    if not files:
        return []
    from crackseg.screen import MOST_NAMES

    names = ", ".join(f"`{file.name}`" for file in files[:MOST_NAMES])
    more = f" and {len(files) - MOST_NAMES} more" if len(files) > MOST_NAMES else ""
    return [
        f"in `--ignore {files[0].parent}`, {names}{more}: of no photograph here, without effect; "
        "a file has its photograph's name, as `DJI_0042.geojson` for `DJI_0042.JPG`."
    ]
