"""Follow a dark line in the photograph between places that somebody pointed at.

The places may lie some pixels beside the line. Each is moved to the clearest dark ridge near it;
from one to the next the way runs where it costs least to leave the ridge. Where most of that way
is no dark line, it is straight between the places as they are, for a way of least cost through mere
texture wanders; the measuring then says that no dark line is there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from scipy.ndimage import map_coordinates, median_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.centreline import Line, centre_lines, end_direction, smooth
from crackseg.metrology.ends import refine_ends
from crackseg.metrology.masks import fill_pinholes
from crackseg.metrology.pixels import label_pixels, list_pixels
from crackseg.metrology.sampling import normals, read_profiles, to_grey
from crackseg.metrology.skeleton import skeletonize
from crackseg.metrology.thinning import pose_table
from crackseg.records import Array, Window

POINTED_PX = 8.0  # a place pointed at by hand lies as far from what it means
_RIDGES_PX = (1.0, 1.5, 2.5, 4.0, 7.0)  # standard deviations of the ridges looked for
_SWAY, _SWAY_PX = 0.35, (20.0, 250.0)  # how far a way may leave the straight one: share, bounds
_CLEAR = 4.0  # of the usual ridge of the texture: from here a ridge is a line
_FLOOR = 0.02  # cost of a step on the clearest ridge; beside it, 1
_CENTRINGS = 2  # a place beside the end of a wide crack leads the course aside
_BESIDE_PX, _SOFTEN_PX = 4.0, 0.8  # of the sides of a line that are looked at; blur of the grey
# A way may be no dark line on this share of the straight distance. Through texture it is none on
# 0.8 and more, where it goes round by another line on 0.44 and more, on cracks of a fifth of the
# usual contrast on 0.05 (tests/corrections/test_drawn_cracks.py has the like).
_MOST_PALE = 0.4
_DARK_SHARE = 0.5  # of a line, from which on it is centred in its dark stretch
_WHOLE = 0.7  # of a line's length that its dark stretch must have to be taken for it
_PUSHES_PX = (0.0, 4.0, 8.0)  # from so far beyond the last place the end is looked for
_HALVES_PX = (14, 28, 56, 112)  # reach of the profiles tried, until the line's edges are inside
_SEEN_SHARE = 0.8  # of the stations whose edges must be inside
_ROOM = 3.0  # times a line's half width that a profile reaches, for a line beside its middle
_RUN_PX = 9  # stations of a running median of the edges
_NOISE = 3.0  # a line is darker than its sides by this many standard deviations of them
_THIN_PX = 0.5  # half width of the mask where there is no dark line
# A crack's edge rises by this share of its depth over two px to either side, a stain's does not.
_SHARP, _SHARP_PX, _SOFT_PX = 0.4, 2, 7.0  # up to ``_SOFT_PX`` the whole line is that small


def trace(
    points: Array, shape: tuple[int, int], image: Callable[[Window], Array], smooth_px: float
) -> tuple[Line, Array]:
    """Return the centre line along a dark ridge through places, and half its mask's width.

    Args:
        points: (N, 2) float (row, col), N from 2 on, up to ``POINTED_PX`` beside the line.
        shape: (H, W) of the photograph.
        image: reads a window of it as (h, w, 3) uint8 RGB.
        smooth_px: standard deviation along the line when it is smoothed.

    Returns:
        The line, its ends where the photograph shows them, and (M, 2) the distance from each of
        its points to the edge against and along its normal, nan where no line stands out.
    """
    limits = np.array(shape) - 1.0
    points = np.clip(points, 0, limits)
    places = [_on_ridge(point, shape, image) for point in points]
    path = _ways(points, places, shape, image, smooth_px)
    course = arc.resample(smooth(arc.resample(path), smooth_px, (True, True), closed=False))
    line, whole = line_of(course, _THIN_PX, _THIN_PX), False
    for _ in range(_CENTRINGS):
        fresh, one = _centred(line, shape, image, smooth_px)
        line, whole = (fresh, one) if one or not whole else (line, whole)
    for side in (0, 1):
        line = _carried(line, side, shape, image)
    points = np.clip(line.points, 0, limits)
    reach = edge_reach(points, shape, image)
    on_line = _on_line(filled(reach))
    return line_of(points[on_line], line.radius_px, line.radius_max_px), reach[on_line]


def as_drawn(
    points: Array, shape: tuple[int, int], image: Callable[[Window], Array]
) -> tuple[Line, Array]:
    """Return the line through places as they are, and half its mask's width as ``trace`` does."""
    path = arc.resample(points)
    reach = edge_reach(path, shape, image)
    radius = 0.5 * filled(reach).sum(axis=1)
    return line_of(path, float(np.median(radius)), float(radius.max())), reach


