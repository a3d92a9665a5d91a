"""A new site is learned from verdicts: ``data/studies/learning.py SITE WORK [SETS] [OUT.md]``.

A rendered SITE has a texture of its own and lines that the model takes for cracks: on ``cables``
they hang in curves before cast concrete with a worn joint; on ``tendrils`` dry shoots creep up a
pale, porous wall, and a saw cut with broken edges crosses it. Of 24 photographs, twelve are
analyzed and every mark on them is judged by the truth, as an inspector would; ``crackseg
fine-tune`` learns from them. On the other twelve stand the entries of the list that are no crack,
and the share of the cracks that is found, before and after. SETS is a folder of sets whose val
lists say what was forgotten. No picture of a test list is opened.
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
from crackseg.folders import refuse_unless
from crackseg.metrology.phantoms import Look, draw, wandering
from crackseg.training import concrete

Array = NDArray[Any]
SHAPE = 700, 1000
EACH = 12
NEAR_PX = 4.0  # a place of a mark is on a crack where it lies so near to one
VERDICTS = "reject", "open", "accept"
ON_CRACK = 0.1, 0.5  # share of a mark's line on a crack: below it is none, from there it is one
RUN = ("-W", "error::UserWarning", "-m", "crackseg.cli")


@dataclass(frozen=True)
class Site:
    """What a place looks like; lengths in px, angles in degrees from the row axis as in strokes."""

    seed: int
    tone: float
    warmth: float
    pores_per_mpx: float
    boards_vertical: bool
    lines: tuple[int, int]  # on a photograph, from and to
    line_width_px: tuple[float, float]
    line_bend_deg: float
    line_grey: float  # over the wall's
    joint_width_px: tuple[float, float]
    joint_grey: float


SITES = {
    "cables": Site(77, 0.34, 0.03, 260, False, (1, 3), (2.5, 5), 9, 0.12, (3, 5), 0.25),
    "tendrils": Site(78, 0.52, 0.08, 700, True, (2, 5), (1.5, 3), 16, 0.3, (2, 4), 0.35),
}


@dataclass(frozen=True)
class View:
    """A photograph of the site; its other lines and joint are no cracks."""

    picture: Array  # (H, W, 3) uint8
    crack: Array  # (H, W) bool


def view(site: Site, number: int, shape: tuple[int, int] = SHAPE) -> View:
    """Return the photograph of a number; each second one shows a crack."""
    rng = np.random.default_rng([site.seed, number])
    height, width = shape
    wall = concrete.cast(rng, shape, tone=site.tone, warmth=site.warmth)
    concrete.add_pores(wall, rng, per_mpx=site.pores_per_mpx, largest_px=5)
    concrete.add_boards(wall, rng, board_px=150, vertical=site.boards_vertical, strength=1.2)
    picture = concrete.expose(wall, sun=(0.9, 0.7), ambient=0.45, gain=1.15)
    for _ in range(int(rng.integers(*site.lines, endpoint=True))):
        line = wandering(
            (-30.0, rng.uniform(0.1, 0.9) * width), -90 + rng.normal(0, 8), 1.2 * height,
            float(rng.uniform(*site.line_width_px)), rng, bend_deg=site.line_bend_deg, wave_px=90,
        )  # fmt: skip
        cover = draw(shape, [line], Look(blur_px=0, noise=0), rng).coverage
        picture = _dark(picture, cover, site.line_grey)
    joint = wandering(
        (rng.uniform(0.2, 0.8) * height, -30.0), rng.normal(0, 2), 1.1 * width,
        float(rng.uniform(*site.joint_width_px)), rng, bend_deg=5, wave_px=40,
    )  # fmt: skip
    worn = 1 + gaussian_filter1d(rng.normal(0, 1, len(joint.width_px)), 6)
    joint = replace(joint, width_px=joint.width_px * np.clip(worn, 0.3, 2))
    cover = draw(shape, [joint], Look(blur_px=0, noise=0), rng).coverage
    picture = _dark(picture, cv2.GaussianBlur(cover, (0, 0), 0.6), site.joint_grey)
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


def write_views(
    site: Site, folder: Path, numbers: range, shape: tuple[int, int] = SHAPE
) -> dict[str, Array]:
    """Write photographs and return name -> mask of their cracks."""
    folder.mkdir(parents=True, exist_ok=True)
    cracks = {}
    for number in numbers:
        one = view(site, number, shape)
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
    mixed: int  # run from a crack on along something else
    by_photograph: dict[str, dict[int, str]]  # number of each mark, also of doubtful ones: verdict


def look(folder: Path, photographs: Path, cracks: dict[str, Array], model: str) -> Marks:
    """Analyze photographs and hold every mark against the truth."""
    options = read_options(AnalyzeOptions, {"model": model})
    batch.run(sorted(photographs.glob("*.png")), folder, options)
    entries = dict.fromkeys(VERDICTS, 0)
    found_px = true_px = 0
    judged: dict[str, dict[int, str]] = {}
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
            on_crack = (away[rows, cols] <= NEAR_PX).mean()
            verdict = VERDICTS[int(np.searchsorted(ON_CRACK, on_crack, side="right"))]
            judged[name][crack["id"]] = verdict
            if crack["section"] == "main":
                entries[verdict] += 1
                listed[rows, cols] = False
        near = distance_transform_edt(listed) <= NEAR_PX
        true_px += int(truth.sum())
        found_px += int((truth & near).sum())
    share = found_px / max(true_px, 1)
    return Marks(entries["accept"], entries["reject"], share, entries["open"], judged)


def write_verdicts(folder: Path, marks: Marks) -> int:
    """Write what an inspector who knows the truth says of every mark; return how many are decided.

    A mark that runs from a crack on along something else is left open: he would split it.
    """
    rows = [
        (name, number, verdict)
        for name, verdicts in marks.by_photograph.items()
        for number, verdict in verdicts.items()
        if verdict != "open"
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


def main(
    site: Site, work: Path, sets: Path | None = None, out: Path | None = None, each: int = EACH
) -> None:
    """Run the study and print its table."""
    if out:
        refuse_unless(out, lambda text: text.startswith("Verdicts: "), "table of this study")
    learn, test = work / "learn", work / "test"
    cracks = write_views(site, learn, range(each))
    cracks |= write_views(site, test, range(each, 2 * each))
    first = look(work / "results", learn, cracks, "default")
    decided = write_verdicts(work / "results", first)
    before = look(work / "before", test, cracks, "default")
    print(crackseg("data", "from-survey", f"{work / 'results'}", "--out", f"{work / 'site'}")[0])
    check = ["--check", str(sets)] if sets else []
    text, wall_s, used_s = crackseg(
        "fine-tune", str(work / "site"), "--out", str(work / "model"), "--name", "site", *check
    )
    print(text)
    after = look(work / "after", test, cracks, str(work / "model"))
    lines = [
        f"Verdicts: {decided} on {each} photographs. Fine-tuning: {wall_s / 60:.1f} minutes, "
        f"{used_s / 60:.1f} of processors.",
        "",
        f"| on {each} other photographs of the site | before | after |",
        "|---|---|---|",
        f"| entries of the list that are no crack | {before.false} | {after.false} |",
        f"| entries that are both | {before.mixed} | {after.mixed} |",
        f"| entries that are cracks | {before.real} | {after.real} |",
        f"| share of the cracks found | {before.share:.3f} | {after.share:.3f} |",
    ]
    print("\n".join(lines))
    if out:
        out.write_text("\n".join([*lines, "", text]), encoding="utf-8")


if __name__ == "__main__":
    name, work_folder, *more = sys.argv[1:]
    sets_folder, table = [*map(Path, more), None, None][:2]
    main(SITES[name], Path(work_folder), sets_folder, table)
