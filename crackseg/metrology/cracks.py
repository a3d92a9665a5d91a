"""Measure the cracks of a mask: length, width profile, area, graph, with uncertainty.

The mask says where a crack is; the photograph, where given, says how wide. Widths are read in
the original pixels across the centre line and fall back to the mask where no dark line is found.
Nothing is said in mm without a scale, and nothing is said of depth: a picture does not show it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.errors import ConfigError
from crackseg.metrology.bridges import bridge
from crackseg.metrology.centreline import Line, centre_lines
from crackseg.metrology.classes import classify, read_documents
from crackseg.metrology.courses import Photograph
from crackseg.metrology.cuts import Cut, cut_by
from crackseg.metrology.ends import refine_ends
from crackseg.metrology.evidence import darkness
from crackseg.metrology.forks import join_sides
from crackseg.metrology.hidden import join_hidden
from crackseg.metrology.joins import join
from crackseg.metrology.masks import fill_pinholes
from crackseg.metrology.pixels import Pixels, label_pixels, list_pixels
from crackseg.metrology.skeleton import skeletonize
from crackseg.metrology.stations import Stations, measure_stations, no_stations
from crackseg.metrology.summary import Place, summarize
from crackseg.metrology.thinning import pose_table
from crackseg.records import Array, Crack, Notice, Scale, Window


def measure(
    mask: Array,
    *,
    image: Callable[[Window], Array] | None = None,
    probability: Array | None = None,
    valid: Array | None = None,
    scale: Scale | None = None,
    mask_options: MaskOptions,
    options: MeasureOptions,
) -> tuple[tuple[Crack, ...], tuple[Notice, ...]]:
    """Return the cracks of a mask, longest first, and what a reader must be warned of.

    Args:
        mask: (H, W) bool, True = crack; the whole picture, so that tile borders cut nothing.
        image: reads a window of the photograph as (h, w, 3) uint8 RGB; None: widths from the mask.
        probability: (H, W) uint8, 255 = 1.0, for the mean over each crack.
        valid: (H, W) bool, False where the picture holds no data; None: everywhere data.
        scale: makes mm; None leaves every mm field None.
        mask_options: speck size and gap length.
        options: smoothing, shortest crack, width-class documents.

    Raises:
        ConfigError: ``mask`` is not a bool picture, or ``probability`` or ``valid`` has another
            shape.
    """
    _check(mask, probability=probability, valid=valid)
    documents = read_documents(options.documents, options.width_classes)
    notices: list[Notice] = []
    if scale is None:
        notices.append(
            Notice(code="no_scale", message="No scale is known: lengths are in px only.")
        )
    filled = fill_pinholes(mask, mask_options.min_area_px)
    pixels = list_pixels(filled)
    if not len(pixels):
        return (), tuple(notices)
    count, component = label_pixels(pixels)
    skeleton = skeletonize(pixels, component, pose_table(pixels, component, count))
    lines = centre_lines(skeleton, filled, options.smooth_px)
    lines, group = bridge(lines, mask_options.gap_px)
    if image is not None and options.join_px:
        photo = Photograph(mask.shape, image, probability)
        lines, group = join(lines, group, filled, options.join_px, photo)
        lines, group = join_sides(lines, group, filled, options.join_px, photo)
        lines, group = join_hidden(lines, group, filled, options.join_px, photo)
    all_groups = group
    long = _long_enough(lines, group, options.min_length_px)
    lines, group = [lines[k] for k in long], group[long]
    cuts = [cut_by(line, mask.shape, valid) for line in lines]
    if image is not None:
        lines = refine_ends(lines, mask.shape, image)
    home = _home(lines, group, count)
    places = {
        int(name): _place(pixels, home[component] == name, mask, probability)
        for name in np.unique(group)
    }
    cracks = measure_lines(lines, group, filled, cuts, places, image=image, scale=scale)
    cracks.sort(key=lambda crack: -(crack.length.px or 0.0))
    if dropped := len(set(all_groups.tolist())) - len(cracks):
        notices.append(
            Notice(
                code="short_pieces_dropped",
                message=f"{dropped} {'piece' if dropped == 1 else 'pieces'} shorter than "
                f"{options.min_length_px:g} px {'was' if dropped == 1 else 'were'} taken for "
                f"texture and {'is' if dropped == 1 else 'are'} not reported.",
            )
        )
    return (
        tuple(
            replace(crack, id=k + 1, width_classes=classify(crack.width_p95, documents))
            for k, crack in enumerate(cracks)
        ),
        tuple(notices),
    )


def measure_lines(
    lines: list[Line],
    group: Array,
    mask: Array,
    cuts: Sequence[frozenset[Cut]],
    places: Mapping[int, Place],
    *,
    image: Callable[[Window], Array] | None,
    scale: Scale | None,
) -> list[Crack]:
    """Return the cracks of centre lines whose ends are where they shall be.

    Args:
        lines: centre lines.
        group: (L,) crack of each line.
        mask: (H, W) bool.
        cuts: of each line, what its free ends run into.
        places: of each crack, where its pixels are.
        image: reads a window of the photograph; None: widths from the mask.
        scale: makes mm.

    Returns:
        One crack for each name in ``group``, in rising order; numbers and width classes are set by
        the caller.
    """
    stations = _stations(lines, group, mask, image)
    cracks = []
    for name in np.unique(group):
        members = np.flatnonzero(group == name)
        cracks.append(
            summarize(
                [lines[k] for k in members],
                [stations[k] for k in members],
                places[int(name)],
                frozenset[Cut]().union(*(cuts[k] for k in members.tolist())),
                scale,
                photograph=image is not None,
            )
        )
    if image is None:
        return cracks
    shares = darkness(cracks, mask.shape, image)
    return [
        replace(crack, contrast=contrast, step=step)
        for crack, (contrast, step) in zip(cracks, shares, strict=True)
    ]


def _stations(
    lines: list[Line], group: Array, mask: Array, image: Callable[[Window], Array] | None
) -> list[Stations]:
    """Return the stations of every line; what is hidden is not looked at."""
    visible = [k for k, line in enumerate(lines) if line.kind != "hidden"]
    measured = measure_stations([lines[k] for k in visible], group[visible], mask, image)
    stations = [no_stations(line) for line in lines]
    for k, of_line in zip(visible, measured, strict=True):
        stations[k] = of_line
    return stations


def _long_enough(lines: list[Line], group: Array, min_length_px: float) -> Array:
    """Return the numbers of the lines whose crack reaches the shortest length reported."""
    if not lines:
        return np.zeros(0, dtype=np.int64)
    length = np.array([line.length_px for line in lines])
    total = np.bincount(group, weights=length)
    return np.flatnonzero(total[group] >= min_length_px)


def _home(lines: list[Line], group: Array, count: int) -> Array:
    """Return the (count,) crack of each component of the mask, -1 where it is not reported."""
    home = np.full(count, -1)
    for line, name in zip(lines, group, strict=True):
        home[line.component] = name
    return home


def _place(pixels: Pixels, chosen: Array, mask: Array, probability: Array | None) -> Place:
    """Return where the chosen pixels of the mask are."""
    rows, cols = pixels.rows[chosen], pixels.cols[chosen]
    true = mask[rows, cols]  # without filled pinholes
    rows, cols = rows[true], cols[true]
    top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
    crop = np.zeros((bottom - top, right - left), dtype=bool)
    crop[rows - top, cols - left] = True
    height, width = mask.shape
    return Place(
        window=Window(
            row=int(top), col=int(left), height=int(bottom - top), width=int(right - left)
        ),
        crop=crop,
        rows=rows,
        cols=cols,
        touches_border=bool(top == 0 or left == 0 or bottom == height or right == width),
        probability_mean=None
        if probability is None
        else float(probability[rows, cols].mean() / 255),
    )


def _check(mask: Array, **others: Array | None) -> None:
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ConfigError(
            f"`mask` must be (H, W) bool, got {mask.dtype} of shape {mask.shape}; "
            "compare it with a threshold first."
        )
    for name, other in others.items():
        if other is not None and other.shape != mask.shape:
            raise ConfigError(
                f"`{name}` must have the shape of `mask`, {mask.shape}, got {other.shape}."
            )
