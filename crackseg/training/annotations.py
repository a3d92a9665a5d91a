"""Annotations from LabelMe, CVAT, COCO or mask pictures -> one set of images/ and masks/.

Shapes are filled where a pixel's centre lies inside (annotation tools count from the corner of
the first pixel, pixels from its centre). Nothing is guessed: of several labels the caller says
which are cracks, a line without a width needs one, a shape that cannot be filled is refused.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import cv2
import defusedxml.ElementTree
import numpy as np
from skimage.draw import polygon2mask

from crackseg.errors import DataError
from crackseg.imagery.masks import Mask, MaskRule, read_mask, refuse_missed
from crackseg.names import look_up
from crackseg.records import Array, Sample
from crackseg.training.manifest import by_stem, read_pair


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What counts as crack and how lines become areas."""

    labels: tuple[str, ...] = ()  # names that are crack; may stay empty where there is only one
    rule: MaskRule = field(default_factory=MaskRule)  # what is crack in mask pictures
    line_px: float | None = None  # width given to annotated lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One annotated thing: a polygon, a line, or pixels."""

    label: str
    points: Array | None = None  # (N, 2) x, y from the corner of the first pixel
    closed: bool = True
    pixels: Array | None = None  # (H, W) bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """The shapes of one picture."""

    picture: str  # file name
    height_px: int
    width_px: int
    shapes: tuple[Shape, ...]
    where: str


