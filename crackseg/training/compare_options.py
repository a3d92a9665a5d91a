"""The options of a comparison, as they stand in COMPARE.toml, and the run of each cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from crackseg.config import read_options, read_record
from crackseg.errors import ConfigError
from crackseg.training.options import FitOptions, TrainOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One row of the table."""

    name: str
    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(
        default_factory=dict
    )  # what differs from the protocol, if at all
    # option of `fit` or argument of the network -> the values tried, one option after the other
    tune: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()  # of its own; the comparison's when empty


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
    cache: Path | None = None  # folder of the crops; None: in `out`
    seeds: tuple[int, ...] = (1, 2)
    tune_seed: int = 0
    tune_steps: int = 300
    score_every: int = 400  # steps between two scores on val
    test_every: Mapping[str, int] = field(default_factory=dict)  # set -> every n-th test picture
    pictures: tuple[str, ...] = ()  # SET/STEM of test pictures whose maps are kept
    tile_px: int = 512  # of the cost in GMAC
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


def read_compare(
    path: Path, root: Path | None = None, *, data: Path | None = None, out: Path | None = None
) -> CompareOptions:
    """Return the options of a COMPARE.toml; its paths are relative to the file's folder.

    Args:
        path: the TOML file.
        root: folder of the pictures, in place of the file's ``protocol.data.root``.
        data: sets or manifest, in place of the file's ``protocol.data.manifest``.
        out: folder, in place of the file's ``out``.
    """
    options = read_record(CompareOptions, path)
    here = path.parent
    data_options = dict(options.protocol.get("data", {}))
    if data is not None:
        data_options["manifest"] = str(data)
    elif "manifest" in data_options:
        data_options["manifest"] = str(here / data_options["manifest"])
    if root or "root" in data_options:
        data_options["root"] = str(root or here / data_options["root"])
    network = tuple(
        replace(
            row,
            arguments={
                key: str(here / value) if key == "encoder_weights" else value
                for key, value in row.arguments.items()
            },
        )
        for row in options.network
    )
    return replace(
        options,
        out=out or here / options.out,
        cache=None if options.cache is None else here / options.cache,
        protocol={**options.protocol, "data": data_options},
        network=network,
    )


def only(options: CompareOptions, rows: Sequence[str], seeds: Sequence[int]) -> CompareOptions:
    """Return the comparison with these rows and seeds alone; all where none is named.

    Raises:
        ConfigError: there is no such row.
    """
    names = [row.name for row in options.network]
    if strange := [name for name in rows if name not in names]:
        raise ConfigError(f"`row` must be one of {', '.join(names)}, got {strange[0]!r}.")
    network = tuple(
        replace(row, seeds=tuple(seeds) or row.seeds)
        for row in options.network
        if not rows or row.name in rows
    )
    return replace(options, network=network, seeds=tuple(seeds) or options.seeds)


def shortened(options: CompareOptions, steps: int) -> CompareOptions:
    """Return the comparison with so many steps in every training and trial, and its own folder.

    It shows within minutes that all works, or that a cell repeats; its scores say nothing.
    """
    few = {"steps": steps, "steps_per_epoch": steps}
    fit = {**options.protocol.get("fit", {}), **few}
    return replace(
        options,
        out=options.out.with_name(f"{options.out.name}-{steps}-steps"),
        cache=options.cache or options.out / "crops",
        protocol={**options.protocol, "fit": fit},
        network=tuple(replace(row, fit={**row.fit, **few}) for row in options.network),
        tune_steps=min(steps, options.tune_steps),
    )


def run_options(
    row: Contestant, seed: int, options: CompareOptions, chosen: Mapping[str, Any] | None = None
) -> TrainOptions:
    """Return the training options of one cell.

    Args:
        row: the network.
        seed: of the cell.
        options: the comparison.
        chosen: what tuning chose, by name of an option of ``fit`` or an argument.
    """
    of_fit = {f.name for f in fields(FitOptions)}
    fit = {key: value for key, value in (chosen or {}).items() if key in of_fit}
    arguments = {key: value for key, value in (chosen or {}).items() if key not in of_fit}
    values = {
        **options.protocol,
        "name": row.name,
        "out": options.out / f"{file_name(row.name)}-seed{seed}",
        "network": row.network,
        "arguments": {**row.arguments, **arguments},
        "seed": seed,
        "fit": {**options.protocol.get("fit", {}), **row.fit, **fit},
    }
    return read_options(TrainOptions, values, where="protocol")


def file_name(name: str) -> str:
    """Return the name of a row as that of a folder."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
