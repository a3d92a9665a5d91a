"""Options that several commands share, and the panels of the help."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from crackseg.errors import ConfigError
from crackseg.locales import find_locale
from crackseg.stores import is_store, refuse_half_address, store_path

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)


def on_disk(out: Path | None) -> Path | None:
    """Return the folder of an ``--out``.

    Raises:
        ConfigError: it is an address, which would become a folder of that name.
    """
    if out is not None and (scheme := _SCHEME.match(out.as_posix())):
        raise ConfigError(
            f"`--out` must be a folder on a disk, got an address of {scheme[1]}; write to a folder "
            "and copy it there: each photograph has a folder of its own."
        )
    if out is not None:
        refuse_half_address(out)
    return out


def known_locale(name: str | None) -> str | None:
    """Return the name of a locale, before any work is done for it.

    Raises:
        ConfigError: there is no such locale.
        MissingExtra: it is not ``en``, and Babel is not installed.
    """
    if name is not None:
        find_locale(name)
    return name


def warn(sentences: Iterable[str]) -> None:
    """Print warnings on the error stream."""
    for sentence in sentences:
        typer.echo(f"warning: {sentence}", err=True)


def stop_as_by_ctrl_c() -> None:
    """Let a container or machine that stops, and a line that drops, end the work as Ctrl-C does.

    A hang-up that somebody ignores (``nohup``) stays ignored.
    """
    for name in ("SIGTERM", "SIGHUP"):  # Windows knows no hang-up
        number = getattr(signal, name, None)
        if number is not None and (name == "SIGTERM" or signal.getsignal(number) != signal.SIG_IGN):
            signal.signal(number, signal.getsignal(signal.SIGINT))


def is_written(context: typer.Context, name: str) -> bool:
    """Return whether a parameter of a command stands on the command line or in a variable."""
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT")


def refuse_idle(context: typer.Context, names: str, why: str) -> None:
    """Refuse options of the command line that change nothing in this call of a command.

    Args:
        context: of the call.
        names: of the command's parameters, parted by spaces.
        why: "is of `--init`".

    Raises:
        ConfigError: one of them was written.
    """
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names.split() and is_written(context, name):
            flag = max((*parameter.opts, name), key=lambda text: text.startswith("--"))
            raise ConfigError(f"`{flag}` has no effect here: it {why}; leave it out.")


def on_disk_or_in_store(out: Path | None) -> Path | None:
    """Return the folder of an ``--out``, or the prefix of an object store that stands for one.

    Raises:
        ConfigError: it is an address where nothing can be put.
    """
    if out is None:
        return None
    refuse_half_address(out)
    return store_path(out) if is_store(out) else out


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
    str,
    typer.Option(
        help="Language and number form, as en, de, fr_CH; en, de have texts.", callback=known_locale
    ),
]
CsvLocale = Annotated[
    str | None,
    typer.Option(
        "--locale", help="Form of numbers in CSV tables, as en, de, fr_CH.", callback=known_locale
    ),
]
Invert = Annotated[bool, typer.Option("--invert", help="Masks are drawn dark on bright.")]
SERVICE = "Service"
Root = Annotated[Path | None, typer.Option(help="Folder the manifest's paths are relative to.")]
SetsPath = Annotated[Path, typer.Argument(help="Folder of sets (images/, masks/) or manifest CSV.")]
Results = Annotated[Path, typer.Argument(help="Folder of results: --out of an analysis.")]
SetNames = Annotated[str, typer.Option(help="Names of sets, by comma; default: all.")]
OutPath = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the results.", callback=on_disk)
]
StoreOutPath = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder for the results, or s3://bucket/prefix, gs://bucket/prefix.",
        callback=on_disk_or_in_store,
    ),
]
ConfigPath = Annotated[Path | None, typer.Option(help="TOML file with any option of an analysis.")]
Photographs = Annotated[
    Path | None, typer.Option(help="Where photographs lie that were moved since.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings alone.")]
ModelName = Annotated[str, typer.Option(help="Name of a shipped model, or model folder.")]
