"""Projects of the VGG Image Annotator and label files of YOLO-seg -> the shapes of each picture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from crackseg.csv_files import read_text
from crackseg.errors import DataError
from crackseg.file_kinds import all_below, is_of_system
from crackseg.imagery.masks import MaskRule
from crackseg.training.annotation_readers import (
    WIDTH,
    Annotated,
    box_ring,
    ellipse_ring,
    own_width,
    plain_name,
    polygon_of,
    turned_ring,
)
from crackseg.training.fields import (
    as_table,
    listed,
    named,
    number,
    one_shape,
    points_of,
    read_json,
    said,
    table,
    text,
)
from crackseg.training.shapes import Shape

_CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_YES = ("yes", "true", "1")
_FOLDERS_ABOVE = 3  # SET/data.yaml, and labels in SET/train/labels or SET/labels/train
_NO_LABELS = {*_CLASS_FILES, "train.txt", "val.txt", "test.txt", "images.txt", "order.txt"}


def read_via(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a project, or of its annotations as JSON.

    Args:
        source: the file.
        rule: is not asked: regions carry their labels.
    """
    data = read_json(source)
    entries = data.get("_via_img_metadata", data) if isinstance(data, dict) else {}
    if isinstance(data, dict) and {"project", "metadata", "view"} <= data.keys():
        raise DataError(f"{source} is a project of VIA 3; export it as COCO, which is read.")
    pictures = entries.values() if isinstance(entries, dict) else []
    if not pictures or not all(isinstance(e, dict) and "filename" in e for e in pictures):
        raise DataError(
            f"{source}: a project of VIA must hold `_via_img_metadata` with a `filename` for each "
            "picture; export the annotations as JSON."
        )
    for entry in pictures:
        where = f"{source}: `{entry['filename']}`"
        with named(where):
            regions = entry["regions"]
            in_table = isinstance(regions, dict)  # of VIA 1
            regions = list(regions.values()) if in_table else listed(entry, "regions")
            yield Annotated(
                picture=plain_name(text(entry, "filename")),
                size=None,
                shapes=tuple(
                    one_shape(_via_shape, region, f"region {count}")
                    for count, region in enumerate(regions, start=1)
                ),
                where=where,
                tags=tuple(
                    _via_tags(as_table(entry.get("file_attributes") or {}, "`file_attributes`"))
                ),
            )


def _via_shape(region: Mapping[str, Any], where: str) -> Shape:
    form = table(region, "shape_attributes")
    kind = text(form, "name")
    facts = dict(table(region, "region_attributes"))
    width = own_width({WIDTH: facts.pop(WIDTH, None)})
    labels = [name for value in facts.values() for name in _names_in(value)]
    if len(labels) != 1:
        raise DataError(f"{where}: it must have one attribute that names it, got {len(labels)}.")
    label = labels[0]
    if kind in ("polygon", "polyline"):
        x, y = (listed(form, name) for name in ("all_points_x", "all_points_y"))
        if len(x) != len(y):
            raise DataError(
                f"`all_points_x` and `all_points_y` must be of one length, got {len(x)} and "
                f"{len(y)} numbers."
            )
        places = points_of(list(zip(x, y, strict=True)), where)
        if kind == "polyline":
            return Shape(label=label, where=where, line=places, line_px=width)
        return polygon_of(label, where, (places,))
    if kind == "rect":
        left, top = number(form, "x"), number(form, "y")
        ring = box_ring(left, top, left + number(form, "width"), top + number(form, "height"))
        return Shape(label=label, where=where, rings=(ring,), boxed=True)
    if kind in ("circle", "ellipse"):
        radius = number(form, "rx" if "rx" in form else "r")
        middle = number(form, "cx"), number(form, "cy")
        ring = ellipse_ring(*middle, radius, number(form, "ry", radius))
        ring = turned_ring(ring, math.degrees(number(form, "theta", 0)))  # of 2.0.5 and later
        return Shape(label=label, where=where, rings=(ring,))
    trouble = f"is a `{kind}`, which cannot be filled; draw it as a polygon"
    return Shape(label=label, where=where, trouble=trouble)


