"""What neighbouring photographs show alike: SIFT features, pairs, and robust homographies.

Pictures are read shrunk; positions are given in px of the whole upright picture. A homography
only sorts out false matches here, so its tolerance leaves room for the lens's distortion.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from crackseg.exports.overlay import to_jpeg
from crackseg.imagery.files import open_image
from crackseg.records import Array

FEATURE_PX = 2_000_000  # size to which pictures are shrunk
FEATURES = 1600  # a photograph, the strongest
_CELLS = 8  # features are taken evenly from so many rows and columns of a picture
_RATIO = 0.8  # Lowe, "Distinctive image features" (2004), section 7.1
_LEAST = 18  # matches that agree, of a pair that is taken for neighbours
_DISTORTED = 0.008  # of the diagonal: how far a lens may bend points off a homography
_VOTES = 8  # neighbours that a photograph without a pose is compared with, by count of likes
_SAMPLE = 400  # strongest features that vote
_VOTERS = 400_000  # of all photographs together: half a kilobyte of memory each, and its index
_SMALL_QUALITY = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Points of a photograph and what they look like."""

    points_px: Array  # (N, 2) float row, col, of the whole picture
    looks: Array  # (N, 128) uint8
    factor: float  # px of the whole picture per px of the one that was searched


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Likes of two photographs, those that agree with one homography marked."""

    first: int
    second: int
    first_px: Array  # (N, 2) float32: thousands of pairs are held at once
    second_px: Array  # (N, 2) float32
    agrees: Array  # (N,) bool

    @property
    def count(self) -> int:
        """Number that agree."""
        return int(self.agrees.sum())


def shrink_factor(height_px: int, width_px: int, limit_px: int = FEATURE_PX) -> float:
    """Return px of a picture per px of the one of at most ``limit_px`` that it is shrunk to."""
    return max(math.sqrt(height_px * width_px / limit_px), 1.0)


def find_features(path: Path, shrunk: Path | None = None, shrunk_px: int = FEATURE_PX) -> Features:
    """Return the features of a photograph.

    Args:
        path: of the photograph.
        shrunk: where to write it as JPEG, made smaller while it is at hand; None: nowhere.
        shrunk_px: pixels of that.

    Raises:
        ImageError: the file is damaged.
    """
    with open_image(path) as image:
        picture = image.read()
    if shrunk is not None:
        shrunk.write_bytes(to_jpeg(_shrunk(picture, shrunk_px), _SMALL_QUALITY))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    factor = shrink_factor(grey.shape[0], grey.shape[1])
    if factor > 1:
        size = (round(grey.shape[1] / factor), round(grey.shape[0] / factor))
        small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    else:
        small = grey
    ratio = np.array([grey.shape[0] / small.shape[0], grey.shape[1] / small.shape[1]])
    finder = cv2.SIFT.create(nfeatures=3 * FEATURES, contrastThreshold=0.01)
    keys, looks = finder.detectAndCompute(small, None)
    if not keys:
        looks = np.zeros((0, 128), np.uint8)
        return Features(points_px=np.zeros((0, 2)), looks=looks, factor=factor)
    points = np.array([key.pt[::-1] for key in keys])
    chosen = _spread(points, np.array([key.response for key in keys]), small.shape)
    return Features(
        points_px=(points[chosen] + 0.5) * ratio - 0.5,
        looks=np.clip(np.rint(looks[chosen]), 0, 255).astype(np.uint8),
        factor=factor,
    )


def _shrunk(picture: Array, limit_px: int) -> Array:
    factor = shrink_factor(picture.shape[0], picture.shape[1], limit_px)
    size = (round(picture.shape[1] / factor), round(picture.shape[0] / factor))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))


def _spread(points: Array, strength: Array, shape: tuple[int, ...]) -> Array:
    """Return the numbers of the strongest features, evenly from all parts, strongest first."""
    cell = (points / (np.array(shape[:2]) / _CELLS)).astype(int).clip(0, _CELLS - 1)
    number = cell[:, 0] * _CELLS + cell[:, 1]
    order = np.lexsort([-strength, number])
    starts = np.searchsorted(number[order], np.arange(_CELLS**2))
    place = np.arange(len(order)) - starts[number[order]]
    chosen = order[place < FEATURES / _CELLS**2]
    return np.asarray(chosen[np.argsort(-strength[chosen], kind="stable")])


def vote_for_pairs(features: Sequence[Features], numbers: Iterable[int]) -> set[tuple[int, int]]:
    """Return pairs of photographs that look alike, for each of ``numbers`` the likeliest."""
    sample = min(_SAMPLE, _VOTERS // max(len(features), 1))
    sizes = [min(len(f.looks), sample) for f in features]
    if sum(sizes) < 2:
        return set()
    owner = np.repeat(np.arange(len(features)), sizes)
    table = np.concatenate([f.looks[:sample] for f in features]).astype(np.float32)
    index = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 4}, {"checks": 48})
    index.add([table])
    pairs: set[tuple[int, int]] = set()
    for number in numbers:
        if not sizes[number]:
            continue
        looks = features[number].looks[:sample].astype(np.float32)
        neighbours = index.knnMatch(looks, k=min(6, len(table)))
        near = [owner[m.trainIdx] for row in neighbours for m in row if owner[m.trainIdx] != number]
        votes = np.bincount(near, minlength=len(features)) if near else np.zeros(len(features))
        for other in np.argsort(-votes, kind="stable")[:_VOTES]:
            if votes[other] > 2:
                pairs.add((min(number, int(other)), max(number, int(other))))
    return pairs


def match_along(
    find: Callable[[int], Features],
    pairs: Iterable[tuple[int, int]],
    along: Array,
    diagonals: Sequence[float],
    listen: Callable[[float], None],
) -> Iterator[Match]:
    """Yield the matches of pairs, holding no more features than neighbours along a line have.

    Args:
        find: gives the features of a photograph; is asked once for each.
        pairs: of neighbours.
        along: (N,) place of each photograph on that line.
        diagonals: of the photographs, px.
        listen: is told of the share that is done.
    """
    rank = np.argsort(np.argsort(along, kind="stable"), kind="stable")
    ordered = sorted(pairs, key=lambda pair: sorted((rank[n] for n in pair), reverse=True))
    left = Counter(number for pair in ordered for number in pair)
    features: dict[int, Features] = {}
    for done, pair in enumerate(ordered):
        listen(done / len(ordered))
        features |= {number: find(number) for number in pair if number not in features}
        yield from match_pairs(features, [pair], diagonals)
        left.subtract(pair)
        for number in pair:
            if not left[number]:
                del features[number]


def match_pairs(
    features: Sequence[Features] | Mapping[int, Features],
    pairs: Iterable[tuple[int, int]],
    diagonals: Sequence[float],
) -> list[Match]:
    """Return the matches of the pairs that show a part of the face in common."""
    matches = []
    for first, second in sorted(pairs):
        match = _match(features, first, second, max(diagonals[first], diagonals[second]))
        if match is not None:
            matches.append(match)
    return matches


def _match(
    features: Sequence[Features] | Mapping[int, Features], first: int, second: int, diagonal: float
) -> Match | None:
    one, other = features[first], features[second]
    if min(len(one.looks), len(other.looks)) < _LEAST:
        return None
    mutual = _likes(one.looks, other.looks)
    if len(mutual) < _LEAST:
        return None
    i, j = mutual.T
    a, b = one.points_px[i], other.points_px[j]
    cv2.setRNGSeed(1)  # the same photographs give the same map
    tolerance = _DISTORTED * diagonal
    matrix, mask = cv2.findHomography(
        a[:, ::-1], b[:, ::-1], cv2.USAC_MAGSAC, tolerance, maxIters=4000, confidence=0.9999
    )
    if matrix is None or mask is None or mask.sum() < max(_LEAST, 0.2 * len(a)):
        return None
    match = Match(
        first=first,
        second=second,
        first_px=a.astype(np.float32),
        second_px=b.astype(np.float32),
        agrees=mask.ravel() > 0,
    )
    return match if _is_sane(matrix, a[match.agrees]) else None


def _likes(one: Array, other: Array) -> Array:
    """Return (N, 2) numbers of features that are each other's like with no second one as like."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    distance = (-2 * a) @ b.T  # squared, in place: copies of it take longer than the product
    distance += (a**2).sum(axis=1)[:, None]
    distance += (b**2).sum(axis=1)
    forth, numbers = distance.argmin(axis=1), np.arange(len(a))
    nearest = distance[numbers, forth]
    mutual = nearest == distance.min(axis=0)[forth]
    distance[numbers, forth] = np.inf
    second = distance.min(axis=1)
    clear = nearest < _RATIO**2 * second
    chosen = np.flatnonzero(mutual & clear)
    return np.column_stack([chosen, forth[chosen]])


def _is_sane(matrix: Array, points: Array) -> bool:
    """Return whether a homography neither mirrors nor stretches beyond what two views do."""
    middle = points.mean(axis=0)[::-1]
    x, y, w = matrix @ [*middle, 1.0]
    jacobian = (matrix[:2, :2] - np.outer([x / w, y / w], matrix[2, :2])) / w
    large, small = np.linalg.svd(jacobian, compute_uv=False)
    return bool(np.linalg.det(jacobian) > 0 and large < 8 and small > 1 / 8 and large / small < 4)