def import_annotations(
    source: Path, pictures: Path, out: Path, *, format: str, options: ImportOptions
) -> tuple[Sample, ...]:
    """Write ``out``/images and ``out``/masks and return the pairs, each read back.

    Args:
        source: file or folder of annotations.
        pictures: folder of the photographs.
        out: set to write; photographs are copied as they are.
        format: name in ``READERS``.
        options: labels, values, line width.

    Raises:
        DataError: names file and entry that is broken or would have to be guessed.
        UnknownName: no such format.
    """
    reader: Reader = look_up(READERS, format, what="annotation format")
    entries = list(reader(source, options))
    if not entries:
        raise DataError(f"{source} holds no annotated picture of format `{format}`.")
    labels = _crack_labels(entries, options, source)
    for folder in ("images", "masks"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    return tuple(_write_pair(entry, labels, pictures, out, options) for entry in entries)


def fill(entry: Annotated, labels: Iterable[str], options: ImportOptions) -> Array:
    """Return the (H, W) bool mask of the shapes with these labels."""
    mask = np.zeros((entry.height_px, entry.width_px), dtype=bool)
    for shape in entry.shapes:
        if shape.label not in labels:
            continue
        if shape.pixels is not None:
            mask |= shape.pixels
        elif shape.closed:
            mask |= polygon2mask(mask.shape, np.asarray(shape.points)[:, ::-1] - 0.5)
        else:
            mask |= _draw_line(mask.shape, np.asarray(shape.points), entry.where, options.line_px)
    return mask


def decode_rle(counts: str | Sequence[int], height: int, width: int) -> Array:
    """Return the (H, W) bool mask of a COCO run-length code, compressed or as a list.

    Runs of 0 and 1 take turns down the columns, 0 first. In the compressed form each number is
    written in groups of five bits, lowest first, with a sign bit, as the difference from the run
    two before it (from the fourth on).

    Source: COCO API, maskApi.c, rleFrString.

    Raises:
        DataError: the runs do not add up to the picture.
    """
    runs = _decompress(counts) if isinstance(counts, str) else list(counts)
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


def _read_labelme(source: Path, options: ImportOptions) -> Iterator[Annotated]:
    """Yield the pictures of LabelMe files (one JSON per picture)."""
    for file in [source] if source.is_file() else sorted(source.glob("*.json")):
        data = _read_json(file)
        if not isinstance(data, dict) or "shapes" not in data:
            raise DataError(f"{file}: a LabelMe file must hold `shapes`, got none.")
        with _named(file):
            yield Annotated(
                picture=str(data["imagePath"]).replace("\\", "/").rsplit("/", 1)[-1],
                height_px=int(data["imageHeight"]),
                width_px=int(data["imageWidth"]),
                shapes=tuple(_labelme_shape(shape, file) for shape in data["shapes"]),
                where=str(file),
            )


def _labelme_shape(shape: dict[str, Any], file: Path) -> Shape:
    kind = shape.get("shape_type", "polygon")
    points = np.asarray(shape["points"], dtype=float).reshape(-1, 2)
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind not in ("polygon", "line", "linestrip"):
        raise DataError(f"{file}: a shape of type `{kind}` cannot be filled; draw it as a polygon.")
    return Shape(label=str(shape["label"]), points=points, closed=kind in ("polygon", "rectangle"))


def _read_cvat(source: Path, options: ImportOptions) -> Iterator[Annotated]:
    """Yield the pictures of a "CVAT for images 1.1" file."""
    try:
        root = defusedxml.ElementTree.parse(source).getroot()
    except (OSError, ParseError, defusedxml.DefusedXmlException) as error:
        raise DataError(f"{source} is not readable XML: {error}.") from error
    for image in root.iter("image"):
        where = f"{source}: image `{image.get('name')}`"
        with _named(where):
            height, width = int(image.attrib["height"]), int(image.attrib["width"])
            yield Annotated(
                picture=image.attrib["name"].rsplit("/", 1)[-1],
                height_px=height,
                width_px=width,
                shapes=tuple(_cvat_shape(item, height, width, where) for item in image),
                where=where,
            )


def _cvat_shape(item: Element, height: int, width: int, where: str) -> Shape:
    label = item.attrib["label"]
    if item.tag in ("polygon", "polyline"):
        points = [[float(v) for v in pair.split(",")] for pair in item.attrib["points"].split(";")]
        return Shape(label=label, points=np.array(points), closed=item.tag == "polygon")
    if item.tag == "box":
        left, top, right, bottom = (float(item.attrib[k]) for k in ("xtl", "ytl", "xbr", "ybr"))
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        return Shape(label=label, points=np.array(corners))
    if item.tag == "mask":
        row, col, tall, wide = (int(item.attrib[k]) for k in ("top", "left", "height", "width"))
        runs = [int(run) for run in item.attrib["rle"].split(",")]
        pixels = np.zeros((height, width), dtype=bool)
        # CVAT's runs go along the rows: decode the turned box
        pixels[row : row + tall, col : col + wide] = decode_rle(runs, wide, tall).T
        return Shape(label=label, pixels=pixels)
    raise DataError(f"{where}: `{item.tag}` cannot be filled; draw it as a polygon or mask.")


def _read_coco(source: Path, options: ImportOptions) -> Iterator[Annotated]:
    """Yield the pictures of a COCO file, also those without any annotation."""
    data = _read_json(source)
    with _named(source):
        names = {c["id"]: str(c["name"]) for c in data["categories"]}
        of_picture: dict[Any, list[dict[str, Any]]] = {image["id"]: [] for image in data["images"]}
        for item in data["annotations"]:
            of_picture[item["image_id"]].append(item)
        for image in data["images"]:
            height, width = int(image["height"]), int(image["width"])
            shapes = [
                shape
                for item in of_picture[image["id"]]
                for shape in _coco_shapes(item, names[item["category_id"]], height, width)
            ]
            yield Annotated(
                picture=str(image["file_name"]).rsplit("/", 1)[-1],
                height_px=height,
                width_px=width,
                shapes=tuple(shapes),
                where=f"{source}: image {image['id']}",
            )


def _coco_shapes(item: dict[str, Any], label: str, height: int, width: int) -> Iterator[Shape]:
    code = item["segmentation"]
    if isinstance(code, dict):
        if list(code["size"]) != [height, width]:
            raise DataError(
                f"annotation {item['id']}: its mask must be {[height, width]}, got {code['size']}."
            )
        yield Shape(label=label, pixels=decode_rle(code["counts"], height, width))
        return
    for ring in code:
        yield Shape(label=label, points=np.asarray(ring, dtype=float).reshape(-1, 2))


def _read_masks(source: Path, options: ImportOptions) -> Iterator[Annotated]:
    """Yield the pictures of a folder of masks, named like the photographs."""
    masks = {stem: (file, read_mask(file, options.rule)) for stem, file in by_stem(source).items()}
    _refuse_mixture(dict(masks.values()), options.rule)
    for stem, (file, mask) in masks.items():
        yield Annotated(
            picture=stem,
            height_px=mask.pixels.shape[0],
            width_px=mask.pixels.shape[1],
            shapes=(Shape(label="crack", pixels=mask.pixels),),
            where=str(file),
        )


def _refuse_mixture(masks: Mapping[Path, Mask], rule: MaskRule) -> None:
    """Refuse a folder whose masks hold different classes, one to a file: all would be crack."""
    refuse_missed({file.name: mask for file, mask in masks.items()}, rule)
    first = {mask.crack: file.name for file, mask in reversed(list(masks.items())) if mask.crack}
    if len(first) > 1 and not rule.values and not any(mask.soft for mask in masks.values()):
        held = " and ".join(f"{crack} in `{name}`" for crack, name in sorted(first.items())[:3])
        raise DataError(
            f"the masks hold different values ({held}), and which are crack would be a guess; "
            f"name them, for instance `--values {','.join(sorted(first))}`."
        )


Reader = Callable[[Path, ImportOptions], Iterator[Annotated]]
READERS: dict[str, Reader] = {
    "coco": _read_coco,
    "cvat": _read_cvat,
    "labelme": _read_labelme,
    "masks": _read_masks,
}


class _named:
    """Turn a missing or odd field of the enclosed reading into a ``DataError`` that says where."""

    def __init__(self, where: object) -> None:
        self.where = where

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KeyError):
            raise DataError(f"{self.where}: field {error} is missing.") from error
        if isinstance(error, TypeError | ValueError) and not isinstance(error, DataError):
            raise DataError(f"{self.where}: a field has the wrong form: {error}.") from error


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is not readable JSON: {error}.") from error


