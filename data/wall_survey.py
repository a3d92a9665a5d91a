"""Render a drone's survey of one wall and its truth: ``python data/wall_survey.py FOLDER``.

A wall with cracks of known course and width is photographed from a grid of places with overlap, by
a camera whose lens distorts, from poses that wander; what the drone writes into the files is the
pose with the errors of a real one. Cracks are drawn into each photograph by exact coverage, so that
a width far below one pixel is true. ``truth.json`` holds courses and widths on the face (x to the
right, y up, in m), the true poses and the points of a reference length.

A second date is made by ``second_date``: other places of the camera, other light, some cracks
longer or wider, some new, one repaired.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from crackseg.metrology import arc
from crackseg.metrology.phantoms import Look, Stroke, draw

Array = NDArray[Any]
EARTH_M, FLATTENED = 6378137.0, 0.00669438  # WGS84: half axis, squared eccentricity
INSIDE = 0.08  # grey inside a crack over that of the concrete
STEP_M = 0.004  # between stations of a course
# A course leaves its own mean over 13, 27, 53 and 107 mm as labelled cracks of 1.5 to 4 px leave
# theirs over 5, 10, 20 and 40 px, and is as uneven in width as they are in darkness: standard
# deviation of the direction in deg, or of the logarithm of the width, and the length in m that it
# holds together over. The network takes for a cable what is drawn ten times smoother.
WANDER = ((7.0, 0.12), (12.0, 0.04), (16.0, 0.016))
UNEVEN = ((0.25, 0.012), (0.2, 0.06))


@dataclass(frozen=True, kw_only=True)
class Line:
    """A crack on the face."""

    name: str
    points_m: Array  # (N, 2) x, y
    width_mm: Array  # (N,)

    @property
    def length_m(self) -> float:
        """Length of the course."""
        return arc.length(self.points_m)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is photographed and how; lengths in m."""

    width_m: float = 24.0
    height_m: float = 8.0
    rows: int = 6
    cols: int = 10
    picture_px: tuple[int, int] = (1500, 2000)
    focal_35mm: float = 35.0
    distance_m: float = 5.4
    k1: float = -0.06
    k2: float = 0.02
    position_m: float = 0.1  # errors of what the drone writes
    angle_deg: float = 1.0
    wander_m: float = 0.25  # how far it flies from the plan
    wander_deg: float = 3.0
    azimuth_deg: float = 200.0
    origin: tuple[float, float, float] = (46.55, 8.345, 400.0)  # lat, lon, height of x = y = 0
    texture_m: float = 0.002  # size of a pixel of the wall's texture
    light: float = 1.0
    sun_deg: float = 40.0
    day: str = "2026:05:12"
    with_pose: bool = True
    seed: int = 1
    wall_seed: int = 7

    @property
    def focal_px(self) -> float:
        """Focal length by the diagonal, as 35-mm equivalents are meant."""
        return self.focal_35mm / 43.27 * math.hypot(*self.picture_px)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a photograph was taken: rows right, down, forward on the face's axes."""

    axes: Array
    position_m: Array
    plan: Plan = field(repr=False)

    def project(self, points_m: Array) -> Array:
        """Return (N, 2) row, col of points (N, 2) on the face."""
        space = np.column_stack([points_m, np.zeros(len(points_m))]) - self.position_m
        x, y, z = (space @ self.axes.T).T
        u, v = x / z, y / z
        r2 = u * u + v * v
        bend = 1 + self.plan.k1 * r2 + self.plan.k2 * r2 * r2
        height, width = self.plan.picture_px
        f = self.plan.focal_px
        return np.column_stack([f * bend * v + (height - 1) / 2, f * bend * u + (width - 1) / 2])

    def face_of(self, rows: Array, cols: Array) -> tuple[Array, Array]:
        """Return x, y on the face of pixels."""
        height, width = self.plan.picture_px
        u = (cols - (width - 1) / 2) / self.plan.focal_px
        v = (rows - (height - 1) / 2) / self.plan.focal_px
        x, y = u.copy(), v.copy()
        for _ in range(6):
            r2 = x * x + y * y
            bend = 1 + self.plan.k1 * r2 + self.plan.k2 * r2 * r2
            x, y = u / bend, v / bend
        rays = [x * self.axes[0, k] + y * self.axes[1, k] + self.axes[2, k] for k in range(3)]
        far = -self.position_m[2] / rays[2]
        return self.position_m[0] + far * rays[0], self.position_m[1] + far * rays[1]


