"""A report becomes ``coco.json``: one annotation per crack, its mask as exact run lengths.

COCO's polygons cannot hold the island inside a loop, so run lengths are used, uncompressed: column
by column, beginning with background. ``iscrowd`` is 0 all the same: readers take run lengths by
their form, and leave crowds out of training and scores.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from crackseg.exports.tables import crack_facts, documents_of, flat_crack
from crackseg.imagery.files import OpenImage
from crackseg.records import Crack, Report


def write(report: Report, folder: Path, image: OpenImage | None) -> list[Path]:
    """Write ``coco.json``."""
    path = folder / "coco.json"
    text = json.dumps(to_coco(report), ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8", errors="replace")
    return [path]


def to_coco(report: Report) -> dict[str, Any]:
    """Return the report as a COCO data set of one image."""
    height, width = report.image.height_px, report.image.width_px
    documents = documents_of(report.cracks)
    annotations = []
    for crack in report.cracks:
        box = crack.window
        annotations.append(
            {
                "id": crack.id,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [box.col, box.row, box.width, box.height],
                "area": crack.mask.sum(),
                "segmentation": {
                    "size": [height, width],
                    "counts": run_lengths(crack, height, width),
                },
                "attributes": flat_crack(crack_facts(crack), documents),
            }
        )
    name = report.image.path.name
    return {
        "info": {"description": f"crackseg {report.package_version}", "version": "1"},
        "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
        "licenses": [],
        "categories": [{"id": 1, "name": "crack", "supercategory": "defect"}],
        "annotations": annotations,
    }


def run_lengths(crack: Crack, height_px: int, width_px: int) -> list[int]:
    """Return the lengths of the runs of background and crack by turns, column by column."""
    rows, cols = crack.mask.nonzero()
    at = np.sort((cols + crack.window.col) * height_px + rows + crack.window.row)
    breaks = np.flatnonzero(np.diff(at) > 1)
    starts = np.r_[at[0], at[breaks + 1]]
    ends = np.r_[at[breaks], at[-1]] + 1
    edges = np.column_stack([starts, ends]).ravel()
    counts: list[int] = np.diff(np.r_[0, edges, height_px * width_px]).tolist()
    return counts
