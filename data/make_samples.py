"""Render the sample photographs and their truth: ``python data/make_samples.py [FOLDER]``.

Each scene is a wall of ``crackseg.training.concrete`` with cracks of known course and width. Cracks
are laid over the displayed picture by exact pixel coverage, before lens blur and noise: the edge
of a crack lies where its darkness falls to half. ``truth.json`` holds each crack's length along
the centre line (px), its mean width (area over length) and its maximum width (averaged over 5 px
along the crack) and the scale of each picture (mm per px).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d, uniform_filter1d

from crackseg.metrology.phantoms import Look, Stroke, draw
from crackseg.training import concrete
from crackseg.training.concrete import LIME, RUST, WET, Wall

Array = NDArray[np.float64]
STEP_PX = 0.25  # distance of neighbouring stations along a course
INSIDE = 0.07  # grey inside a crack over that of the concrete, as field profiles show it


@dataclass(frozen=True)
class Line:
    """One unbranched stretch of crack: its smooth course and the torn stroke that is drawn."""

    course: Array  # (N, 2) row, col
    drawn: Stroke

    @property
    def length_px(self) -> float:
        """Length of the smooth course."""
        return float(np.linalg.norm(np.diff(self.course, axis=0), axis=1).sum())


def course_between(
    rng: np.random.Generator, start: tuple[float, float], end: tuple[float, float], *, wander: float
) -> Array:
    """Return (N, 2) stations from ``start`` to ``end`` with the kinks of a crack round aggregate.

    ``wander`` is the standard deviation of the direction in radians.
    """
    span = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    count = int(span * 1.15 / STEP_PX)
    turns = np.zeros(count)
    for wavelength, share in ((26, 0.42), (60, 0.7), (170, 0.55), (600, 0.4)):
        noise = gaussian_filter1d(rng.normal(0, 1, count + 8), wavelength / 3 / STEP_PX)[:count]
        turns += share * noise / noise.std()
    turns *= wander / turns.std()
    steps = np.column_stack([np.sin(turns), np.cos(turns)])
    path = gaussian_filter1d(np.cumsum(steps, axis=0), 2.5 / STEP_PX, axis=0, mode="nearest")
    path -= path[0]
    chord = path[-1]
    ratio = complex(end[1] - start[1], end[0] - start[0]) / complex(chord[1], chord[0])
    turned = (path[:, 1] + 1j * path[:, 0]) * ratio
    return _even(np.column_stack([turned.imag + start[0], turned.real + start[1]]))


def _even(path: Array) -> Array:
    """Return the path with stations ``STEP_PX`` apart."""
    along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    at = np.linspace(0, along[-1], max(int(along[-1] / STEP_PX), 2))
    return np.column_stack([np.interp(at, along, path[:, axis]) for axis in (0, 1)])


def line(
    rng: np.random.Generator,
    course: Array,
    *,
    widths_px: tuple[float, float],
    tips: tuple[bool, bool] = (False, False),
    vary: float = 0.15,
) -> Line:
    """Return the course opened from ``widths_px[0]`` at its start to ``widths_px[1]`` at its end.

    At a tip the crack closes to 65 % over the last 14 px. The two edges are torn independently.
    """
    count = len(course)
    swell = gaussian_filter1d(rng.normal(0, 1, count), 35 / STEP_PX)
    swell += 0.6 * gaussian_filter1d(rng.normal(0, 1, count), 9 / STEP_PX)
    width = np.linspace(*widths_px, count) * np.exp(vary * swell / swell.std())
    at = np.arange(count) * STEP_PX
    for closes, distance in zip(tips, (at, at[::-1]), strict=True):
        if closes:
            width *= 0.65 + 0.35 * np.clip(distance / 14, 0, 1)
    left, right = (np.clip(width / 2 + np.sqrt(width) * _torn(rng, count), 0.3, None) for _ in "lr")
    tangent = np.gradient(course, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    middle = course + normal * ((left - right) / 2)[:, None]
    return Line(course, Stroke(points=middle, width_px=left + right))


def _torn(rng: np.random.Generator, count: int) -> Array:
    rough = gaussian_filter1d(rng.normal(0, 1, count), 1.5 / STEP_PX)
    chips = np.clip(gaussian_filter1d(rng.normal(0, 1, count), 2.5 / STEP_PX) * 4 - 1.1, 0, 1)
    return 0.14 * rough / rough.std() + 0.30 * (chips - chips.mean())


def inside_only(stretch: Line, shape: tuple[int, int]) -> Line:
    """Return the part of a line whose stations lie in the picture."""
    inside = ((stretch.course > -0.5) & (stretch.course < np.array(shape) - 0.5)).all(axis=1)
    drawn = Stroke(points=stretch.drawn.points[inside], width_px=stretch.drawn.width_px[inside])
    return Line(stretch.course[inside], drawn)


def coverage(crack: list[Line], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return (H, W) the share of each pixel that a crack covers."""
    strokes = [stretch.drawn for stretch in crack]
    look = Look(blur_px=0, noise=0)
    return np.asarray(draw(shape, strokes, look, np.random.default_rng(0)).coverage)


