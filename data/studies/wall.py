"""Ask whether a survey of two dates comes out right: ``wall.py FOLDER [--photographs N]``.

The rendered wall of ``data/wall_survey.py``, 60 photographs at each of two dates or as many as are
asked for of a wall as much smaller, is analyzed, mapped and compared as by ``crackseg analyze``,
``face`` and ``diff``, and what they answer is held against the truth.
Three maps of each date: with the drone's poses and one reference length, with poses alone, and with
one length and no poses. ``--marks true`` puts the true masks into the place of the network's, so
that what the map does and what the network does are told apart. What is done stays in ``FOLDER``:
the same command goes on from there, wherever it was stopped. On one core 12 photographs take eight
minutes, 60 five times as long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from crackseg import pipeline
from crackseg.changes import registration
from crackseg.changes.command import compare_folders
from crackseg.changes.comparison import plane_in
from crackseg.changes.writing import write_changes
from crackseg.config import AnalyzeOptions
from crackseg.face import block
from crackseg.face.face_json import view_from
from crackseg.face.mapping import make_map
from crackseg.face.matching import Features, find_features
from crackseg.face.scaling import read_references
from crackseg.face.writing import write_map
from crackseg.folder_names import choose_folder
from crackseg.folders import holds_keys, origin_of, refuse_unless
from crackseg.imagery.files import open_image
from crackseg.metrology import arc
from crackseg.survey import read_survey

sys.path.insert(0, str(Path(__file__).parents[1]))
import wall_survey

Array = NDArray[Any]
MAPS = {  # folder: with a reference length, with the drone's poses
    "face": (True, True),
    "face_by_poses": (False, True),
    "face_by_length": (True, False),
}
WORDS = {
    "face": "poses and one length",
    "face_by_poses": "poses alone",
    "face_by_length": "one length, no poses",
}
NEAR_M = 0.02  # from a true crack, within which a course on the map is that crack
STEP_M = 0.004
TRUST = 0.5  # of a crack of the map must lie on a true one
LEVELS = {"first": ("2026-05-12", 401.0, 9.0), "second": ("2027-05-20", 396.5, 14.0)}


@dataclass(frozen=True, kw_only=True)
class Wall:
    """What is photographed at the two dates."""

    plans: Mapping[str, wall_survey.Plan]
    lines: Mapping[str, Sequence[wall_survey.Line]]
    facts: Mapping[str, Any]  # what changed


def plan_of(photographs: int) -> wall_survey.Plan:
    """Return the plan of a survey of about so many photographs, rows and columns as 6 to 10."""
    whole = wall_survey.Plan()
    rows = max(round((0.6 * photographs) ** 0.5), 2)
    cols = max(round(photographs / rows), 3)
    width, height = whole.width_m * cols / whole.cols, whole.height_m * rows / whole.rows
    return replace(whole, rows=rows, cols=cols, width_m=width, height_m=height)


def count_cracks(plan: wall_survey.Plan) -> int:
    """Return how many cracks a wall of that size has."""
    return max(round(14 * plan.rows * plan.cols / 60), 8)


def the_wall(plan: wall_survey.Plan, count: int) -> Wall:
    """Return the wall of ``data/wall_survey.py`` at both dates; six of its cracks change."""
    lines = wall_survey.wall_lines(plan, np.random.default_rng(3), count)
    grown, facts = wall_survey.second_date(lines, plan, np.random.default_rng(5))
    later = replace(plan, seed=2, light=0.86, sun_deg=160.0, day="2027:05:20", distance_m=5.1)
    return Wall(
        plans={"first": plan, "second": later},
        lines={"first": lines, "second": grown},
        facts=facts,
    )


def render(wall: Wall, folder: Path) -> dict[str, Any]:
    """Return the truth of both dates, and write photographs, masks and survey.toml once."""
    truths = {}
    for date, plan in wall.plans.items():
        path = folder / f"{date}.json"  # written last
        if not path.is_file():
            print(f"rendering {date}", flush=True)
            wall_survey.render(plan, wall.lines[date], folder / date,
                               masks=folder / f"{date}_masks")  # fmt: skip
        truths[date] = json.loads(path.read_text(encoding="utf-8"))
        there = len(truths[date]["photographs"])
        if there != plan.rows * plan.cols:
            raise SystemExit(f"{path} is of {there} photographs: --photographs {there}, or another "
                             "folder.")  # fmt: skip
        day, level, degrees = LEVELS[date]
        text = (
            f'dam = "Rendered wall"\ninspected_on = {day}\nreservoir_level_m = {level}\n'
            f"temperature_c = {degrees}\n[face]\nbatter = 0.0\nazimuth_deg = {plan.azimuth_deg}\n"
            f"origin_gps = {list(plan.origin)}\n"
        )
        (folder / date / "survey.toml").write_text(text, encoding="utf-8")
        (folder / f"{date}_length.toml").write_text(
            reference(plan, truths[date]["photographs"]), encoding="utf-8"
        )
    return truths


def reference(plan: wall_survey.Plan, poses: Sequence[Mapping[str, Any]]) -> str:
    """Return one true length between two photographs, picked to the pixel, as TOML."""
    ends, places = [], []
    for pose, (row, col) in ((poses[0], (0.4, 0.3)), (poses[-1 - len(poses) // 20], (0.6, 0.7))):
        spot = [round(s * share) for s, share in zip(plan.picture_px, (row, col), strict=True)]
        x, y = camera_of(pose, plan).face_of(np.array(spot[:1], float), np.array(spot[1:], float))
        places.append(np.array([x[0], y[0]]))
        ends.append(f'{{ image = "{pose["image"]}", row = {spot[0]}, col = {spot[1]} }}')
    length = float(np.linalg.norm(places[1] - places[0]))
    return f"[[length]]\nlength_m = {length:.4f}\nstart = {ends[0]}\nend = {ends[1]}\n"


def camera_of(pose: Mapping[str, Any], plan: wall_survey.Plan) -> wall_survey.Camera:
    """Return the true camera of a photograph."""
    axes, position = (np.array(pose[key]) for key in ("axes", "position_m"))
    return wall_survey.Camera(axes=axes, position_m=position, plan=plan)


def analyze(folder: Path, date: str, options: argparse.Namespace) -> Path:
    """Return the folder of results of a date."""
    results = folder / f"{date}_{options.marks}"
    if options.marks == "true":
        measure(folder / date, folder / f"{date}_masks", results)
    else:
        words = ("analyze", folder / date, "--out", results, "--quiet", "--model", options.model)
        subprocess.run([sys.executable, "-m", "crackseg.cli", *map(str, words)], check=True)
    return results


def make_maps(folder: Path, date: str, marks: str) -> None:
    """Make the maps of a date that are not there yet."""
    results, survey = folder / f"{date}_{marks}", read_survey(folder / date / "survey.toml")
    for name in maps_of(marks):
        if (results / name / "face.json").is_file():
            continue
        print(f"map of {date}: {WORDS[name]}", flush=True)
        length, poses = MAPS[name]
        references = read_references(folder / f"{date}_length.toml") if length else None
        face = make_map(results, references=references, survey=survey, use_poses=poses)
        write_map(face, results, results / name)


def maps_of(marks: str) -> list[str]:
    """Return the maps that are made: of the true masks the one that they are for."""
    return list(MAPS) if marks == "network" else ["face"]


def remember_features(folder: Path) -> None:
    """Let features that were once found in a photograph be read from ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)

    def find(path: Path, *shrunk: Any) -> Features:
        file = folder / f"{path.parent.name}_{path.stem}.npz"
        if file.is_file():
            with np.load(file) as values:
                return Features(points_px=values["points_px"], looks=values["looks"],
                                factor=float(values["factor"]))  # fmt: skip
        features = find_features(path)
        np.savez(file.with_suffix(".part.npz"), **asdict(features))
        file.with_suffix(".part.npz").rename(file)
        return features

    block.find_features = registration.find_features = find  # type: ignore[attr-defined]


