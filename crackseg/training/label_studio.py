"""An export of Label Studio (JSON) -> the shapes of each picture.

A task's annotation counts; of several somebody must say which (``ground_truth``), and a task that
nobody has annotated is left out. Predictions are what a model guessed and never count: a file that
holds them alone is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import numpy as np

from crackseg.errors import DataError
from crackseg.imagery.masks import MaskRule
from crackseg.records import Array
from crackseg.training.annotation_readers import (
    Annotated,
    box_ring,
    ellipse_ring,
    plain_name,
    polygon_of,
    turned_ring,
)
from crackseg.training.fields import (
    listed,
    named,
    number,
    one_shape,
    points_of,
    read_json,
    said,
    side_px,
    table,
    tables,
    text,
)
from crackseg.training.manifest import IMAGE_SUFFIXES
from crackseg.training.shapes import Shape

_NO_SHAPE = re.compile(r"choices|rating|textarea|taxonomy|number|datetime|pairwise|relation")
_LABELS = re.compile(r"(polygon|brush|rectangle|ellipse|keypoint|vector|bitmask)?labels")


def read_label_studio(source: Path, rule: MaskRule) -> Iterator[Annotated]:
    """Yield the pictures of a JSON export that somebody has annotated.

    Args:
        source: the file.
        rule: is not asked: shapes carry their labels.

    Raises:
        DataError: it is of another form, holds predictions alone, or a task has several
            annotations.
    """
    tasks = read_json(source)
    if not isinstance(tasks, list) or not all(isinstance(t, dict) and "data" in t for t in tasks):
        raise DataError(
            f"{source}: an export of Label Studio must be a list of tasks with `data`; export it "
            "as JSON (not JSON-MIN)."
        )
    guessed = sum(bool(task.get("predictions")) for task in tasks)
    if guessed and not any(task.get("annotations") for task in tasks):
        raise DataError(
            f"{source} must hold annotations, and {guessed} of {len(tasks)} tasks hold predictions "
            "alone: what a model guessed is nothing to learn from or to judge by. Submit them in "
            "Label Studio where they are right, and export again."
        )
    for count, task in enumerate(tasks, start=1):
        where = f"{source}: task {task.get('id', count)}"
        with named(where):
            made = _annotation(task, where)
            if made is not None:
                yield _picture(task, made, where)


def _annotation(task: Mapping[str, Any], where: str) -> Sequence[Mapping[str, Any]] | None:
    """Return the result of the annotation that counts, None where nobody annotated."""
    made = tables(task, "annotations") if task.get("annotations") else []
    done = [a for a in made if not a.get("was_cancelled")]
    chosen = [a for a in done if a.get("ground_truth")] or done
    if len(chosen) > 1:
        raise DataError(
            f"{where} has {len(chosen)} annotations, and which one counts is not told; mark one as "
            "ground truth, or delete the others."
        )
    return tables(chosen[0], "result") if chosen else None


def _picture(task: Mapping[str, Any], made: Sequence[Mapping[str, Any]], where: str) -> Annotated:
    shapes = [one for one in made if not _NO_SHAPE.search(str(one.get("type", "")))]
    sizes = {(side_px(one, "original_height"), side_px(one, "original_width")) for one in shapes}
    if len(sizes) > 1:
        raise DataError(f"{where}: its shapes are of pictures of several sizes, {sorted(sizes)}.")
    size = next(iter(sizes), None)
    read = partial(_shape, size or (1, 1))
    return Annotated(
        picture=_name(table(task, "data"), where),
        size=size,
        shapes=tuple(
            one_shape(read, one, f"region {one.get('id', count)}")
            for count, one in enumerate(shapes, start=1)
        ),
        where=where,
        tags=tuple(tag for one in made for tag in _tags(one)),
    )


def _tags(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a result says of the picture as a whole: choices, and each step of a taxonomy."""
    kind = str(one.get("type", ""))
    if kind not in ("choices", "taxonomy") or not table(one, "value").get(kind):
        return
    for tag in listed(one["value"], kind):
        yield from map(str, tag if isinstance(tag, list) else [tag])


