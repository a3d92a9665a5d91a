"""Close-ups of the worst cracks and small pictures of the photographs, each read once.

A close-up is cut from the photograph where it still lies where it was analyzed, or below a folder
that is named, and is the very file; else from the overlay in the results, where it is drawn on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.errors import CracksegError
from crackseg.exports import overlay
from crackseg.exports.mask import find_mask
from crackseg.exports.places import scale_of
from crackseg.folders import find_from
from crackseg.imagery.files import OpenImage, open_image
from crackseg.records import Array, Scale, Window
from crackseg.reporting.gather import Photograph, SurveyCrack, read_report

CLOSE_UP = (300, 400)  # rows, columns as shown
THUMB_PX = 160  # of the longer side
_REACH_PX = 3.0  # so far beside its centre line a mask's pixel belongs to a crack
_JPEG = 82


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseUp:
    """The widest place of a crack as JPEG, as it is and outlined; None where nothing is at hand."""

    plain: bytes | None = None
    outlined: bytes | None = None


def close_up(crack: SurveyCrack, photographs: Path | None = None) -> CloseUp:
    """Return the pictures of a crack's widest place, with a scale bar.

    Args:
        crack: whose results lie where they were written.
        photographs: folder to look for the photograph in, where it was moved.
    """
    report = read_report(crack.photograph)
    row = next(c for c in report["cracks"] if c["id"] == crack.id)
    scale = scale_of(report["scale"])
    path = find_photograph(crack.photograph, photographs)
    if path is not None:
        with suppress(CracksegError, OSError), open_image(path) as image:
            if image.info.sha256 == report["image"]["sha256"]:
                return _from_photograph(image, row, crack.photograph.folder, scale)
    with suppress(CracksegError, OSError):
        return _from_overlay(report, row, crack.photograph.folder, scale)
    return CloseUp()


def find_photograph(photograph: Photograph, folder: Path | None = None) -> Path | None:
    """Return where a photograph lies, or None where it is not at hand."""
    path = Path(str(photograph.image.get("path", "")))
    if photograph.folder is not None:
        path = Path(find_from(str(path), photograph.folder))
    places = [path] if folder is None else [path, folder / photograph.name, folder / path.name]
    return next((place for place in places if place.is_file()), None)


def widest_place(crack: Mapping[str, Any]) -> tuple[float, float]:
    """Return (row, col) of a crack's largest width, or the middle of its first branch."""
    at = crack["width_max_at"]
    if at is not None:
        return float(at["row"]), float(at["col"])
    lines = [line for line in crack["centre_line"] if line]
    if not lines:
        box = crack["bbox"]
        return box["row"] + box["height"] / 2, box["col"] + box["width"] / 2
    row, col = lines[0][len(lines[0]) // 2]
    return float(row), float(col)


def thumb(photograph: Photograph) -> bytes | None:
    """Return a small JPEG of a photograph from its results, None where they hold no picture."""
    for name in ("thumb.jpg", "overlay.jpg"):
        if photograph.folder and (photograph.folder / name).is_file():
            picture = _decode(photograph.folder / name)
            if picture is not None:
                factor = min(THUMB_PX / max(picture.shape[:2]), 1.0)
                small = cv2.resize(
                    picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
                )
                return overlay.to_jpeg(np.asarray(small), 70)
    return None


def _decode(path: Path) -> Array | None:
    with suppress(CracksegError, OSError), open_image(path) as image:
        return image.read()
    return None


def _from_photograph(
    image: OpenImage, crack: Mapping[str, Any], folder: Path | None, scale: Scale | None
) -> CloseUp:
    at = widest_place(crack)
    zoom = _zoom(crack)
    window = _window(at, zoom, (image.info.height_px, image.info.width_px))
    plain = _enlarge(image.read(window), zoom)
    outlined = plain.copy()
    _outline(outlined, crack, window, zoom, _mask(folder, window))
    overlay.draw_close_up_bar(outlined, scale, at, zoom)
    return CloseUp(plain=overlay.to_jpeg(plain, _JPEG), outlined=overlay.to_jpeg(outlined, _JPEG))


def _from_overlay(
    report: Mapping[str, Any], crack: Mapping[str, Any], folder: Path | None, scale: Scale | None
) -> CloseUp:
    """Return the outlined picture alone, cut from the overlay, which may be reduced."""
    if folder is None or not (folder / "overlay.jpg").is_file():
        return CloseUp()
    with open_image(folder / "overlay.jpg") as image:
        factor = image.info.width_px / report["image"]["width_px"]
        row, col = widest_place(crack)
        window = _window(
            (row * factor, col * factor), 1.0, (image.info.height_px, image.info.width_px)
        )
        picture = np.array(image.read(window), order="C")
    overlay.draw_close_up_bar(picture, scale, (row, col), factor)
    return CloseUp(outlined=overlay.to_jpeg(picture, _JPEG))


def _zoom(crack: Mapping[str, Any]) -> float:
    width = crack["width_max_px"] or 0.0
    return 3.0 if width < 6 else 2.0 if width < 20 else 1.0


def _window(at: tuple[float, float], zoom: float, size: tuple[int, int]) -> Window:
    """Return the window of a close-up round a place, moved inside the picture."""
    height, width = (
        min(round(side / zoom), most) for side, most in zip(CLOSE_UP, size, strict=True)
    )
    top = min(max(round(at[0]) - height // 2, 0), size[0] - height)
    left = min(max(round(at[1]) - width // 2, 0), size[1] - width)
    return Window(row=top, col=left, height=height, width=width)


def _enlarge(pixels: Array, zoom: float) -> Array:
    pixels = np.ascontiguousarray(pixels)
    return np.asarray(cv2.resize(pixels, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC))


def _mask(folder: Path | None, window: Window) -> Array | None:
    """Return the part of the cracks' mask in a window, None where the results hold none."""
    if folder is None or not find_mask(folder).is_file():
        return None
    with suppress(CracksegError, OSError), open_image(find_mask(folder), is_mask=True) as mask:
        return np.asarray(mask.read(window)[..., 0] > 0)
    return None


def _outline(
    picture: Array, crack: Mapping[str, Any], window: Window, zoom: float, mask: Array | None
) -> None:
    """Draw in place the outline of a crack, or its centre line where there is no mask."""
    origin = np.array([window.row, window.col])
    lines = [np.asarray(line, float) - origin for line in crack["centre_line"] if len(line) > 1]
    fixed = [np.rint(((line + 0.5) * zoom - 0.5)[:, ::-1] * 16).astype(np.int32) for line in lines]
    own = None if mask is None else _own_part(mask, lines, crack)
    if own is None or not own.any():
        cv2.polylines(picture, fixed, False, overlay.OUTLINE, 1, cv2.LINE_AA, 4)
        return
    grown = cv2.dilate(np.pad(own, 2).astype(np.uint8), np.ones((3, 3), np.uint8))
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    scaled = [np.rint(((line - 2 + 0.5) * zoom - 0.5) * 16).astype(np.int32) for line in contours]
    cv2.polylines(picture, scaled, True, overlay.OUTLINE, 1, cv2.LINE_AA, 4)


def _own_part(mask: Array, lines: list[Array], crack: Mapping[str, Any]) -> Array:
    """Return the pixels of a mask that are this crack's: near its centre line."""
    reach = max((crack["width_max_px"] or 0.0), 1.0) + 2 * _REACH_PX
    near = np.zeros(mask.shape, np.uint8)
    courses = [np.rint(line[:, ::-1]).astype(np.int32) for line in lines]
    cv2.polylines(near, courses, False, 1, max(round(reach), 1))
    return np.asarray(mask & (near > 0))
