"""What the page on the service tells an operator: every setting, and units that start it again."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crackseg.commands import app
from service.settings import Settings

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
UNITS = re.findall(r"```ini\n(.*?)```", PAGE, flags=re.S)


def test_every_setting_is_in_the_table_with_its_default() -> None:
    section = PAGE.split("## Settings")[1].split("## Kept running")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
    table = {row[0].strip(" `"): (row[1].strip(" `"), row[2]) for row in rows}
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    assert list(table) == list(fields)
    for name in fields.keys() - {"data", "analyze", "engine"}:
        value = fields[name].default
        assert table[name][0] == (f"{value:.9g}" if isinstance(value, int | float) else value or "")
    by_hand = {word for _, flags in table.values() for word in re.findall(r"--[\w-]+", flags)}
    offered = set(re.findall(r"--[\w-]+", CliRunner().invoke(app, ["serve", "--help"]).output))
    assert by_hand | {"--config", "--help"} == offered


def unit(text: str) -> configparser.ConfigParser:
    """Return a systemd unit."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser


@pytest.mark.parametrize("text", UNITS)
def test_a_unit_starts_the_service_again_and_lets_images_finish(text: str) -> None:
    service = unit(text)["Service"]
    assert service["Restart"] == "always"
    assert float(service["TimeoutStopSec"]) > Settings(data=Path("x")).grace_s + 5
    program, command, *options = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("crackseg", "serve")
    offered = CliRunner().invoke(app, ["serve", "--help"]).output
    assert all(option in offered for option in options if option.startswith("--"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
@pytest.mark.parametrize("number", range(2))
def test_systemd_has_nothing_against_a_unit(number: int, tmp_path: Path) -> None:
    program = tmp_path / "crackseg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = UNITS[number].replace("/opt/crackseg/bin/crackseg", str(program))
    path = tmp_path / ("crackseg.service", "crackseg-worker@.service")[number]
    path.write_text(text.replace("User=crackseg\n", ""))
    command = ["systemd-analyze", "verify", "--man=no", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert str(path.name) not in done.stderr, done.stderr


def test_containers_are_started_again() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    shared = text.split("x-service: &service")[1].split("services:")[0]
    assert "restart: unless-stopped" in shared
    for name in ("api", "worker"):
        assert "<<: *service" in text.split(f"\n  {name}:\n")[1].split("\n\n")[0]
    grace = {int(seconds) for seconds in re.findall(r"stop_grace_period: (\d+)s", text)}
    assert min(grace) > Settings(data=Path("x")).grace_s
