"""What of a picture is the structure: polygons of a GeoJSON file, or a mask picture.

``region`` names the structure, ``ignore`` what on it is not looked at; each is one file for all
photographs or a folder with one of each photograph's name. Lines with the property ``class``:
``joint`` say where joints run. A file that cannot be placed on the picture for sure is refused.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.config import RegionOptions
from crackseg.errors import ConfigError, CracksegError, DataError, MissingExtra
from crackseg.imagery.region_files import is_geojson, is_region_file, read_mask, read_shapes
from crackseg.records import Array, ImageInfo

_LEAST_PX = 10.0  # a smaller structure is one whose coordinates are not what they seem
_BOTH_WAYS = 0.01  # of an outline's area: less is a slip of the hand, more is what nobody meant
_BAND_ROWS = 256  # of the picture at a time: an orthophoto's windings would not fit into memory
Place = Callable[[Array], Array]  # (N, 2) x, y of a file to (N, 2) col, row


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionFile:
    """A file that says something of a photograph."""

    role: str  # region | ignore
    path: Path
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """What the files say of one photograph."""

    files: tuple[RegionFile, ...]
    inside: Array | None  # (H, W) bool, True = look here; None = everywhere
    joints: tuple[Array, ...]  # (N, 2) rows, cols of each line


def find_region_files(options: RegionOptions, photograph: Path) -> tuple[RegionFile, ...]:
    """Return the files that belong to a photograph, with their digests.

    Raises:
        DataError: a file is missing, or a folder has none or several for this photograph.
    """
    files = []
    for role in ("region", "ignore"):
        option: Path | None = getattr(options, role)
        path = option
        if option is not None and option.is_dir():
            path = _of_photograph(role, option, photograph)
        if path is not None:
            try:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
            except OSError as error:
                raise DataError(f"`--{role} {path}` cannot be read: {error.strerror}.") from error
            files.append(RegionFile(role=role, path=path, sha256=digest))
    return tuple(files)


def refuse_unusable(options: RegionOptions) -> None:
    """Refuse a run whose region is nowhere, or is in no photograph's reading a region.

    Files in a folder are of one photograph each, and fail with it.

    Raises:
        ConfigError: a file or folder does not exist, a folder holds no file for any photograph, or
            the one file for all of them is damaged, or says nothing.
    """
    for role in ("region", "ignore"):
        path: Path | None = getattr(options, role)
        if path is None:
            continue
        if not path.exists():
            raise ConfigError(f"`--{role} {path}` does not exist; expected a file or a folder.")
        if not path.is_dir():
            try:
                _ = read_shapes(path, role) if is_geojson(path) else read_mask(path)
            except (CracksegError, OSError) as error:
                why = getattr(error, "strerror", None) or error
                raise ConfigError(f"`--{role} {path}` cannot be used: {why}") from error
        elif not any(is_region_file(file) for file in path.iterdir()):
            raise ConfigError(
                f"`--{role} {path}` holds no file for any photograph; expected GeoJSON or mask "
                "pictures, each of a photograph's name."
            )


def region_facts(files: tuple[RegionFile, ...]) -> tuple[dict[str, str], ...]:
    """Return the files as a report keeps them, so that a changed one is noticed."""
    return tuple({"role": f.role, "path": str(f.path), "sha256": f.sha256} for f in files)


def read_region(options: RegionOptions, info: ImageInfo, border_px: int = 0) -> Region | None:
    """Return what is to be looked at in a picture, or None where nothing limits it.

    Args:
        options: which files say so.
        info: of the picture.
        border_px: how much along its edges is not looked at, px.

    Raises:
        ConfigError: the border leaves nothing.
        DataError: a file is damaged, does not fit the picture, or covers nothing of it.
        MissingExtra: map coordinates must be turned into those of the raster, without pyproj.
    """
    files = find_region_files(options, info.path)
    if not files and not border_px:
        return None
    inside = _within_border(info, border_px)
    joints: list[Array] = []
    limited = border_px > 0
    for file in files:
        if is_geojson(file.path):
            keep, drop, lines = _read_geojson(file, info)
            joints += lines
        else:
            drawn = _read_picture(file, info)
            keep, drop = (drawn, None) if file.role == "region" else (None, drawn)
        limited = limited or keep is not None or drop is not None
        inside &= 1 if keep is None else keep
        inside &= 1 if drop is None else 1 - drop
    if not inside.any():
        names = " and ".join(f"`{file.path.name}`" for file in files)
        raise DataError(f"{names} leave nothing of `{info.path.name}` to look at.")
    return Region(files=files, inside=inside.view(bool) if limited else None, joints=tuple(joints))


def _within_border(info: ImageInfo, border_px: int) -> Array:
    """Return (H, W) uint8, 0 in the border of a picture."""
    shape = (info.height_px, info.width_px)
    if 2 * border_px >= min(shape):
        raise ConfigError(
            f"`ignore_border_px` of {border_px} leaves nothing of `{info.path.name}`, which has "
            f"{info.width_px} x {info.height_px} px."
        )
    inside = np.zeros(shape, np.uint8)
    inside[border_px : shape[0] - border_px, border_px : shape[1] - border_px] = 1
    return inside


def outline(region: Region | None) -> tuple[Array, ...]:
    """Return the (N, 2) rows, cols of the polygons around what is left out."""
    if region is None or region.inside is None:
        return ()
    contours, _ = cv2.findContours(
        np.pad(1 - region.inside.view(np.uint8), 1), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    simple = [cv2.approxPolyDP(contour, 1.0, True).reshape(-1, 2) - 1 for contour in contours]
    return tuple(polygon[:, ::-1].astype(np.float64) for polygon in simple if len(polygon) > 2)


def share_on_joints(points: Array, joints: tuple[Array, ...], reach_px: float) -> float:
    """Return the share of (N, 2) rows, cols that lie within reach of a line."""
    if not len(points):
        return 0.0
    near = np.zeros(len(points), bool)
    for line in joints:
        for start, end in itertools.pairwise(line):
            step = end - start
            along = (points - start) @ step / max(float(step @ step), 1e-9)
            foot = start + np.clip(along, 0, 1)[:, None] * step
            near |= np.hypot(*(points - foot).T) <= reach_px
    return float(near.mean())


def _of_photograph(role: str, folder: Path, photograph: Path) -> Path | None:
    """Return the file of a photograph's name; a photograph may have nothing to ignore."""
    matches = sorted(
        path for path in folder.iterdir() if path.stem == photograph.stem and is_region_file(path)
    )
    if not matches and role == "ignore":
        return None
    if len(matches) != 1:
        what = "no file" if not matches else f"{len(matches)} files"
        raise DataError(
            f"`--{role} {folder}` has {what} for `{photograph.name}`; expected one named "
            f"`{photograph.stem}.geojson` or `{photograph.stem}.png`."
        )
    return matches[0]


