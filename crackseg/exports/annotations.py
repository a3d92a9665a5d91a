"""Cracks become pre-annotations for labelling tools: CVAT, Label Studio, and YOLO's label files.

CVAT takes the exact masks as run lengths. The other two know polygons alone: outlines run along
the edges of the pixels, so that a crack of one pixel has its width, and where a crack rings an
island it is cut into pieces, since such a polygon has no holes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import numpy as np
import shapely

from crackseg.errors import DataError
from crackseg.exports.tables import crack_to_dict
from crackseg.folders import plain_path
from crackseg.imagery.files import OpenImage
from crackseg.records import Array, Report, Window

LABEL = "crack"
_LONGEST_STEM = 100  # letters of a file name


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """One crack: its row of ``report.json`` and its pixels."""

    facts: Mapping[str, Any]
    window: Window
    mask: Array  # (window.height, window.width) bool
    label: str = LABEL


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A photograph with what is marked on it."""

    name: str
    height_px: int
    width_px: int
    cracks: Sequence[Marked]
    doubt: float | None = None  # of how many of its marks it is doubtful whether they are cracks


def picture_of(report: Report) -> Picture:
    """Return the picture of a report."""
    marked = [
        Marked(facts=crack_to_dict(crack), window=crack.window, mask=np.asarray(crack.mask))
        for crack in report.cracks
    ]
    info = report.image
    return Picture(
        name=clean(info.path.name), height_px=info.height_px, width_px=info.width_px, cracks=marked
    )


def clean(name: str) -> str:
    """Return a name that XML and every tool can hold on one line."""
    return re.sub(r"[\x00-\x1f\x7f]", "_", plain_path(name))


def require_own_labels(names: Iterable[str]) -> None:
    """Refuse photographs that differ by the end of their names alone: YOLO knows them by the rest.

    Capitals count as small letters, as on the disks of half the world.

    Raises:
        DataError: two of them would have one label file.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(str(PurePosixPath(name).with_suffix("")).casefold(), name)
        if other != name:
            raise DataError(
                f"`{other}` and `{name}` would have one label file in YOLO's format, which leaves "
                "the end of a name out; rename one and analyze it again, or use `cvat`."
            )


def write_cvat(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``cvat.xml`` ("CVAT for images 1.1")."""
    return write_cvat_file(folder / "cvat.xml", [picture_of(report)])