def wall_lines(plan: Plan, rng: np.random.Generator, count: int = 14) -> list[Line]:
    """Return cracks that do not come near each other: in cells of a grid, some long ones."""
    lines: list[Line] = []
    tries = 0
    while len(lines) < count and tries < 4000:
        tries += 1
        length = float(rng.uniform(0.9, 3.2))
        start = rng.uniform([0.4, 0.4], [plan.width_m - 0.4, plan.height_m - 0.4])
        angle = float(rng.choice([0, 40, 70, 90, 110, 140]) + rng.normal(0, 8))
        width = float(rng.uniform(3.0, 8.0))
        points = start + course(length, math.radians(angle), rng)
        widths = uneven(np.linspace(width, width * float(rng.uniform(0.6, 1.0)), len(points)), rng)
        line = Line(name=f"c{len(lines) + 1}", points_m=points, width_mm=widths)
        inside = (points > 0.3).all() and (points < [plan.width_m - 0.3, plan.height_m - 0.3]).all()
        if inside and all(_apart(line, other) for other in lines):
            lines.append(line)
    if len(lines) < count:
        raise ValueError(f"no room for {count} cracks")
    return lines


def course(length_m: float, angle: float, rng: np.random.Generator) -> Array:
    """Return (N, 2) x, y of a course that begins at 0, 0 and wanders about a direction in rad."""
    count = math.ceil(length_m / STEP_M)
    turn = sum(math.radians(deg) * _noise(count, size_m, rng) for deg, size_m in WANDER)
    steps = STEP_M * np.column_stack([np.cos(angle + turn), np.sin(angle + turn)])
    return np.vstack([[0.0, 0.0], np.cumsum(steps, axis=0)])


def uneven(width_mm: Array, rng: np.random.Generator) -> Array:
    """Return widths that vary along a course, their mean kept."""
    noise = sum(sigma * _noise(len(width_mm), size_m, rng) for sigma, size_m in UNEVEN)
    factor = np.exp(noise)
    return width_mm * factor / factor.mean()


def _noise(count: int, size_m: float, rng: np.random.Generator) -> Array:
    """Return (N,) noise of standard deviation 1 that holds together over a length."""
    sigma = size_m / STEP_M
    edge = math.ceil(4 * sigma)
    smooth = gaussian_filter1d(rng.standard_normal(count + 2 * edge), sigma, mode="nearest")
    return smooth[edge : edge + count] * math.sqrt(2 * math.sqrt(math.pi) * sigma)


def _apart(one: Line, other: Line, least_m: float = 0.25) -> bool:
    gap = np.linalg.norm(one.points_m[::10, None] - other.points_m[None, ::10], axis=2)
    return bool(gap.min() > least_m)


def second_date(
    lines: Sequence[Line], plan: Plan, rng: np.random.Generator
) -> tuple[list[Line], dict[str, Any]]:
    """Return the cracks of a later date, and what changed: longer, wider, new, repaired."""
    grown_m = dict(zip(["c1", "c2", "c3"], [0.15, 0.25, 0.4], strict=True))
    wider_mm = dict(zip(["c4", "c5"], [1.5, 2.0], strict=True))
    later = []
    for line in lines:
        if line.name == "c6":
            continue
        if line.name in grown_m:
            others = [x for x in lines if x is not line]
            line = _longer(line, grown_m[line.name], others, rng)
        if line.name in wider_mm:
            line = replace(line, width_mm=line.width_mm + wider_mm[line.name])
        later.append(line)
    new = []
    while len(new) < 3:
        (fresh,) = wall_lines(plan, rng, 1)
        if all(_apart(fresh, other) for other in [*lines, *later, *new]):
            new.append(replace(fresh, name=f"n{len(new) + 1}"))
    facts = {"longer_m": grown_m, "wider_mm": wider_mm, "gone": ["c6"]}
    return [*later, *new], facts | {"new": [line.name for line in new]}


