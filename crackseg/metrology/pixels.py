"""Handle a mask as the list of its crack pixels: cost follows the cracks, not the picture.

A crack mask is one or two percent full. Everything between threshold and centre line (connected
components, thinning, the skeleton graph) works on the (N,) list of True pixels and an (N, 8)
table that says where in the list each neighbour stands. A gigapixel mask needs no label image, and
the table is made for some components at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from crackseg.records import Array
from crackseg.runs import Runs, touching


@dataclass(frozen=True, slots=True)
class Pixels:
    """The True pixels of a mask, row by row, and how they touch."""

    rows: Array  # (N,) int64
    cols: Array  # (N,) int64
    # (N, 8) int32: list position of the neighbour to N, NE, E, SE, S, SW, W, NW; N = none there
    table: Array

    def __len__(self) -> int:
        return len(self.rows)


def list_pixels(mask: Array) -> Pixels:
    """Return the True pixels of an (H, W) bool mask with their 8-neighbour table."""
    mask = np.ascontiguousarray(mask, dtype=bool)
    rows, cols = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return link_pixels(rows, cols, mask.shape[1])


def label_runs(runs: Runs) -> tuple[int, Array]:
    """Return the number of 8-connected components and the (R,) component of each run.

    They are numbered by their first pixels, as by ``label_pixels``.
    """
    return label_links(*touching(runs), len(runs.start))


def parcels(runs: Runs, component: Array, count: int, most_px: int) -> Iterator[Array]:
    """Yield the numbers of the runs of whole components, about ``most_px`` pixels at a time.

    Args:
        runs: a mask.
        component: (R,) of its runs.
        count: of the components.
        most_px: what the last component of a parcel has more than that comes with it.
    """
    size = np.bincount(component, weights=runs.stop - runs.start, minlength=count)
    of_run = ((np.cumsum(size) - size) // most_px)[component]
    order = np.argsort(of_run, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(of_run[order])) + 1)


def link_pixels(rows: Array, cols: Array, width_px: int) -> Pixels:
    """Return the pixel list of (N,) row-major sorted ``rows`` and ``cols`` with its table."""
    count = len(rows)
    table = np.full((count, 8), count, dtype=np.int32)
    if count == 0:
        return Pixels(rows, cols, table)
    key = rows * (width_px + 2) + cols + 1  # a gap between rows: no neighbour across the border
    at = np.arange(count, dtype=np.int32)
    pair = np.flatnonzero(np.diff(key) == 1)
    table[pair, 2] = at[pair + 1]
    table[pair + 1, 6] = at[pair]
    # One search finds the upper left place; the upper and upper right ones follow it in the list.
    above = key - (width_px + 2)
    place = np.searchsorted(key, above - 1)
    for step, (up, down) in ((-1, (7, 3)), (0, (0, 4)), (1, (1, 5))):
        safe = np.minimum(place, count - 1)
        hit = np.flatnonzero(key[safe] == above + step)
        table[hit, up] = safe[hit]
        table[safe[hit], down] = at[hit]
        place[hit] += 1
    return Pixels(rows, cols, table)


def label_pixels(pixels: Pixels) -> tuple[int, Array]:
    """Return the number of 8-connected components and the (N,) component of each pixel.

    Runs along a row are joined first, so that the graph has one node for each run and about one
    link for each pair of touching runs.
    """
    count, table = len(pixels), pixels.table
    has = table < count
    east, south_east, south, south_west, west = (has[:, k] for k in (2, 3, 4, 5, 6))
    run = np.cumsum(~west) - 1
    sources, targets = [], []
    # A link is left out where the pixel beside it in the run has the same one.
    for column, needed in (
        (4, south & ~(west & south_west)),
        (3, south_east & ~south & ~east),
        (5, south_west & ~south & ~west),
    ):
        hit = np.flatnonzero(needed)
        sources.append(run[hit])
        targets.append(run[table[hit, column]])
    number, label = label_links(np.concatenate(sources), np.concatenate(targets), int(run[-1]) + 1)
    return number, label[run]


def label_links(sources: Array, targets: Array, count: int) -> tuple[int, Array]:
    """Return the number of connected components of ``count`` nodes and the component of each."""
    links = coo_array((np.ones(len(sources), np.int8), (sources, targets)), shape=(count, count))
    number, label = connected_components(links, directed=False)
    return int(number), label