def lay(
    picture: NDArray[np.float32], cover: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the displayed picture with cracks: dark inside, chipped rims, a faint halo."""
    rim = cv2.GaussianBlur(cover, (0, 0), 1.8) * (1 - cover)
    lit = np.clip(np.roll(cover, (2, 2), axis=(0, 1)) - cover, 0, 1)
    chips = concrete.fractal(rng, cover.shape, beta=1.2, band_px=(3, 30))
    around = picture * (1 + 0.08 * lit + 0.20 * rim * chips)[..., None]
    inside = INSIDE + 0.025 * concrete.fractal(rng, cover.shape, beta=1.8, band_px=(3, 80))
    dark = picture * np.clip(inside, 0.02, 0.14)[..., None] * np.float32([1.0, 0.95, 0.88])
    return np.asarray(around * (1 - cover[..., None]) + dark * cover[..., None], np.float32)


@dataclass(frozen=True)
class Scene:
    """A finished photograph with the truth about it."""

    pixels: NDArray[np.uint8]
    cracks: list[list[Line]]
    areas_px2: list[float]
    mm_per_px: float | None


def _down(shape: tuple[int, int]) -> NDArray[np.float32]:
    return np.broadcast_to(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], shape).copy()


def hair_crack(rng: np.random.Generator) -> Scene:
    """Board-marked wall, two hair cracks of about 2 px, tie holes, fins."""
    shape = (1200, 1600)
    wall = concrete.cast(rng, shape, tone=0.34, warmth=0.025)
    concrete.add_boards(wall, rng, board_px=205, vertical=True)
    concrete.add_pores(wall, rng, per_mpx=500, largest_px=7)
    for row, col in ((300, 390), (300, 1230), (880, 390), (880, 1230)):
        concrete.add_tie_hole(wall, rng, row=row, col=col, r_px=17)
    _water(wall, rng, rows=(0, 0), count=9, lengths_px=(200, 800))
    picture = concrete.expose(wall, sun=(-0.9, -0.9), ambient=0.42, gain=1.12)
    cracks = [
        [
            line(
                rng,
                course_between(rng, (-8, 560), (905, 760), wander=0.34),
                widths_px=(3.0, 1.9),
                tips=(False, True),
            ),
        ],
        [
            line(
                rng,
                course_between(rng, (560, 1608), (1070, 720), wander=0.34),
                widths_px=(2.6, 2.0),
                tips=(False, True),
            ),
        ],
    ]
    return _finish(picture, cracks, rng, mm_per_px=0.12, blur_px=0.62, noise=1.7)


def lift_joint(rng: np.random.Generator) -> Scene:
    """A crack that crosses a chamfered lift joint, water runs, lime, a railing's shadow."""
    shape = (1200, 1600)
    wall = concrete.cast(rng, shape, tone=0.30, warmth=0.035)
    concrete.add_boards(wall, rng, board_px=150, vertical=False, strength=0.8)
    concrete.add_pores(wall, rng, per_mpx=420, largest_px=8)
    concrete.add_lift_joint(wall, rng, row=455, half_px=11)
    concrete.add_panel_line(wall, rng, at=1130, vertical=True)
    _water(wall, rng, rows=(450, 470), count=22, lengths_px=(120, 620))
    for col in (260, 340, 1290):
        concrete.add_run(
            wall, rng, row=462, col=col, length_px=240, width_px=11, colour=LIME, strength=0.8
        )
    concrete.add_shadow(
        wall, concrete.bars(shape, angle_deg=-24, gap_px=560, width_px=62, first_px=180), soft_px=6
    )
    picture = concrete.expose(wall, sun=(-1.0, 0.7), ambient=0.40, gain=1.22)
    upper = course_between(rng, (-8, 900), (452, 850), wander=0.36)
    lower = course_between(rng, (452, 850), (1208, 690), wander=0.36)
    whole = _even(np.vstack([upper, lower[1:]]))
    cracks = [[line(rng, whole, widths_px=(4.0, 6.5))]]
    return _finish(picture, cracks, rng, mm_per_px=0.20, blur_px=0.66, noise=1.9)


def moss_and_shade(rng: np.random.Generator) -> Scene:
    """A wide branching crack in a mossy, stained foot of a wall under leaves."""
    shape = (1200, 1600)
    wall = concrete.cast(rng, shape, tone=0.27, warmth=0.045)
    concrete.add_pores(wall, rng, per_mpx=600, largest_px=10)
    _water(wall, rng, rows=(0, 100), count=14, lengths_px=(300, 1000))
    for col in (180, 1420):
        concrete.add_run(
            wall, rng, row=120, col=col, length_px=700, width_px=26, colour=RUST, strength=0.6
        )
    concrete.add_moss(wall, rng, where=_down(shape) ** 4 * 1.06, amount=0.32)
    leaves = concrete.fractal(rng, shape, beta=3.0, band_px=(30, 420))
    concrete.add_shadow(wall, (leaves > 0.75).astype(np.float32), soft_px=9)
    picture = concrete.expose(wall, sun=(-0.9, -1.1), ambient=0.46, gain=1.32)
    trunk = course_between(rng, (180, -8), (640, 1608), wander=0.34)
    fork = trunk[int(len(trunk) * 0.45)]
    branch = course_between(rng, (float(fork[0]), float(fork[1])), (90, 1250), wander=0.32)
    cracks = [
        [
            line(rng, trunk, widths_px=(9.0, 5.0)),
            line(rng, branch, widths_px=(5.0, 2.8), tips=(False, True)),
        ]
    ]
    return _finish(picture, cracks, rng, mm_per_px=0.25, blur_px=0.7, noise=2.0)


def sound_wall(rng: np.random.Generator) -> Scene:
    """No crack at all, but everything that looks like one: joint, seams, fins, runs, moss, bars."""
    shape = (1200, 1600)
    wall = concrete.cast(rng, shape, tone=0.32, warmth=0.02)
    concrete.add_boards(wall, rng, board_px=175, vertical=False)
    concrete.add_pores(wall, rng, per_mpx=700, largest_px=9)
    concrete.add_lift_joint(wall, rng, row=350, half_px=10)
    concrete.add_panel_line(wall, rng, at=880, vertical=True)
    for row in (610, 980):
        for col in (300, 1240):
            concrete.add_tie_hole(wall, rng, row=row, col=col, r_px=18)
    _water(wall, rng, rows=(345, 360), count=26, lengths_px=(100, 700))
    concrete.add_run(
        wall, rng, row=356, col=620, length_px=330, width_px=12, colour=LIME, strength=0.85
    )
    concrete.add_moss(wall, rng, where=_down(shape) ** 6, amount=0.28)
    concrete.add_shadow(
        wall, concrete.bars(shape, angle_deg=28, gap_px=520, width_px=58, first_px=60), soft_px=5
    )
    picture = concrete.expose(wall, sun=(-1.1, -0.6), ambient=0.40, gain=1.16)
    return _finish(picture, [], rng, mm_per_px=0.20, blur_px=0.64, noise=1.8)


def dam_face(rng: np.random.Generator) -> Scene:
    """Twenty megapixels of a dam face: lifts, panel seams, runs, four cracks of 2 to 12 px."""
    shape = (3648, 5472)
    wall = concrete.cast(rng, shape, tone=0.31, warmth=0.03)
    concrete.add_boards(wall, rng, board_px=300, vertical=False, strength=0.7)
    concrete.add_pores(wall, rng, per_mpx=260, largest_px=9)
    for row in (1010, 2590):
        concrete.add_lift_joint(wall, rng, row=row, half_px=13)
        _water(wall, rng, rows=(row, row + 12), count=46, lengths_px=(200, 1300))
    for col in (1390, 4130):
        concrete.add_panel_line(wall, rng, at=col, vertical=True)
    for row in (560, 1750, 3100):
        for col in range(480, 5400, 1140):
            concrete.add_tie_hole(wall, rng, row=row, col=col, r_px=19)
    for col in (760, 2310, 3720):
        concrete.add_run(
            wall, rng, row=1024, col=col, length_px=620, width_px=22, colour=LIME, strength=0.8
        )
    concrete.add_moss(wall, rng, where=_down(shape) ** 9, amount=0.30)
    picture = concrete.expose(wall, sun=(-1.0, -0.8), ambient=0.42, gain=1.16)
    trunk = course_between(rng, (-8, 3150), (2350, 2760), wander=0.34)
    fork = trunk[int(len(trunk) * 0.5)]
    cracks = [
        [
            line(rng, trunk, widths_px=(7.5, 3.0), tips=(False, True)),
            line(
                rng,
                course_between(rng, (float(fork[0]), float(fork[1])), (2130, 3980), wander=0.34),
                widths_px=(4.5, 2.6),
                tips=(False, True),
            ),
        ],
        [
            line(
                rng,
                course_between(rng, (1320, -8), (1990, 1330), wander=0.34),
                widths_px=(4.2, 2.4),
                tips=(False, True),
            )
        ],
        [
            line(
                rng,
                course_between(rng, (3655, 4490), (1190, 4870), wander=0.34),
                widths_px=(8.5, 4.0),
                tips=(False, True),
            )
        ],
        [
            line(
                rng,
                course_between(rng, (2760, 650), (3290, 2020), wander=0.34),
                widths_px=(2.6, 3.4),
                tips=(True, True),
            )
        ],
    ]
    return _finish(picture, cracks, rng, mm_per_px=0.40, blur_px=0.68, noise=1.1)


def drone_photo(rng: np.random.Generator) -> Scene:
    """A drone's view of a wall, stored on its side, with the laser distance in its metadata."""
    shape = (1920, 1440)
    wall = concrete.cast(rng, shape, tone=0.33, warmth=0.015)
    concrete.add_boards(wall, rng, board_px=190, vertical=False, strength=0.9)
    concrete.add_pores(wall, rng, per_mpx=420, largest_px=7)
    concrete.add_lift_joint(wall, rng, row=1330, half_px=10)
    for col in (330, 1100):
        concrete.add_tie_hole(wall, rng, row=700, col=col, r_px=16)
    _water(wall, rng, rows=(1325, 1340), count=16, lengths_px=(100, 500))
    concrete.add_run(
        wall, rng, row=0, col=240, length_px=900, width_px=20, colour=WET, strength=0.8
    )
    picture = concrete.expose(wall, sun=(-0.8, 1.0), ambient=0.44, gain=1.18)
    cracks = [
        [
            line(
                rng,
                course_between(rng, (210, 1448), (1190, 420), wander=0.34),
                widths_px=(5.5, 2.6),
                tips=(False, True),
            )
        ],
        [
            line(
                rng,
                course_between(rng, (1928, 620), (1440, 1010), wander=0.32),
                widths_px=(4.0, 2.4),
                tips=(False, True),
            )
        ],
    ]
    return _finish(
        picture, cracks, rng, mm_per_px=DISTANCE_M * 1000 / FOCAL_PX, blur_px=0.66, noise=1.8
    )


def _water(
    wall: Wall,
    rng: np.random.Generator,
    *,
    rows: tuple[float, float],
    count: int,
    lengths_px: tuple[float, float],
) -> None:
    for _ in range(count):
        concrete.add_run(
            wall,
            rng,
            row=rng.uniform(*rows) if rows[1] > rows[0] else rows[0],
            col=rng.uniform(0, wall.shape[1]),
            length_px=rng.uniform(*lengths_px),
            width_px=float(np.exp(rng.uniform(np.log(7), np.log(45)))),
            colour=WET,
            strength=rng.uniform(0.35, 0.95),
        )


def _finish(
    picture: NDArray[np.float32],
    cracks: list[list[Line]],
    rng: np.random.Generator,
    *,
    mm_per_px: float,
    blur_px: float,
    noise: float,
) -> Scene:
    shape = picture.shape[:2]
    covers = [coverage(crack, shape) for crack in cracks]
    if covers:
        picture = lay(picture, np.maximum.reduce(covers), rng)
    pixels = concrete.photograph(picture, rng, blur_px=blur_px, noise=noise)
    inside = [[inside_only(stretch, shape) for stretch in crack] for crack in cracks]
    return Scene(pixels, inside, [float(cover.sum()) for cover in covers], mm_per_px)


# The drone's facts: laser distance over focal length in pixels is the size of a pixel.
DISTANCE_M = 4.20
FOCAL_PX = 5600.0
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="DJI Meta Data"
    xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:drone-dji="http://www.dji.com/drone-dji/1.0/"
    tiff:Make="DJI" tiff:Model="M30T"
    drone-dji:AbsoluteAltitude="+412.36" drone-dji:RelativeAltitude="+18.70"
    drone-dji:GimbalRollDegree="+0.00" drone-dji:GimbalYawDegree="+42.10"
    drone-dji:GimbalPitchDegree="-0.30"
    drone-dji:LRFStatus="Normal" drone-dji:LRFTargetDistance="{DISTANCE_M:.3f}"
    drone-dji:CalibratedFocalLength="{FOCAL_PX:.6f}" drone-dji:DewarpFlag="0">
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def save(scene: Scene, path: Path) -> None:
    """Write the photograph in the form that its name asks for."""
    if path.suffix == ".png":
        Image.fromarray(cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2GRAY)).save(path, optimize=True)
        return
    extra: dict[str, Any] = {"quality": 88}
    pixels = scene.pixels
    if "20mp" in path.stem:
        extra = {"quality": 78, "subsampling": 2}
    if "drone" in path.stem:
        pixels = np.rot90(pixels, 1)  # upright again after the turn that orientation 6 asks for
        extra |= {"exif": _exif(), "xmp": XMP.encode("utf-8")}
    Image.fromarray(pixels).save(path, optimize=True, **extra)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "DJI", "M30T", 6
    exif[0x0132] = "2026:05:12 09:41:07"
    photo = exif.get_ifd(0x8769)
    photo[0x9003] = "2026:05:12 09:41:07"  # taken
    photo[0x920A] = 21.4  # focal length in mm
    photo[0xA405] = 113  # focal length as for 35-mm film
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (46.0, 33.0, 18.36)
    place[3], place[4] = "E", (8.0, 20.0, 42.72)
    place[5], place[6] = b"\x00", 412.36
    return exif