def _read_picture(file: RegionFile, info: ImageInfo) -> Array:
    """Return (H, W) uint8 of a mask picture that is as large as the photograph."""
    drawn = read_mask(file.path)
    if drawn.shape != (info.height_px, info.width_px):
        raise DataError(
            f"`{file.path.name}` must be as large as the photograph, {info.width_px} x "
            f"{info.height_px} px, got {drawn.shape[1]} x {drawn.shape[0]}."
        )
    return drawn


def _read_geojson(
    file: RegionFile, info: ImageInfo
) -> tuple[Array | None, Array | None, list[Array]]:
    """Return what a file keeps and drops, (H, W) uint8 each or None, and its joints."""
    name = file.path.name
    shapes = read_shapes(file.path, file.role)
    rings = [r for polygons in shapes.polygons.values() for _, rings in polygons for r in rings]
    place = _placing(shapes.data, np.concatenate([*rings, *shapes.joints]), info, name)
    keep, drop = (
        _filled([(at, [place(r) for r in p]) for at, p in polygons], info) if polygons else None
        for polygons in shapes.polygons.values()
    )
    if keep is not None and keep.sum() < _LEAST_PX**2:
        raise DataError(f"`{name}` covers nothing of `{info.path.name}`; check its coordinates.")
    return keep, drop, [place(line)[:, ::-1] for line in shapes.joints]


