"""The records that rooms hand each other: frozen and keyword-only.

Those with a rule check it when they are made (`__post_init__`); others hold what they are given.

Coordinates are (row, col) with pixel centres at whole numbers and the origin at the top left
pixel. A quantity's unit is in its name; everything in mm is ``None`` without a known scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from crackseg.disk import Plane
from crackseg.errors import ConfigError, DataError
from crackseg.model_card import Certainty as Certainty  # three of the records
from crackseg.model_card import ModelCard as ModelCard
from crackseg.runs import Mask, Runs
from crackseg.scales import Scale as Scale

Array = NDArray[Any]
WidthStatus = Literal["measured", "below_detection", "not_resolvable"]
Section = Literal["main", "also_marked"]  # of the list: figures and headlines are of the main one
SPLITS = ("train", "val", "test", "test_leaky")  # test_leaky: test pictures that are also in train


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A coded warning that travels with a report."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of pixels, half-open: rows [row, row + height), columns [col, col + width)."""

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(
                f"`window` must be at least 1 x 1 px, got {self.height} x {self.width}."
            )

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices for an array of the whole image."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)

    def padded(self, margin_px: int, height_px: int, width_px: int) -> Window:
        """Return the window grown by ``margin_px`` on each side and cut at the image border."""
        top, left = max(self.row - margin_px, 0), max(self.col - margin_px, 0)
        bottom = min(self.row + self.height + margin_px, height_px)
        right = min(self.col + self.width + margin_px, width_px)
        return Window(row=top, col=left, height=bottom - top, width=right - left)

    def slices_in(self, outer: Window) -> tuple[slice, slice]:
        """Row and column slices for an array of a window that holds this one."""
        top, left = self.row - outer.row, self.col - outer.col
        return slice(top, top + self.height), slice(left, left + self.width)

    def parts(self, side_px: int) -> Iterator[Window]:
        """Yield windows of at most ``side_px`` by ``side_px`` that make up this one."""
        bottom, right = self.row + self.height, self.col + self.width
        for row in range(self.row, bottom, side_px):
            for col in range(self.col, right, side_px):
                yield Window(
                    row=row,
                    col=col,
                    height=min(side_px, bottom - row),
                    width=min(side_px, right - col),
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gps:
    """Where the camera was, WGS84."""

    lat_deg: float
    lon_deg: float
    alt_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """What is known of an image from its header and metadata, before any pixel is used.

    ``height_px`` and ``width_px`` are those of the upright image (EXIF orientation applied).
    ``metadata`` keeps the camera and flight facts that a scale can be made from, by plain names.
    ``transform`` maps (col, row) to map units as (a, b, c, d, e, f) like rasterio's Affine.
    """

    path: Path
    sha256: str
    height_px: int
    width_px: int
    format: str
    taken_at: datetime | None = None
    camera: str | None = None
    gps: Gps | None = None
    crs: str | None = None
    transform: tuple[float, float, float, float, float, float] | None = None
    metadata: Mapping[str, float | str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One manifest row: a photograph, its crack mask and where they come from."""

    image: Path
    mask: Path
    source: str  # the data set
    split: Literal["train", "val", "test", "test_leaky"]
    site: str = ""  # structure or photograph that several samples share; empty = unknown
    licence: str = "unstated"
    image_sha256: str = ""
    mask_sha256: str = ""

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise DataError(f"`split` must be one of {', '.join(SPLITS)}, got {self.split!r}.")
        if not self.source:
            raise DataError("`source` must name the data set, got an empty text.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A part of the picture of which nothing, or less than of others, can be said, and why."""

    code: str  # no_data | left_out (by a region) | black | white | flat | too_small | blurred, ...
    share: float  # of the whole picture
    outlines: tuple[Array, ...] = ()  # (N, 2) rows, cols of polygons round it, where it is drawn

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise DataError(f"`share` must lie between 0 and 1, got {self.share}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Crack probability of every pixel, quantised to uint8 (255 = 1.0)."""

    probability: Plane  # (H, W) uint8
    other: Plane | None = None  # (H, W) uint8, of another dark line; None: the model does not tell
    valid: Mask | None  # (H, W) bool, True = counts; None = every pixel counts
    tile_px: int
    overlap_px: int
    forward_s: float  # seconds inside the network's forward pass
    outside_px2: float = 0.0  # of the pixels that do not count, those that a region leaves out
    blank_px2: Mapping[str, float] = field(default_factory=dict)  # areas that show nothing, by kind
    spoilt: tuple[Unjudged, ...] = ()  # parts that show too little to say anything
    impaired: tuple[Unjudged, ...] = ()  # parts that show less than the model was tested for
    unsteady: tuple[Unjudged, ...] = ()  # parts in which motion of some px cannot be excluded
    tells_sharpness: bool = True  # False: too little structure to say whether it is sharp
    device: str
    runtime: str = "onnx"
    precision: str = "float"
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One measured quantity in px and, where the scale is known, mm, with its 95 % interval.

    ``low`` and ``high`` are the interval; it may reach further up than down. ``u`` is the expanded
    uncertainty (k = 2), of two sides that differ the larger one. Either is enough. A quantity
    ``below_detection`` lies between 0 and ``high``. One that is ``not_resolvable`` has nothing.
    """

    px: float | None
    mm: float | None = None
    u_px: float | None = None
    u_mm: float | None = None
    low_px: float | None = None
    high_px: float | None = None
    low_mm: float | None = None
    high_mm: float | None = None
    status: WidthStatus = "measured"

    def __post_init__(self) -> None:
        if (self.status == "measured") != (self.px is not None):
            raise ConfigError(
                f"`px` must be a number where `status` is measured and None elsewhere, got "
                f"{self.px} with {self.status}."
            )
        for unit in ("px", "mm"):
            self._complete(unit)
        if self.mm is not None and self.px is None:
            raise ConfigError(f"`mm` needs `px`, got {self.mm} alone.")
        bounds = [self.u_px, self.u_mm, self.low_px, self.low_mm, self.high_px, self.high_mm]
        if self.status == "not_resolvable" and bounds != [None] * 6:
            raise ConfigError(f"`not_resolvable` has no interval, got {bounds}.")
        below = self.status == "below_detection"
        if below and (self.low_px, self.u_px, self.u_mm) != (0, None, None):
            raise ConfigError(
                "`below_detection` has an interval from 0 to `high_px` and no `u`, got "
                f"{self.low_px} to {self.high_px} and {self.u_px}."
            )

    def _complete(self, unit: str) -> None:
        """Fill in the interval from value and u, or u from the interval, and check their order."""
        names = [f"{name}{unit}" for name in ("", "u_", "low_", "high_")]
        value, u, low, high = (getattr(self, name) for name in names)
        if value is not None and u is not None and low is None and high is None:
            low, high = max(value - u, 0.0), value + u
        if value is None and high is not None and low is None:
            low = 0.0
        if value is not None and low is not None and high is not None and u is None:
            u = max(value - low, high - value)
        ordered = [part for part in (low, value, high) if part is not None]
        finite = all(math.isfinite(part) and part >= 0 for part in (*ordered, u or 0.0))
        if not finite or ordered != sorted(ordered) or (low is None) != (high is None):
            raise ConfigError(
                f"`{names[2]}`, `{names[0]}` and `{names[3]}` must be numbers from 0 on in rising "
                f"order, got {low}, {value} and {high}."
            )
        for name, part in zip(names, (value, u, low, high), strict=True):
            object.__setattr__(self, name, part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A place where a crack is open for a short way: a pore, a chip, a spall at its edge."""

    row: float  # of its widest point
    col: float
    width: Measure
    length: Measure  # along the crack


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A stretch of crack between two nodes, with its width profile."""

    centre_line: Array  # (N, 2) float rows, cols in image coordinates, smoothed
    width_px: Array  # (N,) float; nan where no width could be measured
    edges: Array  # (N, 2, 2) float: the two edge points (row, col) of each station
    kind: Literal[
        "tip-tip", "tip-junction", "junction-junction", "loop", "bridge", "joined", "hidden"
    ]
    nodes: tuple[int, int]  # node numbers within the crack
    length_px: float
    length_mm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crack:
    """Connected branches that are reported as one crack."""

    id: int
    window: Window
    mask: Runs  # (window.height, window.width) bool
    branches: tuple[Branch, ...]
    length: Measure
    bridged_length: Measure  # part of length that crosses short gaps in the mask, seen or not
    joined_length: Measure  # part of length not in the mask that the photograph shows
    hidden_length: Measure = Measure(px=0.0, u_px=0.0)  # part that something hides: not seen
    width_mean: Measure
    width_median: Measure
    width_p95: Measure
    width_max: Measure
    width_max_at: tuple[float, float] | None  # (row, col)
    # By how much each of `widths` is less if the camera's motion made the look of the crack.
    widths_moved_px: tuple[float, ...] = ()
    sharp: bool = False  # its own look says that the photograph is not blurred there
    width_left_out_px: float = 0.0  # length along which nothing tells the crack's width
    openings: tuple[Opening, ...] = ()  # not part of the widths above
    area_px2: float | None  # length x mean width; None where that is not known
    area_mm2: float | None
    mask_area_px2: float  # pixels that are marked: a mask is wider than the line of a thin crack
    paper_length_px: float  # skeleton pixels joined by 1 and sqrt(2): the paper's length
    paper_width_px: float  # mask_area_px2 / paper_length_px
    orientation_deg: float | None  # 0 along a row, counter-clockwise, [0, 180); None if isotropic
    tortuosity: float | None
    tips: int
    junctions: int
    loops: int
    pattern: Literal["single", "branching", "map"]
    touches_border: bool  # it is cut: by the picture's edge or by the area without data
    probability_mean: float | None
    contrast: float | None = None  # how much darker than the darker of its two sides, to 1
    step: float | None = None  # how much its two sides differ, 0..1
    repetition: float | None = None  # how alike another place is, to 1; None: not looked at
    certainty: float | None = None  # share of marks like this one that are real; None: unknown
    section: Section = "main"
    width_classes: tuple[WidthClass, ...] = ()
    flags: tuple[str, ...] = ()
    correction: Correction | None = None  # None: as it was measured
    verdict: Verdict | None = None  # None: nobody has judged it

    @property
    def widths(self) -> tuple[Measure, Measure, Measure, Measure]:
        """Mean, median, 95 % and largest width."""
        return self.width_mean, self.width_median, self.width_p95, self.width_max


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an inspector says of a crack."""

    word: Literal["accepted", "rejected", "undecided"]
    by: str
    at: str  # ISO 8601, UTC
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Who made a crack what it is, after the network."""

    change: Literal["drawn", "corrected"]
    by: str
    at: str  # ISO 8601, UTC
    edits: tuple[str, ...]  # in their order; the last is that of ``by`` and ``at``


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A crack as it was measured at first, and the edit that took it off the list or changed it."""

    crack: Crack
    edit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """What inspectors changed of a report."""

    edits: tuple[Mapping[str, Any], ...]  # as in ``corrections.json``, in their order
    replaced: tuple[Replaced, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthClass:
    """What one document says of a width; ``label`` is None where the interval crosses a limit."""

    document: str
    label: str | None
    verified: bool


def can_judge(parts: tuple[Unjudged, ...]) -> bool:
    """Return whether more than half of what a picture holds can be judged.

    Where it cannot, that no crack was found says nothing.
    """
    shares = {part.code: part.share for part in parts}
    holds = 1 - shares.pop("no_data", 0.0) - shares.pop("left_out", 0.0)
    return sum(shares.values()) < holds / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over the cracks of one image's main list, and what is marked besides."""

    cracks: int
    length_px: float
    length_mm: float | None
    area_px2: float  # of those cracks whose width is known
    area_mm2: float | None
    analyzed_px2: float
    analyzed_mm2: float | None
    density_m_per_m2: float | None
    left_out_px2: float = 0.0  # of the picture, but not analyzed
    left_out_mm2: float | None = None
    also_marked: int = 0  # marks under "also marked", in none of the figures above
    also_marked_length_px: float = 0.0
    also_marked_length_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything found in one image, ready for the exports."""

    schema_version: str
    package_version: str
    image: ImageInfo
    scale: Scale | None
    model: ModelCard | None  # None when a mask from elsewhere was measured
    thresholds: tuple[float, float] | None  # the upper and the lower of the hysteresis
    options: Mapping[str, Any]
    cracks: tuple[Crack, ...]  # main list, then also marked; by severity x certainty, worst first
    totals: Totals
    notices: tuple[Notice, ...]
    timing_s: Mapping[str, float]
    unjudged: tuple[Unjudged, ...] = ()  # the largest first
    impaired: tuple[Unjudged, ...] = ()  # judged, but cracks are missed more often than was tested
    unsteady: tuple[Unjudged, ...] = ()  # where motion of a few pixels cannot be excluded
    joints: tuple[Crack, ...] = ()  # that a region file or an inspector names: in no total
    left_out: tuple[Array, ...] = ()  # (N, 2) rows, cols of the polygons that a region leaves out
    region_files: tuple[Mapping[str, str], ...] = ()  # role, path and sha256 of each
    other_lines: tuple[Crack, ...] | None = None  # joints, cables, edges, ...; None: not looked for
    corrections: Corrections | None = None  # None: all is as it was measured
    # Of a report read again: what its file says of the model, whose card may be gone.
    recorded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether the picture can be judged; see ``can_judge``."""
        return can_judge(self.unjudged)
