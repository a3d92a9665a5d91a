"""Commands that train networks, judge them and make models of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from crackseg.commands.flags import (
    MODELS,
    ModelName,
    Root,
    SetNames,
    SetsPath,
    on_disk,
    refuse_idle,
    stop_as_by_ctrl_c,
    warn,
)

app = typer.Typer()


@app.command("train", rich_help_panel=MODELS)
def train_command(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(help="RUN.toml, see data/runs/ for examples.")],
    root: Root = None,
    init: Annotated[
        Path | None,
        typer.Option(help="Write RUN.toml and its manifest for these sets, and train nothing."),
    ] = None,
    hold_out: Annotated[
        float, typer.Option(help="With --init: share for val where no list says.")
    ] = 0.2,
) -> None:
    """Train a network; the same command continues a run that was interrupted."""
    from crackseg.names import require

    if init is not None:
        from crackseg.training.first_run import init_run

        refuse_idle(context, "root", "is of a training, and `--init` trains nothing")
        for line in init_run(run, init, hold_out=hold_out):
            typer.echo(line)
        return
    refuse_idle(context, "hold_out", "is of `--init`")
    require("torch", extra="train")
    from crackseg.config import read_toml
    from crackseg.training.fit import read_run, train
    from crackseg.training.options import idle_in_training
    from crackseg.training.sharing import rank

    options = read_run(run, root)
    warn(idle_in_training(read_toml(run), options))
    stop_as_by_ctrl_c()
    try:
        folder = train(options)
        if rank(options) == 0:
            typer.echo(f"finished: {folder}")
    except KeyboardInterrupt:
        typer.echo(
            f"stopped: the training goes on with the same command, also elsewhere: {options.out}",
            err=True,
        )
        raise typer.Exit(130) from None


@app.command("fine-tune", rich_help_panel=MODELS)
def fine_tune_command(
    data: Annotated[
        Path, typer.Argument(help="Set of `data from-survey`, folder of sets, or manifest CSV.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Model folder to write.", callback=on_disk)
    ] = Path("site_model"),
    name: Annotated[str, typer.Option(help="Name of the model; default: that of its folder.")] = "",
    version: Annotated[str, typer.Option(help="Version of the model.")] = "1",
    parent: Annotated[
        str, typer.Option(help="Shipped model or model folder to start from.")
    ] = "default",
    check: Annotated[
        Path | None,
        typer.Option(help="Folder of sets, or manifest, whose val lists must not lose by it."),
    ] = None,
    root: Root = None,
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
    stop_as_by_ctrl_c()
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
    root: Root = None,
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
    context: typer.Context,
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
    root: Root = None,
    sets: Annotated[str, typer.Option(help="With --int8: names of sets, by comma.")] = "",
    every: Annotated[
        int, typer.Option(help="With --int8: score every so many-th val picture.", min=1)
    ] = 1,
) -> None:
    """Write the model folder of a finished run: ONNX, safetensors, probe and card; or its 8 bit."""
    from crackseg.errors import ConfigError
    from crackseg.names import require

    if int8:
        refuse_idle(
            context,
            "out name version threshold threshold_low scores intended_use limits",
            "is of a new model folder, and `--int8` adds to one",
        )
        _add_eight_bit(run, data, root, [each for each in sets.split(",") if each], every)
        return
    refuse_idle(context, "data root sets every", "is of `--int8`")
    if threshold == "auto":
        refuse_idle(context, "threshold_low", "is chosen with the threshold, which is auto")
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


def _add_eight_bit(
    folders: list[Path], data: Path | None, root: Path | None, sets: list[str], every: int
) -> None:
    from crackseg.errors import ConfigError
    from crackseg.names import require

    require("onnx", extra="train")
    from crackseg.training.check import doubts_of_split
    from crackseg.training.eight_bit import add_eight_bit

    if data is None or len(folders) != 1:
        raise ConfigError("`--int8` needs one model folder and `--data`, as FOLDER_OF_SETS.")
    warn(doubts_of_split(data, split="val", sets=sets))
    add_eight_bit(folders[0], data, root=root, sets=sets, step=every, say=typer.echo)


@app.command("evaluate-widths", rich_help_panel=MODELS)
def evaluate_widths_command(
    context: typer.Context,
    csv: Annotated[Path, typer.Argument(help="Columns site, name, width_mm, mm_per_px, profile.")],
    json_file: Annotated[
        Path | None, typer.Argument(help="With --json: write there instead of printing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Hold the width code against cracks that were measured on the wall."""
    from crackseg.folders import holds_keys, refuse_unless
    from crackseg.metrology.field_widths import read_field_widths, score, score_text

    scores = score(read_field_widths(csv))
    if not as_json:
        refuse_idle(context, "json_file", "is of `--json`")
        typer.echo(score_text(scores))
        return
    text = json.dumps(scores, indent=1)
    if json_file is None or str(json_file) == "-":
        typer.echo(text)
    else:
        refuse_unless(json_file, holds_keys("mae_px by_site"), "figures of an evaluation")
        json_file.write_text(text + "\n", encoding="utf-8")