def measure(photographs: Path, masks: Path, results: Path) -> None:
    """Write the report of every photograph, its cracks by the true mask."""
    for path in sorted(photographs.glob("*.JPG")):
        if (results / path.stem / "report.json").is_file():
            continue
        with (
            open_image(masks / f"{path.stem}.png", is_mask=True) as mask,
            open_image(path) as image,
        ):
            report = pipeline.measure_mask(mask, image, AnalyzeOptions(exports=()))
            content = image.info.sha256
            folder = choose_folder(results, path, content)
            pipeline.export(report, folder, image, (), origin=origin_of(path), content=content)


def read(path: Path) -> dict[str, Any]:
    """Return a JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


# --- how well a map fits -------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Places:
    """How far places on a map lie from the true ones, x + iy in m."""

    there: Array  # on the map
    true: Array

    def off_mm(self, *, turn: bool = False, size: bool = False) -> float:
        """Return the median error in mm once the common shift is taken away, and what is named."""
        factor = self.factor
        factor = (factor / abs(factor) if turn else 1.0) * (abs(factor) if size else 1.0)
        gap = factor * self.there - self.true
        gap = gap - (np.median(gap.real) + 1j * np.median(gap.imag))
        return float(1000 * np.median(np.abs(gap)))

    @property
    def factor(self) -> complex:
        """What the map must be turned and stretched by."""
        a, b = self.there - self.there.mean(), self.true - self.true.mean()
        return complex(np.vdot(a, b) / np.vdot(a, a))

    def to_truth(self, points_m: Array) -> Array:
        """Return (N, 2) places of the map in the frame of the truth."""
        z = self.factor * (points_m @ [1, 1j] - self.there.mean()) + self.true.mean()
        return np.column_stack([z.real, z.imag])


def places_of(face: Mapping[str, Any], truth: Mapping[str, Any], plan: Any) -> Places:
    """Return the places of a grid over every photograph, on the map and in truth."""
    poses = {pose["image"]: pose for pose in truth["photographs"]}
    shares = np.meshgrid(np.linspace(0.1, 0.9, 5), np.linspace(0.1, 0.9, 5), indexing="ij")
    rows, cols = (s.ravel() * size for s, size in zip(shares, plan.picture_px, strict=True))
    there, true = [], []
    for photograph in face["photographs"]:
        x, y = camera_of(poses[photograph["image"]], plan).face_of(rows, cols)
        inside = (x > 0) & (x < plan.width_m) & (y > 0) & (y < plan.height_m)
        own = view_from(photograph).to_face(np.column_stack([rows, cols]))
        there.append(own[inside] @ [1, 1j])
        true.append((x + 1j * y)[inside])
    return Places(there=np.concatenate(there), true=np.concatenate(true))


def dense(line: Array) -> Array:
    """Return a line's points at even spacing."""
    whole = arc.along(line)[-1]
    return arc.at(line, np.linspace(0, whole, max(round(whole / STEP_M), 1) + 1))


