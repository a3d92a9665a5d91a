"""Commands that work on the results of a survey: report, edits, map of a face, two dates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crackseg.commands.flags import ANALYSIS, Locale, Photographs, Quiet, Results, on_disk, warn

app = typer.Typer()


@app.command("report", rich_help_panel=ANALYSIS)
def report_command(
    results: Results,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Default: report in the folder of results.", callback=on_disk
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="By comma: html, pdf, xlsx, csv; geojson, gpkg, shp, dxf, svg; coco, yolo, cvat, "
            "labelstudio.",
            show_default="html,pdf,xlsx,csv",
        ),
    ] = None,
    locale: Locale = "en",
    survey: Annotated[
        Path | None,
        typer.Option(help="What is known of the survey; default: survey.toml of the analysis."),
    ] = None,
    photographs: Photographs = None,
) -> None:
    """Write one report of a survey: page, PDF, workbook, tables, files for GIS, CAD, labels."""
    from crackseg.reporting.command import DEFAULT, can_write, left_out, write_report

    if formats is None:
        names = [name for name in DEFAULT if can_write(name)]
    else:
        names = [name.strip() for name in formats.split(",") if name.strip()]
    paths = write_report(
        results, out, formats=names, locale=locale, facts=survey, photographs=photographs
    )
    for path in paths:
        typer.echo(f"wrote {path}")
    if formats is None:
        warn(left_out("report", DEFAULT))


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
    results: Results,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Default: face in the folder of results.", callback=on_disk
        ),
    ] = None,
    photographs: Photographs = None,
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
    quiet: Quiet = False,
) -> None:
    """Put all photographs of a face on one map; count what several show once."""
    from tempfile import TemporaryDirectory

    from crackseg import screen
    from crackseg.face.mapping import make_map
    from crackseg.face.scaling import read_references
    from crackseg.face.writing import write_map
    from crackseg.folder_names import FACE
    from crackseg.folders import refuse_unwritable
    from crackseg.reporting.command import left_out
    from crackseg.survey import read_survey

    if out:
        refuse_unwritable(out)
    with TemporaryDirectory(prefix="crackseg-") as small, screen.steps(quiet=quiet) as listen:
        face = make_map(
            results,
            pictures=[photographs] if photographs else [],
            references=read_references(references) if references else None,
            survey=read_survey(survey) if survey else None,
            use_poses=not ignore_poses,
            listen=listen,
            small=Path(small),
        )
        folder = out or results / FACE
        write_map(face, results, folder, locale=locale, listen=listen)
    screen.show_map(face, folder, quiet=quiet)
    warn(left_out("face", ("gpkg", "dxf")))


@app.command("diff", rich_help_panel=ANALYSIS)
def diff_command(
    old: Annotated[Path, typer.Argument(help="Earlier survey: folder of results with a map.")],
    new: Annotated[Path, typer.Argument(help="Later survey: folder of results with a map.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Default: changes beside the later map.", callback=on_disk
        ),
    ] = None,
    locale: Locale = "en",
    quiet: Quiet = False,
) -> None:
    """Compare two maps of one face: new, gone, longer by, wider by; make maps with `face`."""
    from crackseg import screen
    from crackseg.changes.command import compare_folders, map_folder
    from crackseg.changes.writing import write_changes
    from crackseg.folder_names import CHANGES
    from crackseg.folders import refuse_unwritable
    from crackseg.reporting.command import PACKAGES, left_out

    if out:
        refuse_unwritable(out)
    with screen.steps(quiet=quiet) as listen:
        comparison = compare_folders(old, new, listen)
        folder = out or map_folder(new).parent / CHANGES
        write_changes(comparison, new, folder, locale=locale, listen=listen)
    screen.show_changes(comparison, folder, quiet=quiet)
    warn(left_out("changes", PACKAGES))


survey_app = typer.Typer(no_args_is_help=True, help="Write down what is known of a survey.")
app.add_typer(survey_app, name="survey", rich_help_panel=ANALYSIS)


@survey_app.command("init")
def survey_init(
    folder: Annotated[Path, typer.Argument(help="Folder of the photographs.")] = Path(),
) -> None:
    """Write a commented survey.toml into a folder of photographs."""
    from crackseg.survey import write_template

    typer.echo(f"wrote {write_template(folder)}: fill in what you know, then analyze")
