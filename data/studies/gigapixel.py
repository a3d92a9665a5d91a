"""Ask what a mosaic of any size costs: ``gigapixel.py FOLDER [--megapixels N] [--kill]``.

A rendered wall with cracks of known length over many tiles and a tenth without data is written as a
tiled GeoTIFF and analyzed by ``crackseg analyze``. The answer is the peak memory, the CPU seconds a
megapixel, and the total length over the true one. ``--kill`` ends the first run when half of the
picture is read, and lets the same command go on.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from crackseg.folders import holds_keys, refuse_unless
from crackseg.metrology.phantoms import Look, Stroke, draw

Array = NDArray[Any]
TILE_PX = 512
SIZES_PX = {100: (10_000, 10_000), 300: (15_000, 20_000), 1000: (25_000, 40_000)}
# Standard deviation of the direction in deg, and the length in px that it holds together over;
# of the logarithm of the width the same. As in ``wall_survey``, where it is told why.
WANDER = ((7.0, 45), (12.0, 15), (7.0, 6))
UNEVEN = ((0.2, 4.5), (0.15, 22))
CLOUDS = (
    (512, 7.0),
    (128, 6.0),
    (64, 5.0),
    (16, 4.0),
    (4, 3.5),
    (2, 4.0),
)  # cell in px, grey levels
LENGTH_PER_MP = 400.0  # px of crack
APART_PX, REACH_PX = 400.0, 24
# A crack opens with the square root of the distance from its tip, up to so far: Irwin, Journal of
# Applied Mechanics 24 (1957) 361. One that stops as a bar is, at a quarter of its ends, taken for
# another line over its last 12 to 140 px; of the cracks of 275 photographs of the val split one is.
TIP_PX = 100.0


def cracks_of(shape: tuple[int, int], rng: np.random.Generator) -> list[Stroke]:
    """Return cracks that do not come near each other, the first across the whole picture."""
    total_px = LENGTH_PER_MP * shape[0] * shape[1] / 1e6
    strokes: list[Stroke] = []
    total, known = 0.0, np.zeros((0, 2))
    while total < total_px:
        length = float(rng.uniform(2000, 12_000))
        start, angle = rng.uniform([0, 0], shape), float(rng.uniform(0, math.pi))
        if not strokes:  # through a corner of every band
            start, angle = np.array([0.12, 0.22]) * shape, math.atan2(shape[0], shape[1])
            length = 0.7 * math.hypot(*shape)
        stroke = _crack(start, angle, min(length, max(total_px - total, 600.0)), rng)
        places = stroke.points[::40]
        good = bool(counts(shape, *places.T, margin=60).all())
        near = cKDTree(known).query(places)[0].min() if len(known) else math.inf
        if good and near > APART_PX:
            strokes.append(stroke)
            total += stroke.length_px
            known = np.vstack([known, places])
    return strokes


def _crack(start: Array, angle: float, length_px: float, rng: np.random.Generator) -> Stroke:
    count = math.ceil(length_px)
    turn = sum(math.radians(deg) * _noise(count, size, rng) for deg, size in WANDER)
    steps = np.column_stack([np.sin(angle + turn), np.cos(angle + turn)])
    points = start + np.vstack([[0.0, 0.0], np.cumsum(steps, axis=0)])
    width = float(rng.uniform(3.5, 7.0))
    uneven = np.exp(sum(sigma * _noise(count + 1, size, rng) for sigma, size in UNEVEN))
    from_tip = np.minimum(np.arange(count + 1), np.arange(count, -1, -1))
    opening = np.sqrt(np.minimum(from_tip / TIP_PX, 1.0)).clip(0.01)
    return Stroke(points=points, width_px=width * uneven / uneven.mean() * opening)


def _noise(count: int, sigma: float, rng: np.random.Generator) -> Array:
    edge = math.ceil(4 * sigma)
    smooth = gaussian_filter1d(rng.standard_normal(count + 2 * edge), sigma, mode="nearest")
    noise: Array = smooth[edge : edge + count] * math.sqrt(2 * math.sqrt(math.pi) * sigma)
    return noise


def counts(shape: tuple[int, int], rows: Array, cols: Array, margin: float = 0.0) -> Array:
    """Return where the picture holds data: all but a ragged corner, a side and a hole, a tenth."""
    down, across = rows / shape[0], cols / shape[1]
    ragged = 0.01 * np.sin(40 * across) + 0.004 * np.sin(171 * down)
    at = margin / min(shape)
    corner = down + across - 0.26 + ragged
    side = 0.955 - across + ragged
    hole = np.hypot(down - 0.7, across - 0.3) - 0.085 + ragged
    inside: Array = np.minimum(np.minimum(corner, side), hole) > at
    inner = (down > at) & (down < 1 - at) & (across > at)
    return inside & inner if margin else inside


def bands(shape: tuple[int, int], strokes: list[Stroke]) -> Iterator[Array]:
    """Yield the (TILE_PX, W, 4) uint8 rows of the picture, colour and alpha."""
    width = -(-shape[1] // TILE_PX) * TILE_PX
    points = np.concatenate([stroke.points for stroke in strokes])
    owner = np.repeat(np.arange(len(strokes)), [len(stroke.points) for stroke in strokes])
    tile_of = np.floor(points / TILE_PX).astype(int)
    light = np.random.default_rng(1)
    for number, top in enumerate(range(0, shape[0], TILE_PX)):
        grey = 140 + _clouds(number, width)
        for row, col, radius in _pores(number, width):
            cv2.circle(grey, (col, row), radius, 105.0, -1, cv2.LINE_AA)
        near = np.abs(tile_of[:, 0] - number) <= 1
        for col in np.unique(tile_of[near, 1]):
            part = np.s_[:, max(col, 0) * TILE_PX : (col + 1) * TILE_PX]
            corner = np.array([top, col * TILE_PX])
            cover = _cover(points, owner, strokes, corner)
            if cover is not None and grey[part].size:
                grey[part] *= 1 - 0.92 * cover
        grey = cv2.GaussianBlur(grey, (0, 0), 0.5)
        grey += 3.0 * light.standard_normal(grey.shape, dtype=np.float32)
        plane = np.clip(np.rint(grey), 8, 255).astype(np.uint8)
        rows, cols = np.ogrid[top : top + TILE_PX, :width]
        alpha = counts(shape, rows, cols)
        band = np.dstack([plane, plane - 3, plane - 7, np.where(alpha, 255, 0).astype(np.uint8)])
        band[~alpha] = 0
        yield band


def _clouds(number: int, width: int) -> Array:
    """Return the uneven grey of one band: noise of several sizes without seams."""
    total = np.zeros((TILE_PX, width), np.float32)
    for cell, weight in CLOUDS:
        first = number * TILE_PX // cell - 2
        rows = [
            np.random.default_rng([cell, first + k + 10]).standard_normal(
                width // cell + 4, dtype=np.float32
            )
            for k in range(TILE_PX // cell + 4)
        ]
        size = ((width // cell + 4) * cell, len(rows) * cell)
        fine = cv2.resize(np.stack(rows), size, interpolation=cv2.INTER_CUBIC)
        total += weight * fine[2 * cell : 2 * cell + TILE_PX, 2 * cell : 2 * cell + width]
    return total


def _pores(number: int, width: int) -> Iterator[tuple[int, int, int]]:
    rng = np.random.default_rng([7, number])
    for _ in range(int(180e-6 * TILE_PX * width)):
        row, col = int(rng.integers(8, TILE_PX - 8)), int(rng.integers(0, width))
        yield row, col, round(float(np.clip(np.exp(rng.normal(0.6, 0.5)), 1, 6)))


def _cover(points: Array, owner: Array, strokes: list[Stroke], corner: Array) -> Array | None:
    """Return how much of each pixel of a tile is crack."""
    near = ((points > corner - REACH_PX) & (points < corner + TILE_PX + REACH_PX)).all(axis=1)
    parts = []
    for k in np.unique(owner[near]):
        own = np.flatnonzero(near[owner == k])
        for run in np.split(own, np.flatnonzero(np.diff(own) > 1) + 1):
            if len(run) > 2:
                at = strokes[k].points[run] - corner + REACH_PX
                parts.append(Stroke(points=at, width_px=strokes[k].width_px[run]))
    if not parts:
        return None
    side = TILE_PX + 2 * REACH_PX
    look = Look(blur_px=0, noise=0)
    drawn = draw((side, side), parts, look, np.random.default_rng(0)).coverage
    cover: Array = drawn[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    return cover


def render(path: Path, shape: tuple[int, int]) -> None:
    """Write the picture and, beside it, its truth."""
    strokes = cracks_of(shape, np.random.default_rng(shape[0]))

    def tiles() -> Iterator[Array]:
        for band in bands(shape, strokes):
            for left in range(0, band.shape[1], TILE_PX):
                yield np.ascontiguousarray(band[:, left : left + TILE_PX])

    keys = (1, 1, 0, 4, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 25832, 3076, 0, 1, 9001)
    places = [(33550, 12, 3, (0.001, 0.001, 0.0)), (33922, 12, 6, (0, 0, 0, 6e5, 5.1e6, 0))]
    tifffile.imwrite(
        path,
        tiles(),
        shape=(*shape, 4),
        dtype=np.uint8,
        tile=(TILE_PX, TILE_PX),
        photometric="rgb",
        extrasamples=("unassalpha",),
        compression="zlib",
        compressionargs={"level": 1},
        bigtiff=True,
        metadata=None,
        extratags=[(*tag, True) for tag in [*places, (34735, 3, len(keys), keys)]],
    )
    lengths = [stroke.length_px for stroke in strokes]
    truth = {"length_px": sum(lengths), "cracks": len(lengths), "longest_px": max(lengths)}
    path.with_suffix(".json").write_text(json.dumps(truth) + "\n", encoding="utf-8")


def analyze(path: Path, out: Path, options: list[str], *, kill: bool) -> dict[str, float]:
    """Run ``crackseg analyze`` and return its peak memory and its CPU and wall seconds."""
    command = [sys.executable, "-c", "import sys; from crackseg.cli import main; sys.exit(main())"]
    command += ["analyze", str(path), "--out", str(out), *options]
    figures = {"killed_at": 0.0}
    if kill:
        process = subprocess.Popen(command)
        while process.poll() is None and figures["killed_at"] < 0.5:
            time.sleep(2)
            figures["killed_at"] = _share_kept(out, path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures["wall_s"] = time.perf_counter() - start
    figures["cpu_s"] = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    figures["killed_cpu_s"] = before.ru_utime + before.ru_stime
    figures["peak_mb"] = after.ru_maxrss / 1024  # of the larger of the two runs
    return figures


def _share_kept(out: Path, path: Path) -> float:
    """Return the share of the picture that a run has kept to go on from."""
    with tifffile.TiffFile(path) as file:
        height = file.pages[0].imagelength
    for note in out.glob(".crackseg-part-*/progress.json"):
        bands = json.loads(note.read_text(encoding="utf-8"))["bands"]
        return float((bands[-1]["row"] + bands[-1]["rows"]) / height)
    return 0.0


def judge(out: Path, truth: dict[str, Any]) -> dict[str, Any]:
    """Return what was found beside what is there."""
    report = json.loads(next(out.glob("*/report.json")).read_text(encoding="utf-8"))
    main = [crack["length_px"] for crack in report["cracks"] if crack["section"] == "main"]
    return {
        "found_px": sum(main),
        "over_true": sum(main) / truth["length_px"],
        "cracks": [len(main), truth["cracks"]],
        "longest_px": [max(main, default=0.0), truth["longest_px"]],
        "also_marked": report["totals"]["also_marked"],
        "unjudged": {part["code"]: round(part["share"], 4) for part in report["unjudged"]},
        "seconds": report["timing_s"],
        "files": sorted(path.name for path in out.glob("*/*")),
    }


def main() -> None:
    """Render, analyze and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megapixels", type=int, choices=SIZES_PX, default=1000)
    parser.add_argument("--size", type=int, nargs=2, help="rows and columns, instead")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--render-only", action="store_true")
    chosen, options = parser.parse_known_args()
    shape = tuple(chosen.size or SIZES_PX[chosen.megapixels])
    name = "x".join(map(str, shape))
    path = chosen.folder / f"wall_{name}.tif"
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if not path.with_suffix(".json").exists():
        render(path, shape)
    if chosen.render_only:
        return
    out = chosen.folder / f"out_{name}"
    answer_file = chosen.folder / f"answer_{name}.json"
    refuse_unless(answer_file, holds_keys("megapixels cpu_s"), "answer of this study")
    figures = analyze(path, out, options, kill=chosen.kill)
    megapixels = math.prod(shape) / 1e6
    figures["cpu_s_per_mp"] = figures["cpu_s"] / megapixels
    figures_of_cracks = judge(
        out, json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    )
    answer = {"megapixels": megapixels, **figures, **figures_of_cracks}
    answer_file.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main()
