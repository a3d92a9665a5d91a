"""Keys and databases from the command line."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import ConfigError
from service.database import DatabaseError, metadata, open_database
from service.keys import verify
from service.settings import Settings


def run(*arguments: str) -> tuple[int, str]:
    """Return exit code and output of a command."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_a_key_is_made_listed_and_revoked(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    code, output = run("keys", "add", "team", "--tenant", "north", *data)
    key = re.search(r"ck_\S+", output)
    assert code == 0
    assert key is not None
    engine = open_database(Settings(data=tmp_path))
    caller = verify(engine, key[0])
    assert caller is not None
    assert (caller.tenant, caller.scopes) == ("north", {"read", "write"})
    secret = key[0].split("_", 2)[2]
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.glob("service.*"))
    assert secret not in run("keys", "list", *data)[1]
    run("keys", "revoke", caller.key_id, *data)
    assert verify(engine, key[0]) is None
    assert "revoked" in run("keys", "list", *data)[1]
    engine.dispose()


@pytest.mark.parametrize("arguments", [("--tenant", "No Spaces"), ("--scopes", "all")])
def test_wrong_keys_are_refused(tmp_path: Path, arguments: tuple[str, str]) -> None:
    with pytest.raises(ConfigError):
        run("keys", "add", "x", *arguments, "--data", str(tmp_path))


def test_a_sound_database_is_said_to_be_and_backed_up(tmp_path: Path) -> None:
    run("keys", "add", "x", "--data", str(tmp_path / "data"))
    assert run("db", "check", "--data", str(tmp_path / "data")) == (0, "sound\n")
    assert run("db", "backup", str(tmp_path / "copy"), "--data", str(tmp_path / "data"))[0] == 0
    assert run("db", "check", "--data", str(tmp_path / "copy"))[0] == 0


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    run("keys", "add", "x", "--data", str(tmp_path))
    database = tmp_path / "service.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = database.read_bytes()
    assert len(whole) > 8192
    database.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    code, output = run("db", "check", "--data", str(tmp_path))
    assert code == 1
    assert "service.sqlite" in output
    database.write_bytes(b"no database at all" * 100)
    with pytest.raises(DatabaseError, match="restore a backup"):
        open_database(Settings(data=tmp_path))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    open_database(Settings(data=tmp_path)).dispose()
    with sqlite3.connect(tmp_path / "service.sqlite") as db:
        db.execute("UPDATE about SET schema_version = 99")
    db.close()
    with pytest.raises(DatabaseError, match="99"):
        open_database(Settings(data=tmp_path))
    assert len(metadata.tables) > 5


def test_settings_say_what_is_wrong(tmp_path: Path) -> None:
    for wrong in ({"role": "boss"}, {"role": "worker"}, {"db": "mysql://x"}, {"port": 70000}):
        with pytest.raises(ConfigError):
            Settings(data=tmp_path, **wrong)  # type: ignore[arg-type]
    settings = Settings(data=tmp_path, db="postgresql://u:p@h/d", role="api", slots=3)
    assert Settings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("text", "flags", "sentence"),
    [
        ("port = 77777", (), r"in `FILE`: `port` must lie between"),
        ("prt = 8000", (), r"in `FILE`: unknown key `settings\.prt`"),
        ("[analyze.measure]\nmin_length_px = nan", (), r"in `FILE`: `settings\.analyze\.measure"),
        ("port = 8000", ("--port", "77777"), r"^`port` must lie between"),
        ("[analyze", (), r"`FILE` is not valid TOML"),
    ],
)
def test_what_is_wrong_in_the_settings_names_their_file(
    text: str, flags: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    config = tmp_path / "s.toml"
    config.write_text(text)
    with pytest.raises(ConfigError, match=sentence.replace("FILE", re.escape(str(config)))):
        run("serve", "--config", str(config), "--data", str(tmp_path / "data"), *flags)
