"""Files of LabelMe, CVAT and COCO, and folders of masks -> the shapes of each picture.

Nothing is guessed and nothing is left out: what cannot be drawn becomes a shape with its reason,
which is refused when its label turns out to be crack. Names of pictures may hold folders and
Windows' back-slashes; files may begin with a byte-order mark.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from PIL import PngImagePlugin

from crackseg.errors import DataError
from crackseg.file_kinds import all_below
from crackseg.imagery.masks import Mask, MaskRule, read_mask, refuse_missed
from crackseg.records import Array
from crackseg.training.fields import (
    as_table,
    key,
    listed,
    named,
    number,
    one_shape,
    points_of,
    read_json,
    said,
    side_px,
    tables,
    text,
)
from crackseg.training.manifest import IMAGE_SUFFIXES, by_stem
from crackseg.training.shapes import Shape

_ROUND = 256  # corners of a circle or an ellipse
WIDTH = "width_px"  # attribute of a line: how wide it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """The shapes of one picture."""

    picture: str  # name with its folders, by slashes
    size: tuple[int, int] | None  # rows, columns; None: that of the photograph
    shapes: tuple[Shape, ...]
    where: str
    tags: tuple[str, ...] = ()  # labels of the picture as a whole
    declared: frozenset[str] = frozenset()  # labels that the file knows


def decode_rle(counts: str | Sequence[int], height: int, width: int) -> Array:
    """Return the (H, W) bool mask of a COCO run-length code, compressed or as a list.

    Runs of 0 and 1 take turns down the columns, 0 first. In the compressed form each number is
    written in groups of five bits, lowest first, with a sign bit, as the difference from the run
    two before it (from the fourth on).

    Source: COCO API, maskApi.c, rleFrString.

    Raises:
        DataError: they are no runs, or do not add up to the picture.
    """
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int for run in runs):
        raise DataError("run lengths must be text, or a list of whole numbers.")
    if sum(runs) != height * width or min(runs, default=0) < 0:
        raise DataError(
            f"run lengths must add up to {height} x {width} = {height * width} px, got {sum(runs)}."
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(width, height).T


def _decompress(text: str) -> list[int]:
    runs: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return runs


def read_labelme(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of LabelMe files (one JSON per picture), also in folders below."""
    for file in [source] if source.is_file() else all_below(source, "*.json"):
        data = read_json(file)
        if not isinstance(data, dict) or "shapes" not in data:
            raise DataError(f"{file}: a LabelMe file must hold `shapes`, got none.")
        below = "" if file == source else file.relative_to(source).parent.as_posix() + "/"
        with named(file):
            sides = "imageHeight", "imageWidth"
            flags = as_table(data.get("flags") or {}, "`flags`")
            known = all(data.get(side) not in (None, 0) for side in sides)
            yield Annotated(
                picture=plain_name(below + plain_name(text(data, "imagePath"))),
                size=(side_px(data, sides[0]), side_px(data, sides[1])) if known else None,
                shapes=tuple(
                    one_shape(_labelme_shape, shape, f"shape {count}")
                    for count, shape in enumerate(listed(data, "shapes"), start=1)
                ),
                where=str(file),
                tags=tuple(str(name) for name, on in flags.items() if on),
            )