def write_labelstudio(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``labelstudio.json``: a task with its prediction."""
    return write_labelstudio_file(folder / "labelstudio.json", [picture_of(report)])


def write_yolo(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write the label file of the picture, named like it."""
    picture = picture_of(report)
    path = folder / f"{Path(picture.name).stem[:_LONGEST_STEM]}.txt"
    path.write_text(yolo_labels(picture), encoding="utf-8")
    return [path]


def write_cvat_file(
    path: Path, pictures: Iterable[Picture], labels: Sequence[str] = (LABEL,)
) -> list[Path]:
    """Write the pictures of a task one by one, their masks as run lengths along the rows."""
    names = "".join(f"<label><name>{label}</name></label>" for label in labels)
    head = f"<version>1.1</version><meta><job><labels>{names}</labels></job></meta>"
    with path.open("w", encoding="utf-8") as file:
        file.write(f"<?xml version='1.0' encoding='utf-8'?>\n<annotations>{head}\n")
        for number, picture in enumerate(pictures):
            size = {"width": str(picture.width_px), "height": str(picture.height_px)}
            about = {"id": str(number), "name": picture.name, **size}
            image = ElementTree.Element("image", about)
            for marked in picture.cracks:
                ElementTree.SubElement(image, "mask", _cvat_mask(marked))
            file.write(ElementTree.tostring(image, encoding="unicode") + "\n")
        file.write("</annotations>\n")
    return [path]


def _cvat_mask(marked: Marked) -> dict[str, str]:
    window = marked.window
    return {
        "label": marked.label,
        "source": "auto",
        "occluded": "0",
        "z_order": "0",
        "rle": ", ".join(map(str, row_runs(marked.mask))),
        "left": str(window.col),
        "top": str(window.row),
        "width": str(window.width),
        "height": str(window.height),
    }


def row_runs(mask: Array) -> list[int]:
    """Return the lengths of the runs of background and crack by turns, row by row."""
    flat = np.r_[False, mask.ravel(), False]
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs: list[int] = np.diff(np.r_[0, edges]).tolist()
    rest = mask.size - int(edges[-1]) if len(edges) else mask.size
    return [*runs, rest] if rest else runs


def write_labelstudio_file(path: Path, pictures: Iterable[Picture]) -> list[Path]:
    """Write one task per picture, its cracks as polygons of a prediction, in per cent."""
    with path.open("w", encoding="utf-8") as file:
        between = "["
        for picture in pictures:
            made = {"model_version": "crackseg", "result": list(_results(picture))}
            data: dict[str, Any] = {"image": picture.name}
            if picture.doubt is not None:
                data["doubt"] = round(picture.doubt, 3)
            task = {"data": data, "predictions": [made]}
            file.write(between + json.dumps(task, ensure_ascii=False))
            between = ",\n"
        file.write("]\n" if between != "[" else "[]\n")
    return [path]


def _results(picture: Picture) -> Iterator[dict[str, Any]]:
    size = np.array([picture.width_px, picture.height_px]) / 100
    for marked in picture.cracks:
        for number, ring in enumerate(rings(marked)):
            yield {
                "id": f"crack{marked.facts['id']}_{number}",
                "type": "polygonlabels",
                "from_name": "label",
                "to_name": "image",
                "original_width": picture.width_px,
                "original_height": picture.height_px,
                "image_rotation": 0,
                "score": marked.facts["certainty"],
                "value": {
                    "points": np.round(ring / size, 4).tolist(),
                    "polygonlabels": [marked.label],
                    "closed": True,
                },
            }


def yolo_labels(picture: Picture, labels: Sequence[str] = (LABEL,)) -> str:
    """Return the label file of a picture: class and x, y in shares of its size, per polygon."""
    size = np.array([picture.width_px, picture.height_px])
    lines = (
        " ".join(
            [
                str(labels.index(marked.label)),
                *(f"{value:.6f}" for value in (ring / size).ravel()),
            ]
        )
        for marked in picture.cracks
        for ring in rings(marked)
    )
    return "".join(f"{line}\n" for line in lines)


def rings(marked: Marked) -> Iterator[Array]:
    """Yield the outlines of a crack, (N, 2) x, y from the picture's corner, none with a hole."""
    corner = np.array([marked.window.col, marked.window.row])
    for piece in _without_holes(outline(marked.mask)):
        yield np.asarray(piece.exterior.coords)[:-1] + corner


def outline(mask: Array) -> shapely.Geometry:
    """Return the area of a mask's pixels, with holes, x, y from its own corner."""
    padded = np.pad(mask, ((0, 0), (1, 1))).astype(np.int8)
    rows, starts = np.nonzero(np.diff(padded, axis=1) == 1)
    ends = np.nonzero(np.diff(padded, axis=1) == -1)[1]
    boxes = shapely.box(starts, rows, ends, rows + 1)
    return shapely.union_all(boxes).simplify(0)


def _without_holes(area: shapely.Geometry) -> Iterator[shapely.Polygon]:
    """Yield polygons that make up an area: one with a hole is cut across it."""
    for part in shapely.get_parts(area):
        if not isinstance(part, shapely.Polygon):
            continue
        if not part.interiors:
            yield part
            continue
        left, top, right, bottom = part.bounds
        across = round(shapely.Polygon(part.interiors[0]).centroid.x)  # between two pixels
        for half in ((left, across), (across, right)):
            cut = part.intersection(shapely.box(half[0], top, half[1], bottom))
            yield from _without_holes(cut)