@dataclass(frozen=True, kw_only=True)
class True_:
    """True cracks, to be asked which of them a course lies on."""

    names: Sequence[str]
    courses: Sequence[Array]

    def owner(self, points: Array) -> str | None:
        """Return the name of the crack that most points lie on; None: of none."""
        tree = cKDTree(np.concatenate(self.courses))
        number = np.repeat(np.arange(len(self.courses)), [len(c) for c in self.courses])
        far, nearest = tree.query(points)
        if (far < NEAR_M).mean() < TRUST:
            return None
        return self.names[int(np.bincount(number[nearest[far < NEAR_M]]).argmax())]

    def covered(self, points: Array) -> Array:
        """Return for each crack the share of it beside which points lie."""
        if not len(points):
            return np.zeros(len(self.courses))
        tree = cKDTree(points)
        return np.array([(tree.query(c)[0] < NEAR_M).mean() for c in self.courses])


def true_cracks(truth: Mapping[str, Any]) -> True_:
    """Return the cracks of a date."""
    cracks = truth["cracks"]
    return True_(names=[c["name"] for c in cracks],
                 courses=[dense(np.array(c["points_m"])) for c in cracks])  # fmt: skip


def marked(results: Path, truth: Mapping[str, Any], plan: Any, key: str) -> Array:
    """Return the true places of what photographs mark, by their true cameras."""
    points = [np.zeros((0, 2))]
    for pose in truth["photographs"]:
        report = read(results / Path(pose["image"]).stem / "report.json")
        camera = camera_of(pose, plan)
        for crack in report.get(key) or ():
            if crack.get("section", "main") == "main":
                for line in crack["centre_line"]:
                    rows, cols = np.array(line, float).T
                    points.append(dense(np.column_stack(camera.face_of(rows, cols))))
    return np.concatenate(points)


