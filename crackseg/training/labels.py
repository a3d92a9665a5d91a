"""A picture and its crack mask -> a map of labels that can be shrunk without losing thin lines.

A mask says crack or not. Training needs more: where the centre line of a crack runs, so that a
crack shrunk below a pixel is still labelled as a line; which dark lines are something else (joint,
cable, edge of formwork, scratch); and which pixels teach nothing because nobody knows.
"""

from __future__ import annotations

import cv2
import numpy as np

from crackseg.raster_tools import skeletonize
from crackseg.records import Array
from crackseg.training.areas import LEFT_OUT as AREA_LEFT_OUT
from crackseg.training.areas import NO_CRACK, OTHER_LINE

NOTHING, CRACK, OTHER = 0, 1, 2
EITHER = 3  # a dark line that may be a crack or not, but must not be passed over
UNKNOWN = 4  # no crack; perhaps another line
IGNORED = 5  # teaches neither
LINE = 6  # the centre line of a crack; `settle` makes crack of it
LEFT_OUT = 7  # teaches neither, as `IGNORED`: nobody decided what is there
OUTLINED = 8  # crack, in a set whose labels' outline counts; see `DataOptions.outlines`

LINE_CONTRAST = 14.0  # grey levels by which a drawn line must be darker to be taught as one
_LEAST_WIDTH_PX = 0.35  # a label that is shrunk to less leaves no dark line to learn from
_SCALES_PX = (1.0, 1.7, 2.8)  # standard deviations at which dark lines are looked for
_STRONG, _WEAK = 9.0, 4.5  # grey levels; about half a line's contrast
_STRAIGHT_PX, _BEND = 50, 0.06  # another line is so long, and its points stray so little from it
_LONG_PX = 24  # shorter ones are texture