def way_between(
    points: Array, shape: tuple[int, int], image: Callable[[Window], Array], smooth_px: float
) -> Array:
    """Return the (N, 2) way along a dark ridge from one place to another, which stay.

    Args:
        points: (N, 2) float (row, col); those between the first and the last may lie beside it.
        shape: (H, W) of the photograph.
        image: reads a window of it.
        smooth_px: standard deviation along the way when it is smoothed.
    """
    between = [_on_ridge(point, shape, image) for point in points[1:-1]]
    path = _ways(points, [points[0], *between, points[-1]], shape, image, smooth_px)
    path[0], path[-1] = points[0], points[-1]
    way: Array = smooth(arc.resample(path), smooth_px, (False, False), closed=False)
    return arc.resample(way)


def _ways(
    points: Array,
    places: list[Array],
    shape: tuple[int, int],
    image: Callable[[Window], Array],
    smooth_px: float,
) -> Array:
    """Return the (N, 2) way through places: along what is dark, else straight between the points.

    Args:
        points: (P, 2) as they were pointed at.
        places: of them, on the nearest ridge.
        shape: (H, W) of the photograph.
        image: reads a window of it.
        smooth_px: of the line that the way becomes.
    """
    ways: list[Array | None] = []
    for one, two in itertools.pairwise(places):
        way = _way(one, two, shape, image)
        course = arc.resample(smooth(arc.resample(way), smooth_px, (True, True), closed=False))
        pale = 1 - _dark_share(edge_reach(course, shape, image))
        ways.append(
            way if pale * arc.length(course) <= _MOST_PALE * np.hypot(*(two - one)) else None
        )
    on_dark = [False, *(way is not None for way in ways), False]
    ends = [
        place if on_dark[k] or on_dark[k + 1] else point
        for k, (point, place) in enumerate(zip(points, places, strict=True))
    ]
    steps = zip(ways, itertools.pairwise(ends), strict=True)
    parts = [np.stack(straight) if way is None else way for way, straight in steps]
    return np.concatenate([parts[0], *(part[1:] for part in parts[1:])])


def _dark_share(reach: Array) -> float:
    """Return the share of a line's stations that stand out, by its reach to the edges."""
    return float(np.mean(~np.isnan(reach[:, 0])))


def _centred(
    line: Line, shape: tuple[int, int], image: Callable[[Window], Array], smooth_px: float
) -> tuple[Line, bool]:
    """Return the centre line of the dark stretch that a line runs in, and whether it is one line.

    It is that of the stretch as a mask, as of every other crack; where that branches, the longest
    way through it. Where the stretch is too faint to be told from what lies beside it, or most of
    the line is not dark, the line stays.
    """
    visible = edge_reach(line.points, shape, image)
    if _dark_share(visible) < _DARK_SHARE:
        return line, False
    reach = filled(visible)
    radius, on_line = 0.5 * reach.sum(axis=1), _on_line(reach)
    window, mask = _dark_pixels(line.points[on_line], reach[on_line], shape, image)
    mask = fill_pinholes(np.pad(mask, 1), mask.size)
    pixels = list_pixels(mask)
    count, component = label_pixels(pixels)
    skeleton = skeletonize(pixels, component, pose_table(pixels, component, count))
    lines = centre_lines(skeleton, mask, smooth_px)
    points = _longest(lines)
    if len(lines) > 1:
        points = arc.resample(smooth(arc.resample(points), smooth_px, (True, True), closed=False))
    made = line_of(points, float(np.median(radius)), float(radius.max()))
    if made.length_px < _WHOLE * line.length_px:
        return replace(line, radius_px=made.radius_px, radius_max_px=made.radius_max_px), False
    corner = np.array([window.row - 1, window.col - 1])
    return replace(made, points=points + corner), len(lines) == 1