def _labelme_shape(shape: dict[str, Any], where: str) -> Shape:
    kind = as_table(shape, "it").get("shape_type") or "polygon"
    if shape["label"] in (None, ""):
        raise DataError(f"{where}: it has no label.")
    label = text(shape, "label")
    least = {"rectangle": 2, "circle": 2, "mask": 1}.get(str(kind), 0)
    points = points_of(shape["points"], where, least)
    if kind in ("line", "linestrip"):
        own = own_width(shape.get("attributes"), str(shape.get("description") or ""))
        return Shape(label=label, where=where, line=points, line_px=own)
    if kind == "rectangle":
        low, high = points.min(axis=0), points.max(axis=0)
        if len(points) > 2 and not ((points == low) | (points == high)).all():
            return polygon_of(label, where, (points,))  # turned: its corners are not its box's
        return Shape(label=label, where=where, rings=(box_ring(*low, *high),), boxed=True)
    if kind == "circle":
        radius = float(np.linalg.norm(points[1] - points[0]))
        ring = ellipse_ring(points[0, 0], points[0, 1], radius, radius)
        return Shape(label=label, where=where, rings=(ring,))
    if kind == "mask":
        pixels = _embedded_mask(text(shape, "mask"), where)
        col, row = np.floor(points.min(axis=0)).astype(int).tolist()
        return Shape(label=label, where=where, pixels=lambda: pixels, corner=(row, col))
    if kind in ("polygon", "rotation", "oriented_rectangle"):
        return polygon_of(label, where, (points,))
    trouble = f"is a `{kind}`, which cannot be filled; draw it as a polygon"
    return Shape(label=label, where=where, trouble=trouble)


def _embedded_mask(code: str, where: str) -> Array:
    """Return the (h, w) bool pixels of a PNG in base64."""
    try:
        picture = PngImagePlugin.PngImageFile(io.BytesIO(base64.b64decode(code)))
        pixels = np.asarray(picture if picture.mode in ("P", "1") else picture.convert("L")) > 0
    except (SyntaxError, ValueError, OSError) as error:
        raise DataError(f"{where}: `mask` must be a PNG in base64, got {said(code)}.") from error
    return pixels