def label_map(
    picture: Array,
    mask: Array,
    *,
    joints: bool = False,
    areas: Array | None = None,
    lines: bool = True,
) -> Array:
    """Return the (H, W) uint8 labels of a picture.

    Args:
        picture: (H, W, 3) uint8 RGB.
        mask: (H, W) bool or uint8, true where there is a crack.
        joints: long dark lines outside the mask are other lines. Elsewhere they are ``UNKNOWN``:
            a set whose labels leave cracks out would teach them as joints.
        areas: (H, W) uint8 of ``areas``: what is left out counts over the mask, the rest beside it.
        lines: look for such lines at all; a network that has one output learns nothing from them.
    """
    crack = mask > 0
    labels = np.where(crack, CRACK, NOTHING).astype(np.uint8)
    near = cv2.dilate(crack.astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    for line, kind in dark_lines(picture, webs=joints) if lines else ():
        labels[line & ~near] = OTHER if joints and kind == "straight" else UNKNOWN
    if crack.any():
        labels[skeletonize(crack)] = LINE
    if areas is not None:
        labels[(areas == NO_CRACK) & ~crack] = UNKNOWN
        labels[(areas == OTHER_LINE) & ~crack] = OTHER
        labels[areas == AREA_LEFT_OUT] = LEFT_OUT
    return labels


def dark_lines(picture: Array, *, webs: bool) -> list[tuple[Array, str]]:
    """Return the (H, W) bool masks of long dark lines, and whether they are crooked or straight.

    A dark line is a ridge of the grey values at one of three scales. Without ``webs`` what branches
    much is left out: it is texture more often than a net of joints.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    depth = np.max([_ridge(grey, scale) for scale in _SCALES_PX], axis=0)
    count, label, stats, _ = cv2.connectedComponentsWithStats((depth > _WEAK).astype(np.uint8))
    strong = np.bincount(label[depth > _STRONG], minlength=count)
    length = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    long = (strong > 0.3 * length) & (length >= _LONG_PX)
    long[0] = False
    straight = long & (length >= _STRAIGHT_PX) & (_bend(label, count) < _BEND)
    crooked = long & ~straight & (webs | (stats[:, cv2.CC_STAT_AREA] < 8 * length))
    return [(crooked[label], "crooked"), (straight[label], "straight")]


def _bend(label: Array, count: int) -> Array:
    """Return how far each region's points stray across its axis, per spread along it, (count,)."""
    rows, cols = np.nonzero(label)
    of = label[rows, cols]
    number = np.maximum(np.bincount(of, minlength=count), 1)

    def mean(values: Array) -> Array:
        total: Array = np.bincount(of, weights=values, minlength=count) / number
        return total

    row, col = rows - mean(rows)[of], cols - mean(cols)[of]
    rr, rc, cc = mean(row * row), mean(row * col), mean(col * col)
    middle, half = (rr + cc) / 2, np.hypot((rr - cc) / 2, rc)
    bend: Array = np.sqrt(np.maximum(middle - half, 0) / np.maximum(middle + half, 1e-9))
    return bend


def _ridge(grey: Array, scale: float) -> Array:
    """Return how much darker each pixel is than both sides of the line through it, at a scale."""
    smooth = cv2.GaussianBlur(grey, (0, 0), scale)
    row, col = np.gradient(smooth)
    (rr, rc), (_, cc) = np.gradient(row), np.gradient(col)
    mean, half = (rr + cc) / 2, np.hypot((rr - cc) / 2, rc)
    across, along = mean + half, mean - half
    depth: Array = scale**2 * np.where(np.abs(along) < 0.5 * across, across, 0)
    return depth


def turned(labels: Array, matrix: Array, scale: float, size: int) -> Array:
    """Return the labels after an affine change of place, thin cracks as unbroken lines.

    Where less than half of a new pixel is crack, its label is the crack's centre line, one or two
    pixels wide; a crack too thin to leave a dark line is ``IGNORED``.

    Args:
        labels: (H, W) uint8 of ``label_map``.
        matrix: (2, 3) float, old x and y to new ones.
        scale: new pixels per old one.
        size: side of the new square, px.
    """
    result = np.zeros((size, size), np.uint8)
    for kind in (UNKNOWN, OTHER, EITHER, IGNORED, LEFT_OUT):
        part = labels == kind
        if part.any():
            result[moved(part.astype(np.float32), matrix, scale, size) > 0.35] = kind
    crack = (labels == CRACK) | (labels == LINE)
    if not crack.any():
        return result
    share = moved(crack.astype(np.float32), matrix, scale, size)
    result[share > (0.45 if scale >= 1 else 0.4)] = CRACK
    rows, cols = np.nonzero(labels == LINE)
    half = cv2.distanceTransform(crack.astype(np.uint8), cv2.DIST_L2, 3)[rows, cols]
    width = np.maximum(2 * half - 1, 1.0) * scale
    points = np.column_stack([cols, rows, np.ones(len(rows))]) @ matrix.T
    if scale > 1:
        return result
    for wide, kind in ((False, IGNORED), (True, CRACK)):
        line = _line(points[(width >= _LEAST_WIDTH_PX) == wide], size)
        result[line & (result != CRACK)] = kind
    return result


def _line(points: Array, size: int) -> Array:
    """Return the (size, size) bool mask of pixels that points (x, y) lie in or close to."""
    drawn = np.zeros((size, size), bool)
    base = np.floor(points).astype(int)
    part = points - base
    for right in (0, 1):
        for down in (0, 1):
            x, y = base[:, 0] + right, base[:, 1] + down
            weight = np.abs(1 - right - part[:, 0]) * np.abs(1 - down - part[:, 1])
            ok = (weight >= 0.25) & (x >= 0) & (y >= 0) & (x < size) & (y < size)
            drawn[y[ok], x[ok]] = True
    return drawn


def moved(values: Array, matrix: Array, scale: float, size: int) -> Array:
    """Return a (size, size) square of values after an affine change of place.

    Values are averaged before fewer pixels are taken, or thin cracks would turn into dots.

    Args:
        values: (H, W) float32 or (H, W, 3) uint8.
        matrix: (2, 3) float, old x and y to new ones.
        scale: new pixels per old one.
        size: side of the new square, px.
    """
    if scale < 1:
        height, width = values.shape[:2]
        small = (max(round(width * scale), 1), max(round(height * scale), 1))
        values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
        across, down = width / small[0], height / small[1]
        old = [[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5], [0, 0, 1]]
        matrix = matrix @ np.array(old)
    border = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    square: Array = cv2.warpAffine(values, matrix, (size, size), **border)
    return square


def settle(labels: Array) -> Array:
    """Return the labels with every centre line as crack."""
    return np.where(labels == LINE, CRACK, labels).astype(np.uint8)
