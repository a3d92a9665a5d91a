"""COMPARE.toml -> every network trained and scored under one protocol, cell by cell.

A cell is one network with one seed: trained (a run that was cut short continues), exported, its
thresholds chosen on ``val``, scored on the test lists through the product's own chain. The crops of
a run depend on the seed alone, so all networks see the same pixels in the same order. A finished
cell is not run again; one that fails is named in the table and tried at the next call. At the end
all networks are timed one after the other, since only figures of one hour compare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crackseg.config import MaskOptions, PredictOptions, read_options, read_toml, to_plain
from crackseg.errors import ConfigError, CracksegError
from crackseg.networks import build
from crackseg.networks.cost import measure_cost
from crackseg.training.compare_table import write_tables
from crackseg.training.evaluate import (
    EvaluateOptions,
    choose_threshold,
    group,
    load_samples,
    score_pictures,
    summarize,
)
from crackseg.training.export_onnx import ExportOptions, export_run
from crackseg.training.fit import train
from crackseg.training.options import TrainOptions, same_options
from crackseg.training.score_text import without_nan
from crackseg.training.speed import measure_speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table."""

    name: str
    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(
        default_factory=dict
    )  # what differs from the protocol, if at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A figure from the literature that stands beside the table, with its protocol."""

    name: str
    protocol: str
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None
    iou: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """A comparison: its protocol is a RUN.toml without name, out, network, arguments and seed."""

    out: Path
    protocol: Mapping[str, Any]
    network: tuple[Contestant, ...]
    seeds: tuple[int, ...] = (1, 2)
    runtimes: tuple[str, ...] = ("onnx", "torch")
    tile_px: int = 512  # of the timing, and of the cost in GMAC
    published: tuple[Published, ...] = ()

    def __post_init__(self) -> None:
        names = [contestant.name for contestant in self.network]
        if len(set(names)) < len(names) or not names:
            raise ConfigError(f"`network` must hold rows of different names, got {names}.")
        if not self.seeds:
            raise ConfigError("`seeds` must hold at least one number; two show the spread.")
        own = sorted({"name", "out", "network", "arguments", "seed"} & set(self.protocol))
        if own:
            raise ConfigError(f"`protocol` must not hold {', '.join(own)}: a row says that.")


def read_compare(path: Path, root: Path | None = None) -> CompareOptions:
    """Return the options of a COMPARE.toml; its paths are relative to the file's folder."""
    options = read_options(CompareOptions, read_toml(path), where=path.name)
    here = path.parent
    data = dict(options.protocol.get("data", {}))
    if "manifest" in data:
        data["manifest"] = str(here / data["manifest"])
    if root or "root" in data:
        data["root"] = str(root or here / data["root"])
    network = tuple(
        Contestant(
            name=row.name,
            network=row.network,
            arguments={
                key: str(here / value) if key == "encoder_weights" else value
                for key, value in row.arguments.items()
            },
            fit=row.fit,
        )
        for row in options.network
    )
    return CompareOptions(
        out=here / options.out,
        protocol={**options.protocol, "data": data},
        network=network,
        seeds=options.seeds,
        runtimes=options.runtimes,
        tile_px=options.tile_px,
        published=options.published,
    )


