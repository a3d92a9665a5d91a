"""The service against the command line: the same photographs, the shipped model."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from service_process import finished, running, wait_for
from test_surveys import make_survey

from crackseg.imagery.files import open_image

PHOTOGRAPH = Path(__file__).parent.parent.parent / "data" / "samples" / "dam_face_20mp.jpg"
SIDES = (900, 1300)  # small ones: what the service adds to an image weighs most there
EXPORTS = "json,csv,mask,overlay,geojson,page"  # what the service makes


def cut_up(folder: Path) -> dict[str, bytes]:
    """Write sixteen parts of a photograph into a folder and return them."""
    folder.mkdir()
    with open_image(PHOTOGRAPH) as image:
        pixels = image.read()
    for number in range(16):
        row, col = number // 4 * SIDES[0], number % 4 * SIDES[1]
        part = Image.fromarray(pixels[row : row + SIDES[0], col : col + SIDES[1]])
        part.save(folder / f"{number:02d}.jpg", quality=92)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_a_survey_takes_no_longer_than_on_the_command_line(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    images = cut_up(folder)
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
