"""Measure the cracks of a mask: length, width profile, area, graph, with uncertainty.

The mask says where a crack is; the photograph, where given, says how wide. Widths are read in
the original pixels across the centre line and fall back to the mask where no dark line is found.
Nothing is said in mm without a scale, and nothing is said of depth: a picture does not show it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.disk import Plane
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
from crackseg.metrology.masks import without_pinholes
from crackseg.metrology.pixels import label_runs, link_pixels, parcels
from crackseg.metrology.readings import Stations
from crackseg.metrology.skeleton import skeletonize
from crackseg.metrology.stations import measure_stations, no_stations
from crackseg.metrology.summary import Place, summarize
from crackseg.metrology.thinning import pose_table
from crackseg.records import Array, Crack, Notice, Scale, Window
from crackseg.runs import Mask, Runs

# Pixels of the mask that are thinned, and stations that are measured, at once: bounds memory on
# gigapixel pictures. Photographs have fewer.
_PARCEL_PX, _PARCEL_STATIONS = 3_000_000, 400_000


def measure(
    mask: Mask,
    *,
    image: Callable[[Window], Array] | None = None,
    probability: Plane | None = None,
    other: Plane | None = None,
    valid: Mask | None = None,
    declared: Mask | None = None,
    scale: Scale | None = None,
    mask_options: MaskOptions,
    options: MeasureOptions,
    in_full: bool = True,
) -> tuple[tuple[Crack, ...], tuple[Notice, ...]]:
    """Return the cracks of a mask, longest first, and what a reader must be warned of.

    Args:
        mask: (H, W) bool, True = crack; the whole picture, so that tile borders cut nothing.
        image: reads a window of the photograph as (h, w, 3) uint8 RGB; None: widths from the mask.
        probability: (H, W) uint8, 255 = 1.0, for the mean over each crack.
        other: (H, W) uint8, 255 = 1.0, of other dark lines: no crack is joined along one of them.
        valid: (H, W) bool, False where the picture holds no data; None: everywhere data.
        declared: the same without what merely looks like none: no crack is followed there, whatever
            stands there; None: everywhere data.
        scale: makes mm; None leaves every mm field None.
        mask_options: speck size and gap length.
        options: smoothing, shortest crack, width-class documents.
        in_full: False leaves out openings, contrast and step, of which no report tells where a
            line is no crack.

    Raises:
        ConfigError: ``mask`` is not a bool picture, or one of the others has another shape.
    """
    _check(mask, probability=probability, other=other, valid=valid, declared=declared)
    documents = read_documents(options.documents, options.width_classes)
    notices: list[Notice] = []
    if scale is None:
        notices.append(
            Notice(code="no_scale", message="No scale is known: lengths are in px only.")
        )
    mask = Runs.of(mask)
    filled = without_pinholes(mask, mask_options.min_area_px, image)
    if not filled.any():
        return (), tuple(notices)
    count, component = label_runs(filled)
    lines = _lines(filled, component, count, options.smooth_px)
    photo = None
    if image is not None:
        photo = Photograph(mask.shape, _that_counts(image, declared), probability, other)
    lines, group = bridge(lines, mask_options.gap_px, photo)
    if photo is not None and options.join_px:
        lines, group = join(lines, group, filled, options.join_px, photo)
        lines, group = join_sides(lines, group, filled, options.join_px, photo)
        lines, group = join_hidden(lines, group, filled, options.join_px, photo)
    all_groups = group
    long = _long_enough(lines, group, options.min_length_px)
    lines, group = [lines[k] for k in long], group[long]
    cuts = [cut_by(line, mask.shape, valid, image) for line in lines]
    if image is not None:
        lines = refine_ends(lines, mask.shape, image)
    home = _home(lines, group, count)[component]
    by_home = np.argsort(home, kind="stable")

    def place(name: int) -> Place:
        own = slice(*np.searchsorted(home, (name, name + 1), sorter=by_home))
        return _place(filled.chosen(by_home[own]), mask, probability)

    cracks = measure_lines(
        lines, group, filled, cuts, place, image=image, scale=scale, in_full=in_full
    )
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
    mask: Mask,
    cuts: Sequence[frozenset[Cut]],
    place: Callable[[int], Place],
    *,
    image: Callable[[Window], Array] | None,
    scale: Scale | None,
    in_full: bool = True,
) -> list[Crack]:
    """Return the cracks of centre lines whose ends are where they shall be.

    Args:
        lines: centre lines.
        group: (L,) crack of each line.
        mask: (H, W) bool.
        cuts: of each line, what its free ends run into.
        place: tells of each crack where its pixels are.
        image: reads a window of the photograph; None: widths from the mask.
        scale: makes mm.
        in_full: False leaves out openings, contrast and step.

    Returns:
        One crack for each name in ``group``, in rising order; numbers and width classes are set by
        the caller.
    """
    cracks = []
    for members in _parcels_of(lines, group):
        own = [lines[k] for k in members]
        stations = _stations(own, group[members], mask, image)
        for name in np.unique(group[members]):
            chosen = np.flatnonzero(group[members] == name)
            cracks.append(
                summarize(
                    [own[k] for k in chosen],
                    [stations[k] for k in chosen],
                    place(int(name)),
                    frozenset[Cut]().union(*(cuts[k] for k in members[chosen].tolist())),
                    scale,
                    photograph=image is not None,
                    in_full=in_full,
                )
            )
    if image is None or not in_full:
        return cracks
    shares = darkness(cracks, mask.shape, image)
    return [
        replace(crack, contrast=contrast, step=step)
        for crack, (contrast, step) in zip(cracks, shares, strict=True)
    ]


def _lines(filled: Runs, component: Array, count: int, smooth_px: float) -> list[Line]:
    """Return the centre lines of a mask, some components at a time; no two share a node's number.

    Args:
        filled: the mask.
        component: (R,) of its runs.
        count: of the components.
        smooth_px: standard deviation along a line when it is smoothed.
    """
    lines: list[Line] = []
    for chosen in parcels(filled, component, count, _PARCEL_PX):
        part = filled.chosen(chosen)
        names, of_run = np.unique(component[chosen], return_inverse=True)
        own = np.repeat(of_run, part.stop - part.start)
        pixels = link_pixels(*part.nonzero(), filled.shape[1])
        skeleton = skeletonize(pixels, own, pose_table(pixels, own, len(names)))
        node = 1 + max((max(line.nodes) for line in lines), default=-1)
        lines += [
            replace(
                line,
                nodes=(line.nodes[0] + node, line.nodes[1] + node),
                component=int(names[line.component]),
            )
            for line in centre_lines(skeleton, filled, smooth_px)
        ]
    return lines


def _parcels_of(lines: list[Line], group: Array) -> Iterator[Array]:
    """Yield the numbers of the lines of whole cracks, a bounded number of stations at a time."""
    of_line = np.unique(group, return_inverse=True)[1]
    stations = np.bincount(of_line, weights=[len(line.points) for line in lines])
    parcel = ((np.cumsum(stations) - stations) // _PARCEL_STATIONS)[of_line]
    for number in np.unique(parcel):
        yield np.flatnonzero(parcel == number)


def _stations(
    lines: list[Line], group: Array, mask: Mask, image: Callable[[Window], Array] | None
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


def _place(own: Runs, mask: Runs, probability: Plane | None) -> Place:
    """Return where the pixels of a crack are, without the pinholes that were filled."""
    own = own.both(mask)
    top, left, high, wide = own.extent()
    bottom, right = top + high, left + wide
    rows, cols = own.nonzero()
    height, width = mask.shape
    return Place(
        window=Window(row=top, col=left, height=high, width=wide),
        crop=own.moved(-top, -left, (high, wide)),
        rows=rows,
        cols=cols,
        touches_border=bool(top == 0 or left == 0 or bottom == height or right == width),
        probability_mean=None
        if probability is None
        else float(probability[rows, cols].mean() / 255),
    )


def _that_counts(image: Callable[[Window], Array], valid: Mask | None) -> Callable[[Window], Array]:
    """Return a reader that gives black for pixels that hold no data, whatever stands there.

    An editor leaves the picture below what it made transparent; no crack is followed in that.
    """
    if valid is None:
        return image

    def read(window: Window) -> Array:
        counts = np.asarray(valid[window.slices])
        pixels = image(window)
        return pixels if counts.all() else np.where(counts[..., None], pixels, 0)

    return read


def _check(mask: Mask, **others: Mask | Plane | None) -> None:
    if not isinstance(mask, Runs) and (mask.ndim != 2 or mask.dtype != np.bool_):
        raise ConfigError(
            f"`mask` must be (H, W) bool, got {mask.dtype} of shape {mask.shape}; "
            "compare it with a threshold first."
        )
    for name, other in others.items():
        if other is not None and other.shape != mask.shape:
            raise ConfigError(
                f"`{name}` must have the shape of `mask`, {mask.shape}, got {other.shape}."
            )
