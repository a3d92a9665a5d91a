"""Labelled pictures and a model become the probability of detection, as hit or miss.

Non-destructive testing states how surely a flaw is found by its size (MIL-HDBK-1823A). Here a
flaw is a piece of labelled crack of 50 px, a hit one of which half is near a marked line. What
orders hits is the width together with the contrast: how much darker the line is than the concrete
beside it, over the roughness of that concrete. Width alone does not, as a broad faint stain of a
crack is missed where a sharp black one is found. Both stand in one logistic regression. Pieces
whose width the photograph does not show are counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from crackseg.config import MaskOptions, MeasureOptions
from crackseg.detection import Detection, WidthShare
from crackseg.metrology.cracks import measure
from crackseg.metrology.sampling import normals, read_profiles
from crackseg.records import Array, Branch, Sample, Window
from crackseg.training.hair_sets import DRAWN
from crackseg.training.judge import UNREAD, WIDTHS_PX
from crackseg.training.manifest import photograph_of

PIECE_PX = 50.0
LEAST_PX = 30.0  # a shorter rest of a line is no piece
HIT_SHARE = 0.5  # of its centre line near a marked one
READ_SHARE = 0.6  # of its stations with a width, else the piece is one of unread width
REAL = "real cracks"
DRAWN_CRACKS = "drawn on sound walls"
THIN_PX = WIDTHS_PX[1]  # what the contrasts of thin cracks are taken from
WIDE_PX = WIDTHS_PX[-1]  # wider ones are spalls and gaps: they say nothing of thin ones
EDGES_PX = (0.5, 1.0, *WIDTHS_PX)  # of the table; the judge's classes are too wide below
CONFIDENCE = 0.95
CONTRASTS = 20  # that stand for those of all thin cracks
DRAWS = 400  # of sets and of photographs in them, for intervals
RIDGE = 0.5  # on standardized sizes: where everything is found no slope is endless
_BESIDE_PX = (1.5, 10.0)  # concrete looked at, from the edge of the crack on
_LEAST_CONTRAST = 0.5  # below it the labelled line is no dark line: nothing is read there


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of labelled crack."""

    source: str
    photograph: str
    width_px: float  # nan: the photograph does not show it
    contrast: float  # darkness over the roughness beside it
    hit: bool

    @property
    def drawn(self) -> bool:
        """Whether the crack was drawn on a photograph of a sound surface."""
        return self.source == DRAWN


def find_pieces(sample: Sample, picture: Array, label: Array, near: Array) -> list[Piece]:
    """Return the pieces of the labelled cracks of one picture.

    Args:
        sample: names the picture.
        picture: (H, W, 3) uint8 RGB.
        label: (H, W) bool.
        near: (H, W) bool, near a marked centre line.
    """
    read = partial(_window, picture)
    cracks, _ = measure(label, image=read, mask_options=MaskOptions(), options=MeasureOptions())
    pieces = []
    for crack in cracks:
        unread = bool(UNREAD & set(crack.flags))
        for branch in crack.branches:
            for part in _parts(branch):
                width = math.nan if unread else _width(branch.width_px[part])
                contrast = _contrast(branch, part, width, read, label.shape)
                if not contrast >= _LEAST_CONTRAST:
                    width = math.nan
                rows, cols = _pixels(branch.centre_line[part], label.shape)
                pieces.append(
                    Piece(
                        source=sample.source,
                        photograph=f"{sample.source}/{photograph_of(sample)}",
                        width_px=width,
                        contrast=contrast,
                        hit=bool(near[rows, cols].mean() >= HIT_SHARE),
                    )
                )
    return pieces


def _parts(branch: Branch) -> list[Array]:
    """Return the station numbers of each piece of a branch."""
    stations = len(branch.centre_line)
    if branch.kind in ("bridge", "joined") or branch.length_px < LEAST_PX or stations < 3:
        return []
    return np.array_split(np.arange(stations), max(round(branch.length_px / PIECE_PX), 1))


def _width(widths: Array) -> float:
    finite = widths[np.isfinite(widths)]
    return float(np.median(finite)) if len(finite) >= READ_SHARE * len(widths) else math.nan


