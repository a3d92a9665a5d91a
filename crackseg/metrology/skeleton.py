"""Turn a thinned pixel list into chains between nodes, with spurs pruned against local width.

Everything is done for all cracks of a picture at once: a Python step for each pixel or each spur
of a ragged mask would cost more than the thinning.

Notation
--------
M, K   skeleton pixels; those of them that belong to a chain (all but the junctions' pixels).
C, J   chains; junctions.
links  (M, 8) list positions of the neighbours, clockwise from the one above, as in
       ``Pixels.table``; M where there is none. Even columns are straight, odd ones diagonal.
near, far   (L,) the two ends of L links; each link of the skeleton stands once in such a list.
order  (K,) pixels chain by chain; ``order[start[k]:start[k + 1]]`` runs along chain k.
ends   (C, 2) what chain k begins and ends in: a junction's number, TIP or CLOSED.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from crackseg.metrology import arc
from crackseg.metrology.pixels import Pixels, label_links
from crackseg.metrology.thinning import thin
from crackseg.records import Array

TIP, CLOSED = -1, -2  # what a chain ends in when it is no junction
# A side line shorter than the local width and this is taken for a bump of the crack's edge.
_SPUR_PX = 2.0


@dataclass(frozen=True, slots=True)
class Chains:
    """Stretches of skeleton between nodes, in list form.

    Chain k holds the pixels ``order[start[k]:start[k + 1]]`` from end to end.
    """

    order: Array  # (K,) positions in the skeleton's pixel list
    start: Array  # (C + 1,)
    ends: Array  # (C, 2) junction number, TIP or CLOSED
    length: Array  # (C,) px, steps of 1 and sqrt(2), out to the junction's centre
    junctions: Array  # (J, 2) centre (row, col) of each junction


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The centre lines of a mask before smoothing."""

    points: Array  # (M, 2) float (row, col) of the skeleton pixels
    radius: Array  # (M,) px from the pixel's centre to the mask's edge
    component: Array  # (M,) component of the mask
    chains: Chains


def skeletonize(pixels: Pixels, component: Array, table: Array) -> Skeleton:
    """Return the pruned skeleton of a mask.

    Args:
        pixels: the mask.
        component: (N,) component of each pixel.
        table: (N, 8) neighbour table to thin by (``thinning.pose_table``).
    """
    alive = thin(table)
    points = np.column_stack([pixels.rows, pixels.cols]).astype(np.float64)
    border = (pixels.table[:, ::2] == len(pixels)).any(axis=1)
    keep = np.flatnonzero(alive)
    # The edge runs half a pixel outside the centres of the border pixels.
    radius = cKDTree(points[border]).query(points[keep])[0] + 0.5
    links = without_short_cuts(pixels.table, keep)
    points, component = points[keep], component[keep]
    while True:
        chains = trace(points, links)
        remaining = _without_spurs(chains, radius, component)
        if len(remaining) == len(points):
            return Skeleton(points, radius, component, chains)
        points, radius, component = points[remaining], radius[remaining], component[remaining]
        links = without_short_cuts(links, remaining)


def without_short_cuts(table: Array, keep: Array) -> Array:
    """Return the neighbour table of the kept list positions, without diagonal short cuts.

    Where two pixels also touch through a third one the diagonal link would make a triangle.
    """
    place = np.full(len(table) + 1, len(keep), dtype=np.int32)
    place[keep] = np.arange(len(keep))
    links = place[table[keep]]
    has = links < len(keep)
    for k in (1, 3, 5, 7):
        links[has[:, k] & (has[:, k - 1] | has[:, (k + 1) % 8]), k] = len(keep)
    return links


def trace(points: Array, links: Array) -> Chains:
    """Return the chains of a skeleton.

    Strategy: pixels with three or more neighbours are junction pixels, and those that touch are
    one junction. Without them the skeleton falls into pieces that are plain chains or rings, whose
    pixels are put in order by their distance from one end (`_order`). The links that were cut from
    a chain's end to a junction's pixel tell where the chain ends (`_ends`).

    Args:
        points: (M, 2) float (row, col).
        links: (M, 8) neighbour table without diagonal short cuts.
    """
    count = len(points)
    has = links < count
    junction = has.sum(axis=1) >= 3
    near, column = np.nonzero(has)
    far = links[near, column]
    forward = (column >= 2) & (column <= 5)  # four of eight directions: each link once
    knot = forward & junction[near] & junction[far]
    cluster = np.full(count, TIP)
    cluster[junction] = label_links(near[knot], far[knot], count)[1][junction]
    cluster[junction] = np.unique(cluster[junction], return_inverse=True)[1]
    number = int(cluster.max(initial=-1)) + 1
    size = np.bincount(cluster[junction], minlength=number)[:, None]
    centres = np.column_stack(
        [np.bincount(cluster[junction], points[junction, k], number) for k in (0, 1)]
    ) / np.maximum(size, 1)
    inside = forward & ~junction[near] & ~junction[far]
    order, start, closed = _order(near[inside], far[inside], junction)
    outward = ~junction[near] & junction[far]
    ends = _ends(order, start, near[outward], cluster[far[outward]])
    ends[closed] = CLOSED
    length = _lengths(points[order], start, ends, centres)
    return Chains(order, start, ends, length, centres)


