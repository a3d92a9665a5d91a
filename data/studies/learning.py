"""A new site is learned from verdicts: ``python data/studies/learning.py WORK [SETS] [OUT.md]``.

A rendered site, with a texture of its own, cables that hang in curves and a joint with worn edges,
is what the model takes for cracks. Of 24 photographs, twelve are analyzed and every mark on them is
judged by the truth, as an inspector would; ``crackseg fine-tune`` learns from them. On the other
twelve stand the entries of the list that are no crack, and the share of the cracks that is found,
before and after. SETS is a folder of sets whose val lists say what was forgotten. No picture of a
test list is opened.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

from crackseg import batch
from crackseg.config import AnalyzeOptions, read_options
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.training import concrete

Array = NDArray[Any]
SHAPE = 700, 1000
EACH = 12
NEAR_PX = 4.0  # a mark is real where half of its line lies so near to a crack
_SITE = 77  # seed
RUN = ("-W", "error::UserWarning", "-m", "crackseg.cli")


@dataclass(frozen=True)
class View:
    """A photograph of the site; cables and joint are no cracks."""

    picture: Array  # (H, W, 3) uint8
    crack: Array  # (H, W) bool


def view(number: int, shape: tuple[int, int] = SHAPE) -> View:
    """Return the photograph of a number; each second one shows a crack."""
    rng = np.random.default_rng([_SITE, number])
    height, width = shape
    wall = concrete.cast(rng, shape, tone=0.34, warmth=0.03)
    concrete.add_pores(wall, rng, per_mpx=260, largest_px=5)
    concrete.add_boards(wall, rng, board_px=150, vertical=False, strength=1.2)
    picture = concrete.expose(wall, sun=(0.9, 0.7), ambient=0.45, gain=1.15)
    for _ in range(int(rng.integers(1, 4))):
        cable = wandering(
            (-30.0, rng.uniform(0.1, 0.9) * width), -90 + rng.normal(0, 8), 1.2 * height,
            float(rng.uniform(2.5, 5)), rng, bend_deg=9, wave_px=90,
        )  # fmt: skip
        picture = _dark(picture, draw(shape, [cable], Look(blur_px=0, noise=0), rng).coverage, 0.12)
    joint = wandering(
        (rng.uniform(0.2, 0.8) * height, -30.0), rng.normal(0, 2), 1.1 * width,
        float(rng.uniform(3, 5)), rng, bend_deg=5, wave_px=40,
    )  # fmt: skip
    worn = 1 + gaussian_filter1d(rng.normal(0, 1, len(joint.width_px)), 6)
    joint = replace(joint, width_px=joint.width_px * np.clip(worn, 0.3, 2))
    cover = draw(shape, [joint], Look(blur_px=0, noise=0), rng).coverage
    picture = _dark(picture, cv2.GaussianBlur(cover, (0, 0), 0.6), 0.25)
    crack = np.zeros(shape, bool)
    if number % 2 == 0:
        stroke = wandering(
            (rng.uniform(0.2, 0.8) * height, rng.uniform(0.1, 0.3) * width), rng.uniform(-40, 40),
            rng.uniform(0.3, 0.6) * width, (float(rng.uniform(3, 5)), 1.5), rng,
            bend_deg=22, wave_px=50,
        )  # fmt: skip
        drawn = draw(shape, [stroke], Look(blur_px=0, noise=0), rng)
        picture, crack = _dark(picture, drawn.coverage, 0.09), drawn.mask
    return View(concrete.photograph(picture, rng, blur_px=0.7, noise=2.2), crack)


def _dark(picture: Array, coverage: Array, inside: float) -> Array:
    """Return a picture with something dark on it; ``inside`` is its grey over the wall's."""
    return np.asarray(picture * (1 - (1 - inside) * coverage[..., None]))


def write_views(folder: Path, numbers: range, shape: tuple[int, int] = SHAPE) -> dict[str, Array]:
    """Write photographs and return name -> mask of their cracks."""
    folder.mkdir(parents=True, exist_ok=True)
    cracks = {}
    for number in numbers:
        one = view(number, shape)
        path = folder / f"site{number:02}.png"
        cv2.imwrite(str(path), cv2.cvtColor(one.picture, cv2.COLOR_RGB2BGR))
        cracks[path.name] = one.crack
    return cracks


