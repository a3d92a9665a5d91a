"""A folder of results becomes a report again: ``report.json`` with ``mask.png``.

What a file holds rounded stays rounded, so that written again it says the same. Widths along the
lines come back, the uncertainty of each station does not: no export holds it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from crackseg.errors import DataError, ImageError
from crackseg.exports.mask import find_mask
from crackseg.exports.places import scale_of
from crackseg.exports.tables import WIDTHS, read_measure
from crackseg.imagery.files import open_image
from crackseg.metrology import arc
from crackseg.metrology.centreline import UNMARKED
from crackseg.metrology.pixels import label_runs
from crackseg.metrology.sampling import normals
from crackseg.records import (
    Array,
    Branch,
    Crack,
    Gps,
    ImageInfo,
    Measure,
    ModelCard,
    Notice,
    Opening,
    Report,
    Totals,
    Unjudged,
    WidthClass,
    Window,
)
from crackseg.runs import Runs, bands

_UNKNOWN = Measure(px=None, status="not_resolvable")


def read_report(folder: Path, card: ModelCard | None = None) -> Report:
    """Return the report of a folder of results that no edit has changed.

    Args:
        folder: holds ``report.json`` and ``mask.png``.
        card: of the model, where it is there; else the report names it with what its file holds.

    Raises:
        DataError: a file is missing, damaged, of an earlier version or of another result.
    """
    path = folder / "report.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"`{path}` cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON: {error}.") from error
    try:
        return _report(values, folder, card)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"`{path}` is no report of this version: {type(error).__name__} {error}; analyze the "
            "photograph again."
        ) from error


def _report(values: Mapping[str, Any], folder: Path, card: ModelCard | None) -> Report:
    info = _image(values["image"])
    masks = _masks(values["cracks"], find_mask(folder), (info.height_px, info.width_px))
    lines = values["other_lines"]
    model = values["model"]
    return Report(
        schema_version=values["schema_version"],
        package_version=values["package_version"],
        image=info,
        scale=scale_of(values["scale"]),
        model=None if model is None else card or _card(model),
        thresholds=None if model is None else (model["threshold"], model["threshold_low"]),
        options=values["options"],
        cracks=tuple(_crack(c, m) for c, m in zip(values["cracks"], masks, strict=True)),
        totals=Totals(**values["totals"]),
        notices=tuple(Notice(**notice) for notice in values["warnings"]),
        timing_s=values["timing_s"],
        unjudged=_parts(values["unjudged"]),
        impaired=_parts(values.get("impaired", ())),
        unsteady=_parts(values.get("unsteady", ())),
        joints=tuple(_crack(joint, _painted(joint)) for joint in values["joints"]),
        left_out=tuple(np.array(p, float) for p in values["region"]["left_out"]),
        region_files=tuple(values["region"]["files"]),
        other_lines=None if lines is None else tuple(_other_line(line) for line in lines),
        recorded={name: values[name] for name in ("model", "detection") if name in values},
    )


def _image(values: Mapping[str, Any]) -> ImageInfo:
    taken_at, gps, transform = values["taken_at"], values["gps"], values["transform"]
    return ImageInfo(
        path=Path(values["path"]),
        sha256=values["sha256"],
        height_px=values["height_px"],
        width_px=values["width_px"],
        format=values["format"],
        taken_at=datetime.fromisoformat(taken_at) if taken_at else None,
        camera=values["camera"],
        gps=None if gps is None else Gps(**gps),
        crs=values["crs"],
        transform=None if transform is None else tuple(transform),
    )


def _parts(values: Iterable[Mapping[str, Any]]) -> tuple[Unjudged, ...]:
    return tuple(
        Unjudged(
            code=part["code"],
            share=part["share"],
            outlines=tuple(np.array(polygon, float) for polygon in part.get("outlines", ())),
        )
        for part in values
    )


def _card(values: Mapping[str, Any]) -> ModelCard:
    """Return what a report says of a model whose card is not there."""
    return ModelCard(
        name=values["name"],
        version=values["version"],
        network=values["network"],
        network_arguments={},
        input_multiple=1,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        threshold=values["threshold"],
        threshold_low=values["threshold_low"],
        tile_px=1,
        sha256={"model.onnx": values["sha256"]},
        intended_use="",
        limits="",
    )


def _crack(values: Mapping[str, Any], mask: Runs) -> Crack:
    at = values["width_max_at"]
    named = ("length", "bridged_length", "joined_length", *(f"width_{name}" for name in WIDTHS))
    if "hidden_length_px" in values:  # reports of earlier releases have none
        named = (*named, "hidden_length")
    plain = (
        "id", "section", "certainty", "width_left_out_px", "paper_length_px", "paper_width_px",
        "orientation_deg", "tortuosity", "tips", "junctions",
        "loops", "pattern", "touches_border", "probability_mean", "contrast", "step",
    )  # fmt: skip
    measures: dict[str, Any] = {name: read_measure(values, name) for name in named}
    return Crack(
        **{name: values[name] for name in plain},
        **measures,
        window=Window(**values["bbox"]),
        mask=mask,
        branches=_branches(values),
        **_areas(values),
        width_max_at=None if at is None else (at["row"], at["col"]),
        openings=tuple(_opening(opening) for opening in values["openings"]),
        width_classes=tuple(WidthClass(**entry) for entry in values["width_classes"]),
        flags=tuple(values["flags"]),
        repetition=values.get("repetition"),
    )


def _areas(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the areas of a crack; in reports up to 0.5.0 the only one is that of its mask."""
    if "mask_area_px2" in values:
        return {name: values[name] for name in ("area_px2", "area_mm2", "mask_area_px2")}
    opening = {
        f"area_{unit}2": None
        if values[f"length_{unit}"] is None or values[f"width_mean_{unit}"] is None
        else values[f"length_{unit}"] * values[f"width_mean_{unit}"]
        for unit in ("px", "mm")
    }
    return {**opening, "mask_area_px2": values["area_px2"]}


