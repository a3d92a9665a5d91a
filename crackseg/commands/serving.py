"""Commands that run the service and look after its keys and its database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crackseg.commands.flags import SERVICE, is_written

if TYPE_CHECKING:
    from service.settings import Settings

app = typer.Typer()
keys_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the service's API keys.")
db_app = typer.Typer(no_args_is_help=True, help="Check or back up the service's database.")
app.add_typer(keys_app, name="keys", rich_help_panel=SERVICE)
app.add_typer(db_app, name="db", rich_help_panel=SERVICE)
DataOption = Annotated[Path, typer.Option("--data", help="Folder of the service's data.")]
DbOption = Annotated[
    str, typer.Option("--db", envvar="CRACKSEG_DB", help="postgresql://…; empty: SQLite.")
]
SERVICE_DATA = Path("crackseg-data")


def _settings(data: Path, db: str, config: Path | None = None, /, **flags: object) -> Settings:
    """Return the service's settings from a TOML file and what was given by hand.

    Raises:
        ConfigError: a setting is wrong; it names the file where it is one of the file's.
        MissingExtra: what the service needs is not installed.
    """
    from importlib.util import find_spec

    from crackseg.config import blamed_on, read_options, read_toml
    from crackseg.errors import ConfigError, MissingExtra
    from service.settings import Settings

    needed = ("fastapi", "uvicorn", "sqlalchemy", "babel", "reportlab", "xlsxwriter")
    missing = [name for name in needed if not find_spec(name)]
    if missing:
        raise MissingExtra(
            f"the service needs {', '.join(missing)}; pip install 'crackseg[service]'."
        )

    values = {"data": data.resolve(), "db": db, **(read_toml(config) if config else {})}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return read_options(Settings, values | given, where="settings")
    except ConfigError:
        if config is not None:
            with blamed_on(config):  # where it is wrong without the flags, too
                read_options(Settings, values, where="settings")
        raise


@app.command(rich_help_panel=SERVICE)
def serve(
    context: typer.Context,
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
    flags: dict[str, object] = {
        "host": host,
        "port": port,
        "role": role,
        "model": model,
        "root_path": root_path,
    }
    if is_written(context, "data"):  # what was written by hand is over the file
        flags["data"] = data.resolve()
    if db:
        flags["db"] = db
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
    settings = _settings(data, db)
    from service import keys
    from service.database import open_database

    engine = open_database(settings)
    typer.echo(keys.add(engine, tenant, name, tuple(s.strip() for s in scopes.split(","))))
    typer.echo("Keep it now: it cannot be shown again.", err=True)


@keys_app.command("list")
def keys_list(data: DataOption = SERVICE_DATA, db: DbOption = "") -> None:
    """List the keys, without their secrets."""
    settings = _settings(data, db)
    from service import keys
    from service.database import open_database

    for row in keys.list_keys(open_database(settings)):
        state = f"revoked {row.revoked_at}" if row.revoked_at else row.scopes
        typer.echo(f"{row.id}  {row.tenant:20} {row.name:24} {row.created_at}  {state}")


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="The id, see `crackseg keys list`.")],
    data: DataOption = SERVICE_DATA,
    db: DbOption = "",
) -> None:
    """Make a key invalid from now on."""
    settings = _settings(data, db)
    from service import keys
    from service.database import open_database

    keys.revoke(open_database(settings), key_id)
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
