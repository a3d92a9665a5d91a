"""What a model marked becomes the beginning of somebody's labelling, the most doubtful first.

How doubtful a mark is: the smaller of its certainty and of what is missing to 1, which is how often
a list is wrong about such a mark. How doubtful a photograph is: the sum over its marks, so about
how many of them it is wrong about. What an inspector accepted is not doubtful any more; what was
rejected is left out.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from crackseg.errors import DataError
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
from crackseg.exports.csv_tables import text_cell
from crackseg.exports.reading import read_report
from crackseg.folders import require_new
from crackseg.names import look_up
from crackseg.reporting.gather import COPY, Photograph, SurveyCrack, gather

UNSURE = "unsure"  # label of what stands under also marked
LABELS = (LABEL, UNSURE)
ORDER = "order.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """A photograph and how doubtful its marks are."""

    photograph: Photograph
    cracks: tuple[SurveyCrack, ...]  # of the main list
    unsure: tuple[SurveyCrack, ...]
    doubt: float


def doubt_of(crack: SurveyCrack) -> float:
    """Return how often a list is wrong about such a mark, 0 to 0.5."""
    if crack.verdict == "accept":
        return 0.0
    for name in ("certainty", "probability_mean"):
        value = crack.facts.get(name)
        if isinstance(value, int | float) and math.isfinite(value):
            return min(float(value), 1 - float(value))
    return 0.5


def in_order_of_doubt(results: Path) -> list[Doubtful]:
    """Return the photographs of a folder of results, the most doubtful first.

    Raises:
        ConfigError: the folder holds no results.
        DataError: not one photograph was analyzed.
    """
    gathered = gather(results)
    doubtful = []
    for photograph in gathered.photographs:
        if photograph.folder is None or photograph.status == COPY:
            continue
        main, unsure = (
            tuple(c for c in cracks if c.photograph is photograph)
            for cracks in (gathered.cracks, gathered.doubtful)
        )
        doubt = sum(doubt_of(crack) for crack in (*main, *unsure))
        doubtful.append(Doubtful(photograph=photograph, cracks=main, unsure=unsure, doubt=doubt))
    if not doubtful:
        raise DataError(f"`{results}` holds no photograph that was analyzed.")
    return sorted(doubtful, key=lambda one: (-one.doubt, one.photograph.name))


def write_pre_annotations(results: Path, out: Path, tool: str) -> list[Path]:
    """Write a task for a labelling tool and ``order.csv``, the most doubtful photograph first.

    Args:
        results: ``--out`` of an analysis, or an unpacked bundle of the service.
        out: a new folder.
        tool: name in ``TOOLS``.

    Raises:
        UnknownName: no such tool.
        DataError: the results hold no mask, nothing was analyzed, or two photographs would share a
            label file.
        OutputError: ``out`` holds something already.
    """
    write = look_up(TOOLS, tool, what="labelling tool")
    require_new(out)
    order = in_order_of_doubt(results)
    pictures = [_picture(one) for one in order]
    if tool == "yolo":
        require_own_labels([picture.name for picture in pictures])
    out.mkdir(parents=True, exist_ok=True)
    return [*write(out, pictures), _write_order(out / ORDER, order)]


def _picture(one: Doubtful) -> Picture:
    if one.photograph.folder is None:
        raise DataError(f"`{one.photograph.name}` has no results.")
    picture = picture_of(read_report(one.photograph.folder))
    labels = {crack.id: LABEL for crack in one.cracks} | {c.id: UNSURE for c in one.unsure}
    cracks = [
        replace(marked, label=labels[marked.facts["id"]])
        for marked in picture.cracks
        if marked.facts["id"] in labels
    ]
    return replace(picture, name=clean(one.photograph.name), cracks=cracks, doubt=one.doubt)


def _write_order(path: Path, order: Sequence[Doubtful]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["place", "image", "doubt", "cracks", "also_marked", "judged"])
        for place, one in enumerate(order, start=1):
            facts = [text_cell(clean(one.photograph.name)), f"{one.doubt:.3f}"]
            counts = [len(one.cracks), len(one.unsure), one.photograph.status != "not_judged"]
            table.writerow([place, *facts, *counts])
    return path


def _as_cvat(out: Path, pictures: Sequence[Picture]) -> list[Path]:
    return write_cvat_file(out / "cvat.xml", pictures, LABELS)


def _as_labelstudio(out: Path, pictures: Sequence[Picture]) -> list[Path]:
    return write_labelstudio_file(out / "labelstudio.json", pictures)


def _as_yolo(out: Path, pictures: Sequence[Picture]) -> list[Path]:
    """Write ``labels/``, ``data.yaml`` and ``images.txt``, the photographs in order."""
    return list(_yolo_files(out, pictures))


def _yolo_files(out: Path, pictures: Sequence[Picture]) -> Iterator[Path]:
    names = "".join(f"  {number}: {label}\n" for number, label in enumerate(LABELS))
    head = out / "data.yaml"
    head.write_text(f"path: .\ntrain: images.txt\nval: images.txt\nnames:\n{names}", "utf-8")
    yield head
    listed = "".join(f"images/{picture.name}\n" for picture in pictures)
    (out / "images.txt").write_text(listed, encoding="utf-8")
    yield out / "images.txt"
    for picture in pictures:
        path = out / str(PurePosixPath("labels", picture.name).with_suffix(".txt"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yolo_labels(picture, LABELS), encoding="utf-8")
        yield path


Writer = Callable[[Path, Sequence[Picture]], list[Path]]
TOOLS: dict[str, Writer] = {"cvat": _as_cvat, "labelstudio": _as_labelstudio, "yolo": _as_yolo}