def _order(near: Array, far: Array, junction: Array) -> tuple[Array, Array, Array]:
    """Return the chain pixels from end to end, the chains' starts, and which chains are closed.

    Strategy: every chain has a head, the first of its open ends in the list, or the first pixel of
    a ring. One search from all heads at once gives each pixel its rank in its chain.

    Args:
        near, far: (L,) links between pixels that are no junction's.
        junction: (M,) bool.
    """
    count = len(junction)
    number, chain = label_links(near, far, count)
    degree = np.bincount(near, minlength=count) + np.bincount(far, minlength=count)
    open_end = np.flatnonzero(~junction & (degree <= 1))
    is_open = np.zeros(number, dtype=bool)
    is_open[chain[open_end]] = True
    rest = np.flatnonzero(~junction & ~is_open[chain])
    heads = np.concatenate([_first_of_each(chain, open_end), _first_of_each(chain, rest)])
    # A ring is cut open at its head, by taking away the first of its links.
    ring = np.flatnonzero(~is_open[chain[near]] & (np.isin(near, heads) | np.isin(far, heads)))
    cut = ring[np.unique(chain[near[ring]], return_index=True)[1]]
    near, far = np.delete(near, cut), np.delete(far, cut)
    graph = coo_array((np.ones(len(near), np.int8), (near, far)), shape=(count, count)).tocsr()
    if len(heads) == 0:
        return np.zeros(0, np.int64), np.zeros(1, np.int64), np.zeros(0, bool)
    rank = dijkstra(graph, directed=False, indices=heads, unweighted=True, min_only=True)
    members = np.flatnonzero(~junction)
    order = members[np.lexsort((rank[members], chain[members]))]
    names, start = np.unique(chain[order], return_index=True)
    return order, np.append(start, len(order)), ~is_open[names]


def _first_of_each(chain: Array, members: Array) -> Array:
    first: Array = members[np.unique(chain[members], return_index=True)[1]]
    return first


def _ends(order: Array, start: Array, pixel: Array, cluster: Array) -> Array:
    """Return the (C, 2) junction that each chain's first and last pixel touches, or TIP.

    Args:
        order, start: the chains.
        pixel: (L,) chain pixels that touch a junction, once for each link.
        cluster: (L,) that junction.
    """
    chains = len(start) - 1
    ends = np.full((chains, 2), TIP)
    place = np.zeros(int(order.max(initial=0)) + 1, dtype=np.int64)
    place[order] = np.arange(len(order))
    at = place[pixel]
    chain = np.searchsorted(start, at, side="right") - 1
    first, last = at == start[chain], at == start[chain + 1] - 1
    single = first & last
    # A chain of one pixel between two junctions touches both with the same pixel.
    again = np.zeros(len(at), dtype=bool)
    again[single] = np.arange(single.sum()) > np.searchsorted(chain[single], chain[single])
    head = first & ~again
    ends[chain[head], 0] = cluster[head]
    tail = (last & ~single) | again
    ends[chain[tail], 1] = cluster[tail]
    return ends


def _lengths(points: Array, start: Array, ends: Array, centres: Array) -> Array:
    """Return the (C,) length of each chain in px."""
    total = arc.along(points)
    length: Array = total[start[1:] - 1] - total[start[:-1]]
    for side, pixel in ((0, start[:-1]), (1, start[1:] - 1)):
        joined = ends[:, side] >= 0
        gap = points[pixel[joined]] - centres[ends[joined, side]]
        length[joined] += np.hypot(gap[:, 0], gap[:, 1])
    closed = ends[:, 0] == CLOSED
    length[closed] += np.hypot(*(points[start[:-1]] - points[start[1:] - 1])[closed].T)
    return length


def _without_spurs(chains: Chains, radius: Array, component: Array) -> Array:
    """Return the (K,) skeleton pixels that stay when spurs and pinhole loops are taken away."""
    count = len(radius)
    if not len(chains.ends):  # dots alone, thinned to blocks of four pixels: no line begins there
        return np.arange(count)
    joined = chains.ends >= 0
    head = chains.order[chains.start[:-1]]
    tail = chains.order[chains.start[1:] - 1]
    local = np.maximum(
        np.where(joined[:, 0], radius[head], 0), np.where(joined[:, 1], radius[tail], 0)
    )
    spur = joined[:, 0] != joined[:, 1]
    tiny = joined.all(axis=1) & (chains.ends[:, 0] == chains.ends[:, 1])
    prunable = (spur | tiny) & (chains.length <= 2 * local + _SPUR_PX)
    home = component[head]
    # A blob whose lines are all spurs keeps its longest one.
    by_length = np.lexsort((chains.length, home))
    longest = by_length[np.append(np.flatnonzero(np.diff(home[by_length])), len(home) - 1)]
    safe = np.zeros(int(component.max(initial=0)) + 1, dtype=bool)
    safe[home[~prunable]] = True
    prunable[longest[~safe[home[longest]]]] = False
    gone = np.repeat(prunable, np.diff(chains.start))
    keep = np.ones(count, dtype=bool)
    keep[chains.order[gone]] = False
    return np.flatnonzero(keep)
