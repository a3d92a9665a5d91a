"""Ask what a survey of many photographs costs: ``many.py FOLDER [--photographs N ...]``.

A wall with a crack in every cell of 1.6 m is photographed ``N`` times, each place about six times
over. The photographs are small, cut from one texture, but show as many features as real ones; their
reports hold the true cracks as an analysis writes them, so that no network runs. Of each ``N`` the
seconds of CPU and the peak of memory of ``crackseg face`` and ``crackseg report`` are printed, and
how far the map lies off. What is rendered stays in ``FOLDER``.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from crackseg import pipeline
from crackseg.config import AnalyzeOptions
from crackseg.folder_names import choose_folder
from crackseg.folders import filling, origin_of
from crackseg.imagery.files import open_image
from crackseg.metrology import arc

sys.path.insert(0, str(Path(__file__).parents[1]))
import wall_survey

Array = NDArray[Any]
ROWS = 20  # of photographs, above each other
STEP_X_M, STEP_Y_M = 1.28, 0.96  # between places of the camera: 60 % overlap either way
CELL_M = 1.6
TEXTURE_M = 0.004
PLAN = wall_survey.Plan(
    picture_px=(420, 560), distance_m=3.24, k1=0.0, k2=0.0, wander_m=0.15, wander_deg=2.0
)  # 5.7 mm a pixel


class Wall:
    """The wall of a survey: its cracks and its texture, made from left to right."""

    def __init__(self, columns: int) -> None:
        self.width_m, self.height_m = (columns + 2) * STEP_X_M + 1, (ROWS + 1) * STEP_Y_M + 1
        rng = np.random.default_rng(11)
        self.lines: list[wall_survey.Line] = []
        for x in np.arange(0, self.width_m - CELL_M, CELL_M):
            for y in np.arange(0, self.height_m - CELL_M, CELL_M):
                self.lines.append(_crack(len(self.lines), np.array([x, y]), rng))
        self.texture = self._texture()

    def _texture(self) -> Array:
        rng = np.random.default_rng(12)
        shape = (round(self.height_m / TEXTURE_M), round(self.width_m / TEXTURE_M))
        whole = np.empty(shape, np.uint8)
        for left in range(0, shape[1], 2000):
            size = (min(2000, shape[1] - left), shape[0])
            grey = 140 + 0.5 * rng.standard_normal(size[::-1], dtype=np.float32)
            for cell_px, weight in ((120, 8), (40, 6), (12, 4), (4, 2.5)):
                cells = (size[1] // cell_px + 2, size[0] // cell_px + 2)
                coarse = rng.standard_normal(cells).astype(np.float32)
                grey += weight * cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
            whole[:, left : left + size[0]] = np.clip(grey, 0, 255).astype(np.uint8)
        for line in self.lines:
            points = np.column_stack(
                [line.points_m[:, 0], self.height_m - line.points_m[:, 1]]
            ) / TEXTURE_M  # fmt: skip
            cv2.polylines(whole, [np.rint(points * 16).astype(np.int32)], False, 40, 1,
                          cv2.LINE_AA, 4)  # fmt: skip
        return whole

    def photograph(self, camera: wall_survey.Camera, rng: np.random.Generator) -> Array:
        """Return the (H, W) uint8 photograph of the wall."""
        height, width = PLAN.picture_px
        focal = PLAN.focal_px
        lens = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        plane = np.column_stack([camera.axes[:, :2], -camera.axes @ camera.position_m])
        middle = camera.position_m[:2] / TEXTURE_M
        left = int(np.clip(middle[0] - 700, 0, self.texture.shape[1] - 1400))
        part = self.texture[:, left : left + 1400]
        to_m = np.array(
            [[TEXTURE_M, 0, left * TEXTURE_M], [0, -TEXTURE_M, self.height_m], [0, 0, 1]]
        )
        picture = cv2.warpPerspective(part, lens @ plane @ to_m, (width, height))
        noisy = picture + 0.6 * rng.standard_normal(picture.shape, dtype=np.float32)
        return np.clip(noisy, 0, 255).astype(np.uint8)


def _crack(number: int, corner: Array, rng: np.random.Generator) -> wall_survey.Line:
    angle = rng.uniform(0, math.pi)
    course = wall_survey.course(float(rng.uniform(0.7, 1.2)), angle, rng)
    course = course - course.mean(axis=0)
    points = np.clip(course, -0.7, 0.7) + corner + CELL_M / 2
    return wall_survey.Line(name=f"c{number}", points_m=points, width_mm=np.full(len(points), 6.0))


def cameras(columns: int) -> list[wall_survey.Camera]:
    """Return the places of the camera, column by column."""
    rng = np.random.default_rng(1)
    poses = []
    for column in range(columns):
        for row in range(ROWS):
            x, y = (column + 1.2) * STEP_X_M, (row + 1.2) * STEP_Y_M
            place = np.array([x, y, PLAN.distance_m]) + rng.normal(0, PLAN.wander_m, 3)
            turn = Rotation.from_rotvec(np.radians(rng.normal(0, PLAN.wander_deg, 3)))
            axes = np.diag([1.0, -1.0, -1.0]) @ turn.as_matrix()
            poses.append(wall_survey.Camera(axes=axes, position_m=place, plan=PLAN))
    return poses


def render(folder: Path, count: int) -> list[wall_survey.Camera]:
    """Write the photographs of a survey and their reports, as far as they are not there."""
    columns = math.ceil(count / ROWS)
    everyone = cameras(columns)[:count]
    photographs, results = folder / "photographs", folder / "results"
    if len(list(photographs.glob("*.JPG"))) >= count and (folder / "done").is_file():
        return everyone
    print(f"rendering {count} photographs", flush=True)
    wall = Wall(columns)
    photographs.mkdir(parents=True, exist_ok=True)
    template = None
    rng = np.random.default_rng(2)
    for number, camera in enumerate(everyone, 1):
        path = photographs / f"DJI_{number:04d}.JPG"
        wall_survey.save(wall.photograph(camera, rng), path, camera, number,
                         wall_survey.written_pose(camera, rng))  # fmt: skip
        template = template or _template(path, camera, wall.lines)
        near = [x for x in wall.lines if np.abs(x.points_m[0] - camera.position_m[:2]).max() < 4]
        write_report(path, results, template, [_in_picture(camera, line, rng) for line in near])
    face = f"[face]\nbatter = 0.0\nazimuth_deg = {PLAN.azimuth_deg}\n"
    text = f'dam = "Many photographs"\n{face}origin_gps = {list(PLAN.origin)}\n'
    (results / "survey.toml").write_text(text, encoding="utf-8")
    (folder / "done").touch()
    return everyone


def _template(
    path: Path, camera: wall_survey.Camera, lines: Sequence[wall_survey.Line]
) -> dict[str, Any]:
    """Return the report of a photograph whose cracks are measured by the true mask."""
    mask = path.parent.parent / "mask.png"
    cv2.imwrite(str(mask), wall_survey.mask_of(camera, lines))
    with open_image(mask, is_mask=True) as drawn, open_image(path) as image:
        report = pipeline.measure_mask(drawn, image, AnalyzeOptions(exports=()))
        folder = path.parent.parent / "template"
        pipeline.export(report, folder, image, (), origin=origin_of(path),
                        content=image.info.sha256)  # fmt: skip
    return dict(json.loads((folder / "report.json").read_text(encoding="utf-8")))


def _in_picture(
    camera: wall_survey.Camera, line: wall_survey.Line, rng: np.random.Generator
) -> Array:
    """Return (N, 2) the part of a crack in a photograph, row and col, as a network sees it."""
    points = camera.project(line.points_m)
    inside = ((points > 2) & (points < np.array(PLAN.picture_px) - 3)).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], inside.astype(int), [0]])))
    pieces = [points[a:b] for a, b in edges.reshape(-1, 2)]
    longest = max(pieces, key=len, default=np.zeros((0, 2)))
    return np.asarray(longest + rng.normal(0, 0.15, 2))


def write_report(
    path: Path, results: Path, template: Mapping[str, Any], courses: Sequence[Array]
) -> None:
    """Write the results of a photograph: the report of another with cracks of its own."""
    with open_image(path) as image:
        content = image.info.sha256
        picture = image.read()
    report = copy.deepcopy(dict(template))
    report["image"] |= {"path": path.as_posix(), "sha256": content}
    like = template["cracks"][0]
    report["cracks"] = [
        _like(like, number, course)
        for number, course in enumerate((c for c in courses if len(c) > 40), 1)
    ]
    folder = choose_folder(results, path, content)
    with filling(folder, origin=origin_of(path), content=content) as fresh:
        text = json.dumps(report, allow_nan=False)
        (fresh / "report.json").write_text(text, encoding="utf-8")
        small = cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(fresh / "thumb.jpg"), small)


def _like(crack: Mapping[str, Any], number: int, course: Array) -> dict[str, Any]:
    length = arc.length(course)
    width = [round(1.5 + 0.2 * math.sin(0.05 * n), 3) for n in range(len(course))]
    return {
        **crack,
        "id": number,
        "length_px": round(length, 3),
        "centre_line": [course.round(2).tolist()],
        "width_profile_px": [width],
        "touches_border": False,
    }


def part_of(folder: Path, count: int) -> Path:
    """Return a folder of results with those of the first photographs alone."""
    part = folder / f"first_{count}"
    part.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        link = part / f"DJI_{number:04d}"
        if not link.exists():
            link.symlink_to(Path("..") / "results" / link.name)
    (part / "survey.toml").write_bytes((folder / "results" / "survey.toml").read_bytes())
    return part


def cost(*words: Any) -> dict[str, float]:
    """Return seconds and peak memory of a command of crackseg, run by itself."""
    code = (
        "import resource, sys\nfrom crackseg.cli import main\n"
        "try: main()\nfinally:\n"
        " own = resource.getrusage(resource.RUSAGE_SELF)\n"
        " print(own.ru_maxrss, own.ru_utime + own.ru_stime, file=sys.stderr)\n"
    )
    start = time.monotonic()
    run = subprocess.run([sys.executable, "-c", code, *map(str, words)],
                         capture_output=True, text=True, check=False)  # fmt: skip
    if run.returncode:
        raise SystemExit(run.stdout + run.stderr)
    peak_kb, cpu_s = run.stderr.split()[-2:]
    scale = 1e6 if sys.platform != "darwin" else 1e9
    return {"cpu_s": float(cpu_s), "wall_s": time.monotonic() - start,
            "peak_gb": float(peak_kb) / scale}  # fmt: skip


def off_mm(face: Path, everyone: Sequence[wall_survey.Camera]) -> tuple[float, dict[str, Any]]:
    """Return how far cameras lie from the true ones, in the median, laid on each other as a whole.

    The map's common shift, turn and size are taken away: the size of poses alone is known to a few
    thousandths, which makes decimetres of a long wall.
    """
    values = json.loads((face / "face.json").read_text(encoding="utf-8"))
    there = np.array([p["camera"]["position_m"] for p in values["photographs"]]) @ [1, 1j, 0]
    names = [int(Path(p["image"]).stem[4:]) - 1 for p in values["photographs"]]
    true = np.array([everyone[n].position_m for n in names]) @ [1, 1j, 0]
    a, b = there - there.mean(), true - true.mean()
    gap = np.vdot(a, b) / np.vdot(a, a) * a - b
    return 1000 * float(np.median(np.abs(gap))), values


def main() -> None:
    """Render what is missing, run the commands and print a line of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, nargs="+", default=[60, 500, 2000])
    options = parser.parse_args()
    everyone = render(options.folder, max(options.photographs))
    for count in options.photographs:
        part = part_of(options.folder, count)
        for words in (("face", part, "--quiet"), ("report", part)):
            spent = cost(*words)
            print(f"{count} photographs, {words[0]}: {spent['cpu_s']:.0f} s of CPU, "
                  f"{spent['wall_s']:.0f} s, {spent['peak_gb']:.2f} GB", flush=True)  # fmt: skip
        off, values = off_mm(part / "face", everyone)
        totals = values["totals"]
        print(f"  cameras off by {off:.1f} mm (median); {totals['cracks']} cracks, "
              f"{totals['length_m']:.1f} m of {totals['marks_length_m']:.1f} m of marks; "
              f"set aside {totals['set_aside']}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