def _branches(values: Mapping[str, Any]) -> tuple[Branch, ...]:
    named = ("centre_line", "width_profile_px", "branch_kinds", "branch_nodes")
    made = []
    for line, profile, kind, nodes in zip(*(values[name] for name in named), strict=True):
        points = np.array(line, dtype=np.float64)
        width = np.array([np.nan if w is None else w for w in profile], dtype=np.float64)
        side = 0.5 * width[:, None] * normals(points)
        made.append(
            Branch(
                centre_line=points,
                width_px=width,
                edges=np.stack([points - side, points + side], axis=1),
                kind=kind,
                nodes=(nodes[0], nodes[1]),
                length_px=arc.length(points),
                length_mm=None,
            )
        )
    return tuple(made)


def _opening(values: Mapping[str, Any]) -> Opening:
    width, length = read_measure(values, "width"), read_measure(values, "length")
    return Opening(row=values["row"], col=values["col"], width=width, length=length)


def _other_line(values: Mapping[str, Any]) -> Crack:
    """Return a line that is taken for no crack, with the little that a report says of one."""
    lines = [np.array(line, dtype=np.float64) for line in values["centre_line"]]
    branches = tuple(
        Branch(
            centre_line=points,
            width_px=np.full(len(points), np.nan),
            edges=np.repeat(points[:, None], 2, axis=1),
            kind="tip-tip",
            nodes=(2 * k, 2 * k + 1),
            length_px=arc.length(points),
            length_mm=None,
        )
        for k, points in enumerate(lines)
    )
    zero = Measure(px=0.0)
    return Crack(
        id=values["id"],
        window=Window(**values["bbox"]),
        mask=Runs.of(np.zeros((values["bbox"]["height"], values["bbox"]["width"]), bool)),
        branches=branches,
        length=read_measure(values, "length"),
        bridged_length=zero,
        joined_length=zero,
        width_mean=read_measure(values, "width_mean"),
        width_median=_UNKNOWN,
        width_p95=_UNKNOWN,
        width_max=read_measure(values, "width_max"),
        width_max_at=None,
        area_px2=None,
        area_mm2=None,
        mask_area_px2=0.0,
        paper_length_px=0.0,
        paper_width_px=0.0,
        orientation_deg=None,
        tortuosity=None,
        tips=0,
        junctions=0,
        loops=0,
        pattern="single",
        touches_border=False,
        probability_mean=values["probability_mean"],
    )


