"""Every command and every Python line of the README runs as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from command_line import exit_code

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
ELSEWHERE = {  # where the other lines are run
    "make demo": ".ci/run",
    "make test": ".ci/run",
    "make check": ".ci/run",
    "make docs": ".ci/run",
    "source .venv/bin/activate": "every shell",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def commands() -> list[str]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line not in ELSEWHERE]


@pytest.fixture
def checkout(tmp_path: Path, samples: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the samples that the README names."""
    shutil.copytree(samples, tmp_path / "data" / "samples")
    for name in re.findall(r"--config (\S+\.toml)", TEXT):
        (tmp_path / name.strip("`:")).write_text(blocks("toml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(commands()) >= 5
    for command in commands():
        words = shlex.split(command)
        assert words[0] == "crackseg", f"say in ELSEWHERE where `{command}` is run"
        monkeypatch.setattr(sys, "argv", words)
        assert exit_code() == 0, command
    assert (checkout / "results" / "drone_rotated" / "page.html").is_file()
    assert (checkout / "again" / "lift_joint" / "report.json").is_file()


def test_the_configuration_is_read(checkout: Path) -> None:
    from crackseg.config import AnalyzeOptions, read_options, read_toml

    options = read_options(AnalyzeOptions, read_toml(checkout / "options.toml"))
    assert options.scale.mm_per_px == 0.2
    assert options.measure.min_length_px == 30.0


def test_the_python_lines_run(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("[(1, ")


def test_the_files_it_names_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    rooms = re.findall(r"^\| `(crackseg/[\w./]+|service|data)`", TEXT, flags=re.M)
    assert links
    assert rooms
    missing = [name for name in [*links, *rooms] if not (ROOT / name).exists()]
    assert missing == []