def truth(scene: Scene) -> dict[str, Any]:
    """Return what is true of a scene, cracks from the left to the right."""
    cracks = []
    for lines, area_px2 in zip(scene.cracks, scene.areas_px2, strict=True):
        length = sum(stretch.length_px for stretch in lines)
        widest = max(
            float(uniform_filter1d(stretch.drawn.width_px, int(5 / STEP_PX)).max())
            for stretch in lines
        )
        points = np.vstack([stretch.course for stretch in lines])
        (top, left), (bottom, right) = points.min(axis=0), points.max(axis=0)
        cracks.append(
            {
                "length_px": round(length, 1),
                "width_mean_px": round(area_px2 / length, 2),
                "width_max_px": round(widest, 2),
                "branches": 1 if len(lines) == 1 else 2 * len(lines) - 1,
                "box": [round(float(v), 1) for v in (top, left, bottom, right)],
            }
        )
    return {
        "height_px": scene.pixels.shape[0],
        "width_px": scene.pixels.shape[1],
        "mm_per_px": scene.mm_per_px,
        "cracks": cracks,
    }


SCENES: dict[str, tuple[Callable[[np.random.Generator], Scene], int]] = {
    "hair_crack_grey.png": (hair_crack, 11),
    "lift_joint.jpg": (lift_joint, 12),
    "moss_and_shade.jpg": (moss_and_shade, 13),
    "sound_wall.jpg": (sound_wall, 14),
    "dam_face_20mp.jpg": (dam_face, 15),
    "drone_rotated.jpg": (drone_photo, 16),
}


def main(folder: Path, names: list[str]) -> None:
    """Render the named scenes, or all of them, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "truth.json"
    facts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in names or SCENES:
        build, seed = SCENES[name]
        scene = build(np.random.default_rng(seed))
        save(scene, folder / name)
        facts[name] = truth(scene)
    ordered = {name: facts[name] for name in SCENES if name in facts}
    path.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "samples"
    main(target, sys.argv[2:])