def read_cvat(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a "CVAT for images 1.1" file."""
    try:
        root = defusedxml.ElementTree.parse(source).getroot()
    except (OSError, ParseError, defusedxml.DefusedXmlException) as error:
        raise DataError(f"{source} is not readable XML: {error}.") from error
    if root.find("track") is not None:
        raise DataError(f"{source} holds tracks of a video; export it as `CVAT for images 1.1`.")
    declared = frozenset(str(name.text) for name in root.iterfind("meta//labels/label/name"))
    for image in root.iter("image"):
        where = f"{source}: image `{image.get('name')}`"
        with named(where):
            height, width = side_px(image, "height"), side_px(image, "width")
            items = [item for item in image if item.tag != "tag"]
            ordered = sorted(
                enumerate(items, start=1), key=lambda pair: number(pair[1], "z_order", 0)
            )
            yield Annotated(
                picture=plain_name(text(image, "name")),
                size=(height, width),
                shapes=tuple(
                    one_shape(_cvat_shape, item, f"{item.tag} {count}") for count, item in ordered
                ),
                where=where,
                tags=tuple(text(item, "label") for item in image if item.tag == "tag"),
                declared=declared,
            )


def _cvat_shape(item: Element, where: str) -> Shape:
    label = text(item, "label")
    if item.tag in ("polygon", "polyline"):
        points = points_of([pair.split(",") for pair in text(item, "points").split(";")], where)
        if item.tag == "polygon":
            return polygon_of(label, where, (points,))
        facts = {str(each.get("name")): each.text for each in item.iterfind("attribute")}
        return Shape(label=label, where=where, line=points, line_px=own_width(facts))
    if item.tag == "box":
        left, top, right, bottom = (number(item, k) for k in ("xtl", "ytl", "xbr", "ybr"))
        ring = turned_ring(box_ring(left, top, right, bottom), number(item, "rotation", 0))
        return Shape(label=label, where=where, rings=(ring,), boxed=True)
    if item.tag == "ellipse":
        ring = ellipse_ring(*(number(item, k) for k in ("cx", "cy", "rx", "ry")))
        ring = turned_ring(ring, number(item, "rotation", 0))
        return Shape(label=label, where=where, rings=(ring,))
    if item.tag == "mask":
        row, col = (int(number(item, k)) for k in ("top", "left"))
        tall, wide = side_px(item, "height"), side_px(item, "width")
        runs = _runs(text(item, "rle"))
        # CVAT's runs go along the rows: decode the turned box
        pixels = decode_rle(runs, wide, tall).T
        return Shape(label=label, where=where, pixels=lambda: pixels, corner=(row, col))
    trouble = f"is a `{item.tag}`, which cannot be filled; draw it as a polygon or mask"
    return Shape(label=label, where=where, trouble=trouble)


def _runs(code: str) -> list[int]:
    try:
        return [int(run) for run in code.split(",")]
    except ValueError as error:
        raise DataError(f"`rle` must be whole numbers by comma, got {said(code)}.") from error


def own_width(facts: Any, text: str = "") -> float | None:
    """Return the width that a line says it has, None where it says none.

    Args:
        facts: attributes of the line, of which one may be ``width_px``.
        text: what is written beside it, where ``width_px=4`` may stand.

    Raises:
        DataError: it is no width.

    Example:
        >>> own_width({"width_px": "2.5"}), own_width({}, "sure, width_px=4"), own_width({})
        (2.5, 4.0, None)
    """
    value = facts.get(WIDTH) if isinstance(facts, Mapping) else None
    written = re.search(rf"\b{WIDTH}\s*[=:]\s*(\S+)", text)
    if value is None and written:
        value = written[1].rstrip(",;")
    if value is None or value == "":
        return None
    try:
        width = float(value)
    except (TypeError, ValueError, OverflowError):
        width = math.nan
    if not 0 < width < math.inf:
        raise DataError(f"`{WIDTH}` must be a positive number of pixels, got {said(value)}.")
    return width


def read_coco(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a COCO file, also those without any annotation."""
    data = read_json(source)
    missing = {"images", "annotations", "categories"} - set(data if isinstance(data, dict) else ())
    if missing:
        raise DataError(
            f"{source}: a COCO file must hold `images`, `annotations` and `categories`; field "
            f"{', '.join(f'`{name}`' for name in sorted(missing))} is missing. Is it of another "
            "program? Export it as COCO."
        )
    with named(source):
        for kind in ("images", "categories"):
            ids = Counter(key(item, "id") for item in tables(data, kind))
            (first, times), *_ = [*ids.most_common(1), (0, 0)]
            if times > 1:
                raise DataError(f"{source}: `{kind}` holds the id {first} {times} times.")
        names = {c["id"]: text(c, "name") for c in data["categories"]}
        of_picture: dict[Any, list[Any]] = {image["id"]: [] for image in data["images"]}
        for item in tables(data, "annotations"):
            for field, known in (("image_id", of_picture), ("category_id", names)):
                if key(item, field) not in known:
                    raise DataError(
                        f"{source}: annotation {item.get('id', '?')}: `{field}` {item[field]} is "
                        "not in the file."
                    )
            of_picture[item["image_id"]].append(item)
        for image in data["images"]:
            size = side_px(image, "height"), side_px(image, "width")
            shape_of = partial(_coco_shape, names, size)
            yield Annotated(
                picture=plain_name(text(image, "file_name")),
                size=size,
                shapes=tuple(
                    one_shape(shape_of, item, f"annotation {item.get('id', '?')}")
                    for item in of_picture[image["id"]]
                ),
                where=f"{source}: image {image['id']} `{image['file_name']}`",
                declared=frozenset(names.values()),
            )


def _coco_shape(
    names: Mapping[Any, str], size: tuple[int, int], item: dict[str, Any], where: str
) -> Shape:
    code, label = item.get("segmentation"), names[item["category_id"]]
    if isinstance(code, dict):
        if listed(code, "size") != list(size):
            raise DataError(f"{where}: its mask must be {list(size)}, got {said(code['size'])}.")
        counts = code["counts"]
        return Shape(label=label, where=where, pixels=lambda: decode_rle(counts, *size))
    if not code:
        what = "a box alone" if item.get("bbox") else "no outline"
        trouble = f"has {what}, and what of it is crack is not told; outline it, or leave it out"
        return Shape(label=label, where=where, trouble=trouble)
    if not isinstance(code, list) or not isinstance(code[0], list):
        raise DataError(f"{where}: `segmentation` must be a list of rings, got {said(code)}.")
    outline = polygon_of(label, where, tuple(points_of(ring, where) for ring in code))
    return replace(outline, line_px=own_width(item.get("attributes")))


def read_masks(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a folder of masks, named like the photographs, also below it."""
    if not source.is_dir():
        raise DataError(f"`{source}` must be a folder of masks, named like the photographs.")
    folders = [source, *(path for path in all_below(source) if path.is_dir())]
    files = [file for folder in folders for file in by_stem(folder).values()]
    _refuse_others(source)
    for file, size in zip(files, _sizes(files, rule), strict=True):
        yield Annotated(
            picture=file.relative_to(source).with_suffix("").as_posix(),
            size=size,
            shapes=(_mask_shape(file, rule),),
            where=str(file),
        )


def _mask_shape(file: Path, rule: MaskRule) -> Shape:
    pixels = partial(_mask_pixels, file, rule)
    return Shape(label="crack", where="the mask", pixels=pixels, whole=True)


def _mask_pixels(file: Path, rule: MaskRule) -> Array:
    return read_mask(file, rule).pixels


def _refuse_others(source: Path) -> None:
    """Refuse pictures of a kind that is not read: left out, they would be missing in silence."""
    other = {".bmp", ".gif", ".webp", ".npy", ".npz", ".mat", ".jp2", ".tga", ".pgm", ".ppm"}
    for file in all_below(source):
        if file.suffix.lower() in other - IMAGE_SUFFIXES:
            raise DataError(f"`{file}`: masks must be PNG, TIFF or JPEG; save it as PNG.")


def _sizes(files: Sequence[Path], rule: MaskRule) -> list[tuple[int, int]]:
    """Return rows and columns of the masks of a folder.

    Masks that hold different classes, one to a file, are refused: all of them would be crack.
    """
    first: dict[str, str] = {}
    missed: dict[str, Mask] = {}
    sizes, cracks = [], False
    for file in files:
        mask = read_mask(file, rule)
        height, width = mask.pixels.shape
        sizes.append((height, width))
        cracks = cracks or bool(mask.pixels.any())
        if mask.left:
            missed.setdefault(file.name, replace(mask, pixels=np.zeros((1, 1), dtype=bool)))
        if mask.crack and not mask.soft:
            first.setdefault(mask.crack, file.name)
    if not cracks:
        refuse_missed(missed, rule)
    if len(first) > 1 and not rule.values:
        values = " and ".join(f"{crack} in `{name}`" for crack, name in sorted(first.items())[:3])
        raise DataError(
            f"the masks hold different values ({values}), and which are crack would be a guess; "
            f"name them, for instance `--values {','.join(sorted(first))}`."
        )
    return sizes


def plain_name(name: str) -> str:
    """Return the name of a picture by slashes, without drive and without leading dots.

    Example:
        >>> plain_name("..\\\\flight 2\\\\DJI_0001.JPG")
        'flight 2/DJI_0001.JPG'
    """
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..") and part[-1] != ":")


def polygon_of(label: str, where: str, rings: tuple[Array, ...]) -> Shape:
    """Return rings as a shape; two points are a line, fewer cannot be drawn."""
    shortest = min(rings, key=len)
    if len(shortest) == 2 and len(rings) == 1:
        return Shape(label=label, where=where, line=shortest)
    trouble = (
        f"has a ring of {len(shortest)} points; expected at least 3" if len(shortest) < 3 else ""
    )
    return Shape(label=label, where=where, rings=rings, trouble=trouble)


def box_ring(left: float, top: float, right: float, bottom: float) -> Array:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def ellipse_ring(x: float, y: float, radius_x: float, radius_y: float) -> Array:
    turn = np.linspace(0, 2 * np.pi, _ROUND, endpoint=False)
    return np.column_stack([x + radius_x * np.cos(turn), y + radius_y * np.sin(turn)])


def turned_ring(ring: Array, degrees: float) -> Array:
    """Return a ring turned about the middle of its box, clockwise as seen."""
    if degrees == 0:
        return ring
    middle = (ring.min(axis=0) + ring.max(axis=0)) / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned: Array = (ring - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle
    return turned
