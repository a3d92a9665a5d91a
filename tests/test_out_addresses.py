"""Results go to a disk: an address is refused before anything is read, by all but ``analyze``."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import exit_code

ADDRESSES = ("s3://survey/results", "https://example.org/results", "gs:/survey")


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("command", ["measure wall.png", "report results", "face results"])
def test_an_address_is_no_folder_for_results(
    command: str,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["crackseg", *command.split(), "--out", address])
    assert exit_code() == 2
    text = " ".join(capsys.readouterr().err.split())
    scheme = address.partition(":")[0]
    assert f"must be a folder on a disk, got an address of {scheme}" in text
    assert not list(tmp_path.iterdir())


def test_a_folder_may_have_a_colon_in_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["crackseg", "analyze", "none.jpg", "--out", "dam: north"])
    assert exit_code()
    assert "address" not in capsys.readouterr().err
