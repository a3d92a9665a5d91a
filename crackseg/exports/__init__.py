"""A report becomes files: tables, pictures, map lines and a page; one function per format.

Each export is ``write(report, folder, image) -> [paths]``; ``image`` is None when a mask from
elsewhere was measured without its photograph. The paths are all that was written, and no more lies
in the folder of that export. A file is never empty, also without cracks, but where the format has
an empty file for that (YOLO's labels).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from crackseg.imagery.files import OpenImage
from crackseg.names import look_up
from crackseg.records import Report

Export = Callable[[Report, Path, OpenImage | None], list[Path]]

EXPORTS: dict[str, str] = {
    "json": "crackseg.exports.tables:write_json",
    "csv": "crackseg.exports.tables:write_csv",
    "mask": "crackseg.exports.mask:write",
    "overlay": "crackseg.exports.overlay:write",
    "geojson": "crackseg.exports.geojson:write",
    "page": "crackseg.exports.page:write",
    "map": "crackseg.exports.map_page:write",
    "xlsx": "crackseg.exports.workbook:write",
    "coco": "crackseg.exports.coco:write",
    "yolo": "crackseg.exports.annotations:write_yolo",
    "cvat": "crackseg.exports.annotations:write_cvat",
    "labelstudio": "crackseg.exports.annotations:write_labelstudio",
    "svg": "crackseg.exports.svg:write",
    "dxf": "crackseg.exports.dxf:write",
    "gpkg": "crackseg.exports.vector_files:write_report_gpkg",
    "shp": "crackseg.exports.vector_files:write_report_shp",
}


def find_exports(names: Iterable[str]) -> dict[str, Export]:
    """Return the exports of the given names, in that order.

    Raises:
        UnknownName: a name is not in ``EXPORTS``.
        MissingExtra: an export needs a package that is not installed.
    """
    return {
        name: look_up(EXPORTS, name, what="export", extra="reports" if name == "xlsx" else "gis")
        for name in names
    }