def compare(options: CompareOptions, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Run what is missing, write the tables and the plot into ``options.out``, return the cells.

    Raises:
        ConfigError: a finished cell was made with other options.
    """
    cells: list[dict[str, Any]] = []
    published = to_plain(options.published)
    for seed in options.seeds:  # one whole round first: an early table is complete with one seed
        for contestant in options.network:
            cells.append(_cell(contestant, seed, options, say))
            write_tables(cells, {}, published, options.out)
    write_tables(cells, _speeds(cells, options, say), published, options.out)
    return cells


def run_options(contestant: Contestant, seed: int, options: CompareOptions) -> TrainOptions:
    """Return the training options of one cell."""
    values = {
        **options.protocol,
        "name": contestant.name,
        "out": options.out / f"{_file_name(contestant.name)}-seed{seed}",
        "network": contestant.network,
        "arguments": contestant.arguments,
        "seed": seed,
        "fit": {**options.protocol.get("fit", {}), **contestant.fit},
    }
    return read_options(TrainOptions, values, where="protocol")


def _cell(
    contestant: Contestant, seed: int, options: CompareOptions, say: Callable[[str], None]
) -> dict[str, Any]:
    """Return the finished cell of a network and a seed, running it first if needed."""
    run = run_options(contestant, seed, options)
    file = run.out / "cell.json"
    identity = {"run": to_plain(run), "tile_px": options.tile_px}
    if file.exists():
        cell: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        made = cell["identity"]
        known = isinstance(made, dict) and made["tile_px"] == options.tile_px
        if not known or not same_options(made["run"], run):
            raise ConfigError(
                f"{file} was made with other options; choose another `out`, or delete its folder."
            )
        say(f"{contestant.name}, seed {seed}: finished before")
        return cell
    say(f"{contestant.name}, seed {seed}: {run.out}")
    head = {"name": contestant.name, "seed": seed, "identity": identity}
    try:
        cell = head | _run_cell(run, options)
    except CracksegError as error:
        say(f"{contestant.name}, seed {seed} failed: {error}")
        return head | {"failed": str(error)}
    part = file.with_suffix(".part")
    part.write_text(json.dumps(cell, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(file)
    return cell


def _run_cell(run: TrainOptions, options: CompareOptions) -> dict[str, Any]:
    """Train, export, choose thresholds on val, score on test."""
    cost = measure_cost(build(run.network, **run.arguments), options.tile_px, options.tile_px)
    folder = train(run) / "model"
    export_run(
        run.out,
        folder,
        ExportOptions(name=run.name, version=f"seed {run.seed}", threshold=0.5, threshold_low=0.5),
    )
    data, root = run.data.manifest, run.data.root
    plain = EvaluateOptions(
        model=str(folder),
        sets=run.data.val_sets or run.data.sets,
        predict=PredictOptions(readings=1),  # one pass, as in the literature
        sizes=False,
    )
    val = load_samples(data, root=root, split="val", sets=plain.sets)
    choice = choose_threshold(val, plain)
    chosen = replace(
        plain,
        sets=run.data.sets,
        mask=MaskOptions(threshold=choice.threshold, threshold_low=choice.threshold_low),
    )
    test = load_samples(data, root=root, split="test", sets=chosen.sets)
    scores = group(score_pictures(test, chosen))
    cell: dict[str, Any] = without_nan(
        {
            "parameters": cost.parameters,
            "gmac": cost.gmac,
            "steps": run.fit.steps,
            "choice": to_plain(choice),
            "sets": {name: summarize(of_group) for name, of_group in scores.items()},
        }
    )
    return cell


def _speeds(
    cells: list[dict[str, Any]], options: CompareOptions, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Return speed and memory by network and runtime, measured anew when a cell is new."""
    file = options.out / "speed.json"
    done = {cell["name"]: cell for cell in reversed(cells) if "failed" not in cell}
    of = _digest([[cell["identity"] for cell in done.values()], options.runtimes])
    if file.exists():
        kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if kept["of"] == of:
            return dict(kept["speeds"])
    speeds: dict[str, dict[str, Any]] = {}
    for contestant in options.network:
        if contestant.name in done:
            say(f"{contestant.name}: timing")
            run = run_options(contestant, done[contestant.name]["seed"], options)
            speeds[contestant.name] = {
                runtime: to_plain(
                    measure_speed(run.out / "model", runtime, tile_px=options.tile_px)
                )
                for runtime in options.runtimes
            }
    file.write_text(json.dumps({"of": of, "speeds": speeds}, indent=2) + "\n", encoding="utf-8")
    return speeds


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
