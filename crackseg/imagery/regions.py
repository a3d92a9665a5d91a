"""What of a picture is the structure: polygons of a GeoJSON file, or a mask picture.

``region`` names the structure, ``ignore`` what on it is not looked at; each is one file for all
photographs or a folder with one of each photograph's name. Lines with the property ``class``:
``joint`` say where joints run. A file that cannot be placed on the picture for sure is refused.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.config import RegionOptions
from crackseg.errors import ConfigError, CracksegError, DataError, MissingExtra
from crackseg.imagery.outside import line_outside, outside_notice
from crackseg.imagery.polygons import fill_polygons
from crackseg.imagery.region_files import is_geojson, is_region_file, read_mask, read_shapes
from crackseg.records import Array, ImageInfo, Notice

_LEAST_PX = 10.0  # a smaller structure is one whose coordinates are not what they seem
_MOST_NAMED = 3  # joints in a sentence; more are counted
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
    notices: tuple[Notice, ...] = ()


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


def unused_files(options: RegionOptions, photographs: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files in a folder of what is ignored that belong to none of some photographs."""
    folder = options.ignore
    if folder is None or not folder.is_dir():
        return ()
    used = {file for path in photographs for file in _named_after(folder, path)}
    return tuple(
        sorted(path for path in folder.iterdir() if is_region_file(path) and path not in used)
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
    notices: list[Notice] = []
    limited = border_px > 0
    for file in files:
        if is_geojson(file.path):
            keep, drop, lines, outside = _read_geojson(file, info)
            joints += lines
            notices += outside
        else:
            drawn = _read_picture(file, info)
            if file.role == "region" and drawn.all():
                text = f"`{file.path.name}` is white all over: it leaves nothing out."
                notices.append(Notice(code="region_all", message=text))
            keep, drop = (drawn, None) if file.role == "region" else (None, drawn)
        limited = limited or keep is not None or drop is not None
        inside &= 1 if keep is None else keep
        inside &= 1 if drop is None else 1 - drop
    if not inside.any():
        names = " and ".join(f"`{file.path.name}`" for file in files)
        raise DataError(f"{names} leave nothing of `{info.path.name}` to look at.")
    return Region(
        files=files,
        inside=inside.view(bool) if limited else None,
        joints=tuple(joints),
        notices=tuple(notices),
    )


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


def idle_joints_notice(
    joints: tuple[Array, ...], lines: Sequence[Array], options: RegionOptions
) -> Iterator[Notice]:
    """Yield the notice of joints that no line which was found follows, or for a part only.

    Args:
        joints: (N, 2) rows, cols of each joint.
        lines: (M, 2) rows, cols of each line that was found, of whatever kind.
        options: how near a line must run, and for which share of its length.
    """
    reach_px, least = options.joint_reach_px, options.joint_share
    follow = [line for line in lines if share_on_joints(line, joints, reach_px) >= least]

    def runs_along(line: Array, joint: Array, of_it: float) -> bool:
        """A line that crosses the joint is near it for twice the reach."""
        share = share_on_joints(line, (joint,), reach_px)
        return share >= of_it or share * len(line) > 2 * reach_px + 1

    idle = [joint for joint in joints if not any(runs_along(line, joint, least) for line in follow)]
    short = [joint for joint in idle if any(runs_along(line, joint, 1) for line in lines)]
    of_all = f"of {len(joints)} lines named as joints"
    texts = []
    if alone := [joint for joint in idle if not any(joint is other for other in short)]:
        texts.append(
            f"{len(alone)} {of_all} meet no crack and no other dark line that was found along "
            f"them, and change nothing: {_courses(alone)}. Where a joint is to be seen beside one, "
            "check its coordinates, or `joint_reach_px`."
        )
    if short:
        texts.append(
            f"{len(short)} {of_all} follow less than {100 * least:.0f} % of the crack or dark line "
            f"that they run along, and change nothing: {_courses(short)}. Draw the joint along all "
            "of it, or lower `joint_share`."
        )
    if texts:
        yield Notice(code="joints_idle", message=" ".join(texts))


def _courses(lines: Sequence[Array]) -> str:
    """Return from where to where some lines of (N, 2) rows, cols run; of many, the first."""
    some = [
        f"from column {line[0][1]:.0f}, row {line[0][0]:.0f} to column {line[-1][1]:.0f}, row "
        f"{line[-1][0]:.0f}"
        for line in lines[:_MOST_NAMED]
    ]
    more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return f"{'; '.join(some)}{more}"


def _of_photograph(role: str, folder: Path, photograph: Path) -> Path | None:
    """Return the file of a photograph's name; a photograph may have nothing to ignore."""
    matches = _named_after(folder, photograph)
    if not matches and role == "ignore":
        return None
    if len(matches) != 1:
        what = "no file" if not matches else f"{len(matches)} files"
        raise DataError(
            f"`--{role} {folder}` has {what} for `{photograph.name}`; expected one named "
            f"`{photograph.stem}.geojson` or `{photograph.stem}.png`."
        )
    return matches[0]


def _named_after(folder: Path, photograph: Path) -> list[Path]:
    """Return the files of a photograph; those that have its name to the letter, if there are any.

    Systems and programs write names in other letters, other forms of an umlaut, or in full: a file
    to ignore would go unused without a word.
    """
    matches = [
        path
        for path in sorted(folder.iterdir())
        if is_region_file(path) and _is_named_after(path, photograph)
    ]
    return [path for path in matches if path.stem in (photograph.stem, photograph.name)] or matches


def _is_named_after(file: Path, photograph: Path) -> bool:
    """Return whether a file has a photograph's name, with its suffix or without, in any case."""
    return _plain(file.stem) in (_plain(photograph.stem), _plain(photograph.name))


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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
) -> tuple[Array | None, Array | None, list[Array], list[Notice]]:
    """Return what a file keeps and drops, (H, W) uint8 each or None, its joints and warnings."""
    name = file.path.name
    shapes = read_shapes(file.path, file.role)
    rings = [r for polygons in shapes.polygons.values() for _, rings in polygons for r in rings]
    points = np.concatenate([*rings, *(line for _, line in shapes.joints)])
    place = _placing(shapes.data, points, info, name)
    lines = [(where, place(line)) for where, line in shapes.joints]
    outside = [(where, line_outside(line, info)) for where, line in lines]
    filled: list[Array | None] = []
    for polygons in shapes.polygons.values():
        canvas, shares = fill_polygons([(at, [place(r) for r in p]) for at, p in polygons], info)
        filled.append(canvas if polygons else None)
        outside += shares
    keep, drop = filled
    if keep is not None and keep.sum() < _LEAST_PX**2:
        raise DataError(f"`{name}` covers nothing of `{info.path.name}`; check its coordinates.")
    warned = outside_notice(outside, info, name, in_pixels=_is_in_pixels(shapes.data, info))
    return keep, drop, [line[:, ::-1] for _, line in lines], list(warned)