def _on_line(reach: Array) -> slice:
    """Return the stations of a line but for those at its ends that lie beside the dark stretch."""
    width = reach.sum(axis=1)
    on = np.flatnonzero(width >= 0.5 * np.median(width))
    return slice(int(on[0]), int(on[-1]) + 1) if on[-1] - on[0] >= 2 else slice(None)


def _longest(lines: list[Line]) -> Array:
    """Return the (N, 2) points of the longest of the shortest ways between two nodes of a graph."""
    if not lines:
        return np.zeros((2, 2))
    size = 1 + max(node for line in lines for node in line.nodes)
    length = np.zeros((size, size))
    between: dict[tuple[int, int], Array] = {}
    for line in sorted(lines, key=lambda line: -line.length_px):
        one, two = line.nodes
        length[one, two] = length[two, one] = line.length_px
        between |= {(one, two): line.points, (two, one): line.points[::-1]}
    far, before = dijkstra(length, directed=False, return_predecessors=True)
    start, node = (int(k) for k in np.unravel_index(
        int(np.argmax(np.where(np.isfinite(far), far, -1.0))), far.shape
    ))  # fmt: skip
    ways = []
    while node != start:
        ways.append(between[int(before[start, node]), node])
        node = int(before[start, node])
    return np.concatenate(ways[::-1]) if ways else np.zeros((2, 2))


def _dark_pixels(
    points: Array, reach: Array, shape: tuple[int, int], image: Callable[[Window], Array]
) -> tuple[Window, Array]:
    """Return the dark pixels about a line, (h, w) bool in a window: those that touch it.

    Dark is what lies below the middle between the line and its sides, at the nearest of its
    points.
    """
    window, strip = paint(points, reach + _BESIDE_PX, shape)
    grey = cv2.GaussianBlur(to_grey(image(window)), (0, 0), _SOFTEN_PX)
    origin = np.array([window.row, window.col])
    normal = normals(points)
    level = []
    for side in (-1.0, 1.0):
        outer = reach[:, :1] if side < 0 else reach[:, 1:]
        at = points + side * (outer + _BESIDE_PX) * normal - origin
        level.append(map_coordinates(grey, at.T, order=1, mode="nearest"))
    line = map_coordinates(grey, (points - origin).T, order=1, mode="nearest")
    middle = median_filter(0.5 * (np.minimum(*level) + line), _RUN_PX, mode="nearest")
    rows, cols = np.nonzero(strip)
    near = cKDTree(points - origin).query(np.column_stack([rows, cols]))[1]
    dark = np.zeros(strip.shape, np.uint8)
    dark[rows, cols] = grey[rows, cols] < middle[near]
    course = [np.rint(points - origin)[:, ::-1].astype(np.int32)]
    core = cv2.polylines(np.zeros(strip.shape, np.uint8), course, False, 1)
    label = cv2.connectedComponents(dark | core, connectivity=8)[1]
    mine = np.unique(label[core > 0])
    return window, np.isin(label, mine[mine > 0])