def _painted(values: Mapping[str, Any]) -> Runs:
    """Return the mask of a line that ``mask.png`` does not hold, drawn along its course."""
    box = values["bbox"]
    canvas = np.zeros((box["height"], box["width"]), np.uint8)
    width = max(1, round(values["paper_width_px"]))
    for line in values["centre_line"]:
        points = np.rint(np.array(line) - [box["row"], box["col"]])[:, ::-1].astype(np.int32)
        cv2.polylines(canvas, [points], False, 1, width)
    return Runs.of(canvas.view(bool))


def _masks(cracks: list[Mapping[str, Any]], path: Path, shape: tuple[int, int]) -> list[Runs]:
    """Return the mask of each crack in its window, from the picture of all of them.

    Raises:
        DataError: the picture is missing, or does not belong to the report.
    """
    if not cracks:
        return []
    runs = _read_mask(path, shape)
    whole = _owner(runs, cracks)
    # A fitting was parted from the crack that runs into it by a window, which its own lies in.
    fittings = [Window(**crack["bbox"]) for crack in cracks if crack.get("repetition") is not None]
    within = Runs.union(
        [Runs.full(box.height, box.width).moved(box.row, box.col, shape) for box in fittings], shape
    )
    parts = []
    for part in (runs.both(within), runs.both(within.outside())):
        of = _owner(part, cracks)
        parts.append((part, np.where(of < 0, whole[runs.find(*divmod(part.start, shape[1]))], of)))
    masks = []
    for k, crack in enumerate(cracks):
        box = Window(**crack["bbox"])
        mine = Runs.union([part.chosen(of == k) for part, of in parts], shape)
        expected = _areas(crack)["mask_area_px2"]
        if not _lies_in(mine, box) or mine.sum() != expected:
            raise DataError(
                f"`{path}` does not belong to the report beside it: crack {crack['id']} has "
                f"{mine.sum()} px there, expected {expected:g}."
            )
        masks.append(mine.moved(-box.row, -box.col, (box.height, box.width)))
    return masks


def _owner(runs: Runs, cracks: list[Mapping[str, Any]]) -> Array:
    """Return the (R,) number of the crack that each run is of, -1 where no line is on its piece.

    A line may begin on the mask of a neighbour: a piece is of whom most of it is. What bridges a
    gap lies on no mask of its own.
    """
    count, component = label_runs(runs) if runs.any() else (0, np.zeros(0, np.int64))
    owner, most = np.full(count, -1), np.zeros(count, np.int64)
    for k, crack in enumerate(cracks):
        lines = zip(crack["centre_line"], crack["branch_kinds"], strict=True)
        marked = [np.array(line) for line, kind in lines if kind not in UNMARKED]
        points = np.rint(np.concatenate(marked or [np.zeros((0, 2))]))
        rows, cols = (np.clip(points[:, n], 0, runs.shape[n] - 1).astype(int) for n in (0, 1))
        on = runs.find(rows, cols)
        pieces, points_on = np.unique(component[on[on >= 0]], return_counts=True)
        more = points_on > most[pieces]
        owner[pieces[more]], most[pieces[more]] = k, points_on[more]
    return owner[component]


def _lies_in(mask: Runs, box: Window) -> bool:
    if not mask.any():
        return True
    top, left, height, width = mask.extent()
    below, right = box.row + box.height, box.col + box.width
    starts = box.row <= top and box.col <= left
    return starts and top + height <= below and left + width <= right


def _read_mask(path: Path, shape: tuple[int, int]) -> Runs:
    try:
        with open_image(path, max_megapixels=math.inf, is_mask=True) as picture:
            info = picture.info
            mask = Runs.stack(
                (
                    Runs.of(picture.read(_rows(info, rows))[..., 0] > 127)
                    for rows in bands(info.height_px, info.width_px)
                ),
                info.width_px,
            )
    except ImageError as error:
        raise DataError(
            f"{error} A result can be corrected where it was written with the export `mask`."
        ) from error
    if mask.shape != shape:
        raise DataError(
            f"`{path}` must be {shape[0]} x {shape[1]} px as the photograph, got {mask.shape[0]} x "
            f"{mask.shape[1]}."
        )
    return mask


def _rows(info: ImageInfo, rows: slice) -> Window:
    return Window(row=rows.start, col=0, height=rows.stop - rows.start, width=info.width_px)
