"""A folder of results and a list of edits become the folder after them; nothing is lost.

The network's own files go to ``network/`` inside the folder before the first edit is written, and
every later list of edits is applied to them. An empty list puts them back, byte for byte.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from crackseg.corrections.apply import apply
from crackseg.corrections.earlier import FILE
from crackseg.corrections.edits import Edit, read_edits, to_file
from crackseg.errors import DataError, ModelError, UnknownName
from crackseg.exports import EXPORTS, find_exports
from crackseg.exports.reading import read_report
from crackseg.exports.tables import model_to_dict
from crackseg.folders import MARK, clear_leftovers, filling, read_mark, refuse_foreign
from crackseg.imagery.files import OpenImage, open_image
from crackseg.inference.models import find_folder, read_card
from crackseg.locales import find_locale
from crackseg.records import ModelCard, Report

NETWORK = "network"  # folder with the result as it was before the first edit


def correct_folder(folder: Path, file: Path | None = None, image: Path | None = None) -> Report:
    """Write the files of a result anew as a list of edits makes them and return the report.

    The same list twice writes the same files. The list is kept in the folder, where a later
    analysis leaves it alone.

    Args:
        folder: of one photograph, from ``crackseg analyze`` or ``measure``.
        file: the edits; None: ``corrections.json`` in the folder.
        image: the photograph; None: where the report says.

    Raises:
        DataError: the folder holds no result, a file of it is missing, or an edit cannot be done.
        ImageError: the photograph is not there or damaged.
        MissingExtra: a file of the result, or its locale, needs a package that is not installed.
        OutputError: a file of the result was changed since it was written.
    """
    source = network_folder(folder)
    values = read_result(source)
    edits = read_edits(file or folder / FILE, values["image"]["sha256"])
    if edits:  # before any file is touched
        find_exports(_known(values["options"]["exports"]))
        find_locale(values["options"].get("locale", "en"))
    refuse_foreign(folder)
    clear_leftovers(folder)
    with open_image(image or _photograph(values, folder)) as picture:
        report = apply(read_report(source, find_card(values)), picture, edits)
        if source == folder:
            _keep_network(folder)
        mark = read_mark(folder / NETWORK)
        origin, content = (mark.origin, mark.content) if mark else ("", "")
        with filling(folder, origin=origin, content=content) as fresh:
            if edits:
                write_files(report, fresh, picture, values["options"]["exports"])
            copy_missing(folder / NETWORK, fresh)
    _keep_edits(edits, values["image"]["sha256"], folder / FILE)
    if not edits:
        shutil.rmtree(folder / NETWORK)
    return report


def network_folder(folder: Path) -> Path:
    """Return the folder that holds a result as it was before any edit.

    Raises:
        DataError: the result was corrected, but the network's own files are gone.
    """
    own, mark = folder / NETWORK, read_mark(folder)
    report = own / "report.json"
    unfinished = mark is not None and not mark.complete and report.is_file()
    if not unfinished and "corrections" not in read_result(folder):
        # A run that was stopped before it replaced the report may have replaced other files.
        same = report.is_file() and report.read_bytes() == (folder / "report.json").read_bytes()
        return own if same else folder
    if not (own / "report.json").is_file():
        raise DataError(
            f"`{folder}` holds a corrected result, but `{own}` with the files before it is gone; "
            "analyze the photograph again."
        )
    return own


def write_files(report: Report, fresh: Path, image: OpenImage, names: Iterable[str]) -> None:
    """Write the exports of a corrected report into an empty folder.

    Args:
        report: after the edits; the seconds of its analysis stand as they were.
        fresh: the folder.
        image: the open photograph.
        names: exports; one that this version does not know is passed over.
    """
    for write in find_exports(dict.fromkeys([*_known(names), "json"])).values():
        write(report, fresh, image)


def _known(names: Iterable[str]) -> list[str]:
    """Return the exports that this version knows."""
    return [name for name in names if name in EXPORTS]


def copy_missing(source: Path, fresh: Path, but: tuple[str, ...] = ()) -> None:
    """Copy the files of a result that were not written anew, ``but`` for some."""
    for path in sorted(source.iterdir()):
        if path.name in (MARK, *but) or (fresh / path.name).exists():
            continue
        if path.is_file():
            shutil.copy2(path, fresh / path.name)


def find_card(values: dict[str, Any], model: str | None = None) -> ModelCard | None:
    """Return the card of the model that a report names, or None where it is not here any more.

    Args:
        values: of ``report.json``.
        model: name of a shipped model or a model folder; None: as the report's options name it.
    """
    if values["model"] is None:
        return None
    try:
        card = read_card(find_folder(model or values["options"]["model"]))
    except (ModelError, UnknownName):
        return None
    facts = model_to_dict(card, None) or {}
    return card if facts["card_sha256"] == values["model"]["card_sha256"] else None


def _keep_network(folder: Path) -> None:
    """Copy the files of a result to the folder where they stay as they are."""
    mark = read_mark(folder)
    names = (
        [path.name for path in folder.iterdir() if path.is_file()] if mark is None else mark.files
    )
    origin, content = ("", "") if mark is None else (mark.origin, mark.content)
    with filling(folder / NETWORK, origin=origin, content=content) as fresh:
        for name in names:
            if name != FILE:
                shutil.copy2(folder / name, fresh / name)


def _photograph(values: dict[str, Any], folder: Path) -> Path:
    path = Path(values["image"]["path"])
    if not path.is_file():
        raise DataError(
            f"`{path}`, the photograph of `{folder}`, is not there; say where it is with `--image`."
        )
    return path


def _keep_edits(edits: Sequence[Edit], image_sha256: str, path: Path) -> None:
    """Write the edits beside the result; a list that says the same stays as it is."""
    values = to_file(edits, image_sha256)
    try:
        if to_file(read_edits(path, image_sha256), image_sha256) == values:
            return
    except DataError:
        if os.path.lexists(path):
            raise
    part = path.with_name(f"{FILE}.{secrets.token_hex(4)}")
    try:
        part.write_text(json.dumps(values, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_result(folder: Path) -> dict[str, Any]:
    """Return what ``report.json`` in a folder holds.

    Raises:
        DataError: there is none of a photograph.
    """
    path = folder / "report.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(
            f"`{path}` cannot be read: {error.strerror}; expected the folder of one photograph's "
            "result."
        ) from error
    except ValueError as error:
        raise DataError(f"`{path}` is not JSON: {error}.") from error
    if not isinstance(values, dict) or "image" not in values:
        raise DataError(f"`{path}` is no report of a photograph.")
    return values
