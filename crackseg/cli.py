"""The command line: each command reads its options, calls one function of the package, prints.

The commands stand in ``commands``, by what they are about. Packages are imported inside them, so
that ``crackseg --help`` answers at once. Exit codes: 0 all done, 1 some images failed (the others
are complete) or the disk did, 2 wrong usage or a file that cannot be used, 130 stopped by the user.
"""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import typer

from crackseg.commands import analyzing, checking, datasets, learning, serving, surveying
from crackseg.errors import CracksegError

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