def _declared(data: Any, name: str) -> str:
    """Return the name of the reference system that a file declares, "" where it does not."""
    try:
        return str((data.get("crs") or {}).get("properties", {}).get("name", ""))
    except AttributeError as error:
        raise DataError(f"`{name}` is not GeoJSON: its `crs` names no system.") from error


def _system(data: Any) -> str:
    """Return what a file of ours says of its coordinates, in small letters."""
    return str(data.get("coordinate_system", "")).lower()


def _is_in_pixels(data: Any, info: ImageInfo) -> bool:
    return info.transform is None or "image pixels" in _system(data)


def _placing(data: Any, points: Array, info: ImageInfo, name: str) -> Place:
    """Return what turns a file's x, y into col, row of the picture."""
    system = _system(data)
    if "image pixels" in system:
        return (lambda xy: xy * [1, -1] - 0.5) if "y upwards" in system else (lambda xy: xy)
    declared = _declared(data, name)
    if info.transform is None:
        if declared and "CRS84" not in declared:
            raise DataError(
                f"`{name}` is in {declared}, but `{info.path.name}` is not georeferenced; draw the "
                "region in pixels (x = column, y = row)."
            )
        # GIS programs show a plain picture with y upwards; what is drawn there may overshoot it
        if points[:, 1].min() + points[:, 1].max() <= 0:
            return lambda xy: xy * [1, -1] - 0.5
        if np.ptp(points, axis=0).max() < _LEAST_PX:
            raise DataError(
                f"`{name}` spans {np.ptp(points, axis=0).max():.3g}: taken as pixels that is "
                f"nothing. `{info.path.name}` is not georeferenced; draw the region in pixels."
            )
        return lambda xy: xy
    to_pixels = _from_map(info.transform)
    if declared and _epsg(declared) == _epsg(info.crs or "") != "":
        return to_pixels
    if _fits(to_pixels(points), info) and not declared:
        return to_pixels  # in the raster's own map units
    transform = _transformer(declared, info, name)
    if not np.isfinite(transform(*points.T)).all():
        raise DataError(f"`{name}` has points that are not on Earth.")
    return lambda xy: to_pixels(np.column_stack(transform(*xy.T)))


def _epsg(system: str) -> str:
    """Return the code of a system however it is spelt (`urn:ogc:def:crs:EPSG::25832`), or ""."""
    found = re.search(r"EPSG(?::|/)(?:[\d.]*(?::|/))?(\d+)$", system.strip(), re.IGNORECASE)
    return found[1] if found else ""


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
