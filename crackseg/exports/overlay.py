"""A report becomes ``overlay.jpg``: the picture with thin crack outlines, numbers and a scale bar.

The outline runs outside the crack, so that the crack itself stays to be seen. Very large pictures
are drawn reduced; everything drawn has a size that suits the picture it is drawn on.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crackseg.errors import MissingExtra
from crackseg.exports import wording
from crackseg.exports.outlines import OUTLINE as OUTLINE
from crackseg.exports.outlines import REJECTED as REJECTED
from crackseg.exports.outlines import draw_outline as draw_outline
from crackseg.exports.worldfile import write_world_file
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Crack, Report, Scale, Window

LARGEST_PX = 60_000_000  # a JPEG that every viewer opens
BAND_ROWS = 1024
_BAND_PX = 16_000_000  # of a wide picture, rows are read fewer at a time
OTHER_LINE = (40, 170, 90)  # centre line of what is taken for no crack
JOINT = (90, 200, 120)
LEFT_OUT = (150, 160, 180)
IMPAIRED = (255, 190, 40)  # edge of what is judged but shows less than was tested
LEADER = (255, 210, 60)
PAPER = (20, 22, 26)
INK = (255, 255, 255)
JPEG_QUALITY = 88
WITH_WIDTH = 12  # of the worst cracks and of the widest each; more labels hide the picture
NUMBERED = 40  # of the worst cracks; the others are found by the place that the table names


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``overlay.jpg`` and its world file."""
    path = folder / "overlay.jpg"
    picture, factor = read_reduced(report, image, LARGEST_PX)
    path.write_bytes(to_jpeg(draw(report, picture, factor)))
    return [path, write_world_file(path, report.image, picture.shape[1] / report.image.width_px)]


def to_jpeg(picture: Array, quality: int = JPEG_QUALITY) -> bytes:
    """Return an (h, w, 3) uint8 RGB picture as JPEG bytes."""
    return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(picture), level=quality))


def read_reduced(report: Report, image: OpenImage | None, largest_px: int) -> tuple[Array, float]:
    """Return an (h, w, 3) copy of the picture of at most ``largest_px`` pixels, and its factor.

    The picture is read in bands of rows, so that memory does not grow with its height. Without a
    picture the cracks' own pixels stand dark on grey.
    """
    height, width = report.image.height_px, report.image.width_px
    factor = min(1.0, math.sqrt(largest_px / (height * width)))
    out_height, out_width = max(round(height * factor), 1), max(round(width * factor), 1)
    if image is not None and factor == 1.0:
        return np.array(image.read(), order="C"), 1.0
    if image is None:
        return _grey(report, out_height, out_width), factor
    picture = np.empty((out_height, out_width, 3), np.uint8)
    for first, last, top, bottom in _bands(height, width, out_height):
        band = image.read(Window(row=top, col=0, height=bottom - top, width=width))
        size = (out_width, last - first)
        picture[first:last] = cv2.resize(
            np.ascontiguousarray(band), size, interpolation=cv2.INTER_AREA
        )
    return picture, factor