def _name(data: Mapping[str, Any], where: str) -> str:
    """Return the name of the picture; uploads have eight letters in front, which may stay."""
    for value in [data["image"]] if "image" in data else data.values():
        if not isinstance(value, str):
            continue
        parts = _split(value)
        name = unquote(parse_qs(parts.query).get("d", [parts.path])[0])
        if Path(name).suffix.lower() in IMAGE_SUFFIXES:
            return plain_name(name)
    raise DataError(f"{where}: `data` names no picture; expected `image`.")


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError as error:  # half a pair of brackets
        raise DataError(f"`data` must name a picture, got {said(address)}.") from error


def _shape(size: tuple[int, int], one: Mapping[str, Any], where: str) -> Shape:
    value, kind = table(one, "value"), text(one, "type")
    height, width = size
    scale = np.array([width, height]) / 100
    label = _label(value, kind, where)
    if one.get("image_rotation") and number(one, "image_rotation") % 360:
        raise DataError(
            f"{where}: the picture was turned by {one['image_rotation']} degrees in the tool, and "
            "by which sides its places count is not sure; annotate it unturned."
        )
    if kind.startswith("polygon"):
        points = points_of(value["points"], where) * scale
        if value.get("closed") is False:
            return Shape(label=label, where=where, line=points)
        return polygon_of(label, where, (points,))
    if kind.startswith("brush"):
        codes = listed(value, "rle")
        return Shape(label=label, where=where, pixels=lambda: decode_brush(codes, height, width))
    turn = number(value, "rotation", 0)
    if kind.startswith("rectangle"):
        low = np.array([number(value, "x"), number(value, "y")]) * scale
        high = low + np.array([number(value, "width"), number(value, "height")]) * scale
        ring = box_ring(*low, *high)
        trouble = "is turned; draw it as a polygon" if turn else ""
        return Shape(label=label, where=where, rings=(ring,), boxed=True, trouble=trouble)
    if kind.startswith("ellipse"):
        centre = np.array([number(value, "x"), number(value, "y")]) * scale
        radii = np.array([number(value, "radiusX"), number(value, "radiusY")]) * scale
        return Shape(
            label=label, where=where, rings=(turned_ring(ellipse_ring(*centre, *radii), turn),)
        )
    trouble = f"is a `{kind}`, which cannot be filled; draw it as a polygon or brush"
    return Shape(label=label, where=where, trouble=trouble)


def _label(value: Mapping[str, Any], kind: str, where: str) -> str:
    for name in (kind, *value):
        if _LABELS.fullmatch(name) and value.get(name):
            first, *others = map(str, listed(value, name))
            if others:
                raise DataError(
                    f"{where}: it has the labels {', '.join((first, *others))}, and which one "
                    "counts is not told; give it one."
                )
            return first
    raise DataError(f"{where}: it has no label.")


def decode_brush(codes: Sequence[int], height: int, width: int) -> Array:
    """Return the (H, W) bool mask of a brush: run lengths of RGBA bytes, packed bit by bit.

    Source: label-studio-sdk, converter/brush.py, decode_rle.

    Raises:
        DataError: the runs do not add up to the picture.
    """
    bits = _Bits(codes)
    count, word = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if count != height * width * 4:
        raise DataError(f"a brush must hold {height} x {width} px in four bytes, got {count}.")
    values = np.zeros(count, np.uint8)
    k = 0
    while k < count:
        same = bits.take(1)
        stop = k + 1 + bits.take(sizes[bits.take(2)])
        if stop > count:
            raise DataError("the runs of a brush are longer than its picture.")
        if same:
            values[k:stop] = bits.take(word)
        else:
            values[k:stop] = [bits.take(word) for _ in range(stop - k)]
        k = stop
    return np.asarray(values.reshape(height, width, 4)[..., 3] > 0)


class _Bits:
    """Reads numbers from bytes, the highest bit first."""

    def __init__(self, codes: Sequence[int]) -> None:
        if not all(type(code) is int and 0 <= code <= 255 for code in codes):
            raise DataError(f"`rle` of a brush must be bytes, numbers to 255, got {said(codes)}.")
        self.bits = np.unpackbits(np.asarray(codes, np.uint8))
        self.at = 0

    def take(self, count: int) -> int:
        """Return the number of the next bits."""
        part = self.bits[self.at : self.at + count]
        if len(part) < count:
            raise DataError("the code of a brush ends too early.")
        self.at += count
        return int("".join(map(str, part)), 2)