def score_map(results: Path, map_name: str, truth: Mapping[str, Any], plan: Any) -> dict[str, Any]:
    """Return how well one map of a date fits."""
    face = read(results / map_name / "face.json")
    places, cracks, plane = places_of(face, truth, plan), true_cracks(truth), plane_in(face)
    lengths = np.array([c["length_m"] for c in truth["cracks"]])
    widths = {c["name"]: float(np.mean(c["width_mm"])) for c in truth["cracks"]}
    owners: dict[str | None, list[float]] = {}
    wide = []
    courses = [np.zeros((0, 2))]
    for crack in face["cracks"]:
        if crack["section"] != "main":
            continue
        own = [places.to_truth(plane.from_map(np.array(line))) for line in crack["course"]]
        points = np.concatenate([dense(line) for line in own])
        name = cracks.owner(points)
        owners.setdefault(name, []).append(crack["length_mm"] / 1000)
        if name is not None and crack["width_mean_high_mm"] is not None:
            low, high = crack["width_mean_low_mm"] or 0.0, crack["width_mean_high_mm"]
            wide.append(low <= widths[name] <= high)
        courses.append(points)
    covered = float((cracks.covered(np.concatenate(courses)) * lengths).sum())
    on_true = sum(sum(v) for k, v in owners.items() if k is not None)
    return {
        "off_mm": places.off_mm(turn=map_name == "face_by_length"),
        "off_turned_mm": places.off_mm(turn=True),
        "off_turned_sized_mm": places.off_mm(turn=True, size=True),
        "size_rel": 1 / abs(places.factor) - 1,
        "size_sigma_rel": face["scale"]["sigma_rel"],
        "true_m": float(lengths.sum()),
        "length_m": face["totals"]["length_m"],
        "covered_m": covered,
        "twice_rel": on_true / covered - 1 if covered else 0.0,
        "pieces": {k: len(v) for k, v in owners.items() if k is not None and len(v) > 1},
        "missed": [n for n in cracks.names if n not in owners],
        "widths": len(wide),
        "widths_inside": sum(wide),
        "invented_m": sum(owners.get(None, [])),
        "set_aside": len(face["set_aside"]),
        "residual_median_mm": face["residuals"]["median_mm"],
    }


# --- what a comparison says ----------------------------------------------------------------------


