"""The cracks of a whole survey for labelling tools: COCO, YOLO, CVAT, Label Studio.

The masks are those of ``mask.png``, photograph by photograph. What an inspector rejected is left
out, and so is what is doubtful: a label file has no place to say so.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any

from crackseg.exports.annotations import (
    LABEL,
    Picture,
    clean,
    picture_of,
    require_own_labels,
    write_cvat_file,
    write_labelstudio_file,
    yolo_labels,
)
from crackseg.exports.coco import to_coco
from crackseg.exports.reading import read_report
from crackseg.records import Report
from crackseg.reporting.content import Content
from crackseg.reporting.gather import COPY


def write(content: Content, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the formats of these names."""
    return [path for name in names for path in _WRITERS[name](content, folder)]


def as_cvat(content: Content, folder: Path) -> list[Path]:
    """Write ``cvat.xml``."""
    return write_cvat_file(folder / "cvat.xml", _pictures(content))


def as_labelstudio(content: Content, folder: Path) -> list[Path]:
    """Write ``labelstudio.json``."""
    return write_labelstudio_file(folder / "labelstudio.json", _pictures(content))


def as_yolo(content: Content, folder: Path) -> list[Path]:
    """Write ``yolo.zip``: a label file per photograph below ``labels``, and ``data.yaml``."""
    path = folder / "yolo.zip"
    photographs = content.gathered.photographs
    require_own_labels(clean(one.name) for one in photographs if one.folder is not None)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n  0: {LABEL}\n")
        for picture in _pictures(content):
            name = PurePosixPath("labels", picture.name).with_suffix(".txt")
            packed.writestr(str(name), yolo_labels(picture))
    return [path]


def as_coco(content: Content, folder: Path) -> list[Path]:
    """Write ``coco.json``, photograph by photograph."""
    path = folder / "coco.json"
    with path.open("w", encoding="utf-8") as file:
        _write_coco(file, content)
    return [path]


def _write_coco(file: IO[str], content: Content) -> None:
    images: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    between, number = "", 0
    file.write('{"annotations": [')
    for photograph, report in _reports(content):
        data = to_coco(report)
        image_id = len(images) + 1
        images.append({**data["images"][0], "id": image_id, "file_name": clean(photograph)})
        about = {key: data[key] for key in ("info", "licenses", "categories")}
        for annotation in data["annotations"]:
            number += 1
            crack = {**annotation, "id": number, "image_id": image_id}
            file.write(between + json.dumps(crack, ensure_ascii=False, allow_nan=False))
            between = ",\n"
    rest = json.dumps({"images": images, **about}, ensure_ascii=False)
    file.write(f"],\n{rest[1:]}\n")


def _pictures(content: Content) -> Iterator[Picture]:
    for name, report in _reports(content):
        yield replace(picture_of(report), name=clean(name))


def _reports(content: Content) -> Iterator[tuple[str, Report]]:
    """Yield the name and the report of each photograph, with its main list alone.

    Raises:
        DataError: the results of a photograph hold no mask.
    """
    listed = {(crack.photograph.number, crack.id) for crack in content.gathered.cracks}
    for photograph in content.gathered.photographs:
        if photograph.folder is None:
            continue
        report = read_report(photograph.folder)
        cracks = tuple(c for c in report.cracks if (photograph.number, c.id) in listed)
        if photograph.status == COPY:  # no empty label: it shows the cracks of its twin
            cracks = tuple(c for c in report.cracks if c.section == "main")
        yield photograph.name, replace(report, cracks=cracks)


_WRITERS = {"coco": as_coco, "yolo": as_yolo, "cvat": as_cvat, "labelstudio": as_labelstudio}
