"""Count true and false joins: ``python data/studies/joins.py FOLDER_OF_THE_SETS [OUT.md]``.

True gaps: stretches of 5 to 150 px are cut from the labels of training and validation pictures
and the photograph, as it is, must join the two ends. False ones are drawn into pictures without a
crack: two pieces with concrete between them, two that run beside each other, two that end at
opposite sides of a joint, and a crack that ends in line with a joint of which a part is marked; the
last also with a worn joint, whose course and width are uneven.
No picture of a test list is opened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.folders import refuse_unless
from crackseg.imagery.files import open_image
from crackseg.metrology.bridges import bridge, free_tips, outward
from crackseg.metrology.centreline import Line, centre_lines
from crackseg.metrology.courses import Photograph
from crackseg.metrology.hidden import join_hidden
from crackseg.metrology.joins import join
from crackseg.metrology.masks import fill_pinholes
from crackseg.metrology.phantoms import wandering
from crackseg.metrology.pixels import label_pixels, list_pixels
from crackseg.metrology.skeleton import skeletonize
from crackseg.metrology.thinning import pose_table

Array = NDArray[Any]
Rng = np.random.Generator
CRACKED = ("deepcrack", "uav_seawall", "quay_hair", "sdnet_wall", "wall_hair")
SOUND = ("crack_free", "crack_free_cc0")
LISTS = ("train.txt", "val.txt")
CLASSES_PX = ((5, 12), (12, 30), (30, 60), (60, 150))  # a mask alone bridges the first
CUTS, DRAWINGS = 1, 1  # a picture
LEFT_PX = 25.0  # of a crack that stays on either side of a cut
BEND_DEG, WAVE_PX = 25.0, 60.0  # the drawn cracks wander as the labelled ones do
WORN_PX, WORN_SHARE, WORN_WAVE_PX = 0.3, 0.25, 12.0  # of a worn joint: course, width, over a length
NEAR_PX = 15.0  # how far from a cut's ends a join may end to be that of the cut


@dataclass(frozen=True)
class Case:
    """A photograph, a mask in two pieces, and the two ends in question."""

    kind: str
    picture: Array  # (H, W, 3) uint8
    mask: Array  # (H, W) bool
    ends: Array  # (2, 2) float (row, col)

    @property
    def gap_px(self) -> float:
        """Straight distance from end to end."""
        return float(np.hypot(*(self.ends[1] - self.ends[0])))


def main(root: Path, out: Path | None) -> None:
    """Print the table, and write it if there is a place for it."""
    if out is not None:
        refuse_unless(out, lambda text: text.startswith(_HEAD), "table of this study")
    results = [(case.kind, case.gap_px, is_joined(case)) for case in cases(root)]
    text = table(results)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


def cases(root: Path) -> Iterator[Case]:
    """Yield every case; the same ones at each call."""
    rng, apart = np.random.default_rng(14), np.random.default_rng(41)
    for name in CRACKED:
        for picture, mask in pictures(root / name):
            if mask is not None:
                yield from cut(f"cut: {name}", picture, mask, rng)
    for name in SOUND:
        for picture, _ in pictures(root / name):
            for draw in (plain, beside, across, in_line):
                for _ in range(DRAWINGS):
                    case = draw(picture, rng)
                    if case is not None:
                        yield case
            worn = in_line(picture, apart, worn=True)
            if worn is not None:
                yield worn


def pictures(folder: Path) -> Iterator[tuple[Array, Array | None]]:
    """Yield picture and label of everything in the training and validation lists."""
    names = [
        n for file in LISTS if (folder / file).exists() for n in (folder / file).read_text().split()
    ]
    for name in sorted(names):
        (path,) = (folder / "images").glob(f"{name}.*")
        with open_image(path) as image:
            picture = image.read()
        label = folder / "masks" / f"{name}.png"
        if not label.exists():
            yield picture, None
            continue
        with open_image(label) as image:
            yield picture, image.read()[..., 0] > 127


def lines_of(mask: Array) -> tuple[list[Line], Array]:
    """Return the centre lines of a mask, and the filled mask."""
    filled = fill_pinholes(mask, MaskOptions().min_area_px)
    pixels = list_pixels(filled)
    if not len(pixels):
        return [], filled
    count, component = label_pixels(pixels)
    skeleton = skeletonize(pixels, component, pose_table(pixels, component, count))
    return centre_lines(skeleton, filled, MeasureOptions().smooth_px), filled


def is_joined(case: Case) -> bool:
    """Say whether the two ends of a case are joined, by the photograph alone."""
    lines, filled = lines_of(case.mask)
    photo = Photograph(case.mask.shape, lambda window: case.picture[window.slices])
    reach_px = MeasureOptions().join_px
    lines, group = bridge(lines, MaskOptions().gap_px, photo)
    lines, group = join(lines, group, filled, reach_px, photo)
    joined = join_hidden(lines, group, filled, reach_px, photo)[0]
    for line in joined:
        if line.kind in ("bridge", "joined", "hidden"):
            tips = line.points[[0, -1]]
            far = [np.hypot(*(tips[order] - case.ends).T).max() for order in ([0, 1], [1, 0])]
            if min(far) <= NEAR_PX:
                return True
    return False


def cut(kind: str, picture: Array, mask: Array, rng: Rng) -> Iterator[Case]:
    """Yield the label of a crack with a stretch taken out."""
    lines = [line for line in lines_of(mask)[0] if line.length_px > 2 * LEFT_PX + 5]
    for _ in range(CUTS if lines else 0):
        line = lines[rng.integers(len(lines))]
        gap = log_uniform(5, 150, rng)
        room = line.length_px - gap - 2 * LEFT_PX
        if room <= 0:
            continue
        first = int(LEFT_PX + rng.uniform(0, room))
        gap_points = line.points[first : first + int(gap)]
        rest = mask.copy()
        places = np.argwhere(mask)
        far, nearest = cKDTree(line.points).query(places)
        out = (far < line.radius_max_px + 3) & (nearest >= first) & (nearest < first + int(gap))
        rest[tuple(places[out].T)] = False
        if ends_in_tips(rest, gap_points[[0, -1]]):
            yield Case(kind, picture, rest, gap_points[[0, -1]])


def ends_in_tips(mask: Array, ends: Array) -> bool:
    """Say whether a cut leaves two tips, away from the picture's border.

    Where it meets another branch, there is no tip to go on from.
    """
    lines = lines_of(mask)[0]
    tips = [outward(lines[k], side)[-1] for k, side in free_tips(lines)]
    near = [min((np.hypot(*(tip - end)) for tip in tips), default=np.inf) for end in ends]
    return max(near) <= NEAR_PX and within(ends, mask.shape)


def plain(picture: Array, rng: Rng) -> Case | None:
    """Return two pieces of one course with nothing between them."""
    lengths, gap = rng.uniform(25, 90, 2), log_uniform(5, 150, rng)
    course = placed(picture, lengths.sum() + gap, rng)
    if course is None:
        return None
    first, second = int(lengths[0]), int(lengths[0] + gap)
    pieces = [course[:first], course[second:]]
    return drawn("plain concrete", picture, pieces, np.stack([course[first], course[second]]), rng)


def beside(picture: Array, rng: Rng) -> Case | None:
    """Return two pieces that run beside each other, their ends some way apart or past."""
    lengths, gap = rng.uniform(40, 90, 2), rng.uniform(-30, 60)
    course = placed(picture, lengths.sum() + gap, rng)
    if course is None:
        return None
    first, second = int(lengths[0]), int(lengths[0] + gap)
    way = course[-1] - course[0]
    aside = rng.uniform(8, 30) * np.array([-way[1], way[0]]) / np.hypot(*way)
    one, two = course[:first], course[second:] + aside
    return drawn("beside each other", picture, [one, two], np.stack([one[-1], two[0]]), rng)


def across(picture: Array, rng: Rng) -> Case | None:
    """Return two cracks that end at opposite sides of a joint, some way along it apart."""
    lengths, width = rng.uniform(40, 90, 2), rng.uniform(2, 8)
    course = placed(picture, lengths.sum() + width, rng)
    if course is None:
        return None
    middle = int(lengths[0] + width / 2)
    way = course[middle + 5] - course[middle - 5]
    turn = np.radians(rng.uniform(60, 120))
    along = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ way
    along /= np.hypot(*along)
    joint = course[middle] + np.array([[-2000.0], [2000.0]]) * along
    one, two = course[: int(lengths[0])], course[int(lengths[0] + width) :]
    two = two + along * rng.uniform(15, 60) * rng.choice([-1, 1])
    ends = np.stack([one[-1], two[0]])
    scene = with_line(picture, joint, width, rng)
    return drawn("at a joint", scene, [one, two], ends, rng)


def in_line(picture: Array, rng: Rng, *, worn: bool = False) -> Case | None:
    """Return a crack that ends where a joint begins, and a marked part of the joint further on."""
    lengths, gap = rng.uniform(40, 90, 2), rng.uniform(15, 100)
    course = placed(picture, lengths.sum() + gap, rng)
    if course is None:
        return None
    first = int(lengths[0])
    way = course[first - 1] - course[first - 12]
    way /= np.hypot(*way)
    joint = course[first - 1] + np.array([[0.0], [2000.0]]) * way
    marked = course[first - 1] + np.arange(gap, gap + lengths[1])[:, None] * way
    if not within(marked, picture.shape):
        return None
    width = rng.uniform(1.5, 8)
    if worn:
        scene = with_worn_line(picture, joint, width, rng)
    else:
        scene = with_line(picture, joint, width, rng)
    case = drawn(
        f"in line with a {'worn ' if worn else ''}joint",
        scene,
        [course[:first]],
        np.stack([course[first - 1], marked[0]]),
        rng,
    )
    mask = case.mask.astype(np.uint8)
    cv2.polylines(mask, [pixel(marked)], False, 1, max(1, round(width)))
    return Case(case.kind, case.picture, mask > 0, case.ends)


def placed(picture: Array, length: float, rng: Rng) -> Array | None:
    """Return a wandering course that fits into the picture, or None."""
    height, width = picture.shape[:2]
    for _ in range(8):
        angle = rng.uniform(0, 360)
        middle = rng.uniform(0.25, 0.75, 2) * (height, width)
        way = np.array([-np.sin(np.radians(angle)), np.cos(np.radians(angle))])
        start = middle - 0.5 * length * way
        course = wandering(
            (start[0], start[1]), angle, length, 1.0, rng, bend_deg=BEND_DEG, wave_px=WAVE_PX
        )
        if within(course.points, picture.shape):
            return course.points
    return None


def within(points: Array, shape: tuple[int, ...]) -> bool:
    """Say whether points are well inside a picture."""
    return bool(points.min() >= 8 and (points <= np.array(shape[:2]) - 9).all())


def drawn(kind: str, picture: Array, pieces: list[Array], ends: Array, rng: Rng) -> Case | None:
    """Return a case with cracks drawn along the pieces, and marked a little too wide."""
    width, dark = rng.uniform(1, 5), rng.uniform(0.3, 0.9)
    mask = np.zeros(picture.shape[:2], np.uint8)
    if not all(within(piece, picture.shape) for piece in pieces):
        return None
    for piece in pieces:
        picture = with_stroke(picture, piece, width, dark, 0.8)
        cv2.polylines(mask, [pixel(piece)], False, 1, max(1, round(width + rng.uniform(0, 2))))
    return Case(kind, picture, mask > 0, ends)


def with_line(picture: Array, course: Array, width: float, rng: Rng) -> Array:
    """Return the picture with a joint, which may have a lit edge."""
    if rng.random() < 0.5:
        shift = (width / 2 + 1) * rng.choice([-1, 1])
        picture = with_stroke(picture, course + shift, 2.0, -0.3, 0.8)
    return with_stroke(picture, course, width, rng.uniform(0.3, 0.9), 0.8)


def with_worn_line(picture: Array, course: Array, width: float, rng: Rng) -> Array:
    """Return the picture with a joint whose course and width are uneven."""
    way = course[1] - course[0]
    count = int(np.hypot(*way)) + 1
    points = course[0] + np.linspace(0, 1, count)[:, None] * way
    normal = np.array([-way[1], way[0]]) / np.hypot(*way)
    points += WORN_PX * uneven(count, rng)[:, None] * normal
    widths = np.maximum(width * (1 + WORN_SHARE * uneven(count, rng)), 1.0)
    return with_stroke(picture, points, widths, rng.uniform(0.3, 0.9), 0.8)


def uneven(count: int, rng: Rng) -> Array:
    """Return smooth noise of variance 1."""
    smooth = gaussian_filter1d(rng.normal(size=count), WORN_WAVE_PX / 4)
    uniform: Array = smooth / smooth.std()
    return uniform


def with_stroke(
    picture: Array, course: Array, width: float | Array, dark: float, blur: float
) -> Array:
    """Return the picture with a stroke of some width, one or for each point, and darkness."""
    height, cols = picture.shape[:2]
    fine = 4
    cover = np.zeros((fine * height, fine * cols), np.uint8)
    points = np.rint(((course[:, ::-1] + 0.5) * fine - 0.5) * 16).astype(np.int32)
    if isinstance(width, np.ndarray):
        for k in range(len(points) - 1):
            thick = max(1, round(fine * width[k]))
            cv2.line(cover, points[k].tolist(), points[k + 1].tolist(), 255, thick, cv2.LINE_AA, 4)
    else:
        cv2.polylines(cover, [points], False, 255, max(1, round(fine * width)), cv2.LINE_AA, 4)
    share = cv2.resize(cover, (cols, height), interpolation=cv2.INTER_AREA) / np.float32(255)
    share = cv2.GaussianBlur(share, (0, 0), blur)[..., None]
    return np.clip(picture * (1 - dark * share), 0, 255).astype(np.uint8)


def pixel(course: Array) -> Array:
    """Return a course as cv2 takes it."""
    return np.rint(course[:, ::-1]).astype(np.int32)


def log_uniform(low: float, high: float, rng: Rng) -> float:
    """Return a number whose logarithm is evenly spread."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


_HEAD = "| gaps | all | "  # of the table


def table(results: list[tuple[str, float, bool]]) -> str:
    """Return the share joined by kind and length of the gap."""
    heads = [f"{low} to {high} px" for low, high in CLASSES_PX]
    rows = [_HEAD + " | ".join(heads) + " |", "|---" * (len(heads) + 2) + "|"]
    for kind in dict.fromkeys(kind for kind, _, _ in results):
        mine = [(gap, yes) for name, gap, yes in results if name == kind]
        cells = [share([yes for _, yes in mine])]
        for low, high in CLASSES_PX:
            cells.append(share([yes for gap, yes in mine if low <= gap < high]))
        rows.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def share(joined: list[bool]) -> str:
    """Return how many of how many."""
    return f"{100 * np.mean(joined):.1f} % of {len(joined)}" if joined else "-"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