def score_changes(new: Path, wall: Wall, truths: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the comparison finds of what changed."""
    face = read(new / "face" / "face.json")
    places = places_of(face, truths["second"], wall.plans["second"])
    both = {c["name"]: c for c in [*truths["first"]["cracks"], *truths["second"]["cracks"]]}
    cracks = true_cracks({"cracks": list(both.values())})
    plane = plane_in(face)
    names_by_word: dict[str, set[str]] = {}
    rows = []
    for change in read(new / "changes" / "changes.json")["changes"]:
        points = np.concatenate(
            [dense(places.to_truth(plane.from_map(np.array(line)))) for line in change["course"]]
        )
        name = cracks.owner(points) or "none"
        for word in change["words"]:
            names_by_word.setdefault(word, set()).add(name)
        rows.append(row_of(change, name, points, both, wall.facts))
    with_length = [row for row in rows if row["longer_by_mm"] is not None]
    wide = [row for row in rows if row["wider_by_mm"] is not None]
    return {
        "rows": rows,
        "found": {word: sorted(names) for word, names in names_by_word.items()},
        "lengths": len(with_length),
        "lengths_inside": sum(inside(row, "longer") for row in with_length),
        "widths": len(wide),
        "widths_inside": sum(inside(row, "wider") for row in wide),
    }


def row_of(
    change: Mapping[str, Any], name: str, points: Array, both: Mapping[str, Any],
    facts: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return a change with what is true of it."""
    keys = ("words", "section", "link", "below_limit", "longer_by_mm", "longer_u_mm",
            "wider_by_mm", "wider_u_mm", "width_mm")  # fmt: skip
    row = {"name": name} | {key: change[key] for key in keys}
    grown = 0.0
    if name in facts["longer_m"]:  # at the end of its course; a piece elsewhere has not grown
        end = np.array(both[name]["points_m"])[-1]
        if np.linalg.norm(points - end, axis=1).min() < NEAR_M:
            grown = 1000 * facts["longer_m"][name]
    return row | {"true_longer_mm": grown, "true_wider_mm": facts["wider_mm"].get(name, 0.0)}


def inside(row: Mapping[str, Any], name: str) -> bool:
    """Return whether the truth lies within a growth's interval."""
    return bool(abs(row[f"{name}_by_mm"] - row[f"true_{name}_mm"]) <= row[f"{name}_u_mm"])


# --- tables --------------------------------------------------------------------------------------


def table_of(scores: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of maps."""
    yield "| date | placed by | places off, mm | size | length, m | of truth | " \
          "of what is marked | twice | missed | invented, m | widths inside |"  # fmt: skip
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for date, maps in scores["maps"].items():
        covered_m = scores["marked"][date]["cracks_m"]
        for name, s in maps.items():
            yield (
                f"| {date} | {WORDS[name]} | {s['off_mm']:.2f} | {100 * s['size_rel']:+.3f} % "
                f"± {200 * s['size_sigma_rel']:.3f} % | {s['length_m']:.2f} of {s['true_m']:.2f} | "
                f"{100 * (s['length_m'] / s['true_m'] - 1):+.1f} % | "
                f"{100 * (s['length_m'] / covered_m - 1):+.1f} % | {100 * s['twice_rel']:+.1f} % | "
                f"{', '.join(s['missed']) or 'none'} | {s['invented_m']:.2f} | "
                f"{s['widths_inside']} of {s['widths']} |"
            )


def print_changes(scores: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Print what the comparison found beside what changed."""
    changes = scores["changes"]
    print(f"changed in truth: {facts}")
    print(f"found: {changes['found']}")
    for kind in ("lengths", "widths"):
        print(f"{kind} within their interval: {changes[f'{kind}_inside']} of {changes[kind]}")
    for row in changes["rows"]:
        print("  ", {k: v for k, v in row.items() if v not in (None, "", False)})


def score(folder: Path, wall: Wall, truths: Mapping[str, Any], marks: str) -> dict[str, Any]:
    """Return all figures of a run."""
    maps: dict[str, Any] = {}
    marks_of_date: dict[str, Any] = {}
    for date in wall.plans:
        results, plan = folder / f"{date}_{marks}", wall.plans[date]
        maps[date] = {name: score_map(results, name, truths[date], plan) for name in maps_of(marks)}
        cracks = true_cracks(truths[date])
        lengths = np.array([c["length_m"] for c in truths[date]["cracks"]])
        shares = {key: cracks.covered(marked(results, truths[date], plan, key))
                 for key in ("cracks", "other_lines")}  # fmt: skip
        marks_of_date[date] = {
            f"{key}_m": float((s * lengths).sum()) for key, s in shares.items()
        } | {
            "share": dict(zip(cracks.names, shares["cracks"].round(3).tolist(), strict=True)),
            "as_other": dict(
                zip(cracks.names, shares["other_lines"].round(3).tolist(), strict=True)
            ),
        }
    second = [folder / f"{date}_{marks}" for date in wall.plans][1]
    return {"maps": maps, "marked": marks_of_date, "changes": score_changes(second, wall, truths)}


def main() -> None:
    """Run what is not done yet and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--marks", choices=("network", "true"), default="network")
    options = parser.parse_args()
    plan = plan_of(options.photographs)
    answers = options.folder / f"scores_{options.marks}.json"
    refuse_unless(answers, holds_keys("maps marked changes"), "scores of this study")
    folder, wall = options.folder, the_wall(plan, count_cracks(plan))
    truths = render(wall, folder)
    remember_features(folder / "features")
    for date in wall.plans:
        analyze(folder, date, options)
        make_maps(folder, date, options.marks)
    old, new = (folder / f"{date}_{options.marks}" for date in wall.plans)
    write_changes(compare_folders(old, new), new, new / "changes")
    scores = score(folder, wall, truths, options.marks)
    answers.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    for date, values in scores["marked"].items():
        print(f"{date}: marked {values['cracks_m']:.2f} m of the truth as cracks, "
              f"{values['other_lines_m']:.2f} m as other lines; {values['share']}")  # fmt: skip
    print("\n".join(table_of(scores)))
    print_changes(scores, wall.facts)


if __name__ == "__main__":
    main()