def _via_tags(attributes: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the attributes say of the picture as a whole: `damage` crack, or `crack` yes."""
    for name, value in attributes.items():
        said = _names_in(value)
        yield from said
        if any(one.casefold() in _YES for one in said):
            yield name


def _names_in(value: Any) -> list[str]:
    """Return what an attribute says: its text, or the boxes that are ticked."""
    if isinstance(value, Mapping):
        return [str(name) for name, ticked in value.items() if ticked in (True, "true")]
    return [value] if isinstance(value, str) and value else []


def read_yolo(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a folder of YOLO-seg label files, one per picture, also below it.

    An empty file is a picture without a crack. The names of the classes are those of a
    ``data.yaml`` or ``classes.txt`` above them, else their numbers.

    Args:
        source: the folder.
        rule: is not asked: lines carry their classes.
    """
    if not source.is_dir():
        raise DataError(f"`{source}` must be a folder of YOLO label files, one per picture.")
    names = _class_names(source)
    for file in all_below(source, "*.txt"):
        if file.name in _NO_LABELS:
            continue
        with named(file):
            lines = read_text(file).splitlines()
            read = partial(_yolo_shape, names)
            below = file.relative_to(source).with_suffix("").parts
            yield Annotated(
                picture="/".join(part for part in below if part != "labels"),
                size=None,
                shapes=tuple(
                    one_shape(read, line, f"line {count}")
                    for count, line in enumerate(lines, start=1)
                    if line.strip()
                ),
                where=str(file),
                declared=frozenset(names.values()),
            )


def _yolo_shape(names: Mapping[int, str], line: str, where: str) -> Shape:
    label, *values = line.split()
    if not label.isdecimal():
        raise DataError(f"a line must begin with the number of its class, got {said(label)}.")
    label = names.get(int(label), label)
    if len(values) < 6:
        what = "a box alone" if len(values) == 4 else f"{len(values)} numbers"
        trouble = f"has {what}, and what of it is crack is not told; outline it"
        return Shape(label=label, where=where, trouble=trouble)
    ring = points_of(values, where)
    if (ring < -0.01).any() or (ring > 1.01).any():
        raise DataError(f"{where}: places must be shares of the picture's size, from 0 to 1.")
    return Shape(label=label, where=where, rings=(ring,), in_shares=True)


def _class_names(source: Path) -> dict[int, str]:
    """Return number -> name of the classes, of the first file that tells."""
    above = source.resolve().parents[:_FOLDERS_ABOVE]
    for folder in (source, *above):
        for file in (folder / name for name in _CLASS_FILES):
            if file.is_file():
                lines = read_text(file).splitlines()
                return {k: line.strip() for k, line in enumerate(lines) if line.strip()}
        own = folder in (source, *above[:1])  # farther up lie files of anything
        for file in sorted(folder.glob("*.y*ml" if own else "data.y*ml")):
            names = {} if is_of_system(file.name) else _names_of(file)
            if names:
                return names
    return {}


def _names_of(file: Path) -> dict[int, str]:
    """Return the classes of a data.yaml: a list or a table, on one line or several."""
    text = re.sub(r"[ \t]+#.*$", "", read_text(file), flags=re.M)
    match = re.search(
        r"^names:[ \t]*(?:\[(.*?)\]|\{(.*?)\}|\n((?:[ \t]*[-\d].*(?:\n|$))+))", text, re.M | re.S
    )
    if match is None:
        if re.search(r"^names:", text, re.M):
            raise DataError(f"`{file}`: `names` must be a list, or numbers with names.")
        return {}
    if re.search(r"^kpt_shape:", text, re.M):
        raise DataError(f"`{file}` has `kpt_shape`: its labels are boxes with points, no outlines.")
    if match[1] is not None:
        return dict(enumerate(name.strip(" \n'\"") for name in match[1].split(",")))
    names: dict[int, str] = {}
    for k, line in enumerate(match[2].split(",") if match[2] else match[3].splitlines()):
        number, _, name = line.strip().partition(":")
        if line.strip().startswith("-"):
            names[k] = line.strip().lstrip("- ").strip("'\"")
        elif number.isdigit():
            names[int(number)] = name.strip(" '\"")
    return names
