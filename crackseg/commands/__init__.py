"""The command line: each command reads its options, calls one function of the package, prints.

The commands stand in the modules of this room, by what they are about. Packages are imported
inside them, so that ``crackseg --help`` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import typer

from crackseg.commands import analyzing, checking, datasets, learning, serving, surveying

app = typer.Typer(
    name="crackseg",
    help="Find cracks in photographs of concrete and measure their length, width and area.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


for room in (analyzing, surveying, checking, learning, datasets, serving):
    app.add_typer(room.app)


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


def path(text: str | Path) -> Path:
    """Return a path that was given; an empty text would name the current folder.

    Some releases of typer hand the default over too, which is a path already.
    """
    if not str(text).strip():
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