@dataclass(frozen=True)
class Marks:
    """What a model lists on photographs whose cracks are known."""

    real: int
    false: int
    share: float  # of the true centre lines near an entry
    by_photograph: dict[str, dict[int, bool]]  # number of each mark, also of doubtful ones: real?


def look(folder: Path, photographs: Path, cracks: dict[str, Array], model: str) -> Marks:
    """Analyze photographs and hold every mark against the truth."""
    options = read_options(AnalyzeOptions, {"model": model})
    batch.run(sorted(photographs.glob("*.png")), folder, options)
    real = false = found_px = true_px = 0
    judged: dict[str, dict[int, bool]] = {}
    for path in sorted(folder.glob("*/report.json")):
        report = json.loads(path.read_text(encoding="utf-8"))
        name = Path(report["image"]["path"]).name
        truth = cracks[name]
        away = distance_transform_edt(~truth) if truth.any() else np.full(truth.shape, np.inf)
        listed = np.ones(truth.shape, bool)
        judged[name] = {}
        for crack in report["cracks"]:
            points = np.rint(np.concatenate([np.array(c) for c in crack["centre_line"]])).astype(
                int
            )
            rows, cols = np.clip(points, 0, np.array(truth.shape) - 1).T
            is_real = bool((away[rows, cols] <= NEAR_PX).mean() >= 0.5)
            judged[name][crack["id"]] = is_real
            if crack["section"] == "main":
                real, false = real + is_real, false + (not is_real)
                listed[rows, cols] = False
        near = distance_transform_edt(listed) <= NEAR_PX
        true_px += int(truth.sum())
        found_px += int((truth & near).sum())
    return Marks(real, false, found_px / max(true_px, 1), judged)


def write_verdicts(folder: Path, marks: Marks) -> int:
    """Write what an inspector who knows the truth says of every mark; return how many."""
    rows = [
        (name, number, "accept" if real else "reject")
        for name, of in marks.by_photograph.items()
        for number, real in of.items()
    ]
    with (folder / "verdicts.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("image_name", "crack", "verdict"), *rows])
    return len(rows)


def crackseg(*arguments: str) -> tuple[str, float, float]:
    """Run a command and return what it prints, the seconds it took, and those of processors."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, *RUN, *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, time.monotonic() - start, used


def main(work: Path, sets: Path | None, out: Path | None, each: int = EACH) -> None:
    """Run the study and print its table."""
    learn, test = work / "learn", work / "test"
    cracks = write_views(learn, range(each)) | write_views(test, range(each, 2 * each))
    first = look(work / "results", learn, cracks, "default")
    counts = write_verdicts(work / "results", first)
    before = look(work / "before", test, cracks, "default")
    print(crackseg("data", "from-survey", f"{work / 'results'}", "--out", f"{work / 'site'}")[0])
    check = ["--check", str(sets)] if sets else []
    text, wall_s, used_s = crackseg(
        "fine-tune", str(work / "site"), "--out", str(work / "model"), "--name", "site", *check
    )
    print(text)
    after = look(work / "after", test, cracks, str(work / "model"))
    lines = [
        f"Verdicts: {counts} on {each} photographs. Fine-tuning: {wall_s / 60:.1f} minutes, "
        f"{used_s / 60:.1f} of processors.",
        "",
        f"| on {each} other photographs of the site | before | after |",
        "|---|---|---|",
        f"| entries of the list that are no crack | {before.false} | {after.false} |",
        f"| entries that are cracks | {before.real} | {after.real} |",
        f"| share of the cracks found | {before.share:.3f} | {after.share:.3f} |",
    ]
    print("\n".join(lines))
    if out:
        out.write_text("\n".join([*lines, "", text]), encoding="utf-8")


if __name__ == "__main__":
    paths = [Path(text) for text in sys.argv[1:]]
    main(paths[0], paths[1] if len(paths) > 1 else None, paths[2] if len(paths) > 2 else None)