def _declared(data: Any, name: str) -> str:
    """Return the name of the reference system that a file declares, "" where it does not."""
    try:
        return str((data.get("crs") or {}).get("properties", {}).get("name", ""))
    except AttributeError as error:
        raise DataError(f"`{name}` is not GeoJSON: its `crs` names no system.") from error


def _placing(data: Any, points: Array, info: ImageInfo, name: str) -> Place:
    """Return what turns a file's x, y into col, row of the picture."""
    system = str(data.get("coordinate_system", "")).lower()
    if "image pixels" in system:
        return (lambda xy: xy * [1, -1] - 0.5) if "y upwards" in system else (lambda xy: xy)
    declared = _declared(data, name)
    if info.transform is None:
        if declared and "CRS84" not in declared:
            raise DataError(
                f"`{name}` is in {declared}, but `{info.path.name}` is not georeferenced; draw the "
                "region in pixels (x = column, y = row)."
            )
        if (points[:, 1] <= 0).all():  # GIS programs show a plain picture with y upwards
            return lambda xy: xy * [1, -1] - 0.5
        if np.ptp(points, axis=0).max() < _LEAST_PX:
            raise DataError(
                f"`{name}` spans {np.ptp(points, axis=0).max():.3g}: taken as pixels that is "
                f"nothing. `{info.path.name}` is not georeferenced; draw the region in pixels."
            )
        return lambda xy: xy
    to_pixels = _from_map(info.transform)
    if _fits(to_pixels(points), info) and not declared:
        return to_pixels  # in the raster's own map units
    transform = _transformer(declared, info, name)
    if not np.isfinite(transform(*points.T)).all():
        raise DataError(f"`{name}` has points that are not on Earth.")
    return lambda xy: to_pixels(np.column_stack(transform(*xy.T)))


def _from_map(transform: tuple[float, ...]) -> Place:
    a, b, c, d, e, f = transform
    back = np.linalg.inv(np.array([[a, b], [d, e]]))
    corner = np.array([c, f])
    return lambda xy: (xy - corner) @ back.T - 0.5


def _fits(pixels: Array, info: ImageInfo) -> bool:
    """Return whether points lie on the picture, at least in part, and not all in one spot."""
    size = np.array([info.width_px, info.height_px])
    on = ((pixels >= -size) & (pixels <= 2 * size)).all(axis=1)
    return bool(on.mean() > 0.5 and np.ptp(pixels, axis=0).max() >= _LEAST_PX)


def _transformer(declared: str, info: ImageInfo, name: str) -> Callable[..., Any]:
    source = declared or "EPSG:4326"  # RFC 7946: WGS84 where nothing is said
    if info.crs is None:
        raise DataError(
            f"`{name}` does not lie on `{info.path.name}`, whose map coordinates have no CRS; "
            "write the region in the raster's own coordinates or in pixels."
        )
    try:
        from pyproj import Transformer
        from pyproj.exceptions import CRSError
    except ImportError as error:
        raise MissingExtra(
            f"`{name}` is in {source}, the raster in {info.crs}: install `crackseg[geo]`."
        ) from error
    try:
        made = Transformer.from_crs(source, info.crs, always_xy=True)
    except CRSError as error:
        raise DataError(f"`{name}`: {source} or {info.crs} is not a known CRS.") from error
    change: Callable[..., Any] = made.transform
    return change


