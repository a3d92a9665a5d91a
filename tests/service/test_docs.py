"""The curl commands of README and docs run as they stand, against a service on another port."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from service_process import Service

from service.app import GATE_PLACES
from service.corrections import PLACES

ROOT = Path(__file__).parent.parent.parent
CURL = shutil.which("curl")
WRITTEN = "http://127.0.0.1:8000"


def commands(name: str) -> str:
    """Return the lines of a page that a shell shall run."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, flags=re.S))


@pytest.mark.skipif(not CURL, reason="no curl")
def test_the_commands_run_as_they_stand(service: Service, tmp_path: Path, samples: Path) -> None:
    script = f"set -eu\n{commands('README.md')}\n"
    script += f"{commands('docs/service.md')}\n"
    assert script.count("curl ") >= 14
    assert WRITTEN in script
    photos = tmp_path / "data" / "samples"
    photos.mkdir(parents=True)
    for name in ("lift_joint.jpg", "sound_wall.jpg"):
        shutil.copy(samples / name, photos)
    there, here = urlsplit(WRITTEN).netloc, urlsplit(service.url).netloc
    (tmp_path / ".curlrc").write_text(f'connect-to = "{there}:{here}"\n')
    environment = {**os.environ, "CURL_HOME": str(tmp_path), "http_proxy": ""}
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    # Nothing failed in this job, so there is nothing to retry: the one command that is refused.
    assert re.findall(r"problem:([\w-]+)", done.stdout) == ["nothing-to-retry"], done.stdout
    assert "event: end" in done.stdout
    assert json.loads((tmp_path / "analysis.json").read_text())["status"] == "succeeded"
    assert json.loads((tmp_path / "report.json").read_text())["scale"]["mm_per_px"] == 0.2
    assert (tmp_path / "overlay.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert "sound_wall.jpg" in (tmp_path / "report.csv").read_text(encoding="utf-8-sig")
    with zipfile.ZipFile(tmp_path / "bundle.zip") as bundle:
        assert bundle.testzip() is None
    survey = json.loads((tmp_path / "survey.json").read_text())["id"]
    assert service.client().get(f"/v1/surveys/{survey}").status_code == 404  # the last line


def test_the_page_counts_the_processes_below_the_web_server() -> None:
    text = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    for name, places in (("gates", GATE_PLACES), ("correctors", PLACES)):
        assert f"| {name} | {places} child processes of the web server" in text
