"""An empty text in the place of a file or folder names nothing: above all not the current one."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from crackseg.commands import app
from crackseg.errors import CracksegError

COMMANDS = [
    ["analyze", "wall.jpg", "--out"],
    ["analyze", "wall.jpg", "--out", "results", "--region"],
    ["analyze", "wall.jpg", "--out", "results", "--config"],
    ["measure", "mask.png", "--out"],
    ["measure"],
    ["data", "index", "plant", "--out"],
    ["data", "check"],
    ["data", "import", "a", "--images", "b", "--format", "masks", "--out"],
    ["data", "tile", "plant", "--out"],
    ["train"],
    ["evaluate", "data", "--plots"],
    ["serve", "--data"],
    ["db", "backup"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_text_is_no_path(
    command: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*command, text])
    assert result.exit_code == 2
    assert "names no file or folder" in " ".join(result.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_dot_is_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["data", "check", "."])
    assert "names no file" not in result.output


def test_the_path_that_a_command_takes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["serve", "--port", "-1"])
    assert isinstance(result.exception, CracksegError), result.exception
    assert "port" in str(result.exception)