def _contrast(
    branch: Branch,
    part: Array,
    width: float,
    read: Callable[[Window], Array],
    shape: tuple[int, ...],
) -> float:
    """Return how much darker a piece is than beside it, in standard deviations of what is there."""
    half = 0.5 * (2.0 if math.isnan(width) else width)
    middle = branch.edges[part].mean(axis=1)
    points = np.where(np.isfinite(middle), middle, branch.centre_line[part])
    normal = normals(branch.centre_line)[part]
    reach = math.ceil(half + _BESIDE_PX[1])
    profiles = read_profiles(read, (shape[0], shape[1]), points, normal, reach)
    across = np.abs(np.arange(-reach, reach + 1))
    beside = profiles[:, (across >= half + _BESIDE_PX[0]) & (across <= half + _BESIDE_PX[1])]
    level = np.median(beside, axis=1)
    core = profiles[:, across <= max(half / 2, 0.5)].mean(axis=1)
    roughness = max(float(np.std(beside - level[:, None])), 1.0)  # 1: a grey level
    return float(np.median(level - core)) / roughness


def detection(pieces: Sequence[Piece], tested_on: str) -> Detection:
    """Return the probability of detection over pieces of crack.

    The curve is that of real cracks. The widths stated are the larger of those of real and of
    drawn cracks, as neither alone tells of a structure that is still to be flown. Every set counts
    alike, and confidence is over sets and photographs in them, drawn anew with replacement.

    Args:
        pieces: of pictures that the model was not trained on.
        tested_on: what they are, in words.
    """
    classes = width_shares([p for p in pieces if not p.drawn])
    groups = fitting_groups(pieces)
    thin = [p for p in groups.get(REAL, ()) if p.width_px < THIN_PX]
    if not thin:
        return Detection(tested_on=tested_on, curve=None, classes=classes)
    curves = [Curve.of(group) for group in groups.values()]
    contrasts = _quantiles(thin)
    faint = contrasts[: len(contrasts) // 4]
    return Detection(
        tested_on=tested_on,
        curve=curves[0].as_plain(),
        contrasts=tuple(round(float(c), 2) for c in contrasts),
        width_50_px=_largest([c.width(0.5, contrasts) for c in curves]),
        width_90_px=_largest([c.width(0.9, contrasts) for c in curves]),
        width_90_95_px=_largest([c.sure_width(0.9, contrasts) for c in curves]),
        width_90_faint_px=_largest([c.sure_width(0.9, faint) for c in curves]),
        classes=classes,
    )


def fitting_groups(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """Return real and drawn pieces of read width, each where some were hit and some missed."""
    read = [p for p in pieces if p.width_px < WIDE_PX]
    groups = parted(read)
    return {name: group for name, group in groups.items() if len({p.hit for p in group}) == 2}


def parted(pieces: Sequence[Piece]) -> dict[str, list[Piece]]:
    """Return the pieces of real cracks and of drawn ones."""
    return {
        REAL: [p for p in pieces if not p.drawn],
        DRAWN_CRACKS: [p for p in pieces if p.drawn],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The share of some pieces that curves fitted without them expect to be hit."""

    share: float
    low: float  # 95 % interval of the share that is seen when the curve is right
    high: float


def held_out_shares(pieces: Sequence[Piece], folds: int = 5) -> dict[str, Expected]:
    """Return, by class of width, the share of real pieces that curves fitted without them expect.

    Photographs are dealt into folds; each fold's pieces are judged by the curve of the others. The
    interval holds what the curve leaves open and what chance does to so few pieces: every draw of
    the curve hits or misses each piece by lot.
    """
    real = fitting_groups(pieces).get(REAL, [])
    names = sorted({p.photograph for p in real})
    if len(names) < folds:
        return {}
    dealt = np.random.default_rng(0).permutation(len(names)) % folds
    of_name = dict(zip(names, dealt.tolist(), strict=True))
    fold = np.array([of_name[p.photograph] for p in real])
    every_size, _ = _table(real)
    chance, by_lot = np.zeros(len(real)), np.zeros((DRAWS, len(real)))
    rng = np.random.default_rng(0)
    for number in range(folds):
        judged = fold == number
        curve = Curve.of([p for p, held in zip(real, judged, strict=True) if not held])
        sizes = every_size[judged]
        chance[judged] = _probability(curve.beta[None], sizes)[0]
        drawn = _probability(curve.draws, sizes)
        by_lot[:, judged] = rng.random(drawn.shape) < drawn
    weights = _set_weights(real)
    shares = {}
    for name, inside in _classes(np.array([p.width_px for p in real])):
        if inside.any():
            seen = np.average(by_lot[:, inside], axis=1, weights=weights[inside])
            low, high = np.percentile(seen, (2.5, 97.5))
            share = np.average(chance[inside], weights=weights[inside])
            rounded = [round(float(v), 3) for v in (share, low, high)]
            shares[name] = Expected(share=rounded[0], low=rounded[1], high=rounded[2])
    return shares


def _probability(betas: Array, sizes: Array) -> Array:
    """Return (B, N) the probability by (B, 3) curves that pieces of (N, 2) log sizes are hit."""
    return _sigmoid(betas[:, :1] + betas[:, 1:] @ sizes.T)


def _table(pieces: Sequence[Piece]) -> tuple[Array, Array]:
    """Return (N, 2) logarithms of width and contrast, and (N,) 1 where a piece was hit."""
    sizes: Array = np.log([[p.width_px, p.contrast] for p in pieces])
    return sizes, np.array([p.hit for p in pieces], dtype=float)


def _quantiles(pieces: Sequence[Piece]) -> Array:
    """Return (CONTRASTS,) the contrasts that stand for those of all pieces, each set alike."""
    contrast = np.array([p.contrast for p in pieces])
    order = np.argsort(contrast)
    share = np.cumsum(_set_weights(pieces)[order])
    targets = (np.arange(CONTRASTS) + 0.5) / CONTRASTS * share[-1]
    return np.asarray(contrast[order][np.searchsorted(share, targets)])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A logistic regression of hit on the logarithms of width and contrast, with its draws."""

    beta: Array  # (3,) intercept, weight of log width, weight of log contrast
    draws: Array  # (DRAWS, 3) the same on other sets and photographs
    narrowest_px: float  # 5 % of the pieces are thinner: no width below it is stated

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Curve:
        """Return the curve of pieces of which some were hit and some missed."""
        sizes, hit = _table(pieces)
        return cls(
            beta=_regress(sizes, hit, _set_weights(pieces)),
            draws=np.array([_regress(sizes, hit, weight) for weight in _draw_weights(pieces)]),
            narrowest_px=float(np.percentile(np.exp(sizes[:, 0]), 5)),
        )

    def probability(self, width_px: Array, contrasts: Array) -> Array:
        """Return (W,) the share of cracks of (W,) widths that is hit, over (C,) contrasts."""
        return np.asarray(_mean_share(self.beta[None], width_px, contrasts)[0])

    def width(self, share: float, contrasts: Array) -> float:
        """Return the width from which ``share`` of the cracks is hit; inf where none suffices."""
        return float(self._widths(self.beta[None], share, contrasts)[0])

    def sure_width(self, share: float, contrasts: Array) -> float:
        """Return the same with 95 % confidence."""
        widths = np.sort(self._widths(self.draws, share, contrasts))
        return float(widths[math.ceil(CONFIDENCE * len(widths)) - 1])

    def _widths(self, betas: Array, share: float, contrasts: Array) -> Array:
        tried = np.geomspace(self.narrowest_px, WIDE_PX, 200)
        enough = _mean_share(betas, tried, contrasts) >= share
        widths: Array = np.where(enough.any(axis=1), tried[enough.argmax(axis=1)], np.inf)
        return widths

    def as_plain(self) -> dict[str, float]:
        """Return the coefficients by name."""
        names = ("intercept", "log_width_px", "log_contrast")
        return {name: round(float(b), 4) for name, b in zip(names, self.beta, strict=True)}


def _mean_share(betas: Array, width_px: Array, contrasts: Array) -> Array:
    """Return (B, W) the mean probability over (C,) contrasts for (B, 3) curves."""
    of_width = betas[:, :1] + betas[:, 1:2] * np.log(width_px)
    total = np.zeros_like(of_width)
    for contrast in contrasts:
        total += _sigmoid(of_width + betas[:, 2:] * math.log(contrast))
    share: Array = total / len(contrasts)
    return share


def width_shares(pieces: Sequence[Piece]) -> tuple[WidthShare, ...]:
    """Return the share that was found of every class of width, with its interval.

    The interval is over sets and photographs; where all or none was found it is that of as many
    photographs without a miss (the rule of three).
    """
    hit = np.array([p.hit for p in pieces], dtype=float)
    width = np.array([p.width_px for p in pieces])
    weights = np.vstack([_set_weights(pieces), _draw_weights(pieces)])
    edges = dict(zip((name for name, _ in _classes(width)), EDGES_PX, strict=False))
    shares = [
        _share(name, edges.get(name), (inside, hit, weights), pieces)
        for name, inside in _classes(width)
    ]
    return tuple(part for part in shares if part.pieces)


def _classes(width_px: Array) -> list[tuple[str, Array]]:
    """Return the name of each class of width, and (N,) whether a width is in it."""
    edges = (0.0, *EDGES_PX, math.inf)
    classes = []
    for low, high in pairwise(edges):
        name = f"{low:g} to {high:g}" if low else f"< {high:g}"
        name = f"> {low:g}" if math.isinf(high) else name
        classes.append((name, (width_px >= low) & (width_px < high)))
    return [*classes, ("unread", np.isnan(width_px))]


def _share(
    name: str, below_px: float | None, counted: tuple[Array, Array, Array], pieces: Sequence[Piece]
) -> WidthShare:
    inside, hit, weights = counted
    if not inside.any():
        return WidthShare(width=name, below_px=below_px, pieces=0, found=0.0, low=0.0, high=1.0)
    every = weights[:, inside].sum(axis=1)
    shares = (weights[:, inside] @ hit[inside])[every > 0] / every[every > 0]
    share = shares[0]
    low, high = np.percentile(shares[1:], (2.5, 97.5))
    photographs = len({p.photograph for p, there in zip(pieces, inside, strict=True) if there})
    slack = min(3.0 / photographs, 1.0)
    low = min(low, 1.0 - slack) if share == 1 else low
    high = max(high, slack) if share == 0 else high
    rounded = [round(float(v), 3) for v in (share, min(low, share), max(high, share))]
    return WidthShare(
        width=name, below_px=below_px, pieces=int(inside.sum()),
        found=rounded[0], low=rounded[1], high=rounded[2],
    )  # fmt: skip


def _set_weights(pieces: Sequence[Piece]) -> Array:
    """Return (N,) weights of the pieces such that each set counts alike; their mean is 1."""
    _, number, sizes = np.unique(
        [p.source for p in pieces], return_inverse=True, return_counts=True
    )
    weights: Array = len(pieces) / (len(sizes) * sizes[number])
    return weights


def _draw_weights(pieces: Sequence[Piece], seed: int = 0) -> Array:
    """Return (DRAWS, N) weights of the pieces with sets drawn anew, then photographs in them."""
    rng = np.random.default_rng(seed)
    of_sets: dict[str, dict[str, list[int]]] = {}
    for number, piece in enumerate(pieces):
        photographs = of_sets.setdefault(piece.source, {})
        photographs.setdefault(piece.photograph, []).append(number)
    groups = [list(photographs.values()) for photographs in of_sets.values()]
    weights = np.zeros((DRAWS, len(pieces)))
    for row in weights:
        for group in rng.integers(0, len(groups), len(groups)):
            chosen = groups[group]
            for photograph in rng.integers(0, len(chosen), len(chosen)):
                row[chosen[photograph]] += 1
    return weights * _set_weights(pieces)


def _regress(sizes: Array, hit: Array, weight: Array) -> Array:
    """Return (3,) the weighted logistic regression of hit on (N, 2) sizes."""
    mean, scale = sizes.mean(axis=0), np.maximum(sizes.std(axis=0), 1e-6)
    z = np.column_stack([np.ones(len(sizes)), (sizes - mean) / scale])

    def loss(beta: Array) -> tuple[float, Array]:
        value = weight @ np.logaddexp(0, (1 - 2 * hit) * (z @ beta))
        slope = z.T @ (weight * (_sigmoid(z @ beta) - hit)) + RIDGE * np.r_[0, beta[1:]]
        return float(value + RIDGE / 2 * beta[1:] @ beta[1:]), slope

    bounds = [(None, None), (0, None), (0, None)]  # nothing is found less surely for being larger
    beta = minimize(loss, np.zeros(3), jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = beta[1:] / scale
    return np.array([beta[0] - slopes @ mean, *slopes])


def _largest(widths: Sequence[float]) -> float | None:
    """Return the largest width, rounded up; None where it is beyond what was tested."""
    largest = max(widths)
    return None if largest > WIDE_PX else math.ceil(largest * 100 - 1e-9) / 100


def _pixels(points: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    rows, cols = np.clip(np.rint(points).astype(int).T, 0, np.array(shape[:2])[:, None] - 1)
    return rows, cols


def _sigmoid(values: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-np.clip(values, -30, 30)))
    return result


def _window(picture: Array, window: Window) -> Array:
    cut: Array = picture[window.slices]
    return cut
