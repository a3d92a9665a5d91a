"""A folder of pictures, and whether two runs over it came to the same, whoever worked on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crackseg.tasks import Outcome


def draw_walls(folder: Path, count: int) -> list[Path]:
    """Write walls with a dark line each, and a broken file as the third; return the paths."""
    paths = []
    for number in range(count):
        picture = np.clip(np.random.default_rng(number).normal(170, 3, (96, 160, 3)), 0, 255)
        picture[30 + 6 * number : 34 + 6 * number, 10:140] = 30
        paths.append(folder / f"wall_{number}.png")
        Image.fromarray(picture.astype(np.uint8)).save(paths[-1])
    paths.insert(2, folder / "broken.jpg")
    paths[2].write_bytes(b"\xff\xd8\xff and no more")
    return paths


def assert_same(one: Sequence[Outcome], two: Sequence[Outcome]) -> None:
    """Compare outcomes and files of two runs into folders of their own."""
    for first, second in zip(one, two, strict=True):
        assert (first.path, first.status) == (second.path, second.status)
        assert first.reason == second.reason
        if first.folder and second.folder:
            assert first.folder.name == second.folder.name
            assert _content(first.folder) == _content(second.folder)


def _content(folder: Path) -> dict[str, Any]:
    """Return the files of a result without what differs from run to run."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    del report["timing_s"]
    del report["options"]["predict"]["workers"]
    others = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}
    others.pop(".crackseg")
    return {"report": report, **others}