def _longer(line: Line, by_m: float, others: Sequence[Line], rng: np.random.Generator) -> Line:
    """Return a crack grown at its end, or at its start where it would meet another."""
    for _ in range(20):
        grown = _grown(line, by_m, rng)
        if all(_apart(grown, other) for other in others):
            return grown
        line = replace(line, points_m=line.points_m[::-1], width_mm=line.width_mm[::-1])
    raise ValueError(f"no room for {line.name} to grow")


def _grown(line: Line, by_m: float, rng: np.random.Generator) -> Line:
    x, y = line.points_m[-1] - line.points_m[-30]
    more = line.points_m[-1] + course(by_m, math.atan2(y, x), rng)[1:]
    width = np.append(line.width_mm, uneven(np.full(len(more), line.width_mm[-60:].mean()), rng))
    return replace(line, points_m=np.vstack([line.points_m, more]), width_mm=width)


def texture(plan: Plan) -> Array:
    """Return (H, W) float32 grey of the wall, row 0 at the top: clouds, boards, pores, stains."""
    rng = np.random.default_rng(plan.wall_seed)
    shape = (round(plan.height_m / plan.texture_m), round(plan.width_m / plan.texture_m))
    grey = np.zeros(shape, np.float32)
    for size_m, weight in ((1.6, 7.0), (0.5, 6.0), (0.15, 5.0), (0.04, 4.0), (0.012, 3.5)):
        cells = (round(plan.height_m / size_m) + 3, round(plan.width_m / size_m) + 3)
        coarse = rng.standard_normal(cells).astype(np.float32)
        grey += weight * cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    grey += 2.0 * rng.standard_normal(shape, dtype=np.float32)
    for row in range(0, shape[0], round(0.45 / plan.texture_m)):  # boards of a shade of their own
        grey[row : row + round(0.45 / plan.texture_m)] += rng.normal(0, 3)
    relief = np.zeros(shape, np.float32)
    for _ in range(int(plan.width_m * plan.height_m * 25)):  # air holes
        row, col = (int(rng.integers(0, n)) for n in shape)
        radius = float(np.clip(np.exp(rng.normal(1.2, 0.5)), 1, 9)) * 0.002 / plan.texture_m
        cv2.circle(relief, (col, row), max(round(radius), 1), 1.0, -1, cv2.LINE_AA)
    relief = cv2.GaussianBlur(relief, (0, 0), 0.8)
    turn = math.radians(plan.sun_deg)  # the light comes from another side at another date
    move = np.float32([[1, 0, 3 * math.cos(turn)], [0, 1, 3 * math.sin(turn)]])
    lit = relief - cv2.warpAffine(relief, move, shape[::-1])
    return 140 * plan.light + grey - 38 * relief - 12 * lit


def cameras(plan: Plan) -> list[Camera]:
    """Return the true places of the camera, row by row in turns as a drone flies."""
    rng = np.random.default_rng(plan.seed)
    height, width = (s / plan.focal_px * plan.distance_m for s in plan.picture_px)
    xs = np.linspace(0.42 * width, plan.width_m - 0.42 * width, plan.cols)
    ys = np.linspace(0.42 * height, plan.height_m - 0.42 * height, plan.rows)
    poses = []
    for i, y in enumerate(ys):
        for x in xs if i % 2 == 0 else xs[::-1]:
            place = np.array([x, y, plan.distance_m]) + rng.normal(0, plan.wander_m, 3)
            turn = Rotation.from_rotvec(np.radians(rng.normal(0, plan.wander_deg, 3)))
            axes = np.diag([1.0, -1.0, -1.0]) @ turn.as_matrix()
            poses.append(Camera(axes=axes, position_m=place, plan=plan))
    return poses