def _filled(polygons: list[tuple[str, list[Array]]], info: ImageInfo) -> Array:
    """Return (H, W) uint8 with 1 where the centre of a pixel lies inside; further rings are holes.

    An outline holds the pixels it runs through, a hole does not. One that crosses itself holds all
    that it goes round, as one drawn by hand may; but it must go round all of it the same way.

    Raises:
        DataError: one goes round a part clockwise and another against the clock.
    """
    canvas = np.zeros((info.height_px, info.width_px), np.uint8)
    for where, (outline, *holes) in polygons:
        ways = np.zeros((1 + len(holes), 2), np.int64)
        ends = outline[:, 1].min(), outline[:, 1].max() + 1
        first, last = np.clip(np.ceil(ends), 0, info.height_px).astype(int).tolist()
        for top in range(first, last, _BAND_ROWS):
            rows = slice(top, min(top + _BAND_ROWS, last))
            inside, both = _inside(outline, rows, info.width_px, rim=True)
            ways[0] += both
            for k, hole in enumerate(holes, start=1):
                cut, both = _inside(hole, rows, info.width_px, rim=False)
                ways[k] += both
                inside &= ~cut
            canvas[rows] |= inside
        _refuse_bow_tie(ways, where)
    return canvas


def _refuse_bow_tie(ways: Array, where: str) -> None:
    """Raise where a ring goes round parts of the picture both ways: its corners are out of order.

    Args:
        ways: (N, 2) pixels that each ring goes round one way and the other.
        where: which geometry it is.

    Raises:
        DataError: names the geometry.
    """
    share = (ways.min(axis=1) / np.maximum(ways.sum(axis=1), 1)).max()
    if share > _BOTH_WAYS:
        raise DataError(
            f"{where} crosses itself like a bow tie: it goes round {100 * share:.0f} % of its area "
            "the other way than round the rest, so that which area is meant would be a guess; put "
            "its corners in order, or draw the parts as polygons of their own."
        )


def _inside(ring: Array, rows: slice, width_px: int, *, rim: bool) -> tuple[Array, tuple[int, int]]:
    """Return (h, W) bool of some rows: where an (N, 2) ring of x, y goes round the pixel's centre.

    The second value counts the centres that it goes round one way and the other.

    Each edge turns what lies right of it by one, up or down; 0 turns are outside. Centres that lie
    on an edge are as ``rim`` says.
    """
    start, end = ring, np.roll(ring, -1, axis=0)
    low, high = (pick(start[:, 1], end[:, 1]) for pick in (np.minimum, np.maximum))
    first, last = (np.ceil(np.clip(y, rows.start, rows.stop)).astype(int) for y in (low, high))
    count = last - first
    edge = np.repeat(np.arange(len(ring)), count)
    row = first[edge] + np.arange(len(edge)) - (np.cumsum(count) - count)[edge]
    run = (end - start)[edge]
    x = start[edge, 0] + (row - start[edge, 1]) * run[:, 0] / run[:, 1]
    turns = np.zeros((rows.stop - rows.start, width_px + 1), np.int32)
    at = np.ceil(np.clip(x, 0, width_px)).astype(int)
    np.add.at(turns, (row - rows.start, at), np.sign(run[:, 1]).astype(np.int32))
    windings = np.cumsum(turns, axis=1, dtype=np.int32)[:, :-1]
    both = int((windings > 0).sum()), int((windings < 0).sum())
    inside: Array = windings != 0
    on = np.concatenate([np.column_stack([x, row]), ring])
    on = on[(on == np.rint(on)).all(axis=1) & (on[:, 0] >= 0) & (on[:, 0] < width_px)]
    on = on[(on[:, 1] >= rows.start) & (on[:, 1] < rows.stop)].astype(int)
    inside[on[:, 1] - rows.start, on[:, 0]] = rim
    flat = (low == high) & (low == np.rint(low)) & (low >= rows.start) & (low < rows.stop)
    for (one, y), (other, _) in zip(start[flat], end[flat], strict=True):
        left, right = sorted((one, other))
        run_px = slice(max(int(np.ceil(left)), 0), max(int(np.floor(right)) + 1, 0))
        inside[int(y) - rows.start, run_px] = rim
    return inside, both