def _bands(height: int, width: int, out_height: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield rows [first, last) of the reduced picture, rows [top, bottom) they come from."""
    rows = min(BAND_ROWS, _BAND_PX // width)
    step = max(rows * out_height // height, 1)
    for first in range(0, out_height, step):
        last = min(first + step, out_height)
        yield first, last, first * height // out_height, max(last * height // out_height, 1)


def _grey(report: Report, height: int, width: int) -> Array:
    picture = np.full((height, width, 3), 205, np.uint8)
    rows, cols = report.image.height_px, report.image.width_px
    for crack in report.cracks:
        at = crack.mask.nonzero()
        row, col = at[0] + crack.window.row, at[1] + crack.window.col
        picture[row * height // rows, col * width // cols] = 40
    return picture


def draw(report: Report, picture: Array, factor: float = 1.0) -> Array:
    """Draw the report onto ``picture`` in place and return it.

    Args:
        report: what was found.
        picture: (h, w, 3) uint8 RGB, writeable, the image reduced by ``factor``.
        factor: picture pixels per image pixel.
    """
    pen = _Pen.for_picture(picture)
    shade_left_out(picture, report, factor, pen.line_px)
    draw_unclear(picture, report, factor, pen.line_px)
    for joint in report.joints:
        draw_outline(picture, joint, factor, thickness=pen.line_px, colour=JOINT)
    for line in report.other_lines or ():
        for branch in line.branches:
            points = np.rint(((branch.centre_line[:, ::-1] + 0.5) * factor - 0.5) * 16)
            course = [points.astype(np.int32)]
            cv2.polylines(picture, course, False, OTHER_LINE, 1, cv2.LINE_AA, 4)
    for crack in reversed(report.cracks):  # the worst on top
        draw_outline(picture, crack, factor, thickness=pen.line_px)
    boxes: list[_Box] = []
    if report.scale is not None:
        boxes.append(_draw_scale_bar(picture, report.scale, factor, pen))
    labels = _place_labels(report, picture, factor, pen, boxes)
    for label in labels:  # before every tag, so that no line runs over a number
        cv2.line(picture, label.anchor, label.near(), LEADER, pen.line_px, cv2.LINE_AA)
    for label in labels:
        _paste(picture, label.tag, label.box)
    return picture


def _place_labels(
    report: Report, picture: Array, factor: float, pen: _Pen, boxes: list[_Box]
) -> list[_Label]:
    """Return the labels that find room and hide no mark: the worst and widest with their width."""
    main = [crack for crack in report.cracks if crack.section == "main"]
    widest = sorted(main, key=lambda crack: -(crack.width_max.px or 0.0))[:WITH_WIDTH]
    with_text = {crack.id for crack in (*main[:WITH_WIDTH], *widest)}
    chosen = [crack for k, crack in enumerate(main) if k < NUMBERED or crack.id in with_text]
    marks = _Marks.of(report, picture.shape, factor, max(pen.font_px // 4, 1))
    labels = []
    for crack in sorted(chosen, key=lambda crack: crack.id not in with_text):
        number = str(crack.id)
        texts = (wording.label(crack), number) if crack.id in with_text else (number,)
        label = _label(crack, texts, factor, pen, boxes, marks, picture.shape)
        if label is not None:
            labels.append(label)
            boxes.append(label.box)
    return labels


def shade_left_out(picture: Array, report: Report, factor: float, thickness: int) -> None:
    """Darken in place what a region leaves out, and draw its edge."""
    if not report.left_out:
        return
    polygons = [np.rint(p[:, ::-1] * factor).astype(np.int32) for p in report.left_out]
    out = np.zeros(picture.shape[:2], np.uint8)
    cv2.fillPoly(out, polygons, 1)
    picture[out > 0] //= 2
    cv2.polylines(picture, polygons, True, LEFT_OUT, thickness)


def draw_unclear(picture: Array, report: Report, factor: float, thickness: int) -> None:
    """Hatch in place what cannot be judged, and draw the edge of what is seen less well."""
    for parts, colour, hatched in (
        (report.impaired, IMPAIRED, False),
        (report.unjudged, LEFT_OUT, True),
    ):
        outlines = [polygon for part in parts for polygon in part.outlines]
        polygons = [np.rint(polygon[:, ::-1] * factor).astype(np.int32) for polygon in outlines]
        if not polygons:
            continue
        if hatched:
            inside = np.zeros(picture.shape[:2], np.uint8)
            cv2.fillPoly(inside, polygons, 1)
            inside &= _stripes(picture.shape, 12 * thickness)
            picture[inside > 0] = picture[inside > 0] // 2 + np.array(colour, np.uint8) // 2
        cv2.polylines(picture, polygons, True, colour, thickness)


def _stripes(shape: tuple[int, ...], spacing: int) -> Array:
    """Return (H, W) uint8 with slanting stripes of 1, a quarter of the spacing wide."""
    slant = np.arange(shape[1] + spacing) % spacing
    stripe = (slant < max(spacing // 4, 1)).astype(np.uint8)
    shifted = np.lib.stride_tricks.sliding_window_view(stripe, shape[1])
    stripes: Array = shifted[np.arange(shape[0]) % spacing]
    return stripes


@dataclass(frozen=True)
class _Pen:
    """Sizes of what is drawn, in pixels of the picture it is drawn on."""

    font_px: int
    line_px: int
    gap_px: int

    @staticmethod
    def for_picture(picture: Array) -> _Pen:
        side = math.sqrt(picture.shape[0] * picture.shape[1])
        return _Pen(
            font_px=round(min(max(side / 48, 11), 84)),
            line_px=max(round(side / 1800), 1),
            gap_px=max(round(side / 60), 5),
        )


@dataclass(frozen=True)
class _Box:
    row: int
    col: int
    height: int
    width: int

    def meets(self, other: _Box) -> bool:
        return (
            self.row < other.row + other.height
            and other.row < self.row + self.height
            and self.col < other.col + other.width
            and other.col < self.col + self.width
        )

    def inside(self, shape: tuple[int, ...]) -> bool:
        return (
            min(self.row, self.col) >= 0
            and self.row + self.height <= shape[0]
            and self.col + self.width <= shape[1]
        )


@dataclass(frozen=True)
class _Label:
    """A tag, where it goes, and the (col, row) of the crack that it is about."""

    tag: Array
    box: _Box
    anchor: tuple[int, int]

    def near(self) -> tuple[int, int]:
        """Return the (col, row) of the tag that is next to the crack."""
        (col, row), box = self.anchor, self.box
        return (
            min(max(col, box.col), box.col + box.width - 1),
            min(max(row, box.row), box.row + box.height - 1),
        )


def _label(
    crack: Crack,
    texts: tuple[str, ...],
    factor: float,
    pen: _Pen,
    boxes: list[_Box],
    marks: _Marks,
    shape: tuple[int, ...],
) -> _Label | None:
    """Return the first of the texts that finds room beside the crack's widest place."""
    row, col = (round(at * factor) for at in widest_place(crack))
    for text in texts:
        tag = _tag(text, pen.font_px)
        places = _free_places(tag.shape[:2], (row, col), shape, pen, boxes)
        box = next((place for place in places if not marks.under(place)), None)
        if box is not None:
            return _Label(tag=tag, box=box, anchor=(col, row))
    return None


def widest_place(crack: Crack) -> tuple[float, float]:
    """Return (row, col) of the largest width, or of a pixel of a crack without a width."""
    if crack.width_max_at is not None:
        return crack.width_max_at
    rows, cols = crack.mask.nonzero()
    at = len(rows) // 2
    return float(rows[at] + crack.window.row), float(cols[at] + crack.window.col)


def _free_places(
    size: tuple[int, int],
    anchor: tuple[int, int],
    shape: tuple[int, ...],
    pen: _Pen,
    boxes: list[_Box],
) -> Iterator[_Box]:
    """Yield places round the anchor, inside the picture and not taken, the nearest first."""
    height, width = size
    row, col = anchor
    for gaps in (1, 2, 3):  # a longer leader belongs to nothing
        distance = gaps * pen.gap_px
        rows = (row - height // 2, row - distance - height, row + distance)
        cols = (col + distance, col - distance - width, col - width // 2)
        for top, left in itertools.product(rows, cols):
            box = _Box(top, left, height, width)
            if box.inside(shape) and not any(box.meets(other) for other in boxes):
                yield box


@dataclass(frozen=True)
class _Marks:
    """Where marks lie on the picture, in square cells: no tag may hide one."""

    cell_px: int
    sums: Array  # (rows + 1, cols + 1) int, of the cells with a mark above and left of each corner

    @staticmethod
    def of(report: Report, shape: tuple[int, ...], factor: float, cell_px: int) -> _Marks:
        marked = np.zeros((shape[0] // cell_px + 1, shape[1] // cell_px + 1), bool)
        for crack in report.cracks:
            rows, cols = crack.mask.nonzero()
            at = (rows + crack.window.row, cols + crack.window.col)
            row, col = ((each * factor).astype(int) // cell_px for each in at)
            marked[row, col] = True
        sums = marked.cumsum(axis=0, dtype=np.int32).cumsum(axis=1, dtype=np.int32)
        return _Marks(cell_px, np.pad(sums, ((1, 0), (1, 0))))

    def under(self, box: _Box) -> bool:
        """Return whether a box would hide a part of a mark or touch one."""
        top, left = box.row // self.cell_px, box.col // self.cell_px
        bottom = (box.row + box.height - 1) // self.cell_px + 1
        right = (box.col + box.width - 1) // self.cell_px + 1
        s = self.sums
        return bool(s[bottom, right] - s[top, right] - s[bottom, left] + s[top, left])


def _draw_scale_bar(picture: Array, scale: Scale, factor: float, pen: _Pen) -> _Box:
    """Draw a bar of round length at the lower left and return the place it takes."""
    mm_per_px = scale.mm_per_px / factor
    length_mm = wording.round_length(max(0.22 * picture.shape[1] * mm_per_px, 1e-3))
    text = wording.plain_length(length_mm)
    if scale.homography is not None:
        text += " at the image centre"
    return _draw_bar(picture, text, max(round(length_mm / mm_per_px), 1), pen.font_px, pen.gap_px)


def draw_close_up_bar(
    picture: Array, scale: Scale | None, at: tuple[float, float], zoom: float
) -> None:
    """Draw a bar at the lower left of a close-up, in mm where there is a scale, else in px.

    Args:
        picture: (h, w, 3) uint8 RGB, writeable, enlarged by ``zoom``.
        scale: of the photograph, or None.
        at: (row, col) of the close-up in the photograph: an oblique scale varies over it.
        zoom: picture pixels per image pixel.
    """
    unit_px = 1.0 if scale is None else 1 / _local_mm_per_px(scale, at)
    length = wording.round_length(0.3 * picture.shape[1] / (unit_px * zoom))
    text = f"{length:g} px" if scale is None else wording.plain_length(length)
    _draw_bar(picture, text, max(round(length * unit_px * zoom), 1), font_px=13, gap_px=5)


def _local_mm_per_px(scale: Scale, at: tuple[float, float]) -> float:
    """Return the mean size of a pixel at a place, along a row and along a column."""
    here = np.array(at, float)
    ends = scale.to_mm(here + np.array([[0, 0], [0, 1], [1, 0]]))
    return float(np.hypot(*(ends[1:] - ends[0]).T).mean())


def _draw_bar(picture: Array, text: str, length_px: int, font_px: int, gap_px: int) -> _Box:
    """Draw a bar with its length in words at the lower left and return the place it takes."""
    height, width = picture.shape[:2]
    tag = _tag(text, font_px)
    bar = max(font_px // 5, 2)
    left = min(gap_px, width - 1)
    box_width = min(max(length_px, tag.shape[1]) + 2 * bar, width - left)
    top = max(height - gap_px - tag.shape[0] - 3 * bar, 0)
    box = _Box(top, left, tag.shape[0] + 3 * bar, box_width)
    picture[box.row : box.row + box.height, box.col : box.col + box.width] = PAPER
    _paste(picture, tag, _Box(box.row, left, *tag.shape[:2]))
    top = box.row + tag.shape[0]
    picture[top : top + bar, left + bar : left + bar + length_px] = INK
    return box


def _paste(picture: Array, tag: Array, box: _Box) -> None:
    part = picture[box.row : box.row + box.height, box.col : box.col + box.width]
    part[:] = tag[: part.shape[0], : part.shape[1]]


def _tag(text: str, font_px: int) -> Array:
    """Return an (h, w, 3) picture of white text on dark paper."""
    font = _font(font_px)
    left, _, right, _ = font.getbbox(text)
    pad = max(font_px // 4, 2)
    size = (math.ceil(right - left) + 2 * pad, math.ceil(font_px * 1.05) + pad)
    tag = Image.new("RGB", size, PAPER)
    ImageDraw.Draw(tag).text((pad - left, size[1] / 2), text, font=font, fill=INK, anchor="lm")
    return np.asarray(tag)


@functools.lru_cache(maxsize=8)
def _font(font_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=font_px)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise MissingExtra(
            "Pillow was built without FreeType; install its wheel from the registry."
        )
    return font
