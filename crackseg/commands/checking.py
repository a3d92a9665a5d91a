"""Commands that tell of the installation: its models, whether it is sound, how fast it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crackseg.commands.flags import ANALYSIS, refuse_idle

app = typer.Typer()


@app.command("models", rich_help_panel=ANALYSIS)
def models_command() -> None:
    """List the shipped models with their intended use and limits."""
    from crackseg.inference.models import default_model, read_card, shipped_models

    for name, folder in shipped_models().items():
        card = read_card(folder)
        mark = " (default)" if name == default_model() else ""
        typer.echo(f"{name}{mark}: {card.name} {card.version}, {card.network}")
        typer.echo(f"  needs      crackseg {card.needs or 'any release'}")
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
    context: typer.Context,
    variants: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to compare: default, or settings as runtime=openvino,batch=4; keys: model, "
            "python (another environment), exports (a+b) and all of `predict` in a config file.",
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

    if pictures:
        refuse_idle(context, "megapixels photographs", "is of rendered photographs")
    run_bench(
        variants or [], pictures=pictures or [], megapixels=megapixels, count=photographs,
        rounds=rounds, json_file=json_file,
    )  # fmt: skip