def _crack_labels(
    entries: Sequence[Annotated], options: ImportOptions, source: Path
) -> frozenset[str]:
    """Return the labels that are crack; with several in use the caller has to name them."""
    used = sorted({shape.label for entry in entries for shape in entry.shapes})
    unknown = sorted(set(options.labels) - set(used))
    if unknown or (len(used) > 1 and not options.labels):
        raise DataError(
            f"`labels` must say which labels are crack: {source} uses {', '.join(used)}, "
            f"got {', '.join(options.labels) or 'none'}."
        )
    return frozenset(options.labels or used)


def _draw_line(shape: tuple[int, int], points: Array, where: str, line_px: float | None) -> Array:
    """Return the (H, W) bool pixels whose centre is within half of ``line_px`` of the line."""
    if line_px is None:
        raise DataError(f"{where}: a line has no width; give `line_px`, its width in pixels.")
    drawn = np.zeros(shape, dtype=bool)
    limits = np.array(shape)
    for start, end in itertools.pairwise(points[:, ::-1] - 0.5):
        low = np.clip(np.floor(np.minimum(start, end) - line_px), 0, limits).astype(int)
        high = np.clip(np.ceil(np.maximum(start, end) + line_px) + 1, 0, limits).astype(int)
        rows, cols = np.mgrid[low[0] : high[0], low[1] : high[1]]
        place = np.stack([rows, cols], axis=-1) - start
        along = end - start
        share = np.clip(place @ along / max(float(along @ along), 1e-9), 0, 1)
        far = np.linalg.norm(place - share[..., None] * along, axis=-1)
        drawn[low[0] : high[0], low[1] : high[1]] |= far <= line_px / 2
    return drawn


def _write_pair(
    entry: Annotated, labels: frozenset[str], pictures: Path, out: Path, options: ImportOptions
) -> Sample:
    """Write one picture and its mask, and read them back as the pair they are."""
    picture = pictures / entry.picture
    if not picture.is_file():
        picture = by_stem(pictures).get(Path(entry.picture).stem, picture)
    if not picture.is_file():
        raise DataError(f"{entry.where}: there is no photograph `{entry.picture}` in {pictures}.")
    mask = fill(entry, labels, options).astype(np.uint8) * 255
    sample = Sample(
        image=out / "images" / picture.name,
        mask=out / "masks" / f"{picture.stem}.png",
        source=out.name,
        split="train",
    )
    shutil.copyfile(picture, sample.image)
    sample.mask.write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    read_pair(sample)
    return sample