def photograph(
    camera: Camera, wall: Array, lines: Sequence[Line], rng: np.random.Generator
) -> Array:
    """Return the (H, W) uint8 photograph of the wall."""
    plan = camera.plan
    height, width = plan.picture_px
    rows, cols = np.mgrid[:height, :width].astype(np.float64)
    x, y = camera.face_of(rows, cols)
    col = (x / plan.texture_m).astype(np.float32)
    row = ((plan.height_m - y) / plan.texture_m).astype(np.float32)
    grey = cv2.remap(wall, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                     borderValue=95.0 * plan.light)  # fmt: skip
    strokes = [stroke for line in lines for stroke in strokes_in(camera, line)]
    cover = draw(plan.picture_px, strokes, Look(blur_px=0, noise=0), rng).coverage
    grey = grey * (1 - (1 - INSIDE) * cover)
    fall = ((rows - height / 2) ** 2 + (cols - width / 2) ** 2) / (height**2 + width**2)
    grey = cv2.GaussianBlur(grey * (1 - 0.3 * fall).astype(np.float32), (0, 0), 0.6)
    grey *= float(rng.uniform(0.93, 1.07))
    grey += 2.2 * rng.standard_normal(grey.shape, dtype=np.float32)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def strokes_in(camera: Camera, line: Line) -> list[Stroke]:
    """Return the stretches of a crack that a photograph shows, in px."""
    points = camera.project(line.points_m)
    along = np.gradient(line.points_m, axis=0)
    along /= np.hypot(along[:, 0], along[:, 1])[:, None]
    side = 0.0005 * line.width_mm[:, None] * np.column_stack([-along[:, 1], along[:, 0]])
    opening = camera.project(line.points_m + side) - camera.project(line.points_m - side)
    course = np.gradient(points, axis=0)
    course /= np.maximum(np.hypot(course[:, 0], course[:, 1]), 1e-12)[:, None]
    width = np.abs(opening[:, 0] * course[:, 1] - opening[:, 1] * course[:, 0])
    near = ((points > -20) & (points < np.array(camera.plan.picture_px) + 20)).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], near.astype(int), [0]])))
    return [
        Stroke(points=points[a:b], width_px=width[a:b])
        for a, b in edges.reshape(-1, 2)
        if b - a > 5
    ]


def mask_of(camera: Camera, lines: Sequence[Line]) -> Array:
    """Return the true (H, W) uint8 mask of a photograph."""
    strokes = [stroke for line in lines for stroke in strokes_in(camera, line)]
    drawn = draw(camera.plan.picture_px, strokes, Look(blur_px=0, noise=0),
                 np.random.default_rng(0))  # fmt: skip
    return drawn.mask.astype(np.uint8) * 255


def written_pose(camera: Camera, rng: np.random.Generator) -> dict[str, float]:
    """Return what the drone writes of a pose: place and gimbal, with its errors."""
    plan = camera.plan
    turn = Rotation.from_rotvec(np.radians(rng.normal(0, plan.angle_deg, 3)))
    axes = camera.axes @ turn.as_matrix()
    place = camera.position_m + rng.normal(0, plan.position_m, 3)
    azimuth = math.radians(plan.azimuth_deg)
    along = np.array([-math.cos(azimuth), math.sin(azimuth), 0.0])
    out = np.array([math.sin(azimuth), math.cos(azimuth), 0.0])
    frame = np.stack([along, [0.0, 0.0, 1.0], out])  # face axes in east, north, up
    right, _, forward = axes @ frame
    yaw = math.atan2(forward[0], forward[1])
    level = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
    under = np.cross(forward, level)
    east, north, up = place @ frame
    lat0, lon0, height0 = plan.origin
    flat = 1 - FLATTENED * math.sin(math.radians(lat0)) ** 2
    radius_north = EARTH_M * (1 - FLATTENED) / flat**1.5
    radius_east = EARTH_M / math.sqrt(flat) * math.cos(math.radians(lat0))
    return {
        "yaw": math.degrees(yaw),
        "pitch": math.degrees(math.asin(forward[2])),
        "roll": math.degrees(math.atan2(right @ under, right @ level)),
        "lat": lat0 + math.degrees(north / radius_north),
        "lon": lon0 + math.degrees(east / radius_east),
        "height": height0 + up,
    }


