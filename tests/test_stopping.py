"""Ctrl-C is obeyed with a sentence from the first moment, and never within an import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import exit_code

from crackseg.inference import models

SENTENCE = "crackseg: stopped; the same command begins anew, or goes on where something is done.\n"
# A package that swallows a Ctrl-C while it is imported, as compiled ones do.
SWALLOWS = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    sum(range(10**6))
except KeyboardInterrupt:
    print("swallowed", flush=True)
"""
NEVER_ENDS = """
import os, signal
while True:
    os.kill(os.getpid(), signal.SIGINT)
"""
PROGRAM = """
from crackseg import cli

def run():
    import slow
    print("imported", flush=True)
    while True:
        pass

cli._run = run
cli.main()
"""


def run_with(package: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "slow.py").write_text(package, encoding="utf-8")
    here = str(Path(__file__).resolve().parents[1])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), here))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_within_an_import_it_waits_for_its_end(tmp_path: Path) -> None:
    ended = run_with(SWALLOWS, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "imported\n", SENTENCE)


def test_a_second_one_waits_for_nothing(tmp_path: Path) -> None:
    ended = run_with(NEVER_ENDS, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", SENTENCE)


def test_a_command_that_says_nothing_of_it_has_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "shipped_models", stop)
    monkeypatch.setattr(sys, "argv", ["crackseg", "models"])
    assert exit_code() == 130
    assert capsys.readouterr().err == SENTENCE
