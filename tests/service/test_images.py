"""The container files name only what exists; no engine is needed to say so."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from service_process import Service
from typer.main import get_command

from crackseg.commands import app

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def known_options(command: str) -> set[str]:
    """Return the options of a command of the command line."""
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    return {option for parameter in commands[command].params for option in parameter.opts}


def check_command(words: list[str]) -> None:
    """Assert that the command line has a command with these options."""
    used = {word for word in words[1:] if word.startswith("--")}
    assert used <= known_options(words[0]) | {"--help"}, words


def test_the_images_copy_what_exists_and_run_what_is_known() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1]), line
    for text in re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE):
        words = json.loads(text)
        if not words[0].startswith("-"):
            check_command(words)
    assert {"serve", "train"} <= set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    final = [stage for stage in stages if "ENTRYPOINT" in stage]
    assert all("\nUSER 1000\n" in stage and "HEALTHCHECK" in stage for stage in final)


def test_the_extras_that_images_install_exist() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {
        name for names in re.findall(r"'\.\[([\w,]+)\]'", DOCKERFILE) for name in names.split(",")
    }
    assert named
    assert named <= set(project["optional-dependencies"])


def test_compose_runs_what_is_known() -> None:
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for name in ("api", "worker"):
        assert services[name]["build"]["target"] == "serve"
        assert services[name]["read_only"] is True
        check_command(services[name]["command"])
    assert services["worker"]["deploy"]["replicas"] == 2
    mounted = {v.split(":")[0] for s in services.values() for v in s.get("volumes", [])}
    assert mounted == set(compose["volumes"])
    assert all(port.startswith("127.0.0.1:") for port in services["api"]["ports"])


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.is_file():
        pytest.skip("no hadolint")
    run = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_the_health_check_asks_a_service_that_lives(service: Service) -> None:
    stage = DOCKERFILE.partition("AS serve\n")[2].partition("\nFROM ")[0]
    text = re.search(r"^HEALTHCHECK .*?CMD (\[.+?\])$", stage, re.MULTILINE | re.DOTALL)
    assert text is not None
    words = json.loads(text[1].replace("\\\n", ""))
    assert words[:2] == ["python", "-c"]
    for url, code in ((service.url, 0), ("http://127.0.0.1:9", 1)):
        script = words[2].replace("http://127.0.0.1:8000", url)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def serve_steps() -> list[str]:
    """Return what the build of the serve image runs of Python."""
    steps = re.findall(r"(?:^RUN | && )(\S*(?:python|pip) .+?)(?= && |$)", DOCKERFILE, re.MULTILINE)
    return [step for step in steps if "train" not in step]


def test_the_serve_image_installs_the_service_into_its_environment() -> None:
    last = [step.split()[-1] for step in serve_steps()]
    assert last == ["/venv", "'.[reports,geo,gis]'", "'.[geo,gis,service]'"]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_steps_of_the_serve_image_run_without_an_engine(tmp_path: Path) -> None:
    source, python = tmp_path / "src", tmp_path / "venv" / "bin" / "python"
    source.mkdir()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for name in line.split()[:-1]:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, source / name)
    for step in serve_steps():
        words = [word.replace("/venv", str(tmp_path / "venv")) for word in shlex.split(step)]
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    shutil.rmtree(source)  # the images hold the environment alone
    lines = "import importlib.util as u, service.app; assert not u.find_spec('torch')"
    for command in ([python, "-c", lines], [python.with_name("crackseg"), "selfcheck"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