def save(pixels: Array, path: Path, camera: Camera, number: int, pose: dict[str, float]) -> None:
    """Write a photograph with the metadata that a drone's camera writes."""
    plan = camera.plan
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "DJI", "M30T"
    time = f"{plan.day} 09:{number // 60:02d}:{number % 60:02d}"
    exif[0x0132] = time
    photo = exif.get_ifd(0x8769)
    photo[0x9003], photo[0x920A], photo[0xA405] = time, 9.1, round(plan.focal_35mm)
    extra: dict[str, Any] = {}
    if plan.with_pose:
        extra["xmp"] = xmp(pose).encode()
    Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)).save(
        path, quality=92, exif=exif, **extra
    )


def xmp(pose: dict[str, float]) -> str:
    """Return the packet of DJI's makers with a pose."""
    return f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="DJI Meta Data"
    xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"
    drone-dji:GpsLatitude="{pose["lat"]:+.9f}" drone-dji:GpsLongitude="{pose["lon"]:+.9f}"
    drone-dji:AbsoluteAltitude="{pose["height"]:+.3f}" drone-dji:RelativeAltitude="+18.70"
    drone-dji:GimbalRollDegree="{pose["roll"]:+.2f}"
    drone-dji:GimbalYawDegree="{pose["yaw"]:+.2f}"
    drone-dji:GimbalPitchDegree="{pose["pitch"]:+.2f}" drone-dji:DewarpFlag="0">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>"""


def render(
    plan: Plan, lines: Sequence[Line], folder: Path, *, masks: Path | None = None
) -> dict[str, Any]:
    """Write the photographs of a survey into ``folder`` and return its truth.

    Args:
        plan: what is photographed and how.
        lines: the cracks.
        folder: made if missing; the truth is written beside it as ``FOLDER.json``.
        masks: folder for true masks, one PNG per photograph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wall = texture(plan)
    rng = np.random.default_rng(plan.seed + 1000)
    poses = []
    for number, camera in enumerate(cameras(plan), 1):
        path = folder / f"DJI_{number:04d}.JPG"
        pixels = photograph(camera, wall, lines, rng)
        save(pixels, path, camera, number, written_pose(camera, rng))
        if masks:
            masks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask_of(camera, lines)).save(masks / f"{path.stem}.png")
        place = {"axes": camera.axes.tolist(), "position_m": camera.position_m.tolist()}
        poses.append({"image": path.name, **place})
    truth = {
        "cracks": [
            {
                "name": line.name,
                "length_m": line.length_m,
                "points_m": line.points_m.round(5).tolist(),
                "width_mm": line.width_mm.round(4).tolist(),
            }
            for line in lines
        ],
        "photographs": poses,
    }
    (folder.parent / f"{folder.name}.json").write_text(json.dumps(truth) + "\n", encoding="utf-8")
    return truth


def main(folder: Path) -> None:
    """Render the survey of two dates into ``folder``/first and ``folder``/second."""
    plan = Plan()
    lines = wall_lines(plan, np.random.default_rng(3))
    render(plan, lines, folder / "first")
    later = replace(plan, seed=2, light=0.86, sun_deg=160.0, day="2027:05:20", distance_m=5.1)
    grown, facts = second_date(lines, plan, np.random.default_rng(5))
    render(later, grown, folder / "second")
    (folder / "changes.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
