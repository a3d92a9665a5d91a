"""A map is written whole into a folder: JSON, table, drawings, mosaic and page."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from crackseg.errors import OutputError
from crackseg.exports.csv_tables import CsvForm
from crackseg.face.drawing import write_csv, write_geojson, write_svg
from crackseg.face.face_json import face_to_dict
from crackseg.face.layers import write_layers
from crackseg.face.mapping import FaceMap
from crackseg.face.mosaic import grid_of, make_mosaic, write_tiles
from crackseg.face.page import write_page
from crackseg.folders import (
    clear_leftovers,
    filling,
    origin_of,
    read_mark,
    refuse_foreign,
    write_json_file,
)
from crackseg.words import read_words


def write_map(
    face: FaceMap,
    results: Path,
    out: Path,
    *,
    locale: str = "en",
    listen: Callable[[str, float], None] = lambda step, share: None,
) -> list[Path]:
    """Write the files of a map and return their paths.

    Args:
        face: the map.
        results: the folder of results that it is of.
        out: folder to write; files of an earlier map are replaced.
        locale: language of page and drawing, and form of numbers.
        listen: is told of the step and the share of it that is done.

    Raises:
        OutputError: ``out`` holds something that is not a map.
        ConfigError: there is no such locale.
    """
    words = read_words(locale)
    refuse_others(out, results, "face.json", "a map")
    grid = grid_of(face.views)
    out.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(out.parent)
    form = CsvForm.of_locale(locale)
    with filling(out, origin=origin_of(results)) as fresh:
        write_json_file(fresh / "face.json", face_to_dict(face))
        write_csv(face, fresh, form)
        write_geojson(face, fresh)
        write_layers(face, fresh)
        tiles = write_tiles(make_mosaic(face, grid, listen), fresh)
        write_svg(face, grid, fresh, words)
        write_page(face, grid, tiles, fresh, words, _way_up(out, results))
        names = sorted(path.name for path in fresh.iterdir() if not path.name.startswith("."))
    return [out / name for name in names]


def refuse_others(out: Path, origin: Path, name: str, kind: str) -> None:
    """Raise where a folder holds results of another kind.

    Raises:
        OutputError: it does.
    """
    refuse_foreign(out)
    mark = read_mark(out)
    if mark is not None and mark.files and name not in mark.files:
        raise OutputError(
            f"`{out}` holds other results, not {kind} of `{origin}`; choose another `--out`."
        )


def _way_up(out: Path, results: Path) -> str | None:
    """Return the relative address from the map to the photographs' folders, or None."""
    try:
        way = Path(os.path.relpath(results.resolve(), out.resolve())).as_posix()
    except ValueError:  # on another drive
        return None
    return f"{way}/"