def paint(points: Array, reach: Array, shape: tuple[int, int]) -> tuple[Window, Array]:
    """Return the pixels from edge to edge of a line, (h, w) bool in a window.

    Args:
        points: (N, 2) float (row, col).
        reach: (N, 2) px to the edge against and along the normal; nan: the line's own pixels.
        shape: (H, W) of the picture.
    """
    normal, visible = normals(points), ~np.isnan(reach[:, 0])
    reach = filled(reach)
    left, right = points - reach[:, :1] * normal, points + reach[:, 1:] * normal
    every = np.concatenate([left, right, points])
    low = np.maximum(np.floor(every.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(every.max(axis=0)).astype(int) + 2, shape)
    canvas = np.zeros(high - low, np.uint8)
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    for quad in np.rint((quads[visible[:-1] & visible[1:]] - low)[..., ::-1] * 16).astype(np.int32):
        cv2.fillConvexPoly(canvas, quad, 1, cv2.LINE_8, 4)
    course = [np.rint(points - low)[:, ::-1].astype(np.int32)]
    cv2.polylines(canvas, course, False, 1)
    window = Window(row=int(low[0]), col=int(low[1]), height=canvas.shape[0], width=canvas.shape[1])
    return window, canvas.view(bool)


def _carried(
    line: Line, side: int, shape: tuple[int, int], image: Callable[[Window], Array]
) -> Line:
    """Return a line with one end where the photograph shows it, if it does so nearby."""
    path = line.points if side == 1 else line.points[::-1]
    direction = end_direction(path, line.radius_px)[1]
    for push in _PUSHES_PX:
        steps = np.arange(1.0, push + 0.5)[:, None]
        pushed = np.concatenate([path, path[-1] + steps * direction])
        (refined,) = refine_ends([replace(line, points=pushed, free=(False, True))], shape, image)
        if not np.array_equal(refined.points, pushed):
            return replace(line, points=refined.points if side == 1 else refined.points[::-1])
    return line


def line_of(points: Array, radius_px: float, radius_max_px: float) -> Line:
    """Return a centre line between two tips."""
    return Line(
        points=points,
        nodes=(0, 1),
        free=(True, True),
        kind="tip-tip",
        component=0,
        radius_px=radius_px,
        radius_max_px=radius_max_px,
        pixel_length_px=pixel_length(points),
    )


def pixel_length(points: Array) -> float:
    """Return the length of a line as a skeleton has it, in steps of 1 and sqrt(2)."""
    step = np.sort(np.abs(np.diff(points, axis=0)), axis=1)
    return float((step[:, 1] + (np.sqrt(2) - 1) * step[:, 0]).sum())


def edge_reach(points: Array, shape: tuple[int, int], image: Callable[[Window], Array]) -> Array:
    """Return the (N, 2) distance from a line to the edges of its dark stretch, about half-way down.

    It makes a mask, no width: those are measured. nan where no line stands out.
    """
    normal = normals(points)
    sides_px, traced = np.full((len(points), 2), _THIN_PX), np.zeros(len(points), bool)
    first, here = sides_px, traced
    for half in _HALVES_PX:
        profiles = read_profiles(image, shape, points, normal, half)
        reach, visible = _fall(median_filter(profiles, size=(5, 1), mode="nearest"))
        sides_px = np.where((visible & ~traced)[:, None], reach, sides_px)
        traced |= visible
        if half == _HALVES_PX[0]:
            first, here = sides_px, traced.copy()
        if traced.mean() >= _SEEN_SHARE and half >= _ROOM * np.median(sides_px[traced]):
            break
    else:  # a broad dark thing here and there is no line
        sides_px = first
        traced = here
    traced = median_filter(traced, _RUN_PX, mode="nearest")
    sides = np.column_stack([median_filter(side, _RUN_PX, mode="nearest") for side in sides_px.T])
    return np.where(traced[:, None], sides, np.nan)


def filled(reach: Array) -> Array:
    """Return a reach to the edges with half a pixel where no line stands out."""
    return np.nan_to_num(reach, nan=_THIN_PX)


def _fall(profiles: Array) -> tuple[Array, Array]:
    """Return the (N, 2) reach of the dark stretch about the middle, and where there is one."""
    half = profiles.shape[1] // 2
    outer = max(half // 2, 5)
    sides = np.stack([profiles[:, :outer], profiles[:, -outer:]])
    base = np.median(sides, axis=2).min(axis=0)
    noise = np.median(np.abs(sides - np.median(sides, axis=2, keepdims=True)), axis=(0, 2))
    dark = profiles[:, half - 1 : half + 2].mean(axis=1)
    depth, level = base - dark, (0.5 * (base + dark))[:, None]
    visible = depth > _NOISE * np.maximum(1.4826 * noise, 0.5)
    reach = []
    for part in (profiles[:, half::-1], profiles[:, half:]):
        first = _first(part > level)
        visible &= first < half - outer
        ends = (np.clip(first + step, 0, half)[:, None] for step in (_SHARP_PX, -_SHARP_PX))
        above, below = (np.take_along_axis(part, end, axis=1)[:, 0] for end in ends)
        visible &= (first <= _SOFT_PX) | (above - below >= _SHARP * depth)
        reach.append(np.maximum(first - 0.5, _THIN_PX))
    return np.where(visible[:, None], np.column_stack(reach), _THIN_PX), visible


def _first(true: Array) -> Array:
    """Return the (N,) place of the first True of each row, its length where there is none."""
    first: Array = np.where(true.any(axis=1), true.argmax(axis=1), true.shape[1])
    return first


def _on_ridge(point: Array, shape: tuple[int, int], image: Callable[[Window], Array]) -> Array:
    """Return the place of the clearest ridge near a point, the nearer of two alike."""
    reach = int(np.ceil(POINTED_PX))
    window = _around(point, point, 3.0 * reach, shape)
    clear = _ridge(to_grey(image(window)))
    rows, cols = np.indices(clear.shape)
    far = np.hypot(rows + window.row - point[0], cols + window.col - point[1])
    worth = np.where(far <= POINTED_PX, clear * (1 - 0.5 * (far / POINTED_PX) ** 2), -1.0)
    row, col = np.unravel_index(int(np.argmax(worth)), worth.shape)
    if clear[row, col] < _CLEAR:
        return np.asarray(point, dtype=np.float64)
    return np.array([row + window.row, col + window.col], dtype=np.float64)


def _way(one: Array, two: Array, shape: tuple[int, int], image: Callable[[Window], Array]) -> Array:
    """Return the (N, 2) way of least cost from one place to another."""
    far = float(np.hypot(*(two - one)))
    sway = float(np.clip(_SWAY * far, *_SWAY_PX))
    window = _around(one, two, sway, shape)
    cost = _FLOOR + 1 / (1 + (_ridge(to_grey(image(window))) / _CLEAR) ** 2)
    cost[_beside(one, two, window) > sway] = -1.0  # never gone
    origin = np.array([window.row, window.col])
    start, end = (np.rint(place - origin).astype(int) for place in (one, two))
    way: Array = cheapest_way(cost, start, end).astype(np.float64) + origin
    return way


def cheapest_way(cost: Array, start: Array, end: Array) -> Array:
    """Return the (N, 2) pixels of the way of least cost from one pixel to another.

    Args:
        cost: (h, w) float, above 0, of a step of one px; a pixel below 0 is never gone. A step
            costs the mean of its two pixels times its length.
        start: (row, col).
        end: (row, col), which can be reached.
    """
    pixels = list_pixels(cost >= 0)
    price, count = cost[pixels.rows, pixels.cols], len(pixels)
    edges = []
    for direction, length in ((2, 1.0), (3, np.sqrt(2)), (4, 1.0), (5, np.sqrt(2))):
        there = pixels.table[:, direction]
        here = np.flatnonzero(there < count)
        there = there[here]
        edges.append((length * 0.5 * (price[here] + price[there]), here, there))
    paid, one, two = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_array((paid, (one, two)), shape=(count, count)).tocsr()
    first, last = (
        int(np.flatnonzero((pixels.rows == row) & (pixels.cols == col))[0])
        for row, col in (start, end)
    )
    before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)[1]
    way = [last]
    while way[-1] != first:
        way.append(int(before[way[-1]]))
    return np.column_stack([pixels.rows, pixels.cols])[way[::-1]]


def _beside(one: Array, two: Array, window: Window) -> Array:
    """Return the (h, w) distance of each pixel of a window from a straight way."""
    rows, cols = np.indices((window.height, window.width), dtype=np.float32)
    at = np.stack([rows + window.row - one[0], cols + window.col - one[1]])
    way = two - one
    share = np.clip(np.tensordot(way, at, 1) / max(float(way @ way), 1e-9), 0, 1)
    beside: Array = np.hypot(at[0] - share * way[0], at[1] - share * way[1])
    return beside


def _around(one: Array, two: Array, margin: float, shape: tuple[int, int]) -> Window:
    """Return the window of two places and a margin, within the picture."""
    low = np.floor(np.minimum(one, two) - margin).astype(int)
    high = np.ceil(np.maximum(one, two) + margin).astype(int) + 1
    top, left = (int(max(low[k], 0)) for k in (0, 1))
    bottom, right = (int(min(high[k], shape[k])) for k in (0, 1))
    return Window(row=top, col=left, height=bottom - top, width=right - left)


def _ridge(grey: Array) -> Array:
    """Return how clear a dark ridge is at each pixel, in units of what the texture shows."""
    clear = np.zeros_like(grey)
    for sigma in _RIDGES_PX:
        soft = cv2.GaussianBlur(grey, (0, 0), sigma)
        rows2, cols2, both = (
            cv2.Sobel(soft, cv2.CV_32F, *order, ksize=3)  # a second derivative times 4
            for order in ((0, 2), (2, 0), (1, 1))
        )
        across = 0.5 * (rows2 + cols2) + np.hypot(0.5 * (rows2 - cols2), both)
        across = np.maximum(across, 0) * sigma**2
        clear = np.maximum(clear, across / max(float(np.median(across)), 1.0))
    return clear
