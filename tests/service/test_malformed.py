"""Ten thousand broken files through the real loader, where the service runs it."""

from __future__ import annotations

from pathlib import Path

import malformed
import pytest

from crackseg.errors import ImageError
from crackseg.imagery.files import open_image
from service.sandbox import Sandbox


def read_mutants(folder: Path, count: int) -> dict[str, float]:
    """Return what a sandbox says of so many mutants."""
    sandbox = Sandbox(1, memory_mb=4096, cpu_s=1200)
    try:
        return sandbox.run(malformed.read_all, str(folder), 0, count, timeout_s=1800)
    finally:
        sandbox.close()


def test_broken_files_are_errors_and_nothing_worse(tmp_path: Path) -> None:
    sums = read_mutants(tmp_path, 300)  # it answered: no crash, no hang
    assert 100 < sums["refused"] < 300
    assert sums["peak_mb"] < 1500


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_broken_files(tmp_path: Path) -> None:
    sums = read_mutants(tmp_path, 10_000)
    print(sums)
    assert sums["slowest_s"] < 5, sums
    assert sums["peak_mb"] < 1500, sums


@pytest.mark.parametrize("kind", ["baseline.jpg", "progressive.jpg", "plain.png", "plain.tif"])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.97])
def test_a_file_cut_anywhere_is_an_error(tmp_path: Path, kind: str, share: float) -> None:
    whole = malformed.seeds()[kind]
    path = tmp_path / kind
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError), open_image(path) as image:
        image.read()


def test_bombs_are_refused_from_the_header(tmp_path: Path) -> None:
    files = {"sound.tif": malformed.seeds()["tiled.tif"], **malformed.bombs()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    sandbox = Sandbox(1, memory_mb=4096, cpu_s=120)
    try:
        paths = [str(tmp_path / name) for name in files]
        sums = sandbox.run(malformed.judge_bombs, paths, timeout_s=300)
    finally:
        sandbox.close()
    assert sums["let_in"] == [], sums
    assert sums["grown_mb"] < 100, sums
