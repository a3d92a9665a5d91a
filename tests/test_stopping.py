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


TALKS = """
import os, sys
from crackseg import cli

def run():
    for _ in range(3):
        cli._say("a message")
    with open(sys.argv[1], "w") as file:
        file.write("done")
        try:
            os.write(2, b"a library's")
        except OSError:
            pass

cli._run = run
cli.main()
"""


@pytest.mark.parametrize(
    "errors", ["2>&-", "2>/dev/full", "2>&- >&- <&-", "2>&1 >/dev/null | true"]
)
def test_messages_that_cannot_be_written_stop_no_work(errors: str, tmp_path: Path) -> None:
    if "full" in errors and not Path("/dev/full").exists():
        pytest.skip("no device that is always full here")
    program, done = tmp_path / "talks.py", tmp_path / "done.txt"
    program.write_text(TALKS, encoding="utf-8")
    command = f"set -o pipefail; '{sys.executable}' '{program}' '{done}' {errors}"
    here = str(Path(__file__).resolve().parents[1])
    ended = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": here}, timeout=120, check=False
    )
    assert ended.returncode == 0
    assert done.read_text(encoding="utf-8") == "done"