@app.command("compare", rich_help_panel=MODELS)
def compare_command(
    file: Annotated[Path, typer.Argument(help="COMPARE.toml, see data/runs/compare.toml.")],
    root: Root = None,
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
    data: Annotated[
        Path | None, typer.Option(help="Sets or manifest, in place of the file's `data.manifest`.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder, in place of the file's `out`.", callback=on_disk),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Of every training, for a trial of all; in a folder OUT-N-steps."),
    ] = None,
) -> None:
    """Tune, train and score several networks under one protocol; finished cells are kept."""
    from crackseg.names import require

    require("torch", extra="train")
    from crackseg.training.compare import compare
    from crackseg.training.compare_options import only, read_compare, shortened

    options = only(read_compare(file, root, data=data, out=out), row or (), seed or ())
    options = shortened(options, steps) if steps else options
    failed = sum("failed" in cell for cell in compare(options, typer.echo, workers=workers))
    typer.echo(f"tables and plot are in {options.out}")
    raise typer.Exit(1 if failed else 0)


@app.command("evaluate", rich_help_panel=MODELS)
def evaluate_command(
    context: typer.Context,
    data: SetsPath,
    model: ModelName = "default",
    split: Annotated[
        str | None,
        typer.Option(help="train, val or test; default: test (val to choose and for --pod)."),
    ] = None,
    sets: SetNames = "",
    root: Root = None,
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
    per_picture: Annotated[
        Path | None,
        typer.Option(help="Write P, R = TPR, TNR, F, IoU of each picture, and means (CSV)."),
    ] = None,
    inside: Annotated[
        str | None,
        typer.Option(help="With a detector: mask model whose marks count inside its boxes."),
    ] = None,
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
    from crackseg.inference.models import is_detector, load_model
    from crackseg.training.check import doubts_of_split
    from crackseg.training.evaluate import EvaluateOptions, load_samples
    from crackseg.training.evaluate_command import run_boxes, run_choice, run_detection, run_scores

    boxes = not (pod or choose) and is_detector(load_model(model).card.network)
    _refuse_idle_of_scores(context, pod=pod, choose=choose, boxes=boxes)
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
    warn(doubts_of_split(data, split=options.split, sets=names))
    samples = load_samples(data, root=root, split=options.split, sets=names)
    if pod:
        drawn = load_samples(hair, split=options.split) if hair else ()
        run_detection([*samples, *drawn], options, report, write)
    elif choose:
        run_choice(samples, options, json_file)
    elif boxes:
        run_boxes(samples, options, inside, json_file)
    else:
        run_scores(samples, options, json_file, plots, per_picture)


def _refuse_idle_of_scores(context: typer.Context, *, pod: bool, choose: bool, boxes: bool) -> None:
    """Refuse what ``evaluate`` has no use for where it does not score masks."""
    if pod:
        refuse_idle(context, "choose json_file per_picture plots", "is not of `--pod`")
    else:
        refuse_idle(context, "hair report write", "is of `--pod`")
    if choose:
        finds = "is found or not needed where `--choose-threshold` looks for the thresholds"
        refuse_idle(context, "threshold threshold_low per_picture plots", finds)
    if boxes:
        refuse_idle(
            context,
            "per_picture plots line_tolerance_px",
            "is of masks, and this model draws boxes",
        )
    else:
        refuse_idle(context, "inside", "is of a detector")


@app.command("calibrate", rich_help_panel=MODELS)
def calibrate_command(
    data: SetsPath,
    model: ModelName = "default",
    sets: Annotated[str, typer.Option(help="Names of sets to fit on, by comma.")] = "",
    judge: Annotated[str, typer.Option(help="Names of sets to judge by alone, by comma.")] = "",
    root: Root = None,
    write: Annotated[bool, typer.Option("--write", help="Write it into the model's card.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Folder for certainty.md and certainty.png.")
    ] = None,
) -> None:
    """Learn on val lists how certain each mark of a model is; print how far that holds."""
    from crackseg import calibrate
    from crackseg.training.check import doubts_of_split

    names = tuple(name for name in sets.split(",") if name)
    judges = tuple(name for name in judge.split(",") if name)
    warn(doubts_of_split(data, split="val", sets=(*names, *judges) if names else ()))
    calibrate.run(
        data, model, root=root, sets=names, judges=judges, write=write, report=report,
        say=typer.echo,
    )  # fmt: skip
