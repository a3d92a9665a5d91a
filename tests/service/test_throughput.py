"""The service against the command line: the same photographs, the shipped model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from service_process import finished, running, wait_for
from test_surveys import make_survey

SAMPLES = Path(__file__).parent.parent.parent / "data" / "samples"
EXPORTS = "json,csv,mask,overlay,geojson,page"  # what the service makes


@pytest.mark.slow
def test_a_survey_takes_no_longer_than_on_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for copy in range(3):
        for path in sorted(SAMPLES.glob("*.*g")):
            shutil.copy(path, folder / f"{copy}_{path.name}")
    images = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    with running(tmp_path, Path("default"), slots=0, threads=0, image_memory_mb=8192) as service:
        client = service.client()
        wait_for(lambda: client.get("/readyz").status_code == 200, why="ready")
        survey = make_survey(client, images)
        started = time.perf_counter()
        path = client.post(f"{survey}/execution", json={"mm_per_px": 0.5}).headers["location"]
        wait_for(lambda: client.get(path).json()["finished"], deadline_s=3600, why="finished")
        service_s = time.perf_counter() - started
        assert finished(client, path)["counts"]["succeeded"] == len(images)

    command = [sys.executable, "-m", "crackseg.cli", "analyze", str(folder), "--quiet"]
    command += ["--out", str(tmp_path / "out"), "--exports", EXPORTS, "--mm-per-px", "0.5"]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    command_s = time.perf_counter() - started
    reports = [json.loads(p.read_text("utf-8")) for p in (tmp_path / "out").glob("*/report.json")]
    pure_s = sum(sum(report["timing_s"].values()) for report in reports)
    assert len(reports) == len(images)
    print(
        f"{len(images)} photographs: service {service_s:.1f} s, command {command_s:.1f} s "
        f"(images alone {pure_s:.1f} s), ratio {command_s / service_s:.2f} "
        f"({pure_s / service_s:.2f})"
    )
    assert pure_s / service_s >= 0.9
